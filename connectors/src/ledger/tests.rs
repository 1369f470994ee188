//! The ledger on both databases: what is sent, by one worker and by several.

/// Runs each of these on both databases.
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

mod doubt;
mod receipts;

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use futures::future::join_all;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::{database::Database, on};
use tributary_bus::{
    Address, ChannelId, MessageId, OrganizationId,
    message::{Failure, FailureCode},
};
use tributary_config::{Settings, load_text};

use super::{Begun, Ending, Ledger, Noted, OnUnknown, PartKey, Target, Try, Written, rows};
use crate::testing::{Kind, database, empty_database};

on_both! {
    what_was_sent_is_not_sent_again
    what_was_refused_for_good_stays_refused
    a_part_that_waits_is_tried_again_without_doubt
    a_live_try_of_another_worker_is_left_alone
    a_try_that_never_reported_back_is_doubtful
    held_tries_are_not_repeated
    a_provider_that_recognises_repetitions_is_asked_again_at_once
    only_facts_of_an_older_try_count
    of_two_workers_one_gets_through
    organizations_do_not_meet
    old_rows_go_in_batches
    many_at_once_are_each_answered
    the_other_rooms_migrations_are_left_alone
}

struct World {
    kind: Kind,
    database: Database,
    one: Ledger,
    other: Ledger,
    _stop: DropGuard,
    _dir: TempDir,
}

impl World {
    async fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let database = database(kind, &dir).await;
        let stop = CancellationToken::new();
        let settings = fleet();
        let start = || Ledger::start(database.clone(), &settings, stop.clone());
        Self {
            kind,
            one: start().await.expect("a ledger"),
            other: start().await.expect("a ledger"),
            database: database.clone(),
            _stop: stop.drop_guard(),
            _dir: dir,
        }
    }

    /// Lets the rows look as old as this.
    async fn age(&self, by: Duration) {
        let at = Utc::now() - by;
        on!(write &self.database, db => {
            sqlx::query("UPDATE ledger SET at = $1").bind(at).execute(db).await.map(drop)
        })
        .expect("rows are there");
    }

    async fn count(&self) -> i64 {
        on!(read &self.database, db => {
            sqlx::query_scalar("SELECT count(*) FROM ledger").fetch_one(db).await
        })
        .expect("a count")
    }
}

/// Settings of a process that is one of several.
fn fleet() -> Settings {
    let text = "[bus]\nurl = 'amqp://guest:guest@127.0.0.1/'\n";
    load_text("test", text, &[]).expect("right settings")
}

fn part(number: u32) -> PartKey {
    PartKey {
        organization: OrganizationId::from("acme"),
        message_id: MessageId::generate(),
        part: number,
    }
}

fn target(parts: u32) -> Target {
    Target {
        channel_id: ChannelId::from("shop"),
        to: Address::from("5"),
        parts,
    }
}

async fn begin(ledger: &Ledger, key: &PartKey, on_unknown: OnUnknown) -> Begun {
    ledger
        .begin(key.clone(), target(1), on_unknown)
        .await
        .expect("the ledger answers")
}

async fn go(ledger: &Ledger, key: &PartKey) -> Try {
    match begin(ledger, key, OnUnknown::Resend).await {
        Begun::Go(tried) => tried,
        other => panic!("not let through: {other:?}"),
    }
}

async fn finish(ledger: &Ledger, tried: &Try, ending: Ending) -> Noted {
    ledger
        .finish(tried, ending)
        .await
        .expect("the ledger answers")
}

fn sent() -> Ending {
    Ending::Sent("5:71".to_owned())
}

async fn what_was_sent_is_not_sent_again(world: World) {
    let key = part(0);
    let tried = go(&world.one, &key).await;
    assert_eq!((tried.attempt, tried.doubtful), (1, false));
    let Noted::At(Written { at, .. }) = finish(&world.one, &tried, sent()).await else {
        panic!("not noted");
    };
    // Noting it once more (after a lost answer of the database) changes nothing.
    assert!(matches!(
        finish(&world.one, &tried, sent()).await,
        Noted::At(_)
    ));
    for ledger in [&world.one, &world.other] {
        let Begun::Settled(settled) = begin(ledger, &key, OnUnknown::Resend).await else {
            panic!("let through again");
        };
        assert_eq!(settled.result, Ok("5:71".to_owned()));
        assert!(!settled.doubtful && settled.at >= at);
    }
    let rows = world
        .other
        .parts(&key.organization, key.message_id)
        .await
        .expect("rows");
    let known: Vec<u32> = rows.iter().map(rows::Row::part).collect();
    assert_eq!(known, [0]);
    assert!(rows.iter().all(|row| row.settled().is_some()));
}

