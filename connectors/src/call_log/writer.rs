//! The task that writes the channel log, many entries at a time, so that it takes little of the database from those
//! who send.

use std::{collections::BTreeSet, time::Duration};

use chrono::Utc;
use metrics::counter;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use tributary_base::database::{Database, DatabaseError};

use super::{ENTRIES, Entry, rows};

/// Entries of one transaction, at most.
const BATCH: usize = 200;
/// How long entries wait for others.
const GATHER: Duration = Duration::from_millis(500);
/// How often old entries are looked for, and how many go at a time.
const TIDY_INTERVAL: Duration = Duration::from_secs(600);
const TIDY_BATCH: i64 = 1000;

pub(super) struct Writer {
    pub database: Database,
    /// For a transaction.
    pub deadline: Duration,
    pub retention: Duration,
}

impl Writer {
    /// Works until every handle is gone. After `stop` nothing waits for others any more, and nothing old is removed.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Entry>, stop: CancellationToken) {
        let mut entries = Vec::with_capacity(BATCH);
        let mut tidy_at = Instant::now();
        loop {
            if tidy_at <= Instant::now() {
                self.tidy(&stop).await;
                tidy_at = Instant::now() + TIDY_INTERVAL;
            }
            tokio::select! {
                received = waiting.recv_many(&mut entries, BATCH) => {
                    if received == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep_until(tidy_at) => continue,
            }
            if !stop.is_cancelled() && entries.len() < BATCH {
                tokio::select! {
                    () = sleep(GATHER) => {}
                    () = stop.cancelled() => {}
                }
            }
            while entries.len() < BATCH {
                let Ok(entry) = waiting.try_recv() else {
                    break;
                };
                entries.push(entry);
            }
            self.write(&entries).await;
            entries.clear();
        }
    }

    async fn write(&self, entries: &[Entry]) {
        let written = timeout(self.deadline, self.transact(entries)).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the database did not answer within {:?}", self.deadline),
        };
        warn!(error, entries = entries.len(), "channel log not written");
        for entry in entries {
            counter!("tributary_channel_log_dropped_total", "channel" => entry.channel_id.0.clone())
                .increment(1);
        }
    }

    async fn transact(&self, entries: &[Entry]) -> Result<(), DatabaseError> {
        let mut tx = self.database.begin().await?;
        rows::insert(&mut tx, entries).await?;
        let messages: BTreeSet<_> = entries
            .iter()
            .map(|entry| (&entry.organization, entry.message_id))
            .collect();
        rows::keep_latest(&mut tx, &messages, ENTRIES).await?;
        tx.commit().await
    }

    async fn tidy(&self, stop: &CancellationToken) {
        let Ok(keep) = chrono::TimeDelta::from_std(self.retention) else {
            return;
        };
        let before = Utc::now() - keep;
        while !stop.is_cancelled() {
            match rows::remove_older(&self.database, before, TIDY_BATCH).await {
                Ok(removed) if removed >= TIDY_BATCH.unsigned_abs() => {}
                Ok(_) => return,
                Err(error) => {
                    warn!(%error, "old entries of the channel log not removed");
                    return;
                }
            }
        }
    }
}
