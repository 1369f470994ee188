//! Where a person writes, and what of that a bot is told.

use serde_json::{Map, Value, json};

use super::account::{Account, Bot, Business, now};
use super::chat::Chat;
use super::person::Person;

/// A chat, a topic of it, or a chat of somebody's account that the bot answers for.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The `Chat` object.
    pub chat: Value,
    pub business: Option<String>,
    pub thread: Option<i64>,
    /// A topic of a channel's direct messages, and who writes to the channel in it.
    pub direct: Option<(i64, Value)>,
}

impl Place {
    pub(super) fn private(person: &Person) -> Self {
        Self::chat(person.as_chat())
    }

    pub(super) fn chat(chat: Value) -> Self {
        Self {
            chat,
            business: None,
            thread: None,
            direct: None,
        }
    }

    pub(super) fn id(&self) -> i64 {
        self.chat["id"].as_i64().unwrap_or_default()
    }

    fn is(&self, kind: &str) -> bool {
        self.chat["type"] == kind
    }

    /// The chat; it becomes known if it was not.
    pub(super) fn chat_of<'a>(&self, account: &'a mut Account) -> &'a mut Chat {
        let new = || Chat::new(self.chat.clone());
        match &self.business {
            None => account.chats.entry(self.id()).or_insert_with(new),
            Some(connection) => account
                .business
                .entry(connection.clone())
                .or_insert_with(|| Business::new(json!({})))
                .chats
                .entry(self.id())
                .or_insert_with(new),
        }
    }

    /// The chat, if it is known.
    pub(super) fn known_chat<'a>(&self, account: &'a Account) -> Option<&'a Chat> {
        match &self.business {
            None => account.chats.get(&self.id()),
            Some(connection) => account.business.get(connection)?.chats.get(&self.id()),
        }
    }

    /// A `Message` of this person here.
    pub(super) fn envelope(&self, person: &Person, message_id: i64, content: Value) -> Value {
        let mut message = Map::new();
        if let Some(connection) = &self.business {
            message.insert("business_connection_id".into(), json!(connection));
        }
        message.insert("message_id".into(), json!(message_id));
        if self.is("channel") {
            message.insert("sender_chat".into(), self.chat.clone());
        } else {
            message.insert("from".into(), person.as_user());
        }
        message.insert("chat".into(), self.chat.clone());
        message.insert("date".into(), json!(now()));
        if let Some(thread) = self.thread {
            message.insert("message_thread_id".into(), json!(thread));
            message.insert("is_topic_message".into(), json!(true));
        }
        if let Some((topic, user)) = &self.direct {
            let topic = json!({"topic_id": topic, "user": user});
            message.insert("direct_messages_topic".into(), topic);
        }
        if let Value::Object(fields) = content {
            message.extend(fields);
        }
        message.into()
    }

    /// `message` and `edited_message`, as they are called here.
    pub(super) fn update_kind(&self, kind: &str) -> String {
        if self.business.is_some() {
            kind.replace("message", "business_message")
        } else if self.is("channel") {
            kind.replace("message", "channel_post")
        } else {
            kind.to_owned()
        }
    }

    /// In groups a bot in privacy mode sees only commands that may be for it and answers to it.
    pub(super) fn is_seen(&self, bot: &Bot, chat: &Chat, message: &Value) -> bool {
        let in_group = self.is("group") || self.is("supergroup");
        if !in_group || bot.profile.reads_all_group_messages || chat.sees_all {
            return true;
        }
        let command = message["text"]
            .as_str()
            .and_then(|text| text.strip_prefix('/'))
            .and_then(|text| text.split_whitespace().next());
        let for_it = command.is_some_and(|command| match command.split_once('@') {
            Some((_, name)) => name.eq_ignore_ascii_case(&bot.profile.username),
            None => true,
        });
        for_it || message["reply_to_message"]["from"]["id"] == bot.profile.id()
    }
}
