//! An account's way into the media store: everything below its own organization, nothing of another.

use futures::StreamExt;
use tributary_base::media::{Limits, MediaService, PutError, Stored};
use tributary_bus::message::{Media, MediaId, MediaState};
use tributary_config::Settings;
use url::Url;

use super::MediaStream;

/// Stores and links media of one organization. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MediaShelf {
    service: MediaService,
    organization: String,
    limits: Limits,
}

impl MediaShelf {
    /// The shelf of an organization.
    pub fn new(service: MediaService, organization: &str, settings: &Settings) -> Self {
        Self {
            service,
            organization: organization.to_owned(),
            limits: Limits {
                size: settings.media.size_limit,
                deadline: settings.media.fetch_deadline,
            },
        }
    }

    /// Stores bytes, and answers `ready` media without a link. At most `cap` bytes, and never more than the settings allow.
    ///
    /// # Errors
    /// See [`PutError`]; nothing is kept then.
    pub async fn put(&self, stream: MediaStream, cap: Option<u64>) -> Result<Media, PutError> {
        let size = cap.map_or(self.limits.size, |cap| cap.min(self.limits.size));
        if stream.size.is_some_and(|declared| declared > size) {
            return Err(PutError::TooLarge { limit: size });
        }
        let limits = Limits {
            size,
            ..self.limits
        };
        let MediaStream {
            body,
            mime,
            size: declared,
            name,
        } = stream;
        let body = match declared {
            Some(declared) => complete(body, declared),
            None => body,
        };
        let store = &self.service.store;
        let stored = store.put(&self.organization, body, mime.as_deref(), limits);
        Ok(ready(stored.await?, name))
    }

    /// A signed link for whoever sees the message now.
    pub fn link(&self, media: &Media) -> Option<Url> {
        let id = media.media_id.as_ref()?;
        let links = &self.service.links;
        links.link(&self.organization, id.as_str(), media.name.as_deref())
    }

    /// [`MediaShelf::link`] for a provider; `None` when the internet cannot reach us.
    pub fn public_link(&self, media: &Media) -> Option<Url> {
        let id = media.media_id.as_ref()?;
        let links = &self.service.links;
        links.public_link(&self.organization, id.as_str(), media.name.as_deref())
    }

    /// Where the bytes are.
    pub(crate) fn service(&self) -> &MediaService {
        &self.service
    }

    pub(crate) fn organization(&self) -> &str {
        &self.organization
    }
}

/// Ends with an error when fewer or more bytes come than were announced: a connection that was cut looks like an end.
fn complete(
    body: futures::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>,
    declared: u64,
) -> futures::stream::BoxStream<'static, std::io::Result<bytes::Bytes>> {
    let mut seen = 0_u64;
    let short = futures::stream::once(async { None });
    let counted = body.map(Some).chain(short).filter_map(move |chunk| {
        let wrong = |seen: u64| {
            std::io::Error::other(format!("{seen} bytes came and {declared} were announced"))
        };
        let next = match chunk {
            Some(Ok(chunk)) => {
                seen += chunk.len() as u64;
                Some(if seen > declared {
                    Err(wrong(seen))
                } else {
                    Ok(chunk)
                })
            }
            Some(Err(error)) => Some(Err(error)),
            None if seen < declared => Some(Err(wrong(seen))),
            None => None,
        };
        std::future::ready(next)
    });
    counted.boxed()
}

/// Stored bytes as a message refers to them.
pub(crate) fn ready(stored: Stored, name: Option<String>) -> Media {
    let (width, height) = stored.pixels.unzip();
    Media {
        state: MediaState::Ready,
        media_id: Some(MediaId(stored.id.clone())),
        mime: Some(stored.mime),
        size: Some(stored.size),
        sha256: Some(stored.id),
        name,
        width,
        height,
        ..Media::default()
    }
}
