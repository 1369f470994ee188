//! The channel log on both databases.

use std::time::Duration;

use chrono::Utc;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tributary_base::{database::Database, on};
use tributary_bus::{ChannelId, MessageId, OrganizationId};
use tributary_config::load_text;

use super::{Call, CallLog, ChannelLog, LoggedCall, MessageLog, Redactor, calls_of, rows};
use crate::{
    ConnectorStore,
    testing::{Kind, PATIENCE, database},
};

struct World {
    log: ChannelLog,
    database: Database,
    _dir: TempDir,
}

impl World {
    async fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let database = database(kind, &dir).await;
        let settings = load_text("test", "", &[]).expect("right settings");
        let log = ChannelLog::start(database.clone(), &settings, CancellationToken::new());
        Self {
            log,
            database,
            _dir: dir,
        }
    }

    fn of(&self, organization: &str, message_id: MessageId) -> CallLog {
        CallLog::new(std::sync::Arc::new(MessageLog {
            entries: self.log.0.clone().expect("a log"),
            organization: OrganizationId::from(organization),
            channel_id: ChannelId::from("shop"),
            message_id,
            redactor: Redactor::new(&["123:secret-token".to_owned()]),
        }))
    }

    async fn read(&self, organization: &str, message_id: MessageId) -> Vec<LoggedCall> {
        let store = ConnectorStore::new(self.database.clone());
        calls_of(&store, &OrganizationId::from(organization), message_id)
            .await
            .expect("calls")
    }

    /// Waits until the last call is there.
    async fn settled(&self, message_id: MessageId, last: &str) -> Vec<LoggedCall> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let calls = self.read("acme", message_id).await;
            if calls.last().is_some_and(|call| call.what == last) {
                return calls;
            }
            assert!(Instant::now() < deadline, "{last} is not written");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn call(what: &str) -> Call {
    Call {
        what: what.to_owned(),
        request: Some("{\"url\":\"/bot123:secret-token/x\"}".to_owned()),
        status: Some(200),
        reply: Some("ї".repeat(9000)),
        error: None,
        took: Duration::from_millis(42),
    }
}

async fn calls_are_kept_without_secrets(world: World) {
    let message = MessageId::generate();
    world.of("acme", message).note(call("POST sendMessage"));
    let calls = world.settled(message, "POST sendMessage").await;
    let [kept] = calls.as_slice() else {
        panic!("not one: {calls:?}");
    };
    assert_eq!(
        kept.request.as_deref(),
        Some("{\"url\":\"/bot[secret]/x\"}")
    );
    assert_eq!((kept.status, kept.took), (Some(200), 42));
    let reply = kept.reply.clone().expect("a reply");
    assert_eq!(reply.chars().count(), 8 * 1024 / 2 + 1, "cut, with a mark");
    assert!(
        world.read("other", message).await.is_empty(),
        "of another organization"
    );
}

async fn the_latest_entries_of_a_message_are_kept(world: World) {
    let (message, other) = (MessageId::generate(), MessageId::generate());
    world.of("acme", other).note(call("POST one"));
    // The same message of another organization, and another message, in the same batches.
    let elsewhere = world.of("other", message);
    let also = MessageId::generate();
    let log = world.of("acme", message);
    for number in 0..60 {
        if number % 2 == 0 {
            elsewhere.note(call(&format!("POST {number}")));
        }
        world.of("acme", also).note(call(&format!("POST {number}")));
        log.note(call(&format!("POST {number}")));
    }
    let calls = world.settled(message, "POST 59").await;
    assert_eq!(calls.len(), 50);
    assert_eq!(calls[0].what, "POST 10");
    assert_eq!(world.settled(other, "POST one").await.len(), 1);
    assert_eq!(world.read("other", message).await.len(), 30);
    let calls = world.settled(also, "POST 59").await;
    assert_eq!((calls.len(), calls[0].what.as_str()), (50, "POST 10"));
}

async fn old_entries_go(world: World) {
    let message = MessageId::generate();
    world.of("acme", message).note(call("POST old"));
    world.settled(message, "POST old").await;
    let at = Utc::now() - Duration::from_secs(3600);
    let rows = on!(write &world.database, db => {
        sqlx::query("UPDATE channel_log SET at = $1").bind(at).execute(db).await
            .map(|done| done.rows_affected())
    });
    assert_eq!(rows.expect("an update"), 1);
    let before = |age| Utc::now() - Duration::from_secs(age);
    let remove = async |before| {
        rows::remove_older(&world.database, before, 10)
            .await
            .expect("removed")
    };
    assert_eq!(remove(before(7200)).await, 0);
    assert_eq!(remove(before(60)).await, 1);
}

macro_rules! on_both {
    ($($name:ident)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::World::new(super::Kind::Sqlite).await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::World::new(super::Kind::Postgres).await).await;
            })+
        }
    };
}

on_both! {
    calls_are_kept_without_secrets
    the_latest_entries_of_a_message_are_kept
    old_entries_go
}

#[tokio::test]
async fn a_full_log_loses_entries_and_holds_nobody_up() {
    let (entries, mut waiting) = tokio::sync::mpsc::channel(2);
    let log = CallLog::new(std::sync::Arc::new(MessageLog {
        entries,
        organization: OrganizationId::from("acme"),
        channel_id: ChannelId::from("shop"),
        message_id: MessageId::generate(),
        redactor: Redactor::new(&[]),
    }));
    for number in 0..5 {
        log.note(call(&format!("POST {number}")));
    }
    let kept: Vec<String> =
        std::iter::from_fn(|| waiting.try_recv().ok().map(|entry| entry.call.what)).collect();
    assert_eq!(kept, ["POST 0", "POST 1"]);
}
