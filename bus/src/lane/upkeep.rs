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
}

impl Upkeep {
    /// Makes sure that a lane is there.
    pub async fn ensure(self: &Arc<Self>, spec: &LaneSpec) -> Result<(), BusError> {
        if self.bus.ensure(spec).await? == Found::Now {
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
            return Ok(false);
        };
        tracing::error!(
            %lane,
            "the lane's queue was deleted or lost by the broker, and is declared anew; what was in it is gone, \
             except for what is put in again from the store"
        );
        // Somebody who publishes may have declared it first: what was in it is gone all the same.
        self.bus.ensure(&spec).await?;
        self.tell(lane.clone());
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

    fn telling(&self) -> MutexGuard<'_, HashSet<Lane>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claim whose lane is declared anew when its queue turns out to be missing.
pub(super) struct Kept {
    pub claim: Box<dyn Claim>,
    pub upkeep: Arc<Upkeep>,
}

#[async_trait]
impl Claim for Kept {
    fn lease(&self) -> Lease {
        self.claim.lease()
    }

    async fn take(&mut self, prefetch: u16) -> Result<Box<dyn Intake>, BusError> {
        match self.claim.take(prefetch).await {
            Err(BusError::Missing(lane)) => {
                if self.upkeep.renew(&lane).await? {
                    self.claim.take(prefetch).await
                } else {
                    Err(BusError::Missing(lane))
                }
            }
            taken => taken,
        }
    }

    fn attempts(&self) -> Box<dyn AttemptLog> {
        self.claim.attempts()
    }

    async fn release(self: Box<Self>) -> Result<(), BusError> {
        self.claim.release().await
    }
}
