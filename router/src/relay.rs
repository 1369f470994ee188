//! The relay of a shard: publishes what the outbox holds, in order, and clears what was confirmed.
//!
//! It runs beside the handler of the inbound lane with the same number, so there is one relay per conversation whoever
//! wrote the row. Each destination (the events, each delivery lane) is published apart: one that fails holds up nobody
//! else. A crash between publishing and clearing publishes again, with the same ids.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tributary_base::{backoff::Backoff, warn_limited};
use tributary_bus::{
    Bus, BusState, DeadId, DeadLetter, Destination, Envelope, EventId, Lane, LaneSpec, Lease,
    Publication, PublishError, Sealed, message::FailureCode,
};
use uuid::Uuid;

use crate::{
    model::now,
    store::{OutboxRow, Published, Shards, Store, StoreError},
    undeliverable,
};

/// How often the outbox is looked at although nobody rang.
const POLL: Duration = Duration::from_secs(1);

/// Publishes the outbox of a shard.
pub(crate) struct Relay {
    store: Store,
    bus: Arc<dyn Bus>,
    shards: Shards,
    /// Rows of one round, at most.
    batch: i64,
}

/// What goes to one destination, in order.
struct Group {
    /// The name of a delivery lane, or empty for the events.
    name: String,
    to: Destination,
    rows: Vec<OutboxRow>,
    /// What the rows hold, in their order; gone once it was handed to the bus.
    envelopes: Vec<Sealed>,
    ids: Vec<EventId>,
}

/// What became of a group.
enum Sent {
    All,
    /// From this row on it was not, or not known to be, published.
    UpTo(usize, PublishError),
}

/// The state of a relay between its rounds.
struct Progress {
    shards: Shards,
    /// Published and not cleared yet.
    published: Vec<Published>,
    /// Destinations that failed: how often in a row, and when to try again.
    sick: HashMap<String, (u32, Instant)>,
}

impl Relay {
    pub fn new(store: Store, bus: Arc<dyn Bus>, shards: Shards, batch: usize) -> Self {
        Self {
            store,
            bus,
            shards,
            batch: i64::try_from(batch.max(1)).unwrap_or(i64::MAX),
        }
    }

