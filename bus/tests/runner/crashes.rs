//! Messages that end their workers.

use std::{sync::Arc, time::Duration};

use tributary_bus::{Bus, LaneEnd};

use crate::{
    LANE,
    kit::{scripted::*, *},
    numbers,
};

/// Hands out the first `count` messages and drops them, as a crash does.
async fn crash(bus: &dyn Bus, count: u16) {
    let mut claim = claim(bus, &LANE).await;
    let mut intake = claim.take(count).await.expect("taken");
    take(&mut intake, usize::from(count)).await;
}

#[tokio::test]
async fn a_message_that_ends_its_workers_is_dead() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..4).await;
    publish_numbers(&*bus, &LANE, "b", 0..4).await;
    for _ in 0..3 {
        crash(&*bus, 4).await;
    }
    for _ in 0..2 {
        crash(&*bus, 1).await;
    }
    let handler = Arc::new(Scripted::new(|_| done()).takes(Duration::from_millis(5)));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;
    assert_eq!(handler.done()["a"], [1, 2, 3], "its neighbours live");
    assert_eq!(handler.done()["b"], numbers(0..4));
    let letters = bus.dead(10).await.expect("listed");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "handed out 5 times without an outcome");
}

#[tokio::test]
async fn only_the_first_is_dead_when_all_were_counted() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..4).await;
    // RabbitMQ counts everything that a consumer had ahead.
    for _ in 0..5 {
        crash(&*bus, 4).await;
    }
    let handler = Arc::new(Scripted::new(|_| done()));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;
    assert_eq!(handler.done()["a"], [1, 2, 3], "its neighbours live");
    assert_eq!(bus.dead(10).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn suspects_are_taken_alone() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    for key in 0..10 {
        publish_numbers(&*bus, &LANE, &format!("k{key}"), 0..1).await;
    }
    for _ in 0..3 {
        crash(&*bus, 5).await;
    }
    let handler = Arc::new(Scripted::new(|_| done()).closed());
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    eventually("it runs", || async { handler.running() == 1 }).await;
    // This process is gone as well; only the one that ran is counted with it.
    run.stop.cancel();
    assert_eq!(run.end().await, LaneEnd::Stopped);
    let mut claim = claim(&*bus, &LANE).await;
    let mut intake = claim.take(50).await.expect("taken");
    let counts: Vec<u32> = take(&mut intake, 10).await.iter().map(|t| t.1).collect();
    assert_eq!(counts, [4, 3, 3, 3, 3, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn an_old_message_may_have_been_given_back_often() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    let mut patient = envelope("a", 0);
    patient.time = chrono::Utc::now() - chrono::TimeDelta::minutes(10);
    publish(&*bus, vec![to(&LANE, patient)]).await;
    for _ in 0..9 {
        crash(&*bus, 1).await;
    }
    let handler = Arc::new(Scripted::new(|_| done()));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;
    assert_eq!(handler.done()["a"], [0]);
}
