//! Every answer that is not a success: RFC 9457 problem details with a stable `code`.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tributary_bus::BusError;
use utoipa::ToSchema;

use crate::store::{StoreError, Trouble};

/// The media type of problem details.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// After which time a client may try again when something of ours is away.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(2);

/// What is wrong, for programs. Codes are never renamed; new ones may be added.
///
/// | code | status | meaning |
/// |---|---|---|
/// | `unauthorized` | 401 | no API key, an unknown or a revoked one |
/// | `not_found` | 404 | your organization has nothing with this id |
/// | `route_not_found` | 404 | the API has no such path |
/// | `method_not_allowed` | 405 | the path does not take this method; see `Allow` |
/// | `request_timeout` | 408 | the request did not arrive in time |
/// | `conversation_closed` | 409 | the conversation must be reopened first |
/// | `conversation_open` | 409 | the contact has another open conversation |
/// | `contact_blocked` | 409 | the contact cannot be written to (blocked, unsubscribed) |
/// | `channel_removed` | 409 | the channel of this conversation is no longer configured |
/// | `limit_reached` | 409 | the organization has as many of these as it may have |
/// | `idempotency_key_reused` | 422 | the key was used before with another request |
/// | `body_too_large` | 413 | the request body is larger than this server takes |
/// | `unsupported_media_type` | 415 | the body must be `application/json` |
/// | `invalid_json` | 400 | the body is not JSON |
/// | `invalid_body` | 422 | a field is missing, unknown or wrong; `errors` names it |
/// | `invalid_parameter` | 422 | a path, query or header parameter is wrong; `errors` names it |
/// | `rate_limited` | 429 | too many requests with this key; see `Retry-After` |
/// | `internal` | 500 | our mistake; tell us the `x-request-id` |
/// | `unavailable` | 503 | a part of the service is away; repeat after `Retry-After` |
/// | `deadline_exceeded` | 503 | it took too long and may have happened; repeat with the same `Idempotency-Key` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProblemCode)]
pub enum Code {
    Unauthorized,
    NotFound,
    RouteNotFound,
    MethodNotAllowed,
    RequestTimeout,
    ConversationClosed,
    ConversationOpen,
    ContactBlocked,
    ChannelRemoved,
    LimitReached,
    IdempotencyKeyReused,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidJson,
    InvalidBody,
    InvalidParameter,
    RateLimited,
    Internal,
    Unavailable,
    DeadlineExceeded,
}

impl Code {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        self.describe().0
    }

    fn status(self) -> StatusCode {
        self.describe().1
    }

    fn title(self) -> &'static str {
        self.describe().2
    }

    fn describe(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthorized => (
                "unauthorized",
                S::UNAUTHORIZED,
                "API key missing or not valid",
            ),
            Self::NotFound => ("not_found", S::NOT_FOUND, "Not found"),
            Self::RouteNotFound => ("route_not_found", S::NOT_FOUND, "No such path"),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                S::METHOD_NOT_ALLOWED,
                "Method not allowed",
            ),
            Self::RequestTimeout => (
                "request_timeout",
                S::REQUEST_TIMEOUT,
                "Request did not arrive in time",
            ),
            Self::ConversationClosed => {
                ("conversation_closed", S::CONFLICT, "Conversation is closed")
            }
            Self::ConversationOpen => (
                "conversation_open",
                S::CONFLICT,
                "Another conversation is open",
            ),
            Self::ContactBlocked => (
                "contact_blocked",
                S::CONFLICT,
                "Contact cannot be written to",
            ),
            Self::ChannelRemoved => ("channel_removed", S::CONFLICT, "Channel is not configured"),
            Self::LimitReached => ("limit_reached", S::CONFLICT, "Limit reached"),
            Self::IdempotencyKeyReused => (
                "idempotency_key_reused",
                S::UNPROCESSABLE_ENTITY,
                "Idempotency key was used with another request",
            ),
            Self::BodyTooLarge => (
                "body_too_large",
                S::PAYLOAD_TOO_LARGE,
                "Request body is too large",
            ),
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Media type is not supported",
            ),
            Self::InvalidJson => ("invalid_json", S::BAD_REQUEST, "Request body is not JSON"),
            Self::InvalidBody => (
                "invalid_body",
                S::UNPROCESSABLE_ENTITY,
                "Request body is not valid",
            ),
            Self::InvalidParameter => (
                "invalid_parameter",
                S::UNPROCESSABLE_ENTITY,
                "Request parameter is not valid",
            ),
            Self::RateLimited => ("rate_limited", S::TOO_MANY_REQUESTS, "Too many requests"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal error"),
            Self::Unavailable => (
                "unavailable",
                S::SERVICE_UNAVAILABLE,
                "Temporarily unavailable",
            ),
            Self::DeadlineExceeded => (
                "deadline_exceeded",
                S::SERVICE_UNAVAILABLE,
                "It took too long",
            ),
        }
    }
}

