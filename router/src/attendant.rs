//! What equips the owner of an inbound lane: the handler, the relay of its shard, and the chores of the process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use tributary_base::{backoff::Backoff, database::DatabaseHealth};
use tributary_bus::{Attendant, Bus, Handler, Lane, Lease};
use tributary_config::Settings;
use uuid::Uuid;

use crate::{
    chores,
    decide::{KeepRaw, Policy},
    inbound::InboundHandler,
    relay::Relay,
    store::{Rest, Retention, Shards, Store},
};

/// Equips the owners of the inbound lanes; the group is [`tributary_bus::Group::Router`].
pub struct RouterAttendant {
    store: Store,
    bus: Arc<dyn Bus>,
    policy: Policy,
    batch: usize,
    relay_batch: usize,
    retention: Retention,
    release_after: Duration,
    health: DatabaseHealth,
}

impl RouterAttendant {
    /// Equips with this store and bus. The store is the one that the API of the same process uses, if it has one: they
    /// wake each other.
    pub fn new(store: Store, bus: Arc<dyn Bus>, settings: &Settings) -> Self {
        let raw = if settings.router.raw_retention.is_zero() {
            KeepRaw::No
        } else {
            KeepRaw::Yes
        };
        let window = TimeDelta::from_std(settings.router.reopen_window);
        Self {
            store,
            bus,
            policy: Policy {
                reopen_window: window.unwrap_or(TimeDelta::MAX),
                lanes: settings.bus.inbound_lanes,
                raw,
                new_id: Uuid::now_v7,
            },
            batch: settings.router.batch_size.max(1),
            relay_batch: settings.router.relay_batch,
            retention: Retention::of(settings),
            release_after: settings.router.release_absent_after,
            health: DatabaseHealth::default(),
        }
    }

    /// The same, which leaves its lanes to others while the store cannot be used.
    #[must_use]
    pub fn with_health(mut self, health: DatabaseHealth) -> Self {
        self.health = health;
        self
    }
}

/// The inbound lanes, all of them.
pub fn lanes(settings: &Settings) -> Vec<Lane> {
    (0..settings.bus.inbound_lanes).map(Lane::Inbound).collect()
}

/// Bounds and delays of the inbound lanes. What was acknowledged to a provider never grows too old to be taken in, and a
/// database that is away uses up no attempts.
pub fn lane_policy(settings: &Settings) -> tributary_bus::Policy {
    let batch = settings.router.batch_size.max(1);
    tributary_bus::Policy {
        backoff: Backoff::SERVER,
        longest_wait: Backoff::SERVER.cap,
        // Only what fails by itself, again and again, gets here; its lane waits for it meanwhile.
        max_attempts: 8,
        max_age: Duration::MAX,
        prefetch: u16::try_from(batch.saturating_mul(3)).unwrap_or(u16::MAX),
        concurrency: 1,
        hold_limit: settings.lanes.hold_limit,
        crash_limit: settings.lanes.crash_limit,
    }
}

#[async_trait]
impl Attendant for RouterAttendant {
    async fn attend(&self, lane: &Lane) -> Result<Arc<dyn Handler>, String> {
        inbound(lane)?;
        let store = self.store.clone();
        let handler = InboundHandler::new(store, lane.clone(), self.policy, self.batch);
        Ok(Arc::new(handler))
    }

    async fn alongside(
        &self,
        lane: &Lane,
        lease: &Lease,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let own = inbound(lane)?;
        // The first lane's owner also looks after what no lane is in charge of.
        let first = own == 0;
        let shards = Shards {
            own,
            rest: first.then(|| Rest::from(self.policy.lanes)),
        };
        let bus = Arc::clone(&self.bus);
        let relay = Relay::new(self.store.clone(), bus, shards, self.relay_batch);
        let keeper = async {
            if first {
                chores::keep(&self.store, &self.retention, self.release_after, &stop).await;
            }
        };
        tokio::join!(
            relay.run(lease, &stop),
            chores::match_those_who_wait(&self.store, &stop),
            chores::listen(&self.store, &stop),
            chores::note_renewed_lanes(&self.store, self.bus.as_ref(), &stop),
            keeper,
        );
        Ok(())
    }

    fn is_fit(&self) -> bool {
        self.health.is_fit()
    }
}

fn inbound(lane: &Lane) -> Result<u16, String> {
    match lane {
        Lane::Inbound(n) => Ok(*n),
        Lane::Delivery(_) | Lane::Endpoint(_) => Err(format!("lane {lane} is no inbound lane")),
    }
}
