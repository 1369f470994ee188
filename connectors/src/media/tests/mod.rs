//! Fetching from providers and reading for sending, against a file server that misbehaves.

mod outbound;
mod provider;
mod world;

use std::time::Duration;

use chrono::Utc;
use serde_json::Map;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tributary_base::on;
use tributary_bus::{
    Bus, ChannelId, Lane, MessageId,
    message::{Content, Inbound, MediaContent, MediaState, MessageEdited},
};

use super::{Fetcher, remove_unreleased};
use crate::testing::{Kind, PATIENCE};
use provider::GIF;
use world::{World, message, pending};

async fn whatever_the_provider_does(kind: Kind) {
    let mut world = World::new(kind).await;
    let stop = CancellationToken::new();
    world.fetcher.start(&stop);
    for (source, state, failure) in [
        ("ok", MediaState::Ready, None),
        ("flaky", MediaState::Ready, None),
        ("cut", MediaState::Ready, None),
        ("hangs-once", MediaState::Ready, None),
        (
            "busy",
            MediaState::Failed,
            Some("it could not be fetched after 3 tries: the provider is busy"),
        ),
        ("short", MediaState::Failed, Some("5000 were announced")),
        (
            "gone",
            MediaState::Failed,
            Some("file of [redacted] is too old"),
        ),
        ("large", MediaState::Failed, Some("it is larger than 1 MiB")),
        (
            "hangs",
            MediaState::Failed,
            Some("it could not be fetched after 3 tries: not complete after 1 s"),
        ),
    ] {
        world
            .sink
            .publish(vec![message(source)])
            .await
            .expect("published");
        let (_, first) = world.event().await;
        assert!(
            matches!(first, Inbound::Received(_)),
            "the message comes first: {source}"
        );
        let (_, event) = world.media().await;
        let media = &event.media;
        assert_eq!(media.state, state, "{source}: {:?}", media.failure);
        assert_eq!(
            event.message_id,
            MessageId::derived(&ChannelId::from("shop"), source)
        );
        assert_eq!(
            (media.source.as_deref(), media.duration_ms),
            (Some(source), Some(7)),
            "what was known stays"
        );
        assert_eq!(media.url, None, "links are made for who asks");
        match failure {
            Some(failure) => {
                let told = media.failure.as_deref().unwrap_or_default();
                assert!(told.contains(failure), "{source}: {told}");
                assert_eq!(media.media_id, None);
            }
            None => {
                assert_eq!(media.mime.as_deref(), Some("image/gif"), "{source}");
                assert_eq!(
                    (media.width, media.height, media.size),
                    (Some(1), Some(1), Some(GIF.len() as u64))
                );
                assert_eq!(media.name.as_deref(), Some("from-provider.gif"));
                let id = media.media_id.as_ref().expect("an id").as_str();
                let stored = world
                    .service
                    .store
                    .describe("acme", id)
                    .await
                    .expect("read");
                assert_eq!(stored.expect("stored").size, GIF.len() as u64);
            }
        }
    }
    world.until_empty().await;
    assert_eq!(
        world.server.hits("gone"),
        1,
        "what is gone is not asked for again"
    );
    assert_eq!(world.server.hits("cut"), 3);
    stop.cancel();
}

#[tokio::test]
async fn media_follows_its_message_whatever_the_provider_does_sqlite() {
    whatever_the_provider_does(Kind::Sqlite).await;
}

#[tokio::test]
async fn media_follows_its_message_whatever_the_provider_does_postgres() {
    whatever_the_provider_does(Kind::Postgres).await;
}

