//! Only a message that ends its workers becomes a dead letter for it, whatever else happens to workers, connections and
//! lanes. On both buses; needs `TEST_AMQP_URL`.

mod kit;
#[allow(dead_code, reason = "written for the contract tests")]
mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kit::scripted::{done, pause, policy, retry};
use support::{
    Test,
    broker::Broker,
    eventually, own, publish,
    world::{Process, World},
};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tributary_bus::{
    ChannelId, EndpointId, Envelope, EventFilter, Handler, Lane, LaneEnd, LaneRun, LaneSpec, Lease,
    OrganizationId, Outcome, Policy, Work, run_lane,
};

/// A handler that a test can look into.
struct Handled {
    /// What becomes of a message, by its number.
    rule: Box<dyn Fn(u64) -> Outcome + Send + Sync>,
    /// How long a message takes; `None`: for ever, as one that ends its worker.
    takes: Box<dyn Fn(u64) -> Option<Duration> + Send + Sync>,
    /// Numbers in hand.
    in_hand: Mutex<Vec<u64>>,
    done: Mutex<Vec<u64>>,
    begun: Notify,
}

impl Handled {
    fn new(
        rule: impl Fn(u64) -> Outcome + Send + Sync + 'static,
        takes: impl Fn(u64) -> Option<Duration> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            rule: Box::new(rule),
            takes: Box::new(takes),
            in_hand: Mutex::default(),
            done: Mutex::default(),
            begun: Notify::new(),
        })
    }

    fn done(&self) -> Vec<u64> {
        let mut done = self.done.lock().expect("no panic while locked").clone();
        done.sort_unstable();
        done.dedup();
        done
    }

    /// Waits until a message is in hand.
    async fn has(&self, number: u64) {
        eventually(&format!("{number} is in hand"), async || {
            let in_hand = self.in_hand.lock().expect("no panic while locked");
            in_hand.contains(&number).then_some(())
        })
        .await;
    }

    fn drop_all(&self) {
        self.in_hand.lock().expect("no panic while locked").clear();
    }
}

#[async_trait]
impl Handler for Handled {
    fn key(&self, envelope: &Envelope) -> String {
        envelope.id.to_string()
    }

    async fn handle(&self, batch: Vec<Work>, _: &Lease) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for work in batch {
            let data = work.envelope.data.to_value();
            let number = data["number"].as_u64().expect("a number");
            let in_hand = || self.in_hand.lock().expect("no panic while locked");
            in_hand().push(number);
            self.begun.notify_waiters();
            match (self.takes)(number) {
                // The work itself; nobody waits for anything by it.
                Some(takes) => tokio::time::sleep(takes).await,
                None => std::future::pending().await,
            }
            in_hand().retain(|other| *other != number);
            let outcome = (self.rule)(number);
            if outcome == Outcome::Done {
                self.done
                    .lock()
                    .expect("no panic while locked")
                    .push(number);
            }
            outcomes.push(outcome);
        }
        outcomes
    }
}

/// A worker that runs the lane.
struct Worker {
    process: Process,
    stop: CancellationToken,
    task: JoinHandle<LaneEnd>,
}

impl Worker {
    async fn start(process: Process, lane: &Lane, handler: &Arc<Handled>, policy: Policy) -> Self {
        handler.drop_all();
        let stop = CancellationToken::new();
        let run = LaneRun {
            bus: Arc::clone(&process.bus),
            lane: lane.clone(),
            handler: Arc::<Handled>::clone(handler),
            policy,
            drain_deadline: Duration::from_millis(200),
        };
        let mut owner = own(&*process.bus, lane).await;
        let told = stop.clone();
        let task = tokio::spawn(async move {
            let end = run_lane(&mut *owner.claim, run, told).await;
            if end == LaneEnd::Stopped {
                owner.claim.release().await.expect("released");
            }
            end
        });
        Self {
            process,
            stop,
            task,
        }
    }

    async fn stop(self) -> Process {
        self.stop.cancel();
        assert_eq!(self.task.await.expect("no panic"), LaneEnd::Stopped);
        self.process
    }

