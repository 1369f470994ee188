//! What only the embedded bus has: one file, one owner, a disk that can be full.

mod kit;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use kit::*;
use tributary_bus::{
    Bus, BusState, DeadId, DeadLetter, EmbeddedBus, Lane, Notice, PublishError,
    embedded::{OpenError, Options},
};

const LANE: Lane = Lane::Inbound(0);

/// Set in a process that plays a part for one of the tests: the path of its file.
const PART: &str = "TRIBUTARY_TEST_PART";

/// Starts this program again to run only `test`, which then plays its part.
fn play(test: &str, file: &Path, before: &str) -> Child {
    let program = std::env::current_exe().expect("this program");
    Command::new("bash")
        .arg("-c")
        .arg(format!("{before} exec \"$0\" \"$@\""))
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PART, file)
        .stdout(Stdio::null())
        .spawn()
        .expect("bash starts")
}

fn part() -> Option<std::path::PathBuf> {
    std::env::var_os(PART).map(Into::into)
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let (dir, bus) = bus().await;
    let path = dir.path().join("bus.db");
    let Err(refusal) = EmbeddedBus::open(&path).await else {
        panic!("opened twice");
    };
    assert!(matches!(refusal, OpenError::InUse(_)));
    let text = refusal.to_string();
    assert!(text.contains("another tributary process uses"), "{text}");
    bus.close().await;
    let again = EmbeddedBus::open(&path).await.expect("free again");
    again.close().await;
}

#[tokio::test]
async fn management_needs_a_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let missing = EmbeddedBus::open_for_management(&dir.path().join("bus.db")).await;
    assert!(matches!(missing, Err(OpenError::Missing(_))));
}

/// Takes three, settles one, and waits to be killed.
#[tokio::test]
async fn a_killed_process_loses_nothing() {
    if let Some(path) = part() {
        let bus = EmbeddedBus::open(&path).await.expect("opens");
        bus.declare(&[plain(&LANE)]).await.expect("declared");
        publish_numbers(&*bus, &LANE, "a", 0..6).await;
        let mut claim = claim(&*bus, &LANE).await;
        let mut intake = claim.take(3).await.expect("taken");
        let taken = take(&mut intake, 3).await;
        intake.settle(&[taken[1].0]).await.expect("settled");
        std::fs::write(path.with_extension("ready"), "").expect("written");
        std::future::pending::<()>().await;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("bus.db");
    let mut child = play("a_killed_process_loses_nothing", &path, "");
    eventually("the part is played", || async {
        path.with_extension("ready").exists()
    })
    .await;
    child.kill().expect("killed");
    child.wait().expect("gone");

    let bus = reopen(&dir).await;
    let mut claim = claim(&*bus, &LANE).await;
    let mut intake = claim.take(10).await.expect("taken");
    let taken = take(&mut intake, 5).await;
    let seen: Vec<(u32, usize)> = taken.iter().map(|(_, again, n)| (*again, *n)).collect();
    // The second was settled; the fourth may have been read ahead but was never handed out.
    assert_eq!(seen, [(1, 0), (1, 2), (0, 3), (0, 4), (0, 5)]);
    assert!(is_quiet(&mut intake).await);
}

#[tokio::test]
async fn a_closed_bus_counts_what_it_had_handed_out() {
    let (dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..4).await;
    let mut owned = claim(&*bus, &LANE).await;
    let mut intake = owned.take(2).await.expect("taken");
    take(&mut intake, 2).await;
    let lease = owned.lease();
    assert!(lease.is_fresh());
    bus.close().await;
    assert!(!lease.is_fresh());
    intake.next().await.expect_err("closed");
    drop((intake, owned, bus));

    let bus = reopen(&dir).await;
    let mut claim = claim(&*bus, &LANE).await;
    let mut intake = claim.take(10).await.expect("taken");
    let counts: Vec<u32> = take(&mut intake, 4).await.iter().map(|t| t.1).collect();
    assert_eq!(counts, [1, 1, 0, 0]);
}

#[tokio::test]
async fn a_dropped_intake_gives_back_in_order() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..10).await;
    let mut claim = claim(&*bus, &LANE).await;
    for round in 0..3 {
        let mut intake = claim.take(4).await.expect("taken");
        let taken = take(&mut intake, 4).await;
        assert!(is_quiet(&mut intake).await, "more than the prefetch");
        for (n, (_, again, number)) in taken.iter().enumerate() {
            assert_eq!((*again, *number), (round, n));
        }
        drop(intake);
    }
}

