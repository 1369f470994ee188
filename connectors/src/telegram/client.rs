//! Calls to the Bot API. The token is part of every URL, so no error of the HTTP client leaves here as it is.

use std::{
    fmt,
    future::ready,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Body, Client as Http, RequestBuilder, Response,
    multipart::{Form, Part},
    redirect::Policy,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use tokio::time::timeout;
use tributary_config::Secret;
use url::Url;

use super::wire::{Answer, Object};
use crate::{Call, CallLog, FetchError, MediaStream};

/// Longer answers are not read; 100 updates stay far below.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// What stands for itself in the path of a file.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
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
    /// What was to be uploaded could not be read to its end, so that nothing was sent.
    Unread(FetchError),
}

/// A file that goes along with a call.
pub(super) struct Upload {
    /// The name of its part of the form.
    pub field: &'static str,
    pub name: String,
    pub stream: MediaStream,
    /// Bytes, at most.
    pub limit: u64,
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
            Self::Unread(error) => write!(f, "media cannot be read: {error}"),
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
        log: &CallLog,
    ) -> Result<R, CallError> {
        let result = self.raw(method, parameters, deadline, log).await?;
        serde_json::from_str(result.get())
            .map_err(|_| CallError::Lost(format!("the result of {method} cannot be read")))
    }

    /// Calls a method; the result as it came.
    pub(super) async fn raw(
        &self,
        method: &str,
        parameters: &impl Serialize,
        deadline: Duration,
        log: &CallLog,
    ) -> Result<Box<RawValue>, CallError> {
        let request = self.post(method, deadline).json(parameters);
        let noted = || serde_json::to_string(parameters).unwrap_or_default();
        self.exchange(method, request, noted, log).await
    }

    /// Calls a method with a file, which is read while it is sent.
    pub(super) async fn upload(
        &self,
        method: &str,
        parameters: &Object,
        upload: Upload,
        deadline: Duration,
        log: &CallLog,
    ) -> Result<Box<RawValue>, CallError> {
        let mut form = Form::new();
        for (name, value) in parameters {
            // Objects are JSON in a form, and texts are not.
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            form = form.text(name.clone(), text);
        }
        let failure = Arc::new(OnceLock::new());
        let whole = Arc::new(AtomicBool::new(false));
        let size = upload.stream.size;
        let ended = Arc::clone(&whole);
        let body = bounded(upload.stream, upload.limit, Arc::clone(&failure)).chain(
            futures::stream::poll_fn(move |_| {
                ended.store(true, Ordering::Release);
                Poll::Ready(None)
            }),
        );
        let part = match size {
            Some(size) => Part::stream_with_length(Body::wrap_stream(body), size),
            None => Part::stream(Body::wrap_stream(body)),
        };
        form = form.part(upload.field, part.file_name(upload.name));
        let request = self.post(method, deadline).multipart(form);
        let noted = || {
            let mut noted = parameters.clone();
            let size =
                size.map_or_else(|| "unknown size".to_owned(), |size| format!("{size} bytes"));
            noted.insert(upload.field.to_owned(), Value::from(format!("({size})")));
            Value::Object(noted).to_string()
        };
        let result = self.exchange(method, request, noted, log).await;
        match (result, failure.get()) {
            (Err(CallError::NotSent(_) | CallError::Lost(_)), Some(error)) => {
                Err(CallError::Unread(error.clone()))
            }
            // Without its end the request was none.
            (Err(CallError::Lost(reason)), None) if !whole.load(Ordering::Acquire) => {
                Err(CallError::Unread(FetchError::Unavailable {
                    retry_after: None,
                    reason: format!("it was not read to its end: {reason}"),
                }))
            }
            (result, _) => result,
        }
    }

    /// Opens a file that `getFile` named; `deadline` is that of the answer's beginning.
    pub(super) async fn download(
        &self,
        path: &str,
        deadline: Duration,
    ) -> Result<MediaStream, CallError> {
        // A name in the path can hold anything; each of its characters is one of the name.
        let path = utf8_percent_encode(path, PATH);
        let url = format!("{}/file/bot{}/{path}", self.base, self.token.expose());
        let response = timeout(deadline, self.http.get(url).send())
            .await
            .map_err(|_| CallError::NotSent("deadline passed".to_owned()))?
            .map_err(|error| self.failure(error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(CallError::Refused(Refusal {
                code: status.as_u16(),
                ..Refusal::default()
            }));
        }
        let size = response.content_length();
        let body = response
            .bytes_stream()
            .map(|chunk| chunk.map_err(|error| io::Error::other(error.without_url().to_string())));
        Ok(MediaStream {
            body: body.boxed(),
            // Telegram says `application/octet-stream` of everything.
            mime: None,
            size,
            name: None,
        })
    }

    pub(super) fn token(&self) -> &str {
        self.token.expose()
    }

    fn post(&self, method: &str, deadline: Duration) -> RequestBuilder {
        let url = format!("{}/bot{}/{method}", self.base, self.token.expose());
        self.http.post(url).timeout(deadline)
    }

    /// One request and its answer: the only place where calls are noted.
    async fn exchange(
        &self,
        method: &str,
        request: RequestBuilder,
        noted: impl FnOnce() -> String,
        log: &CallLog,
    ) -> Result<Box<RawValue>, CallError> {
        let began = Instant::now();
        let mut call = Call {
            what: format!("POST {method}"),
            request: Some(noted()),
            ..Call::default()
        };
        let answer = self.answer(request).await;
        call.took = began.elapsed();
        let result = match answer {
            Ok((status, body)) => {
                call.status = Some(status);
                call.reply = Some(self.scrub(&String::from_utf8_lossy(&body)));
                self.result(status, &body)
            }
            Err(error) => Err(error),
        };
        call.error = result.as_ref().err().map(ToString::to_string);
        log.note(call);
        result
    }

    async fn answer(&self, request: RequestBuilder) -> Result<(u16, BytesMut), CallError> {
        let response = request.send().await.map_err(|error| self.failure(error))?;
        let status = response.status().as_u16();
        Ok((status, self.read(response).await?))
    }

    fn result(&self, status: u16, body: &[u8]) -> Result<Box<RawValue>, CallError> {
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
            return Err(if (200..300).contains(&status) {
                CallError::Lost("the answer cannot be read".to_owned())
            } else {
                CallError::Refused(Refusal {
                    code: status,
                    ..Refusal::default()
                })
            });
        };
        if let (true, Some(result)) = (answer.ok, answer.result) {
            return Ok(result);
        }
        let parameters = answer.parameters.unwrap_or_default();
        Err(CallError::Refused(Refusal {
            code: answer.error_code.unwrap_or(status),
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

/// The bytes, not more of them than allowed and not fewer than announced; why it ended before its end is kept.
fn bounded(
    stream: MediaStream,
    limit: u64,
    failure: Arc<OnceLock<FetchError>>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let size = stream.size;
    let mut taken: u64 = 0;
    let fail = move |error: FetchError| {
        let text = error.to_string();
        // The first reason is the reason.
        failure.get_or_init(|| error);
        Some(Err(io::Error::other(text)))
    };
    let unavailable = |reason: String| FetchError::Unavailable {
        retry_after: None,
        reason,
    };
    // `None` stands for the end, so that a short stream is noticed.
    let end = futures::stream::once(ready(None));
    let body = stream.body.map(Some).chain(end);
    body.filter_map(move |chunk| {
        ready(match (chunk, size) {
            (Some(Err(error)), _) => fail(unavailable(error.to_string())),
            (Some(Ok(chunk)), _) => {
                taken = taken.saturating_add(chunk.len() as u64);
                if taken > limit {
                    fail(FetchError::TooLarge { limit })
                } else if size.is_some_and(|size| taken > size) {
                    fail(unavailable("longer than announced".to_owned()))
                } else {
                    Some(Ok(chunk))
                }
            }
            (None, Some(size)) if taken < size => {
                fail(unavailable("shorter than announced".to_owned()))
            }
            (None, _) => None,
        })
    })
}
