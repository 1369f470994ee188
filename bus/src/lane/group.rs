//! A worker of a group: claims its fair share of the group's lanes and runs them.
//!
//! Nobody hands out lanes. Each worker knows how many members the group has and how many lanes there are, claims up to
//! `ceil(lanes / members)` of them and gives back what is above that. A worker that stops leaves the group first and
//! drains afterwards, so that it does not count while the others take over.

mod aside;
mod declaring;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::RngExt;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;

use aside::Part;

use super::{
    measure,
    orphans::Orphans,
    owner::{Ended, Owner},
    share,
    tally::Tally,
    upkeep::Upkeep,
};
use crate::{
    Attendant, Bus, BusError, Claim, EventFilter, Group, Lane, LaneSpec, Membership, Policy,
};

/// How long the bus may take to end a membership.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);
/// Looking at every lane in vain this often makes the worker look at fewer at a time, until something changes.
const PATIENT_AFTER: u32 = 3;
/// Lanes that a patient worker tries to claim in one go.
const FEW: usize = 32;

/// A worker of a group.
pub struct Workers {
    pub bus: Arc<dyn Bus>,
    pub group: Group,
    /// The lanes of the group, as this worker knows them; all workers of a group should see the same.
    pub lanes: watch::Receiver<Vec<LaneSpec>>,
    /// Equips each lane that is claimed.
    pub attendant: Arc<dyn Attendant>,
    pub policy: Policy,
    /// How often it looks whether it owns more or fewer lanes than its share.
    pub claim_interval: Duration,
    /// How long work in flight may take to finish when a lane is given back.
    pub drain_deadline: Duration,
}

impl Workers {
    /// Works until `stop`; returns when every lane was given back. Waits for a bus that is away.
    pub async fn run(self, stop: CancellationToken) {
        measure::describe();
        measure::unowned(&self.group, 0);
        let Some(member) = join(&*self.bus, &self.group, &stop).await else {
            return;
        };
        let upkeep = Upkeep {
            bus: Arc::clone(&self.bus),
            attendant: Arc::clone(&self.attendant),
            lanes: self.lanes.clone(),
            stop: stop.clone(),
            telling: Mutex::default(),
            missing: Mutex::default(),
        };
        let mut crew = Crew {
            upkeep: Arc::new(upkeep),
            tally: Tally::new(self.group.clone()),
            orphans: Orphans::new(rand::rng().random_range(0..=usize::from(u16::MAX))),
            part: Part::Taken,
            sweep_from: rand::rng().random_range(0..=usize::from(u16::MAX)),
            workers: self,
            member,
            stop: stop.clone(),
            owned: HashMap::new(),
            tasks: JoinSet::new(),
            declared: HashMap::new(),
            refused: HashMap::new(),
            seen: Circumstances::default(),
            vain_sweeps: 0,
            failures: 0,
        };
        crew.work().await;
        crew.end().await;
    }
}

struct Crew {
    workers: Workers,
    upkeep: Arc<Upkeep>,
    tally: Tally,
    orphans: Orphans,
    part: Part,
    member: Arc<dyn Membership>,
    stop: CancellationToken,
    owned: HashMap<Lane, Owned>,
    /// One per owned lane.
    tasks: JoinSet<(Lane, Ended)>,
    declared: HashMap<Lane, Option<EventFilter>>,
    /// Lanes that could not be served: how often, and until when they are left alone.
    refused: HashMap<Lane, (u32, Instant)>,
    /// Where the next sweep over the lanes begins; different for every worker.
    sweep_from: usize,
    seen: Circumstances,
    vain_sweeps: u32,
    /// Rounds in a row that failed because of the bus.
    failures: u32,
}

struct Owned {
    stop: CancellationToken,
    since: Instant,
    /// When to see again whether the lane is still there.
    look_at: Instant,
    task: tokio::task::Id,
}

/// What decides over a worker's share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Circumstances {
    lanes: usize,
    members: usize,
    active: usize,
}

