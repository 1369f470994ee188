//! What is told about a delivery: one status, and what it says about the contact.

use chrono::{DateTime, Utc};
use serde_json::Map;
use tributary_bus::{
    ChannelId,
    message::{
        ContactLeft, Degradation, DeliverySend, Failure, FailureCode, Inbound, LeaveReason,
        MessageStatus, Origin, Status,
    },
};

use crate::ledger::Settled;

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
        let origin = Origin {
            channel_id: channel.clone(),
            address: delivery.to.clone(),
            occurred_at: self.at,
            raw: None,
        };
        let unreachable = self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.code == FailureCode::Unreachable);
        let mut events = vec![Inbound::Status(MessageStatus {
            origin: origin.clone(),
            message_id: delivery.message_id,
            status: self.status(),
            provider_ids: self.provider_ids,
            failure: self.failure,
            uncertain: self.uncertain,
            degraded: self.degraded,
            extra: Map::new(),
        })];
        if unreachable {
            events.push(Inbound::Left(ContactLeft {
                origin,
                reason: LeaveReason::Blocked,
                extra: Map::new(),
            }));
        }
        events
    }
}
