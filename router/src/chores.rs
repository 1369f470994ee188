//! What a router does besides its lanes: matching those who wait, hearing calls from other processes, sweeping and
//! tidying. Each runs beside every lane and does its work in one of them at a time.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tributary_bus::message::HealthState;

use crate::{
    model::now,
    store::{Retention, Store, StoreError},
};

/// How often somebody looks for conversations that wait although an agent is free.
const SWEEP: Duration = Duration::from_secs(3);
/// Between tries to listen.
const RECONNECT: Duration = Duration::from_secs(1);
/// Sweeps from one tidying to the next.
const SWEEPS_PER_TIDYING: u32 = 20;

/// Matches whenever the lanes of this process made somebody wait.
pub(crate) async fn match_those_who_wait(store: &Store, stop: &CancellationToken) {
    let work = async {
        // One task of the process at a time; the others stand by. A closed semaphore cannot be: nobody closes it.
        let Ok(_permit) = store.wake().matcher.acquire().await else {
            return;
        };
        loop {
            for organization in store.wake().next_to_match().await {
                store.match_or_later(&organization).await;
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Hears wake-up calls of other processes.
pub(crate) async fn listen(store: &Store, stop: &CancellationToken) {
    let work = async {
        let Ok(_permit) = store.wake().listener.acquire().await else {
            return;
        };
        loop {
            if let Err(error) = store.hear_calls().await {
                tracing::debug!(%error, "cannot listen for wake-up calls; relays look by themselves");
            }
            tokio::time::sleep(RECONNECT).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Sweeps for those who wait in vain, measures the outbox and how channels do, and removes what was kept long enough.
pub(crate) async fn keep(store: &Store, retention: &Retention, stop: &CancellationToken) {
    let work = async {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in (0..SWEEPS_PER_TIDYING).cycle() {
            ticks.tick().await;
            if let Err(error) = sweep(store).await {
                tracing::warn!(%error, "sweeping failed; trying again");
            }
            if tick == 0
                && let Err(error) = tidy(store, retention).await
            {
                tracing::warn!(%error, "tidying failed; trying again");
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

async fn sweep(store: &Store) -> Result<(), StoreError> {
    metrics::gauge!("tributary_outbox_rows").set(store.outbox_depth().await? as f64);
    for (channel, state) in store.health_of_channels().await? {
        for known in HealthState::ALL {
            let is_now = state.as_deref() == Some(known.as_str());
            metrics::gauge!("tributary_channel_health", "channel" => channel.clone(), "state" => known.as_str())
                .set(if is_now { 1.0 } else { 0.0 });
        }
    }
    for organization in store.organizations_to_match().await? {
        store.match_team(&organization).await?;
    }
    Ok(())
}

async fn tidy(store: &Store, retention: &Retention) -> Result<(), StoreError> {
    while store.tidy(retention, now()).await? > 0 {
        tokio::task::yield_now().await;
    }
    Ok(())
}
