//! The seam between those who move messages and what carries them: RabbitMQ or a SQLite file, with the same meaning.
//!
//! At least once, in order: a publication is durable once it is confirmed; what a worker took from a lane and did
//! not settle comes again, in its old place, to whoever owns the lane next.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{Attempt, Envelope, EnvelopeError, Group, Lane, OrganizationId, Sealed};

/// Something that carries lanes.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Makes sure that the lanes exist. Lanes are durable; declaring one twice changes nothing, and declaring it with
    /// another filter replaces its filter.
    async fn declare(&self, lanes: &[LaneSpec]) -> Result<(), BusError>;

    /// Declares one lane, and answers whether it was there: what was in a lane that had to be made anew is gone.
    async fn ensure(&self, spec: &LaneSpec) -> Result<Found, BusError> {
        self.declare(std::slice::from_ref(spec)).await?;
        Ok(Found::Before)
    }

    /// Lanes that a declaration or a publication of this process made anew, from now on: what was in them, if they were not
    /// new, is gone. Nothing is kept for those who do not listen, and who is too slow misses some.
    fn redeclared(&self) -> BoxStream<'static, Lane> {
        stream::pending().boxed()
    }

    /// Removes a lane with all that is in it. Removing one that does not exist is no error.
    async fn remove(&self, lane: &Lane) -> Result<(), BusError>;

    /// Publishes in the given order and waits until each publication is durable. Answers one result per publication.
    ///
    /// Calls from many tasks share one window of unconfirmed publications. Within a batch that goes to one destination
    /// failures are a suffix: after one that failed for any reason but [`PublishError::NoLane`] nothing later is durable
    /// unless it failed with [`PublishError::Unknown`]. A caller that needs order repeats from the first failure.
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<(), PublishError>>;

    /// Becomes a member of a group; its lanes can then be claimed.
    async fn join(&self, group: &Group) -> Result<Arc<dyn Membership>, BusError>;

    /// Messages waiting in the lane, with those that its owner has taken and not settled. On RabbitMQ the owner is asked;
    /// what one holds that does not answer within a second is not counted.
    async fn depth(&self, lane: &Lane) -> Result<u64, BusError>;

    /// Calls out to every process that listens right now. Nothing is kept; a lost notice must do no harm.
    async fn announce(&self, notice: Notice) -> Result<(), BusError>;

    /// The notices from now on. The stream ends when some were missed, because the connection was lost or the listener
    /// was too slow: who listens again makes up for them first.
    async fn notices(&self) -> Result<BoxStream<'static, Notice>, BusError>;

    /// Puts messages among the dead letters; durable when it returns.
    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<(), BusError>;

    /// The oldest dead letters, at most `limit`. They stay where they are.
    async fn dead(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError>;

    /// Puts a dead letter back into the lane it came from. `false`: there is no such letter.
    async fn replay(&self, id: DeadId) -> Result<bool, BusError>;

    /// Copies of what is published from now on into these lanes (the embedded bus: into any), of events and of dead
    /// letters; for people who watch.
    async fn tail(&self, lanes: &[Lane]) -> Result<BoxStream<'static, Moved>, BusError>;

    /// Whether the bus can be used right now.
    fn state(&self) -> watch::Receiver<BusState>;

    /// Lets go of everything; unsettled messages return to their lanes.
    async fn close(&self);
}

/// Being one of a group of workers.
#[async_trait]
pub trait Membership: Send + Sync {
    /// How many members the group has, this one included. Answers also after this one has left.
    async fn size(&self) -> Result<usize, BusError>;

    /// Whether any worker owns the lane.
    async fn is_owned(&self, lane: &Lane) -> Result<bool, BusError>;

    /// Becomes the owner of the lane; `None` when another worker is.
    async fn claim(&self, lane: &Lane) -> Result<Option<Box<dyn Claim>>, BusError>;

    /// Ends the membership: it no longer counts, and nothing more can be claimed through it. Claims that are held stay
    /// good until they are released, so that a worker which drains its lanes already leaves them to the others.
    async fn leave(&self);
}

