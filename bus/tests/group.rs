//! Workers of a group share their lanes fairly, and nothing is lost, doubled or reordered while lanes move.

mod kit;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kit::{scripted::*, *};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tributary_bus::{Attendant, Bus, Group, Handler, Lane, LaneSpec, Lease, Outcome, Workers};

/// Who owns what, as seen from alongside.
#[derive(Default)]
struct Map(Mutex<BTreeMap<Lane, usize>>);

impl Map {
    fn of(&self, worker: usize) -> usize {
        let map = self.0.lock().expect("no panic while locked");
        map.values().filter(|owner| **owner == worker).count()
    }

    fn lanes(&self) -> BTreeSet<Lane> {
        let map = self.0.lock().expect("no panic while locked");
        map.keys().cloned().collect()
    }
}

/// Serves every lane with the same handler.
struct Crew {
    worker: usize,
    map: Arc<Map>,
    handler: Arc<Scripted>,
    /// So many times nobody can be found.
    refusals: AtomicUsize,
    /// So many times what runs alongside returns at once.
    returns: AtomicUsize,
    /// Whether it can do its work.
    fit: Arc<AtomicBool>,
}

fn count_down(counter: &AtomicUsize) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
        .is_ok()
}

#[async_trait]
impl Attendant for Crew {
    async fn attend(&self, _lane: &Lane) -> Result<Arc<dyn Handler>, String> {
        if count_down(&self.refusals) {
            return Err("not yet".to_owned());
        }
        Ok(Arc::<Scripted>::clone(&self.handler))
    }

    async fn alongside(
        &self,
        lane: &Lane,
        lease: &Lease,
        stop: CancellationToken,
    ) -> Result<(), String> {
        if count_down(&self.returns) {
            return Err("broken off".to_owned());
        }
        assert!(lease.is_fresh());
        let other = self
            .map
            .0
            .lock()
            .expect("no panic while locked")
            .insert(lane.clone(), self.worker);
        assert_eq!(other, None, "two owners of {lane}");
        stop.cancelled().await;
        self.map
            .0
            .lock()
            .expect("no panic while locked")
            .remove(lane);
        Ok(())
    }

    fn is_fit(&self) -> bool {
        self.fit.load(Ordering::SeqCst)
    }
}

/// A group in one process, each worker a member of its own.
struct Town {
    bus: Arc<dyn Bus>,
    map: Arc<Map>,
    handler: Arc<Scripted>,
    lanes: watch::Sender<Vec<LaneSpec>>,
    workers: usize,
}

struct Worker {
    number: usize,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("workers do not panic");
    }
}

impl Town {
    fn new(bus: &Arc<dyn Bus>, lanes: u16, handler: Scripted) -> Self {
        let specs = (0..lanes).map(|n| plain(&Lane::Inbound(n))).collect();
        Self {
            bus: Arc::clone(bus),
            map: Arc::default(),
            handler: Arc::new(handler),
            lanes: watch::Sender::new(specs),
            workers: 0,
        }
    }

    fn crew(&mut self) -> Crew {
        self.workers += 1;
        Crew {
            worker: self.workers,
            map: Arc::clone(&self.map),
            handler: Arc::clone(&self.handler),
            refusals: AtomicUsize::new(0),
            returns: AtomicUsize::new(0),
            fit: Arc::new(AtomicBool::new(true)),
        }
    }

    fn hire(&mut self) -> Worker {
        let crew = self.crew();
        self.start(crew)
    }

    fn start(&self, crew: Crew) -> Worker {
        let stop = CancellationToken::new();
        let number = crew.worker;
        let workers = Workers {
            bus: Arc::clone(&self.bus),
            group: Group::Router,
            lanes: self.lanes.subscribe(),
            attendant: Arc::new(crew),
            policy: policy(),
            claim_interval: Duration::from_millis(100),
            drain_deadline: Duration::from_secs(5),
        };
        let task = tokio::spawn(workers.run(stop.clone()));
        Worker { number, stop, task }
    }

