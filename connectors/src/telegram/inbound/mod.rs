//! From updates to normalized events. Pure, and total: whatever comes, something is told about it, or it is named as
//! [`Ignored`], which is counted.
//!
//! Decisions of this channel:
//! - What a person writes in the private chat with the bot is a message. So is `/start <payload>`, after it was told as
//!   `contact.joined` with the payload: a person who presses Start waits for an answer.
//! - Groups and channels are conversations where the account says so (`groups`, `channels`): the contact is the group,
//!   a topic of a forum is a contact of its own, and who wrote stands in the context. Elsewhere nothing
//!   of it is told: anybody may add a bot to a group, and nobody shall fill a tenant with conversations that way.
//! - Who writes to a channel (its direct messages) is a contact, told by the topic; so is each topic that a person has
//!   in the private chat with the bot.
//! - A business chat is a conversation with the customer. What the account's owner writes there is told as `account`;
//!   what we wrote there ourselves and Telegram repeats to us is told by nothing: it is the reply that is stored already.
//! - Addresses and ids: see `address`. What has no message id is known by its update id.

mod content;
mod context;
mod kinds;
mod message;
mod rich;
mod signs;
mod words;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tributary_bus::{
    ChannelId, MessageId,
    message::{
        Content, Inbound, MessageContext, MessageReceived, Origin, Profile, Raw, SentBy,
        Unsupported,
    },
};

use super::{
    address::{Place, is_private},
    config::Listen,
    wire::{AnswerCallbackQuery, Chat, ChatId, Message, Update, read},
};

/// What reading depends on besides the update.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub channel: ChannelId,
    /// The bot's own id.
    pub bot: i64,
    pub groups: Listen,
    pub channels: Listen,
}

/// What an update led to.
#[derive(Debug, Default)]
pub(super) struct Translated {
    /// Empty for what we sent ourselves, and for what is ignored.
    pub events: Vec<Inbound>,
    /// Why nothing is told.
    pub ignored: Option<Ignored>,
    /// To be called after the events are durable, so that the button stops spinning.
    pub answer: Option<AnswerCallbackQuery>,
    /// A group has become a supergroup.
    pub moved: Option<Move>,
}

/// Why an update is taken and nothing of it is told: nobody could be answered, or nobody wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ignored {
    /// From a group that is not listened to.
    Group,
    /// From a channel that is not listened to.
    Channel,
    /// It names no chat and no person, such as the count of votes of a poll.
    Nobody,
    /// No update at all.
    Unreadable,
}

impl Ignored {
    /// The label `kind` of `tributary_ignored_total`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Channel => "channel",
            Self::Nobody => "nobody",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A group has become a supergroup, with another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub from: i64,
    pub to: i64,
}

impl Reader {
    /// Why what is written in the chat makes no conversation; `None`: it does.
    fn ignores(&self, chat: &Chat) -> Option<Ignored> {
        if is_private(chat) {
            return None;
        }
        if chat.is_direct_messages == Some(true) && self.channels == Listen::On {
            return None;
        }
        let (listen, ignored) = match chat.kind.as_deref() {
            Some("channel") => (self.channels, Ignored::Channel),
            _ => (self.groups, Ignored::Group),
        };
        match listen {
            Listen::On => None,
            Listen::Ignore => Some(ignored),
        }
    }
}

/// Translates one update; `raw` is its JSON as it came, `now` stands in for a missing date.
pub(super) fn to_events(reader: &Reader, raw: &str, now: DateTime<Utc>) -> Translated {
    let Ok(value) = serde_json::from_str::<Value>(raw) else {
        return Ignored::Unreadable.into();
    };
    let Some(update) = Update::of(&value) else {
        return Ignored::Unreadable.into();
    };
    let translator = Translator {
        reader,
        raw,
        update_id: update.id,
        now,
    };
    translator.translate(update)
}

impl From<Ignored> for Translated {
    fn from(ignored: Ignored) -> Self {
        Self {
            ignored: Some(ignored),
            ..Self::default()
        }
    }
}

impl From<Inbound> for Translated {
    fn from(event: Inbound) -> Self {
        vec![event].into()
    }
}

impl From<Vec<Inbound>> for Translated {
    fn from(events: Vec<Inbound>) -> Self {
        Self {
            events,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy)]
struct Translator<'a> {
    reader: &'a Reader,
    raw: &'a str,
    /// Telegram's name of what happened; its times are whole seconds, in which people do more than one
    /// thing.
    update_id: Option<i64>,
    now: DateTime<Utc>,
}