    /// Ends as by kill -9; answers the next process.
    async fn crash(self, world: &World) -> Process {
        self.task.abort();
        drop(self.task.await);
        world
            .crash(self.process, ())
            .await
            .expect("another process")
    }
}

async fn prepare(world: &World, lane: &Lane, count: u64) -> Process {
    let process = world.process().await.expect("a process");
    let filter = matches!(lane, Lane::Endpoint(_)).then(|| EventFilter {
        organization: OrganizationId::from("acme"),
        patterns: vec!["*".to_owned()],
    });
    let spec = LaneSpec {
        lane: lane.clone(),
        filter,
    };
    process.bus.declare(&[spec]).await.expect("declared");
    publish(&*process.bus, lane, 0..count)
        .await
        .expect("published");
    process
}

async fn worked_off(process: &Process, lane: &Lane) {
    eventually(&format!("{lane} is worked off"), async || {
        (process.bus.depth(lane).await.ok()? == 0).then_some(())
    })
    .await;
}

async fn nothing_is_dead(process: &Process) {
    let dead = process.bus.dead(10).await.expect("listed");
    let reasons: Vec<_> = dead.iter().map(|letter| &letter.reason).collect();
    assert!(dead.is_empty(), "{reasons:?}");
}

async fn a_message_that_ends_its_workers_is_dead_and_its_neighbours_are_not(world: &World) -> Test {
    let lane = Lane::Inbound(0);
    let mut process = prepare(world, &lane, 4).await;
    let poison = 1;
    let takes = move |number| (number != poison).then_some(Duration::from_millis(5));
    let handler = Handled::new(|_| done(), takes);
    let policy = || Policy {
        crash_limit: 3,
        ..policy()
    };
    // Twice with others, until the count of the bus makes it suspicious; then alone.
    for _ in 0..5 {
        nothing_is_dead(&process).await;
        let worker = Worker::start(process, &lane, &handler, policy()).await;
        handler.has(poison).await;
        process = worker.crash(world).await;
    }
    let worker = Worker::start(process, &lane, &handler, policy()).await;
    worked_off(&worker.process, &lane).await;
    let process = worker.stop().await;
    assert_eq!(handler.done(), [0, 2, 3], "its neighbours live");
    let dead = process.bus.dead(10).await?;
    assert_eq!(dead.len(), 1);
    let reason = "it ended its worker 3 times, handled alone each time";
    assert_eq!(dead[0].reason, reason);
    Ok(())
}

/// Ends workers again and again with a message in hand that is well.
async fn stop_often(world: &World, lane: Lane, outcome: fn() -> Outcome, times: usize) -> Test {
    let mut process = prepare(world, &lane, 4).await;
    let well = Arc::new(Mutex::new(false));
    let is_well = Arc::clone(&well);
    let rule = move |_| match *is_well.lock().expect("no panic while locked") {
        true => done(),
        false => outcome(),
    };
    let handler = Handled::new(rule, |_| Some(Duration::from_millis(150)));
    for _ in 0..times {
        let worker = Worker::start(process, &lane, &handler, policy()).await;
        tokio::time::timeout(support::PATIENCE, handler.begun.notified()).await?;
        process = worker.stop().await;
        nothing_is_dead(&process).await;
    }
    *well.lock().expect("no panic while locked") = true;
    let worker = Worker::start(process, &lane, &handler, policy()).await;
    worked_off(&worker.process, &lane).await;
    let process = worker.stop().await;
    assert_eq!(handler.done(), [0, 1, 2, 3]);
    nothing_is_dead(&process).await;
    Ok(())
}

async fn graceful_restarts_of_connectors_kill_no_reply(world: &World) -> Test {
    let lane = Lane::Delivery(ChannelId::from("shop"));
    stop_often(world, lane, || pause(50), 12).await
}

async fn graceful_restarts_of_webhook_workers_kill_no_event(world: &World) -> Test {
    let lane = Lane::Endpoint(EndpointId::generate());
    stop_often(world, lane, || retry(50), 12).await
}

