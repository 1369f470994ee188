//! The ledger's statements.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use sqlx::{FromRow, QueryBuilder};
use tributary_base::{
    database::{Database, DatabaseError, Tx},
    on,
};
use tributary_bus::{
    Address, ChannelId, MessageId, OrganizationId,
    message::{Failure, FailureCode},
};
use uuid::Uuid;

use super::{Begun, Ending, OnUnknown, PartKey, Settled, Target, Try, Written};

/// A wish to send.
#[derive(Debug, Clone)]
pub(super) struct BeginRow {
    pub key: PartKey,
    pub target: Target,
    pub on_unknown: OnUnknown,
    pub worker: Uuid,
    /// Age at which another's `sending` has surely ended.
    pub patience: Duration,
    /// Workers that will not say how their tries ended.
    pub gone: Arc<[Uuid]>,
}

/// A try that ended.
#[derive(Debug, Clone)]
pub(super) struct FinishRow {
    pub tried: Try,
    pub worker: Uuid,
    pub ending: Ending,
}

/// A row as it is stored.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Row {
    organization: OrganizationId,
    message_id: MessageId,
    part: i32,
    channel_id: ChannelId,
    state: String,
    attempt: i32,
    doubtful: bool,
    provider_id: Option<String>,
    failure: Option<String>,
    reason: Option<String>,
    at: DateTime<Utc>,
    /// NULL in rows of earlier versions.
    parts: Option<i32>,
    recipient: Option<Address>,
    gone: bool,
}

/// Without the worker, who is of no interest afterwards.
const COLUMNS: &str = "organization, message_id, part, channel_id, state, attempt, doubtful, provider_id, failure, \
     reason, at, parts, recipient, gone";

impl Row {
    /// The number of the part.
    pub(crate) fn part(&self) -> u32 {
        u32::try_from(self.part).unwrap_or_default()
    }

    /// The provider's id, if it was sent.
    pub(crate) fn provider_id(&self) -> Option<&str> {
        self.provider_id.as_deref().filter(|_| self.state == "sent")
    }

    /// Whether it was taken back, and the message has fewer parts now.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether a try of it may have arrived that did not say so.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubtful || matches!(self.state.as_str(), "sending" | "uncertain")
    }

    /// How it ended, if it did.
    pub(crate) fn settled(&self) -> Option<Settled> {
        let result = match self.state.as_str() {
            "sent" => Ok(self.provider_id.clone().unwrap_or_default()),
            "failed" => Err(Failure {
                code: code_of(self.failure.as_deref().unwrap_or_default()),
                reason: self.reason.clone().unwrap_or_default(),
            }),
            _ => return None,
        };
        Some(Settled {
            result,
            doubtful: self.doubtful,
            at: self.at,
        })
    }

    fn key(&self) -> PartKey {
        PartKey {
            organization: self.organization.clone(),
            message_id: self.message_id,
            part: self.part(),
        }
    }

    fn into_try(self, on_unknown: OnUnknown) -> Try {
        Try {
            once: on_unknown == OnUnknown::Repeat,
            key: self.key(),
            attempt: self.attempt,
            doubtful: self.doubtful,
            target: Target {
                channel_id: self.channel_id,
                to: self.recipient.unwrap_or_else(|| Address::from("")),
                parts: self
                    .parts
                    .map_or(1, |parts| u32::try_from(parts).unwrap_or(1)),
            },
        }
    }
}

pub(super) fn code_of(name: &str) -> FailureCode {
    match name {
        "unreachable" => FailureCode::Unreachable,
        "expired" => FailureCode::Expired,
        "uncertain" => FailureCode::Uncertain,
        _ => FailureCode::Rejected,
    }
}

pub(super) fn name_of(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Rejected => "rejected",
        FailureCode::Unreachable => "unreachable",
        FailureCode::Expired => "expired",
        FailureCode::Uncertain => "uncertain",
    }
}

/// Now, as precise as both databases keep it.
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

fn number(part: u32) -> i32 {
    i32::try_from(part).unwrap_or(i32::MAX)
}

