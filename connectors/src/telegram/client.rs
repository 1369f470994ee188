//! Calls to the Bot API. The token is part of every URL, so no error of the HTTP client leaves here as it is.

use std::{fmt, time::Duration};

use bytes::BytesMut;
use reqwest::{Client as Http, Response, redirect::Policy};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tributary_config::Secret;
use url::Url;

use super::wire::Answer;

/// Longer answers are not read; 100 updates stay far below.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Below the keep-alive of common servers, so that a request rarely meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(20);

/// A client with the bot's token.
pub(super) struct Client {
    http: Http,
    base: String,
    token: Secret,
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// The request did not leave.
    NotSent(String),
    /// The request left; what became of it is unknown.
    Lost(String),
    /// Telegram said no.
    Refused(Refusal),
}

/// A `no` of Telegram.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    /// `error_code`, else the HTTP status.
    pub code: u16,
    /// Empty when a proxy answered instead.
    pub description: String,
    /// Seconds.
    pub retry_after: Option<u64>,
    pub migrate_to_chat_id: Option<i64>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.description.as_str() {
            "" => write!(f, "HTTP status {}", self.code),
            description => write!(f, "{description} ({})", self.code),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(reason) => write!(f, "not reached: {reason}"),
            Self::Lost(reason) => write!(f, "no answer: {reason}"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl Client {
    /// A client; makes no connection yet.
    pub(super) fn new(api_url: &Url, token: Secret) -> Result<Self, String> {
        // The process installs its provider at its start; without one the builder would panic.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            rustls::crypto::ring::default_provider()
                .install_default()
                .ok();
        }
        let http = Http::builder()
            .connect_timeout(CONNECT_DEADLINE)
            .pool_idle_timeout(IDLE)
            .redirect(Policy::none())
            .http1_only()
            .user_agent(concat!("tributary/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("HTTP client: {error}"))?;
        Ok(Self {
            http,
            base: api_url.as_str().trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// Calls a method; everything within `deadline`.
    pub(super) async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &impl Serialize,
        deadline: Duration,
    ) -> Result<R, CallError> {
        let result = self.raw(method, parameters, deadline).await?;
        serde_json::from_str(result.get())
            .map_err(|_| CallError::Lost(format!("the result of {method} cannot be read")))
    }

    /// Calls a method; the result as it came.
    pub(super) async fn raw(
        &self,
        method: &str,
        parameters: &impl Serialize,
        deadline: Duration,
    ) -> Result<Box<RawValue>, CallError> {
        let url = format!("{}/bot{}/{method}", self.base, self.token.expose());
        let response = self
            .http
            .post(url)
            .timeout(deadline)
            .json(parameters)
            .send()
            .await
            .map_err(|error| self.failure(error))?;
        let status = response.status();
        let body = self.read(response).await?;
        let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
            return Err(if status.is_success() {
                CallError::Lost("the answer cannot be read".to_owned())
            } else {
                CallError::Refused(Refusal {
                    code: status.as_u16(),
                    ..Refusal::default()
                })
            });
        };
        if let (true, Some(result)) = (answer.ok, answer.result) {
            return Ok(result);
        }
        let parameters = answer.parameters.unwrap_or_default();
        Err(CallError::Refused(Refusal {
            code: answer.error_code.unwrap_or(status.as_u16()),
            description: self.scrub(&answer.description.unwrap_or_default()),
            retry_after: parameters.retry_after,
            migrate_to_chat_id: parameters.migrate_to_chat_id,
        }))
    }

    async fn read(&self, mut response: Response) -> Result<BytesMut, CallError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failure(error))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_LIMIT {
                return Err(CallError::Lost("the answer is too long".to_owned()));
            }
        }
        Ok(body)
    }

    fn failure(&self, error: reqwest::Error) -> CallError {
        let not_sent = error.is_connect() || error.is_builder();
        let timed_out = error.is_timeout();
        let mut reason = String::new();
        let error = error.without_url();
        let mut next: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = next {
            if !reason.is_empty() {
                reason.push_str(": ");
            }
            reason.push_str(&error.to_string());
            next = error.source();
        }
        if timed_out {
            "deadline passed".clone_into(&mut reason);
        }
        let reason = self.scrub(&reason);
        if not_sent {
            CallError::NotSent(reason)
        } else {
            CallError::Lost(reason)
        }
    }

    /// No text leaves with the token in it.
    fn scrub(&self, text: &str) -> String {
        text.replace(self.token.expose(), "[token]")
    }
}
