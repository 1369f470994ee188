//! Messages that were handed out suspiciously often. What makes them dead is in `tests/crashes.rs`.

use std::{sync::Arc, time::Duration};

use tributary_bus::{Bus, LaneEnd, Policy};

use crate::{
    LANE,
    kit::{scripted::*, *},
    numbers,
};

/// Hands out the first `count` messages and drops them, as a change of owner does.
async fn hand_out(bus: &dyn Bus, count: u16) {
    let mut claim = claim(bus, &LANE).await;
    let mut intake = claim.take(count).await.expect("taken");
    take(&mut intake, usize::from(count)).await;
}

#[tokio::test]
async fn being_handed_out_often_is_no_evidence() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..4).await;
    publish_numbers(&*bus, &LANE, "b", 0..4).await;
    for count in [4, 4, 4, 4, 4, 1, 1, 8, 8, 2] {
        hand_out(&*bus, count).await;
    }
    let handler = Arc::new(Scripted::new(|_| done()).takes(Duration::from_millis(5)));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;
    assert_eq!(handler.done()["a"], numbers(0..4));
    assert_eq!(handler.done()["b"], numbers(0..4));
    assert!(bus.dead(10).await.expect("listed").is_empty());
}

#[tokio::test]
async fn suspects_are_handled_alone_and_the_others_together() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    for key in 0..10 {
        publish_numbers(&*bus, &LANE, &format!("k{key}"), 0..1).await;
    }
    for _ in 0..3 {
        hand_out(&*bus, 5).await;
    }
    let handler = Arc::new(Scripted::new(|_| done()).takes(Duration::from_millis(300)));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    eventually("the suspects are handled", || async {
        handler.count() == 5
    })
    .await;
    let most = || handler.most.load(std::sync::atomic::Ordering::SeqCst);
    let keys: Vec<String> = handler.seen().into_iter().map(|seen| seen.key).collect();
    assert_eq!(keys, ["k0", "k1", "k2", "k3", "k4"]);
    worked_off(&*bus, &LANE).await;
    run.stop().await;
    assert_eq!(most(), 5, "the others at once");
    let mut ends: Vec<_> = handler.seen().iter().take(5).map(|seen| seen.at).collect();
    ends.dedup_by(|later, earlier| *later - *earlier < Duration::from_millis(250));
    assert_eq!(ends.len(), 5, "one after the other");
}

#[tokio::test]
async fn a_suspect_does_not_stop_its_lane_when_it_waits_or_takes_long() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    for key in 0..3 {
        publish_numbers(&*bus, &LANE, &format!("k{key}"), 0..1).await;
    }
    for _ in 0..3 {
        hand_out(&*bus, 2).await;
    }
    let slow = Arc::new(Scripted::new(|_| done()).closed());
    let two = Policy {
        concurrency: 3,
        ..policy()
    };
    let run = Run::start(&bus, &LANE, &slow, two).await;
    // The first is trusted after a while, although it has no outcome; then the second is alone.
    eventually("the second is handled", || async { slow.running() == 2 }).await;
    eventually("the third is handled", || async { slow.running() == 3 }).await;
    run.stop.cancel();
    assert_eq!(run.end().await, LaneEnd::Stopped);
    slow.gate.cancel();
    let run = Run::start(&bus, &LANE, &slow, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;
    assert_eq!(slow.done().len(), 3);
    assert!(bus.dead(10).await.expect("listed").is_empty());
}
