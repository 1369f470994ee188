//! What an endpoint's answer says about the event, and about the endpoint.

use std::{error::Error, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use tributary_base::outgoing::Refused;

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx.
    Accepted,
    /// The endpoint works and does not take this event: only its conversation waits.
    Rejected { reason: String },
    /// The endpoint does not work, or asks for a pause: all its events wait.
    Away(Away),
}

/// Why the endpoint seems not to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    pub reason: String,
    /// What the endpoint asked for.
    pub after: Option<Duration>,
    pub blame: Blame,
    /// It said that it is gone for good.
    pub is_gone: bool,
}

/// What a failure may be due to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Nothing that is sent now would be taken.
    Endpoint,
    /// Perhaps only this event breaks the receiver.
    Either,
}

impl Away {
    /// A failure that is not about any event.
    pub fn unusable(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            after: None,
            blame: Blame::Endpoint,
            is_gone: false,
        }
    }
}

/// Reads an answer. `429`, `5xx` and `410` are about the endpoint; everything else that is not `2xx` is about the event,
/// redirects included. An endpoint that answers nothing but `410` for an hour is disabled.
pub fn of_answer(status: StatusCode, headers: &HeaderMap, now: DateTime<Utc>) -> Verdict {
    let reason = format!("endpoint answered {}", status.as_u16());
    if status.is_success() {
        Verdict::Accepted
    } else if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        Verdict::Away(Away {
            reason,
            after: retry_after(headers, now),
            blame: Blame::Endpoint,
            is_gone: false,
        })
    } else if status.is_server_error() {
        Verdict::Away(Away {
            reason,
            after: None,
            blame: Blame::Either,
            is_gone: false,
        })
    } else if status == StatusCode::GONE {
        Verdict::Away(Away {
            reason,
            after: None,
            blame: Blame::Either,
            is_gone: true,
        })
    } else {
        Verdict::Rejected { reason }
    }
}

/// Reads a failure to get an answer. Names no URL, which may hold a token.
pub fn of_failure(error: &reqwest::Error) -> Verdict {
    let (reason, blame) = if is_internal(error) {
        ("endpoint has an internal address", Blame::Endpoint)
    } else if error.is_connect() {
        ("endpoint cannot be connected to", Blame::Endpoint)
    } else if error.is_timeout() {
        ("endpoint did not answer in time", Blame::Either)
    } else {
        ("connection to the endpoint broke", Blame::Either)
    };
    Verdict::Away(Away {
        reason: reason.to_owned(),
        after: None,
        blame,
        is_gone: false,
    })
}

fn is_internal(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<Refused>() == Some(&Refused::Internal) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?;
    Some((at.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, asks: Option<&'static str>) -> Verdict {
        let headers = asks
            .map(|value| (RETRY_AFTER, value.parse().expect("header")))
            .into_iter()
            .collect();
        let now = "1999-12-31T23:59:00Z".parse().expect("time");
        of_answer(StatusCode::from_u16(status).expect("status"), &headers, now)
    }

    fn away(status: u16, after: Option<u64>) -> Verdict {
        let blame = match status {
            429 | 503 => Blame::Endpoint,
            _ => Blame::Either,
        };
        Verdict::Away(Away {
            reason: format!("endpoint answered {status}"),
            after: after.map(Duration::from_secs),
            blame,
            is_gone: status == 410,
        })
    }

    #[test]
    fn answers_are_told_apart() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(verdict(status, None), Verdict::Accepted);
        }
        for status in [300, 301, 307, 400, 401, 403, 404, 408, 413, 422] {
            let reason = format!("endpoint answered {status}");
            assert_eq!(verdict(status, None), Verdict::Rejected { reason });
        }
        for status in [410, 429, 500, 502, 503, 504, 599] {
            assert_eq!(verdict(status, None), away(status, None));
        }
    }

    #[test]
    fn a_wish_to_wait_is_read_in_both_forms() {
        assert_eq!(verdict(429, Some("120")), away(429, Some(120)));
        assert_eq!(
            verdict(503, Some("Fri, 31 Dec 1999 23:59:59 GMT")),
            away(503, Some(59))
        );
        assert_eq!(
            verdict(503, Some("Fri, 31 Dec 1999 23:50:00 GMT")),
            away(503, Some(0))
        );
        assert_eq!(verdict(503, Some("soon")), away(503, None));
        assert_eq!(verdict(500, Some("120")), away(500, None));
    }
}
