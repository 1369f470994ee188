//! A bot from the outside: whom it meets, and updates of any kind.

use std::sync::Arc;

use serde_json::Value;

use super::account::{Bot, Standing};
use super::person::Person;
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
                let chat = account.chat(chat_id, || body["chat"].clone());
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
            account.chat(chat_id, || chat);
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
