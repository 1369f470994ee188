//! Groups that became supergroups: Telegram gives them another id, and here they stay the contact that they were.
//!
//! The pair is written down before anything of the new group is published, by whichever process is told. Telegram tells
//! it with the first message of the new group. A move is remembered for good; that a group has not moved is true
//! for a moment only: what is no message (a pressed button, a reaction) can come before that first message,
//! and another process may be told of the move.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::Utc;
use tracing::warn;
use tributary_base::{
    database::{Database, DatabaseError},
    on,
};
use tributary_bus::{Address, ChannelId, OrganizationId, message::Inbound};

use super::{
    address::Place,
    inbound::{Move, Translated},
    wire::ChatId,
};
use crate::ReceiveError;

/// Ids of supergroups and channels are below this, those of groups above (https://core.telegram.org/api/bots/ids).
const SUPERGROUPS: i64 = -1_000_000_000_000;
/// How long it is believed that a group has not moved.
const UNMOVED: Duration = Duration::from_secs(10);
/// Chats remembered at most.
const CHATS: usize = 10_000;

/// The moves of one account's groups.
pub(super) struct Moves {
    organization: OrganizationId,
    channel: ChannelId,
    /// `None` in `tributary check` and in tests.
    database: Option<Database>,
    known: Mutex<Known>,
    /// [`UNMOVED`], shorter in tests.
    unmoved: Duration,
}

#[derive(Default)]
struct Known {
    /// Old id -> new id.
    targets: HashMap<i64, Answer>,
    /// New id -> old id.
    origins: HashMap<i64, Answer>,
}

/// What the table said.
#[derive(Clone, Copy)]
struct Answer {
    /// `None`: it has not moved.
    other: Option<i64>,
    at: Instant,
}

impl Answer {
    fn holds(self, unmoved: Duration) -> bool {
        self.other.is_some() || self.at.elapsed() < unmoved
    }
}

impl Moves {
    pub(super) fn new(
        organization: OrganizationId,
        channel: ChannelId,
        database: Option<Database>,
    ) -> Self {
        Self {
            organization,
            channel,
            database,
            known: Mutex::default(),
            unmoved: UNMOVED,
        }
    }

    /// Where a chat is now. A move that is not known yet is told by Telegram when something is sent.
    pub(super) async fn target(&self, chat: i64) -> i64 {
        if chat >= 0 || chat <= SUPERGROUPS {
            return chat;
        }
        let known = self.known().targets.get(&chat).copied();
        if let Some(known) = known.filter(|answer| answer.holds(self.unmoved)) {
            return known.other.unwrap_or(chat);
        }
        match self
            .read(
                "SELECT new_chat FROM telegram_moves WHERE organization = $1 AND channel_id = $2 AND old_chat = $3",
                chat,
            )
            .await
        {
            Ok(found) => {
                remember(&mut self.known().targets, chat, found);
                found.unwrap_or(chat)
            }
            Err(_) => chat,
        }
    }

    /// Writes a move down. It is no error when it cannot be: sending learns it again.
    pub(super) async fn learn(&self, from: i64, to: i64) {
        if let Err(error) = self.write(from, to).await {
            warn!(channel_id = %self.channel, %error, "move of a group not written down");
        }
    }

    /// Gives every event of a moved group the address that it had before.
    ///
    /// # Errors
    /// The table cannot be used: the update must come again.
    pub(super) async fn settle(&self, translated: &mut Translated) -> Result<(), ReceiveError> {
        if let Some(Move { from, to }) = translated.moved {
            let written = self.write(from, to).await;
            written.map_err(|error| ReceiveError::Unavailable(error.to_string()))?;
        }
        self.readdress_all(&mut translated.events).await
    }

