//! A person who lets the bot answer for their own account.

use std::sync::Arc;

use serde_json::{Value, json};

use super::account::{Bot, Business, now};
use super::person::Person;
use super::place::Place;
use super::user::{Told, User};

/// A business connection.
#[derive(Clone)]
pub struct BusinessAccount {
    bot: Arc<Bot>,
    owner: Person,
    id: String,
}

impl BusinessAccount {
    /// Connects with all rights; the bot is told.
    pub(super) fn connect(bot: Arc<Bot>, owner: Person) -> Self {
        let id = format!("bc_{}", owner.id);
        let account = Self { bot, owner, id };
        account.changes(json!({
            "is_enabled": true,
            "rights": {
                "can_reply": true, "can_read_messages": true,
                "can_delete_sent_messages": true, "can_delete_all_messages": true,
            },
        }));
        account
    }

    /// `business_connection_id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Somebody who writes to the owner.
    pub fn customer(&self, person: impl Into<Person>) -> User {
        let person = person.into();
        let place = self.chat_with(&person);
        User::at(Arc::clone(&self.bot), person, place)
    }

    /// The owner in the chat with a customer: what they write themselves reaches the bot too.
    pub fn owner_to(&self, customer: impl Into<Person>) -> User {
        let place = self.chat_with(&customer.into());
        User::at(Arc::clone(&self.bot), self.owner.clone(), place)
    }

    /// Several messages of the chat with a customer are deleted at once.
    pub fn deletes(&self, customer: impl Into<Person>, message_ids: &[i64]) -> Told {
        let place = self.chat_with(&customer.into());
        let told = self.bot.with(|account| {
            for message_id in message_ids {
                place.chat_of(account).remove(*message_id);
            }
            let deleted = json!({
                "business_connection_id": self.id,
                "chat": place.chat,
                "message_ids": message_ids,
            });
            Told {
                update_id: self
                    .bot
                    .publish(account, "deleted_business_messages", &deleted),
                message_id: message_ids.first().copied().unwrap_or_default(),
            }
        });
        self.bot.shared.bell.ring();
        told
    }

    /// The owner changes the connection, such as `{"is_enabled": false}` or `{"rights": {...}}`; the bot is told.
    pub fn changes(&self, fields: Value) -> Told {
        self.bot.with(|account| {
            let business = account.business.entry(self.id.clone()).or_insert_with(|| {
                let connection = json!({
                    "id": self.id,
                    "user": self.owner.as_user(),
                    "user_chat_id": self.owner.id,
                    "date": now(),
                    "is_enabled": true,
                });
                Business::new(connection)
            });
            if let (Value::Object(connection), Value::Object(fields)) =
                (&mut business.connection, fields)
            {
                connection.extend(fields);
            }
            let connection = business.connection.clone();
            Told {
                update_id: self
                    .bot
                    .publish(account, "business_connection", &connection),
                message_id: 0,
            }
        })
    }

    fn chat_with(&self, person: &Person) -> Place {
        Place {
            business: Some(self.id.clone()),
            ..Place::private(person)
        }
    }
}