async fn a_crash_at_any_step(kind: Kind) {
    let mut world = World::new(kind).await;
    let queue = world.fetcher.queue.clone();

    // Noted, and the process ends before it publishes: nothing is fetched before its message.
    queue.add(&[message("ok")]).await.expect("noted");
    assert_eq!(world.rows().await, 1);
    // However long it takes until the provider brings the message again.
    let much_later = Utc::now() + Duration::from_secs(3 * 24 * 3600);
    let due = queue.due_at(much_later, 10).await.expect("read");
    assert!(due.is_empty(), "{due:?}");
    // The provider was told nothing, so it brings the message again.
    world
        .sink
        .publish(vec![message("ok")])
        .await
        .expect("published");
    assert!(matches!(world.event().await.1, Inbound::Received(_)));
    assert_eq!(world.rows().await, 1, "the same message is the same work");

    // Again while it is under way: a retry keeps its wait, and nothing waits for a release that comes no more.
    let due = queue.due(10).await.expect("read");
    let hour = Duration::from_secs(3600);
    queue.later(&due[0], 0, hour).await.expect("noted");
    let added = queue.add(&[message("ok")]).await.expect("noted");
    queue.release(added).await.expect("released");
    assert!(queue.due(10).await.expect("read").is_empty());
    let later = queue.due_at(Utc::now() + 2 * hour, 10).await.expect("read");
    assert_eq!(later.len(), 1);
    make_due(&world).await;

    // Fetched, and the process ends before it tells: the next one tells without fetching again.
    let due = queue.due(10).await.expect("read");
    let mut event = due[0].event.clone();
    event.media.state = MediaState::Failed;
    event.media.failure = Some("noted by the one before".to_owned());
    queue.fetched(&due[0], &event).await.expect("noted");
    let stop = CancellationToken::new();
    world.restarted().start(&stop);
    let (first, told) = world.media().await;
    assert_eq!(told.media, event.media);
    assert_eq!(world.server.hits("ok"), 0);
    world.until_empty().await;
    stop.cancel();

    // Told, and the process ends before it removes the row: the same event again, with the same id.
    queue.add(&[message("ok")]).await.expect("noted");
    make_due(&world).await;
    let due = queue.due(10).await.expect("read");
    queue.fetched(&due[0], &event).await.expect("noted");
    let stop = CancellationToken::new();
    world.restarted().start(&stop);
    assert_eq!(world.media().await.0, first);
    world.until_empty().await;
    stop.cancel();

    // In the middle of a download: it begins anew.
    let stop = CancellationToken::new();
    world.restarted().start(&stop);
    world
        .sink
        .publish(vec![message("hangs-once")])
        .await
        .expect("published");
    assert!(matches!(world.event().await.1, Inbound::Received(_)));
    let begun = async {
        while world.server.hits("hangs-once") == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, begun).await.expect("it begins");
    stop.cancel();
    let stop = CancellationToken::new();
    world.restarted().start(&stop);
    assert_eq!(world.media().await.1.media.state, MediaState::Ready);
    world.until_empty().await;
    stop.cancel();
}

async fn a_batch_is_noted_and_released_at_once(kind: Kind) {
    let world = World::new(kind).await;
    let queue = world.fetcher.queue.clone();
    let first = message("one");
    let Inbound::Received(received) = &first else {
        panic!("not a message");
    };
    // The message and an edit that brings another file: one row, the edit's.
    let edit = Inbound::Edited(MessageEdited {
        origin: received.origin.clone(),
        message_id: received.message_id,
        content: Content::Image(MediaContent {
            media: pending("another"),
            ..MediaContent::default()
        }),
        extra: Map::new(),
    });
    let mut batch = vec![first, edit];
    batch.extend((0..1500).map(|number| message(&format!("of-many-{number}"))));
    let added = queue.add(&batch).await.expect("noted");
    assert_eq!(world.rows().await, 1501);
    assert!(queue.due(2000).await.expect("read").is_empty());
    queue.release(added).await.expect("released");
    let due = queue.due(2000).await.expect("read");
    assert_eq!(due.len(), 1501);
    assert!(due.iter().any(|fetch| fetch.source == "another"));
    assert!(due.iter().all(|fetch| fetch.source != "one"));
}

