//! Bytes out of the store.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, ObjectStoreExt};

use super::{ByteStream, MediaStore, ReadError, Stored, location, sniff, tell, write::pixels};

/// How much of the beginning is read to describe a medium; bytes.
const HEAD: u64 = 256 * 1024;

/// Which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slice {
    All,
    /// From a place, with a length.
    Part {
        start: u64,
        length: u64,
    },
}

/// Stored bytes, opened.
pub struct Found {
    /// Of the whole, in bytes.
    pub size: u64,
    /// As the bytes show it, whatever was said of them.
    pub mime: &'static str,
    pub stored_at: DateTime<Utc>,
    pub body: ByteStream,
}

impl MediaStore {
    /// Size and moment of storing; `None` when the organization has no such medium.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn size(
        &self,
        organization: &str,
        id: &str,
    ) -> Result<Option<(u64, DateTime<Utc>)>, ReadError> {
        let Some(path) = location(organization, id) else {
            return Ok(None);
        };
        match self.objects().head(&path).await {
            Ok(meta) => Ok(Some((meta.size, meta.last_modified))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(ReadError(tell(&error))),
        }
    }

    /// What is known of a medium; `None` when the organization has no such medium.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn describe(
        &self,
        organization: &str,
        id: &str,
    ) -> Result<Option<Stored>, ReadError> {
        let Some((size, _)) = self.size(organization, id).await? else {
            return Ok(None);
        };
        let Some(head) = self.head(organization, id, size.min(HEAD)).await? else {
            return Ok(None);
        };
        Ok(Some(Stored {
            id: id.to_owned(),
            size,
            mime: sniff::served(&head).to_owned(),
            pixels: pixels(&head),
        }))
    }

    /// As `describe`, with what its sender said of the type where the bytes do not tell it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn describe_as(
        &self,
        organization: &str,
        id: &str,
        declared: Option<&str>,
    ) -> Result<Option<Stored>, ReadError> {
        let Some((size, _)) = self.size(organization, id).await? else {
            return Ok(None);
        };
        let Some(head) = self.head(organization, id, size.min(HEAD)).await? else {
            return Ok(None);
        };
        Ok(Some(Stored {
            id: id.to_owned(),
            size,
            mime: sniff::named(&head, declared),
            pixels: pixels(&head),
        }))
    }

    /// Opens a medium; `None` when the organization has no such medium.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(
        &self,
        organization: &str,
        id: &str,
        slice: Slice,
    ) -> Result<Option<Found>, ReadError> {
        let (Some(path), Some((size, stored_at))) = (
            location(organization, id),
            self.size(organization, id).await?,
        ) else {
            return Ok(None);
        };
        let window = size.min(sniff::WINDOW as u64);
        let Some(head) = self.head(organization, id, window).await? else {
            return Ok(None);
        };
        let range = match slice {
            Slice::All => None,
            Slice::Part { start, length } => Some(GetRange::Bounded(start..start + length)),
        };
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        match self.objects().get_opts(&path, options).await {
            Ok(found) => Ok(Some(Found {
                size,
                mime: sniff::served(&head),
                stored_at,
                body: found.into_stream().map_err(std::io::Error::from).boxed(),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(ReadError(tell(&error))),
        }
    }

    /// The beginning; `None` when it is gone.
    async fn head(
        &self,
        organization: &str,
        id: &str,
        length: u64,
    ) -> Result<Option<Bytes>, ReadError> {
        let Some(path) = location(organization, id) else {
            return Ok(None);
        };
        if length == 0 {
            return Ok(Some(Bytes::new()));
        }
        match self.objects().get_range(&path, 0..length).await {
            Ok(head) => Ok(Some(head)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(ReadError(tell(&error))),
        }
    }
}