/// Problem details (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:tributary:problem:invalid_body",
    "title": "Request body is not valid",
    "status": 422,
    "code": "invalid_body",
    "detail": "unknown field `colour`, expected `url` or `events`",
    "errors": [{ "at": "colour", "detail": "unknown field `colour`, expected `url` or `events`" }]
}))]
pub struct Problem {
    /// `urn:tributary:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The same for every problem with this code.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    code: Code,
    /// What is wrong this time, for a person.
    detail: String,
    /// The parts of the request that are wrong, where there are such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<Fault>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

/// A part of a request that is wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ProblemFault)]
pub struct Fault {
    /// The field (`content.text`) or the parameter (`limit`).
    at: String,
    /// What is wrong with it.
    detail: String,
}

impl Problem {
    /// A problem with a text for a person; lower case, no full stop.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:tributary:problem:{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// Something of the organization that does not exist (or belongs to another, which is the same to the caller).
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// A field of the body that is wrong.
    pub fn field(at: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidBody, String::new()).at(at, detail)
    }

    /// A path, query or header parameter that is wrong.
    pub fn parameter(at: &str, detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, String::new()).at(at, detail)
    }

    /// A part of the service that is away.
    pub fn unavailable(what: &str) -> Self {
        Self::new(
            Code::Unavailable,
            format!("{what} is away; repeat the request later"),
        )
        .retry_after(RETRY_AFTER_OUTAGE)
    }

    /// Our mistake; the log has the rest.
    pub fn internal() -> Self {
        Self::new(
            Code::Internal,
            "something went wrong here; the request id names it in our log",
        )
    }

    /// The same with a `Retry-After` header, in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    fn at(mut self, at: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        self.detail = if at.is_empty() {
            detail.clone()
        } else {
            format!("{at}: {detail}")
        };
        self.errors.push(Fault {
            at: at.to_owned(),
            detail,
        });
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let retry_after = self
            .retry_after
            .map(|after| after.as_secs_f64().ceil().max(1.0) as u64);
        let challenge = self.code == Code::Unauthorized;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Logs the failure, where it is one of ours, and tells the caller what it may know of it.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound(what) => return Self::not_found(what),
            StoreError::Closed => {
                return Self::new(Code::ConversationClosed, "reopen the conversation first");
            }
            StoreError::AnotherOpen => {
                return Self::new(
                    Code::ConversationOpen,
                    "the contact has another open conversation",
                );
            }
            StoreError::Blocked => {
                return Self::new(
                    Code::ContactBlocked,
                    "the contact has blocked or left the channel",
                );
            }
            StoreError::ChannelRemoved(_) => {
                return Self::new(Code::ChannelRemoved, "the channel is no longer configured");
            }
            StoreError::IdempotencyMismatch => {
                return Self::new(
                    Code::IdempotencyKeyReused,
                    "this Idempotency-Key was used for another request; take a new one",
                );
            }
            StoreError::Database(_)
            | StoreError::Deadline(_)
            | StoreError::Corrupt(..)
            | StoreError::Envelope(_)
            | StoreError::NotOwner
            | StoreError::ChannelMoved { .. } => {}
        }
        if error.trouble() == Trouble::Away {
            tracing::warn!(%error, "the store is away");
            Self::unavailable("the store")
        } else {
            tracing::error!(%error, "the store failed");
            Self::internal()
        }
    }
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        tracing::warn!(%error, "the bus is away");
        Self::unavailable("the bus")
    }
}

/// The problem that stands for a bare status which a library answered.
pub(super) fn for_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(Code::RouteNotFound, "the API has no such path"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            Code::MethodNotAllowed,
            "this path does not take this method; the Allow header names those it takes",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            Code::BodyTooLarge,
            "the request body is larger than this server takes",
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(
            Code::UnsupportedMediaType,
            "send the body as application/json",
        ),
        StatusCode::REQUEST_TIMEOUT => {
            Problem::new(Code::RequestTimeout, "the request did not arrive in time")
        }
        status if status.is_client_error() => {
            Problem::new(Code::InvalidParameter, "the request cannot be read")
        }
        _ => Problem::internal(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_the_same_everywhere() {
        for code in [
            Code::Unauthorized,
            Code::IdempotencyKeyReused,
            Code::DeadlineExceeded,
            Code::InvalidJson,
        ] {
            let written = serde_json::to_value(code).expect("a code is JSON");
            assert_eq!(written, code.as_str());
        }
    }
}
