//! From updates to normalized events. Pure, and total: whatever comes, something is told about it.
//!
//! Decisions of this channel:
//! - What a person writes in the private chat with the bot is a message. So is `/start <payload>`, after it was told as
//!   `contact.joined` with the payload: a person who presses Start waits for an answer.
//! - Groups and channels are conversations where the account says so (`groups`, `channels`): the contact is the group,
//!   a topic of a forum is a contact of its own, and who wrote stands in the context. Elsewhere what is written there is
//!   a message with `unsupported` content, so that nobody wonders where it went.
//! - A business chat is a conversation with the customer. What the account's owner writes there is told as `account`;
//!   what we wrote there ourselves and Telegram repeats to us is told by nothing: it is the reply that is stored already.
//! - Addresses and ids: see `address`. What has no message id is known by its update id.

mod content;
mod context;
mod kinds;
mod message;
mod signs;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tributary_bus::{
    Address, ChannelId, MessageId,
    message::{
        Content, Inbound, MessageContext, MessageReceived, Origin, Profile, Raw, SentBy,
        Unsupported,
    },
};

use super::{
    address::{Place, is_private},
    config::Listen,
    wire::{AnswerCallbackQuery, Chat, Message, Update, read},
};

/// Where events go that name no chat and no person.
const NOBODY: &str = "unknown";

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
    /// Empty only for what we sent ourselves.
    pub events: Vec<Inbound>,
    /// To be called after the events are durable, so that the button stops spinning.
    pub answer: Option<AnswerCallbackQuery>,
    /// A group has become a supergroup.
    pub moved: Option<Move>,
}

/// A group has become a supergroup, with another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub from: i64,
    pub to: i64,
}

impl Reader {
    /// Whether what is written in the chat makes conversations.
    fn listens(&self, chat: &Chat) -> bool {
        if is_private(chat) {
            return true;
        }
        let listen = match chat.kind.as_deref() {
            Some("channel") => self.channels,
            _ => self.groups,
        };
        listen == Listen::On
    }
}

/// Translates one update; `raw` is its JSON as it came, `now` stands in for a missing date.
pub(super) fn to_events(reader: &Reader, raw: &str, now: DateTime<Utc>) -> Translated {
    let translator = Translator { reader, raw, now };
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
        translated.unwrap_or_else(|| self.unsupported_update(update).into())
    }

    /// Everything else, by its name.
    fn unsupported_update(self, update: Update<'_>) -> Inbound {
        let message: Message = read(update.body);
        let place = Place::of(&message).or_else(|| address_of(update.body).map(Place::chat));
        let address = place.map_or_else(|| Address::from(NOBODY), |place| place.address());
        let words = update.kind.replace('_', " ");
        let description = match message.text.as_ref().or(message.caption.as_ref()) {
            Some(text) => format!("{words}: {text}"),
            None => words,
        };
        let chat = message.chat.unwrap_or_default();
        self.told(Told {
            origin: self.origin_at(address, message.date),
            provider_id: self.update_name(update),
            contact: context::contact(&chat, message.from.as_ref()),
            content: unsupported(update.kind, description),
            reply_to: None,
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
        })
    }

    /// Not an update at all. Refusing it would block the chat behind it for a day.
    fn unreadable(self) -> Inbound {
        self.told(Told {
            origin: self.origin_at(Address::from(NOBODY), None),
            provider_id: format!("unreadable:{}", self.digest()),
            contact: Profile::default(),
            content: unsupported("unreadable", "something that is not an update"),
            reply_to: None,
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
        })
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
        self.origin_at(place.address(), date)
    }

    fn origin_at(self, address: Address, date: Option<i64>) -> Origin {
        let told = date.filter(|date| *date > 0);
        Origin {
            channel_id: self.reader.channel.clone(),
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

fn unsupported(kind: &str, description: impl Into<String>) -> Content {
    Content::Unsupported(Unsupported {
        kind: kind.to_owned(),
        description: Some(description.into()),
        extra: Map::new(),
    })
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