/// A message about to be told.
struct Told {
    origin: Origin,
    provider_id: String,
    contact: Profile,
    content: Content,
    reply_to: Option<String>,
    sent_by: SentBy,
    context: MessageContext,
}

impl Translator<'_> {
    fn translate(self, update: Update<'_>) -> Translated {
        let chat = chat_of(update.body);
        if let Some(ignored) = chat.as_ref().and_then(|chat| self.reader.ignores(chat)) {
            return Self::unheard(update, ignored);
        }
        let translated = match update.kind {
            "message" | "channel_post" | "business_message" => self.message(update),
            "edited_message" | "edited_channel_post" | "edited_business_message" => {
                self.edited(update).map(Translated::from)
            }
            "deleted_business_messages" => self.deleted(update).map(Translated::from),
            "callback_query" => self.callback(update),
            "message_reaction" => self.reaction(update).map(Translated::from),
            "my_chat_member" => self.standing(update).map(Translated::from),
            "business_connection" => self.connection(update).map(Translated::from),
            _ => None,
        };
        let translated = translated.unwrap_or_else(|| self.unsupported_update(update));
        let chat = chat.and_then(|chat| chat.id);
        if translated
            .events
            .iter()
            .any(|event| names_nobody(event, chat))
        {
            return Ignored::Nobody.into();
        }
        translated
    }

    /// In a chat that is not listened to: buttons stop spinning there too, and a group that moves is still the same.
    fn unheard(update: Update<'_>, ignored: Ignored) -> Translated {
        let message: Message = read(update.body);
        Translated {
            answer: match update.kind {
                "callback_query" => signs::answer(update),
                _ => None,
            },
            moved: message::moved(&message),
            ..ignored.into()
        }
    }

    /// Everything else, by its name. Where nobody is named, there is nobody to have a conversation with.
    fn unsupported_update(self, update: Update<'_>) -> Translated {
        let message: Message = read(update.body);
        let Some(place) = Place::of(&message).or_else(|| address_of(update.body).map(Place::chat))
        else {
            return Ignored::Nobody.into();
        };
        if !place.is_private() && message.chat.is_none() && self.reader.groups == Listen::Ignore {
            return Ignored::Group.into();
        }
        let mut lines: Vec<String> = message
            .text
            .iter()
            .chain(&message.caption)
            .cloned()
            .collect();
        if let Some(body) = update.body.as_object() {
            lines.extend(kinds::read_all(body));
        }
        let description = kinds::with_lines(update.kind.replace('_', " "), &lines);
        let chat = message.chat.unwrap_or_default();
        self.told(Told {
            origin: self.origin(&place, message.date),
            provider_id: self.update_name(update),
            contact: context::contact(&chat, message.from.as_ref()),
            content: unsupported(update.kind, description),
            reply_to: None,
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
        })
        .into()
    }

    fn told(self, told: Told) -> Inbound {
        Inbound::Received(Box::new(MessageReceived {
            origin: told.origin,
            message_id: MessageId::derived(&self.reader.channel, &told.provider_id),
            provider_id: told.provider_id,
            contact: told.contact,
            content: told.content,
            reply_to: told.reply_to,
            sent_by: told.sent_by,
            context: told.context,
            replayed: false,
            extra: Map::new(),
        }))
    }

    fn origin(self, place: &Place, date: Option<i64>) -> Origin {
        let told = date.filter(|date| *date > 0);
        Origin {
            channel_id: self.reader.channel.clone(),
            address: place.address(),
            occurred_at: told
                .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
                .unwrap_or(self.now),
            event: self.update_id.map(|id| id.to_string()),
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

fn unsupported(kind: &str, description: impl Into<String>) -> Content {
    Content::Unsupported(Unsupported {
        kind: kind.to_owned(),
        description: Some(description.into()),
        extra: Map::new(),
    })
}

/// The chat in which something happened, as far as the update tells.
fn chat_of(body: &Value) -> Option<Chat> {
    ["/chat", "/message/chat"]
        .into_iter()
        .find_map(|path| body.pointer(path).filter(|chat| chat.is_object()))
        .map(read)
}

/// Ids below zero are those of groups and channels: one that is not the chat's own is no person's either.
fn names_nobody(event: &Inbound, chat: Option<i64>) -> bool {
    let Some(place) = Place::parse(&event.origin().address) else {
        return false;
    };
    match place.chat {
        ChatId::Number(id) => id < 0 && place.business.is_none() && chat != Some(id),
        ChatId::Name(_) => false,
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