async fn what_was_refused_for_good_stays_refused(world: World) {
    let failures = [
        FailureCode::Rejected,
        FailureCode::Unreachable,
        FailureCode::Expired,
        FailureCode::Uncertain,
    ];
    for (number, code) in (0..).zip(failures) {
        let key = part(number);
        let tried = go(&world.one, &key).await;
        let failure = Failure {
            code,
            reason: "blocked (403)".to_owned(),
        };
        finish(&world.one, &tried, Ending::Failed(failure.clone())).await;
        let Begun::Settled(settled) = begin(&world.other, &key, OnUnknown::Resend).await else {
            panic!("let through again");
        };
        assert_eq!(settled.result, Err(failure));
    }
}

async fn a_part_that_waits_is_tried_again_without_doubt(world: World) {
    let key = part(0);
    for attempt in 1..4 {
        let ledger = if attempt % 2 == 0 {
            &world.one
        } else {
            &world.other
        };
        let tried = go(ledger, &key).await;
        assert_eq!((tried.attempt, tried.doubtful), (attempt, false));
        finish(ledger, &tried, Ending::Waiting).await;
    }
    let tried = go(&world.one, &key).await;
    finish(&world.one, &tried, Ending::Uncertain).await;
    let tried = go(&world.one, &key).await;
    assert!(tried.doubtful);
    finish(&world.one, &tried, Ending::Waiting).await;
    assert!(go(&world.one, &key).await.doubtful, "doubt remains");
}

async fn a_live_try_of_another_worker_is_left_alone(world: World) {
    let key = part(0);
    go(&world.one, &key).await;
    for ledger in [&world.other, &world.one] {
        for on_unknown in [OnUnknown::Resend, OnUnknown::Hold] {
            let Begun::Busy(wait) = begin(ledger, &key, on_unknown).await else {
                panic!("let through beside a live try");
            };
            assert!(wait > Duration::from_secs(25) && wait < Duration::from_secs(33));
        }
    }
}

async fn a_try_that_never_reported_back_is_doubtful(world: World) {
    let key = part(0);
    go(&world.one, &key).await;
    world.age(Duration::from_secs(40)).await;
    let tried = go(&world.other, &key).await;
    assert_eq!((tried.attempt, tried.doubtful), (2, true));
    finish(&world.other, &tried, sent()).await;
    let Begun::Settled(settled) = begin(&world.one, &key, OnUnknown::Resend).await else {
        panic!("let through again");
    };
    assert!(settled.doubtful);
}

async fn held_tries_are_not_repeated(world: World) {
    let vanished = part(0);
    go(&world.one, &vanished).await;
    let lost = part(0);
    let tried = go(&world.one, &lost).await;
    finish(&world.one, &tried, Ending::Uncertain).await;
    world.age(Duration::from_secs(40)).await;
    for key in [vanished, lost] {
        for _ in 0..2 {
            let Begun::Settled(settled) = begin(&world.other, &key, OnUnknown::Hold).await else {
                panic!("repeated");
            };
            let failure = settled.result.expect_err("held");
            assert_eq!(failure.code, FailureCode::Uncertain);
            assert!(settled.doubtful);
        }
    }
    // What waits had surely not arrived, so there is nothing to hold.
    let waits = part(0);
    let tried = go(&world.one, &waits).await;
    finish(&world.one, &tried, Ending::Waiting).await;
    assert!(matches!(
        begin(&world.other, &waits, OnUnknown::Hold).await,
        Begun::Go(_)
    ));
}

async fn a_provider_that_recognises_repetitions_is_asked_again_at_once(world: World) {
    let key = part(0);
    go(&world.one, &key).await;
    for _ in 0..2 {
        let Begun::Go(tried) = begin(&world.other, &key, OnUnknown::Repeat).await else {
            panic!("not let through");
        };
        finish(&world.other, &tried, Ending::Uncertain).await;
    }
}

