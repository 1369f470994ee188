//! Wake-up calls to relays: in this process by a bell, elsewhere by PostgreSQL's `NOTIFY`.

use std::collections::BTreeSet;

use sqlx::postgres::PgListener;
use tributary_base::database::Database;

use super::{Store, StoreError};

/// The payload of a notice is a list of shards, `3,7`.
const OUTBOX_NOTICES: &str = "tributary_outbox";

impl Store {
    /// Tells the relays of these shards that there is something to publish. After the commit and in a statement of its
    /// own, since a transaction that notifies takes a lock of the whole server while it commits.
    pub(crate) async fn announce(&self, shards: BTreeSet<u16>) {
        let elsewhere: Vec<String> = shards
            .into_iter()
            .filter(|shard| !self.wake().ring(*shard))
            .map(|shard| shard.to_string())
            .collect();
        let Database::Postgres(pool) = self.database() else {
            return;
        };
        if elsewhere.is_empty() {
            return;
        }
        let notify = async {
            sqlx::query("SELECT pg_notify($1, $2)")
                .bind(OUTBOX_NOTICES)
                .bind(elsewhere.join(","))
                .execute(pool)
                .await?;
            Ok(())
        };
        if let Err(error) = self.within(notify).await {
            tracing::debug!(%error, "a wake-up call was lost; the relay will look by itself");
        }
    }

    /// Hears the calls of other processes and rings the bells here, until the connection is lost. SQLite has no other
    /// processes: never answers.
    ///
    /// # Errors
    /// The connection cannot be had.
    pub(crate) async fn hear_calls(&self) -> Result<(), StoreError> {
        let Database::Postgres(pool) = self.database() else {
            return std::future::pending().await;
        };
        let connect = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen(OUTBOX_NOTICES).await?;
            Ok(listener)
        };
        let mut listener = self.within(connect).await?;
        // Calls may have been missed until now.
        self.wake().ring_all();
        while let Some(notice) = listener.try_recv().await? {
            for shard in notice.payload().split(',').filter_map(|n| n.parse().ok()) {
                self.wake().ring(shard);
            }
        }
        Ok(())
    }
}
