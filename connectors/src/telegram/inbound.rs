//! From updates to normalized events. Pure, and total: whatever comes, something is told about it.
//!
//! Decisions of this channel:
//! - What a person writes in the private chat with the bot is a message. So is `/start <payload>`, after it was told as
//!   `contact.joined` with the payload: a person who presses Start waits for an answer.
//! - Groups and channels are not conversations (yet): what is written there is a message with `unsupported` content
//!   whose address is the chat.
//! - The provider's id of a message is `<chat id>:<message id>`, since message ids count per chat. What has no message
//!   id is known by its update id.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tributary_bus::{
    Address, ChannelId, MessageId,
    message::{
        Attribution, ContactJoined, ContactLeft, Content, Inbound, JoinReason, LeaveReason,
        MessageContext, MessageEdited, MessageReacted, MessageReceived, Origin, Profile, Raw,
        SentBy, Text, Unsupported,
    },
};

use super::{
    entities, kinds,
    wire::{
        AnswerCallbackQuery, CallbackQuery, Chat, ChatMemberUpdated, Message, MessageReaction,
        Object, Update, User, read,
    },
};

/// Where events go that name no chat and no person.
const NOBODY: &str = "unknown";

/// What an update led to.
#[derive(Debug)]
pub(super) struct Translated {
    /// Never empty.
    pub events: Vec<Inbound>,
    /// To be called after the events are durable, so that the button stops spinning.
    pub answer: Option<AnswerCallbackQuery>,
}

/// Translates one update; `raw` is its JSON as it came, `now` stands in for a missing date.
pub(super) fn to_events(channel: &ChannelId, raw: &str, now: DateTime<Utc>) -> Translated {
    let translator = Translator { channel, raw, now };
    let Ok(value) = serde_json::from_str::<Value>(raw) else {
        return translator.unreadable().into();
    };
    let Some(update) = Update::of(&value) else {
        return translator.unreadable().into();
    };
    translator.translate(update)
}

impl From<Inbound> for Translated {
    fn from(event: Inbound) -> Self {
        Self {
            events: vec![event],
            answer: None,
        }
    }
}

#[derive(Clone, Copy)]
struct Translator<'a> {
    channel: &'a ChannelId,
    raw: &'a str,
    now: DateTime<Utc>,
}

