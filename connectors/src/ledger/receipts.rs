//! What providers tell about what they took: noted by provider id, whether the ledger knows the id already or not.
//!
//! Writing and looking are apart: whoever notes a receipt looks for its message after the commit, and whoever notes
//! that a message was sent looks for its receipts after that commit. Of two that meet, the later one sees the other,
//! so a receipt that outruns the answer of its send is not lost.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, QueryBuilder};
use tributary_base::{
    database::{Database, DatabaseError, Tx},
    on,
};
use tributary_bus::{
    Address, ChannelId, MessageId, OrganizationId,
    message::{Failure, Status},
};

use super::{
    rows::{code_of, name_of, now},
    standing::{Part, Told, step},
};
use crate::Receipted;

/// A receipt and whose it is.
#[derive(Debug, Clone)]
pub(super) struct ReceiptRow {
    pub organization: OrganizationId,
    pub channel_id: ChannelId,
    pub receipt: Receipted,
}

type Key = (OrganizationId, ChannelId, String);

impl ReceiptRow {
    fn key(&self) -> Key {
        (
            self.organization.clone(),
            self.channel_id.clone(),
            self.receipt.provider_id.clone(),
        )
    }
}

/// Notes receipts; answers for each row in order what was known of it before.
pub(super) async fn note(
    tx: &mut Tx,
    rows: &[ReceiptRow],
) -> Result<Vec<Option<Status>>, DatabaseError> {
    // The furthest of each, in one order of locking for every worker.
    let mut furthest: BTreeMap<Key, &ReceiptRow> = BTreeMap::new();
    for row in rows {
        let best = furthest.entry(row.key()).or_insert(row);
        if step(row.receipt.status) > step(best.receipt.status) {
            *best = row;
        }
    }
    let furthest: Vec<(&Key, &ReceiptRow)> = furthest.iter().map(|(k, row)| (k, *row)).collect();
    let mut before: BTreeMap<Key, Status> = BTreeMap::new();
    for chunk in furthest.chunks(CHUNK) {
        let known: Vec<(OrganizationId, ChannelId, String, String)> = on!(tx, db => {
            let mut select = QueryBuilder::new(
                "SELECT organization, channel_id, provider_id, status FROM receipts \
                 WHERE (organization, channel_id, provider_id) IN (",
            );
            select.push_values(chunk, |mut row, (key, _)| {
                row.push_bind(key.0.clone()).push_bind(key.1.clone()).push_bind(key.2.clone());
            });
            select.push(")");
            select.build_query_as().persistent(false).fetch_all(db).await
        })?;
        for (organization, channel_id, provider_id, status) in known {
            if let Ok(status) = status.parse() {
                before.insert((organization, channel_id, provider_id), status);
            }
        }
        upsert(tx, chunk).await?;
    }
    Ok(rows
        .iter()
        .map(|row| before.get(&row.key()).copied())
        .collect())
}

/// Rows of one statement; each binds nine values.
const CHUNK: usize = 500;

async fn upsert(tx: &mut Tx, rows: &[(&Key, &ReceiptRow)]) -> Result<(), DatabaseError> {
    if rows.is_empty() {
        return Ok(());
    }
    let now = now();
    on!(tx, db => {
        let mut insert = QueryBuilder::new(
            "INSERT INTO receipts (organization, channel_id, provider_id, status, step, failure, reason, at, noted_at) ",
        );
        insert.push_values(rows, |mut row, (key, noted)| {
            let receipt = &noted.receipt;
            let failure = receipt.failure.as_ref();
            row.push_bind(key.0.clone())
                .push_bind(key.1.clone())
                .push_bind(key.2.clone())
                .push_bind(receipt.status.as_str())
                .push_bind(step(receipt.status))
                .push_bind(failure.map(|failure| name_of(failure.code)))
                .push_bind(failure.map(|failure| failure.reason.clone()))
                .push_bind(receipt.at)
                .push_bind(now);
        });
        insert.push(
            " ON CONFLICT (organization, channel_id, provider_id) DO UPDATE SET status = excluded.status, \
             step = excluded.step, failure = excluded.failure, reason = excluded.reason, at = excluded.at, \
             noted_at = excluded.noted_at WHERE excluded.step > receipts.step",
        );
        insert.build().persistent(false).execute(db).await.map(drop)
    })?;
    Ok(())
}

/// A part with what is known of it.
#[derive(Debug, FromRow)]
struct PartRow {
    message_id: MessageId,
    parts: Option<i32>,
    recipient: Option<Address>,
    state: String,
    provider_id: Option<String>,
    status: Option<String>,
    failure: Option<String>,
    reason: Option<String>,
    at: Option<DateTime<Utc>>,
    /// It was taken back.
    gone: bool,
}

