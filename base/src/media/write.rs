//! Bytes into the store: bounded, hashed and sniffed on the way, visible only when they are whole.

use std::io;

use bytes::Bytes;
use futures::StreamExt;
use metrics::counter;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, path::Path};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info};

use super::{ByteStream, INCOMING, Limits, MediaStore, PutError, Stored, location, sniff, tell};

/// Bytes held before they are written; buckets take no smaller parts than 5 MiB (but for the last).
const PART: usize = 5 * 1024 * 1024;
/// What is kept of the beginning, for the type and the size of a picture.
const HEAD: usize = 256 * 1024;

impl MediaStore {
    /// Stores bytes for an organization. Its type is told by the bytes; `declared` only where they do not show it.
    ///
    /// The same bytes may be stored again, also at the same time: they are the same object.
    ///
    /// # Errors
    /// See [`PutError`]; nothing is kept then.
    ///
    /// # Panics
    /// Never: organizations come from the settings.
    pub async fn put(
        &self,
        organization: &str,
        body: ByteStream,
        declared: Option<&str>,
        limits: Limits,
    ) -> Result<Stored, PutError> {
        let deadline = Instant::now() + limits.deadline;
        let mut intake = Intake::new(self);
        // Dropping the intake takes back what it has written.
        let taken = timeout_at(deadline, async {
            intake.take(body, limits.size).await?;
            intake.keep(organization, declared).await
        })
        .await;
        let result = match taken {
            Ok(result) => result,
            Err(_) => Err(PutError::Slow(limits.deadline)),
        };
        if result.is_err() {
            intake.discard().await;
        }
        self.observe(&result);
        result
    }

    /// Says it once when the store cannot be written, and once when it can again.
    fn observe(&self, result: &Result<Stored, PutError>) {
        let outcome = match result {
            Ok(_) => "stored",
            Err(PutError::TooLarge { .. }) => "too_large",
            Err(PutError::Slow(_)) => "slow",
            Err(PutError::Source(_)) => "broken_off",
            Err(PutError::Full) => "full",
            Err(PutError::Store(_)) => "store_failed",
        };
        counter!("tributary_media_stored_total", "outcome" => outcome).increment(1);
        match result {
            Ok(stored) => {
                counter!("tributary_media_bytes_total").increment(stored.size);
                if self.trouble().is_some() {
                    info!("the media store can be written again");
                    self.note_trouble(None);
                }
            }
            Err(failure @ (PutError::Full | PutError::Store(_))) => {
                if self.trouble().is_none() {
                    error!(error = %failure, "media cannot be stored; see media.url");
                }
                self.note_trouble(Some(failure.to_string()));
            }
            Err(PutError::TooLarge { .. } | PutError::Slow(_) | PutError::Source(_)) => {}
        }
    }
}

/// One upload.
struct Intake<'a> {
    store: &'a MediaStore,
    hash: Sha256,
    size: u64,
    head: Vec<u8>,
    /// Not written yet.
    held: Vec<Bytes>,
    held_size: usize,
    upload: Option<(Path, Box<dyn MultipartUpload>)>,
    /// Written as a whole and not named yet.
    whole: Option<Path>,
}

impl<'a> Intake<'a> {
    fn new(store: &'a MediaStore) -> Self {
        Self {
            store,
            hash: Sha256::new(),
            size: 0,
            head: Vec::new(),
            held: Vec::new(),
            held_size: 0,
            upload: None,
            whole: None,
        }
    }

    async fn take(&mut self, mut body: ByteStream, limit: u64) -> Result<(), PutError> {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(PutError::Source)?;
            self.size += chunk.len() as u64;
            if self.size > limit {
                return Err(PutError::TooLarge { limit });
            }
            self.hash.update(&chunk);
            let room = HEAD.saturating_sub(self.head.len()).min(chunk.len());
            self.head.extend_from_slice(&chunk[..room]);
            self.held_size += chunk.len();
            self.held.push(chunk);
            if self.held_size >= PART {
                self.write_held().await?;
            }
        }
        Ok(())
    }

    async fn write_held(&mut self) -> Result<(), PutError> {
        if self.upload.is_none() {
            let path = temporary();
            let upload = self.store.objects().put_multipart(&path).await;
            self.upload = Some((path, upload.map_err(|error| failure(&error))?));
        }
        let payload = self.payload();
        if let Some((_, upload)) = &mut self.upload {
            upload
                .put_part(payload)
                .await
                .map_err(|error| failure(&error))?;
        }
        Ok(())
    }

    fn payload(&mut self) -> PutPayload {
        self.held_size = 0;
        self.held.drain(..).collect()
    }

    /// Gives the bytes their name.
    async fn keep(
        &mut self,
        organization: &str,
        declared: Option<&str>,
    ) -> Result<Stored, PutError> {
        let id = hex::encode(self.hash.finalize_reset());
        let target = location(organization, &id)
            .ok_or_else(|| PutError::Store("the organization has no valid id".to_owned()))?;
        let objects = self.store.objects();
        if self.upload.is_some() {
            if self.held_size > 0 {
                self.write_held().await?;
            }
            if let Some((path, mut upload)) = self.upload.take() {
                self.whole = Some(path);
                upload.complete().await.map_err(|error| failure(&error))?;
            }
        } else if self.store.0.folder.is_some() {
            let path = temporary();
            self.whole = Some(path.clone());
            let payload = self.payload();
            objects
                .put(&path, payload)
                .await
                .map_err(|error| failure(&error))?;
        } else {
            // A bucket shows an object when it is whole.
            let payload = self.payload();
            objects
                .put(&target, payload)
                .await
                .map_err(|error| failure(&error))?;
        }
        if let Some(path) = &self.whole {
            objects
                .rename(path, &target)
                .await
                .map_err(|error| failure(&error))?;
            self.whole = None;
        }
        Ok(Stored {
            id,
            size: self.size,
            mime: sniff::settle(&self.head, declared),
            pixels: pixels(&self.head),
        })
    }

    /// Takes back what was written; what cannot be is swept later.
    async fn discard(&mut self) {
        if let Some((_, mut upload)) = self.upload.take() {
            upload.abort().await.ok();
        }
        if let Some(path) = self.whole.take() {
            self.store.objects().delete(&path).await.ok();
        }
    }
}

fn temporary() -> Path {
    Path::from_iter([
        INCOMING.to_owned(),
        uuid::Uuid::new_v4().simple().to_string(),
    ])
}

/// Width and height, of a picture that shows them within its beginning.
pub(super) fn pixels(head: &[u8]) -> Option<(u32, u32)> {
    let size = imagesize::blob_size(head).ok()?;
    Some((size.width.try_into().ok()?, size.height.try_into().ok()?))
}

fn failure(error: &object_store::Error) -> PutError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = source {
        let kind = inner.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            )
        ) {
            return PutError::Full;
        }
        source = inner.source();
    }
    PutError::Store(tell(error))
}