/// Publishes until the bus says that it is full; answers how many were confirmed.
async fn fill(bus: &EmbeddedBus) -> usize {
    let words = "w".repeat(2_000);
    for n in 0..100_000 {
        let mut envelope = envelope("a", n);
        envelope
            .extensions
            .insert("words".to_owned(), words.clone().into());
        match bus.publish(vec![to(&LANE, envelope)]).await.remove(0) {
            Ok(()) => {}
            Err(PublishError::NotPublished(reason)) => {
                assert!(reason.contains("disk"), "{reason}");
                return n;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never full");
}

fn is_ready(bus: &EmbeddedBus) -> bool {
    *bus.state().borrow() == BusState::Ready
}

#[tokio::test]
async fn a_full_file_refuses_keeps_and_recovers() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = Options {
        max_bytes: Some(1_000_000),
    };
    let bus = EmbeddedBus::open_with(&dir.path().join("bus.db"), options)
        .await
        .expect("opens");
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    let confirmed = fill(&bus).await;
    assert!(confirmed > 100, "only {confirmed} fit");
    let state = bus.state().borrow().clone();
    assert!(
        matches!(&state, BusState::Blocked { reason } if reason.contains("full")),
        "{state:?}"
    );
    assert_eq!(bus.depth(&LANE).await.expect("depth"), confirmed as u64);

    // What is in it can be worked off, and that makes room.
    let mut claim = claim(&*bus, &LANE).await;
    let mut intake = claim.take(1_000).await.expect("taken");
    let taken = take(&mut intake, confirmed).await;
    for (n, (_, _, number)) in taken.iter().enumerate() {
        assert_eq!(n, *number);
    }
    assert!(is_quiet(&mut intake).await, "unconfirmed ones were kept");
    let tags: Vec<_> = taken.iter().map(|t| t.0).collect();
    intake.settle(&tags).await.expect("settled");
    eventually("ready again", || async { is_ready(&bus) }).await;
    publish_numbers(&*bus, &LANE, "a", 7..8).await;
    assert_eq!(take(&mut intake, 1).await[0].2, 7);
}

/// The system refuses to let files grow, as a used-up disk does: real failing writes at any place of SQLite's own.
#[tokio::test]
async fn a_used_up_disk_loses_nothing() {
    if let Some(path) = part() {
        let bus = EmbeddedBus::open(&path).await.expect("opens");
        bus.declare(&[plain(&LANE)]).await.expect("declared");
        let confirmed = fill_disk(&bus).await;
        assert!(!is_ready(&bus), "full and yet ready");
        assert_eq!(bus.depth(&LANE).await.expect("depth"), confirmed as u64);
        // Somebody frees space.
        let status = Command::new("prlimit")
            .args(["--fsize=unlimited", "--pid"])
            .arg(std::process::id().to_string())
            .status();
        assert!(status.expect("prlimit runs").success());
        eventually("ready again", || async { is_ready(&bus) }).await;
        publish_numbers(&*bus, &LANE, "a", confirmed..confirmed + 1).await;
        std::fs::write(path.with_extension("ready"), confirmed.to_string()).expect("written");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("bus.db");
    let full = "trap '' XFSZ; ulimit -S -f 3000;";
    let mut child = play("a_used_up_disk_loses_nothing", &path, full);
    let status = tokio::task::spawn_blocking(move || child.wait());
    let status = status.await.expect("joined").expect("waited");
    assert!(status.success(), "the part failed");
    let confirmed = std::fs::read_to_string(path.with_extension("ready")).expect("written");
    let confirmed: usize = confirmed.parse().expect("a number");

    let bus = reopen(&dir).await;
    let mut claim = claim(&*bus, &LANE).await;
    let mut intake = claim.take(u16::MAX).await.expect("taken");
    let taken = take(&mut intake, confirmed + 1).await;
    for (n, (_, _, number)) in taken.iter().enumerate() {
        assert_eq!(n, *number);
    }
    assert!(is_quiet(&mut intake).await);
}

/// Like [`fill`]; the error may also be one of an unknown outcome, which then must turn out as not published, since
/// the process lives on.
async fn fill_disk(bus: &EmbeddedBus) -> usize {
    let words = "w".repeat(2_000);
    for n in 0..100_000 {
        let mut envelope = envelope("a", n);
        envelope
            .extensions
            .insert("words".to_owned(), words.clone().into());
        if let Err(error) = bus.publish(vec![to(&LANE, envelope)]).await.remove(0) {
            assert!(!matches!(error, PublishError::NoLane(_)), "{error}");
            return n;
        }
    }
    panic!("never full");
}

fn letter(lane: &Lane, n: usize) -> DeadLetter {
    DeadLetter {
        id: DeadId(uuid::Uuid::new_v4()),
        lane: lane.clone(),
        reason: format!("reason {n}"),
        at: chrono::Utc::now(),
        body: Bytes::from(envelope("a", n).to_bytes().expect("JSON")),
    }
}

#[tokio::test]
async fn another_process_manages_the_file_in_use() {
    let (dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    let mut claim = claim(&*bus, &LANE).await;
    let mut intake = claim.take(10).await.expect("taken");
    let beside = EmbeddedBus::open_for_management(&dir.path().join("bus.db"))
        .await
        .expect("opens beside");

    let letters = vec![letter(&LANE, 1), letter(&LANE, 2)];
    bus.bury(letters.clone()).await.expect("buried");
    bus.bury(letters.clone())
        .await
        .expect("buried once more changes nothing");
    let listed = beside.dead(10).await.expect("listed");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].reason, "reason 1");
    assert_eq!(listed[0].body, letters[0].body);
    assert_eq!(beside.dead(1).await.expect("listed").len(), 1);

    assert!(beside.replay(letters[0].id).await.expect("replayed"));
    assert!(!beside.replay(letters[0].id).await.expect("gone"));
    // The owner notices without being told.
    assert_eq!(take(&mut intake, 1).await[0].2, 1);
    assert_eq!(beside.depth(&LANE).await.expect("depth"), 1);

    let mut moved = beside.tail(&[]).await.expect("watches");
    publish_numbers(&*bus, &LANE, "a", 5..6).await;
    let copy = tokio::time::timeout(PATIENCE, moved.next())
        .await
        .expect("a copy in time")
        .expect("an open stream");
    assert_eq!(copy.to, "inbound.0");
    let seen = tributary_bus::Envelope::parse(&copy.body).expect("an envelope");
    assert_eq!(number(&seen), 5);

    let refused = beside.publish(vec![to(&LANE, envelope("a", 9))]).await;
    assert!(matches!(refused[..], [Err(PublishError::NotPublished(_))]));
    beside
        .join(&tributary_bus::Group::Router)
        .await
        .err()
        .expect("refused");
}

#[tokio::test]
async fn replaying_into_a_removed_lane_keeps_the_letter() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    let dead = letter(&LANE, 1);
    bus.bury(vec![dead.clone()]).await.expect("buried");
    bus.remove(&LANE).await.expect("removed");
    let refusal = bus.replay(dead.id).await.expect_err("no lane");
    assert!(refusal.to_string().contains("inbound.0"), "{refusal}");
    assert_eq!(bus.dead(10).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn concurrent_publishers_share_commits() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    let begun = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..100 {
        let bus = Arc::clone(&bus);
        tasks.spawn(async move {
            for n in 0..20 {
                publish_numbers(&*bus, &LANE, &format!("k{task}"), n..n + 1).await;
            }
        });
    }
    tasks.join_all().await;
    let rate = 2_000.0 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} publications per second");
    assert_eq!(bus.depth(&LANE).await.expect("depth"), 2_000);
    // One commit each would be at most 1,600 per second here; this bound only catches a lost group commit on any disk.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_listener_who_missed_notices_learns_it() {
    let (_dir, bus) = bus().await;
    let mut slow = bus.notices().await.expect("listens");
    let notice = Notice {
        topic: "any".to_owned(),
        body: Bytes::new(),
    };
    for _ in 0..5_000 {
        bus.announce(notice.clone()).await.expect("announced");
    }
    assert_eq!(slow.next().await, None);
    let mut again = bus.notices().await.expect("listens");
    bus.announce(notice.clone()).await.expect("announced");
    assert_eq!(again.next().await, Some(notice));
}

#[tokio::test]
async fn intakes_that_nobody_waits_for_hold_up_no_reads_and_no_close() {
    let (_dir, bus) = bus().await;
    let lanes: Vec<Lane> = (0..8).map(Lane::Inbound).collect();
    for lane in &lanes {
        bus.declare(&[plain(lane)]).await.expect("declared");
        publish_numbers(&*bus, lane, "a", 0..2).await;
    }
    let mut held = Vec::new();
    for lane in &lanes {
        let mut claim = claim(&*bus, lane).await;
        let mut intake = claim.take(1).await.expect("taken");
        // It begins to read, and then its lane is busy with something else.
        assert!(intake.next().now_or_never().is_none());
        held.push((claim, intake));
    }
    let soon = Duration::from_secs(10);
    for lane in &lanes {
        let depth = tokio::time::timeout(soon, bus.depth(lane)).await;
        assert_eq!(depth.expect("it is read").expect("depth"), 2);
    }
    assert_eq!(take(&mut held[0].1, 1).await[0].2, 0);
    tokio::time::timeout(soon, bus.close())
        .await
        .expect("closed");
}
