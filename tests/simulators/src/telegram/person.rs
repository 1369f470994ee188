//! Who is on the other side.

use serde_json::{Value, json};

/// A person with a Telegram account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The account; also the id of the private chat with each bot.
    pub id: i64,
    /// Always there.
    pub first_name: String,
    /// Often missing.
    pub last_name: Option<String>,
    /// Without the `@`; often missing.
    pub username: Option<String>,
    /// An IETF language tag, such as `uk`.
    pub language_code: Option<String>,
}

impl From<i64> for Person {
    /// Somebody with this id, a first name and a language.
    fn from(id: i64) -> Self {
        Self {
            id,
            first_name: "Olena".into(),
            last_name: None,
            username: None,
            language_code: Some("uk".into()),
        }
    }
}

impl Person {
    pub(super) fn as_user(&self) -> Value {
        let mut user = json!({"id": self.id, "is_bot": false});
        self.name(&mut user);
        if let Some(language) = &self.language_code {
            user["language_code"] = json!(language);
        }
        user
    }

    pub(super) fn as_chat(&self) -> Value {
        let mut chat = json!({"id": self.id, "type": "private"});
        self.name(&mut chat);
        chat
    }

    fn name(&self, object: &mut Value) {
        object["first_name"] = json!(self.first_name);
        let optional = [("last_name", &self.last_name), ("username", &self.username)];
        for (field, value) in optional {
            if let Some(value) = value {
                object[field] = json!(value);
            }
        }
    }
}
