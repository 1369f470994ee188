//! Lanes as the runner works on them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;
use tributary_bus::{
    Bus, ChannelId, EndpointId, Envelope, EventFilter, Handler, Lane, LaneEnd, LaneRun, LaneSpec,
    Lease, OrganizationId, Outcome, Policy, Work, run_lane,
};

use crate::support::{Test, eventually, into_lane, numbered, own, world::World};

/// Notes the numbers it is given.
#[derive(Default)]
struct Notes(Mutex<Vec<u64>>);

#[async_trait]
impl Handler for Notes {
    fn key(&self, _: &Envelope) -> String {
        "one".to_owned()
    }

    fn batch(&self) -> usize {
        100
    }

    async fn handle(&self, batch: Vec<Work>, _: &Lease) -> Vec<Outcome> {
        let numbers = batch.iter().map(|work| {
            let data = work.envelope.data.to_value();
            data["number"].as_u64().expect("a number")
        });
        let mut seen = self.0.lock().expect("no panic while locked");
        seen.extend(numbers);
        vec![Outcome::Done; batch.len()]
    }
}

fn policy() -> Policy {
    Policy {
        backoff: Backoff::SERVER,
        longest_wait: Duration::from_secs(10),
        max_attempts: 1_000,
        max_age: Duration::from_secs(3_600),
        prefetch: 500,
        concurrency: 8,
        hold_limit: Duration::from_secs(600),
        crash_limit: 5,
    }
}

/// A lane that is run by a task.
async fn run(bus: &Arc<dyn Bus>, lane: &Lane, handler: Arc<dyn Handler>, done: CancellationToken) {
    let mut owner = own(&**bus, lane).await;
    let run = LaneRun {
        bus: Arc::clone(bus),
        lane: lane.clone(),
        handler,
        policy: policy(),
        drain_deadline: Duration::from_secs(5),
    };
    assert_eq!(
        run_lane(&mut *owner.claim, run, done).await,
        LaneEnd::Stopped
    );
    owner.claim.release().await.expect("released");
}

async fn work_off(world: &World, lane: Lane, count: u64) -> Test {
    let process = world.process().await?;
    let filter = matches!(lane, Lane::Endpoint(_)).then(|| EventFilter {
        organization: OrganizationId::from("acme"),
        patterns: vec!["*".to_owned()],
    });
    let spec = LaneSpec {
        lane: lane.clone(),
        filter,
    };
    process.bus.declare(&[spec]).await?;
    let batch = (0..count).map(|n| into_lane(&lane, numbered(n))).collect();
    for outcome in process.bus.publish(batch).await {
        outcome?;
    }
    let notes = Arc::new(Notes::default());
    let done = CancellationToken::new();
    let handler: Arc<dyn Handler> = Arc::<Notes>::clone(&notes);
    let task = tokio::spawn({
        let (bus, lane, done) = (Arc::clone(&process.bus), lane.clone(), done.clone());
        async move { run(&bus, &lane, handler, done).await }
    });
    let all: Vec<u64> = (0..count).collect();
    eventually(
        &format!("{count} messages of {lane} are handled"),
        async || {
            let seen = notes.0.lock().expect("no panic while locked").len() as u64;
            (seen >= count).then_some(())
        },
    )
    .await;
    assert_eq!(*notes.0.lock().expect("no panic while locked"), all);
    // Nothing waits and nothing is held.
    eventually("the lane is empty", async || {
        (process.bus.depth(&lane).await.ok()? == 0).then_some(())
    })
    .await;
    done.cancel();
    task.await?;
    Ok(())
}

pub async fn a_backlog_is_worked_off_whole_and_in_order(world: &World) -> Test {
    for count in [257, 1_000, 10_000] {
        work_off(world, Lane::Inbound(0), count).await?;
    }
    Ok(())
}

pub async fn a_backlog_of_deliveries_or_events_is_worked_off(world: &World) -> Test {
    for count in [257, 1_000, 10_000] {
        work_off(world, Lane::Delivery(ChannelId::from("shop")), count).await?;
        work_off(world, Lane::Endpoint(EndpointId::generate()), count).await?;
    }
    Ok(())
}
