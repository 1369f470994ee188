//! From what a provider said to what follows: the only place where a [`SendError`] is judged.

use std::time::Duration;

use tributary_bus::{
    Outcome,
    message::{Failure, FailureCode, HealthState},
};

use crate::{SendError, ledger::Ending};

/// Failures of the provider in a row after which the whole account waits instead of one recipient.
const FAILURES_BEFORE_PAUSE: u32 = 5;
/// How long an account waits for a person, before it tries again by itself.
const MISCONFIGURED_WAIT: Duration = Duration::from_secs(60);

/// What follows from a send that did not succeed.
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
    /// Tries of this account in a row, this one included, that the provider did not answer for.
    pub failures: u32,
}

/// Whether an uncertain send is left to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    No,
    Yes,
}

/// Judges a failed send.
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
        SendError::Unavailable { .. } => again(later(reason, circumstances.failures)),
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
            outcome: later(reason, circumstances.failures),
        },
    }
}

/// What an error tells about the account.
pub(super) fn health(error: &SendError, failures: u32) -> Option<HealthState> {
    match error {
        SendError::Rejected { .. }
        | SendError::Unreachable { .. }
        | SendError::RateLimited { .. } => Some(HealthState::Ok),
        SendError::Misconfigured { .. } => Some(HealthState::Misconfigured),
        SendError::Unavailable { .. } | SendError::Uncertain { .. } => {
            (failures >= FAILURES_BEFORE_PAUSE).then_some(HealthState::Down)
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

/// The recipient waits; after several failures in a row everybody does.
fn later(reason: String, failures: u32) -> Outcome {
    let after = None;
    if failures >= FAILURES_BEFORE_PAUSE {
        Outcome::Pause { after, reason }
    } else {
        Outcome::Retry { after, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    fn outcome(error: &SendError, hold: Hold, failures: u32) -> String {
        match judge(error, Circumstances { hold, failures }) {
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
        for (error, hold, failures, expected) in [
            (&rejected, Hold::No, 0, "failed Rejected: blocked (403)"),
            (
                &unreachable,
                Hold::No,
                0,
                "failed Unreachable: blocked (403)",
            ),
            (
                &limited(Scope::Recipient),
                Hold::No,
                0,
                "Waiting retry Some(7s)",
            ),
            (
                &limited(Scope::Account),
                Hold::No,
                0,
                "Waiting pause Some(7s)",
            ),
            (&unavailable, Hold::Yes, 4, "Waiting retry None"),
            (&unavailable, Hold::No, 5, "Waiting pause None"),
            (&misconfigured, Hold::No, 1, "Waiting pause Some(60s)"),
            (&uncertain, Hold::No, 1, "Uncertain retry None"),
            (&uncertain, Hold::No, 5, "Uncertain pause None"),
            (
                &uncertain,
                Hold::Yes,
                9,
                "failed Uncertain: uncertain: blocked",
            ),
        ] {
            assert_eq!(outcome(error, hold, failures), expected);
        }
    }
}
