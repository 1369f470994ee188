//! Groups, supergroups with topics, and channels, from the outside.

use std::sync::Arc;

use serde_json::{Value, json};

use super::account::{Bot, now};
use super::chat::{Chat, Standing};
use super::person::Person;
use super::place::Place;
use super::user::{Told, User};
use super::view::ChatView;

/// Who writes for a group that nobody is named in.
const ANONYMOUS: i64 = 1_087_968_824;

/// A chat of several people in which a bot is, or one topic of it.
#[derive(Clone)]
pub struct Room {
    bot: Arc<Bot>,
    place: Place,
}

impl Room {
    pub(super) fn new(bot: Arc<Bot>, chat: Value) -> Self {
        let room = Self {
            bot,
            place: Place::chat(chat),
        };
        room.with(|_| ());
        room
    }

    /// Of the chat.
    pub fn id(&self) -> i64 {
        self.place.id()
    }

    /// Somebody in it. In a channel what they write is a post, which names nobody.
    pub fn user(&self, person: impl Into<Person>) -> User {
        User::at(Arc::clone(&self.bot), person.into(), self.place.clone())
    }

    /// The same with the bot as an administrator, whom privacy mode hides nothing from. The bot is not told.
    #[must_use]
    pub fn administered(self) -> Self {
        self.with(|chat| chat.sees_all = true);
        self
    }

    /// A topic with this `message_thread_id`, open.
    pub fn topic(&self, thread_id: i64) -> Self {
        self.with(|chat| chat.topics.insert(thread_id, true));
        let mut topic = self.clone();
        topic.place.thread = Some(thread_id);
        topic
    }

    /// Somebody who writes to the channel of which these are the direct messages.
    pub fn writer(&self, topic_id: i64, person: impl Into<Person>) -> User {
        self.with(|chat| chat.topics.insert(topic_id, true));
        let person = person.into();
        let mut place = self.place.clone();
        place.direct = Some((topic_id, person.as_user()));
        User::at(Arc::clone(&self.bot), person, place)
    }

    /// Closes this topic: bots can no longer write into it.
    pub fn closes(&self) {
        if let Some(thread) = self.place.thread {
            self.with(|chat| chat.topics.insert(thread, false));
        }
    }

    /// Somebody adds the bot: it is told, and can write.
    pub fn adds_bot(&self, by: impl Into<Person>) -> Told {
        self.membership(&by.into(), Standing::Open, "left", "member")
    }

    /// Somebody removes the bot: it is told, and can no longer write.
    pub fn removes_bot(&self, by: impl Into<Person>) -> Told {
        self.membership(&by.into(), Standing::Kicked, "member", "kicked")
    }

    /// Somebody joins: a service message, which privacy mode does not hide.
    pub fn joins(&self, person: impl Into<Person>) -> Told {
        let user = person.into().as_user();
        self.service(&user, json!({"new_chat_members": [user]}))
    }

    /// Somebody leaves, likewise.
    pub fn leaves(&self, person: impl Into<Person>) -> Told {
        let user = person.into().as_user();
        self.service(&user, json!({"left_chat_member": user}))
    }

    /// The group becomes a supergroup with this id: both are told, the old one takes nothing any more.
    pub fn migrates(&self, by: impl Into<Person>, to: i64) -> Self {
        let by = by.into().as_user();
        self.service(&by, json!({ "migrate_to_chat_id": to }));
        self.with(|chat| chat.standing = Standing::Migrated { to });
        let mut chat = self.place.chat.clone();
        chat["id"] = json!(to);
        chat["type"] = json!("supergroup");
        let new = Self::new(Arc::clone(&self.bot), chat.clone());
        let anonymous = json!({
            "id": ANONYMOUS, "is_bot": true, "first_name": "Group", "username": "GroupAnonymousBot",
        });
        let content = json!({"sender_chat": chat, "migrate_from_chat_id": self.id()});
        new.service(&anonymous, content);
        new
    }

    /// The chat as it looks now.
    pub fn looks(&self) -> ChatView {
        self.user(1).sees()
    }

    fn with<T>(&self, step: impl FnOnce(&mut Chat) -> T) -> T {
        self.bot.with(|account| step(self.place.chat_of(account)))
    }

    fn service(&self, from: &Value, content: Value) -> Told {
        let told = self.bot.with(|account| {
            let chat = self.place.chat_of(account);
            let message_id = chat.next_message_id();
            let mut message = json!({
                "message_id": message_id, "from": from, "chat": self.place.chat, "date": now(),
            });
            if let (Value::Object(fields), Value::Object(content)) = (&mut message, content) {
                fields.extend(content);
            }
            chat.keep(message_id, Arc::new(message.clone()));
            Told {
                update_id: self.bot.publish(account, "message", &message),
                message_id,
            }
        });
        self.bot.shared.bell.ring();
        told
    }

    fn membership(&self, by: &Person, standing: Standing, old: &str, new: &str) -> Told {
        self.bot.with(|account| {
            self.place.chat_of(account).standing = standing;
            let me = self.bot.user();
            let mut change = json!({
                "chat": self.place.chat,
                "from": by.as_user(),
                "date": now(),
                "old_chat_member": {"user": me, "status": old},
                "new_chat_member": {"user": me, "status": new},
            });
            if new == "kicked" {
                change["new_chat_member"]["until_date"] = json!(0);
            }
            Told {
                update_id: self.bot.publish(account, "my_chat_member", &change),
                message_id: 0,
            }
        })
    }
}
