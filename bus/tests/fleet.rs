//! Lane runner and workers on RabbitMQ, each worker with connections of its own. Needs `TEST_AMQP_URL`.

mod kit;
#[allow(dead_code, reason = "written for the contract tests")]
mod support;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kit::{envelope, eventually, number, plain, publish, scripted::*, to};
use support::world::{Process, World};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tributary_bus::{Attendant, Bus, Group, Handler, Lane, LaneSpec, Lease, Outcome, Workers};

const LANES: u16 = 6;

/// Lanes by the number of their owner.
type Map = Arc<Mutex<BTreeMap<Lane, usize>>>;

struct Crew {
    worker: usize,
    map: Map,
    handler: Arc<Scripted>,
}

#[async_trait]
impl Attendant for Crew {
    async fn attend(&self, _lane: &Lane) -> Result<Arc<dyn Handler>, String> {
        Ok(Arc::<Scripted>::clone(&self.handler))
    }

    async fn alongside(
        &self,
        lane: &Lane,
        _lease: &Lease,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let owned = || self.map.lock().expect("no panic while locked");
        owned().insert(lane.clone(), self.worker);
        stop.cancelled().await;
        // After a loss the next owner may have been quicker.
        if owned().get(lane) == Some(&self.worker) {
            owned().remove(lane);
        }
        Ok(())
    }
}

