//! The durable list of media that is still to be fetched, one per account.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Map;
use sqlx::QueryBuilder;
use tokio::sync::Notify;
use tracing::error;
use tributary_base::{
    database::{Database, DatabaseError},
    on,
};
use tributary_bus::{
    MessageId,
    message::{Content, Inbound, MediaState, MessageMedia, Origin},
};
use tributary_config::Channel;
use uuid::Uuid;

/// When media is due whose message is not known to be durable: its event must come after the message, so it is not fetched
/// however long that takes. 9999-01-01, which both databases can hold.
const UNRELEASED: DateTime<Utc> = match DateTime::from_timestamp(253_370_764_800, 0) {
    Some(never) => never,
    None => DateTime::<Utc>::MAX_UTC,
};
/// When a row that cannot be read is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// Rows of one statement at most, far below what a database binds.
const ROWS: usize = 1000;

/// An account's list. Cheap to clone.
#[derive(Clone)]
pub struct FetchQueue {
    database: Database,
    organization: Arc<str>,
    channel: Arc<str>,
    /// Rings in the process that published; others look now and then.
    woken: Arc<Notify>,
}

/// One medium to fetch.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub key: Key,
    pub source: String,
    pub event: MessageMedia,
    /// The event is complete and only has to be published.
    pub fetched: bool,
    /// Tries that were begun.
    pub attempts: u32,
    pub created_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct FetchRow {
    message_id: Uuid,
    place: i32,
    source: String,
    event: String,
    fetched: i32,
    attempts: i32,
    created_at: DateTime<Utc>,
}

impl FetchRow {
    fn key(&self) -> Key {
        Key {
            message_id: self.message_id,
            place: self.place,
        }
    }

    fn read(self) -> Result<Fetch, DatabaseError> {
        let event = serde_json::from_str(&self.event);
        Ok(Fetch {
            key: self.key(),
            source: self.source,
            event: event.map_err(|error| sqlx::Error::Decode(error.into()))?,
            fetched: self.fetched != 0,
            attempts: u32::try_from(self.attempts).unwrap_or(0),
            created_at: self.created_at,
        })
    }
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub message_id: Uuid,
    pub place: i32,
}

impl FetchQueue {
    /// The list of an account.
    pub fn new(database: Database, channel: &Channel) -> Self {
        Self {
            database,
            organization: channel.organization.as_str().into(),
            channel: channel.id.as_str().into(),
            woken: Arc::new(Notify::new()),
        }
    }

    /// Notes what these events leave to be fetched, which is not due before it is released; `Ok` means that it is durable.
    /// Doing it again changes nothing.
    ///
    /// # Errors
    /// The database cannot be written.
    pub(crate) async fn add(&self, events: &[Inbound]) -> Result<Added, DatabaseError> {
        // Each once, in one order for everybody: of a message and its edit in one batch, the edit counts.
        let mut pending_by_key = BTreeMap::new();
        for event in events.iter().flat_map(pending) {
            let key = Key {
                message_id: event.message_id.0,
                place: i32::try_from(event.index).unwrap_or(i32::MAX),
            };
            let row = (
                event.media.source.clone().unwrap_or_default(),
                json(&event)?,
            );
            pending_by_key.insert(key, row);
        }
        let keys: Vec<Key> = pending_by_key.keys().copied().collect();
        let rows: Vec<(Key, (String, String))> = pending_by_key.into_iter().collect();
        for rows in rows.chunks(ROWS) {
            self.insert(rows).await?;
        }
        Ok(Added(keys))
    }

