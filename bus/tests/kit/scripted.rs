//! A handler that does what a test says, and remembers all that it was given.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;
use tributary_bus::{
    Bus, Envelope, Handler, Lane, LaneEnd, LaneRun, Lease, Outcome, Policy, Work, run_lane,
};

use super::{claim, eventually, number};

type Rule = Box<dyn Fn(&Work) -> Outcome + Send + Sync>;

/// One message as it was handed to the handler.
#[derive(Debug, Clone)]
pub struct Seen {
    pub key: String,
    pub n: usize,
    pub attempt: u32,
    pub redeliveries: u32,
    pub outcome: Outcome,
    pub at: Instant,
    /// Which call of the handler it came with.
    pub call: usize,
}

pub struct Scripted {
    rule: Rule,
    last_words: Rule,
    batch: usize,
    takes: Duration,
    seen: Mutex<Vec<Seen>>,
    /// Reasons given with messages that were exhausted.
    pub exhausted: Mutex<Vec<(usize, String)>>,
    calls: AtomicUsize,
    running: AtomicUsize,
    /// The most calls there were at once.
    pub most: AtomicUsize,
    /// Until it is cancelled, calls wait.
    pub gate: CancellationToken,
}

impl Scripted {
    pub fn new(rule: impl Fn(&Work) -> Outcome + Send + Sync + 'static) -> Self {
        Self {
            rule: Box::new(rule),
            last_words: Box::new(|_| Outcome::Dead {
                reason: "used up".to_owned(),
            }),
            batch: 1,
            takes: Duration::ZERO,
            seen: Mutex::default(),
            exhausted: Mutex::default(),
            calls: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            gate: open_gate(),
        }
    }

    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// How long each call takes.
    pub fn takes(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    /// What is answered for exhausted messages.
    pub fn last_words(mut self, rule: impl Fn(&Work) -> Outcome + Send + Sync + 'static) -> Self {
        self.last_words = Box::new(rule);
        self
    }

    /// Calls wait from the beginning.
    pub fn closed(mut self) -> Self {
        self.gate = CancellationToken::new();
        self
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic while locked").clone()
    }

    /// The numbers of the messages that were done, per key.
    pub fn done(&self) -> BTreeMap<String, Vec<usize>> {
        let mut done: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for seen in self.seen() {
            if seen.outcome == Outcome::Done {
                done.entry(seen.key).or_default().push(seen.n);
            }
        }
        done
    }

    pub fn count(&self) -> usize {
        self.seen.lock().expect("no panic while locked").len()
    }

    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

/// Counts a call even if it panics.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Handler for Scripted {
    fn key(&self, envelope: &Envelope) -> String {
        envelope.subject.clone().expect("test envelopes have one")
    }

    fn batch(&self) -> usize {
        self.batch
    }

    async fn handle(&self, batch: Vec<Work>, lease: &Lease) -> Vec<Outcome> {
        if !lease.is_fresh() {
            return Vec::new();
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        let _running = Running(&self.running);
        self.most.fetch_max(running, Ordering::SeqCst);
        // The work itself, which takes as long as the test says; nobody waits for anything by it.
        tokio::time::sleep(self.takes).await;
        self.gate.cancelled().await;
        let mut outcomes = Vec::new();
        for work in batch {
            let outcome = (self.rule)(&work);
            outcomes.push(outcome.clone());
            self.seen.lock().expect("no panic while locked").push(Seen {
                key: self.key(&work.envelope),
                n: number(&work.envelope),
                attempt: work.attempt,
                redeliveries: work.redeliveries,
                outcome,
                at: Instant::now(),
                call,
            });
        }
        outcomes
    }

    async fn exhausted(&self, work: Work, reason: String, _lease: &Lease) -> Outcome {
        let told = (number(&work.envelope), reason);
        self.exhausted
            .lock()
            .expect("no panic while locked")
            .push(told);
        (self.last_words)(&work)
    }
}

fn open_gate() -> CancellationToken {
    let gate = CancellationToken::new();
    gate.cancel();
    gate
}

pub fn done() -> Outcome {
    Outcome::Done
}

pub fn retry(after_ms: u64) -> Outcome {
    Outcome::Retry {
        after: Some(Duration::from_millis(after_ms)),
        reason: "not now".to_owned(),
    }
}

pub fn pause(after_ms: u64) -> Outcome {
    Outcome::Pause {
        after: Some(Duration::from_millis(after_ms)),
        reason: "rate limit".to_owned(),
    }
}

pub fn dead() -> Outcome {
    Outcome::Dead {
        reason: "never".to_owned(),
    }
}

/// Bounds that no test runs into unless it wants to.
pub fn policy() -> Policy {
    Policy {
        backoff: Backoff {
            base: Duration::from_millis(5),
            cap: Duration::from_millis(20),
        },
        longest_wait: Duration::from_secs(10),
        max_attempts: 1_000,
        max_age: Duration::from_secs(3_600),
        prefetch: 50,
        concurrency: 8,
        hold_limit: Duration::from_secs(60),
        crash_limit: 5,
    }
}

/// A lane that is being run.
pub struct Run {
    pub stop: CancellationToken,
    task: JoinHandle<LaneEnd>,
}

impl Run {
    pub async fn start(
        bus: &Arc<dyn Bus>,
        lane: &Lane,
        handler: &Arc<Scripted>,
        policy: Policy,
    ) -> Self {
        let mut claim = claim(&**bus, lane).await;
        let stop = CancellationToken::new();
        let run = LaneRun {
            bus: Arc::clone(bus),
            lane: lane.clone(),
            handler: Arc::<Scripted>::clone(handler),
            policy,
            drain_deadline: Duration::from_secs(2),
        };
        let told = stop.clone();
        let task = tokio::spawn(async move {
            let end = run_lane(&mut *claim, run, told).await;
            if end == LaneEnd::Stopped {
                claim.release().await.expect("released");
            }
            end
        });
        Self { stop, task }
    }

    pub async fn end(self) -> LaneEnd {
        self.task.await.expect("the runner does not panic")
    }

    pub async fn stop(self) {
        self.stop.cancel();
        assert_eq!(self.end().await, LaneEnd::Stopped);
    }
}

/// Waits until the lane is empty.
pub async fn worked_off(bus: &dyn Bus, lane: &Lane) {
    let is_empty = || async { bus.depth(lane).await.expect("depth") == 0 };
    eventually(&format!("{lane} is worked off"), is_empty).await;
}
