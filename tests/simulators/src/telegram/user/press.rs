//! Buttons.

use serde_json::{Value, json};

use super::super::account::Account;
use super::{Told, User, text_content};

/// There is no such button to press.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no button '{label}' to press; there is: {there:?}")]
pub struct NotThere {
    /// What it should have said.
    pub label: String,
    /// The labels of those that can be pressed.
    pub there: Vec<String>,
}

impl User {
    /// Presses an inline button with this data below a message, whether or not it has one. The query's id is in the update.
    pub fn presses(&self, message_id: i64, data: &str) -> Told {
        self.in_chat(|account| self.query(account, message_id, data))
    }

    /// Presses the inline button that says `label`, below a message that is there.
    ///
    /// # Errors
    /// There is none, or it opens a link, which bots are not told.
    pub fn presses_button(&self, message_id: i64, label: &str) -> Result<Told, NotThere> {
        let buttons = self.bot.with(|account| {
            let message = self.chat(account).message(message_id)?;
            Some(message["reply_markup"]["inline_keyboard"].clone())
        });
        let buttons = buttons.unwrap_or_default();
        let found = all(&buttons).find(|button| button["text"] == label);
        let data = found.and_then(|button| button["callback_data"].as_str());
        match data {
            Some(data) => Ok(self.presses(message_id, data)),
            None => Err(NotThere {
                label: label.to_owned(),
                there: all(&buttons)
                    .filter(|button| button.get("callback_data").is_some())
                    .filter_map(|button| button["text"].as_str().map(str::to_owned))
                    .collect(),
            }),
        }
    }

    /// Presses the key that says `label` on the keyboard the bot gave: sends its text, or the number or place it asks for.
    /// A keyboard for one time is gone afterwards.
    ///
    /// # Errors
    /// There is none.
    pub fn presses_key(&self, label: &str) -> Result<Told, NotThere> {
        let keyboard = self
            .bot
            .with(|account| self.chat(account).keyboard.clone())
            .unwrap_or_default();
        let says = |key: &Value| {
            key.as_str()
                .or_else(|| key["text"].as_str())
                .map(str::to_owned)
        };
        let found = all(&keyboard["keyboard"]).find(|key| says(key).as_deref() == Some(label));
        let Some(key) = found else {
            return Err(NotThere {
                label: label.to_owned(),
                there: all(&keyboard["keyboard"]).filter_map(says).collect(),
            });
        };
        if keyboard["one_time_keyboard"] == true {
            self.bot.with(|account| self.chat(account).keyboard = None);
        }
        let content = if key["request_contact"] == true {
            json!({ "contact": self.own_contact("+380501112233") })
        } else if key["request_location"] == true {
            json!({"location": {"latitude": 50.4501, "longitude": 30.5234}})
        } else {
            text_content(label)
        };
        Ok(self.sends(content))
    }

    fn query(&self, account: &mut Account, message_id: i64, data: &str) -> Told {
        let id = account.new_callback();
        let chat = self.chat(account);
        let message = chat
            .message(message_id)
            .map_or_else(|| chat.quoted(message_id), |message| Value::clone(message));
        let query = json!({
            "id": id,
            "from": self.person.as_user(),
            "message": message,
            "chat_instance": "-3042000000000000001",
            "data": data,
        });
        Told {
            update_id: self.bot.publish(account, "callback_query", &query),
            message_id,
        }
    }
}

fn all(rows: &Value) -> impl Iterator<Item = &Value> {
    rows.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
}
