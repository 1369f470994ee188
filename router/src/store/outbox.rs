//! The outbox as its relay sees it: rows to publish, rows that were published.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;
use tributary_base::{
    database::{Database, Tx},
    on,
};
use tributary_bus::{ChannelId, EventId, OrganizationId};

use super::{Store, StoreError, rows};
use crate::model::now;

/// First half of the key of PostgreSQL's advisory lock that orders event positions; the second names an organization.
const POSITIONS_LOCK: i32 = 0x7472_6962;

/// A row to be published.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct OutboxRow {
    pub id: i64,
    pub organization: OrganizationId,
    /// The lane of a delivery; `None` for an event.
    pub lane: Option<String>,
    /// The envelope as JSON.
    pub envelope: String,
}

/// Shards that one relay is in charge of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shards {
    pub own: u16,
    /// And every shard from here on: those that remain of a time when there were more lanes.
    pub from: Option<u16>,
}

/// A row that was published.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub row: i64,
    pub organization: OrganizationId,
    /// The id and the envelope of an event, which readers with a cursor get to see; `None` for a delivery.
    pub event: Option<(EventId, String)>,
}

impl Store {
    /// The oldest rows of the shards, but for those that go to one of the `except` (lane names; empty text: events).
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn outbox_rows(
        &self,
        shards: Shards,
        except: &[String],
        limit: i64,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let list = match self.database() {
            Database::Postgres(_) => "jsonb_array_elements_text($3::jsonb)",
            Database::Sqlite { .. } => "json_each($3)",
        };
        let statement = |condition: &str| {
            AssertSqlSafe(format!(
                "SELECT id, organization, lane, envelope FROM outbox WHERE {condition} \
                 AND COALESCE(lane, '') NOT IN (SELECT value FROM {list}) ORDER BY id LIMIT $2"
            ))
        };
        let except = serde_json::json!(except).to_string();
        let work = async {
            let mut rows: Vec<OutboxRow> = on!(read self.database(), db => {
                sqlx::query_as(statement("shard = $1"))
                    .bind(i32::from(shards.own)).bind(limit).bind(&except).fetch_all(db).await
            })?;
            if let Some(from) = shards.from {
                let more: Vec<OutboxRow> = on!(read self.database(), db => {
                    sqlx::query_as(statement("shard >= $1"))
                        .bind(i32::from(from)).bind(limit).bind(&except).fetch_all(db).await
                })?;
                rows.extend(more);
            }
            Ok(rows)
        };
        self.within(work).await
    }

    /// Removes rows that were published, and gives the events among them their positions. A row that another relay
    /// removed meanwhile is left out.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn clear_outbox(&self, published: &[Published]) -> Result<(), StoreError> {
        let work = async {
            let mut tx = self.begin().await?;
            let rows: Vec<i64> = published.iter().map(|p| p.row).collect();
            let removed = remove(&mut tx, &rows).await?;
            let mut left: Vec<&Published> = published.iter().collect();
            left.retain(|p| removed.contains(&p.row));
            left.sort_by_key(|p| p.row);
            let events: Vec<(EventId, OrganizationId, String)> = left
                .into_iter()
                .filter_map(|p| {
                    let (id, envelope) = p.event.as_ref()?;
                    Some((*id, p.organization.clone(), envelope.clone()))
                })
                .collect();
            order_positions(&mut tx, events.iter().map(|(_, owner, _)| owner)).await?;
            rows::events(&events, now()).insert(&mut tx, "").await?;
            Ok(tx.commit().await?)
        };
        self.within(work).await
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

/// Removes outbox rows; answers which were there.
async fn remove(tx: &mut Tx, rows: &[i64]) -> Result<BTreeSet<i64>, sqlx::Error> {
    let removed: Vec<i64> = match tx {
        Tx::Postgres(tx) => {
            sqlx::query_scalar("DELETE FROM outbox WHERE id = ANY($1) RETURNING id")
                .bind(rows)
                .fetch_all(&mut **tx)
                .await?
        }
        Tx::Sqlite(tx) => {
            sqlx::query_scalar(
                "DELETE FROM outbox WHERE id IN (SELECT value FROM json_each($1)) RETURNING id",
            )
            .bind(serde_json::json!(rows).to_string())
            .fetch_all(&mut **tx)
            .await?
        }
    };
    Ok(removed.into_iter().collect())
}

/// From here to the commit no other transaction gives positions to these organizations' events: a position never appears
/// behind one that a reader has seen. SQLite writes one transaction at a time anyway.
async fn order_positions(
    tx: &mut Tx,
    organizations: impl Iterator<Item = &OrganizationId>,
) -> Result<(), sqlx::Error> {
    let Tx::Postgres(tx) = tx else {
        return Ok(());
    };
    let distinct: BTreeSet<&str> = organizations.map(OrganizationId::as_str).collect();
    if distinct.is_empty() {
        return Ok(());
    }
    let distinct: Vec<&str> = distinct.into_iter().collect();
    // In one order everywhere: by the hash itself, since two names can share one.
    sqlx::query(
        "SELECT pg_advisory_xact_lock($1, h) FROM \
         (SELECT DISTINCT hashtext(o) AS h FROM UNNEST($2::text[]) AS o ORDER BY 1) AS hashes",
    )
    .bind(POSITIONS_LOCK)
    .bind(distinct)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
