//! The addresses of this channel and the provider's ids of its messages: both name more than a chat, and only this
//! file makes and reads them.
//!
//! | address | what it is |
//! |---|---|
//! | `5550001111` | a person, or (negative) a group or channel |
//! | `-1002000333444/15` | a topic of a forum: a conversation of its own |
//! | `5550001111/7` | a topic that a person has in the private chat with the bot |
//! | `direct/-1002000333444/71` | a person who writes to a channel: one topic of its direct messages |
//! | `@news_ex` | a public group or channel by its name, only to send to |
//! | `business/bc_AbC123/5550001111` | a person who writes to the account that the bot answers for |
//!
//! The id of a message is `<chat>:<message>`, since Telegram counts messages per chat; in a business chat
//! `<connection>:<chat>:<message>`, since it is another chat than the bot's own with the same person.

use tributary_bus::Address;

use super::wire::{Chat, ChatId, Message};

/// Where something is sent, or came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub chat: ChatId,
    /// The topic of a forum or of a private chat.
    pub thread: Option<i64>,
    /// The topic of a channel's direct messages, in which one person writes to the channel.
    pub direct: Option<i64>,
    /// The business connection through which the chat is reached.
    pub business: Option<String>,
}

/// Which message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageKey {
    pub business: Option<String>,
    pub chat: String,
    pub message: i64,
}

impl Place {
    /// A chat without more.
    pub(super) fn chat(id: i64) -> Self {
        Self {
            chat: ChatId::Number(id),
            thread: None,
            direct: None,
            business: None,
        }
    }

    /// Where a message was written; `None` when it does not tell.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let chat = message.chat.as_ref()?;
        let id = chat.id?;
        let business = message.business_connection_id.clone();
        let in_topic = message.is_topic_message == Some(true);
        let direct = message.direct_messages_topic.as_ref();
        Some(Self {
            chat: ChatId::Number(id),
            thread: message.message_thread_id.filter(|_| in_topic),
            direct: direct.and_then(|topic| topic.topic_id),
            business: business.filter(|connection| !connection.is_empty()),
        })
    }

    /// `None`: no address of this channel.
    pub(super) fn parse(address: &Address) -> Option<Self> {
        let text = address.as_str();
        if let Some(rest) = text.strip_prefix("business/") {
            let (connection, chat) = rest.rsplit_once('/')?;
            return Some(Self {
                business: Some(connection.to_owned()).filter(|id| !id.is_empty()),
                ..Self::chat(chat.parse().ok()?)
            });
        }
        if let Some(rest) = text.strip_prefix("direct/") {
            let (chat, topic) = rest.split_once('/')?;
            return Some(Self {
                direct: Some(topic.parse().ok()?),
                ..Self::chat(chat.parse().ok()?)
            });
        }
        if text.len() > 1 && text.starts_with('@') {
            return Some(Self {
                chat: ChatId::Name(text.to_owned()),
                ..Self::chat(0)
            });
        }
        let (chat, thread) = match text.split_once('/') {
            Some((chat, thread)) => (chat, Some(thread.parse().ok()?)),
            None => (text, None),
        };
        Some(Self {
            thread,
            ..Self::chat(chat.parse().ok()?)
        })
    }

    pub(super) fn address(&self) -> Address {
        let chat = match &self.chat {
            ChatId::Number(id) => id.to_string(),
            ChatId::Name(name) => name.clone(),
        };
        Address(match (&self.business, self.direct, self.thread) {
            (Some(connection), _, _) => format!("business/{connection}/{chat}"),
            (None, Some(topic), _) => format!("direct/{chat}/{topic}"),
            (None, None, Some(thread)) => format!("{chat}/{thread}"),
            (None, None, None) => chat,
        })
    }

    /// The id of a message here. `None` also for message id 0, which several messages of a chat can have.
    pub(super) fn message(&self, message: Option<i64>) -> Option<String> {
        let ChatId::Number(chat) = self.chat else {
            return None;
        };
        Some(MessageKey {
            business: self.business.clone(),
            chat: chat.to_string(),
            message: message.filter(|id| *id != 0)?,
        })
        .map(|key| key.id())
    }

    /// Whether one person is written to here (groups and channels have negative ids, or names).
    pub(super) fn is_private(&self) -> bool {
        matches!(self.chat, ChatId::Number(id) if id > 0)
    }

    /// The private chat with the bot itself, whatever the topic in it.
    pub(super) fn own_chat(&self) -> Option<i64> {
        match self.chat {
            ChatId::Number(id) if id > 0 && self.business.is_none() => Some(id),
            ChatId::Number(_) | ChatId::Name(_) => None,
        }
    }
}

impl MessageKey {
    pub(super) fn id(&self) -> String {
        let Self {
            business,
            chat,
            message,
        } = self;
        match business {
            Some(connection) => format!("{connection}:{chat}:{message}"),
            None => format!("{chat}:{message}"),
        }
    }

    /// `None`: the id of something that is no message, such as a pressed button.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let (rest, message) = id.rsplit_once(':')?;
        let message = message.parse().ok()?;
        let (business, chat) = match rest.rsplit_once(':') {
            Some((connection, chat)) => (Some(connection.to_owned()), chat),
            None => (None, rest),
        };
        // `callback:5` and `update:5` are no messages.
        let known = chat.parse::<i64>().is_ok() || chat.starts_with('@');
        known.then(|| Self {
            business,
            chat: chat.to_owned(),
            message,
        })
    }
}

pub(super) fn is_private(chat: &Chat) -> bool {
    // Groups and channels have negative ids, whatever else is said of them.
    chat.id.is_none_or(|id| id > 0)
        && match chat.kind.as_deref() {
            Some(kind) => kind == "private",
            None => chat.id.is_some(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_written() {
        for text in [
            "5550001111",
            "-1002000333444",
            "-1002000333444/15",
            "5550001111/7",
            "direct/-1002000333444/71",
            "@news_ex",
            "business/bc_AbC123/5550001111",
            "business/a/b:c/5550001111",
        ] {
            let place = Place::parse(&Address::from(text)).expect(text);
            assert_eq!(place.address().as_str(), text);
        }
        for text in [
            "",
            "@",
            "x",
            "5/x",
            "business/5",
            "business/bc/x",
            "5 ",
            "direct/5",
            "direct/5/x",
        ] {
            assert_eq!(Place::parse(&Address::from(text)), None, "{text}");
        }
    }

    #[test]
    fn ids_read_as_written() {
        for text in [
            "5550001111:51",
            "-100:9",
            "@news:4",
            "bc:AbC:5550001111:900",
        ] {
            assert_eq!(MessageKey::parse(text).expect(text).id(), text);
        }
        for text in ["callback:5", "update:7", "5", "", "5:x", "update:abc"] {
            assert_eq!(MessageKey::parse(text), None, "{text}");
        }
    }
}
