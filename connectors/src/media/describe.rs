//! What media is, asked before it is decided how it is sent.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::timeout;
use tracing::debug;
use tributary_bus::message::{Content, Media};
use tributary_config::Settings;
use url::Url;

use super::{FetchError, LinkReader, MediaAccess, MediaStream, link::gone};

/// Gives all media of a content the types and sizes that their bytes have. What cannot be read within
/// the time stays as it was said to be: opening it to send it says why.
pub(crate) async fn describe_all(
    access: &dyn MediaAccess,
    mut content: Content,
    within: Duration,
) -> Content {
    let described = content.media().into_iter().map(|media| async move {
        match timeout(within, access.describe(media)).await {
            Ok(Ok(described)) => Some(described),
            Ok(Err(error)) => {
                debug!(%error, "the type of media is not known before it is sent");
                None
            }
            Err(_) => None,
        }
    });
    let described: Vec<Option<Media>> = join_all(described).await;
    for (media, described) in content.media_mut().into_iter().zip(described) {
        if let Some(described) = described {
            *media = described;
        }
    }
    content
}

/// Reads the types of media behind links, for who wants to know what would be sent.
pub struct LinkTypes {
    links: LinkReader,
    within: Duration,
}

impl LinkTypes {
    /// A reader that waits `within` for each link, through the same guard as sending.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(settings: &Settings, within: Duration) -> Result<Self, reqwest::Error> {
        let media = &settings.media;
        let links = LinkReader::new(&media.allow_internal, within, media.size_limit)?;
        Ok(Self { links, within })
    }

    /// The content with the types of its media that are behind links and have none.
    pub async fn describe(&self, content: Content) -> Content {
        describe_all(self, content, self.within).await
    }
}

#[async_trait]
impl MediaAccess for LinkTypes {
    async fn open(&self, media: &Media) -> Result<MediaStream, FetchError> {
        let url = media.url.as_deref().filter(|_| media.media_id.is_none());
        let url = url.ok_or_else(|| gone("only links are read here"))?;
        self.links.open(url, media).await
    }

    async fn describe(&self, media: &Media) -> Result<Media, FetchError> {
        match &media.url {
            Some(url) if media.mime.is_none() && media.media_id.is_none() => {
                self.links.describe(url, media).await
            }
            Some(_) | None => Ok(media.clone()),
        }
    }

    fn link(&self, _: &Media) -> Option<Url> {
        None
    }

    async fn handle(&self, _: &Media, _: &str) -> Option<String> {
        None
    }

    async fn remember(&self, _: &Media, _: &str, _: &str) {}
}
