//! What becomes of messages by what the handler says.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tributary_bus::{
    Bus, DeadId, DeadLetter, Envelope, Handler, LaneEnd, LaneRun, Lease, Outcome, Work, run_lane,
};

use crate::{
    LANE,
    kit::{scripted::*, *},
    numbers,
};

#[tokio::test]
async fn a_key_waits_in_order_while_others_go_on() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "slow", 0..5).await;
    publish_numbers(&*bus, &LANE, "quick", 0..20).await;
    let handler = Arc::new(Scripted::new(|work| {
        let slow = work.envelope.subject.as_deref() == Some("slow");
        if slow && number(&work.envelope) == 1 && work.attempt < 4 {
            return retry(100);
        }
        done()
    }));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;

    let done = handler.done();
    assert_eq!(done["slow"], numbers(0..5));
    assert_eq!(done["quick"], numbers(0..20));
    let seen = handler.seen();
    let tries: Vec<_> = seen
        .iter()
        .filter(|s| s.key == "slow" && s.n == 1)
        .collect();
    let attempts: Vec<u32> = tries.iter().map(|s| s.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    for pair in tries.windows(2) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= Duration::from_millis(100), "{waited:?}");
    }
    let last_quick = seen.iter().rposition(|s| s.key == "quick");
    let third_try = seen.iter().position(|s| s.key == "slow" && s.attempt == 3);
    assert!(last_quick < third_try, "the others waited as well");
}

#[tokio::test]
async fn a_pause_stops_the_lane_and_resumes_in_place() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    for key in 0..10 {
        publish_numbers(&*bus, &LANE, &format!("k{key}"), 0..3).await;
    }
    let limited = Mutex::new(None::<Instant>);
    let handler = Arc::new(Scripted::new(move |work| {
        let mut limited = limited.lock().expect("lock");
        let due = work.envelope.subject.as_deref() == Some("k4") && number(&work.envelope) == 1;
        if due && limited.is_none() {
            *limited = Some(Instant::now());
            return pause(300);
        }
        done()
    }));
    let mut policy = policy();
    policy.concurrency = 3;
    let run = Run::start(&bus, &LANE, &handler, policy).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;

    let seen = handler.seen();
    let paused = seen
        .iter()
        .position(|s| matches!(s.outcome, Outcome::Pause { .. }))
        .expect("paused");
    let resumed = seen
        .iter()
        .skip(paused + 1)
        .position(|s| s.at - seen[paused].at >= Duration::from_millis(300))
        .expect("resumed")
        + paused
        + 1;
    assert!(resumed - paused <= 3, "only what was in flight goes on");
    assert_eq!((seen[resumed].key.as_str(), seen[resumed].n), ("k4", 1));
    assert_eq!(seen[resumed].attempt, 1, "a pause is no try");
    for numbers_done in handler.done().into_values() {
        assert_eq!(numbers_done, numbers(0..3));
    }
}

#[tokio::test]
async fn used_up_attempts_and_age_are_told_to_the_handler() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..1).await;
    let mut old = envelope("b", 1);
    old.time = chrono::Utc::now() - chrono::TimeDelta::hours(2);
    publish(&*bus, vec![to(&LANE, old), to(&LANE, envelope("b", 2))]).await;
    let again = Mutex::new(HashSet::new());
    let handler = Arc::new(
        Scripted::new(|work| {
            if number(&work.envelope) == 0 {
                retry(1)
            } else {
                done()
            }
        })
        // The first answer of each may say that not even that is possible right now.
        .last_words(move |work| {
            if again.lock().expect("lock").insert(work.envelope.id) {
                retry(1)
            } else if number(&work.envelope) == 0 {
                done()
            } else {
                dead()
            }
        }),
    );
    let mut policy = policy();
    policy.max_attempts = 3;
    let run = Run::start(&bus, &LANE, &handler, policy).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;

    let tries: Vec<usize> = handler.seen().iter().map(|s| s.n).collect();
    assert_eq!(tries.iter().filter(|n| **n == 0).count(), 3);
    assert!(!tries.contains(&1), "too old before its first try");
    assert!(tries.contains(&2));
    let told = handler.exhausted.lock().expect("lock").clone();
    assert!(told.contains(&(0, "gave up after 3 tries: not now".to_owned())));
    assert!(told.contains(&(1, "too old: it waited for too long".to_owned())));
    assert_eq!(told.len(), 4, "{told:?}");
    let letters = bus.dead(10).await.expect("listed");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "never");
}