impl Translator<'_> {
    fn translate(self, update: Update<'_>) -> Translated {
        let translated = match update.kind {
            "message" | "channel_post" => self.message(update),
            "edited_message" | "edited_channel_post" => self.edited(update).map(Translated::from),
            "callback_query" => self.callback(update),
            "message_reaction" => self.reaction(update).map(Translated::from),
            "my_chat_member" => self.standing(update).map(Translated::from),
            _ => None,
        };
        translated.unwrap_or_else(|| self.unsupported_update(update).into())
    }

    /// A message in any chat.
    fn message(self, update: Update<'_>) -> Option<Translated> {
        let message: Message = read(update.body);
        let chat = message.chat.as_ref()?;
        let provider_id =
            provider_id(chat, message.message_id).unwrap_or_else(|| self.update_name(update));
        let origin = self.origin(chat.id?, message.date);
        let contact = profile(chat, message.from.as_ref());
        let content = content(update, &message, chat);
        let mut events = Vec::with_capacity(2);
        if is_private(chat)
            && let Some(payload) = message.text.as_deref().and_then(start_payload)
        {
            events.push(Inbound::Joined(Box::new(ContactJoined {
                origin: Origin {
                    raw: None,
                    ..origin.clone()
                },
                contact: contact.clone(),
                reason: JoinReason::Started,
                payload: (!payload.is_empty()).then(|| payload.to_owned()),
                attribution: Attribution::default(),
                extra: Map::new(),
            })));
        }
        events.push(Inbound::Received(Box::new(MessageReceived {
            origin,
            message_id: MessageId::derived(self.channel, &provider_id),
            provider_id,
            contact,
            content,
            reply_to: message
                .reply_to_message
                .as_ref()
                .and_then(|replied| self::provider_id(chat, replied.message_id)),
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
            replayed: false,
            extra: Map::new(),
        })));
        Some(Translated {
            events,
            answer: None,
        })
    }

    /// A change of a message. It can come without a visible change, and before the message itself.
    fn edited(self, update: Update<'_>) -> Option<Inbound> {
        let message: Message = read(update.body);
        let chat = message.chat.as_ref()?;
        let provider_id = provider_id(chat, message.message_id)?;
        Some(Inbound::Edited(MessageEdited {
            origin: self.origin(chat.id?, message.edit_date.or(message.date)),
            message_id: MessageId::derived(self.channel, &provider_id),
            content: content(update, &message, chat),
            extra: Map::new(),
        }))
    }

    /// A pressed button. The message it hangs on may be gone (`date` 0) or be missing.
    fn callback(self, update: Update<'_>) -> Option<Translated> {
        let query: CallbackQuery = read(update.body);
        let id = query.id?;
        let message = query.message.unwrap_or_default();
        let from = query.from.unwrap_or_default();
        let chat = message.chat.unwrap_or_default();
        let address = chat.id.or(from.id)?;
        let data = query.data.unwrap_or_default();
        let label = label(message.reply_markup.as_ref(), &data).unwrap_or(data.as_str());
        let description = match label {
            "" => "pressed a button".to_owned(),
            label => format!("pressed: {label}"),
        };
        let mut extra = Map::new();
        extra.insert("data".to_owned(), Value::from(data.as_str()));
        let provider_id = format!("callback:{id}");
        let event = Inbound::Received(Box::new(MessageReceived {
            // The press itself has no date.
            origin: self.origin(address, None),
            message_id: MessageId::derived(self.channel, &provider_id),
            provider_id,
            contact: profile(&chat, Some(&from)),
            content: Content::Unsupported(Unsupported {
                kind: update.kind.to_owned(),
                description: Some(description),
                extra,
            }),
            reply_to: self::provider_id(&chat, message.message_id),
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
            replayed: false,
            extra: Map::new(),
        }));
        Some(Translated {
            events: vec![event],
            answer: Some(AnswerCallbackQuery {
                callback_query_id: id,
            }),
        })
    }

    fn reaction(self, update: Update<'_>) -> Option<Inbound> {
        let reaction: MessageReaction = read(update.body);
        let chat = reaction.chat.as_ref()?;
        let provider_id = provider_id(chat, reaction.message_id)?;
        let reactions = reaction.new_reaction?;
        Some(Inbound::Reacted(MessageReacted {
            origin: self.origin(chat.id?, reaction.date),
            provider_id,
            reactions: reactions.iter().map(reaction_name).collect(),
            extra: Map::new(),
        }))
    }

    /// A person blocked or unblocked the bot. In groups the same update tells of other things.
    fn standing(self, update: Update<'_>) -> Option<Inbound> {
        let change: ChatMemberUpdated = read(update.body);
        let chat = change.chat.as_ref().filter(|chat| is_private(chat))?;
        let origin = self.origin(chat.id?, change.date);
        let before = change.old_chat_member.and_then(|member| member.status);
        let after = change.new_chat_member?.status?;
        let extra = Map::new();
        match after.as_str() {
            "kicked" => Some(Inbound::Left(ContactLeft {
                origin,
                reason: LeaveReason::Blocked,
                extra,
            })),
            "member" => Some(Inbound::Joined(Box::new(ContactJoined {
                origin,
                contact: profile(chat, change.from.as_ref()),
                reason: match before.as_deref() {
                    Some("kicked") => JoinReason::Unblocked,
                    _ => JoinReason::Started,
                },
                payload: None,
                attribution: Attribution::default(),
                extra,
            }))),
            _ => None,
        }
    }

    /// Everything else, by its name.
    fn unsupported_update(self, update: Update<'_>) -> Inbound {
        let message: Message = read(update.body);
        let address = address_of(update.body);
        let name = self.update_name(update);
        let words = update.kind.replace('_', " ");
        let description = match message.text.or(message.caption) {
            Some(text) => format!("{words}: {text}"),
            None => words,
        };
        let chat = message.chat.unwrap_or_default();
        self.unsupported(
            address.map_or_else(|| NOBODY.to_owned(), |id| id.to_string()),
            name,
            message.date,
            profile(&chat, message.from.as_ref()),
            update.kind,
            description,
        )
    }

    /// Not an update at all. Refusing it would block the chat behind it for a day.
    fn unreadable(self) -> Inbound {
        self.unsupported(
            NOBODY.to_owned(),
            format!("unreadable:{}", self.digest()),
            None,
            Profile::default(),
            "unreadable",
            "something that is not an update".to_owned(),
        )
    }

    fn unsupported(
        self,
        address: String,
        provider_id: String,
        date: Option<i64>,
        contact: Profile,
        kind: &str,
        description: String,
    ) -> Inbound {
        Inbound::Received(Box::new(MessageReceived {
            origin: self.origin_of(Address(address), date),
            message_id: MessageId::derived(self.channel, &provider_id),
            provider_id,
            contact,
            content: unsupported(kind, description),
            reply_to: None,
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
            replayed: false,
            extra: Map::new(),
        }))
    }

    fn origin(self, chat: i64, date: Option<i64>) -> Origin {
        self.origin_of(Address(chat.to_string()), date)
    }

    fn origin_of(self, address: Address, date: Option<i64>) -> Origin {
        let told = date.filter(|date| *date > 0);
        Origin {
            channel_id: self.channel.clone(),
            address,
            occurred_at: told
                .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
                .unwrap_or(self.now),
            raw: Some(Raw {
                media_type: "application/json".to_owned(),
                body: self.raw.to_owned(),
            }),
        }
    }

    /// What has no message id (or 0, which several messages of a chat can have) is known by its update.
    fn update_name(self, update: Update<'_>) -> String {
        match update.id {
            Some(id) => format!("update:{id}"),
            None => format!("update:{}", self.digest()),
        }
    }

    fn digest(self) -> String {
        hex::encode(Sha256::digest(self.raw.as_bytes()))
    }
}