impl Crew {
    async fn work(&mut self) {
        let mut tick = tokio::time::interval(self.workers.claim_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lanes_may_change = true;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = tick.tick() => {}
                changed = self.workers.lanes.changed(), if lanes_may_change => {
                    lanes_may_change = changed.is_ok();
                }
                Some(ended) = self.tasks.join_next() => {
                    self.note(ended);
                    continue;
                }
            }
            let stop = self.stop.clone();
            let balanced = tokio::select! {
                balanced = self.balance() => balanced,
                () = stop.cancelled() => return,
            };
            match balanced {
                Ok(()) => self.failures = 0,
                Err(error) => self.recover(&error).await,
            }
        }
    }

    /// One look at the lanes: gives back what is too much, claims what is missing.
    async fn balance(&mut self) -> Result<(), BusError> {
        let specs = self.workers.lanes.borrow_and_update().clone();
        let wanted: HashSet<&Lane> = specs.iter().map(|spec| &spec.lane).collect();
        for (lane, owned) in &self.owned {
            if !wanted.contains(lane) {
                owned.stop.cancel();
            }
        }
        self.declared.retain(|lane, _| wanted.contains(lane));
        self.refused.retain(|lane, _| wanted.contains(lane));
        self.declare(&specs).await?;
        if !self.take_part().await? {
            return Ok(());
        }
        self.look_after(&specs).await?;
        let now = Circumstances {
            lanes: specs.len(),
            members: self.member.size().await?.max(1),
            active: self.active(),
        };
        if now != self.seen {
            self.seen = now;
            self.vain_sweeps = 0;
        }
        let share = share::ceiling(now.lanes, now.members);
        if now.active > share {
            self.release_newest(now.active - share);
        } else if now.active < share {
            self.sweep(&specs, share - now.active).await?;
        }
        self.look_for_orphans(&specs).await
    }

    /// Asks about some lanes of others whether anybody owns them.
    async fn look_for_orphans(&mut self, specs: &[LaneSpec]) -> Result<(), BusError> {
        let owned = &self.owned;
        for lane in self.orphans.next(specs, |lane| owned.contains_key(lane)) {
            let is_owned = self.member.is_owned(&lane).await?;
            self.orphans.note(lane, is_owned, Instant::now());
        }
        self.orphans.tell(&self.workers.group, Instant::now());
        Ok(())
    }

    /// Lanes owned and not about to be given back.
    fn active(&self) -> usize {
        self.owned
            .values()
            .filter(|owned| !owned.stop.is_cancelled())
            .count()
    }

    fn release_newest(&self, count: usize) {
        let mut active: Vec<&Owned> = self
            .owned
            .values()
            .filter(|owned| !owned.stop.is_cancelled())
            .collect();
        active.sort_by_key(|owned| std::cmp::Reverse(owned.since));
        for owned in active.into_iter().take(count) {
            owned.stop.cancel();
        }
    }

    /// Tries to claim `missing` lanes, going round. A worker that has what everybody has at least, and has found
    /// nothing for some rounds, tries a few lanes at a time: each try costs the broker something.
    async fn sweep(&mut self, specs: &[LaneSpec], missing: usize) -> Result<(), BusError> {
        let poor = self.seen.active < share::floor(self.seen.lanes, self.seen.members);
        let tries = if poor || self.vain_sweeps < PATIENT_AFTER {
            specs.len()
        } else {
            FEW.min(specs.len())
        };
        let mut claimed = 0;
        for _ in 0..tries {
            if claimed == missing {
                break;
            }
            let Some(spec) = specs.get(self.sweep_from % specs.len().max(1)) else {
                break;
            };
            self.sweep_from = self.sweep_from.wrapping_add(1);
            let lane = &spec.lane;
            if self.is_left_alone(lane, Instant::now()) || self.owned.contains_key(lane) {
                continue;
            }
            if let Some(claim) = self.member.claim(lane).await? {
                self.begin(lane.clone(), claim);
                claimed += 1;
            }
        }
        self.vain_sweeps = if claimed == 0 {
            self.vain_sweeps.saturating_add(1)
        } else {
            0
        };
        Ok(())
    }

    fn begin(&mut self, lane: Lane, claim: Box<dyn Claim>) {
        // Not a child of the stop: the membership is to end before the lanes are drained.
        let stop = CancellationToken::new();
        let owner = Owner {
            upkeep: Arc::clone(&self.upkeep),
            lane: lane.clone(),
            policy: self.workers.policy.clone(),
            drain_deadline: self.workers.drain_deadline,
            stop: stop.clone(),
        };
        self.tally.add(lane.clone(), claim.lease());
        let since = Instant::now();
        let named = lane.clone();
        let handle = self
            .tasks
            .spawn(async move { (named, owner.own(claim).await) });
        let task = handle.id();
        let owned = Owned {
            stop,
            since,
            look_at: declaring::next_look(since, self.workers.claim_interval),
            task,
        };
        self.owned.insert(lane, owned);
    }

    fn note(&mut self, ended: Result<(Lane, Ended), tokio::task::JoinError>) {
        match ended {
            Ok((lane, ended)) => {
                self.owned.remove(&lane);
                self.tally.remove(&lane);
                if ended == Ended::Unattended {
                    let failures = self.refused.get(&lane).map_or(0, |(n, _)| *n) + 1;
                    let until = Instant::now() + Backoff::SERVER.limit(failures);
                    self.refused.insert(lane, (failures, until));
                } else {
                    self.refused.remove(&lane);
                }
            }
            Err(error) => {
                self.owned.retain(|_, owned| owned.task != error.id());
                tracing::error!(group = %self.workers.group, %error, "a lane's task broke off");
            }
        }
    }

    /// After a failure the bus usually comes back by itself. A membership that does not come back, with no lane left,
    /// is replaced.
    async fn recover(&mut self, error: &BusError) {
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_power_of_two() {
            tracing::warn!(group = %self.workers.group, %error, "cannot look after the lanes, trying again");
        }
        if self.failures > 1 && self.owned.is_empty() && self.part != Part::Aside {
            leave(&*self.member).await;
            if let Some(member) = join(&*self.workers.bus, &self.workers.group, &self.stop).await {
                self.member = member;
            }
        }
    }

    async fn end(&mut self) {
        leave(&*self.member).await;
        for owned in self.owned.values() {
            owned.stop.cancel();
        }
        // Each is bounded by the drain deadline and the deadlines of the bus.
        while let Some(ended) = self.tasks.join_next().await {
            self.note(ended);
        }
        self.tally.clear();
        measure::unowned(&self.workers.group, 0);
    }
}

async fn leave(member: &dyn Membership) {
    if timeout(LEAVE_DEADLINE, member.leave()).await.is_err() {
        tracing::warn!("the bus did not take note in time that a worker leaves");
    }
}

/// Joins as soon as the bus can be used; `None` when stopped before.
async fn join(
    bus: &dyn Bus,
    group: &Group,
    stop: &CancellationToken,
) -> Option<Arc<dyn Membership>> {
    for attempt in 1_u32.. {
        let joined = tokio::select! {
            joined = bus.join(group) => joined,
            () = stop.cancelled() => return None,
        };
        match joined {
            Ok(member) => return Some(member),
            Err(error) if attempt.is_power_of_two() => {
                tracing::warn!(%group, %error, "cannot join the group, trying again");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(Backoff::SERVER.delay(attempt)) => {}
            () = stop.cancelled() => return None,
        }
    }
    None
}
