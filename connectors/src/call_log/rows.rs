//! The channel log's statements.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, QueryBuilder};
use tributary_base::{
    database::{Database, DatabaseError, Tx},
    on,
};
use tributary_bus::{ChannelId, MessageId, OrganizationId};
use uuid::Uuid;

use super::Entry;

/// A call as it was kept.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct LoggedCall {
    pub id: Uuid,
    pub channel_id: ChannelId,
    /// The method, without host and without secrets.
    pub what: String,
    pub request: Option<String>,
    pub status: Option<i32>,
    pub reply: Option<String>,
    pub error: Option<String>,
    /// Milliseconds.
    pub took: i64,
    pub at: DateTime<Utc>,
}

/// Shows which call, never its bodies.
impl std::fmt::Debug for LoggedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoggedCall({} -> {:?})", self.what, self.status)
    }
}

pub(super) async fn insert(tx: &mut Tx, entries: &[Entry]) -> Result<(), DatabaseError> {
    if entries.is_empty() {
        return Ok(());
    }
    on!(tx, db => {
        let mut insert = QueryBuilder::new(
            "INSERT INTO channel_log (id, organization, message_id, channel_id, what, request, status, reply, error, \
             took, at) ",
        );
        insert.push_values(entries, |mut row, entry| {
            let call = &entry.call;
            row.push_bind(entry.id)
                .push_bind(entry.organization.clone())
                .push_bind(entry.message_id)
                .push_bind(entry.channel_id.clone())
                .push_bind(call.what.clone())
                .push_bind(call.request.clone())
                .push_bind(call.status.map(i32::from))
                .push_bind(call.reply.clone())
                .push_bind(call.error.clone())
                .push_bind(i64::try_from(call.took.as_millis()).unwrap_or(i64::MAX))
                .push_bind(entry.at);
        });
        insert.push(" ON CONFLICT (id) DO NOTHING");
        insert.build().persistent(false).execute(db).await.map(drop)
    })?;
    Ok(())
}

/// Keeps the latest `most` entries of each of these messages, in one statement.
pub(super) async fn keep_latest(
    tx: &mut Tx,
    messages: &BTreeSet<(&OrganizationId, MessageId)>,
    most: i64,
) -> Result<(), DatabaseError> {
    if messages.is_empty() {
        return Ok(());
    }
    on!(tx, db => {
        let mut delete = QueryBuilder::new(
            "DELETE FROM channel_log WHERE id IN (SELECT id FROM (SELECT id, ROW_NUMBER() OVER \
             (PARTITION BY organization, message_id ORDER BY id DESC) AS place FROM channel_log \
             WHERE (organization, message_id) IN (",
        );
        delete.push_values(messages, |mut row, (organization, message_id)| {
            row.push_bind((*organization).clone()).push_bind(*message_id);
        });
        delete.push(")) AS ranked WHERE place > ").push_bind(most).push(")");
        delete.build().persistent(false).execute(db).await.map(drop)
    })?;
    Ok(())
}

/// The entries of a message, the first one first.
pub(super) async fn of_message(
    database: &Database,
    organization: &OrganizationId,
    message_id: MessageId,
) -> Result<Vec<LoggedCall>, DatabaseError> {
    let calls = on!(read database, db => {
        sqlx::query_as(
            "SELECT id, channel_id, what, request, status, reply, error, took, at FROM channel_log \
             WHERE organization = $1 AND message_id = $2 ORDER BY id",
        )
        .bind(organization)
        .bind(message_id)
        .fetch_all(db)
        .await
    })?;
    Ok(calls)
}

/// Removes at most `limit` entries from before `before`; answers how many.
pub(super) async fn remove_older(
    database: &Database,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, DatabaseError> {
    let removed = on!(write database, db => {
        sqlx::query(
            "DELETE FROM channel_log WHERE id IN (SELECT id FROM channel_log WHERE at < $1 ORDER BY at LIMIT $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
    })?;
    Ok(removed)
}