/// Lets through what is new, what waits for another try, and what another worker left; answers for each row in order.
/// The rows have distinct keys and one `on_unknown`.
pub(super) async fn begin(tx: &mut Tx, rows: &[BeginRow]) -> Result<Vec<Begun>, DatabaseError> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let now = now();
    // A repetition does no harm, so it never waits.
    let stale = match first.on_unknown {
        OnUnknown::Repeat => now + Duration::from_secs(1),
        OnUnknown::Resend | OnUnknown::Hold => now - first.patience,
    };
    let held = first.on_unknown == OnUnknown::Hold;
    let mut sorted: Vec<&BeginRow> = rows.iter().collect();
    // One order of locking for every worker.
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let through: Vec<Row> = on!(tx, db => {
        let mut insert = QueryBuilder::new(
            "INSERT INTO ledger (organization, message_id, part, channel_id, state, worker, attempt, doubtful, at, \
             parts, recipient) ",
        );
        insert.push_values(&sorted, |mut row, wish| {
            row.push_bind(wish.key.organization.clone())
                .push_bind(wish.key.message_id)
                .push_bind(number(wish.key.part))
                .push_bind(wish.target.channel_id.clone())
                .push_bind("sending")
                .push_bind(wish.worker)
                .push_bind(1_i32)
                .push_bind(false)
                .push_bind(now)
                .push_bind(number(wish.target.parts))
                .push_bind(wish.target.to.clone());
        });
        insert.push(
            " ON CONFLICT (organization, message_id, part) DO UPDATE SET worker = excluded.worker, \
             attempt = ledger.attempt + 1, at = excluded.at, parts = excluded.parts, recipient = excluded.recipient, \
             doubtful = ledger.doubtful OR ledger.state <> 'waiting', \
             state = CASE WHEN ledger.state <> 'waiting' AND ",
        );
        insert.push_bind(held);
        insert.push(" THEN 'failed' ELSE 'sending' END, failure = CASE WHEN ledger.state <> 'waiting' AND ");
        insert.push_bind(held);
        insert.push(" THEN 'uncertain' END, reason = CASE WHEN ledger.state <> 'waiting' AND ");
        insert.push_bind(held);
        insert.push(" THEN 'the outcome of an earlier try is unknown' END \
             WHERE ledger.state IN ('waiting', 'uncertain') OR (ledger.state = 'sending' AND (ledger.at < ");
        insert.push_bind(stale);
        for worker in first.gone.iter() {
            insert.push(" OR ledger.worker = ").push_bind(*worker);
        }
        insert.push(")) RETURNING ").push(COLUMNS);
        insert.build_query_as().persistent(false).fetch_all(db).await
    })?;
    let mut answers = Vec::with_capacity(rows.len());
    for wish in rows {
        let row = match through.iter().find(|row| row.key() == wish.key) {
            Some(row) if row.state == "sending" => {
                answers.push(Begun::Go(row.clone().into_try(wish.on_unknown)));
                continue;
            }
            Some(row) => Some(row.clone()),
            None => one(tx, &wish.key).await?,
        };
        let settled = row.as_ref().and_then(Row::settled);
        answers.push(match (settled, row) {
            (Some(settled), _) => Begun::Settled(settled),
            (None, Some(row)) => Begun::Busy(remaining(&row, wish.patience)),
            // Removed between the two statements: ask again.
            (None, None) => Begun::Busy(Duration::from_millis(50)),
        });
    }
    Ok(answers)
}

fn remaining(row: &Row, patience: Duration) -> Duration {
    let age = (Utc::now() - row.at).to_std().unwrap_or_default();
    patience.saturating_sub(age) + Duration::from_millis(10)
}

async fn one(tx: &mut Tx, key: &PartKey) -> Result<Option<Row>, DatabaseError> {
    let row = on!(tx, db => {
        let mut select = QueryBuilder::new("SELECT ");
        select.push(COLUMNS).push(" FROM ledger WHERE organization = ");
        select.push_bind(key.organization.clone());
        select.push(" AND message_id = ").push_bind(key.message_id);
        select.push(" AND part = ").push_bind(number(key.part));
        select.build_query_as().fetch_optional(db).await
    })?;
    Ok(row)
}