    async fn insert(&self, rows: &[(Key, (String, String))]) -> Result<(), DatabaseError> {
        let now = Utc::now();
        // The same message again is the same work, and what was not released is as if it were new; an edit that brings
        // another file is new work.
        on!(write &self.database, db => {
            let mut insert = QueryBuilder::new(
                "INSERT INTO media_fetches (channel_id, message_id, place, organization, source, event, fetched, \
                 attempts, due_at, created_at) ");
            insert.push_values(rows, |mut row, (key, (source, event))| {
                row.push_bind(&*self.channel)
                    .push_bind(key.message_id)
                    .push_bind(key.place)
                    .push_bind(&*self.organization)
                    .push_bind(source)
                    .push_bind(event)
                    .push_bind(0_i32)
                    .push_bind(0_i32)
                    .push_bind(UNRELEASED)
                    .push_bind(now);
            });
            insert.push(
                " ON CONFLICT (channel_id, message_id, place) DO UPDATE SET source = excluded.source, \
                 event = excluded.event, fetched = 0, attempts = 0, due_at = excluded.due_at, \
                 created_at = excluded.created_at WHERE media_fetches.source <> excluded.source \
                 OR media_fetches.due_at >= excluded.due_at");
            insert.build().persistent(false).execute(db).await.map(drop)
        })?;
        Ok(())
    }

    /// The messages are durable: their media may be fetched. What was released before keeps its time.
    ///
    /// # Errors
    /// The database cannot be written: the messages must come again, or nobody would fetch their media.
    pub(crate) async fn release(&self, added: Added) -> Result<(), DatabaseError> {
        let now = Utc::now();
        for keys in added.0.chunks(ROWS) {
            on!(write &self.database, db => {
                let mut update = QueryBuilder::new("UPDATE media_fetches SET due_at = ");
                update.push_bind(now).push(" WHERE channel_id = ").push_bind(&*self.channel);
                update.push(" AND due_at >= ").push_bind(UNRELEASED);
                update.push(" AND (message_id, place) IN (");
                update.push_values(keys, |mut row, key| {
                    row.push_bind(key.message_id).push_bind(key.place);
                });
                update.push(")");
                update.build().persistent(false).execute(db).await.map(drop)
            })?;
        }
        self.woken.notify_one();
        Ok(())
    }

    /// Waits until this process has released something.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// What is due, the most overdue first.
    pub(crate) async fn due(&self, limit: usize) -> Result<Vec<Fetch>, DatabaseError> {
        self.due_at(Utc::now(), limit).await
    }

    /// What is due at a moment.
    pub(super) async fn due_at(
        &self,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<Fetch>, DatabaseError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<FetchRow> = on!(read &self.database, db => sqlx::query_as(
            "SELECT message_id, place, source, event, fetched, attempts, created_at FROM media_fetches \
             WHERE channel_id = $1 AND organization = $2 AND due_at <= $3 ORDER BY due_at LIMIT $4")
            .bind(&*self.channel)
            .bind(&*self.organization)
            .bind(now)
            .bind(limit)
            .fetch_all(db).await)?;
        let mut due = Vec::with_capacity(rows.len());
        for row in rows {
            let key = row.key();
            match row.read() {
                Ok(fetch) => due.push(fetch),
                Err(error) => self.set_aside(key, &error, now).await?,
            }
        }
        Ok(due)
    }

    /// A row that cannot be read holds up no other. It is looked at again later: a newer version may
    /// have written it.
    async fn set_aside(
        &self,
        key: Key,
        error: &DatabaseError,
        now: DateTime<Utc>,
    ) -> Result<(), DatabaseError> {
        error!(
            channel_id = &*self.channel, message_id = %key.message_id, %error,
            "media that is to be fetched cannot be read; its message stays without it"
        );
        on!(write &self.database, db => sqlx::query(
            "UPDATE media_fetches SET due_at = $4 \
             WHERE channel_id = $1 AND message_id = $2 AND place = $3")
            .bind(&*self.channel)
            .bind(key.message_id)
            .bind(key.place)
            .bind(now + LOOK_AGAIN)
            .execute(db).await.map(drop))?;
        Ok(())
    }

    /// Counts a try that begins now, so that media which ends its worker is not tried for ever.
    pub(crate) async fn begin(&self, fetch: &Fetch) -> Result<(), DatabaseError> {
        on!(write &self.database, db => sqlx::query(
            "UPDATE media_fetches SET attempts = attempts + 1 \
             WHERE channel_id = $1 AND message_id = $2 AND place = $3 AND source = $4")
            .bind(&*self.channel)
            .bind(fetch.key.message_id)
            .bind(fetch.key.place)
            .bind(&fetch.source)
            .execute(db).await.map(drop))?;
        Ok(())
    }

