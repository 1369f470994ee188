//! Messages on the desk of a lane runner, and what happens to them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{Envelope, EventId, Tag};

/// Key of order; messages that cannot be read share the empty one.
pub(super) type Key = Arc<str>;

/// One taken message.
#[derive(Debug)]
pub(super) struct Item {
    pub tag: Tag,
    pub redeliveries: u32,
    pub body: Bytes,
    /// See [`super::proof::identity`].
    pub identity: Uuid,
    /// `None`: unreadable.
    pub id: Option<EventId>,
    pub time: DateTime<Utc>,
    /// Not there while it is being handled; read from the body again when it comes back.
    pub envelope: Option<Envelope>,
    pub history: History,
    /// It is to be handled alone, since it may have ended workers.
    pub suspect: bool,
    /// It is dead without being handled, for this reason.
    pub verdict: Option<String>,
}

/// What this runner knows of a message; kept while the message is given back and taken again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// Tries that ended in `Retry`.
    pub attempts: u32,
    /// Tries that ended in a panic.
    pub panics: u32,
    /// Redeliveries when this runner saw it first. All later ones are its own give-backs, which no crash explains.
    pub inherited: u32,
    /// It was handled here and nothing broke.
    pub survived: bool,
    /// Workers that ended while they handled it alone.
    pub deaths: u32,
    /// Time it waited because somebody outside asked for that.
    pub excused: Duration,
    /// It is not tried any more, for this reason; [`super::Handler::exhausted`] is asked.
    pub exhausted: Option<String>,
}

/// Messages of one key to be worked on now.
#[derive(Debug)]
pub(super) struct Job {
    pub key: Key,
    pub kind: JobKind,
    pub items: Vec<Item>,
    /// A single one that is handled alone, with the deaths that are recorded; `None`: it need not be alone.
    pub alone: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobKind {
    /// Handle them all.
    Handle,
    /// A single one that has used up its tries or its time.
    Exhausted,
    /// A single one that is dead already.
    Dead,
}

/// How a job ended: a beginning of its messages is finished, the others stay.
#[derive(Debug)]
pub(super) struct Report {
    pub key: Key,
    pub finished: Vec<Item>,
    pub left: Vec<Item>,
    /// What the first of `left` is to wait for.
    pub wait: Option<Wait>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    Retry {
        after: Option<Duration>,
        reason: String,
    },
    Defer {
        after: Duration,
        reason: String,
    },
    Pause {
        after: Option<Duration>,
        reason: String,
    },
    Panicked,
    /// It could not be recorded that it is about to be handled.
    Unrecorded {
        reason: String,
    },
}

/// A wait as it was decided, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiting {
    Key {
        id: Option<EventId>,
        attempt: u32,
        wait: Duration,
        reason: String,
    },
    Lane {
        wait: Duration,
        reason: String,
    },
}
