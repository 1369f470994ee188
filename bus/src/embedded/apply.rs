//! The statements of the writer. Everything here runs inside its transaction, except where said.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::{
    error::Failure,
    writer::{Draft, Op, Outgoing, Reply, execute},
};
use crate::{DeadId, DeadLetter, Destination, Lane, LaneSpec};

/// Copies kept for watchers, at most.
const RING: i64 = 10_000;
/// Rows of one statement; few sizes, so that their compiled statements stay cached.
const CHUNKS: [usize; 3] = [64, 8, 1];

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::of(&error)
    }
}

/// Does what the requests ask, lanes first and removals last, and answers each.
pub(super) async fn apply(
    db: &mut SqliteConnection,
    ops: &[&Op],
    draft: &mut Draft,
) -> Result<Vec<Reply>, Failure> {
    for op in ops {
        match op {
            Op::Declare(specs) => declare(db, specs, draft).await?,
            Op::Remove(lane) => remove(db, lane, draft).await?,
            Op::Tap { id, until, seen } => tap(db, *id, *until, *seen, draft).await?,
            Op::Publish(_)
            | Op::Settle(_)
            | Op::Return { .. }
            | Op::Hand { .. }
            | Op::Record { .. }
            | Op::ClearRecords(_)
            | Op::Withdraw(_)
            | Op::Bury(_)
            | Op::Replay(_)
            | Op::Stop => {}
        }
    }
    let mut rows = Vec::new();
    let mut copies = Vec::new();
    let mut settled = Vec::new();
    let mut answers = Vec::with_capacity(ops.len());
    for op in ops {
        answers.push(match op {
            Op::Publish(messages) => {
                let missing = messages
                    .iter()
                    .map(|message| route(message, draft, &mut rows));
                let answer = Reply::Published(missing.collect());
                if draft.tapped {
                    copies.extend(messages.iter().map(copy));
                }
                answer
            }
            Op::Settle(ids) => {
                settled.extend_from_slice(ids);
                Reply::Done
            }
            Op::Bury(letters) => {
                bury(db, letters).await?;
                if draft.tapped {
                    let dead = |letter: &DeadLetter| ("dead".to_owned(), letter.body.clone());
                    copies.extend(letters.iter().map(dead));
                }
                Reply::Done
            }
            Op::Replay(id) => Reply::Replayed(replay(db, *id, draft).await?),
            Op::Return { .. }
            | Op::Hand { .. }
            | Op::Record { .. }
            | Op::ClearRecords(_)
            | Op::Withdraw(_)
            | Op::Declare(_)
            | Op::Remove(_)
            | Op::Tap { .. }
            | Op::Stop => Reply::Done,
        });
    }
    draft.grown.extend(rows.iter().map(|(lane_id, _)| *lane_id));
    insert_messages(db, &rows).await?;
    insert_copies(db, &copies).await?;
    settle(db, &settled).await?;
    note_handed_out(db, ops).await?;
    Ok(answers)
}

/// What is handed out, returned and recorded about attempts.
async fn note_handed_out(db: &mut SqliteConnection, ops: &[&Op]) -> Result<(), Failure> {
    for op in ops {
        match op {
            Op::Return { lane_id, ids } => take_back(db, *lane_id, ids).await?,
            Op::Hand { lane_id, up_to } => hand(db, *lane_id, *up_to).await?,
            Op::Record {
                lane_id,
                instance,
                record,
            } => {
                sqlx::query("INSERT INTO attempts (lane_id, instance, record) VALUES (?, ?, ?)")
                    .bind(lane_id)
                    .bind(instance)
                    .bind(record)
                    .execute(&mut *db)
                    .await?;
            }
            Op::ClearRecords(lane_id) => {
                sqlx::query("DELETE FROM attempts WHERE lane_id = ?")
                    .bind(lane_id)
                    .execute(&mut *db)
                    .await?;
            }
            Op::Withdraw(instance) => {
                sqlx::query("DELETE FROM attempts WHERE instance = ?")
                    .bind(instance)
                    .execute(&mut *db)
                    .await?;
            }
            Op::Publish(_)
            | Op::Settle(_)
            | Op::Declare(_)
            | Op::Remove(_)
            | Op::Bury(_)
            | Op::Replay(_)
            | Op::Tap { .. }
            | Op::Stop => {}
        }
    }
    Ok(())
}