    /// To be tried again after `wait`; `attempts` have counted so far.
    pub(crate) async fn later(
        &self,
        fetch: &Fetch,
        attempts: u32,
        wait: Duration,
    ) -> Result<(), DatabaseError> {
        on!(write &self.database, db => sqlx::query(
            "UPDATE media_fetches SET attempts = $5, due_at = $6 \
             WHERE channel_id = $1 AND message_id = $2 AND place = $3 AND source = $4")
            .bind(&*self.channel)
            .bind(fetch.key.message_id)
            .bind(fetch.key.place)
            .bind(&fetch.source)
            .bind(i32::try_from(attempts).unwrap_or(i32::MAX))
            .bind(Utc::now() + wait)
            .execute(db).await.map(drop))?;
        Ok(())
    }

    /// The bytes are here, or never will be: whoever goes on from here publishes this event and no other.
    pub(crate) async fn fetched(
        &self,
        fetch: &Fetch,
        event: &MessageMedia,
    ) -> Result<(), DatabaseError> {
        on!(write &self.database, db => sqlx::query(
            "UPDATE media_fetches SET fetched = 1, event = $5 \
             WHERE channel_id = $1 AND message_id = $2 AND place = $3 AND source = $4")
            .bind(&*self.channel)
            .bind(fetch.key.message_id)
            .bind(fetch.key.place)
            .bind(&fetch.source)
            .bind(json(event)?)
            .execute(db).await.map(drop))?;
        Ok(())
    }

    /// The event is durable.
    pub(crate) async fn remove(&self, fetch: &Fetch) -> Result<(), DatabaseError> {
        on!(write &self.database, db => sqlx::query(
            "DELETE FROM media_fetches \
             WHERE channel_id = $1 AND message_id = $2 AND place = $3 AND source = $4")
            .bind(&*self.channel)
            .bind(fetch.key.message_id)
            .bind(fetch.key.place)
            .bind(&fetch.source)
            .execute(db).await.map(drop))?;
        Ok(())
    }
}

/// Removes at most `limit` media that were noted before `before` and never released: their messages never became durable,
/// and the provider brings them no more. Answers how many.
pub(crate) async fn remove_unreleased(
    database: &Database,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, DatabaseError> {
    // Asked twice, since one can be noted again in between.
    let removed = on!(write database, db => sqlx::query(
        "DELETE FROM media_fetches WHERE due_at >= $1 AND created_at < $2 AND (channel_id, message_id, place) IN \
         (SELECT channel_id, message_id, place FROM media_fetches WHERE due_at >= $1 AND created_at < $2 LIMIT $3)")
        .bind(UNRELEASED)
        .bind(before)
        .bind(limit)
        .execute(db).await.map(|done| done.rows_affected()))?;
    Ok(removed)
}

/// What was added and waits for its message.
pub(crate) struct Added(Vec<Key>);

impl Added {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What an event leaves to be fetched.
fn pending(event: &Inbound) -> Vec<MessageMedia> {
    match event {
        Inbound::Received(message) => all(&message.origin, message.message_id, &message.content),
        Inbound::Edited(edit) => all(&edit.origin, edit.message_id, &edit.content),
        Inbound::Deleted(_)
        | Inbound::Reacted(_)
        | Inbound::Status(_)
        | Inbound::Media(_)
        | Inbound::ChangeFailed(_)
        | Inbound::Joined(_)
        | Inbound::Left(_)
        | Inbound::Typing(_)
        | Inbound::Read(_)
        | Inbound::Health(_) => Vec::new(),
    }
}

fn all(origin: &Origin, message_id: MessageId, content: &Content) -> Vec<MessageMedia> {
    let wanted = (0_u32..)
        .zip(content.media())
        .filter(|(_, media)| media.state == MediaState::Pending && media.source.is_some());
    wanted
        .map(|(index, media)| MessageMedia {
            origin: Origin {
                event: None,
                raw: None,
                ..origin.clone()
            },
            message_id,
            index,
            media: media.clone(),
            extra: Map::new(),
        })
        .collect()
}

fn json(event: &MessageMedia) -> Result<String, DatabaseError> {
    serde_json::to_string(event).map_err(|error| sqlx::Error::Encode(error.into()).into())
}
