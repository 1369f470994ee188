//! What the integrator's answers mean. The status decides; `code` in the body says what a refusal is about.
//!
//! What ails the account is told in words of our own: theirs may quote the message, and a health reason goes into logs
//! and events. Their words are in the channel log, and in the failure of the one message that they are about.

use std::time::Duration;

use super::{
    client::{Answered, Outcome},
    inbound::reason,
};
use crate::{Scope, SendError};

/// A system that wants to be asked again at once is not asked as fast as it answers.
const SHORTEST_WAIT: Duration = Duration::from_millis(300);

/// Why a delivery was not taken; `None`: it was.
pub(super) fn classify(outcome: &Outcome) -> Option<SendError> {
    match outcome {
        Outcome::Answered(answered) => refused(answered),
        Outcome::Forbidden => Some(SendError::Misconfigured {
            reason: "url leads to an internal address; see allow_internal".to_owned(),
        }),
        Outcome::NotSent(reason) => Some(SendError::Unavailable {
            reason: reason.clone(),
        }),
        Outcome::Lost(reason) => Some(SendError::Uncertain {
            reason: reason.clone(),
        }),
    }
}

/// The same for an action: a system that does not know it refuses this one call, and nothing is wrong with its address.
pub(super) fn classify_action(outcome: &Outcome) -> Option<SendError> {
    if let Outcome::Answered(answered) = outcome
        && let status @ (404 | 405 | 501) = answered.status.as_u16()
        && !matches!(
            answered.answer.code.as_deref(),
            Some("recipient" | "content")
        )
    {
        return Some(SendError::Rejected {
            code: status.to_string(),
            reason: "the system does not know this kind of delivery".to_owned(),
        });
    }
    classify(outcome)
}

fn refused(answered: &Answered) -> Option<SendError> {
    let answer = &answered.answer;
    let status = answered.status.as_u16();
    let ours = format!("the system answers {status}");
    let reason = reason(
        answer.reason.as_deref(),
        &format!("the system answers {}", answered.status),
    );
    let about = answer.code.as_deref();
    Some(match status {
        // 409: it has it already.
        200..=299 | 409 => return None,
        // Redirects are not followed; 404 and 405: not the right address; 410: gone on purpose.
        100..=199 | 300..=399 | 401 | 403 | 410 => SendError::Misconfigured { reason: ours },
        429 => SendError::RateLimited {
            retry_after: answered.retry_after.map(|wait| wait.max(SHORTEST_WAIT)),
            scope: match about {
                Some("recipient") => Scope::Recipient,
                Some(_) | None => Scope::Account,
            },
        },
        408 | 425 => SendError::Unavailable { reason: ours },
        400..=499 => match about {
            Some("recipient") => SendError::Unreachable {
                code: "recipient".to_owned(),
                reason,
            },
            Some("content") => SendError::Rejected {
                code: "content".to_owned(),
                reason,
            },
            Some(_) | None if matches!(status, 404 | 405) => {
                SendError::Misconfigured { reason: ours }
            }
            Some(_) | None => SendError::Rejected {
                code: status.to_string(),
                reason,
            },
        },
        503 => unavailable(answered, ours),
        // Of a server that fell over, or of a proxy before it: it may have been taken.
        _ => SendError::Uncertain { reason: ours },
    })
}

