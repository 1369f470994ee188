//! Outbound media, for connectors that send it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tracing::debug;
use tributary_base::{
    database::{Database, DatabaseError},
    media::Slice,
    on,
};
use tributary_bus::message::Media;
use tributary_config::{Channel, Settings};
use url::Url;

use super::{
    FetchError, MediaAccess, MediaShelf, MediaStream,
    link::{LinkReader, gone, unavailable},
};

/// What is behind a URL may change, so a provider's copy of it is used again only for a while.
const URL_HANDLE_AGE: Duration = Duration::from_secs(3600);

/// The media of one account: its organization's part of the store, and (guarded) what integrators' URLs name.
pub(crate) struct Outbound {
    shelf: Option<MediaShelf>,
    database: Database,
    channel: Channel,
    links: LinkReader,
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
        let media = &settings.media;
        Ok(Self {
            shelf,
            database,
            channel: channel.clone(),
            links: LinkReader::new(
                &media.allow_internal,
                media.fetch_deadline,
                media.size_limit,
            )?,
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

    async fn describe_stored(&self, media: &Media, id: &str) -> Result<Media, FetchError> {
        let Some(shelf) = &self.shelf else {
            return Err(gone("no media is kept here; an operator can set media.url"));
        };
        let store = &shelf.service().store;
        let declared = media.mime.as_deref();
        let found = store.describe_as(shelf.organization(), id, declared).await;
        match found.map_err(|error| unavailable(error.to_string()))? {
            Some(found) => Ok(Media {
                mime: Some(found.mime),
                size: Some(found.size),
                ..media.clone()
            }),
            None => Err(gone("the organization has no media with this media_id")),
        }
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
            (None, Some(url)) => self.links.open(url, media).await,
            (None, None) => Err(gone("the media has neither media_id nor url")),
        }
    }

    async fn describe(&self, media: &Media) -> Result<Media, FetchError> {
        match (&media.media_id, &media.url) {
            (Some(id), _) => self.describe_stored(media, id.as_str()).await,
            (None, Some(url)) if media.mime.is_none() => self.links.describe(url, media).await,
            (None, _) => Ok(media.clone()),
        }
    }

    fn link(&self, media: &Media) -> Option<Url> {
        if media.media_id.is_some() {
            return self.shelf.as_ref()?.public_link(media);
        }
        let url = Url::parse(media.url.as_deref()?).ok()?;
        self.links.permits(&url).is_ok().then_some(url)
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

/// Removes at most `limit` handles of what is behind URLs that were kept before `before`; answers how many.
pub(crate) async fn remove_url_handles(
    database: &Database,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, DatabaseError> {
    // Asked twice, since one can be kept again in between.
    let removed = on!(write database, db => sqlx::query(
        "DELETE FROM media_handles WHERE created_at < $1 AND (channel_id, media, kind) IN \
         (SELECT channel_id, media, kind FROM media_handles WHERE media LIKE 'url:%' AND created_at < $1 LIMIT $2)")
        .bind(before)
        .bind(limit)
        .execute(db).await.map(|done| done.rows_affected()))?;
    Ok(removed)
}

/// Under which name a provider's handle is kept: a handle shows everything that the recipient saw of
/// the first upload, so the name stands for all of it and not for the bytes alone.
struct MediaKey {
    name: String,
    ages: bool,
}

impl MediaKey {
    fn of(media: &Media) -> Option<Self> {
        let (bytes, kept_as, ages) = match (&media.media_id, &media.url) {
            (Some(id), _) => (id.as_str(), "id", false),
            (None, Some(url)) => (url.as_str(), "url", true),
            (None, None) => return None,
        };
        let Media {
            name,
            mime,
            duration_ms,
            width,
            height,
            ..
        } = media;
        let shown = serde_json::json!([bytes, name, mime, duration_ms, width, height]);
        // Hashed: a URL may have a secret in it, and a name tells of the recipient.
        let hash = Sha256::digest(shown.to_string().as_bytes());
        Some(Self {
            name: format!("{kept_as}:{}", hex::encode(hash)),
            ages,
        })
    }
}

/// What an account needs of media.
#[derive(Clone)]
pub(crate) struct AccountMedia {
    pub access: Arc<dyn MediaAccess>,
    /// Fetches what the provider holds; `None` for channels whose media needs no fetching.
    pub fetcher: Option<super::fetch::Fetcher>,
}
