//! The outbox as its relay sees it: rows to publish.

use bytes::Bytes;
use sqlx::AssertSqlSafe;
use tributary_base::{database::Database, on};
use tributary_bus::{ChannelId, OrganizationId};

use super::{Store, StoreError};

/// A row to be published.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct OutboxRow {
    pub shard: i32,
    pub id: i64,
    pub organization: OrganizationId,
    /// The lane of a delivery; `None` for an event.
    pub lane: Option<String>,
    /// The envelope as JSON.
    #[sqlx(try_from = "String")]
    pub envelope: Bytes,
}

/// Shards that one relay is in charge of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shards {
    pub own: u16,
    /// And the shards from here on, in turns: those that remain of a time when there were more lanes.
    pub rest: Option<Rest>,
}

/// Shards that no lane is in charge of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    pub from: u16,
    /// Where the next look begins, so that one that is always full holds up no other.
    pub next: u16,
}

impl Rest {
    pub fn from(shard: u16) -> Self {
        Self {
            from: shard,
            next: shard,
        }
    }

    /// After a look that found `rows`, the last of them of the shard `last`: a full look goes on behind it, others begin anew.
    fn advance(&mut self, last: Option<u16>, is_full: bool) {
        self.next = match last {
            Some(last) if is_full => last.saturating_add(1),
            Some(_) | None => self.from,
        };
    }
}

impl Store {
    /// The oldest rows of the shards, but for those that go to one of the `except` (lane names; empty text: events). The
    /// relays of one process read together where that saves something.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn outbox_rows(
        &self,
        shards: &mut Shards,
        except: &[String],
        limit: i64,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let together = match self.database() {
            Database::Postgres(pool) if except.is_empty() => {
                self.outbox_rows_together(pool, shards.own, limit).await
            }
            Database::Postgres(_) | Database::Sqlite { .. } => None,
        };
        let work = async {
            let mut rows = match together {
                Some(rows) => rows,
                None => {
                    self.outbox_rows_of("= $1", shards.own, except, limit)
                        .await?
                }
            };
            if let Some(rest) = &mut shards.rest {
                let mut found = self
                    .outbox_rows_of(">= $1", rest.next, except, limit)
                    .await?;
                if found.is_empty() && rest.next > rest.from {
                    found = self
                        .outbox_rows_of(">= $1", rest.from, except, limit)
                        .await?;
                }
                let is_full = i64::try_from(found.len()).is_ok_and(|found| found >= limit);
                let last = found.last().and_then(|row| u16::try_from(row.shard).ok());
                rest.advance(last, is_full);
                rows.extend(found);
            }
            Ok(rows)
        };
        self.within(work).await
    }

    /// The oldest rows of the shards that meet the condition, one shard after the other: in the order of the index, whoever
    /// asks for shards without rows is answered at once, however many rows the others have.
    async fn outbox_rows_of(
        &self,
        condition: &'static str,
        shard: u16,
        except: &[String],
        limit: i64,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let list = match self.database() {
            Database::Postgres(_) => "jsonb_array_elements_text($3::jsonb)",
            Database::Sqlite { .. } => "json_each($3)",
        };
        let statement = format!(
            "SELECT shard, id, organization, lane, envelope FROM outbox WHERE shard {condition} \
             AND COALESCE(lane, '') NOT IN (SELECT value FROM {list}) ORDER BY shard, id LIMIT $2"
        );
        Ok(on!(read self.database(), db => {
            sqlx::query_as(AssertSqlSafe(statement))
                .bind(i32::from(shard))
                .bind(limit)
                .bind(serde_json::json!(except).to_string())
                .fetch_all(db)
                .await
        })?)
    }

    /// Whether the config has this channel account.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn is_configured(&self, channel: &ChannelId) -> Result<bool, StoreError> {
        let work = async {
            let found: Option<i32> = on!(read self.database(), db => {
                sqlx::query_scalar("SELECT 1 FROM channels WHERE id = $1 AND removed_at IS NULL")
                    .bind(channel).fetch_optional(db).await
            })?;
            Ok(found.is_some())
        };
        self.within(work).await
    }
}
