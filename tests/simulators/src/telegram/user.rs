//! What a person does in the chat with a bot.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::account::{Account, Bot, Chat, Standing, now};
use super::person::Person;

/// What became of something a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The update it made; `None`: the bot does not want this kind, or too many are waiting.
    pub update_id: Option<i64>,
    /// The message it was, or was about; 0 where it was none.
    pub message_id: i64,
}

/// A person in the private chat with one bot.
#[derive(Clone)]
pub struct User {
    bot: Arc<Bot>,
    person: Person,
}

impl User {
    pub(super) fn new(bot: Arc<Bot>, person: Person) -> Self {
        Self { bot, person }
    }

    /// Writes a text. Text that begins with `/` carries a `bot_command` entity, as from a real client.
    pub fn says(&self, text: &str) -> Told {
        self.sends(text_content(text))
    }

    /// Presses Start, with the payload of a deep link if there is one. Also makes a [`Standing::NotStarted`] chat open.
    pub fn starts(&self, payload: Option<&str>) -> Told {
        self.set_standing(Standing::Open);
        self.says(&payload.map_or_else(
            || "/start".to_owned(),
            |payload| format!("/start {payload}"),
        ))
    }

    /// Answers a message of the chat.
    pub fn replies(&self, to_message_id: i64, text: &str) -> Told {
        self.in_chat(|bot, account, user| {
            let mut content = text_content(text);
            let replied = user
                .chat(account)
                .message(to_message_id)
                .map(|message| Value::clone(message));
            content["reply_to_message"] = replied.unwrap_or_else(
                || json!({"message_id": to_message_id, "chat": user.person.as_chat(), "date": 0}),
            );
            user.message(bot, account, content)
        })
    }

    /// Sends a message with this content: fields of `Message` such as `{"location": {...}}`.
    pub fn sends(&self, content: Value) -> Told {
        self.in_chat(|bot, account, user| user.message(bot, account, content))
    }

    /// Sends a photo in two sizes.
    pub fn sends_photo(&self, caption: Option<&str>) -> Told {
        let mut content = json!({"photo": [
            {"file_id": "AgACphoto-s", "file_unique_id": "AQADs", "width": 90, "height": 67, "file_size": 1301},
            {"file_id": "AgACphoto-x", "file_unique_id": "AQADx", "width": 1280, "height": 960, "file_size": 182_113},
        ]});
        if let Some(caption) = caption {
            content["caption"] = json!(caption);
        }
        self.sends(content)
    }

    /// Sends a sticker.
    pub fn sends_sticker(&self) -> Told {
        self.sends(json!({"sticker": {
            "file_id": "CAACsticker", "file_unique_id": "AgADst", "type": "regular", "width": 512, "height": 512,
            "is_animated": false, "is_video": false, "emoji": "😂", "set_name": "SetByExample", "file_size": 22_111,
        }}))
    }

    /// Throws a die.
    pub fn sends_dice(&self) -> Told {
        self.sends(json!({"dice": {"emoji": "🎲", "value": 4}}))
    }

    /// Changes the text of an earlier message of this person.
    pub fn edits(&self, message_id: i64, text: &str) -> Told {
        self.in_chat(|bot, account, user| {
            let date = user
                .chat(account)
                .message(message_id)
                .map(|message| message["date"].clone());
            let mut message = user.envelope(message_id, text_content(text));
            message["date"] = date.unwrap_or_else(|| json!(now()));
            message["edit_date"] = json!(now());
            user.chat(account)
                .keep(message_id, Arc::new(message.clone()));
            let update_id = bot.publish(account, "edited_message", &message);
            Told {
                update_id,
                message_id,
            }
        })
    }

