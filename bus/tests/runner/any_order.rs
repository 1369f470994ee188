//! Whatever happens, in an order that a seed repeats.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tributary_bus::{Outcome, Policy};

use crate::{
    LANE,
    kit::{scripted::*, *},
    numbers,
};

/// A small generator of our own, so that a printed seed repeats a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_each_key_stays_in_order() {
    let seed = rand::random::<u64>() | 1;
    println!("seed {seed}");
    let dice = Arc::new(Mutex::new(Dice(seed)));
    let (_dir, bus) = bus().await;
    bus.declare(&[plain(&LANE)]).await.expect("declared");
    let keys = 12;
    let each = 60;
    let mut batch = Vec::new();
    for n in 0..each {
        for key in 0..keys {
            batch.push(to(&LANE, envelope(&format!("k{key}"), n)));
        }
    }
    publish(&*bus, batch).await;
    let rolled = Arc::clone(&dice);
    let handler = Arc::new(
        Scripted::new(move |_| match rolled.lock().expect("lock").roll(40) {
            0..3 => retry(3),
            3 => Outcome::Retry {
                after: None,
                reason: "backoff".to_owned(),
            },
            4 => pause(2),
            5 => dead(),
            _ => done(),
        })
        .batch(4),
    );
    let policy = Policy {
        hold_limit: Duration::from_millis(150),
        prefetch: 30,
        ..policy()
    };
    // Stopped and started several times on the way.
    for _ in 0..5 {
        let run = Run::start(&bus, &LANE, &handler, policy.clone()).await;
        let until =
            Instant::now() + Duration::from_millis(40 + dice.lock().expect("lock").roll(80));
        eventually("time to stop", || async { Instant::now() > until }).await;
        run.stop().await;
    }
    let run = Run::start(&bus, &LANE, &handler, policy).await;
    worked_off(&*bus, &LANE).await;
    run.stop().await;

    let seen = handler.seen();
    let dead = bus.dead(10_000).await.expect("listed").len();
    for key in 0..keys {
        let key = format!("k{key}");
        let mine: Vec<_> = seen.iter().filter(|s| s.key == key).collect();
        // Within a call everything after a retry does not count.
        let mut settled = Vec::new();
        let mut broken_call = None;
        for step in mine {
            if broken_call == Some(step.call) {
                continue;
            }
            match step.outcome {
                Outcome::Done | Outcome::Dead { .. } => settled.push(step.n),
                Outcome::Retry { .. } | Outcome::Defer { .. } | Outcome::Pause { .. } => {
                    broken_call = Some(step.call);
                }
            }
        }
        assert_eq!(settled, numbers(0..each), "{key}, seed {seed}");
    }
    let settled_dead = {
        let mut broken = HashSet::new();
        let mut count = 0;
        for step in &seen {
            match step.outcome {
                Outcome::Retry { .. } | Outcome::Defer { .. } | Outcome::Pause { .. } => {
                    broken.insert(step.call);
                }
                Outcome::Dead { .. } if !broken.contains(&step.call) => count += 1,
                Outcome::Dead { .. } | Outcome::Done => {}
            }
        }
        count
    };
    assert_eq!(dead, settled_dead, "seed {seed}");
}
