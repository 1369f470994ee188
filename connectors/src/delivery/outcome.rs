//! From what a provider said to what follows: the only place where a [`SendError`] is judged.

use std::time::Duration;

use tributary_bus::{
    Outcome,
    message::{Failure, FailureCode, HealthState},
};

use super::circuit::{End, Outage};
use crate::{SendError, ledger::Ending};

/// How long an account waits for a person, before it tries again by itself.
const MISCONFIGURED_WAIT: Duration = Duration::from_secs(60);

/// What follows from a call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// For good.
    Failed(Failure),
    /// To be tried again.
    Again {
        /// What the ledger is told.
        ending: Ending,
        outcome: Outcome,
    },
}

/// What the judgement depends on besides the error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// An uncertain send is left to a person (and the provider does not recognise a repetition).
    pub hold: Hold,
    /// What the failure means for the account.
    pub outage: Outage,
}

/// Whether an uncertain send is left to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    No,
    Yes,
}

/// Judges a failed call.
pub(super) fn judge(error: &SendError, circumstances: Circumstances) -> Verdict {
    let reason = error.to_string();
    match error {
        SendError::Rejected { code, reason } => failed(FailureCode::Rejected, code, reason),
        SendError::Unreachable { code, reason } => failed(FailureCode::Unreachable, code, reason),
        SendError::RateLimited {
            retry_after,
            scope: crate::Scope::Recipient,
        } => again(Outcome::Retry {
            after: *retry_after,
            reason,
        }),
        SendError::RateLimited {
            retry_after,
            scope: crate::Scope::Account,
        } => again(Outcome::Pause {
            after: *retry_after,
            reason,
        }),
        SendError::Unavailable { .. } => again(later(reason, circumstances.outage)),
        SendError::Misconfigured { .. } => again(Outcome::Pause {
            after: Some(MISCONFIGURED_WAIT),
            reason,
        }),
        SendError::Uncertain { .. } if circumstances.hold == Hold::Yes => {
            Verdict::Failed(Failure {
                code: FailureCode::Uncertain,
                reason,
            })
        }
        SendError::Uncertain { .. } => Verdict::Again {
            ending: Ending::Uncertain,
            outcome: later(reason, circumstances.outage),
        },
    }
}

/// What an error tells about the provider.
pub(super) fn end(error: &SendError) -> End {
    match error {
        SendError::Rejected { .. }
        | SendError::Unreachable { .. }
        | SendError::RateLimited { .. }
        | SendError::Misconfigured { .. } => End::Answered,
        SendError::Unavailable { .. } => End::NotReached,
        SendError::Uncertain { .. } => End::NoAnswer,
    }
}

/// What an error tells about the account; `None`: nothing yet.
pub(super) fn health(error: &SendError, outage: Outage) -> Option<HealthState> {
    match error {
        SendError::Rejected { .. }
        | SendError::Unreachable { .. }
        | SendError::RateLimited { .. } => Some(HealthState::Ok),
        SendError::Misconfigured { .. } => Some(HealthState::Misconfigured),
        SendError::Unavailable { .. } | SendError::Uncertain { .. } => {
            (outage != Outage::No).then_some(HealthState::Down)
        }
    }
}

fn failed(code: FailureCode, detail: &str, reason: &str) -> Verdict {
    Verdict::Failed(Failure {
        code,
        reason: format!("{reason} ({detail})"),
    })
}

fn again(outcome: Outcome) -> Verdict {
    Verdict::Again {
        ending: Ending::Waiting,
        outcome,
    }
}

/// The recipient waits; in an outage everybody does.
fn later(reason: String, outage: Outage) -> Outcome {
    match outage {
        Outage::No => Outcome::Retry {
            after: None,
            reason,
        },
        Outage::Pause(wait) => Outcome::Pause {
            after: Some(wait),
            reason,
        },
        // The circuit makes the others wait; this recipient is not the first to try after that.
        Outage::OthersFirst(wait) => Outcome::Retry {
            after: Some(wait),
            reason,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    fn outcome(error: &SendError, hold: Hold, outage: Outage) -> String {
        match judge(error, Circumstances { hold, outage }) {
            Verdict::Failed(failure) => format!("failed {:?}: {}", failure.code, failure.reason),
            Verdict::Again { ending, outcome } => match outcome {
                Outcome::Retry { after, .. } => format!("{ending:?} retry {after:?}"),
                Outcome::Pause { after, .. } => format!("{ending:?} pause {after:?}"),
                other => format!("{other:?}"),
            },
        }
    }

    #[test]
    fn every_error_has_its_consequence() {
        let code = "403".to_owned();
        let reason = "blocked".to_owned();
        let seven = Some(Duration::from_secs(7));
        let limited = |scope| SendError::RateLimited {
            retry_after: seven,
            scope,
        };
        let rejected = SendError::Rejected {
            code: code.clone(),
            reason: reason.clone(),
        };
        let unreachable = SendError::Unreachable {
            code,
            reason: reason.clone(),
        };
        let unavailable = SendError::Unavailable {
            reason: reason.clone(),
        };
        let uncertain = SendError::Uncertain {
            reason: reason.clone(),
        };
        let misconfigured = SendError::Misconfigured { reason };
        let nine = Duration::from_secs(9);
        let (open, poison) = (Outage::Pause(nine), Outage::OthersFirst(nine));
        for (error, hold, outage, expected) in [
            (
                &rejected,
                Hold::No,
                Outage::No,
                "failed Rejected: blocked (403)",
            ),
            (
                &unreachable,
                Hold::No,
                Outage::No,
                "failed Unreachable: blocked (403)",
            ),
            (
                &limited(Scope::Recipient),
                Hold::No,
                Outage::No,
                "Waiting retry Some(7s)",
            ),
            (
                &limited(Scope::Account),
                Hold::No,
                Outage::No,
                "Waiting pause Some(7s)",
            ),
            (&unavailable, Hold::Yes, Outage::No, "Waiting retry None"),
            (&unavailable, Hold::No, open, "Waiting pause Some(9s)"),
            (
                &misconfigured,
                Hold::No,
                Outage::No,
                "Waiting pause Some(60s)",
            ),
            (&uncertain, Hold::No, Outage::No, "Uncertain retry None"),
            (&uncertain, Hold::No, open, "Uncertain pause Some(9s)"),
            (&uncertain, Hold::No, poison, "Uncertain retry Some(9s)"),
            (
                &uncertain,
                Hold::Yes,
                open,
                "failed Uncertain: uncertain: blocked",
            ),
        ] {
            assert_eq!(outcome(error, hold, outage), expected);
        }
    }
}