#[tokio::test]
async fn the_dead_are_kept_whole_and_the_rest_goes_on() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    // The bus takes only envelopes; a broken message comes in as a replayed letter.
    let broken = DeadLetter {
        id: DeadId(uuid::Uuid::new_v4()),
        lane: LANE,
        reason: "test".to_owned(),
        at: chrono::Utc::now(),
        body: Bytes::from_static(b"{\"specversion\": \"0.3\"}"),
    };
    bus.bury(vec![broken.clone()]).await.expect("buried");
    assert!(bus.replay(broken.id).await.expect("replayed"));
    publish_numbers(&*bus, &LANE, "a", 0..4).await;
    let handler = Arc::new(Scripted::new(|work| {
        if number(&work.envelope) == 2 {
            dead()
        } else {
            done()
        }
    }));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;

    assert_eq!(handler.done()["a"], [0, 1, 3]);
    let letters = bus.dead(10).await.expect("listed");
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].body, broken.body);
    assert!(letters[0].reason.contains("not an envelope"));
    assert_eq!(
        (letters[1].reason.as_str(), &letters[1].lane),
        ("never", &LANE)
    );
}

#[tokio::test]
async fn a_handler_that_panics_kills_no_lane() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..30).await;
    let handler = Arc::new(
        Scripted::new(|work| {
            assert_ne!(number(&work.envelope), 17, "this panic is part of the test");
            done()
        })
        .batch(10),
    );
    let mut policy = policy();
    policy.crash_limit = 3;
    let run = Run::start(&bus, &LANE, &handler, policy).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;

    // Those before it in its batch were tried, and possibly done, more than once; nobody else died.
    let mut all = handler.done()["a"].clone();
    all.dedup();
    let unique: HashSet<usize> = all.iter().copied().collect();
    assert_eq!(unique.len(), 29);
    let letters = bus.dead(10).await.expect("listed");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "its handler panicked 3 times");
}

#[tokio::test]
async fn batches_are_of_one_key_and_end_at_the_first_retry() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    for n in 0..40 {
        let key = if n % 2 == 0 { "even" } else { "odd" };
        publish(&*bus, vec![to(&LANE, envelope(key, n))]).await;
    }
    let handler = Arc::new(
        Scripted::new(|work| {
            if number(&work.envelope) == 8 && work.attempt == 1 {
                retry(20)
            } else {
                done()
            }
        })
        .batch(7)
        .takes(Duration::from_millis(5)),
    );
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;

    let seen = handler.seen();
    let calls = seen.last().expect("something was handled").call + 1;
    let mut sizes = Vec::new();
    for call in 0..calls {
        let batch: Vec<_> = seen.iter().filter(|s| s.call == call).collect();
        assert!(batch.iter().all(|s| s.key == batch[0].key));
        assert!(batch.windows(2).all(|pair| pair[0].n < pair[1].n));
        sizes.push(batch.len());
    }
    assert_eq!(sizes.iter().max(), Some(&7));
    // What came after 8 in its batch was done, and yet is done again after it.
    let evens = &handler.done()["even"];
    let first_8 = evens.iter().position(|n| *n == 8).expect("done");
    let after: Vec<usize> = evens[first_8..].to_vec();
    assert_eq!(after, (8..40).step_by(2).collect::<Vec<_>>());
    assert!(
        evens[..first_8].contains(&10),
        "no batch with 8 and 10: {evens:?}"
    );
    let tries = seen.iter().filter(|s| s.n == 10).map(|s| s.attempt);
    assert!(tries.into_iter().all(|attempt| attempt == 1));
}