/// Writes endings; answers for each row in order whether it took effect. The rows have distinct keys.
///
/// That something was sent is a fact, whoever owns the row now; every other ending counts only while the try is the
/// latest one. What was sent by a try that another one has taken over may be there twice, unless the provider recognises
/// repetitions.
pub(super) async fn finish(
    tx: &mut Tx,
    rows: &[FinishRow],
) -> Result<Vec<Option<Written>>, DatabaseError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let now = now();
    let mut sorted: Vec<&FinishRow> = rows.iter().collect();
    sorted.sort_by(|a, b| a.tried.key.cmp(&b.tried.key));
    let written: Vec<(OrganizationId, MessageId, i32, bool)> = on!(tx, db => {
        let mut insert = QueryBuilder::new(
            "INSERT INTO ledger (organization, message_id, part, channel_id, state, worker, attempt, doubtful, \
             provider_id, failure, reason, at, parts, recipient) ",
        );
        insert.push_values(&sorted, |mut row, finish| {
            let (state, provider_id, failure) = columns(&finish.ending);
            row.push_bind(finish.tried.key.organization.clone())
                .push_bind(finish.tried.key.message_id)
                .push_bind(number(finish.tried.key.part))
                .push_bind(finish.tried.target.channel_id.clone())
                .push_bind(state)
                .push_bind(finish.worker)
                .push_bind(finish.tried.attempt)
                .push_bind(!(finish.tried.once && matches!(finish.ending, Ending::Sent(_))))
                .push_bind(provider_id)
                .push_bind(failure.map(|failure| name_of(failure.code)))
                .push_bind(failure.map(|failure| failure.reason.clone()))
                .push_bind(now)
                .push_bind(number(finish.tried.target.parts))
                .push_bind(finish.tried.target.to.clone());
        });
        insert.push(
            " ON CONFLICT (organization, message_id, part) DO UPDATE SET state = excluded.state, \
             provider_id = excluded.provider_id, failure = excluded.failure, reason = excluded.reason, \
             at = excluded.at, doubtful = excluded.doubtful AND (ledger.doubtful \
             OR ledger.worker <> excluded.worker OR ledger.attempt <> excluded.attempt) \
             WHERE (excluded.state = 'sent' AND ledger.state <> 'sent') \
             OR (ledger.worker = excluded.worker AND ledger.attempt = excluded.attempt \
             AND (ledger.state <> 'sent' OR excluded.state = 'sent')) \
             RETURNING organization, message_id, part, doubtful",
        );
        insert.build_query_as().persistent(false).fetch_all(db).await
    })?;
    let doubt = |key: &PartKey| {
        let row = written.iter().find(|(organization, message, part, _)| {
            *organization == key.organization
                && *message == key.message_id
                && *part == number(key.part)
        });
        row.map(|(.., doubtful)| *doubtful)
    };
    Ok(rows
        .iter()
        .map(|row| {
            let doubtful = doubt(&row.tried.key)?;
            Some(Written { at: now, doubtful })
        })
        .collect())
}

fn columns(ending: &Ending) -> (&'static str, Option<String>, Option<&Failure>) {
    match ending {
        Ending::Sent(provider_id) => ("sent", Some(provider_id.clone()), None),
        Ending::Failed(failure) => ("failed", None, Some(failure)),
        Ending::Waiting => ("waiting", None, None),
        Ending::Uncertain => ("uncertain", None, None),
    }
}

/// The rows of a message, by part.
pub(super) async fn of_message(
    database: &Database,
    organization: &OrganizationId,
    message_id: MessageId,
) -> Result<Vec<Row>, DatabaseError> {
    let rows = on!(read database, db => {
        let mut select = QueryBuilder::new("SELECT ");
        select.push(COLUMNS).push(" FROM ledger WHERE organization = ");
        select.push_bind(organization.clone());
        select.push(" AND message_id = ").push_bind(message_id);
        select.push(" ORDER BY part");
        select.build_query_as().fetch_all(db).await
    })?;
    Ok(rows)
}

/// Notes of these parts that they were taken back.
pub(super) async fn take_back(
    database: &Database,
    organization: &OrganizationId,
    message_id: MessageId,
    provider_ids: &[String],
) -> Result<(), DatabaseError> {
    for provider_id in provider_ids {
        on!(write database, db => {
            sqlx::query(
                "UPDATE ledger SET gone = $1 WHERE organization = $2 AND message_id = $3 \
                 AND provider_id = $4",
            )
            .bind(true)
            .bind(organization)
            .bind(message_id)
            .bind(provider_id)
            .execute(db)
            .await
            .map(drop)
        })?;
    }
    Ok(())
}

/// Says of everything in `sending` that its outcome is unknown; for a process that is alone.
pub(super) async fn doubt_everything(database: &Database) -> Result<(), DatabaseError> {
    on!(write database, db => {
        sqlx::query("UPDATE ledger SET state = 'uncertain' WHERE state = 'sending'")
            .execute(db)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Removes at most `limit` rows last written before `before`; answers how many.
pub(super) async fn remove_older(
    database: &Database,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, DatabaseError> {
    let removed = on!(write database, db => {
        sqlx::query(
            "DELETE FROM ledger WHERE (organization, message_id, part) IN \
             (SELECT organization, message_id, part FROM ledger WHERE at < $1 ORDER BY at LIMIT $2)",
        )
        .bind(before)
        .bind(limit)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
    })?;
    Ok(removed)
}
