//! From what a provider said to what follows: the only place where a [`SendError`] is judged.

use std::time::Duration;

use tributary_bus::{
    Outcome,
    message::{Failure, FailureCode},
};

use super::circuit::{End, Outage, REFUSED_WAIT};
use crate::{SendError, ledger::Ending};

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
    pub call: Call,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Sends a part.
    Send,
    /// Changes what is in the channel.
    Change,
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
        SendError::Unavailable { .. } => again(later(None, reason, circumstances.outage)),
        SendError::NotReady { .. } => again(Outcome::Retry {
            after: None,
            reason,
        }),
        // The provider serves the account, but not this call: it knows no such call.
        SendError::Misconfigured { .. }
            if circumstances.call == Call::Change && circumstances.outage == Outage::Alone =>
        {
            Verdict::Failed(Failure {
                code: FailureCode::Rejected,
                reason,
            })
        }
        SendError::Misconfigured { .. } => {
            again(later(Some(REFUSED_WAIT), reason, circumstances.outage))
        }
        SendError::Uncertain { .. } if circumstances.hold == Hold::Yes => {
            Verdict::Failed(Failure {
                code: FailureCode::Uncertain,
                reason,
            })
        }
        SendError::Uncertain { .. } => Verdict::Again {
            ending: Ending::Uncertain,
            outcome: later(None, reason, circumstances.outage),
        },
    }
}

/// What an error tells about the provider.
pub(super) fn end(error: &SendError) -> End {
    match error {
        SendError::Rejected { .. }
        | SendError::Unreachable { .. }
        | SendError::RateLimited { .. } => End::Answered,
        SendError::Misconfigured { .. } => End::Refused,
        SendError::NotReady { .. } => End::Ours,
        SendError::Unavailable { .. } => End::NotReached,
        SendError::Uncertain { .. } => End::NoAnswer,
    }
}

/// With the provider's code, once.
fn failed(code: FailureCode, detail: &str, reason: &str) -> Verdict {
    let told = format!("({detail})");
    let reason = if reason.ends_with(&told) {
        reason.to_owned()
    } else {
        format!("{reason} {told}")
    };
    Verdict::Failed(Failure { code, reason })
}

fn again(outcome: Outcome) -> Verdict {
    Verdict::Again {
        ending: Ending::Waiting,
        outcome,
    }
}

/// The recipient waits for its own next try, or, while the account is not served, for that of the account.
fn later(after: Option<Duration>, reason: String, outage: Outage) -> Outcome {
    match outage {
        Outage::No | Outage::Alone => Outcome::Retry { after, reason },
        Outage::Wait(after) => Outcome::Defer { after, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    fn outcome(error: &SendError, hold: Hold, outage: Outage) -> String {
        let call = Call::Send;
        match judge(error, Circumstances { hold, outage, call }) {
            Verdict::Failed(failure) => format!("failed {:?}: {}", failure.code, failure.reason),
            Verdict::Again { ending, outcome } => match outcome {
                Outcome::Retry { after, .. } => format!("{ending:?} retry {after:?}"),
                Outcome::Defer { after, .. } => format!("{ending:?} defer {after:?}"),
                Outcome::Pause { after, .. } => format!("{ending:?} pause {after:?}"),
                other => format!("{other:?}"),
            },
        }
    }

    #[test]
    fn a_change_that_the_provider_does_not_know_is_refused_alone() {
        let error = SendError::Misconfigured {
            reason: "not found (404)".to_owned(),
        };
        for (call, outage, refused) in [
            (Call::Change, Outage::Alone, true),
            (Call::Change, Outage::No, false),
            (Call::Send, Outage::Alone, false),
        ] {
            let hold = Hold::No;
            let verdict = judge(&error, Circumstances { hold, outage, call });
            assert_eq!(
                matches!(verdict, Verdict::Failed(_)),
                refused,
                "{call:?} {outage:?}"
            );
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
        let misconfigured = SendError::Misconfigured {
            reason: reason.clone(),
        };
        let coded = SendError::Rejected {
            code: "400".to_owned(),
            reason: "chat is full (400)".to_owned(),
        };
        let not_ready = SendError::NotReady { reason };
        let open = Outage::Wait(Duration::from_secs(9));
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
            (&unavailable, Hold::No, open, "Waiting defer 9s"),
            (&not_ready, Hold::Yes, Outage::No, "Waiting retry None"),
            (
                &misconfigured,
                Hold::No,
                Outage::No,
                "Waiting retry Some(60s)",
            ),
            (&misconfigured, Hold::No, open, "Waiting defer 9s"),
            (&uncertain, Hold::No, Outage::No, "Uncertain retry None"),
            (&uncertain, Hold::No, open, "Uncertain defer 9s"),
            (
                &coded,
                Hold::No,
                Outage::No,
                "failed Rejected: chat is full (400)",
            ),
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