#[tokio::test]
async fn a_batch_is_noted_and_released_at_once_sqlite() {
    a_batch_is_noted_and_released_at_once(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_batch_is_noted_and_released_at_once_postgres() {
    a_batch_is_noted_and_released_at_once(Kind::Postgres).await;
}

async fn what_nobody_brings_again_is_removed(kind: Kind) {
    let world = World::new(kind).await;
    let queue = world.fetcher.queue.clone();
    let released = queue.add(&[message("released")]).await.expect("noted");
    queue.release(released).await.expect("released");
    let forgotten = queue.add(&[message("forgotten"), message("again")]).await;
    forgotten.expect("noted");
    let old = Utc::now() - Duration::from_secs(3600);
    on!(write &world.database, db => sqlx::query("UPDATE media_fetches SET created_at = $1").bind(old)
        .execute(db).await.map(drop))
    .expect("older");
    // The provider brings this one after all.
    queue.add(&[message("again")]).await.expect("noted");
    let before = Utc::now() - Duration::from_secs(60);
    let removed = remove_unreleased(&world.database, before, 10).await;
    assert_eq!(removed.expect("removed"), 1);
    let left: Vec<String> = on!(read &world.database, db => sqlx::query_scalar(
        "SELECT source FROM media_fetches ORDER BY source").fetch_all(db).await)
    .expect("read");
    assert_eq!(left, ["again", "released"]);
}

#[tokio::test]
async fn what_nobody_brings_again_is_removed_sqlite() {
    what_nobody_brings_again_is_removed(Kind::Sqlite).await;
}

#[tokio::test]
async fn what_nobody_brings_again_is_removed_postgres() {
    what_nobody_brings_again_is_removed(Kind::Postgres).await;
}

#[tokio::test]
async fn media_that_cannot_be_released_is_brought_again() {
    let mut world = World::new(Kind::Sqlite).await;
    let trouble = "CREATE TRIGGER trouble BEFORE UPDATE ON media_fetches \
                   BEGIN SELECT RAISE(ABORT, 'disk trouble'); END";
    for (statement, works) in [(trouble, false), ("DROP TRIGGER trouble", true)] {
        on!(write &world.database, db => sqlx::query(statement).execute(db).await.map(drop))
            .expect("a trigger");
        let result = world.sink.publish(vec![message("ok")]).await;
        assert_eq!(result.is_ok(), works, "{result:?}");
        assert!(matches!(world.event().await.1, Inbound::Received(_)));
        let due = world.fetcher.queue.due(10).await.expect("read");
        assert_eq!(due.len(), usize::from(works));
    }
}

async fn a_row_that_cannot_be_read_stops_no_other(kind: Kind) {
    let world = World::new(kind).await;
    for source in ["torn", "ok"] {
        let published = world.sink.publish(vec![message(source)]).await;
        published.expect("published");
    }
    on!(write &world.database, db => sqlx::query(
        "UPDATE media_fetches SET event = '{\"torn\":' WHERE source = 'torn'")
        .execute(db).await.map(drop))
    .expect("torn");
    let queue = &world.fetcher.queue;
    let due = queue.due(10).await.expect("read");
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].source, "ok");
    // It takes no place among those that are due, and stays for whoever can read it.
    assert_eq!(queue.due(1).await.expect("read").len(), 1);
    assert_eq!(world.rows().await, 2);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_no_other_sqlite() {
    a_row_that_cannot_be_read_stops_no_other(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_stops_no_other_postgres() {
    a_row_that_cannot_be_read_stops_no_other(Kind::Postgres).await;
}

async fn make_due(world: &World) {
    on!(write &world.database, db => sqlx::query("UPDATE media_fetches SET due_at = created_at")
        .execute(db).await.map(drop))
    .expect("due");
}

#[tokio::test]
async fn a_crash_at_any_step_loses_and_doubles_nothing_sqlite() {
    a_crash_at_any_step(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_crash_at_any_step_loses_and_doubles_nothing_postgres() {
    a_crash_at_any_step(Kind::Postgres).await;
}

#[tokio::test]
async fn nothing_is_published_that_could_be_forgotten() {
    let mut world = World::new(Kind::Sqlite).await;
    world.database.close().await;
    let error = world
        .sink
        .publish(vec![message("ok")])
        .await
        .expect_err("no list");
    assert!(error.0.contains("database"), "{error}");
    let depth = world.bus.depth(&Lane::Inbound(0)).await.expect("a depth");
    assert_eq!(depth, 0, "so nothing is acknowledged either");
    assert!(
        timeout(Duration::from_millis(50), world.inbox.next())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn without_a_store_the_message_says_why_nothing_is_there() {
    let mut world = World::new(Kind::Sqlite).await;
    let fetcher = Fetcher {
        shelf: None,
        ..world.restarted()
    };
    let stop = CancellationToken::new();
    fetcher.start(&stop);
    world
        .sink
        .publish(vec![message("ok")])
        .await
        .expect("published");
    assert!(matches!(world.event().await.1, Inbound::Received(_)));
    let failure = world.media().await.1.media.failure.expect("a reason");
    assert!(failure.contains("media.url"), "{failure}");
    stop.cancel();
}
