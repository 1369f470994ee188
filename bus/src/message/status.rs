//! How far a message has come.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Moves forward only: `queued < sent < delivered < read`; `failed` and `expired` end what was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Inbound messages have only this status.
    Received,
    Queued,
    Sent,
    Delivered,
    Read,
    Failed,
    Expired,
}

impl Status {
    /// As it is written in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// The status a report of `reported` leads to, whatever order reports come in. A proof that the message arrived
    /// (`delivered`, `read`) outweighs an earlier `failed` or `expired`: providers retry on their own.
    #[must_use]
    pub fn advance(self, reported: Self) -> Self {
        if self == Self::Received || reported == Self::Received {
            return self;
        }
        if reported.rank() > self.rank() {
            reported
        } else {
            self
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Received | Self::Queued => 0,
            Self::Sent => 1,
            Self::Failed | Self::Expired => 2,
            Self::Delivered => 3,
            Self::Read => 4,
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::Received,
            Self::Queued,
            Self::Sent,
            Self::Delivered,
            Self::Read,
            Self::Failed,
            Self::Expired,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| format!("{text} is not a message status"))
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub code: FailureCode,
    /// For a person; never message text, never a token.
    pub reason: String,
}

/// The stable reasons of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The provider refuses this content for ever.
    Rejected,
    /// The recipient cannot be reached: blocked, unsubscribed, unknown.
    Unreachable,
    /// It could not be sent within its time.
    Expired,
    /// Its outcome is unknown and the channel is set to `hold`: a person decides.
    Uncertain,
}

/// How a channel account is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Nothing is known yet.
    Starting,
    Ok,
    /// It works, and not as it should: slowly, or one way only.
    Degraded,
    /// The provider cannot be used right now; it is tried again.
    Down,
    /// A person must act.
    Misconfigured,
}

impl HealthState {
    /// Every state, from well to ill.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Ok,
        Self::Degraded,
        Self::Down,
        Self::Misconfigured,
    ];

    /// As it is written in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl std::str::FromStr for HealthState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text} is not a state of a channel"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_status() -> impl Strategy<Value = Status> {
        prop_oneof![
            Just(Status::Queued),
            Just(Status::Sent),
            Just(Status::Delivered),
            Just(Status::Read),
            Just(Status::Failed),
            Just(Status::Expired)
        ]
    }

    proptest! {
        #[test]
        fn never_moves_back(reports in prop::collection::vec(any_status(), 0..12)) {
            let mut status = Status::Queued;
            for report in reports {
                let next = status.advance(report);
                prop_assert!(next.rank() >= status.rank());
                prop_assert_eq!(next.advance(report), next);
                status = next;
            }
        }
    }

    #[test]
    fn names_round_trip() {
        assert_eq!("delivered".parse(), Ok(Status::Delivered));
        assert!("gone".parse::<Status>().is_err());
    }
}
