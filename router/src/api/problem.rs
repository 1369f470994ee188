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

pub use super::code::Code;

/// The media type of problem details.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// After which time a client may try again when something of ours is away.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(2);

/// Problem details (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
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

    /// A problem of which the code says everything.
    pub fn of(code: Code) -> Self {
        Self::new(code, code.meaning())
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
        Self::of(Code::Internal)
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
            StoreError::Closed => return Self::of(Code::ConversationClosed),
            StoreError::AnotherOpen => return Self::of(Code::ConversationOpen),
            StoreError::Blocked => return Self::of(Code::ContactBlocked),
            StoreError::ChannelRemoved(_) => return Self::of(Code::ChannelRemoved),
            StoreError::NotOurs => return Self::of(Code::MessageNotOurs),
            StoreError::NotSent => return Self::of(Code::MessageNotSent),
            StoreError::Deleted => return Self::of(Code::MessageDeleted),
            StoreError::NothingToRead => return Self::of(Code::NothingToRead),
            StoreError::IdempotencyMismatch => return Self::of(Code::IdempotencyKeyReused),
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
    Problem::of(match status {
        StatusCode::NOT_FOUND => Code::RouteNotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        StatusCode::REQUEST_TIMEOUT => Code::RequestTimeout,
        status if status.is_client_error() => Code::InvalidParameter,
        _ => Code::Internal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_the_same_everywhere() {
        for code in Code::ALL {
            let written = serde_json::to_value(code).expect("a code is JSON");
            assert_eq!(written, code.as_str());
        }
    }
}