/// Finds the lanes of a message. Answers the one it names when that does not exist.
fn route<'a>(
    message: &'a Outgoing,
    draft: &Draft,
    rows: &mut Vec<(i64, &'a [u8])>,
) -> Option<String> {
    match &message.to {
        Destination::Lane(lane) => match draft.registry.id(lane) {
            Some(id) => rows.push((id, &message.body)),
            None => return Some(lane.to_string()),
        },
        Destination::Events => {
            let lanes = draft
                .registry
                .listeners(&message.organization, &message.kind);
            rows.extend(lanes.map(|id| (id, message.body.as_ref())));
        }
    }
    None
}

fn copy(message: &Outgoing) -> (String, Bytes) {
    let to = match &message.to {
        Destination::Lane(lane) => lane.to_string(),
        Destination::Events => "events".to_owned(),
    };
    (to, message.body.clone())
}

async fn insert_messages(
    db: &mut SqliteConnection,
    rows: &[(i64, &[u8])],
) -> Result<(), sqlx::Error> {
    let mut rest = rows;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(chunk(rest.len()));
        rest = later;
        let mut values = "(?, ?), ".repeat(now.len());
        values.truncate(values.len() - 2);
        let sql = format!("INSERT INTO messages (lane_id, body) VALUES {values}");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (lane_id, body) in now {
            query = query.bind(lane_id).bind(*body);
        }
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// How many of `left` rows the next statement takes.
fn chunk(left: usize) -> usize {
    CHUNKS
        .into_iter()
        .find(|size| *size <= left)
        .unwrap_or(left)
}

async fn insert_copies(
    db: &mut SqliteConnection,
    copies: &[(String, Bytes)],
) -> Result<(), sqlx::Error> {
    if copies.is_empty() {
        return Ok(());
    }
    let now = Utc::now().timestamp_millis();
    for (destination, body) in copies {
        sqlx::query("INSERT INTO tap (destination, at, body) VALUES (?, ?, ?)")
            .bind(destination)
            .bind(now)
            .bind(body.as_ref())
            .execute(&mut *db)
            .await?;
    }
    sqlx::query("DELETE FROM tap WHERE id <= (SELECT max(id) FROM tap) - ?")
        .bind(RING)
        .execute(db)
        .await?;
    Ok(())
}

async fn settle(db: &mut SqliteConnection, ids: &[i64]) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query("DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?))")
        .bind(list(ids))
        .execute(db)
        .await?;
    Ok(())
}

async fn take_back(
    db: &mut SqliteConnection,
    lane_id: i64,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    if !ids.is_empty() {
        sqlx::query(
            "UPDATE messages SET redeliveries = redeliveries + 1 WHERE id IN (SELECT value FROM json_each(?))",
        )
        .bind(list(ids))
        .execute(&mut *db)
        .await?;
    }
    hand(db, lane_id, 0).await
}

async fn hand(db: &mut SqliteConnection, lane_id: i64, up_to: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE lanes SET handed = ? WHERE id = ?")
        .bind(up_to)
        .bind(lane_id)
        .execute(db)
        .await?;
    Ok(())
}

/// A JSON array of numbers.
fn list(ids: &[i64]) -> String {
    let numbers: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(","))
}

async fn declare(
    db: &mut SqliteConnection,
    specs: &[LaneSpec],
    draft: &mut Draft,
) -> Result<(), sqlx::Error> {
    for spec in specs {
        let known = draft.registry.id(&spec.lane).is_some();
        if draft.registry.has(spec) || (known && spec.filter.is_none()) {
            continue;
        }
        let organization = spec.filter.as_ref().map(|f| f.organization.as_str());
        let patterns = spec
            .filter
            .as_ref()
            .and_then(|f| serde_json::to_string(&f.patterns).ok());
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO lanes (name, organization, patterns) VALUES (?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET organization = excluded.organization, patterns = excluded.patterns
             RETURNING id",
        )
        .bind(spec.lane.to_string())
        .bind(organization)
        .bind(patterns)
        .fetch_one(&mut *db)
        .await?;
        Arc::make_mut(&mut draft.registry).insert(id, spec.clone());
    }
    Ok(())
}

