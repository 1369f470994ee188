//! What happened, for tests to look at.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::files::Stored;
use super::kind::FileKind;
use super::misbehave::{CallAction, DeliveryAction};
use super::params::Params;

/// A file in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSeen {
    /// What it is shown as.
    pub kind: FileKind,
    /// For the bot it was sent by or to.
    pub file_id: String,
    /// Where it has one.
    pub file_name: Option<String>,
    /// An IANA media type.
    pub mime_type: String,
    /// Bytes.
    pub size: usize,
    /// Of its bytes, lower-case hex.
    pub sha256: String,
}

impl FileSeen {
    pub(super) fn of(file: &Stored) -> Self {
        Self {
            kind: file.kind,
            file_id: file.id.clone(),
            file_name: file.name.clone(),
            mime_type: file.mime.clone(),
            size: file.bytes.len(),
            sha256: file.sha256.clone(),
        }
    }
}

/// A message the provider took, whether or not its sender learned that.
#[derive(Debug)]
pub struct Sent {
    /// Place among all accepted messages of all bots, from 0.
    pub order: u64,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// When, by the clock to measure with.
    pub instant: Instant,
    /// The bot that sent it.
    pub bot_id: i64,
    /// The method as documented: `sendMessage`.
    pub method: &'static str,
    /// Where to.
    pub chat_id: i64,
    /// The id it was given there.
    pub message_id: i64,
    /// Its text or caption after parsing of markup; empty for other content.
    pub text: String,
    /// Its files.
    pub files: Vec<FileSeen>,
    /// Its `reply_markup` of any kind, as it was given.
    pub markup: Option<Value>,
    /// The arguments as they came.
    pub parameters: Params,
    /// The `Message` that was answered, or would have been.
    pub message: Arc<Value>,
    /// What went wrong with this call; it was accepted all the same.
    pub disturbed_by: Option<CallAction>,
}

/// What a bot did other than sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A message has other content or buttons.
    Edited,
    /// A message is gone.
    Deleted,
    /// The bot's reaction to a message is another: `before` and `after` are lists of reactions.
    Reacted,
    /// The chat saw what the bot was doing (`after`): `typing`.
    Acted,
    /// A message of a business chat was marked as read.
    Read,
    /// A pressed button got its answer, `after` being the arguments.
    Answered,
}

/// A change the provider took, whether or not its sender learned that.
#[derive(Debug)]
pub struct Change {
    /// Place among all changes of all bots, from 0.
    pub order: u64,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// When, by the clock to measure with.
    pub instant: Instant,
    /// The bot that made it.
    pub bot_id: i64,
    /// The method as documented: `editMessageText`.
    pub method: &'static str,
    /// What it was.
    pub kind: ChangeKind,
    /// Where; 0 for the answer to a pressed button.
    pub chat_id: i64,
    /// Which message; 0 where it was none.
    pub message_id: i64,
    /// What there was, where there was something.
    pub before: Option<Arc<Value>>,
    /// What there is now, where there is something.
    pub after: Option<Arc<Value>>,
    /// The arguments as they came.
    pub parameters: Params,
    /// What went wrong with this call; it was accepted all the same.
    pub disturbed_by: Option<CallAction>,
}

/// A call to the API, recorded on arrival.
#[derive(Debug)]
pub struct Call {
    /// Place among all calls, from 0.
    pub order: u64,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// When, by the clock to measure with.
    pub instant: Instant,
    /// The bot whose token was used; `None`: the token was wrong.
    pub bot_id: Option<i64>,
    /// The method as it was written in the path.
    pub method: String,
    /// `Content-Type` of the body; empty where there was none.
    pub content_type: String,
    /// The body as it came; empty if it was multipart, or longer than 1 MiB.
    pub body: Bytes,
    /// The arguments, if they could be read.
    pub parameters: Params,
}

/// One attempt to deliver an update to a webhook, recorded at its end.
#[derive(Debug)]
pub struct Delivery {
    /// Place among all ended attempts, from 0.
    pub order: u64,
    /// When it ended, by the wall clock.
    pub at: SystemTime,
    /// When it began, by the clock to measure with.
    pub began: Instant,
    /// When it ended, by the same clock.
    pub ended: Instant,
    /// Whose update.
    pub bot_id: i64,
    /// Which update.
    pub update_id: i64,
    /// The chat (for callback queries, the user) it came from.
    pub chat_id: i64,
    /// Counts the attempts for this update since the webhook was set, from 1.
    pub attempt: u32,
    /// The HTTP status, or why there was none.
    pub outcome: Result<u16, String>,
    /// What was made wrong with this attempt on purpose.
    pub disturbed_by: Option<DeliveryAction>,
}

