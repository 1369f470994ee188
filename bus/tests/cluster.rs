//! A cluster of three brokers whose nodes die, stay away, restart one after another and freeze, under load: lanes move to
//! the nodes that are left, nothing is lost, nothing is reordered. `CLUSTER=full` leaves every node away for a minute.

mod kit;
#[allow(dead_code, reason = "written for the contract tests")]
mod support;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kit::{envelope, eventually, plain, scripted::*, to};
use support::{
    broker::Cluster,
    proxy::Proxy,
    world::{near, ready, settings},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tributary_bus::{
    AmqpBus, Attendant, Bus, Group, Handler, Lane, LaneSpec, Lease, Outcome, Publication,
    PublishError, Workers,
};

const LANES: u16 = 8;

/// How soon every lane must be worked on again after a node has gone.
const SOON: Duration = Duration::from_secs(30);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a node stays away.
fn away() -> Duration {
    match std::env::var("CLUSTER").as_deref() {
        Ok("full") => Duration::from_secs(60),
        _ => Duration::from_secs(8),
    }
}

/// A process with a way to each node.
struct Process {
    bus: Arc<AmqpBus>,
    _ways: Vec<Proxy>,
}

impl Process {
    /// Its connections begin at this node, and know the others.
    async fn at(cluster: &Cluster, prefix: &str, node: usize) -> Result<Self, Failure> {
        let (mut ways, mut urls) = (Vec::new(), Vec::new());
        for (number, url) in cluster.urls.iter().enumerate() {
            let (way, near) = near(url).await?;
            if number != node {
                way.cut();
            }
            ways.push(way);
            urls.push(near);
        }
        let bus = AmqpBus::connect_with_prefix(&settings(&urls.join(" ")), prefix);
        ready(&*bus).await;
        ways.iter().for_each(Proxy::mend);
        Ok(Self { bus, _ways: ways })
    }
}

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

fn lanes() -> impl Iterator<Item = Lane> {
    (0..LANES).map(Lane::Inbound)
}

struct Worker {
    process: Process,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    fn start(process: Process, number: usize, map: &Map, handler: &Arc<Scripted>) -> Self {
        let stop = CancellationToken::new();
        let specs: Vec<LaneSpec> = lanes().map(|lane| plain(&lane)).collect();
        let workers = Workers {
            bus: Arc::<AmqpBus>::clone(&process.bus),
            group: Group::Router,
            lanes: watch::channel(specs).1,
            attendant: Arc::new(Crew {
                worker: number,
                map: Arc::clone(map),
                handler: Arc::clone(handler),
            }),
            policy: tributary_bus::Policy {
                crash_limit: 1000,
                ..policy()
            },
            claim_interval: Duration::from_millis(500),
            drain_deadline: Duration::from_secs(5),
        };
        let task = tokio::spawn(workers.run(stop.clone()));
        Self {
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

/// What was published, and what the broker said of it.
#[derive(Debug, Default)]
struct Load {
    /// Numbers below this are confirmed in every lane.
    confirmed: AtomicUsize,
    refused: AtomicUsize,
    not_published: AtomicUsize,
    unknown: AtomicUsize,
}

/// Publishes each number into every lane until stopped, each again until it is confirmed.
fn publish_steadily(bus: Arc<AmqpBus>, load: Arc<Load>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        // A load of so much, not a wait for anything.
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for n in 0.. {
            let mut batch: Vec<Publication> = lanes()
                .map(|lane| to(&lane, envelope(&lane.to_string(), n)))
                .collect();
            while !batch.is_empty() {
                let outcomes = bus.publish(batch.clone()).await;
                let mut outcomes = outcomes.into_iter();
                batch.retain(|_| match outcomes.next().expect("one for each") {
                    Ok(()) => false,
                    Err(PublishError::Unknown(reason)) if reason.contains("refused") => {
                        load.refused.fetch_add(1, Ordering::Relaxed);
                        true
                    }
                    Err(PublishError::Unknown(_)) => {
                        load.unknown.fetch_add(1, Ordering::Relaxed);
                        true
                    }
                    Err(_) => {
                        load.not_published.fetch_add(1, Ordering::Relaxed);
                        true
                    }
                });
                pace.tick().await;
            }
            load.confirmed.store(n + 1, Ordering::Relaxed);
            if stop.is_cancelled() {
                return;
            }
        }
    })
}

/// The numbers in the order in which they were done first.
fn first_times(done: &[usize]) -> Vec<usize> {
    let mut seen = HashSet::new();
    done.iter().copied().filter(|n| seen.insert(*n)).collect()
}

/// Everything that the scenarios share.
struct Stage {
    cluster: Cluster,
    prefix: String,
    map: Map,
    handler: Arc<Scripted>,
    load: Arc<Load>,
}

impl Stage {
    /// Until what is published now was worked on, in every lane. Answers how long that took.
    async fn until_all_move(&self, what: &str) -> Duration {
        let begun = Instant::now();
        let target = self.load.confirmed.load(Ordering::Relaxed) + 5;
        let mut missing = Vec::new();
        while begun.elapsed() < SOON {
            let done = self.handler.done();
            missing = lanes()
                .map(|lane| lane.to_string())
                .filter(|key| {
                    done.get(key)
                        .is_none_or(|done| done.iter().all(|n| *n < target))
                })
                .collect();
            if missing.is_empty() {
                return begun.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let map = self.map.lock().expect("no panic while locked").clone();
        let load = &self.load;
        panic!(
            "{what}: {missing:?} stand still; owned {map:?}, to be done {target}, {load:?}, worked on {}",
            self.handler.count()
        );
    }

    /// That for as long as a node stays away.
    async fn all_move_for(&self, what: &str, time: Duration) {
        let begun = Instant::now();
        let first = self.until_all_move(what).await;
        println!("{what}: all move after {first:?}");
        while begun.elapsed() < time {
            self.until_all_move(what).await;
        }
        println!(
            "{what}: confirmed {}, refused {}, not published {}, unknown {}",
            self.load.confirmed.load(Ordering::Relaxed),
            self.load.refused.load(Ordering::Relaxed),
            self.load.not_published.load(Ordering::Relaxed),
            self.load.unknown.load(Ordering::Relaxed),
        );
    }
}

/// A cluster with two workers whose consumers are all on the first node, and a load.
struct Scene {
    stage: Stage,
    publisher: Process,
    workers: Vec<Worker>,
    enough: CancellationToken,
    publishing: JoinHandle<()>,
}

impl Scene {
    async fn begin() -> Result<Self, Failure> {
        // An error: another test of this process was first.
        drop(
            tracing_subscriber::fmt()
                .with_env_filter("tributary_bus=info")
                .with_test_writer()
                .try_init(),
        );
        let stage = Stage {
            prefix: format!("test-{}.", uuid::Uuid::new_v4().simple()),
            cluster: Cluster::start().await?,
            map: Map::default(),
            handler: Arc::new(Scripted::new(|_| Outcome::Done).takes(Duration::from_millis(1))),
            load: Arc::default(),
        };
        let publisher = Process::at(&stage.cluster, &stage.prefix, 1).await?;
        let specs: Vec<LaneSpec> = lanes().map(|lane| plain(&lane)).collect();
        publisher.bus.declare(&specs).await?;
        let mut workers = Vec::new();
        for number in 1..=2 {
            let process = Process::at(&stage.cluster, &stage.prefix, 0).await?;
            workers.push(Worker::start(process, number, &stage.map, &stage.handler));
        }
        let enough = CancellationToken::new();
        let publishing = publish_steadily(
            Arc::clone(&publisher.bus),
            Arc::clone(&stage.load),
            enough.clone(),
        );
        stage.until_all_move("the beginning").await;
        Ok(Self {
            stage,
            publisher,
            workers,
            enough,
            publishing,
        })
    }

    /// Nothing was lost and nothing was reordered.
    async fn end(self) -> Result<(), Failure> {
        self.enough.cancel();
        self.publishing.await?;
        let stage = self.stage;
        let all: Vec<usize> = (0..stage.load.confirmed.load(Ordering::Relaxed)).collect();
        eventually("all is done", async || {
            let done = stage.handler.done();
            done.len() == usize::from(LANES)
                && done
                    .values()
                    .all(|done| first_times(done).len() == all.len())
        })
        .await;
        for (key, done) in stage.handler.done() {
            assert_eq!(first_times(&done), all, "{key}");
        }
        assert!(self.publisher.bus.dead(10).await?.is_empty());
        assert_eq!(stage.load.refused.load(Ordering::Relaxed), 0, "refused");
        for worker in self.workers {
            worker.end().await;
        }
        self.publisher.bus.close().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_die_and_stay_away() -> Result<(), Failure> {
    let scene = Scene::begin().await?;
    let stage = &scene.stage;
    // The first is the busiest: it has every consumer.
    for node in 0..3 {
        stage.cluster.node("kill", node).await?;
        stage
            .all_move_for(&format!("node {node} killed"), away())
            .await;
        stage.cluster.node("start", node).await?;
        stage.until_all_move(&format!("node {node} is back")).await;
    }
    scene.end().await
}

/// An update of the cluster, node by node, and a node that hangs for longer than the others wait for it: they go on without
/// it, and it pauses itself when it wakes up in the minority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_restart_in_turn_and_one_hangs() -> Result<(), Failure> {
    let scene = Scene::begin().await?;
    let stage = &scene.stage;
    for node in 0..3 {
        stage.cluster.node("stop", node).await?;
        stage.until_all_move(&format!("node {node} stopped")).await;
        stage.cluster.node("start", node).await?;
        stage.until_all_move(&format!("node {node} is back")).await;
    }
    // Longer than the time after which the nodes give up on each other.
    stage.cluster.node("freeze", 0).await?;
    let hang = away().max(Duration::from_secs(15));
    stage.all_move_for("node 0 hangs", hang).await;
    stage.cluster.node("thaw", 0).await?;
    stage.until_all_move("node 0 is awake").await;
    scene.end().await
}