/// Owning a lane. Dropping it gives the lane back, sooner or later; [`Claim::release`] does so at once.
#[async_trait]
pub trait Claim: Send + Sync {
    /// Tells for how long the ownership is certain.
    fn lease(&self) -> Lease;

    /// Begins to take messages, at most `prefetch` of them unsettled at a time. One intake at a time.
    async fn take(&mut self, prefetch: u16) -> Result<Box<dyn Intake>, BusError>;

    /// The records of messages that were handled alone.
    fn attempts(&self) -> Box<dyn AttemptLog>;

    /// Gives the lane back. Unsettled messages go to the next owner in their old order.
    async fn release(self: Box<Self>) -> Result<(), BusError>;
}

/// Durable records of a lane's owner about messages that are handled alone, for the owners after it.
#[async_trait]
pub trait AttemptLog: Send {
    /// This process, for as long as it lives.
    fn instance(&self) -> Uuid;

    /// All records, oldest first. They stay.
    async fn read(&mut self) -> Result<Vec<Attempt>, BusError>;

    /// Adds a record; durable when it returns.
    async fn add(&mut self, attempt: Attempt) -> Result<(), BusError>;

    /// Adds a record as soon as that is possible, also when the lane has another owner by then.
    fn add_later(&mut self, attempt: Attempt);

    /// Removes all records.
    async fn clear(&mut self) -> Result<(), BusError>;
}

/// A stream of messages of one lane.
#[async_trait]
pub trait Intake: Send {
    /// The next message; waits for one. Cancelling the wait loses nothing. An error ends the intake: drop it and
    /// take again (or claim again when the lease ended).
    async fn next(&mut self) -> Result<Taken, BusError>;

    /// How many messages it has handed out that are not settled.
    fn out(&self) -> usize;

    /// When the oldest message was received that is not settled, whether handed out or not: from then on the bus waits for
    /// it. `None`: there is none, or the bus waits for ever.
    fn waiting_since(&self) -> Option<Instant> {
        None
    }

    /// Removes messages from the lane for good. Answers when the bus was told; should it or this process end in that very
    /// moment, they may still come again. Tags that are settled already are ignored.
    async fn settle(&mut self, tags: &[Tag]) -> Result<(), BusError>;

    /// Ends the intake; what is unsettled returns to the lane in its old order, and is the first that the next intake
    /// brings.
    async fn close(self: Box<Self>);
}

/// Names one taken message within its intake. Tags rise in the order of the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// A message taken from a lane.
#[derive(Debug)]
pub struct Taken {
    pub tag: Tag,
    /// How often it was handed out before (0 at first). Counts crashes, cuts and releases alike, and on RabbitMQ
    /// everything that the consumer had ahead: a hint, and no evidence.
    pub redeliveries: u32,
    /// The whole message as it came.
    pub body: Bytes,
    /// The message read as an envelope.
    pub envelope: Result<Envelope, EnvelopeError>,
}

/// A lane and, for an endpoint's lane, which events flow into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSpec {
    pub lane: Lane,
    pub filter: Option<EventFilter>,
}

/// Since when a lane is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Before,
    /// It was missing, and was made by this very declaration.
    Now,
}

/// Events of one organization whose types match one of the patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter {
    pub organization: OrganizationId,
    /// `*` (all), `message.*` (all of a noun) or `message.created` (every version of one type).
    pub patterns: Vec<String>,
}

impl EventFilter {
    /// Whether an event of this organization and type (with its version, `message.created.v1`) passes.
    pub fn matches(&self, organization: &OrganizationId, kind: &str) -> bool {
        let name = kind.rsplit_once(".v").map_or(kind, |(name, _)| name);
        let passes = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => start.is_empty() || (start.ends_with('.') && name.starts_with(start)),
            None => name == pattern,
        };
        self.organization == *organization && self.patterns.iter().any(passes)
    }
}

/// A message and where it goes.
#[derive(Debug, Clone)]
pub struct Publication {
    pub to: Destination,
    pub envelope: Sealed,
}

