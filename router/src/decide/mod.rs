//! Decisions as values: what inbound events change, and who gets whom. Nothing here reads or writes.
//!
//! [`decide`] takes a batch and a [`Snapshot`] of what the store knows about it, changes the snapshot as the store is to
//! change, and answers what else is to be written. Events of a contact with an open conversation take their place in
//! that conversation (subject and `sequence`); those of a contact without one have the contact as subject and no
//! sequence; those of a channel account have the channel.

mod answers;
mod changes;
mod contacts;
mod echoes;
mod find;
pub(crate) mod matching;
mod messages;
mod snapshot;
mod statuses;
mod steps;
mod tell;
#[cfg(test)]
mod tests;

pub(crate) use snapshot::{Change, Entry, Snapshot};

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use tributary_bus::{
    ChannelId, EnvelopeError, EventId, MessageId, OrganizationId,
    message::{Inbound, Raw},
};
use uuid::Uuid;

use crate::model::{Outgoing, PartId};

/// An event that came over an inbound lane, read and checked for itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrival {
    pub id: EventId,
    pub organization: OrganizationId,
    pub inbound: Inbound,
}

/// What the deployment decided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// A contact who writes again within this time after closing reopens the conversation.
    pub reopen_window: TimeDelta,
    /// Number of inbound lanes.
    pub lanes: u16,
    pub raw: KeepRaw,
    /// Makes ids for contacts and conversations.
    pub new_id: fn() -> Uuid,
}

/// Whether provider payloads are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepRaw {
    Yes,
    No,
}

/// What became of an arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It changed something.
    Taken,
    /// It had been taken before.
    Duplicate,
    /// It changes nothing (typing, a late status).
    NoEffect,
    /// Nothing can be made of it; why.
    Dead(String),
}

/// A provider payload to be kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawPayload {
    pub event: EventId,
    pub organization: OrganizationId,
    pub channel: ChannelId,
    pub raw: Raw,
}

/// What is to be written besides the changed entries of the snapshot.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// One for each arrival.
    pub verdicts: Vec<Verdict>,
    /// In the order in which it is to be published.
    pub outgoing: Vec<Outgoing>,
    /// Events that must not take effect again.
    pub seen: Vec<(Uuid, OrganizationId)>,
    pub raw: Vec<RawPayload>,
    /// The provider's ids of parts that became known.
    pub parts: Vec<PartId>,
    /// What came before these messages was taken up.
    pub caught_up: Vec<MessageId>,
    /// Stored messages that turned out to be echoes of ours, which took them up.
    pub merged: Vec<MessageId>,
    /// Messages that are not known, though media of theirs came.
    pub unknown_media: Vec<MessageId>,
    /// Organizations where a conversation began to wait.
    pub waiting: BTreeSet<OrganizationId>,
}

/// Decides a batch, in its order.
///
/// # Errors
/// An event of ours cannot be written as JSON. The snapshot is then of no more use.
pub(crate) fn decide<'a>(
    batch: impl IntoIterator<Item = &'a Arrival>,
    snapshot: &mut Snapshot,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<Changes, EnvelopeError> {
    let mut decision = steps::Decision {
        snapshot,
        policy,
        now,
        changes: Changes::default(),
    };
    for arrival in batch {
        let verdict = decision.take(arrival)?;
        if matches!(verdict, Verdict::Taken | Verdict::NoEffect) {
            decision.keep_raw(arrival);
        }
        decision.changes.verdicts.push(verdict);
    }
    Ok(decision.changes)
}