/// `None` also for message id 0, which several messages of a chat can have.
fn provider_id(chat: &Chat, message: Option<i64>) -> Option<String> {
    let message = message.filter(|id| *id != 0)?;
    Some(format!("{}:{message}", chat.id?))
}

fn is_private(chat: &Chat) -> bool {
    match chat.kind.as_deref() {
        Some(kind) => kind == "private",
        // Groups and channels have negative ids.
        None => chat.id.is_some_and(|id| id > 0),
    }
}

/// What a message says: text in a private chat, else what it is in words.
fn content(update: Update<'_>, message: &Message, chat: &Chat) -> Content {
    let empty = Object::new();
    let object = update.body.as_object().unwrap_or(&empty);
    if !is_private(chat) {
        let kind = chat.kind.as_deref().unwrap_or("group");
        let words = match &message.text {
            Some(text) => text.clone(),
            None => kinds::describe(object, message).1,
        };
        return unsupported(&format!("{kind}_message"), format!("in a {kind}: {words}"));
    }
    match &message.text {
        Some(text) => Content::Text(Text {
            text: text.clone(),
            entities: entities::to_normalized(text, message.entities.as_deref().unwrap_or(&[])),
            extra: Map::new(),
        }),
        None => {
            let (kind, words) = kinds::describe(object, message);
            unsupported(&kind, words)
        }
    }
}

fn unsupported(kind: &str, description: String) -> Content {
    Content::Unsupported(Unsupported {
        kind: kind.to_owned(),
        description: Some(description),
        extra: Map::new(),
    })
}

/// The payload of `/start` (possibly empty); `None` when the text is no `/start`.
fn start_payload(text: &str) -> Option<&str> {
    let (command, payload) = match text.split_once(char::is_whitespace) {
        Some((command, payload)) => (command, payload.trim()),
        None => (text, ""),
    };
    let command = command.split('@').next()?;
    (command == "/start").then_some(payload)
}

fn profile(chat: &Chat, from: Option<&User>) -> Profile {
    let join = |first: Option<&String>, last: Option<&String>| {
        let parts: Vec<&str> = [first, last]
            .into_iter()
            .flatten()
            .map(|s| s.trim())
            .collect();
        let name = parts.join(" ").trim().to_owned();
        (!name.is_empty()).then_some(name)
    };
    let of_chat = chat
        .title
        .clone()
        .or_else(|| join(chat.first_name.as_ref(), chat.last_name.as_ref()));
    let in_private = is_private(chat) || chat.id.is_none();
    let from = from.filter(|_| in_private);
    Profile {
        name: from
            .and_then(|user| join(user.first_name.as_ref(), user.last_name.as_ref()))
            .or(of_chat),
        locale: from.and_then(|user| user.language_code.clone()),
        username: from
            .and_then(|user| user.username.clone())
            .or_else(|| chat.username.clone()),
        ..Profile::default()
    }
}

/// The label of the button with this data.
fn label<'a>(markup: Option<&'a Value>, data: &str) -> Option<&'a str> {
    let rows = markup?.get("inline_keyboard")?.as_array()?;
    rows.iter()
        .filter_map(Value::as_array)
        .flatten()
        .find(|button| button.get("callback_data").and_then(Value::as_str) == Some(data))?
        .get("text")?
        .as_str()
}

/// The emoji, or what stands for it.
fn reaction_name(reaction: &Value) -> String {
    let text = |key: &str| reaction.get(key).and_then(Value::as_str);
    match text("type") {
        Some("emoji") => text("emoji").unwrap_or("emoji").to_owned(),
        Some("custom_emoji") => {
            format!(
                "custom_emoji:{}",
                text("custom_emoji_id").unwrap_or_default()
            )
        }
        Some(other) => other.to_owned(),
        None => "unknown".to_owned(),
    }
}

/// The chat or the person that an update of any kind is about.
fn address_of(body: &Value) -> Option<i64> {
    [
        "/chat/id",
        "/message/chat/id",
        "/from/id",
        "/user/id",
        "/user_chat_id",
        "/voter_chat/id",
        "/actor_chat/id",
    ]
    .into_iter()
    .find_map(|path| body.pointer(path).and_then(Value::as_i64))
}
