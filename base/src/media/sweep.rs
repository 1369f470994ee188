//! Deletes what interrupted uploads left, and (when asked for) what is older than `media.retention`.

use std::{
    io,
    time::{Duration, SystemTime},
};

use chrono::Utc;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{INCOMING, MediaStore, ReadError, tell};

/// No upload takes longer, so what is older belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
const SHORTEST_ROUND: Duration = Duration::from_secs(3600);
const LONGEST_ROUND: Duration = Duration::from_secs(24 * 3600);

/// Sweeps now and then, until `stop`. Any number of processes may.
pub async fn keep_swept(store: MediaStore, retention: Duration, stop: CancellationToken) {
    let round = match retention.is_zero() {
        true => LONGEST_ROUND,
        false => (retention / 24).clamp(SHORTEST_ROUND, LONGEST_ROUND),
    };
    loop {
        let swept = async {
            let left = store.sweep_abandoned(ABANDONED).await?;
            let old = match retention.is_zero() {
                true => 0,
                false => store.sweep_older(retention).await?,
            };
            Ok::<_, ReadError>((left, old))
        };
        match stop.run_until_cancelled(swept).await {
            None => return,
            Some(Ok((0, 0))) => {}
            Some(Ok((left, old))) => {
                info!(abandoned = left, outdated = old, "media was deleted");
            }
            Some(Err(error)) => warn!(%error, "media was not swept; tried again later"),
        }
        // Spread over the round, so that processes which started together do not sweep together.
        let wait = round.mul_f64(0.75 + 0.5 * rand::random::<f64>());
        if stop.run_until_cancelled(sleep(wait)).await.is_none() {
            return;
        }
    }
}

impl MediaStore {
    /// Deletes what interrupted uploads left `age` ago; answers how much.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn sweep_abandoned(&self, age: Duration) -> Result<usize, ReadError> {
        if let Some(folder) = &self.0.folder {
            let folder = folder.join(INCOMING);
            let swept = tokio::task::spawn_blocking(move || sweep_folder(&folder, age)).await;
            return swept
                .map_err(io::Error::from)
                .and_then(|swept| swept)
                .map_err(|error| ReadError(error.to_string()));
        }
        self.sweep_below(Some(&Path::from(INCOMING)), age).await
    }

    /// Deletes media that was last stored `age` ago; answers how much.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn sweep_older(&self, age: Duration) -> Result<usize, ReadError> {
        self.sweep_below(None, age).await
    }

    async fn sweep_below(&self, prefix: Option<&Path>, age: Duration) -> Result<usize, ReadError> {
        let before = Utc::now() - age;
        let mut listed = self.objects().list(prefix);
        let mut count = 0;
        while let Some(meta) = listed
            .try_next()
            .await
            .map_err(|error| ReadError(tell(&error)))?
        {
            let incoming = meta
                .location
                .parts()
                .next()
                .is_some_and(|part| part.as_ref() == INCOMING);
            if meta.last_modified >= before || (incoming && prefix.is_none()) {
                continue;
            }
            match self.objects().delete(&meta.location).await {
                Ok(()) => count += 1,
                // Another process was quicker.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(ReadError(tell(&error))),
            }
        }
        Ok(count)
    }
}

/// All files, also those that object_store keeps to itself while they are written.
fn sweep_folder(folder: &std::path::Path, age: Duration) -> io::Result<usize> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let now = SystemTime::now();
    let mut count = 0;
    for entry in entries {
        let entry = entry?;
        let changed = match entry.metadata().and_then(|meta| meta.modified()) {
            Ok(changed) => changed,
            // Finished or swept in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if now
            .duration_since(changed)
            .is_ok_and(|passed| passed >= age)
        {
            match std::fs::remove_file(entry.path()) {
                Ok(()) => count += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(count)
}