struct Worker {
    number: usize,
    process: Process,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    async fn start(world: &World, number: usize, map: &Map, handler: &Arc<Scripted>) -> Self {
        let process = world.process().await.expect("a process");
        let lanes: Vec<LaneSpec> = (0..LANES).map(|n| plain(&Lane::Inbound(n))).collect();
        let stop = CancellationToken::new();
        let workers = Workers {
            bus: Arc::clone(&process.bus),
            group: Group::Router,
            lanes: watch::channel(lanes).1,
            attendant: Arc::new(Crew {
                worker: number,
                map: Arc::clone(map),
                handler: Arc::clone(handler),
            }),
            policy: policy(),
            claim_interval: Duration::from_millis(500),
            drain_deadline: Duration::from_secs(5),
        };
        let task = tokio::spawn(workers.run(stop.clone()));
        Self {
            number,
            process,
            stop,
            task,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("workers do not panic");
        self.process.bus.close().await;
    }
}

async fn until_shares(map: &Map, shares: &[(&Worker, usize)]) {
    eventually("lanes are shared", || async {
        let map = map.lock().expect("no panic while locked");
        let owned = |number| map.values().filter(|owner| **owner == number).count();
        shares
            .iter()
            .all(|(worker, share)| owned(worker.number) == *share)
    })
    .await;
}

/// Publishes numbered messages to three keys per lane until stopped; answers how many each key got.
fn publish_steadily(bus: &Arc<dyn Bus>, stop: CancellationToken) -> JoinHandle<usize> {
    let bus = Arc::clone(bus);
    tokio::spawn(async move {
        let mut n = 0;
        // A load of so much, not a wait for anything.
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while !stop.is_cancelled() {
            let batch = (0..LANES).flat_map(|lane| {
                ["a", "b", "c"].map(|key| {
                    let envelope = envelope(&format!("{lane}{key}"), n);
                    to(&Lane::Inbound(lane), envelope)
                })
            });
            publish(&*bus, batch.collect()).await;
            n += 1;
            pace.tick().await;
        }
        n
    })
}

/// The numbers in the order in which they were done first.
fn first_times(done: &[usize]) -> Vec<usize> {
    let mut seen = HashSet::new();
    done.iter().copied().filter(|n| seen.insert(*n)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_move_between_processes_and_keep_their_order() {
    let world = World::amqp().await.expect("a broker");
    let publisher = world.process().await.expect("a process");
    let lanes: Vec<LaneSpec> = (0..LANES).map(|n| plain(&Lane::Inbound(n))).collect();
    publisher.bus.declare(&lanes).await.expect("declared");
    let map = Map::default();
    let handler = Arc::new(
        Scripted::new(|work| {
            if number(&work.envelope) % 10 == 3 && work.attempt == 1 {
                retry(20)
            } else {
                Outcome::Done
            }
        })
        .takes(Duration::from_millis(2)),
    );
    let enough = CancellationToken::new();
    let publishing = publish_steadily(&publisher.bus, enough.clone());

    let first = Worker::start(&world, 1, &map, &handler).await;
    until_shares(&map, &[(&first, 6)]).await;
    let begun = Instant::now();
    let second = Worker::start(&world, 2, &map, &handler).await;
    until_shares(&map, &[(&first, 3), (&second, 3)]).await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    let third = Worker::start(&world, 3, &map, &handler).await;
    until_shares(&map, &[(&first, 2), (&second, 2), (&third, 2)]).await;
    first.end().await;
    until_shares(&map, &[(&second, 3), (&third, 3)]).await;
    // Until here every lane was given back properly: nothing is done twice.
    for (key, done) in handler.done() {
        assert_eq!(done, (0..done.len()).collect::<Vec<_>>(), "{key}");
    }

    // The connections of one break; it comes back as another member.
    let broken = second.process.network.as_ref().expect("a network");
    broken.cut();
    eventually("the third takes over", || async {
        let map = map.lock().expect("no panic while locked");
        map.values().filter(|owner| **owner == 3).count() > 3
    })
    .await;
    broken.mend();
    until_shares(&map, &[(&second, 3), (&third, 3)]).await;

    enough.cancel();
    let each = publishing.await.expect("published");
    for lane in 0..LANES {
        let lane = Lane::Inbound(lane);
        worked_off(&*publisher.bus, &lane).await;
    }
    let all: Vec<usize> = (0..each).collect();
    eventually("all is done", || async {
        let done = handler.done();
        done.len() == 18 && done.values().all(|done| first_times(done).len() == each)
    })
    .await;
    for (key, done) in handler.done() {
        assert_eq!(first_times(&done), all, "{key}");
    }
    second.end().await;
    third.end().await;
    assert!(publisher.bus.dead(10).await.expect("listed").is_empty());
    for lane in &lanes {
        assert_eq!(publisher.bus.depth(&lane.lane).await.expect("depth"), 0);
        publisher.bus.remove(&lane.lane).await.expect("removed");
    }
    publisher.bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_stay_in_order_through_retries_and_give_backs() {
    const LANE: Lane = Lane::Inbound(0);
    let world = World::amqp().await.expect("a broker");
    let process = world.process().await.expect("a process");
    process
        .bus
        .declare(&[plain(&LANE)])
        .await
        .expect("declared");
    let mut batch = Vec::new();
    for n in 0..60 {
        for key in 0..12 {
            batch.push(to(&LANE, envelope(&format!("k{key}"), n)));
        }
    }
    publish(&*process.bus, batch).await;
    let handler = Arc::new(Scripted::new(|work| {
        match work.envelope.id.0.as_u128() % 30 {
            0..3 if work.attempt < 3 => retry(5),
            3 if work.redeliveries == 0 && work.attempt == 1 => pause(2),
            _ => done(),
        }
    }));
    let policy = tributary_bus::Policy {
        hold_limit: Duration::from_millis(150),
        prefetch: 40,
        crash_limit: 50,
        ..policy()
    };
    for _ in 0..4 {
        let run = Run::start(&process.bus, &LANE, &handler, policy.clone()).await;
        let until = Instant::now() + Duration::from_millis(120);
        eventually("time to stop", || async { Instant::now() > until }).await;
        run.stop().await;
    }
    let run = Run::start(&process.bus, &LANE, &handler, policy).await;
    let all: Vec<usize> = (0..60).collect();
    eventually("all is done", || async {
        let done = handler.done();
        done.len() == 12 && done.values().all(|done| first_times(done).len() == 60)
    })
    .await;
    worked_off(&*process.bus, &LANE).await;
    run.stop().await;
    for (key, done) in handler.done() {
        assert_eq!(first_times(&done), all, "{key}");
    }
    assert!(process.bus.dead(10).await.expect("listed").is_empty());
    process.bus.remove(&LANE).await.expect("removed");
    process.bus.close().await;
}