fn unavailable(answered: &Answered, reason: String) -> SendError {
    match answered.retry_after {
        Some(wait) => SendError::RateLimited {
            retry_after: Some(wait.max(SHORTEST_WAIT)),
            scope: Scope::Account,
        },
        None => SendError::Unavailable { reason },
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::custom::wire::Answer;

    fn answered(status: u16, retry_after: Option<u64>, body: &str) -> Outcome {
        let answer: Answer = serde_json::from_str(body).unwrap_or_default();
        Outcome::Answered(Answered {
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: retry_after.map(Duration::from_secs),
            answer,
        })
    }

    fn shown(outcome: &Outcome) -> String {
        classify(outcome).map_or_else(|| "taken".to_owned(), name)
    }

    fn name(error: SendError) -> String {
        match error {
            SendError::Rejected { code, .. } => format!("rejected {code}"),
            SendError::Unreachable { code, .. } => format!("unreachable {code}"),
            SendError::RateLimited { retry_after, scope } => {
                format!("{scope:?} waits {retry_after:?}")
            }
            SendError::Unavailable { .. } => "unavailable".to_owned(),
            SendError::NotReady { .. } => "not ready".to_owned(),
            SendError::Uncertain { .. } => "uncertain".to_owned(),
            SendError::Misconfigured { .. } => "misconfigured".to_owned(),
        }
    }

    /// Every row of the table in docs/channels/custom.md.
    #[test]
    fn every_row_of_the_table() {
        let recipient = r#"{"code":"recipient","reason":"left us"}"#;
        let content = r#"{"code":"content","reason":"too rude"}"#;
        for (status, retry_after, body, expected) in [
            (200, None, "", "taken"),
            (200, None, r#"{"id":"m-1"}"#, "taken"),
            (202, None, "<html>", "taken"),
            (204, None, "", "taken"),
            (409, None, r#"{"id":"m-1"}"#, "taken"),
            (302, None, "", "misconfigured"),
            (401, None, recipient, "misconfigured"),
            (403, None, "", "misconfigured"),
            (404, None, "", "misconfigured"),
            (405, None, "", "misconfigured"),
            (410, None, recipient, "misconfigured"),
            (404, None, recipient, "unreachable recipient"),
            (422, None, recipient, "unreachable recipient"),
            (422, None, content, "rejected content"),
            (400, None, content, "rejected content"),
            (400, None, "", "rejected 400"),
            (400, None, r#"{"code":"weather"}"#, "rejected 400"),
            (413, None, "", "rejected 413"),
            (408, None, "", "unavailable"),
            (425, None, "", "unavailable"),
            (429, Some(7), "", "Account waits Some(7s)"),
            (429, None, "", "Account waits None"),
            (429, Some(7), recipient, "Recipient waits Some(7s)"),
            (503, Some(9), "", "Account waits Some(9s)"),
            (503, None, "", "unavailable"),
            (500, None, "", "uncertain"),
            (502, None, "", "uncertain"),
            (504, Some(9), "", "uncertain"),
        ] {
            let outcome = answered(status, retry_after, body);
            assert_eq!(shown(&outcome), expected, "{status} {body}");
        }
        assert_eq!(shown(&Outcome::Forbidden), "misconfigured");
        assert_eq!(shown(&Outcome::NotSent("x".to_owned())), "unavailable");
        assert_eq!(shown(&Outcome::Lost("x".to_owned())), "uncertain");
    }

    #[test]
    fn an_action_that_the_system_does_not_know_is_refused_alone() {
        for (status, body, expected) in [
            (404, "", "rejected 404"),
            (405, "", "rejected 405"),
            (501, "", "rejected 501"),
            (404, r#"{"code":"recipient"}"#, "unreachable recipient"),
            (401, "", "misconfigured"),
            (410, "", "misconfigured"),
            (500, "", "uncertain"),
            (200, "", "taken"),
        ] {
            let found = match classify_action(&answered(status, None, body)) {
                None => "taken".to_owned(),
                Some(error) => name(error),
            };
            assert_eq!(found, expected, "{status} {body}");
        }
    }

    /// The reason of an account's health goes into logs and events.
    #[test]
    fn what_ails_the_account_never_quotes_them() {
        let body = r#"{"reason":"not allowed to say 'my card is 4111'"}"#;
        for status in [302, 401, 403, 404, 405, 408, 410, 425, 500, 502, 503] {
            match classify(&answered(status, None, body)) {
                Some(
                    SendError::Misconfigured { reason }
                    | SendError::Unavailable { reason }
                    | SendError::Uncertain { reason },
                ) => {
                    assert_eq!(reason, format!("the system answers {status}"));
                }
                other => panic!("{status}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_reason_is_theirs_and_bounded() {
        let reason = |body: &str| match classify(&answered(422, None, body)) {
            Some(SendError::Rejected { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(r#"{"reason":" too rude "}"#), "too rude");
        assert_eq!(reason(""), "the system answers 422 Unprocessable Entity");
        let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(10_000));
        assert_eq!(reason(&long).len(), 500);
    }
}
