//! Keeping lanes in existence: declares those that are missing, and has put in again what is known to have been in them.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;

use crate::{AttemptLog, Attendant, Bus, BusError, Claim, Found, Intake, Lane, LaneSpec, Lease};

/// What the owners of a worker's lanes and its look at the lanes share.
pub(super) struct Upkeep {
    pub bus: Arc<dyn Bus>,
    pub attendant: Arc<dyn Attendant>,
    pub lanes: watch::Receiver<Vec<LaneSpec>>,
    pub stop: CancellationToken,
    /// Lanes about whose renewal the attendant is being told.
    pub telling: Mutex<HashSet<Lane>>,
    /// Lanes whose queue an owner found missing and could not declare yet. Somebody who publishes may be quicker, and then
    /// nothing in the broker shows it.
    pub missing: Mutex<HashSet<Lane>>,
}

impl Upkeep {
    /// Makes sure that a lane is there.
    pub async fn ensure(self: &Arc<Self>, spec: &LaneSpec) -> Result<(), BusError> {
        let found = self.bus.ensure(spec).await?;
        if self.missing().remove(&spec.lane) || found == Found::Now {
            self.tell(spec.lane.clone());
        }
        Ok(())
    }

    /// Declares a lane whose queue was found missing. `false`: it is no lane of the group any more.
    async fn renew(self: &Arc<Self>, lane: &Lane) -> Result<bool, BusError> {
        let spec = {
            let specs = self.lanes.borrow();
            specs.iter().find(|spec| spec.lane == *lane).cloned()
        };
        let Some(spec) = spec else {
            self.missing().remove(lane);
            return Ok(false);
        };
        if self.missing().insert(lane.clone()) {
            tracing::error!(
                %lane,
                "the lane's queue was deleted or lost by the broker, and is declared anew; what was in it is gone, \
                 except for what is put in again from the store"
            );
        }
        // Somebody who publishes may have declared it first: what was in it is gone all the same.
        self.ensure(&spec).await?;
        Ok(true)
    }

    /// Tells the attendant until it has taken note.
    fn tell(self: &Arc<Self>, lane: Lane) {
        if !self.telling().insert(lane.clone()) {
            return;
        }
        let upkeep = Arc::clone(self);
        tokio::spawn(async move {
            let stop = upkeep.stop.clone();
            stop.run_until_cancelled(upkeep.tell_until_noted(&lane))
                .await;
            upkeep.telling().remove(&lane);
        });
    }

    async fn tell_until_noted(&self, lane: &Lane) {
        for attempt in 1_u32.. {
            let Err(reason) = self.attendant.redeclared(lane).await else {
                return;
            };
            let wait = Backoff::SERVER.delay(attempt);
            tracing::warn!(%lane, reason, ?wait, "what was in a lane cannot be put in again yet, trying again");
            tokio::time::sleep(wait).await;
        }
    }

    fn is_missing(&self, lane: &Lane) -> bool {
        self.missing().contains(lane)
    }

    fn missing(&self) -> MutexGuard<'_, HashSet<Lane>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn telling(&self) -> MutexGuard<'_, HashSet<Lane>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claim whose lane is declared anew when its queue turns out to be missing.
pub(super) struct Kept {
    pub claim: Box<dyn Claim>,
    pub lane: Lane,
    pub upkeep: Arc<Upkeep>,
}

#[async_trait]
impl Claim for Kept {
    fn lease(&self) -> Lease {
        self.claim.lease()
    }

    async fn take(&mut self, prefetch: u16) -> Result<Box<dyn Intake>, BusError> {
        // What an earlier attempt found is not found again when somebody who publishes declared the lane meanwhile.
        if !self.upkeep.is_missing(&self.lane) {
            match self.claim.take(prefetch).await {
                Err(BusError::Missing(_)) => {}
                taken => return taken,
            }
        }
        if self.upkeep.renew(&self.lane).await? {
            self.claim.take(prefetch).await
        } else {
            Err(BusError::Missing(self.lane.clone()))
        }
    }

    fn attempts(&self) -> Box<dyn AttemptLog> {
        self.claim.attempts()
    }

    async fn release(self: Box<Self>) -> Result<(), BusError> {
        self.claim.release().await
    }
}
