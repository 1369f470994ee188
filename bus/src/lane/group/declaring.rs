//! Declaring the lanes of a group, and looking whether those that are owned are still there.

use std::time::Duration;

use futures::{StreamExt, stream};
use rand::RngExt;
use tokio::time::Instant;
use tributary_base::backoff::Backoff;

use super::Crew;
use crate::{BusError, Lane, LaneSpec};

/// Every how many rounds an owned lane is looked after: once a minute with the default interval.
const LOOK: f64 = 30.0;
/// Owned lanes that are looked after in one round, at most.
const LOOKS: usize = 256;
/// Declarations that wait for the broker at once.
const AT_ONCE: usize = 8;

impl Crew {
    /// Declares what is new or has another filter, each lane alone: one that is refused holds up no other.
    pub(super) async fn declare(&mut self, specs: &[LaneSpec]) -> Result<(), BusError> {
        let now = Instant::now();
        let known = |spec: &&LaneSpec| {
            self.declared.get(&spec.lane) != Some(&spec.filter)
                && !self.is_left_alone(&spec.lane, now)
        };
        let new: Vec<LaneSpec> = specs.iter().filter(known).cloned().collect();
        self.ensure(new).await
    }

    /// Looks whether owned lanes are still there, with all that flows into them, each about once a minute.
    pub(super) async fn look_after(&mut self, specs: &[LaneSpec]) -> Result<(), BusError> {
        let now = Instant::now();
        let mut due = Vec::new();
        for spec in specs {
            if let Some(owned) = self.owned.get_mut(&spec.lane)
                && owned.look_at <= now
            {
                owned.look_at = next_look(now, self.workers.claim_interval);
                due.push(spec.clone());
                if due.len() == LOOKS {
                    break;
                }
            }
        }
        self.ensure(due).await
    }

    async fn ensure(&mut self, specs: Vec<LaneSpec>) -> Result<(), BusError> {
        let upkeep = &self.upkeep;
        let mut ensured = stream::iter(specs)
            .map(|spec| async move {
                let result = upkeep.ensure(&spec).await;
                (spec, result)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((spec, result)) = ensured.next().await {
            match result {
                Ok(()) => drop(self.declared.insert(spec.lane, spec.filter)),
                Err(BusError::Refused(reason)) => {
                    let lane = spec.lane;
                    let failures = self.refused.get(&lane).map_or(0, |(n, _)| *n) + 1;
                    if failures.is_power_of_two() {
                        tracing::error!(
                            %lane,
                            reason,
                            "the broker refuses to declare the lane; delete its queue if it was made by something else, \
                             and look at the permissions of the user in bus.url"
                        );
                    }
                    let until = Instant::now() + Backoff::SERVER.limit(failures);
                    self.refused.insert(lane, (failures, until));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn is_left_alone(&self, lane: &Lane, now: Instant) -> bool {
        let refused = self.refused.get(lane);
        refused.is_some_and(|(_, until)| *until > now)
    }
}

/// Jittered, so that the lanes of a worker that claimed them all at once are not looked after all at once.
pub(super) fn next_look(now: Instant, interval: Duration) -> Instant {
    now + interval.mul_f64(LOOK * rand::rng().random_range(0.75..1.25))
}
