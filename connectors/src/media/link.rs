//! Media behind a URL that an integrator or a contact chose: through the guard, bounded, sniffed.

use std::{error::Error, io, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use reqwest::{Response, StatusCode, header};
use tributary_base::{
    media::{clean_name, sniff_type},
    outgoing::{Guard, Refused},
};
use tributary_bus::message::Media;
use url::Url;

use super::{FetchError, MediaStream};

/// Redirects that a URL may lead over; each is checked.
const REDIRECTS: usize = 5;
/// Bytes that are enough to tell what a file is.
const BEGINNING: usize = 1024;
/// A server may ask for more; it is not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Reads what URLs of others name. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LinkReader {
    guard: Guard,
    client: reqwest::Client,
    /// Bytes.
    size_limit: u64,
}

impl LinkReader {
    /// A reader that reaches public addresses and `allow_internal`; each answer within `deadline`, at most
    /// `size_limit` bytes.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(
        allow_internal: &[IpNet],
        deadline: Duration,
        size_limit: u64,
    ) -> Result<Self, reqwest::Error> {
        let guard = Guard::new(allow_internal);
        Ok(Self {
            client: guard.client(deadline, REDIRECTS)?,
            guard,
            size_limit,
        })
    }

    /// What can be told from the URL alone; a name is checked when it is resolved.
    ///
    /// # Errors
    /// It must not be fetched; the error says why.
    pub fn permits(&self, url: &Url) -> Result<(), Refused> {
        self.guard.check(url)
    }

    /// The media with the type and size of what is behind its `url`.
    ///
    /// # Errors
    /// As for `open`.
    pub async fn describe(&self, url: &str, media: &Media) -> Result<Media, FetchError> {
        let found = self.open(url, media).await?;
        Ok(Media {
            mime: found.mime,
            size: found.size.or(media.size),
            ..media.clone()
        })
    }

    /// Opens what is behind `url`; type and name of `media` count where the answer tells none.
    ///
    /// # Errors
    /// See [`FetchError`]; no text of it holds the URL, which may have a secret in it.
    pub async fn open(&self, url: &str, media: &Media) -> Result<MediaStream, FetchError> {
        let url = Url::parse(url).map_err(|error| gone(format!("url cannot be read: {error}")))?;
        self.guard
            .check(&url)
            .map_err(|refused| gone(format!("url refused: {refused}")))?;
        let response = self
            .client
            .get(url.clone())
            .send()
            .await
            .map_err(|error| judge(&error))?;
        let response = accepted(response)?;
        let size = response.content_length();
        let limit = self.size_limit;
        if size.is_some_and(|size| size > limit) {
            return Err(FetchError::TooLarge { limit });
        }
        let declared = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut body = response
            .bytes_stream()
            .map_err(|error| io::Error::other(error.without_url()))
            .boxed();
        // The beginning tells what it is, before anything goes to the provider.
        let mut first = BytesMut::new();
        while first.len() < BEGINNING
            && let Some(chunk) = body.next().await
        {
            first.extend_from_slice(
                &chunk.map_err(|_| unavailable("the connection broke".to_owned()))?,
            );
        }
        let first = first.freeze();
        if first.is_empty() {
            return Err(gone("url answers with nothing"));
        }
        let mime = sniff_type(&first, declared.as_deref().or(media.mime.as_deref()));
        if mime == "text/html" && media.mime.as_deref() != Some("text/html") {
            return Err(gone("url answers with a web page, not with a file"));
        }
        let whole = futures::stream::once(std::future::ready(Ok(first))).chain(body);
        let mut seen = 0_u64;
        let bounded = whole.map(move |chunk: io::Result<Bytes>| {
            let chunk = chunk?;
            seen += chunk.len() as u64;
            if seen > limit {
                return Err(io::Error::other(format!("larger than {limit} bytes")));
            }
            Ok(chunk)
        });
        let last = url
            .path_segments()
            .and_then(|mut segments| segments.next_back());
        Ok(MediaStream {
            body: bounded.boxed(),
            mime: Some(mime),
            size,
            name: media.name.clone().or_else(|| {
                let name = percent_decode_str(last?).decode_utf8_lossy();
                clean_name(&name)
            }),
        })
    }
}

fn accepted(response: Response) -> Result<Response, FetchError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let reason = format!("url answers {}", status.as_u16());
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY
        );
    if !passing {
        return Err(gone(reason));
    }
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(FetchError::Unavailable {
        retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT)),
        reason,
    })
}

/// A refusal of the guard is for good, wherever in the chain it shows.
fn judge(error: &reqwest::Error) -> FetchError {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return gone(format!("url refused: {refused}"));
        }
        source = inner.source();
    }
    // Without the URL: it may have a secret in it.
    let what = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "cannot connect",
        error if error.is_redirect() => return gone("url leads over too many redirects"),
        _ => "the connection broke",
    };
    unavailable(what.to_owned())
}

pub(super) fn gone(reason: impl Into<String>) -> FetchError {
    FetchError::Gone {
        reason: reason.into(),
    }
}

pub(super) fn unavailable(reason: String) -> FetchError {
    FetchError::Unavailable {
        retry_after: None,
        reason,
    }
}
