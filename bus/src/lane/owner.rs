//! Owning one lane: the runner, what goes on alongside, and giving the lane back.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;

use super::{
    Attendant, Lane, LaneEnd, LaneRun, Policy, measure, run_lane,
    upkeep::{Kept, Upkeep},
};
use crate::{Bus, Claim, Lease};

/// How often the depth of an owned lane is measured.
const SAMPLE: Duration = Duration::from_secs(5);
/// How long the bus may take to give a lane back.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);
/// What has run for this long alongside has recovered: its next restart is quick again.
const RECOVERED: Duration = Duration::from_secs(60);

pub(super) struct Owner {
    pub upkeep: Arc<Upkeep>,
    pub lane: Lane,
    pub policy: Policy,
    pub drain_deadline: Duration,
    pub stop: CancellationToken,
}

/// How the ownership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Released,
    Lost,
    /// Nobody could be found to handle it.
    Unattended,
}

impl Owner {
    /// Works on the lane until it is stopped or the lane is lost. The lane is given back when it returns.
    pub async fn own(self, claim: Box<dyn Claim>) -> Ended {
        let lane = self.lane.clone();
        let attendant = &self.upkeep.attendant;
        let handler = tokio::select! {
            attended = attendant.attend(&lane) => attended,
            () = self.stop.cancelled() => {
                release(&lane, claim).await;
                return Ended::Released;
            }
        };
        let handler = match handler {
            Ok(handler) => handler,
            Err(reason) => {
                tracing::warn!(%lane, reason, "lane cannot be served");
                release(&lane, claim).await;
                return Ended::Unattended;
            }
        };
        tracing::info!(%lane, "lane claimed");
        let beside = tokio::spawn(beside(
            Arc::clone(attendant),
            Arc::clone(&self.upkeep.bus),
            lane.clone(),
            claim.lease(),
            self.stop.child_token(),
        ));
        let run = LaneRun {
            bus: Arc::clone(&self.upkeep.bus),
            lane: lane.clone(),
            handler,
            policy: self.policy,
            drain_deadline: self.drain_deadline,
        };
        let mut claim = Kept {
            claim,
            lane: lane.clone(),
            upkeep: self.upkeep,
        };
        let end = run_lane(&mut claim, run, self.stop).await;
        end_beside(&lane, beside, self.drain_deadline).await;
        measure::depth(&lane, 0);
        match end {
            LaneEnd::Stopped => {
                release(&lane, claim.claim).await;
                tracing::info!(%lane, "lane released");
                Ended::Released
            }
            LaneEnd::Lost => {
                drop(claim);
                // The bus says why, at debug.
                tracing::warn!(%lane, "lane lost");
                Ended::Lost
            }
        }
    }
}

async fn release(lane: &Lane, claim: Box<dyn Claim>) {
    let reason = match timeout(RELEASE_DEADLINE, claim.release()).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(%lane, reason, "lane could not be given back at once");
}

/// It was told to stop, or the lane was lost, which stops it as well.
async fn end_beside(lane: &Lane, mut beside: tokio::task::JoinHandle<()>, deadline: Duration) {
    if timeout(deadline, &mut beside).await.is_err() {
        tracing::warn!(%lane, "what runs alongside did not stop in time, breaking off");
        beside.abort();
        // Cancelled: as intended.
        drop(beside.await);
    }
}

/// All that runs while the lane is owned, besides its handler.
async fn beside(
    attendant: Arc<dyn Attendant>,
    bus: Arc<dyn Bus>,
    lane: Lane,
    lease: Lease,
    stop: CancellationToken,
) {
    let lost = async {
        lease.lost().await;
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let work = async {
        tokio::join!(
            alongside(&*attendant, &lane, &lease, &stop),
            sample(&*bus, &lane, &stop)
        );
    };
    tokio::select! {
        () = lost => {}
        () = work => {}
    }
}

/// Keeps what runs alongside running.
async fn alongside(
    attendant: &dyn Attendant,
    lane: &Lane,
    lease: &Lease,
    stop: &CancellationToken,
) {
    let mut attempt: u32 = 0;
    loop {
        let begun = Instant::now();
        let ended = AssertUnwindSafe(attendant.alongside(lane, lease, stop.clone()))
            .catch_unwind()
            .await;
        if stop.is_cancelled() {
            return;
        }
        if begun.elapsed() > RECOVERED {
            attempt = 0;
        }
        attempt = attempt.saturating_add(1);
        let reason = match ended {
            Ok(Ok(())) => "it returned".to_owned(),
            Ok(Err(reason)) => reason,
            Err(_) => "it panicked".to_owned(),
        };
        let wait = Backoff::SERVER.delay(attempt);
        tracing::warn!(%lane, reason, ?wait, "what runs alongside ended, starting it again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn sample(bus: &dyn Bus, lane: &Lane, stop: &CancellationToken) {
    loop {
        tokio::select! {
            depth = bus.depth(lane) => {
                if let Ok(depth) = depth {
                    measure::depth(lane, depth);
                }
            }
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(SAMPLE) => {}
            () = stop.cancelled() => return,
        }
    }
}
