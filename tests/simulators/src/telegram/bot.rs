//! A bot from the outside: whom it meets, and updates of any kind.

use std::sync::Arc;

use serde_json::{Value, json};

use super::account::Bot;
use super::business::BusinessAccount;
use super::chat::{Chat, Standing};
use super::media::Media;
use super::person::Person;
use super::room::Room;
use super::user::{Told, User};

/// One bot, to make it meet people and other updates.
#[derive(Clone)]
pub struct BotHandle {
    bot: Arc<Bot>,
}

impl BotHandle {
    pub(super) fn new(bot: Arc<Bot>) -> Self {
        Self { bot }
    }

    /// Its token.
    pub fn token(&self) -> &str {
        &self.bot.profile.token
    }

    /// Somebody who talks to this bot: a [`Person`], or just the id of one.
    pub fn user(&self, person: impl Into<Person>) -> User {
        User::new(Arc::clone(&self.bot), person.into())
    }

    /// A basic group the bot is in; ids of groups are negative.
    pub fn group(&self, id: i64, title: &str) -> Room {
        self.room(json!({"id": id, "title": title, "type": "group"}))
    }

    /// A supergroup the bot is in; their ids begin with -100. Topics make it a forum.
    pub fn supergroup(&self, id: i64, title: &str) -> Room {
        self.room(json!({"id": id, "title": title, "type": "supergroup"}))
    }

    /// A channel the bot is an administrator of, with its `@` name; ids begin with -100.
    pub fn channel(&self, id: i64, title: &str, username: &str) -> Room {
        self.room(json!({"id": id, "title": title, "username": username, "type": "channel"}))
    }

    /// The chat in which people write to a channel that the bot administers; see [`Room::writer`].
    pub fn direct_messages(&self, id: i64, title: &str) -> Room {
        let chat = json!({
            "id": id, "title": title, "type": "supergroup", "is_forum": true,
            "is_direct_messages": true,
        });
        self.room(chat).administered()
    }

    fn room(&self, chat: Value) -> Room {
        Room::new(Arc::clone(&self.bot), chat)
    }

    /// Somebody lets the bot answer for their account, with all rights; the bot is told.
    pub fn business(&self, owner: impl Into<Person>) -> BusinessAccount {
        BusinessAccount::connect(Arc::clone(&self.bot), owner.into())
    }

    /// A file that is already at the provider: its `file_id`, for this bot.
    pub fn file(&self, media: Media) -> String {
        let kind = media.kind();
        let fields = self.bot.with(|account| media.store(account));
        let file = fields.get(kind.field()).cloned().unwrap_or_default();
        let largest = file.as_array().and_then(|sizes| sizes.last()).cloned();
        let file = largest.unwrap_or(file);
        file["file_id"].as_str().unwrap_or_default().to_owned()
    }

    /// `getFile` tells this path for a file, as an own server does that keeps the names of files.
    pub fn put_file_at(&self, file_id: &str, path: &str) {
        self.bot.with(|account| account.files.put_at(file_id, path));
    }

    /// The links of `getFile` given so far stop working, as they do after an hour.
    pub fn expire_links(&self) {
        self.bot.with(|account| account.files.expire_links());
    }

    /// A file is gone: `getFile` answers 400. `false`: there was none.
    pub fn expire_file(&self, file_id: &str) -> bool {
        self.bot.with(|account| account.files.expire(file_id))
    }

    /// No callback query made so far can be answered any more.
    pub fn expire_callbacks(&self) {
        self.bot.with(|account| account.expire_callbacks());
    }

    /// Makes any update: an object with the kind as its key, `{"channel_post": {...}}`. An `update_id` in it is replaced.
    /// The chat becomes known, and a message in it counts among its messages. `message_id` is that of the message, or 0.
    pub fn update(&self, update: Value) -> Told {
        let Value::Object(fields) = update else {
            return Told {
                update_id: None,
                message_id: 0,
            };
        };
        let Some((kind, body)) = fields.into_iter().find(|(key, _)| key != "update_id") else {
            return Told {
                update_id: None,
                message_id: 0,
            };
        };
        let message_id = body["message_id"].as_i64().unwrap_or_default();
        let update_id = self.bot.with(|account| {
            if let Some(chat_id) = body["chat"]["id"].as_i64() {
                let chat = account
                    .chats
                    .entry(chat_id)
                    .or_insert_with(|| Chat::new(body["chat"].clone()));
                if message_id > 0 && body.get("date").is_some() {
                    chat.keep(message_id, Arc::new(body.clone()));
                }
            }
            if let ("callback_query", Some(id)) = (kind.as_str(), body["id"].as_str()) {
                account.keep_callback(id);
            }
            self.bot.publish(account, &kind, &body)
        });
        Told {
            update_id,
            message_id,
        }
    }

    /// Makes a chat known (a group, a channel): a `Chat` object. `false`: it has no id.
    pub fn add_chat(&self, chat: Value) -> bool {
        let Some(chat_id) = chat["id"].as_i64() else {
            return false;
        };
        self.bot.with(|account| {
            account
                .chats
                .entry(chat_id)
                .or_insert_with(|| Chat::new(chat));
        });
        true
    }

    /// Changes how a known chat takes messages; `false`: it is not known.
    pub fn set_standing(&self, chat_id: i64, standing: Standing) -> bool {
        self.bot
            .with(|account| match account.chats.get_mut(&chat_id) {
                Some(chat) => {
                    chat.standing = standing;
                    true
                }
                None => false,
            })
    }

    /// Updates that are not confirmed or accepted yet.
    pub fn pending(&self) -> usize {
        self.bot.with(|account| account.updates.len())
    }

    /// Where updates are delivered to, if a webhook is set.
    pub fn webhook_url(&self) -> Option<String> {
        self.bot.with(|account| {
            account
                .webhook
                .as_ref()
                .map(|webhook| webhook.settings.url.to_string())
        })
    }

    /// Makes the token invalid: every further call is answered 401.
    pub fn revoke(&self) {
        self.bot.revoke();
    }
}
