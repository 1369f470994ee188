//! What a worker is: it handles the messages of a lane and says what became of each.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;

use crate::{DeadLetter, Envelope, Lane, Lease};

/// A message to be handled.
#[derive(Debug, Clone)]
pub struct Work {
    pub envelope: Envelope,
    /// Which try this is, by this worker; the first is 1. A try that ended in `Pause` or `Defer`, or is repeated only because an
    /// earlier message of its batch is, does not count.
    pub attempt: u32,
    /// Time since the envelope's `time`.
    pub age: Duration,
    /// How often the bus had handed it out before.
    pub redeliveries: u32,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What follows from it is durable; it leaves the lane.
    Done,
    /// Its key waits, others go on. `after: None` is the policy's backoff.
    Retry {
        after: Option<Duration>,
        reason: String,
    },
    /// Its key waits, others go on, and it counts as no try: nothing was attempted.
    Defer { after: Duration, reason: String },
    /// The whole lane waits: a rate limit or outage of the account or endpoint. `after: None` is the policy's backoff.
    Pause {
        after: Option<Duration>,
        reason: String,
    },
    /// It goes to the dead letters.
    Dead { reason: String },
}

/// Handles the messages of one lane.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Messages with the same key are handled in order, different keys at once.
    fn key(&self, envelope: &Envelope) -> String;

    /// How many messages of one key `handle` takes at most.
    fn batch(&self) -> usize {
        1
    }

    /// Handles messages of one key, in order, and answers an outcome for each. After an outcome of `Retry`, `Defer` or
    /// `Pause` the later messages of the batch are tried again as well, whatever their outcome. The lease must be asked
    /// before each effect outside (a provider call, a publication).
    ///
    /// A panic counts as `Retry`; a message that panics [`Policy::crash_limit`] times by itself is dead. Batches are
    /// those messages of a key that are there when its last batch has ended: nothing waits for a batch to fill.
    async fn handle(&self, batch: Vec<Work>, lease: &Lease) -> Vec<Outcome>;

    /// A message was to be tried again but has used up its attempts or its time (see [`Policy`]). What is answered
    /// here is final for `Done` and `Dead`; otherwise this is asked again after the wait.
    async fn exhausted(&self, work: Work, reason: String, lease: &Lease) -> Outcome {
        let (_, _) = (work, lease);
        Outcome::Dead { reason }
    }

    /// A message of the lane is about to become a dead letter, for whatever reason, perhaps without ever being handled:
    /// whoever waits for it is told here. Asked again until it succeeds; the letter is written after that.
    async fn buried(&self, letter: &DeadLetter, lease: &Lease) -> Result<(), String> {
        let (_, _) = (letter, lease);
        Ok(())
    }
}

/// Bounds and delays of a lane.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Between tries.
    pub backoff: Backoff,
    /// A wait that an outcome names is clamped to this.
    pub longest_wait: Duration,
    /// Tries before [`Handler::exhausted`]. `Pause` and `Defer` do not count.
    pub max_attempts: u32,
    /// Age before [`Handler::exhausted`] (asked when a message is to be tried again, and before a first try). Waits that
    /// a handler asked for with `after` are not charged, up to as much again.
    pub max_age: Duration,
    /// Messages taken and unsettled, at most.
    pub prefetch: u16,
    /// Keys handled at once, at most.
    pub concurrency: usize,
    /// After this long unsettled, messages are given back and taken anew.
    pub hold_limit: Duration,
    /// How many workers may end while they handle a message alone, one after the other and without an outcome in between,
    /// before it is dead. A message that was handed out half as often, for whatever reason, is handled alone.
    pub crash_limit: u32,
}

/// Equips the owner of a lane.
#[async_trait]
pub trait Attendant: Send + Sync + 'static {
    /// The handler of a lane that was just claimed.
    async fn attend(&self, lane: &Lane) -> Result<Arc<dyn Handler>, String>;

    /// Runs for as long as the lane is owned, beside the handler: the relay of a shard, a channel's polling session.
    /// Returns soon after `stop`. An early return is logged and it is started again with backoff.
    async fn alongside(
        &self,
        lane: &Lane,
        lease: &Lease,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let (_, _) = (lane, lease);
        stop.cancelled().await;
        Ok(())
    }

    /// The bus did not have the lane, and it was declared anew: it is new, somebody deleted it, or the broker lost its data.
    /// What was in it is gone; whoever knows what that was puts it in again. Not only the owner is told, and not only once.
    /// An error is logged, and this is called again with backoff until it succeeds or the worker stops.
    async fn redeclared(&self, lane: &Lane) -> Result<(), String> {
        let _ = lane;
        Ok(())
    }

    /// Whether this worker can do its work at all, by what it knows already: asked at every look at the lanes, so cheap. One
    /// that cannot (its database is away, say) leaves its lanes to the other members of the group, if there are any.
    /// Waits of a few seconds are no reason: every change moves lanes.
    fn is_fit(&self) -> bool {
        true
    }
}