/// A message and all its parts that the ledger knows.
#[derive(Debug, Clone)]
pub(super) struct MessageParts {
    pub message_id: MessageId,
    pub to: Address,
    pub parts: Vec<Part>,
}

const PARTS: &str = "SELECT l.message_id, l.parts, l.recipient, l.state, l.provider_id, r.status, r.failure, r.reason, \
     r.at, l.gone FROM ledger l LEFT JOIN receipts r ON r.organization = l.organization AND r.channel_id = l.channel_id \
     AND r.provider_id = l.provider_id WHERE l.organization = ";

/// The messages to which these ids of one channel belong.
pub(super) async fn messages_of(
    database: &Database,
    organization: &OrganizationId,
    channel_id: &ChannelId,
    provider_ids: &[&str],
) -> Result<Vec<MessageParts>, DatabaseError> {
    let rows: Vec<PartRow> = on!(read database, db => {
        let mut select = QueryBuilder::new(PARTS);
        select.push_bind(organization.clone());
        select.push(" AND l.message_id IN (SELECT message_id FROM ledger WHERE organization = ");
        select.push_bind(organization.clone());
        select.push(" AND channel_id = ").push_bind(channel_id.clone());
        select.push(" AND provider_id IN (");
        let mut ids = select.separated(", ");
        for id in provider_ids {
            ids.push_bind((*id).to_owned());
        }
        select.push(")) ORDER BY l.message_id, l.part");
        select.build_query_as().persistent(false).fetch_all(db).await
    })?;
    Ok(gather(rows))
}

/// One message.
pub(super) async fn message(
    database: &Database,
    organization: &OrganizationId,
    message_id: MessageId,
) -> Result<Option<MessageParts>, DatabaseError> {
    let rows: Vec<PartRow> = on!(read database, db => {
        let mut select = QueryBuilder::new(PARTS);
        select.push_bind(organization.clone());
        select.push(" AND l.message_id = ").push_bind(message_id);
        select.push(" ORDER BY l.part");
        select.build_query_as().fetch_all(db).await
    })?;
    Ok(gather(rows).pop())
}

/// Rows of messages that are not all there, or that nobody can be told about, are left out.
fn gather(rows: Vec<PartRow>) -> Vec<MessageParts> {
    let mut found = Vec::new();
    for group in rows.chunk_by(|a, b| a.message_id == b.message_id) {
        let Some((first, to)) = group
            .first()
            .and_then(|first| Some((first, first.recipient.clone()?)))
        else {
            continue;
        };
        let expected = first.parts.and_then(|parts| usize::try_from(parts).ok());
        if expected.is_some_and(|expected| expected != group.len())
            || group.iter().any(|row| row.state != "sent")
        {
            continue;
        }
        found.push(MessageParts {
            message_id: first.message_id,
            to,
            // What was taken back gets no more receipts, and nobody waits for them.
            parts: group
                .iter()
                .filter(|row| !row.gone)
                .map(PartRow::part)
                .collect(),
        });
    }
    found
}

impl PartRow {
    fn part(&self) -> Part {
        let status = self.status.as_deref().and_then(|text| text.parse().ok());
        Part {
            provider_id: self.provider_id.clone().unwrap_or_default(),
            told: status.zip(self.at).map(|(status, at)| Told {
                status,
                at,
                failure: self.failure.as_deref().map(|code| Failure {
                    code: code_of(code),
                    reason: self.reason.clone().unwrap_or_default(),
                }),
            }),
        }
    }
}

/// Removes at most `limit` receipts that were noted before `before`, or before `unmatched` where nothing we know was
/// sent under their id; answers how many.
pub(super) async fn remove_older(
    database: &Database,
    before: DateTime<Utc>,
    unmatched: DateTime<Utc>,
    limit: i64,
) -> Result<u64, DatabaseError> {
    let removed = on!(write database, db => {
        sqlx::query(
            "DELETE FROM receipts WHERE (organization, channel_id, provider_id) IN \
             (SELECT r.organization, r.channel_id, r.provider_id FROM receipts r WHERE r.noted_at < $2 \
              AND (r.noted_at < $1 OR NOT EXISTS (SELECT 1 FROM ledger l WHERE l.organization = r.organization \
              AND l.channel_id = r.channel_id AND l.provider_id = r.provider_id)) LIMIT $3)",
        )
        .bind(before)
        .bind(unmatched)
        .bind(limit)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
    })?;
    Ok(removed)
}