    /// Presses the inline button with this data below a message of the bot. The query's id is in the update.
    pub fn presses(&self, message_id: i64, data: &str) -> Told {
        self.in_chat(|bot, account, user| {
            let id = account.new_callback();
            let message = user
                .chat(account)
                .message(message_id)
                .map(|message| Value::clone(message));
            let query = json!({
                "id": id,
                "from": user.person.as_user(),
                "message": message.unwrap_or_else(
                    || json!({"message_id": message_id, "chat": user.person.as_chat(), "date": 0}),
                ),
                "chat_instance": "-3042000000000000001",
                "data": data,
            });
            Told {
                update_id: bot.publish(account, "callback_query", &query),
                message_id,
            }
        })
    }

    /// Puts a reaction on a message in place of none. Bots get it only if they ask for `message_reaction`.
    pub fn reacts(&self, message_id: i64, emoji: &str) -> Told {
        self.in_chat(|bot, account, user| {
            let reaction = json!({
                "chat": user.person.as_chat(),
                "message_id": message_id,
                "user": user.person.as_user(),
                "date": now(),
                "old_reaction": [],
                "new_reaction": [{"type": "emoji", "emoji": emoji}],
            });
            Told {
                update_id: bot.publish(account, "message_reaction", &reaction),
                message_id,
            }
        })
    }

    /// Blocks the bot: it is told, and can no longer write.
    pub fn blocks(&self) -> Told {
        self.becomes(Standing::Blocked, "member", "kicked")
    }

    /// Lets the bot write again, which it is told.
    pub fn unblocks(&self) -> Told {
        self.becomes(Standing::Open, "kicked", "member")
    }

    /// Changes how the chat takes messages without telling the bot. The chat becomes known to it.
    pub fn set_standing(&self, standing: Standing) {
        self.bot
            .with(|account| self.chat(account).standing = standing);
    }

    /// Makes the chat known to the bot, as if the person had written long ago.
    #[must_use]
    pub fn known(self) -> Self {
        self.bot.with(|account| {
            self.chat(account);
        });
        self
    }

    fn becomes(&self, standing: Standing, old: &str, new: &str) -> Told {
        self.in_chat(|bot, account, user| {
            user.chat(account).standing = standing;
            let me = bot.user();
            let mut change = json!({
                "chat": user.person.as_chat(),
                "from": user.person.as_user(),
                "date": now(),
                "old_chat_member": {"user": me, "status": old},
                "new_chat_member": {"user": me, "status": new},
            });
            let banned = if new == "kicked" {
                "new_chat_member"
            } else {
                "old_chat_member"
            };
            change[banned]["until_date"] = json!(0);
            Told {
                update_id: bot.publish(account, "my_chat_member", &change),
                message_id: 0,
            }
        })
    }

    fn in_chat(&self, step: impl FnOnce(&Arc<Bot>, &mut Account, &Self) -> Told) -> Told {
        self.bot.with(|account| step(&self.bot, account, self))
    }

    fn chat<'a>(&self, account: &'a mut Account) -> &'a mut Chat {
        account.chat(self.person.id, || self.person.as_chat())
    }

    fn message(&self, bot: &Arc<Bot>, account: &mut Account, content: Value) -> Told {
        let chat = self.chat(account);
        let message_id = chat.next_message_id();
        let message = self.envelope(message_id, content);
        chat.keep(message_id, Arc::new(message.clone()));
        Told {
            update_id: bot.publish(account, "message", &message),
            message_id,
        }
    }

    fn envelope(&self, message_id: i64, content: Value) -> Value {
        let mut message = Map::new();
        message.insert("message_id".into(), json!(message_id));
        message.insert("from".into(), self.person.as_user());
        message.insert("chat".into(), self.person.as_chat());
        message.insert("date".into(), json!(now()));
        if let Value::Object(fields) = content {
            message.extend(fields);
        }
        message.into()
    }
}

fn text_content(text: &str) -> Value {
    let mut content = json!({ "text": text });
    if text.starts_with('/') {
        let command = text.split_whitespace().next().unwrap_or_default();
        let length = command.encode_utf16().count();
        content["entities"] = json!([{"offset": 0, "length": length, "type": "bot_command"}]);
    }
    content
}