async fn remove(
    db: &mut SqliteConnection,
    lane: &Lane,
    draft: &mut Draft,
) -> Result<(), sqlx::Error> {
    // Takes the messages along (ON DELETE CASCADE).
    sqlx::query("DELETE FROM lanes WHERE name = ?")
        .bind(lane.to_string())
        .execute(db)
        .await?;
    if Arc::make_mut(&mut draft.registry).remove(lane).is_some() {
        draft.removed.push(lane.clone());
    }
    Ok(())
}

async fn bury(db: &mut SqliteConnection, letters: &[DeadLetter]) -> Result<(), sqlx::Error> {
    for letter in letters {
        sqlx::query(
            "INSERT INTO dead (id, lane, reason, at, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        )
        .bind(letter.id.0)
        .bind(letter.lane.to_string())
        .bind(&letter.reason)
        .bind(letter.at.timestamp_millis())
        .bind(letter.body.as_ref())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

async fn replay(db: &mut SqliteConnection, id: DeadId, draft: &mut Draft) -> Result<bool, Failure> {
    let found = sqlx::query("SELECT lane, body FROM dead WHERE id = ?")
        .bind(id.0)
        .fetch_optional(&mut *db)
        .await?;
    let Some(row) = found else { return Ok(false) };
    let name: String = row.try_get("lane")?;
    let body: Vec<u8> = row.try_get("body")?;
    let lane: Option<i64> = sqlx::query_scalar("SELECT id FROM lanes WHERE name = ?")
        .bind(&name)
        .fetch_optional(&mut *db)
        .await?;
    let Some(lane_id) = lane else {
        return Err(Failure::Refused(format!(
            "lane {name} of this dead letter does not exist any more"
        )));
    };
    insert_messages(db, &[(lane_id, &body)]).await?;
    sqlx::query("DELETE FROM dead WHERE id = ?")
        .bind(id.0)
        .execute(db)
        .await?;
    draft.grown.insert(lane_id);
    Ok(true)
}

async fn tap(
    db: &mut SqliteConnection,
    id: uuid::Uuid,
    until: i64,
    seen: bool,
    draft: &mut Draft,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO taps (id, until, seen) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET until = excluded.until",
    )
    .bind(id)
    .bind(until)
    .bind(seen)
    .execute(db)
    .await?;
    draft.tapped |= seen;
    Ok(())
}

/// Whether somebody watches; tells new watchers that they are seen. Not in a transaction.
pub(super) async fn watchers(db: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let now = Utc::now().timestamp_millis();
    let unseen: Vec<i64> = sqlx::query_scalar("SELECT NOT seen FROM taps WHERE until > ?")
        .bind(now)
        .fetch_all(&mut *db)
        .await?;
    if unseen.contains(&1) {
        sqlx::query("UPDATE taps SET seen = 1 WHERE NOT seen")
            .execute(&mut *db)
            .await?;
    }
    if unseen.is_empty() {
        execute(db, "DELETE FROM taps; DELETE FROM tap").await?;
    }
    Ok(!unseen.is_empty())
}

/// Counts what was handed out when the process before this one ended. Makes its own transaction.
pub(super) async fn recover(db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    execute(
        db,
        "BEGIN IMMEDIATE;
         UPDATE messages SET redeliveries = redeliveries + 1
             WHERE id IN (SELECT m.id FROM lanes JOIN messages m ON m.lane_id = lanes.id AND m.id <= lanes.handed
                          WHERE lanes.handed != 0);
         UPDATE lanes SET handed = 0 WHERE handed != 0;
         DELETE FROM taps;
         DELETE FROM tap;
         COMMIT",
    )
    .await
}

/// Changes when another connection has written. Not in a transaction.
pub(super) async fn data_version(db: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version")
        .fetch_one(db)
        .await
}

/// Fails while the file or its disk takes no writes. Makes its own transaction.
pub(super) async fn probe(db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    execute(
        db,
        "BEGIN IMMEDIATE;
         INSERT OR REPLACE INTO probe (id, body) VALUES (1, zeroblob(65536));
         COMMIT;
         DELETE FROM probe",
    )
    .await
}
