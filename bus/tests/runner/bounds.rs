//! How much is in flight, for how long, and what becomes of it at the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tributary_bus::{
    AttemptLog, BusError, Claim, Intake, LaneEnd, LaneRun, Lease, Policy, Tag, Taken, run_lane,
};

use crate::{
    LANE,
    kit::{scripted::*, *},
    numbers,
};

#[tokio::test]
async fn prefetch_and_concurrency_bound_what_is_in_flight() {
    for (prefetch, concurrency, most) in [(5, 100, 5), (100, 7, 7)] {
        let (_dir, bus) = bus().await;
        bus.declare(&[plain(&LANE)]).await.expect("declared");
        for key in 0..40 {
            publish_numbers(&*bus, &LANE, &format!("k{key}"), 0..1).await;
        }
        let handler = Arc::new(Scripted::new(|_| done()).takes(Duration::from_millis(50)));
        let bounds = Policy {
            prefetch,
            concurrency,
            ..policy()
        };
        let run = Run::start(&bus, &LANE, &handler, bounds).await;
        worked_off(&*bus, &LANE).await;
        run.stop().await;
        assert_eq!(handler.most.load(Ordering::SeqCst), most);
    }
}

#[tokio::test]
async fn what_is_held_too_long_is_given_back_in_order() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..6).await;
    publish_numbers(&*bus, &LANE, "b", 0..6).await;
    let handler = Arc::new(Scripted::new(|work| {
        let n = number(&work.envelope);
        match work.envelope.subject.as_deref() {
            // Longer than anything may be held, three times.
            Some("a") if n == 2 && work.attempt < 4 => retry(350),
            Some("b") if n == 3 && work.redeliveries < 2 => pause(500),
            _ => done(),
        }
    }));
    let mut policy = policy();
    policy.hold_limit = Duration::from_millis(200);
    let run = Run::start(&bus, &LANE, &handler, policy).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;

    assert_eq!(handler.done()["a"], numbers(0..6));
    assert_eq!(handler.done()["b"], numbers(0..6));
    let seen = handler.seen();
    let tries: Vec<_> = seen.iter().filter(|s| s.key == "a" && s.n == 2).collect();
    let attempts: Vec<u32> = tries.iter().map(|s| s.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4], "tries are remembered");
    for pair in tries.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(350));
    }
    assert!(tries[3].redeliveries >= 2, "it was never given back");
    assert!(bus.dead(1).await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_stop_lets_work_in_flight_finish_and_returns_the_rest() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..10).await;
    let handler = Arc::new(Scripted::new(|_| done()).takes(Duration::from_millis(100)));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    eventually("the second runs", || async {
        handler.count() == 1 && handler.running() == 1
    })
    .await;
    run.stop().await;
    let done = handler.count();
    assert_eq!(done, 2, "the one in flight is finished, no other begun");

    let mut claim = claim(&*bus, &LANE).await;
    let mut intake = claim.take(50).await.expect("taken");
    let left: Vec<usize> = take(&mut intake, 8).await.iter().map(|t| t.2).collect();
    assert_eq!(left, numbers(2..10));
    assert!(is_quiet(&mut intake).await);
}

#[tokio::test]
async fn work_that_does_not_finish_is_broken_off() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..2).await;
    let handler = Arc::new(Scripted::new(|_| done()).closed());
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    eventually("it runs", || async { handler.running() == 1 }).await;
    let begun = Instant::now();
    run.stop().await;
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert_eq!(
        handler.running(),
        0,
        "it goes on after the lane was given back"
    );
    assert_eq!(bus.depth(&LANE).await.expect("depth"), 2);
}

#[tokio::test]
async fn a_lost_lane_is_not_settled() {
    let (dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..3).await;
    let handler = Arc::new(Scripted::new(|_| done()).closed());
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    eventually("it runs", || async { handler.running() == 1 }).await;
    bus.close().await;
    handler.gate.cancel();
    assert_eq!(run.end().await, LaneEnd::Lost);
    drop(bus);
    let bus = reopen(&dir).await;
    assert_eq!(bus.depth(&LANE).await.expect("depth"), 3);
}

/// A claim whose bus waits for a message that its first intake never hands out.
struct Ahead {
    inner: Box<dyn Claim>,
    takes: Arc<AtomicUsize>,
}

struct AheadIntake {
    inner: Box<dyn Intake>,
    since: Option<Instant>,
}

#[async_trait]
impl Claim for Ahead {
    fn lease(&self) -> Lease {
        self.inner.lease()
    }

    async fn take(&mut self, prefetch: u16) -> Result<Box<dyn Intake>, BusError> {
        let is_first = self.takes.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(Box::new(AheadIntake {
            inner: self.inner.take(prefetch).await?,
            since: is_first.then(Instant::now),
        }))
    }

    fn attempts(&self) -> Box<dyn AttemptLog> {
        self.inner.attempts()
    }

    async fn release(self: Box<Self>) -> Result<(), BusError> {
        self.inner.release().await
    }
}

#[async_trait]
impl Intake for AheadIntake {
    async fn next(&mut self) -> Result<Taken, BusError> {
        self.inner.next().await
    }

    fn out(&self) -> usize {
        self.inner.out()
    }

    fn waiting_since(&self) -> Option<Instant> {
        self.since
    }

    async fn settle(&mut self, tags: &[Tag]) -> Result<(), BusError> {
        self.inner.settle(tags).await
    }

    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}

#[tokio::test]
async fn what_the_bus_waits_for_is_given_back_although_it_was_never_handed_out() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    let takes = Arc::new(AtomicUsize::new(0));
    let mut claim = Ahead {
        inner: claim(&*bus, &LANE).await,
        takes: Arc::clone(&takes),
    };
    let stop = CancellationToken::new();
    let run = LaneRun {
        bus: Arc::clone(&bus),
        lane: LANE,
        handler: Arc::new(Scripted::new(|_| done())),
        policy: Policy {
            hold_limit: Duration::from_millis(300),
            ..policy()
        },
        drain_deadline: Duration::from_secs(2),
    };
    let told = stop.clone();
    let task = tokio::spawn(async move { run_lane(&mut claim, run, told).await });
    eventually("it is taken again", || async {
        takes.load(Ordering::SeqCst) == 2
    })
    .await;
    stop.cancel();
    assert_eq!(task.await.expect("no panic"), LaneEnd::Stopped);
}
