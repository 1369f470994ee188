//! What a person does in a chat with a bot.

mod press;
mod share;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::account::{Account, Bot, now};
use super::chat::{Chat, Standing};
use super::detect::detect;
use super::person::Person;
use super::place::Place;
use super::view::ChatView;
use crate::TimedOut;

pub use self::press::NotThere;
pub use self::share::Origin;

/// What became of something a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The update it made; `None`: the bot does not want this kind or does not see it (privacy mode), or too many are waiting.
    pub update_id: Option<i64>,
    /// The message it was, or was about; 0 where it was none.
    pub message_id: i64,
}

/// A person in one chat: the private one with a bot, a group, a channel (whose posts name no person), or the chat with
/// somebody's account that a bot answers for.
#[derive(Clone)]
pub struct User {
    bot: Arc<Bot>,
    person: Person,
    place: Place,
}

impl User {
    pub(super) fn new(bot: Arc<Bot>, person: Person) -> Self {
        let place = Place::private(&person);
        Self { bot, person, place }
    }

    pub(super) fn at(bot: Arc<Bot>, person: Person, place: Place) -> Self {
        Self { bot, person, place }
    }

    /// Writes a text. Commands, links and mentions in it become entities, as from a real client.
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
        self.replies_with(to_message_id, text_content(text))
    }

    /// Answers a message with other content: fields of `Message`.
    pub fn replies_with(&self, to_message_id: i64, mut content: Value) -> Told {
        self.in_chat(|account| {
            content["reply_to_message"] = self.chat(account).quoted(to_message_id);
            self.message(account, content)
        })
    }

    /// Answers a part of a message, which must be in it exactly; otherwise the whole message.
    pub fn quotes(&self, to_message_id: i64, part: &str, text: &str) -> Told {
        self.in_chat(|account| {
            let original = self.chat(account).quoted(to_message_id);
            let mut content = text_content(text);
            let at = original["text"]
                .as_str()
                .and_then(|text| Some(text[..text.find(part)?].encode_utf16().count()));
            if let Some(position) = at {
                content["quote"] = json!({"text": part, "position": position, "is_manual": true});
            }
            content["reply_to_message"] = original;
            self.message(account, content)
        })
    }

    /// Sends a message with this content: fields of `Message` such as `{"dice": {...}}`.
    pub fn sends(&self, content: Value) -> Told {
        self.in_chat(|account| self.message(account, content))
    }

    /// Changes the text of an earlier message, or its caption if it has no text.
    pub fn edits(&self, message_id: i64, text: &str) -> Told {
        self.in_chat(|account| {
            let old = self.chat(account).message(message_id).map(Arc::clone);
            let captioned = old.is_some_and(|old| old.get("text").is_none());
            let mut fields = text_content(text);
            if captioned {
                let entities = fields["entities"].take();
                fields = json!({"caption": text, "caption_entities": entities});
            }
            self.edit(account, message_id, fields)
        })
    }

    /// Changes fields of an earlier message; `null` removes one. The bot is told the whole message.
    pub fn edits_with(&self, message_id: i64, fields: Value) -> Told {
        self.in_chat(|account| self.edit(account, message_id, fields))
    }

    /// Takes a message away. In ordinary chats bots are not told; behind a business connection they are.
    pub fn deletes(&self, message_id: i64) -> Told {
        self.in_chat(|account| {
            self.chat(account).remove(message_id);
            let update_id = self.place.business.as_ref().and_then(|id| {
                let deleted = json!({
                    "business_connection_id": id,
                    "chat": self.place.chat,
                    "message_ids": [message_id],
                });
                self.bot
                    .publish(account, "deleted_business_messages", &deleted)
            });
            Told {
                update_id,
                message_id,
            }
        })
    }

    /// Puts a reaction on a message in place of those this person had. Bots get it only if they ask for `message_reaction`.
    pub fn reacts(&self, message_id: i64, emoji: &str) -> Told {
        self.reacts_with(message_id, &[emoji])
    }

    /// Takes this person's reactions back.
    pub fn unreacts(&self, message_id: i64) -> Told {
        self.reacts_with(message_id, &[])
    }

    /// Puts these reactions in place of those this person had.
    pub fn reacts_with(&self, message_id: i64, emoji: &[&str]) -> Told {
        self.in_chat(|account| {
            let new: Value = emoji
                .iter()
                .map(|emoji| json!({"type": "emoji", "emoji": emoji}))
                .collect();
            let old = self
                .chat(account)
                .react(message_id, self.person.id, new.clone());
            let reaction = json!({
                "chat": self.place.chat,
                "message_id": message_id,
                "user": self.person.as_user(),
                "date": now(),
                "old_reaction": old,
                "new_reaction": new,
            });
            Told {
                update_id: self.bot.publish(account, "message_reaction", &reaction),
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

    /// The same person in a topic of the private chat.
    #[must_use]
    pub fn in_topic(mut self, thread_id: i64) -> Self {
        self.place.thread = Some(thread_id);
        self.bot.with(|account| {
            self.chat(account).topics.insert(thread_id, true);
        });
        self
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

    /// The chat as it looks to this person now; empty if the bot does not know it. Looking changes nothing.
    pub fn sees(&self) -> ChatView {
        self.bot.with(|account| {
            let chat = self.place.known_chat(account);
            chat.map_or_else(ChatView::default, |chat| {
                ChatView::of(&self.bot, chat, &account.files)
            })
        })
    }

    /// Waits until the chat looks as it should, which is asked once and after every change.
    ///
    /// # Errors
    /// It does not within `within`.
    pub async fn wait_until_sees(
        &self,
        within: Duration,
        mut predicate: impl FnMut(&ChatView) -> bool,
    ) -> Result<ChatView, TimedOut> {
        let mut last = self.sees();
        let holds = || {
            last = self.sees();
            predicate(&last)
        };
        if self.bot.shared.bell.wait_until(within, holds).await {
            return Ok(last);
        }
        Err(TimedOut {
            within,
            seen: format!("{} messages in the chat", last.messages.len()),
        })
    }

    fn becomes(&self, standing: Standing, old: &str, new: &str) -> Told {
        self.in_chat(|account| {
            self.chat(account).standing = standing;
            let me = self.bot.user();
            let mut change = json!({
                "chat": self.place.chat,
                "from": self.person.as_user(),
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
                update_id: self.bot.publish(account, "my_chat_member", &change),
                message_id: 0,
            }
        })
    }

    fn in_chat(&self, step: impl FnOnce(&mut Account) -> Told) -> Told {
        let told = self.bot.with(step);
        // The chat has changed even where no update was made.
        self.bot.shared.bell.ring();
        told
    }

    fn chat<'a>(&self, account: &'a mut Account) -> &'a mut Chat {
        self.place.chat_of(account)
    }

    fn message(&self, account: &mut Account, content: Value) -> Told {
        let chat = self.chat(account);
        let message_id = chat.next_message_id();
        let message = self.place.envelope(&self.person, message_id, content);
        chat.keep(message_id, Arc::new(message.clone()));
        Told {
            update_id: self.tell(account, "message", &message),
            message_id,
        }
    }

    fn edit(&self, account: &mut Account, message_id: i64, changes: Value) -> Told {
        let old = self.chat(account).message(message_id).map(Arc::clone);
        let mut message = old.map_or_else(
            || self.place.envelope(&self.person, message_id, json!({})),
            |old| Value::clone(&old),
        );
        if let (Value::Object(fields), Value::Object(changes)) = (&mut message, changes) {
            apply(fields, changes);
        }
        message["edit_date"] = json!(now());
        self.chat(account)
            .keep(message_id, Arc::new(message.clone()));
        Told {
            update_id: self.tell(account, "edited_message", &message),
            message_id,
        }
    }

    /// Makes the update, unless privacy mode hides the message from the bot.
    fn tell(&self, account: &mut Account, kind: &str, message: &Value) -> Option<i64> {
        if !self.place.is_seen(&self.bot, self.chat(account), message) {
            return None;
        }
        let kind = self.place.update_kind(kind);
        self.bot.publish(account, &kind, message)
    }
}

fn apply(fields: &mut Map<String, Value>, changes: Map<String, Value>) {
    if changes.contains_key("text") {
        fields.remove("entities");
    }
    for (name, value) in changes {
        if value.is_null() {
            fields.remove(&name);
        } else {
            fields.insert(name, value);
        }
    }
}

pub(super) fn text_content(text: &str) -> Value {
    let mut content = json!({ "text": text });
    let entities = detect(text, &[]);
    if !entities.is_empty() {
        content["entities"] = entities.into();
    }
    content
}