/// Where a publication goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Into one lane. On RabbitMQ an inbound or delivery lane that was never declared comes into being by it; an
    /// endpoint's lane never does.
    Lane(Lane),
    /// Into every endpoint lane whose filter matches; possibly none, which is no error.
    Events,
}

/// A transient call to all processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about, e.g. `widget.mailbox`; listeners pick theirs.
    pub topic: String,
    /// Small, and free of message text.
    pub body: Bytes,
}

/// Names one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeadId(pub uuid::Uuid);

/// A message that no worker could handle.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: DeadId,
    /// The lane it came from.
    pub lane: Lane,
    /// Why it is dead; never message text.
    pub reason: String,
    pub at: DateTime<Utc>,
    /// The whole message as it came; not necessarily an envelope.
    pub body: Bytes,
}

/// A copy of something that was published.
#[derive(Debug, Clone)]
pub struct Moved {
    /// The lane's name, or `events`, or `dead`.
    pub to: String,
    pub at: DateTime<Utc>,
    pub body: Bytes,
}

/// Whether the bus can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusState {
    /// Not connected yet.
    Connecting,
    Ready,
    /// It was lost; it is being reconnected.
    Away {
        reason: String,
    },
    /// The broker takes no publications (memory or disk alarm).
    Blocked {
        reason: String,
    },
}

/// Why the bus could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    #[error("bus is away: {0}")]
    Away(String),
    #[error("bus did not answer within {0:?}")]
    Deadline(Duration),
    #[error("lane {0} is no longer owned by this worker")]
    Lost(Lane),
    /// Somebody removed it, or the broker lost it: declare it again with [`Bus::ensure`].
    #[error("lane {0} does not exist in the broker any more")]
    Missing(Lane),
    #[error("bus refused: {0}")]
    Refused(String),
}

/// Why a publication is not known to be durable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    #[error("lane {0} does not exist")]
    NoLane(String),
    #[error("not published: {0}")]
    NotPublished(String),
    #[error("may or may not have been published: {0}; repeat it with the same id")]
    Unknown(String),
}

/// How certain it is that this worker still owns a lane. Cheap to clone and to ask.
#[derive(Clone)]
pub struct Lease {
    /// The last moment at which ownership was proven, or `None` when it is lost.
    proven: watch::Receiver<Option<Instant>>,
    /// How long a proof is good for.
    term: Duration,
}

impl Lease {
    /// A lease that is good for `term` after each proof sent through the other end of `proven`; `None` ends it.
    pub fn new(proven: watch::Receiver<Option<Instant>>, term: Duration) -> Self {
        Self { proven, term }
    }

    /// Whether an external effect may be caused now.
    pub fn is_fresh(&self) -> bool {
        self.proven
            .borrow()
            .is_some_and(|at| at.elapsed() < self.term)
            && self.proven.has_changed().is_ok()
    }

    /// Waits until the lane is known to be lost.
    pub async fn lost(&self) {
        let mut proven = self.proven.clone();
        // An error means that the other end is gone, which is a loss as well.
        drop(proven.wait_for(Option::is_none).await);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease {{ fresh: {} }}", self.is_fresh())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_by_organization_and_pattern() {
        let acme = OrganizationId::from("acme");
        let passes = |pattern: &str, kind: &str| {
            EventFilter {
                organization: acme.clone(),
                patterns: vec!["note.created".to_owned(), pattern.to_owned()],
            }
            .matches(&acme, kind)
        };
        assert!(passes("*", "message.created.v1"));
        assert!(passes("message.*", "message.created.v1"));
        assert!(passes("message.created", "message.created.v2"));
        assert!(!passes("message.created", "message.created_again.v1"));
        assert!(!passes("message.*", "messages.created.v1"));
        assert!(!passes("mess*", "message.created.v1"));
        assert!(passes("nothing", "note.created.v1"));
        let filter = EventFilter {
            organization: acme,
            patterns: vec!["*".to_owned()],
        };
        assert!(!filter.matches(&OrganizationId::from("other"), "message.created.v1"));
    }
}
