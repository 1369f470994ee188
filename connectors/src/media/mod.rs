//! How connectors reach the bytes of media: those of a provider, and those that are to be sent.

mod access;
mod describe;
mod fetch;
mod link;
mod punctual;
mod queue;
mod shelf;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tributary_bus::message::Media;
use url::Url;

pub(crate) use access::{AccountMedia, Outbound, remove_url_handles};
pub use describe::LinkTypes;
pub(crate) use describe::describe_all;
pub(crate) use fetch::{FetchPolicy, Fetcher};
pub(crate) use link::LinkReader;
pub(crate) use punctual::Punctual;
pub use queue::FetchQueue;
pub(crate) use queue::remove_unreleased;
pub use shelf::MediaShelf;

/// Bytes on their way.
pub struct MediaStream {
    pub body: BoxStream<'static, std::io::Result<Bytes>>,
    /// As its source says; the bytes are sniffed all the same.
    pub mime: Option<String>,
    /// Bytes, as its source says.
    pub size: Option<u64>,
    /// Untrusted.
    pub name: Option<String>,
}

/// Why there are no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// For good: expired, deleted, refused; for a person to read.
    #[error("{reason}")]
    Gone { reason: String },
    /// Larger than the channel or the settings allow; bytes.
    #[error("larger than {limit} bytes")]
    TooLarge { limit: u64 },
    /// Tried again.
    #[error("unavailable: {reason}")]
    Unavailable {
        retry_after: Option<Duration>,
        reason: String,
    },
}

/// Inbound media of a provider. Implemented by channels whose media has to be fetched.
#[async_trait]
pub trait MediaSource: Send + Sync {
    /// Opens what [`Media::source`] of an inbound message names. The harness bounds size and time, stores it and
    /// tells; it asks again after `Unavailable`.
    ///
    /// # Errors
    /// See [`FetchError`]; no text of it may hold a token.
    async fn open(&self, source: &str) -> Result<MediaStream, FetchError>;
}

/// Outbound media, as a connector sees it while it sends.
#[async_trait]
pub trait MediaAccess: Send + Sync {
    /// Opens media: from the media store, or (guarded, bounded) from the integrator's URL.
    ///
    /// # Errors
    /// See [`FetchError`].
    async fn open(&self, media: &Media) -> Result<MediaStream, FetchError>;

    /// The same media with the type and the size that its bytes have, as far as they are not known.
    ///
    /// # Errors
    /// See [`FetchError`].
    async fn describe(&self, media: &Media) -> Result<Media, FetchError> {
        Ok(media.clone())
    }

    /// A link under which the provider can fetch it: signed and expiring for what the media store holds, the
    /// integrator's own otherwise. `None` when the internet cannot reach us.
    fn link(&self, media: &Media) -> Option<Url>;

    /// The provider's handle of the same bytes from an earlier upload of this account, if there is one.
    async fn handle(&self, media: &Media, kind: &str) -> Option<String>;

    /// Remembers a handle for the next time; failing to is no error.
    async fn remember(&self, media: &Media, kind: &str, handle: &str);
}

/// No media store: for tests of connectors.
pub struct NoMedia;

#[async_trait]
impl MediaAccess for NoMedia {
    async fn open(&self, _: &Media) -> Result<MediaStream, FetchError> {
        Err(FetchError::Gone {
            reason: "there is no media store".to_owned(),
        })
    }

    fn link(&self, media: &Media) -> Option<Url> {
        media.url.as_deref().and_then(|url| Url::parse(url).ok())
    }

    async fn handle(&self, _: &Media, _: &str) -> Option<String> {
        None
    }

    async fn remember(&self, _: &Media, _: &str, _: &str) {}
}

impl fmt::Debug for dyn MediaAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MediaAccess")
    }
}
