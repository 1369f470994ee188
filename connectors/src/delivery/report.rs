//! What is told about a delivery: one status, and what it says about the contact.

use chrono::{DateTime, Utc};
use serde_json::Map;
use tributary_bus::{
    Address, ChannelId, MessageId,
    message::{
        ContactLeft, Degradation, DeliverySend, Failure, FailureCode, Inbound, LeaveReason,
        MessageChange, MessageChangeFailed, MessageStatus, Origin, Status,
    },
};

use crate::ledger::{Settled, Told};

/// Grows part by part; ends with the last part or the first that failed.
#[derive(Debug, Clone)]
pub(super) struct Report {
    provider_ids: Vec<String>,
    failure: Option<Failure>,
    uncertain: bool,
    degraded: Vec<Degradation>,
    at: DateTime<Utc>,
}

impl Report {
    /// Nothing has happened yet.
    pub(super) fn new(degraded: Vec<Degradation>) -> Self {
        Self {
            provider_ids: Vec::new(),
            failure: None,
            uncertain: false,
            degraded,
            at: crate::ledger::now(),
        }
    }

    /// Failed before anything was sent.
    pub(super) fn failed(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::new(Vec::new())
        }
    }

    /// Takes in a part that is through.
    pub(super) fn add(&mut self, settled: Settled) {
        match settled.result {
            Ok(provider_id) => self.provider_ids.push(provider_id),
            Err(failure) => {
                self.uncertain |= failure.code == FailureCode::Uncertain;
                self.failure = Some(failure);
            }
        }
        self.uncertain |= settled.doubtful;
        self.at = settled.at;
    }

    /// Whether the rest is not to be sent.
    pub(super) fn is_over(&self) -> bool {
        self.failure.is_some()
    }

    /// How the message fared.
    pub(super) fn status(&self) -> Status {
        match self.failure.as_ref().map(|failure| failure.code) {
            None => Status::Sent,
            Some(FailureCode::Expired) => Status::Expired,
            Some(FailureCode::Rejected | FailureCode::Unreachable | FailureCode::Uncertain) => {
                Status::Failed
            }
        }
    }

    /// The events to publish, in order. The same report gives events with the same ids.
    pub(super) fn events(self, channel: &ChannelId, delivery: &DeliverySend) -> Vec<Inbound> {
        let origin = origin(channel, &delivery.to, self.at);
        let left = left(&origin, self.failure.as_ref());
        let mut events = vec![Inbound::Status(MessageStatus {
            origin,
            message_id: delivery.message_id,
            status: self.status(),
            provider_ids: self.provider_ids,
            failure: self.failure,
            uncertain: self.uncertain,
            degraded: self.degraded,
            extra: Map::new(),
        })];
        events.extend(left);
        events
    }
}

/// What is told when the provider's receipts show that a message got further.
pub(crate) fn progress_events(
    channel: &ChannelId,
    to: &Address,
    message_id: MessageId,
    told: Told,
) -> Vec<Inbound> {
    let origin = origin(channel, to, told.at);
    let left = left(&origin, told.failure.as_ref());
    let mut events = vec![Inbound::Status(MessageStatus {
        origin,
        message_id,
        status: told.status,
        provider_ids: Vec::new(),
        failure: told.failure,
        uncertain: false,
        degraded: Vec::new(),
        extra: Map::new(),
    })];
    events.extend(left);
    events
}

/// A change that was refused for good.
pub(super) struct Refused<'a> {
    pub channel: &'a ChannelId,
    pub to: &'a Address,
    pub message_id: MessageId,
    pub change: MessageChange,
    /// `seq` of its delivery.
    pub seq: i64,
    /// When the change was asked for, so that telling it again is the same event.
    pub asked_at: DateTime<Utc>,
    pub failure: Failure,
    /// It may be there all the same: then it is uncertain, whatever the last try said.
    pub doubtful: bool,
}

impl Refused<'_> {
    /// The events to publish, in order.
    pub(super) fn events(self) -> Vec<Inbound> {
        let origin = origin(self.channel, self.to, self.asked_at);
        let left = left(&origin, Some(&self.failure));
        let failure = if self.doubtful {
            Failure {
                code: FailureCode::Uncertain,
                reason: format!("{}; it may be there all the same", self.failure.reason),
            }
        } else {
            self.failure
        };
        let mut events = vec![Inbound::ChangeFailed(MessageChangeFailed {
            origin,
            message_id: self.message_id,
            change: self.change,
            failure,
            seq: Some(self.seq),
            extra: Map::new(),
        })];
        events.extend(left);
        events
    }
}

fn origin(channel: &ChannelId, to: &Address, at: DateTime<Utc>) -> Origin {
    Origin {
        channel_id: channel.clone(),
        address: to.clone(),
        occurred_at: at,
        event: None,
        raw: None,
    }
}

/// Who cannot be reached has left.
fn left(origin: &Origin, failure: Option<&Failure>) -> Option<Inbound> {
    let unreachable = failure.is_some_and(|failure| failure.code == FailureCode::Unreachable);
    unreachable.then(|| {
        Inbound::Left(ContactLeft {
            origin: origin.clone(),
            reason: LeaveReason::Blocked,
            extra: Map::new(),
        })
    })
}
