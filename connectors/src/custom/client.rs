//! Posts deliveries to the integrator's address: through the guard, signed, bounded.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use chrono::Utc;
use http::{HeaderMap, StatusCode, header};
use reqwest::Response;
use tributary_base::outgoing::{Guard, Refused};
use url::Url;

use super::{
    verify::{ID, Keys, SIGNATURE, TIMESTAMP},
    wire::{Answer, Delivery},
};
use crate::{Call, CallLog};

/// Bytes of an answer that are read.
const ANSWER_LIMIT: usize = 64 * 1024;
/// The guarded client's own limit; each call has a tighter one.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    keys: Keys,
}

/// What came back, or why nothing did.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Answered(Answered),
    /// The guard does not let us connect there.
    Forbidden,
    /// The request did not leave.
    NotSent(String),
    /// The request left; what became of it is unknown.
    Lost(String),
}

#[derive(Debug, PartialEq)]
pub(super) struct Answered {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub answer: Answer,
}

impl Client {
    /// A client; makes no connection yet.
    pub(super) fn new(guard: &Guard, url: Url, keys: Keys) -> Result<Self, String> {
        let http = guard
            .client(LONGEST, 0)
            .map_err(|error| format!("HTTP client: {error}"))?;
        Ok(Self { http, url, keys })
    }

    /// Posts one delivery and notes the call.
    pub(super) async fn post(
        &self,
        delivery: &Delivery<'_>,
        deadline: Duration,
        log: &CallLog,
    ) -> Outcome {
        let body = match serde_json::to_string(delivery) {
            Ok(body) => body,
            Err(error) => return Outcome::NotSent(error.to_string()),
        };
        let started = Instant::now();
        let mut call = Call {
            what: format!("POST {}", delivery.what.kind()),
            request: Some(body.clone()),
            ..Call::default()
        };
        let outcome = self
            .exchange(delivery.idempotency_key, body, deadline, &mut call)
            .await;
        call.took = started.elapsed();
        call.error = match &outcome {
            Outcome::Answered(_) => None,
            Outcome::Forbidden => Some("the address is internal".to_owned()),
            Outcome::NotSent(reason) | Outcome::Lost(reason) => Some(reason.clone()),
        };
        log.note(call);
        outcome
    }

    async fn exchange(
        &self,
        id: &str,
        body: String,
        deadline: Duration,
        call: &mut Call,
    ) -> Outcome {
        let timestamp = Utc::now().timestamp();
        let signature = self.keys.sign(id, timestamp, body.as_bytes());
        let sent = self
            .http
            .post(self.url.clone())
            .timeout(deadline)
            .header(ID, id)
            .header(TIMESTAMP, timestamp)
            .header(SIGNATURE, signature)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return failure(error),
        };
        let status = response.status();
        call.status = Some(status.as_u16());
        let retry_after = retry_after(response.headers());
        let text = match read(response).await {
            Ok(text) => text,
            Err(error) => return failure(error),
        };
        let text = String::from_utf8_lossy(&text);
        call.reply = Some(text.clone().into_owned());
        Outcome::Answered(Answered {
            status,
            retry_after,
            // Whatever else it says, the status counts.
            answer: serde_json::from_str(&text).unwrap_or_default(),
        })
    }
}

/// As much of the body as is wanted.
async fn read(mut response: Response) -> Result<BytesMut, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() >= ANSWER_LIMIT {
            body.truncate(ANSWER_LIMIT);
            break;
        }
    }
    Ok(body)
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    let wait = date.signed_duration_since(Utc::now());
    Some(wait.to_std().unwrap_or_default())
}

/// Without the URL: it may have a secret in it.
fn failure(error: reqwest::Error) -> Outcome {
    let not_sent = error.is_connect() || error.is_builder();
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut reason = String::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = next {
        if error.is::<Refused>() {
            return Outcome::Forbidden;
        }
        if !reason.is_empty() {
            reason.push_str(": ");
        }
        reason.push_str(&error.to_string());
        next = error.source();
    }
    if not_sent {
        return Outcome::NotSent(reason);
    }
    if timed_out {
        "no answer in time".clone_into(&mut reason);
    }
    Outcome::Lost(reason)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from_str(text).expect("a header"),
            );
            retry_after(&headers)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            of("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO),
            "over already"
        );
        assert!(of("Fri, 01 Jan 2100 00:00:00 GMT") > Some(Duration::from_secs(1_000_000)));
        assert_eq!(of("soon"), None);
        assert_eq!(of("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