async fn restarts_beside_a_locked_row_kill_no_message(world: &World) -> Test {
    let lane = Lane::Inbound(0);
    let mut process = prepare(world, &lane, 4).await;
    // Longer than a worker waits for it when it is stopped.
    let stuck = Handled::new(|_| retry(50), |_| Some(Duration::from_secs(120)));
    let one = || Policy {
        concurrency: 1,
        ..policy()
    };
    for _ in 0..12 {
        let worker = Worker::start(process, &lane, &stuck, one()).await;
        stuck.has(0).await;
        process = worker.stop().await;
    }
    let handler = Handled::new(|_| done(), |_| Some(Duration::ZERO));
    let worker = Worker::start(process, &lane, &handler, one()).await;
    worked_off(&worker.process, &lane).await;
    let process = worker.stop().await;
    assert_eq!(handler.done(), [0, 1, 2, 3]);
    nothing_is_dead(&process).await;
    Ok(())
}

async fn kills_beside_a_locked_row_kill_no_message(world: &World) -> Test {
    const PACE: Duration = Duration::from_millis(2_500);
    let lane = Lane::Inbound(0);
    let mut process = prepare(world, &lane, 2).await;
    let stuck = Handled::new(|_| retry(50), |_| Some(Duration::from_secs(120)));
    for _ in 0..12 {
        let worker = Worker::start(process, &lane, &stuck, policy()).await;
        let begun = Instant::now();
        eventually("it is time to kill", async || {
            (begun.elapsed() >= PACE).then_some(())
        })
        .await;
        process = worker.crash(world).await;
    }
    let handler = Handled::new(|_| done(), |_| Some(Duration::ZERO));
    let worker = Worker::start(process, &lane, &handler, policy()).await;
    worked_off(&worker.process, &lane).await;
    let process = worker.stop().await;
    assert_eq!(handler.done(), [0, 1]);
    nothing_is_dead(&process).await;
    Ok(())
}

macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() -> crate::support::Test {
                crate::$case(&crate::support::world::World::embedded().await?).await
            })+
        }
        mod amqp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() -> crate::support::Test {
                crate::$case(&crate::support::world::World::amqp().await?).await
            })+
        }
    };
}

on_both! {
    a_message_that_ends_its_workers_is_dead_and_its_neighbours_are_not,
    graceful_restarts_of_connectors_kill_no_reply,
    graceful_restarts_of_webhook_workers_kill_no_event,
    restarts_beside_a_locked_row_kill_no_message,
    kills_beside_a_locked_row_kill_no_message,
}

/// Connections break while a provider answers 503, eight times in a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_kill_no_message() -> Test {
    let broker = Broker::start().await?;
    let world = World::amqp_at(broker.url.clone());
    let lane = Lane::Delivery(ChannelId::from("shop"));
    let mut process = prepare(&world, &lane, 4).await;
    let sick = Handled::new(|_| pause(100), |_| Some(Duration::from_millis(400)));
    for n in 0..8 {
        support::world::ready(&*process.bus).await;
        let worker = Worker::start(process, &lane, &sick, policy()).await;
        tokio::time::timeout(support::PATIENCE, sick.begun.notified()).await?;
        process = worker.process;
        let network = process.network.as_ref().ok_or("behind a network")?;
        // The tool takes long on a busy machine, and what it does looks the same from here.
        match n {
            0 => broker.control(&["close_all_connections", "a test"]).await?,
            _ => network.cut(),
        }
        assert_eq!(worker.task.await?, LaneEnd::Lost);
        network.mend();
    }
    support::world::ready(&*process.bus).await;
    let handler = Handled::new(|_| done(), |_| Some(Duration::ZERO));
    let worker = Worker::start(process, &lane, &handler, policy()).await;
    worked_off(&worker.process, &lane).await;
    let process = worker.stop().await;
    assert_eq!(handler.done(), [0, 1, 2, 3]);
    nothing_is_dead(&process).await;
    Ok(())
}
