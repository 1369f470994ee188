//! Removing what has been kept long enough, a bounded number of rows at a time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::AssertSqlSafe;
use tributary_base::on;
use tributary_config::Settings;

use super::{Store, StoreError};

/// Rows of one statement, at most, so that nobody waits long for a lock.
const BATCH: i64 = 1000;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Raw provider payloads.
    pub raw: Duration,
    /// Events that `GET /v1/events` lists.
    pub events: Duration,
    /// Ids of inbound events that must not take effect again, and changes that wait for their message: longer than any bus
    /// or provider repeats one.
    pub seen: Duration,
    /// Idempotency keys of the API.
    pub idempotency: Duration,
}

impl Retention {
    /// What the settings say.
    pub fn of(settings: &Settings) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            raw: settings.router.raw_retention,
            // A lane that is lost is filled from them.
            events: settings
                .router
                .event_retention
                .max(settings.webhooks.max_age),
            seen: 7 * DAY,
            idempotency: DAY,
        }
    }
}

impl Store {
    /// Removes a bounded number of rows that are older than `retention` at the time `now`; answers how many. More than
    /// zero: there may be more.
    ///
    /// # Errors
    /// The database.
    pub async fn tidy(&self, retention: &Retention, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let tables = [
            ("raw_payloads", "event_id", "received_at", retention.raw),
            ("events", "position", "published_at", retention.events),
            ("seen", "id", "at", retention.seen),
        ];
        let (mut removed, mut failed) = (0, None);
        let mut note = |result: Result<u64, StoreError>| match result {
            Ok(count) => removed += count,
            Err(error) => failed = failed.take().or(Some(error)),
        };
        for (table, key, time, keep) in tables {
            let statement = format!(
                "DELETE FROM {table} WHERE {key} IN \
                 (SELECT {key} FROM {table} WHERE {time} < $1 ORDER BY {time} LIMIT $2)"
            );
            note(self.remove_older(statement, before(now, keep)).await);
        }
        note(
            self.give_up_early_changes(before(now, retention.seen))
                .await,
        );
        let statement = "DELETE FROM idempotency_keys WHERE (organization, key) IN \
             (SELECT organization, key FROM idempotency_keys WHERE created_at < $1 \
             ORDER BY created_at LIMIT $2)";
        let oldest = before(now, retention.idempotency);
        note(self.remove_older(statement.to_owned(), oldest).await);
        // One table that fails holds up no other; it is reported when nothing else is left to do.
        match failed {
            Some(error) if removed == 0 => Err(error),
            Some(_) | None => Ok(removed),
        }
    }

    /// Changes whose message never came: it was written before the channel was connected, or got lost.
    async fn give_up_early_changes(&self, oldest: DateTime<Utc>) -> Result<u64, StoreError> {
        let statement = "DELETE FROM early_changes WHERE message_id IN \
             (SELECT message_id FROM early_changes WHERE at < $1 ORDER BY at LIMIT $2)";
        let removed = self.remove_older(statement.to_owned(), oldest).await?;
        if removed > 0 {
            tracing::warn!(
                removed,
                "edits and deletions were given up: their messages never came"
            );
            metrics::counter!("tributary_early_changes_given_up_total").increment(removed);
        }
        Ok(removed)
    }

    async fn remove_older(
        &self,
        statement: String,
        oldest: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let work = async {
            Ok(on!(write self.database(), db => {
                sqlx::query(AssertSqlSafe(statement))
                    .bind(oldest)
                    .bind(BATCH)
                    .execute(db)
                    .await
                    .map(|done| done.rows_affected())
            })?)
        };
        self.within(work).await
    }
}

fn before(now: DateTime<Utc>, keep: Duration) -> DateTime<Utc> {
    let keep = TimeDelta::from_std(keep).unwrap_or(TimeDelta::MAX);
    now.checked_sub_signed(keep)
        .unwrap_or(DateTime::<Utc>::UNIX_EPOCH)
}