async fn only_facts_of_an_older_try_count(world: World) {
    let key = part(0);
    let frozen = go(&world.one, &key).await;
    world.age(Duration::from_secs(40)).await;
    let taken_over = go(&world.other, &key).await;
    for ending in [
        Ending::Waiting,
        Ending::Uncertain,
        Ending::Failed(Failure {
            code: FailureCode::Rejected,
            reason: "late".to_owned(),
        }),
    ] {
        let noted = finish(&world.one, &frozen, ending).await;
        assert_eq!(noted, Noted::Superseded);
    }
    assert!(matches!(
        finish(&world.one, &frozen, sent()).await,
        Noted::At(_)
    ));
    let noted = finish(&world.other, &taken_over, Ending::Waiting).await;
    assert!(
        matches!(noted, Noted::At(_) | Noted::Superseded),
        "the later try may say that it did not send"
    );
}

async fn of_two_workers_one_gets_through(world: World) {
    let keys: Vec<PartKey> = (0..100).map(|_| part(0)).collect();
    let both = keys.iter().map(|key| async {
        let begun = tokio::join!(
            begin(&world.one, key, OnUnknown::Resend),
            begin(&world.other, key, OnUnknown::Resend)
        );
        [begun.0, begun.1]
            .iter()
            .filter(|begun| matches!(begun, Begun::Go(_)))
            .count()
    });
    assert!(join_all(both).await.iter().all(|through| *through == 1));
}

async fn organizations_do_not_meet(world: World) {
    let key = part(0);
    let theirs = PartKey {
        organization: OrganizationId::from("other"),
        ..key.clone()
    };
    let tried = go(&world.one, &key).await;
    finish(&world.one, &tried, sent()).await;
    assert_eq!(go(&world.one, &theirs).await.attempt, 1);
}

async fn old_rows_go_in_batches(world: World) {
    for _ in 0..5 {
        go(&world.one, &part(0)).await;
    }
    world.age(Duration::from_secs(3600)).await;
    go(&world.one, &part(0)).await;
    let before = Utc::now() - Duration::from_secs(60);
    let remove = || rows::remove_older(&world.database, before, 2);
    assert_eq!(remove().await.expect("removed"), 2);
    assert_eq!(world.count().await, 4);
    assert_eq!(remove().await.expect("removed"), 2);
    assert_eq!(remove().await.expect("removed"), 1);
    assert_eq!(remove().await.expect("removed"), 0);
    assert_eq!(world.count().await, 1);
}

async fn many_at_once_are_each_answered(world: World) {
    let ledger = Arc::new(world.one);
    let tasks: Vec<_> = (0..500)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                let key = part(number);
                let tried = go(&ledger, &key).await;
                assert_eq!(tried.key, key);
                let id = format!("id-{number}");
                finish(&ledger, &tried, Ending::Sent(id.clone())).await;
                match begin(&ledger, &key, OnUnknown::Hold).await {
                    Begun::Settled(settled) => assert_eq!(settled.result, Ok(id)),
                    other => panic!("sent again: {other:?}"),
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("each task is content");
    }
}

/// The router's migrations live in the same PostgreSQL database, under sqlx's usual table.
async fn the_other_rooms_migrations_are_left_alone(world: World) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let database = empty_database(world.kind, &dir).await;
    on!(write &database, db => {
        sqlx::raw_sql("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY); \
                       INSERT INTO _sqlx_migrations (version) VALUES (999)")
            .execute(db)
            .await
            .map(drop)
    })
    .expect("another room's table");
    let store = crate::ConnectorStore::new(database);
    store.migrate().await.expect("the schema fits");
    store.migrate().await.expect("twice as well");
}

#[tokio::test]
async fn alone_on_the_machine_an_earlier_life_is_over() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let database = database(Kind::Sqlite, &dir).await;
    let settings = load_text("test", "", &[]).expect("right settings");
    let stop = CancellationToken::new();
    let killed = Ledger::start(database.clone(), &settings, stop.clone())
        .await
        .expect("a ledger");
    let key = part(0);
    go(&killed, &key).await;
    drop(killed);
    let ledger = Ledger::start(database, &settings, stop.clone())
        .await
        .expect("a ledger");
    let tried = go(&ledger, &key).await;
    assert!(tried.doubtful, "at once, but in doubt");
    stop.cancel();
}