    async fn own(&self, shares: &[(&Worker, usize)]) {
        eventually(
            &format!(
                "{:?} lanes each",
                shares.iter().map(|s| s.1).collect::<Vec<_>>()
            ),
            || async {
                shares
                    .iter()
                    .all(|(worker, share)| self.map.of(worker.number) == *share)
            },
        )
        .await;
    }
}

/// Publishes numbered messages to keys spread over the lanes, until stopped; answers how many each key got.
fn publish_steadily(bus: &Arc<dyn Bus>, lanes: u16, stop: CancellationToken) -> JoinHandle<usize> {
    let bus = Arc::clone(bus);
    tokio::spawn(async move {
        // A load of so much, not a wait for anything.
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        for n in 0.. {
            if stop.is_cancelled() {
                return n;
            }
            let mut batch = Vec::new();
            for lane in 0..lanes {
                for key in ["a", "b", "c"] {
                    let envelope = envelope(&format!("{lane}{key}"), n);
                    batch.push(to(&Lane::Inbound(lane), envelope));
                }
            }
            publish(&*bus, batch).await;
            pace.tick().await;
        }
        0
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_move_to_a_fair_share_and_lose_nothing() {
    let (_dir, bus) = bus().await;
    // Now and then something has to wait.
    let handler = Scripted::new(|work| {
        if number(&work.envelope) % 10 == 3 && work.attempt == 1 {
            retry(20)
        } else {
            Outcome::Done
        }
    })
    .takes(Duration::from_millis(1));
    let mut town = Town::new(&bus, 8, handler);
    let specs = town.lanes.borrow().clone();
    bus.declare(&specs).await.expect("declared");
    let enough = CancellationToken::new();
    let publisher = publish_steadily(&bus, 8, enough.clone());

    let first = town.hire();
    town.own(&[(&first, 8)]).await;
    let second = town.hire();
    town.own(&[(&first, 4), (&second, 4)]).await;
    let third = town.hire();
    // 3 + 3 + 2: all are owned, nobody has more than the ceiling.
    eventually("three share eight", || async {
        let shares = [&first, &second, &third].map(|worker| town.map.of(worker.number));
        shares.iter().sum::<usize>() == 8 && shares.iter().all(|share| *share <= 3)
    })
    .await;
    first.end().await;
    town.own(&[(&second, 4), (&third, 4)]).await;
    second.end().await;
    town.own(&[(&third, 8)]).await;
    let fourth = town.hire();
    town.own(&[(&third, 4), (&fourth, 4)]).await;

    enough.cancel();
    let each = publisher.await.expect("published");
    assert!(each > 20, "too few to tell: {each}");
    for lane in 0..8 {
        worked_off(&*bus, &Lane::Inbound(lane)).await;
    }
    third.end().await;
    fourth.end().await;
    assert!(town.map.lanes().is_empty());
    let done = town.handler.done();
    assert_eq!(done.len(), 24);
    let all: Vec<usize> = (0..each).collect();
    for (key, numbers) in done {
        assert_eq!(numbers, all, "{key}");
    }
    assert!(bus.dead(1).await.expect("listed").is_empty());
}

#[tokio::test]
async fn one_that_drains_no_longer_counts() {
    let (_dir, bus) = bus().await;
    let mut town = Town::new(&bus, 4, Scripted::new(|_| done()).closed());
    let first = town.hire();
    town.own(&[(&first, 4)]).await;
    let second = town.hire();
    town.own(&[(&first, 2), (&second, 2)]).await;
    for lane in 0..4 {
        publish_numbers(&*bus, &Lane::Inbound(lane), &format!("k{lane}"), 0..1).await;
    }
    eventually("all run", || async { town.handler.running() == 4 }).await;
    let leaving = first.stop.clone();
    leaving.cancel();
    // It still holds its two lanes, and counts neither as member nor as owner of more.
    let lanes: Vec<LaneSpec> = (0..6).map(|n| plain(&Lane::Inbound(n))).collect();
    town.lanes.send_replace(lanes);
    town.own(&[(&second, 4)]).await;
    assert_eq!(town.handler.running(), 4);
    town.handler.gate.cancel();
    town.own(&[(&second, 6)]).await;
    first.end().await;
    second.end().await;
    for lane in 0..4 {
        assert_eq!(bus.depth(&Lane::Inbound(lane)).await.expect("depth"), 0);
    }
}

#[tokio::test]
async fn lanes_come_and_go() {
    let (_dir, bus) = bus().await;
    let mut town = Town::new(&bus, 2, Scripted::new(|_| done()));
    let worker = town.hire();
    town.own(&[(&worker, 2)]).await;
    town.lanes
        .send_replace(vec![plain(&Lane::Inbound(1)), plain(&Lane::Inbound(7))]);
    let wanted = BTreeSet::from([Lane::Inbound(1), Lane::Inbound(7)]);
    eventually("the new lanes", || async { town.map.lanes() == wanted }).await;
    publish_numbers(&*bus, &Lane::Inbound(7), "a", 0..3).await;
    worked_off(&*bus, &Lane::Inbound(7)).await;
    worker.end().await;
}

#[tokio::test]
async fn what_fails_at_first_is_tried_again() {
    let (_dir, bus) = bus().await;
    let mut town = Town::new(&bus, 2, Scripted::new(|_| done()));
    let crew = Crew {
        refusals: AtomicUsize::new(3),
        returns: AtomicUsize::new(3),
        ..town.crew()
    };
    let worker = town.start(crew);
    town.own(&[(&worker, 2)]).await;
    worker.end().await;
}

#[tokio::test]
async fn a_bus_that_is_away_is_waited_for() {
    let (_dir, bus) = bus().await;
    let mut town = Town::new(&bus, 2, Scripted::new(|_| done()));
    bus.close().await;
    let worker = town.hire();
    tokio::time::timeout(Duration::from_millis(300), town.own(&[(&worker, 2)]))
        .await
        .expect_err("a closed bus gives no lanes");
    assert!(!worker.task.is_finished());
    tokio::time::timeout(PATIENCE, worker.end())
        .await
        .expect("stops without a bus");
}

#[tokio::test]
async fn one_that_cannot_work_leaves_its_lanes_to_the_others() {
    let (_dir, bus) = bus().await;
    let mut town = Town::new(&bus, 6, Scripted::new(|_| done()));
    let (one, other) = (town.crew(), town.crew());
    let (one_fit, other_fit) = (Arc::clone(&one.fit), Arc::clone(&other.fit));
    let first = town.start(one);
    town.own(&[(&first, 6)]).await;
    // Alone it keeps them.
    one_fit.store(false, Ordering::SeqCst);
    let watcher = bus.join(&Group::Router).await.expect("joined");
    watcher.leave().await;
    assert_eq!(watcher.size().await.expect("a size"), 1);
    town.own(&[(&first, 6)]).await;

    let second = town.start(other);
    town.own(&[(&first, 0), (&second, 6)]).await;
    assert_eq!(
        watcher.size().await.expect("a size"),
        1,
        "it does not count"
    );
    one_fit.store(true, Ordering::SeqCst);
    town.own(&[(&first, 3), (&second, 3)]).await;

    // When nobody can, the lanes have owners all the same.
    one_fit.store(false, Ordering::SeqCst);
    other_fit.store(false, Ordering::SeqCst);
    eventually("one was taken aside", || async {
        let both = watcher.size().await.expect("a size") == 2;
        !both || town.map.lanes().len() < 6
    })
    .await;
    eventually("all are owned", || async { town.map.lanes().len() == 6 }).await;
    one_fit.store(true, Ordering::SeqCst);
    other_fit.store(true, Ordering::SeqCst);
    town.own(&[(&first, 3), (&second, 3)]).await;
    first.end().await;
    second.end().await;
}
