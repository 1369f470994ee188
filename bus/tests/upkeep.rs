//! Lanes whose queues were deleted, lost or refused by the broker: declared anew, and no other lane waits for it. Needs
//! `TEST_AMQP_URL`.

mod kit;
#[allow(dead_code, reason = "written for the contract tests")]
mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::StreamExt;
use kit::{envelope, eventually, number, plain, publish, publish_numbers, scripted::*};
use lapin::{
    Connection, ConnectionProperties,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use support::{
    soon,
    world::{Process, World},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tributary_bus::{
    Attendant, Bus, BusError, Destination, EndpointId, EventFilter, Found, Group, Handler, Lane,
    LaneSpec, OrganizationId, Publication, Workers,
};

struct Crew {
    handler: Arc<Scripted>,
    redeclared: Mutex<Vec<Lane>>,
}

#[async_trait]
impl Attendant for Crew {
    async fn attend(&self, _lane: &Lane) -> Result<Arc<dyn Handler>, String> {
        Ok(Arc::<Scripted>::clone(&self.handler))
    }

    /// The first time it cannot be done.
    async fn redeclared(&self, lane: &Lane) -> Result<(), String> {
        let mut redeclared = self.redeclared.lock().expect("no panic while locked");
        redeclared.push(lane.clone());
        if redeclared.len() == 1 {
            return Err("not yet".to_owned());
        }
        Ok(())
    }
}

impl Crew {
    fn told(&self, lane: &Lane) -> usize {
        let redeclared = self.redeclared.lock().expect("no panic while locked");
        redeclared.iter().filter(|one| *one == lane).count()
    }
}

struct Worker {
    process: Process,
    crew: Arc<Crew>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _lanes: watch::Sender<Vec<LaneSpec>>,
}

impl Worker {
    async fn start(world: &World, lanes: Vec<LaneSpec>, handler: Scripted) -> Self {
        let process = world.process().await.expect("a process");
        let stop = CancellationToken::new();
        let crew = Arc::new(Crew {
            handler: Arc::new(handler),
            redeclared: Mutex::default(),
        });
        let (_lanes, lanes) = watch::channel(lanes);
        let workers = Workers {
            bus: Arc::clone(&process.bus),
            group: Group::Webhooks,
            lanes,
            attendant: Arc::<Crew>::clone(&crew),
            policy: policy(),
            claim_interval: Duration::from_millis(200),
            drain_deadline: Duration::from_secs(5),
        };
        let task = tokio::spawn(workers.run(stop.clone()));
        Self {
            process,
            crew,
            stop,
            task,
            _lanes,
        }
    }

    fn done(&self, key: &str) -> Vec<usize> {
        let mut done = self.crew.handler.done();
        done.remove(key).unwrap_or_default()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("workers do not panic");
        self.process.bus.close().await;
    }
}

fn listening(lane: &Lane) -> LaneSpec {
    LaneSpec {
        lane: lane.clone(),
        filter: Some(EventFilter {
            organization: OrganizationId::from("acme"),
            patterns: vec!["test.*".to_owned()],
        }),
    }
}

async fn publish_event(bus: &dyn Bus, key: &str, n: usize) {
    let event = Publication {
        to: Destination::Events,
        envelope: envelope(key, n).seal().expect("JSON"),
    };
    publish(bus, vec![event]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_endpoint_queue_is_declared_again_with_its_filter() {
    let world = World::amqp().await.expect("a broker");
    let other = world.process().await.expect("a process");
    let lane = Lane::Endpoint(EndpointId::generate());
    let worker = Worker::start(&world, vec![listening(&lane)], Scripted::new(|_| done())).await;
    // It is new, and at first the attendant cannot take note.
    eventually("told twice", async || worker.crew.told(&lane) == 2).await;
    publish_event(&*other.bus, "a", 0).await;
    eventually("the first event", async || worker.done("a") == [0]).await;

    for round in 1..=3 {
        other.bus.remove(&lane).await.expect("removed");
        eventually("told again", async || worker.crew.told(&lane) == 2 + round).await;
        publish_event(&*other.bus, "a", round).await;
        let all: Vec<usize> = (0..=round).collect();
        eventually("the next event", async || worker.done("a") == all).await;
    }
    worker.end().await;
    other.bus.remove(&lane).await.expect("removed");
    other.bus.close().await;
}

/// The broker says only once that a queue was missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_made_anew_is_told_although_the_rest_of_its_declaration_failed() {
    let world = World::amqp().await.expect("a broker");
    let process = world.process().await.expect("a process");
    let lane = Lane::Endpoint(EndpointId::generate());
    let good = listening(&lane);
    let mut bad = good.clone();
    let filter = bad.filter.as_mut().expect("a filter");
    // The queue is made, and then a binding key is too long.
    filter.organization = OrganizationId::from("x".repeat(300).as_str());
    let refused = process.bus.ensure(&bad).await;
    assert!(matches!(refused, Err(BusError::Refused(_))), "{refused:?}");
    assert_eq!(process.bus.ensure(&good).await.ok(), Some(Found::Now));
    assert_eq!(process.bus.ensure(&good).await.ok(), Some(Found::Before));
    process.bus.remove(&lane).await.expect("removed");
    process.bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_queue_is_noticed_while_nothing_is_taken_from_it() {
    let world = World::amqp().await.expect("a broker");
    let other = world.process().await.expect("a process");
    let lane = Lane::Endpoint(EndpointId::generate());
    // The endpoint is down: the lane rests for a long time, without a consumer.
    let handler = Scripted::new(|work| match number(&work.envelope) {
        0 => pause(600_000),
        _ => done(),
    });
    let worker = Worker::start(&world, vec![listening(&lane)], handler).await;
    eventually("told twice", async || worker.crew.told(&lane) == 2).await;
    publish_event(&*other.bus, "a", 0).await;
    eventually("it waits", async || worker.crew.handler.count() > 0).await;
    other.bus.remove(&lane).await.expect("removed");
    eventually("told again", async || worker.crew.told(&lane) > 2).await;
    publish_event(&*other.bus, "b", 1).await;
    assert_eq!(other.bus.depth(&lane).await.expect("depth"), 1);
    worker.end().await;
    other.bus.remove(&lane).await.expect("removed");
    other.bus.close().await;
}

/// Whoever publishes into a delivery lane declares it as well, and may be quicker than its owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_is_told_although_a_publication_made_the_queue_anew() {
    let world = World::amqp().await.expect("a broker");
    let other = world.process().await.expect("a process");
    let lane = Lane::Delivery("shop".into());
    let mut renewed = other.bus.redeclared();
    publish_numbers(&*other.bus, &lane, "a", 0..1).await;
    let made = soon("the publisher knows", renewed.next()).await;
    assert_eq!(made.as_ref(), Some(&lane));
    let worker = Worker::start(&world, vec![plain(&lane)], Scripted::new(|_| done())).await;
    eventually("the first", async || worker.done("a") == [0]).await;
    assert_eq!(worker.crew.told(&lane), 0, "it was there");

    // `remove` makes the publisher forget that it has declared the lane.
    other.bus.remove(&lane).await.expect("removed");
    publish_numbers(&*other.bus, &lane, "a", 1..2).await;
    eventually("told", async || worker.crew.told(&lane) >= 1).await;
    eventually("the second", async || worker.done("a") == [0, 1]).await;
    worker.end().await;
    other.bus.remove(&lane).await.expect("removed");
    other.bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_refused_holds_up_no_other() {
    let world = World::amqp().await.expect("a broker");
    let World::Amqp { url, prefix } = &world else {
        panic!("it is RabbitMQ");
    };
    // A queue of that name that belongs to another connection.
    let stranger = Connection::connect(url, ConnectionProperties::default())
        .await
        .expect("connected");
    let channel = stranger.create_channel().await.expect("an AMQP channel");
    let taken = format!("{prefix}inbound.0");
    channel
        .queue_declare(
            taken.as_str().into(),
            QueueDeclareOptions::exclusive(),
            FieldTable::default(),
        )
        .await
        .expect("declared");

    let lanes: Vec<Lane> = (0..4).map(Lane::Inbound).collect();
    let specs = lanes.iter().map(plain).collect();
    let worker = Worker::start(&world, specs, Scripted::new(|_| done())).await;
    for (n, lane) in lanes.iter().enumerate().skip(1) {
        publish_numbers(&*worker.process.bus, lane, &format!("k{n}"), 0..1).await;
        eventually("it is worked on", async || {
            worker.done(&format!("k{n}")) == [0]
        })
        .await;
    }
    stranger.close(200, "OK".into()).await.expect("closed");
    publish_numbers(&*worker.process.bus, &lanes[0], "k0", 0..1).await;
    eventually("it is tried again", async || worker.done("k0") == [0]).await;
    worker.end().await;
    let other = world.process().await.expect("a process");
    for lane in &lanes {
        other.bus.remove(lane).await.expect("removed");
    }
    other.bus.close().await;
}

/// The count of members is lost with its queue; afterwards a worker dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_queue_of_members_is_declared_again() {
    let world = World::amqp().await.expect("a broker");
    let World::Amqp { url, prefix } = &world else {
        panic!("it is RabbitMQ");
    };
    let lanes: Vec<Lane> = (0..4).map(Lane::Inbound).collect();
    let specs: Vec<LaneSpec> = lanes.iter().map(plain).collect();
    let first = Worker::start(&world, specs.clone(), Scripted::new(|_| done())).await;
    let second = Worker::start(&world, specs, Scripted::new(|_| done())).await;
    let member = first
        .process
        .bus
        .join(&Group::Webhooks)
        .await
        .expect("joined");
    eventually("all are counted", async || {
        member.size().await.ok() == Some(3)
    })
    .await;

    let stranger = Connection::connect(url, ConnectionProperties::default())
        .await
        .expect("connected");
    let channel = stranger.create_channel().await.expect("an AMQP channel");
    for _ in 0..3 {
        let queue = format!("{prefix}group.webhooks.0");
        channel
            .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
            .await
            .expect("deleted");
        eventually("all are counted again", async || {
            member.size().await.ok() == Some(3)
        })
        .await;
    }
    member.leave().await;
    stranger.close(200, "OK".into()).await.expect("closed");

    second.process.network.as_ref().expect("a network").cut();
    for (n, lane) in lanes.iter().enumerate() {
        publish_numbers(&*first.process.bus, lane, &format!("k{n}"), 0..1).await;
        eventually("the other takes it over", async || {
            first.done(&format!("k{n}")) == [0] || second.done(&format!("k{n}")) == [0]
        })
        .await;
    }
    second.end().await;
    for (n, lane) in lanes.iter().enumerate() {
        publish_numbers(&*first.process.bus, lane, &format!("l{n}"), 0..1).await;
        eventually("one has all", async || first.done(&format!("l{n}")) == [0]).await;
    }
    first.end().await;
    let other = world.process().await.expect("a process");
    for lane in &lanes {
        other.bus.remove(lane).await.expect("removed");
    }
    other.bus.close().await;
}

/// A member that owns nothing (it hangs, or only seems to be there) keeps the others from claiming its share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_without_owner_and_lanes_lost_are_told() {
    let metrics = PrometheusBuilder::new()
        .install_recorder()
        .expect("the only one");
    let gauge = |name: &str| {
        let start = format!("{name}{{group=\"webhooks\"}} ");
        let text = metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(&start));
        value.map(str::to_owned).unwrap_or_default()
    };
    let world = World::amqp().await.expect("a broker");
    let idle = world.process().await.expect("a process");
    let member = idle.bus.join(&Group::Webhooks).await.expect("joined");
    let lanes: Vec<LaneSpec> = (0..4).map(|n| plain(&Lane::Inbound(n))).collect();
    let worker = Worker::start(&world, lanes.clone(), Scripted::new(|_| done())).await;
    eventually("half of them", async || {
        gauge("tributary_lanes_owned") == "2"
    })
    .await;
    assert_eq!(gauge("tributary_lanes_unowned"), "0", "not at once");
    eventually("two have no owner", async || {
        gauge("tributary_lanes_unowned") == "2"
    })
    .await;
    member.leave().await;
    eventually("all are owned", async || {
        gauge("tributary_lanes_owned") == "4" && gauge("tributary_lanes_unowned") == "0"
    })
    .await;

    // Work in flight goes on for a while after the loss; owned they are not.
    worker.process.network.as_ref().expect("a network").cut();
    let begun = Instant::now();
    eventually("they are lost", async || {
        gauge("tributary_lanes_owned") == "0"
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    worker.end().await;
    for spec in &lanes {
        idle.bus.remove(&spec.lane).await.expect("removed");
    }
    idle.bus.close().await;
}