    /// As `settle`, of events that tell of no new move.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) async fn readdress_all(&self, events: &mut [Inbound]) -> Result<(), ReceiveError> {
        for event in events {
            let Some(supergroup) = supergroup(&event.origin().address) else {
                continue;
            };
            let origin = self.origin(supergroup).await;
            let origin = origin.map_err(|error| ReceiveError::Unavailable(error.to_string()))?;
            readdress(event, origin);
        }
        Ok(())
    }

    async fn origin(&self, chat: i64) -> Result<Option<i64>, DatabaseError> {
        let known = self.known().origins.get(&chat).copied();
        if let Some(known) = known.filter(|answer| answer.holds(self.unmoved)) {
            return Ok(known.other);
        }
        let found = self
            .read(
                "SELECT old_chat FROM telegram_moves WHERE organization = $1 AND channel_id = $2 AND new_chat = $3",
                chat,
            )
            .await?;
        remember(&mut self.known().origins, chat, found);
        Ok(found)
    }

    async fn read(&self, query: &'static str, chat: i64) -> Result<Option<i64>, DatabaseError> {
        let Some(database) = &self.database else {
            return Ok(None);
        };
        let found = on!(read database, db => sqlx::query_scalar(query)
            .bind(&self.organization)
            .bind(&self.channel)
            .bind(chat)
            .fetch_optional(db)
            .await)?;
        Ok(found)
    }

    async fn write(&self, from: i64, to: i64) -> Result<(), DatabaseError> {
        if let Some(database) = &self.database {
            on!(write database, db => sqlx::query(
                "INSERT INTO telegram_moves (organization, channel_id, old_chat, new_chat, created_at)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&self.organization)
            .bind(&self.channel)
            .bind(from)
            .bind(to)
            .bind(Utc::now())
            .execute(db)
            .await
            .map(drop))?;
        }
        let mut known = self.known();
        remember(&mut known.targets, from, Some(to));
        remember(&mut known.origins, to, Some(from));
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(known: &mut HashMap<i64, Answer>, chat: i64, other: Option<i64>) {
    if known.len() >= CHATS {
        known.clear();
    }
    let at = Instant::now();
    known.insert(chat, Answer { other, at });
}

fn supergroup(address: &Address) -> Option<i64> {
    match Place::parse(address)?.chat {
        ChatId::Number(chat) if chat <= SUPERGROUPS => Some(chat),
        ChatId::Number(_) | ChatId::Name(_) => None,
    }
}

/// A topic is new with the supergroup: it has no earlier address.
fn readdress(event: &mut Inbound, origin: Option<i64>) {
    let Some(old) = origin else { return };
    let origin = match event {
        Inbound::Received(event) => &mut event.origin,
        Inbound::Edited(event) => &mut event.origin,
        Inbound::Deleted(event) => &mut event.origin,
        Inbound::Reacted(event) => &mut event.origin,
        Inbound::Joined(event) => &mut event.origin,
        Inbound::Left(event) => &mut event.origin,
        Inbound::Status(_)
        | Inbound::Media(_)
        | Inbound::ChangeFailed(_)
        | Inbound::Typing(_)
        | Inbound::Read(_)
        | Inbound::Health(_) => return,
    };
    let is_topic = Place::parse(&origin.address)
        .is_none_or(|place| place.thread.is_some() || place.direct.is_some());
    if !is_topic {
        origin.address = Place::chat(old).address();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use tempfile::TempDir;
    use tributary_bus::message::{ContactLeft, LeaveReason, Origin};

    use super::*;
    use crate::testing::{Kind, database};

    const GROUP: i64 = -4_000_111_222;
    const SUPERGROUP: i64 = -1_002_000_333_444;

    async fn another_process_knows(kind: Kind) {
        let dir = TempDir::new().expect("a temporary folder");
        let database = database(kind, &dir).await;
        let of = |organization: &str, channel: &str| {
            let organization = OrganizationId::from(organization);
            Moves::new(organization, channel.into(), Some(database.clone()))
        };
        let process = |channel: &str| of("acme", channel);
        let first = process("shop");
        assert_eq!(first.target(GROUP).await, GROUP);
        // One that asked before the move believes for a while that there was none, and no longer.
        let mut early = process("shop");
        assert_eq!(early.target(GROUP).await, GROUP);
        assert_eq!(early.origin(SUPERGROUP).await.expect("an answer"), None);
        first.learn(GROUP, SUPERGROUP).await;
        assert_eq!(early.target(GROUP).await, GROUP);
        early.unmoved = Duration::ZERO;
        assert_eq!(early.target(GROUP).await, SUPERGROUP);
        let origin = early.origin(SUPERGROUP).await.expect("an answer");
        assert_eq!(origin, Some(GROUP));
        first.learn(GROUP, SUPERGROUP).await;
        assert_eq!(first.target(GROUP).await, SUPERGROUP);
        let second = process("shop");
        assert_eq!(second.target(GROUP).await, SUPERGROUP);
        let origin = second.origin(SUPERGROUP).await.expect("the table answers");
        assert_eq!(origin, Some(GROUP));
        // So does one that reads stored payloads again.
        let mut events = [Inbound::Left(ContactLeft {
            origin: Origin {
                channel_id: ChannelId::from("shop"),
                address: Place::chat(SUPERGROUP).address(),
                occurred_at: Utc::now(),
                event: None,
                raw: None,
            },
            reason: LeaveReason::Blocked,
            extra: Map::new(),
        })];
        let settled = process("shop").readdress_all(&mut events).await;
        settled.expect("the table answers");
        let address = &events[0].origin().address;
        assert_eq!(*address, Place::chat(GROUP).address());
        // Another bot in the same group has a table of its own.
        assert_eq!(process("other").target(GROUP).await, GROUP);
        assert_eq!(of("rival", "shop").target(GROUP).await, GROUP);
        for never in [5_550_001_111, SUPERGROUP] {
            assert_eq!(second.target(never).await, never);
        }
    }

    #[tokio::test]
    async fn another_process_knows_on_sqlite() {
        another_process_knows(Kind::Sqlite).await;
    }

    #[tokio::test]
    async fn another_process_knows_on_postgres() {
        another_process_knows(Kind::Postgres).await;
    }
}