/// Sums that are never forgotten.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Calls by method, in the lower case.
    pub calls: BTreeMap<String, u64>,
    /// Answers by HTTP status; a call that got none is not here.
    pub answers: BTreeMap<u16, u64>,
    /// Messages accepted.
    pub sent: u64,
    /// Changes accepted.
    pub changes: u64,
    /// Files downloaded to their end.
    pub downloads: u64,
    /// Updates that became available to a bot.
    pub updates_created: u64,
    /// Updates that were lost because too many were waiting.
    pub updates_lost: u64,
    /// Updates a bot did not ask for (`allowed_updates`).
    pub updates_unwanted: u64,
    /// Updates that were confirmed by an offset, accepted by a webhook, or dropped on request.
    pub updates_settled: u64,
    /// Callback queries a webhook did not accept in their time; they count as settled as well.
    pub updates_expired: u64,
    /// Attempts to deliver to a webhook.
    pub deliveries: u64,
    /// Calls and deliveries that a rule made go wrong.
    pub misbehaved: u64,
    /// Long polls that are waiting now.
    pub polls_waiting: u64,
}

impl Counters {
    /// Updates that are still to be confirmed or accepted.
    pub fn updates_pending(&self) -> u64 {
        self.updates_created.saturating_sub(self.updates_settled)
    }

    /// Calls of one method, in any case.
    pub fn calls_of(&self, method: &str) -> u64 {
        self.calls
            .get(&method.to_ascii_lowercase())
            .copied()
            .unwrap_or_default()
    }
}

/// Everything recorded so far. Of each list the newest are kept.
#[derive(Debug)]
pub struct Records {
    /// Messages in the order of acceptance.
    pub sent: VecDeque<Arc<Sent>>,
    /// Edits, deletions, reactions and the like in the order of acceptance.
    pub changes: VecDeque<Arc<Change>>,
    /// Calls in the order of arrival.
    pub calls: VecDeque<Arc<Call>>,
    /// Webhook attempts in the order of their end.
    pub deliveries: VecDeque<Arc<Delivery>>,
    /// Sums.
    pub counters: Counters,
    limit: usize,
    calls_seen: u64,
}

impl Records {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            sent: VecDeque::new(),
            changes: VecDeque::new(),
            calls: VecDeque::new(),
            deliveries: VecDeque::new(),
            counters: Counters::default(),
            limit: limit.max(1),
            calls_seen: 0,
        }
    }

    pub(super) fn add_sent(&mut self, make: impl FnOnce(u64) -> Sent) {
        let order = self.counters.sent;
        self.counters.sent += 1;
        push(&mut self.sent, self.limit, Arc::new(make(order)));
    }

    pub(super) fn add_change(&mut self, make: impl FnOnce(u64) -> Change) {
        let order = self.counters.changes;
        self.counters.changes += 1;
        push(&mut self.changes, self.limit, Arc::new(make(order)));
    }

    pub(super) fn add_call(&mut self, make: impl FnOnce(u64) -> Call) {
        let call = make(self.calls_seen);
        self.calls_seen += 1;
        *self
            .counters
            .calls
            .entry(call.method.to_ascii_lowercase())
            .or_default() += 1;
        push(&mut self.calls, self.limit, Arc::new(call));
    }

    pub(super) fn add_delivery(&mut self, make: impl FnOnce(u64) -> Delivery) {
        let order = self.counters.deliveries;
        self.counters.deliveries += 1;
        push(&mut self.deliveries, self.limit, Arc::new(make(order)));
    }
}

fn push<T>(list: &mut VecDeque<T>, limit: usize, item: T) {
    if list.len() >= limit {
        list.pop_front();
    }
    list.push_back(item);
}

/// A summary without any text or address.
impl fmt::Display for Records {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.counters;
        write!(
            formatter,
            "{} sent, {} changed, {} of {} updates pending, {} webhook attempts, calls {:?}, answers {:?}, {} misbehaved",
            counters.sent,
            counters.changes,
            counters.updates_pending(),
            counters.updates_created,
            counters.deliveries,
            counters.calls,
            counters.answers,
            counters.misbehaved,
        )
    }
}
