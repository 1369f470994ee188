//! Which of the workers that write to the ledger still live.
//!
//! Each worker raises a number in its row every second, and looks at those of the others. One whose number stands still
//! for a while, by the clock of whoever looks, has been killed, is frozen, or cannot reach the database: it will not
//! write down how its calls ended, so nobody waits for that. Clocks of machines are not compared. A worker without a
//! row is of an earlier version, and may live.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use tributary_base::{
    database::{Database, DatabaseError},
    on,
};
use uuid::Uuid;

/// How often a worker shows that it lives.
const BEAT: Duration = if cfg!(test) {
    Duration::from_millis(200)
} else {
    Duration::from_secs(1)
};
/// Beats that it misses before it counts as gone; as many times it was looked at meanwhile, at least.
const MISSED: u32 = 5;
/// Rows of workers that are gone are kept for so long.
pub(super) const KEPT: Duration = Duration::from_secs(3600);

/// What is known of the others.
#[derive(Debug, Default)]
pub(super) struct Workers {
    seen: Mutex<HashMap<Uuid, Seen>>,
}

#[derive(Debug)]
struct Seen {
    beats: i64,
    /// When the number was another one for the last time, and how often it was looked at since.
    since: Instant,
    looks: u32,
}

impl Workers {
    /// Those that do not live any more.
    pub(super) fn gone(&self) -> Arc<[Uuid]> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|(_, seen)| seen.looks >= MISSED && seen.since.elapsed() >= BEAT * MISSED)
            .map(|(worker, _)| *worker)
            .collect()
    }

    /// How many others were seen.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn look(&self, rows: &[(Uuid, i64)]) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|known, _| rows.iter().any(|(worker, _)| worker == known));
        for (worker, beats) in rows {
            let entry = seen.entry(*worker).or_insert(Seen {
                beats: *beats,
                since: now,
                looks: 0,
            });
            if entry.beats == *beats {
                entry.looks = entry.looks.saturating_add(1);
            } else {
                *entry = Seen {
                    beats: *beats,
                    since: now,
                    looks: 0,
                };
            }
        }
    }
}

/// Shows that `worker` lives and looks at the others, until `ended`: also while it is being stopped, since it finishes
/// its calls then.
pub(super) async fn beat(
    database: Database,
    worker: Uuid,
    workers: Arc<Workers>,
    ended: CancellationToken,
) {
    let mut interval = tokio::time::interval(BEAT);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            _ = interval.tick() => {}
        }
        match exchange(&database, worker).await {
            Ok(others) => workers.look(&others),
            Err(error) => debug!(%error, "the ledger's workers are not known"),
        }
    }
}

async fn exchange(database: &Database, worker: Uuid) -> Result<Vec<(Uuid, i64)>, DatabaseError> {
    on!(write database, db => sqlx::query(
        "INSERT INTO ledger_workers (worker, beats, at) VALUES ($1, 1, $2) \
         ON CONFLICT (worker) DO UPDATE SET beats = ledger_workers.beats + 1, at = excluded.at")
        .bind(worker)
        .bind(Utc::now())
        .execute(db)
        .await
        .map(drop))?;
    let others = on!(read database, db => sqlx::query_as(
        "SELECT worker, beats FROM ledger_workers WHERE worker <> $1")
        .bind(worker)
        .fetch_all(db)
        .await)?;
    Ok(others)
}

/// Removes the rows of workers that are gone for long.
pub(super) async fn remove_older(database: &Database) -> Result<(), DatabaseError> {
    on!(write database, db => sqlx::query("DELETE FROM ledger_workers WHERE at < $1")
        .bind(Utc::now() - KEPT)
        .execute(db)
        .await
        .map(drop))?;
    Ok(())
}