    /// Relays until `stop`; finishes the round it is in.
    pub async fn run(&self, lease: &Lease, stop: &CancellationToken) {
        let bell = self.store.wake().bell(self.shards.own);
        let mut progress = Progress {
            shards: self.shards,
            published: Vec::new(),
            sick: HashMap::new(),
        };
        let mut failures = 0;
        while !stop.is_cancelled() {
            if stop
                .run_until_cancelled(self.bus_is_ready())
                .await
                .is_none()
            {
                return;
            }
            let pause = match self.round(&mut progress, lease).await {
                Ok(false) => {
                    failures = 0;
                    progress.next_look()
                }
                Ok(true) => {
                    failures = 0;
                    continue;
                }
                Err(error) => {
                    failures += 1;
                    let shard = self.shards.own;
                    warn_limited!("outbox", shard, %error, "the outbox cannot be read or cleared; trying again");
                    Backoff::SERVER.delay(failures)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = bell.rung(), if failures == 0 => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Publishes and clears one batch; answers whether there may be more that can go at once.
    async fn round(&self, progress: &mut Progress, lease: &Lease) -> Result<bool, StoreError> {
        // What a round before could not clear says nothing about what came since.
        let mut found = None;
        if progress.published.is_empty() {
            let except = progress.except();
            let rows = self
                .store
                .outbox_rows(&mut progress.shards, &except, self.batch)
                .await?;
            if rows.is_empty() || !lease.is_fresh() {
                return Ok(false);
            }
            found = Some(rows.len());
            self.publish(rows, progress).await?;
        }
        let cleared = progress.published.len();
        if cleared > 0 {
            let published = Arc::new(std::mem::take(&mut progress.published));
            if let Err(error) = self.store.clear_outbox(&published).await {
                progress.published = Arc::unwrap_or_clone(published);
                return Err(error);
            }
        }
        // Fewer than there was room for, and all of them went: whatever came since has rung, or will.
        let was_all =
            |found| cleared == found && i64::try_from(found).is_ok_and(|n| n < self.batch);
        Ok(cleared > 0 && !found.is_some_and(was_all))
    }

    /// Publishes rows, each destination apart and all at once.
    async fn publish(
        &self,
        rows: Vec<OutboxRow>,
        progress: &mut Progress,
    ) -> Result<(), StoreError> {
        let mut groups = self.group(rows, progress).await?;
        let sent = join_all(groups.iter_mut().map(|group| self.publish_group(group))).await;
        let mut failed = Vec::new();
        for (mut group, sent) in groups.into_iter().zip(sent) {
            let done = match &sent {
                Sent::All => group.rows.len(),
                Sent::UpTo(done, _) => *done,
            };
            let published = group.rows.drain(..done).zip(&group.ids);
            let published = published.map(|(row, id)| row.published(*id));
            progress.published.extend(published);
            count(&group, done);
            match sent {
                Sent::All => drop(progress.sick.remove(&group.name)),
                Sent::UpTo(_, error) => failed.push((group, error)),
            }
        }
        for (group, error) in failed {
            match error {
                PublishError::NoLane(_) => self.no_lane(group, progress).await?,
                PublishError::NotPublished(_) | PublishError::Unknown(_) => {
                    progress.fell_sick(&group.name, &error.to_string());
                }
            }
        }
        Ok(())
    }

    async fn publish_group(&self, group: &mut Group) -> Sent {
        let batch = group.envelopes.drain(..).map(|envelope| Publication {
            to: group.to.clone(),
            envelope,
        });
        let results = self.bus.publish(batch.collect()).await;
        let failed = results
            .into_iter()
            .enumerate()
            .find_map(|(at, result)| Some((at, result.err()?)));
        match failed {
            Some((at, error)) => Sent::UpTo(at, error),
            None => Sent::All,
        }
    }

    /// A delivery lane does not exist (yet): it is declared, or its deliveries are given up when the config no longer has
    /// the channel. The group holds only what was not published.
    async fn no_lane(&self, group: Group, progress: &mut Progress) -> Result<(), StoreError> {
        let Destination::Lane(lane) = &group.to else {
            progress.fell_sick(&group.name, "the bus has no place for events");
            return Ok(());
        };
        if let Lane::Delivery(channel) = lane
            && self.store.is_configured(channel).await?
        {
            let spec = LaneSpec {
                lane: lane.clone(),
                filter: None,
            };
            match self.bus.declare(&[spec]).await {
                Ok(()) => {
                    tracing::info!(%lane, "declared a lane that had messages before it had an owner")
                }
                Err(error) => progress.fell_sick(&group.name, &error.to_string()),
            }
            return Ok(());
        }
        let reason = format!("lane {lane} does not exist and its channel is not configured");
        for row in group.rows {
            let envelope = Envelope::parse(&row.envelope)?;
            // First what can be repeated without a trace.
            let gone = match &lane {
                Lane::Delivery(channel) => format!("channel {channel} is no longer configured"),
                Lane::Inbound(_) | Lane::Endpoint(_) => reason.clone(),
            };
            let code = FailureCode::Unreachable;
            undeliverable::report(&self.store, &row.envelope, code, &gone, self.shards).await?;
            if !self.bury(lane.clone(), &row, &reason).await {
                progress.fell_sick(&group.name, "the dead letters cannot be written");
                return Ok(());
            }
            progress.published.push(row.published(envelope.id));
        }
        Ok(())
    }

    /// Sorts rows by destination. One that cannot be read is buried at once.
    async fn group(
        &self,
        rows: Vec<OutboxRow>,
        progress: &mut Progress,
    ) -> Result<Vec<Group>, StoreError> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for row in rows {
            let envelope = Sealed::parse(row.envelope.clone());
            let to = row.destination();
            let (Ok(envelope), Ok(to)) = (envelope, to) else {
                let (shard, id) = (self.shards.own, row.id);
                tracing::error!(
                    shard,
                    id,
                    "an outbox row cannot be read; it goes to the dead letters"
                );
                let reason = "outbox row cannot be read";
                let code = FailureCode::Rejected;
                undeliverable::report(&self.store, &row.envelope, code, reason, self.shards)
                    .await?;
                let lane = row.lane.as_ref().and_then(|lane| lane.parse().ok());
                if self
                    .bury(lane.unwrap_or(Lane::Inbound(shard)), &row, reason)
                    .await
                {
                    progress.published.push(row.unreadable());
                }
                continue;
            };
            let name = row.lane.clone().unwrap_or_default();
            let group = groups.entry(name.clone()).or_insert_with(|| Group {
                name,
                to,
                rows: Vec::new(),
                envelopes: Vec::new(),
                ids: Vec::new(),
            });
            group.ids.push(envelope.id);
            group.envelopes.push(envelope);
            group.rows.push(row);
        }
        Ok(groups.into_values().collect())
    }

    async fn bury(&self, lane: Lane, row: &OutboxRow, reason: &str) -> bool {
        tracing::error!(%lane, reason, "a publication goes to the dead letters");
        let letter = DeadLetter {
            id: DeadId(Uuid::now_v7()),
            lane,
            reason: reason.to_owned(),
            at: now(),
            body: row.envelope.clone(),
        };
        match self.bus.bury(vec![letter]).await {
            Ok(()) => true,
            Err(error) => {
                warn_limited!("bury", %error, "a dead letter could not be written; trying again");
                false
            }
        }
    }

    async fn bus_is_ready(&self) {
        let mut state = self.bus.state();
        // An error means that the bus is closed: publishing will fail and say so.
        drop(state.wait_for(|state| *state == BusState::Ready).await);
    }
}

impl Progress {
    /// Destinations that are left alone for now.
    fn except(&self) -> Vec<String> {
        let now = Instant::now();
        let waiting = self.sick.iter().filter(|(_, (_, until))| *until > now);
        waiting.map(|(name, _)| name.clone()).collect()
    }

    fn fell_sick(&mut self, name: &str, reason: &str) {
        let (failures, until) = self
            .sick
            .entry(name.to_owned())
            .or_insert((0, Instant::now()));
        *failures += 1;
        *until = Instant::now() + Backoff::SERVER.delay(*failures);
        let destination = if name.is_empty() { "events" } else { name };
        warn_limited!(
            &format!("publish {destination} {reason}"),
            destination,
            reason,
            "publishing failed; trying again"
        );
    }

    /// How long to wait when there was nothing to do.
    fn next_look(&self) -> Duration {
        let soonest = self.sick.values().map(|(_, until)| *until).min();
        let wait = soonest.map(|at| at.saturating_duration_since(Instant::now()));
        wait.map_or(POLL, |wait| wait.clamp(Duration::from_millis(10), POLL))
    }
}

impl OutboxRow {
    fn destination(&self) -> Result<Destination, String> {
        match &self.lane {
            None => Ok(Destination::Events),
            Some(name) => match name.parse() {
                Ok(lane) => Ok(Destination::Lane(lane)),
                Err(error) => Err(format!("{error}")),
            },
        }
    }

    fn published(self, id: EventId) -> Published {
        Published {
            row: self.id,
            organization: self.organization,
            event: self.lane.is_none().then_some(id),
        }
    }

    fn unreadable(&self) -> Published {
        Published {
            row: self.id,
            organization: self.organization.clone(),
            event: None,
        }
    }
}

fn count(group: &Group, done: usize) {
    if let Destination::Lane(Lane::Delivery(channel)) = &group.to {
        metrics::counter!("tributary_messages_total", "channel" => channel.to_string(), "direction" => "outbound", "outcome" => "handed_over")
            .increment(done as u64);
    }
}
