//! What arrived, for tests to look at.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use serde_json::Value;

/// How many deliveries, and how many refused requests, are remembered.
const MAX_RECORDS: usize = 100_000;

/// A delivery that was taken.
#[derive(Debug)]
pub struct Delivered {
    /// The `webhook-id` header.
    pub webhook_id: String,
    /// The id that was answered.
    pub id: String,
    /// The document.
    pub body: Value,
}

impl Delivered {
    /// `send`, `edit`, ...
    pub fn kind(&self) -> &str {
        self.body["kind"].as_str().unwrap_or_default()
    }

    /// The text of what is sent.
    pub fn text(&self) -> &str {
        self.body["content"]["text"].as_str().unwrap_or_default()
    }
}

/// A request that was no delivery for this system.
#[derive(Debug)]
pub struct Refused {
    /// The status it was answered with.
    pub status: u16,
    /// Why.
    pub reason: String,
}

/// Everything so far.
#[derive(Debug, Default)]
pub struct CustomRecords {
    /// Each once.
    pub delivered: VecDeque<Arc<Delivered>>,
    /// Wrong signature, no JSON, a field missing.
    pub refused: VecDeque<Refused>,
    /// Requests with a right signature, repetitions and refused ones included.
    pub attempts: u64,
    /// Requests that repeated what had been taken.
    pub repeated: u64,
    ids: HashMap<String, String>,
}

impl CustomRecords {
    /// The id under which a delivery was taken before.
    pub(super) fn known(&mut self, webhook_id: &str) -> Option<String> {
        let id = self.ids.get(webhook_id).cloned();
        self.repeated += u64::from(id.is_some());
        id
    }

    pub(super) fn take(&mut self, webhook_id: &str, body: Value) -> String {
        let id = format!("crm-{}", self.ids.len() + 1);
        self.ids.insert(webhook_id.to_owned(), id.clone());
        push(
            &mut self.delivered,
            Arc::new(Delivered {
                webhook_id: webhook_id.to_owned(),
                id: id.clone(),
                body,
            }),
        );
        id
    }

    pub(super) fn shown(&self, to: &str) -> Vec<Value> {
        let mut shown: Vec<(String, Value)> = Vec::new();
        for delivered in self.delivered.iter().filter(|d| d.body["to"] == to) {
            let body = &delivered.body;
            match delivered.kind() {
                "send" => shown.push((delivered.id.clone(), body["content"].clone())),
                "edit" => {
                    for part in body["parts"].as_array().into_iter().flatten() {
                        for (_, content) in shown.iter_mut().filter(|(id, _)| part["id"] == **id) {
                            *content = part["content"].clone();
                        }
                    }
                }
                "delete" => {
                    let ids = body["ids"].as_array().cloned().unwrap_or_default();
                    shown.retain(|(id, _)| !ids.contains(&Value::from(id.as_str())));
                }
                _ => {}
            }
        }
        shown.into_iter().map(|(_, content)| content).collect()
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        push(&mut self.refused, refused);
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == MAX_RECORDS {
        list.pop_front();
    }
    list.push_back(item);
}

impl fmt::Display for CustomRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (taken, refused) = (self.delivered.len(), &self.refused);
        write!(
            f,
            "{taken} deliveries taken in {} attempts, refused: {refused:?}",
            self.attempts
        )
    }
}
