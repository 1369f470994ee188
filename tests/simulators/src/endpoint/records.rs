//! What arrived, for tests to look at.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::misbehave::EndpointAction;

/// An event the endpoint took. A retried one may be here several times with the same `webhook_id`.
#[derive(Debug)]
pub struct Received {
    /// Place among all accepted ones, from 0.
    pub order: u64,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// When, by the clock to measure with.
    pub instant: Instant,
    /// The `webhook-id` header.
    pub webhook_id: String,
    /// Which attempt for this `webhook_id` it was, accepted or not, from 1.
    pub attempt: u64,
    /// The CloudEvents document.
    pub event: Value,
    /// The body as it came.
    pub body: Bytes,
    /// All headers.
    pub headers: HeaderMap,
    /// What the endpoint did wrong with it; it was taken all the same.
    pub disturbed_by: Option<EndpointAction>,
}

impl Received {
    /// The `type` attribute.
    pub fn event_type(&self) -> &str {
        self.text("type")
    }

    /// The `id` attribute.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// The `subject` attribute: the key of the order of events.
    pub fn subject(&self) -> Option<&str> {
        self.event["subject"].as_str()
    }

    /// The `sequence` attribute, a decimal number in text or a number.
    pub fn sequence(&self) -> Option<u64> {
        let sequence = &self.event["sequence"];
        sequence
            .as_u64()
            .or_else(|| sequence.as_str()?.parse().ok())
    }

    /// The payload.
    pub fn data(&self) -> &Value {
        &self.event["data"]
    }

    fn text(&self, name: &str) -> &str {
        self.event[name].as_str().unwrap_or_default()
    }
}

/// A request that was no event for this endpoint: wrong signature, missing header, or not a CloudEvent.
#[derive(Debug)]
pub struct Refused {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// The status it was answered with.
    pub status: u16,
    /// Why.
    pub reason: String,
    /// The `webhook-id` header, if there was one.
    pub webhook_id: Option<String>,
}

/// Everything recorded so far. Of each list the newest are kept.
#[derive(Debug, Default)]
pub struct EndpointRecords {
    /// Accepted events in the order of arrival.
    pub events: VecDeque<Arc<Received>>,
    /// Refused requests in the order of arrival.
    pub refused: VecDeque<Arc<Refused>>,
    /// How often each `webhook-id` with a good signature came, accepted or not.
    pub attempts: HashMap<String, u64>,
    /// Events accepted, duplicates included; never forgotten.
    pub accepted: u64,
    /// Different `webhook-id`s accepted; never forgotten.
    pub distinct: u64,
    /// Answers by HTTP status; a request that got none is not here.
    pub answers: HashMap<u16, u64>,
    /// Accepted events that are no longer in the list.
    pub forgotten: u64,
    times_accepted: HashMap<String, u64>,
    limit: usize,
}

impl EndpointRecords {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            ..Self::default()
        }
    }

    /// Counts an attempt, and says which one it is.
    pub(super) fn attempt(&mut self, webhook_id: &str) -> u64 {
        if self.attempts.len() >= self.limit.saturating_mul(2)
            && !self.attempts.contains_key(webhook_id)
        {
            return 1; // Too many that were never accepted: they are no longer counted.
        }
        count(&mut self.attempts, webhook_id)
    }

    pub(super) fn accept(&mut self, make: impl FnOnce(u64) -> Received) {
        let received = make(self.accepted);
        self.accepted += 1;
        if count(&mut self.times_accepted, &received.webhook_id) == 1 {
            self.distinct += 1;
        }
        if self.events.len() >= self.limit
            && let Some(oldest) = self.events.pop_front()
        {
            self.forgotten += 1;
            self.attempts.remove(&oldest.webhook_id);
            self.times_accepted.remove(&oldest.webhook_id);
        }
        self.events.push_back(Arc::new(received));
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        if self.refused.len() >= self.limit {
            self.refused.pop_front();
        }
        self.refused.push_back(Arc::new(refused));
    }

    /// The `webhook-id`s that were accepted more than once, and how often.
    pub fn duplicates(&self) -> Vec<(String, u64)> {
        let repeated = self.times_accepted.iter().filter(|(_, times)| **times > 1);
        repeated.map(|(id, times)| (id.clone(), *times)).collect()
    }
}

fn count(counts: &mut HashMap<String, u64>, key: &str) -> u64 {
    match counts.get_mut(key) {
        Some(times) => {
            *times += 1;
            *times
        }
        None => {
            counts.insert(key.to_owned(), 1);
            1
        }
    }
}

/// A summary without any content.
impl fmt::Display for EndpointRecords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} events accepted ({} distinct), {} requests refused, answers {:?}",
            self.accepted,
            self.distinct,
            self.refused.len(),
            self.answers,
        )
    }
}
