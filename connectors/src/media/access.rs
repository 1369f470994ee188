//! Outbound media, for connectors that send it.

use std::{error::Error, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use reqwest::{Response, StatusCode, header};
use sha2::{Digest, Sha256};
use tracing::debug;
use tributary_base::{
    database::{Database, DatabaseError},
    media::{Slice, sniff_type},
    on,
    outgoing::{Guard, Refused},
};
use tributary_bus::message::Media;
use tributary_config::{Channel, Settings};
use url::Url;

use super::{FetchError, MediaAccess, MediaShelf, MediaStream};

/// Redirects that a URL may lead over; each is checked.
const REDIRECTS: usize = 5;
/// What is behind a URL may change, so a provider's copy of it is used again only for a while.
const URL_HANDLE_AGE: Duration = Duration::from_secs(3600);
/// Bytes that are enough to tell what a file is.
const BEGINNING: usize = 1024;
/// A server may ask for more; it is not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The media of one account: its organization's part of the store, and (guarded) what integrators' URLs name.
pub(crate) struct Outbound {
    shelf: Option<MediaShelf>,
    database: Database,
    channel: Channel,
    guard: Guard,
    client: reqwest::Client,
    size_limit: u64,
}

impl Outbound {
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(
        shelf: Option<MediaShelf>,
        database: Database,
        channel: &Channel,
        settings: &Settings,
    ) -> Result<Self, reqwest::Error> {
        let guard = Guard::new(&settings.media.allow_internal);
        Ok(Self {
            shelf,
            database,
            channel: channel.clone(),
            client: guard.client(settings.media.fetch_deadline, REDIRECTS)?,
            guard,
            size_limit: settings.media.size_limit,
        })
    }

    async fn read_store(&self, media: &Media, id: &str) -> Result<MediaStream, FetchError> {
        let Some(shelf) = &self.shelf else {
            return Err(gone("no media is kept here; an operator can set media.url"));
        };
        let store = &shelf.service().store;
        match store.read(shelf.organization(), id, Slice::All).await {
            Ok(Some(found)) => Ok(MediaStream {
                mime: Some(media.mime.clone().unwrap_or_else(|| found.mime.to_owned())),
                size: Some(found.size),
                name: media.name.clone(),
                body: found.body,
            }),
            Ok(None) => Err(gone("the organization has no media with this media_id")),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    async fn read_url(&self, media: &Media, url: &str) -> Result<MediaStream, FetchError> {
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
        let mut body = response.bytes_stream().map_err(io::Error::other).boxed();
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
            name: media
                .name
                .clone()
                .or_else(|| last.filter(|name| !name.is_empty()).map(str::to_owned)),
        })
    }

    async fn find_handle(
        &self,
        key: &MediaKey,
        kind: &str,
    ) -> Result<Option<String>, DatabaseError> {
        let found: Option<(String, DateTime<Utc>)> = on!(read &self.database, db => sqlx::query_as(
            "SELECT handle, created_at FROM media_handles \
             WHERE channel_id = $1 AND media = $2 AND kind = $3 AND organization = $4")
            .bind(&self.channel.id)
            .bind(&key.name)
            .bind(kind)
            .bind(&self.channel.organization)
            .fetch_optional(db).await)?;
        let fresh = |at: DateTime<Utc>| !key.ages || at > Utc::now() - URL_HANDLE_AGE;
        Ok(found.filter(|(_, at)| fresh(*at)).map(|(handle, _)| handle))
    }

    async fn keep_handle(
        &self,
        key: &MediaKey,
        kind: &str,
        handle: &str,
    ) -> Result<(), DatabaseError> {
        on!(write &self.database, db => sqlx::query(
            "INSERT INTO media_handles (channel_id, media, kind, organization, handle, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (channel_id, media, kind) DO UPDATE SET \
             organization = excluded.organization, handle = excluded.handle, created_at = excluded.created_at")
            .bind(&self.channel.id)
            .bind(&key.name)
            .bind(kind)
            .bind(&self.channel.organization)
            .bind(handle)
            .bind(Utc::now())
            .execute(db).await.map(drop))?;
        Ok(())
    }
}

#[async_trait]
impl MediaAccess for Outbound {
    async fn open(&self, media: &Media) -> Result<MediaStream, FetchError> {
        match (&media.media_id, &media.url) {
            (Some(id), _) => self.read_store(media, id.as_str()).await,
            (None, Some(url)) => self.read_url(media, url).await,
            (None, None) => Err(gone("the media has neither media_id nor url")),
        }
    }

    fn link(&self, media: &Media) -> Option<Url> {
        if media.media_id.is_some() {
            return self.shelf.as_ref()?.public_link(media);
        }
        let url = Url::parse(media.url.as_deref()?).ok()?;
        self.guard.check(&url).is_ok().then_some(url)
    }

    async fn handle(&self, media: &Media, kind: &str) -> Option<String> {
        let found = self.find_handle(&MediaKey::of(media)?, kind).await;
        found
            .inspect_err(
                |error| debug!(channel_id = self.channel.id, %error, "media is uploaded anew"),
            )
            .ok()
            .flatten()
    }

    async fn remember(&self, media: &Media, kind: &str, handle: &str) {
        let Some(key) = MediaKey::of(media) else {
            return;
        };
        if let Err(error) = self.keep_handle(&key, kind, handle).await {
            debug!(channel_id = self.channel.id, %error, "media will be uploaded again next time");
        }
    }
}

/// Under which name a provider's handle is kept.
struct MediaKey {
    name: String,
    ages: bool,
}

impl MediaKey {
    fn of(media: &Media) -> Option<Self> {
        if let Some(id) = &media.media_id {
            return Some(Self {
                name: id.as_str().to_owned(),
                ages: false,
            });
        }
        // Hashed: such a URL may have a secret in it.
        let hash = Sha256::digest(media.url.as_deref()?.as_bytes());
        Some(Self {
            name: format!("url:{}", hex::encode(hash)),
            ages: true,
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

fn gone(reason: impl Into<String>) -> FetchError {
    FetchError::Gone {
        reason: reason.into(),
    }
}

fn unavailable(reason: String) -> FetchError {
    FetchError::Unavailable {
        retry_after: None,
        reason,
    }
}

/// What an account needs of media.
#[derive(Clone)]
pub(crate) struct AccountMedia {
    pub access: Arc<dyn MediaAccess>,
    /// Fetches what the provider holds; `None` for channels whose media needs no fetching.
    pub fetcher: Option<super::fetch::Fetcher>,
}
