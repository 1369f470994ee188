//! The durable list of media that is still to be fetched, one per account.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::Map;
use tokio::sync::Notify;
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

/// For how long media of a message that is just being published is left alone: its event must come after the message.
const HOLD: Duration = Duration::from_secs(15);

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
    fn read(self) -> Result<Fetch, DatabaseError> {
        let event = serde_json::from_str(&self.event);
        Ok(Fetch {
            key: Key {
                message_id: self.message_id,
                place: self.place,
            },
            source: self.source,
            event: event.map_err(|error| sqlx::Error::Decode(error.into()))?,
            fetched: self.fetched != 0,
            attempts: u32::try_from(self.attempts).unwrap_or(0),
            created_at: self.created_at,
        })
    }
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

    /// Notes what these events leave to be fetched; `Ok` means that it is durable. Doing it again changes nothing.
    ///
    /// # Errors
    /// The database cannot be written.
    pub(crate) async fn add(&self, events: &[Inbound]) -> Result<Added, DatabaseError> {
        let pending: Vec<MessageMedia> = events.iter().flat_map(pending).collect();
        if pending.is_empty() {
            return Ok(Added(Vec::new()));
        }
        let now = Utc::now();
        let mut keys = Vec::with_capacity(pending.len());
        let mut tx = self.database.begin().await?;
        for event in pending {
            let source = event.media.source.clone().unwrap_or_default();
            let key = Key {
                message_id: event.message_id.0,
                place: i32::try_from(event.index).unwrap_or(i32::MAX),
            };
            let json = json(&event)?;
            // The same message again is the same work; an edit that brings another file is new work.
            on!(&mut tx, db => sqlx::query(
                "INSERT INTO media_fetches (channel_id, message_id, place, organization, source, event, fetched, \
                 attempts, due_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7, $8) \
                 ON CONFLICT (channel_id, message_id, place) DO UPDATE SET source = excluded.source, \
                 event = excluded.event, fetched = 0, attempts = 0, due_at = excluded.due_at, \
                 created_at = excluded.created_at WHERE media_fetches.source <> excluded.source")
                .bind(&*self.channel)
                .bind(key.message_id)
                .bind(key.place)
                .bind(&*self.organization)
                .bind(source)
                .bind(json)
                .bind(now + HOLD)
                .bind(now)
                .execute(db).await.map(drop))?;
            keys.push(key);
        }
        tx.commit().await?;
        Ok(Added(keys))
    }

    /// The messages are durable: their media may be fetched. Failing to say so only delays it.
    pub(crate) async fn release(&self, added: Added) {
        for key in added.0 {
            if let Err(error) = self.set_due(key, Utc::now()).await {
                tracing::debug!(channel_id = &*self.channel, %error, "media is fetched a little later");
            }
        }
        self.woken.notify_one();
    }

    async fn set_due(&self, key: Key, at: DateTime<Utc>) -> Result<(), DatabaseError> {
        // Only ever earlier, and only what nobody has begun: a retry keeps its wait.
        on!(write &self.database, db => sqlx::query(
            "UPDATE media_fetches SET due_at = $4 WHERE channel_id = $1 AND message_id = $2 AND place = $3 \
             AND attempts = 0 AND due_at > $4")
            .bind(&*self.channel)
            .bind(key.message_id)
            .bind(key.place)
            .bind(at)
            .execute(db).await.map(drop))?;
        Ok(())
    }

    /// Waits until this process has added something.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// What is due, the most overdue first.
    pub(crate) async fn due(&self, limit: usize) -> Result<Vec<Fetch>, DatabaseError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<FetchRow> = on!(read &self.database, db => sqlx::query_as(
            "SELECT message_id, place, source, event, fetched, attempts, created_at FROM media_fetches \
             WHERE channel_id = $1 AND organization = $2 AND due_at <= $3 ORDER BY due_at LIMIT $4")
            .bind(&*self.channel)
            .bind(&*self.organization)
            .bind(Utc::now())
            .bind(limit)
            .fetch_all(db).await)?;
        rows.into_iter().map(FetchRow::read).collect()
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