#[tokio::test]
async fn an_answer_too_short_is_a_retry() {
    struct Forgetful(Arc<Scripted>);
    // Only through a batch: the handler forgets the outcome of the last message the first time.
    #[async_trait::async_trait]
    impl tributary_bus::Handler for Forgetful {
        fn key(&self, envelope: &tributary_bus::Envelope) -> String {
            self.0.key(envelope)
        }
        fn batch(&self) -> usize {
            5
        }
        async fn handle(
            &self,
            batch: Vec<tributary_bus::Work>,
            lease: &tributary_bus::Lease,
        ) -> Vec<Outcome> {
            let first = batch.iter().all(|work| work.attempt == 1);
            let mut outcomes = self.0.handle(batch, lease).await;
            if first {
                outcomes.pop();
            }
            outcomes
        }
    }
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..12).await;
    let handler = Arc::new(Scripted::new(|_| done()));
    let mut claim = claim(&*bus, &LANE).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let run = tributary_bus::LaneRun {
        bus: Arc::clone(&bus),
        lane: LANE,
        handler: Arc::new(Forgetful(Arc::clone(&handler))),
        policy: policy(),
        drain_deadline: Duration::from_secs(2),
    };
    let told = stop.clone();
    let task = tokio::spawn(async move { tributary_bus::run_lane(&mut *claim, run, told).await });
    worked_off(&*bus, &LANE).await;
    stop.cancel();
    assert_eq!(task.await.expect("no panic"), LaneEnd::Stopped);
    let unique: HashSet<usize> = handler.done()["a"].iter().copied().collect();
    assert_eq!(unique.len(), 12);
}

/// Refuses the first report of each letter, and notes what there was among the dead letters at each.
struct Reporting {
    bus: Arc<dyn Bus>,
    reports: Mutex<Vec<(String, usize)>>,
}

#[async_trait::async_trait]
impl Handler for Reporting {
    fn key(&self, envelope: &Envelope) -> String {
        envelope.id.to_string()
    }

    async fn handle(&self, batch: Vec<Work>, _: &Lease) -> Vec<Outcome> {
        batch.iter().map(|_| dead()).collect()
    }

    async fn buried(&self, letter: &DeadLetter, _: &Lease) -> Result<(), String> {
        let there = self.bus.dead(10).await.expect("listed").len();
        let mut reports = self.reports.lock().expect("no test panics in here");
        reports.push((letter.reason.clone(), there));
        match reports.len() {
            1 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn what_becomes_a_dead_letter_is_reported_before() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    publish_numbers(&*bus, &LANE, "a", 0..1).await;
    let handler = Arc::new(Reporting {
        bus: Arc::clone(&bus),
        reports: Mutex::default(),
    });
    let mut claim = claim(&*bus, &LANE).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let run = LaneRun {
        bus: Arc::clone(&bus),
        lane: LANE,
        handler: Arc::<Reporting>::clone(&handler),
        policy: policy(),
        drain_deadline: Duration::from_secs(2),
    };
    let told = stop.clone();
    let running = tokio::spawn(async move { run_lane(&mut *claim, run, told).await });
    worked_off(&*bus, &LANE).await;
    stop.cancel();
    assert_eq!(running.await.expect("it ends"), LaneEnd::Stopped);
    let letters = bus.dead(10).await.expect("listed");
    assert_eq!(letters.len(), 1);
    let report = (letters[0].reason.clone(), 0);
    let reports = handler.reports.lock().expect("no test panics in here");
    assert_eq!(*reports, [report.clone(), report]);
}

#[tokio::test]
async fn a_message_that_comes_again_after_it_was_buried_is_one_dead_letter() {
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    // As after a crash between the burial and the settling, or a publication that was repeated.
    let message = envelope("a", 7);
    for _ in 0..3 {
        publish(&*bus, vec![to(&LANE, message.clone())]).await;
    }
    let handler = Arc::new(Scripted::new(|_| dead()));
    let run = Run::start(&bus, &LANE, &handler, policy()).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;
    let letters = bus.dead(10).await.expect("listed");
    assert_eq!(letters.len(), 1);
    assert!(bus.replay(letters[0].id).await.expect("replayed"));
    assert!(bus.dead(10).await.expect("listed").is_empty());
}
