//! What a router does besides its lanes: matching those who wait, hearing calls from other processes, sweeping and
//! tidying. Each runs beside every lane and does its work in one of them at a time.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tributary_base::{backoff::Backoff, warn_limited};
use tributary_bus::{Bus, Lane, Notice, message::HealthState};

use crate::{
    model::now,
    store::{Renewal, Retention, Store, StoreError},
};

/// How often somebody looks for conversations that wait although an agent is free.
const SWEEP: Duration = Duration::from_secs(3);
/// The topic under which connectors report a delivery lane that was declared anew; the body is its name.
const RENEWED_NOTICE: &str = "delivery.redeclared";
/// Listening begins anew this often, should it have failed silently.
const LISTEN_AGAIN: Duration = Duration::from_secs(60);
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

/// Sweeps for those who wait in vain (also for an agent who has been away for `release_after`,
/// unless that is zero), measures the outbox and how channels do, and removes what was kept long
/// enough.
pub(crate) async fn keep(
    store: &Store,
    retention: &Retention,
    release_after: Duration,
    stop: &CancellationToken,
) {
    let work = async {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in (0..SWEEPS_PER_TIDYING).cycle() {
            ticks.tick().await;
            if let Err(error) = sweep(store).await {
                tracing::warn!(%error, "sweeping failed; trying again");
            }
            if let Err(error) = release(store, release_after).await {
                tracing::warn!(%error, "conversations of absent agents were not released; trying again");
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

/// Each part alone, and each organization and channel: one that fails holds up no other. Reports the first failure.
async fn sweep(store: &Store) -> Result<(), StoreError> {
    let mut failed = None;
    let mut note = |result: Result<(), StoreError>| failed = failed.take().or(result.err());
    let depth = store.outbox_depth().await;
    note(depth.map(|depth| metrics::gauge!("tributary_outbox_rows").set(depth as f64)));
    let health = store.health_of_channels().await;
    note(health.map(|channels| {
        for (channel, state) in channels {
            show_health(&channel, state.as_deref());
        }
    }));
    match store.organizations_to_match().await {
        Ok(organizations) => {
            for organization in organizations {
                note(store.match_team(&organization).await.map(drop));
            }
        }
        Err(error) => note(Err(error)),
    }
    match store.renewed().await {
        Ok(renewals) => {
            for renewal in renewals {
                note(emit_queued(store, renewal).await);
            }
        }
        Err(error) => note(Err(error)),
    }
    failed.map_or(Ok(()), Err)
}

/// What was in a delivery lane that had to be declared anew is emitted again.
async fn emit_queued(store: &Store, renewal: Renewal) -> Result<(), StoreError> {
    let channel = renewal.channel.clone();
    let emitted = store.emit_queued(renewal).await?;
    if emitted > 0 {
        tracing::warn!(%channel, emitted, "deliveries of a lane that was declared anew are emitted again");
    }
    Ok(())
}

/// Notes which delivery lanes were declared anew, here or by a connector.
pub(crate) async fn note_renewed_lanes(store: &Store, bus: &dyn Bus, stop: &CancellationToken) {
    let work = async {
        let Ok(_permit) = store.wake().renewals.acquire().await else {
            return;
        };
        let mut own = bus.redeclared();
        loop {
            let (notices, term) = match bus.notices().await {
                Ok(notices) => (notices, LISTEN_AGAIN),
                Err(error) => {
                    tracing::debug!(%error, "cannot listen for notices");
                    (stream::pending().boxed(), RECONNECT)
                }
            };
            let renewed = notices.filter_map(|notice| async move { renewed_by(&notice) });
            let mut renewed = std::pin::pin!(renewed);
            let again = tokio::time::sleep(term);
            let mut again = std::pin::pin!(again);
            loop {
                let lane = tokio::select! {
                    Some(lane) = own.next() => lane,
                    lane = renewed.next() => match lane {
                        Some(lane) => lane,
                        None => break,
                    },
                    () = &mut again => break,
                };
                note_renewed(store, lane).await;
            }
            tokio::time::sleep(RECONNECT).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

fn renewed_by(notice: &Notice) -> Option<Lane> {
    if notice.topic != RENEWED_NOTICE {
        return None;
    }
    std::str::from_utf8(&notice.body).ok()?.parse().ok()
}

async fn note_renewed(store: &Store, lane: Lane) {
    let Lane::Delivery(channel) = lane else {
        return;
    };
    for attempt in 1.. {
        match store.note_renewed(&channel).await {
            Ok(()) => return,
            Err(error) => {
                warn_limited!("renewed", %channel, %error, "a lane that was declared anew cannot be noted yet");
                tokio::time::sleep(Backoff::SERVER.delay(attempt)).await;
            }
        }
    }
}

async fn release(store: &Store, after: Duration) -> Result<(), StoreError> {
    if after.is_zero() {
        return Ok(());
    }
    let released = store.release_absent(after, now()).await?;
    if released > 0 {
        tracing::info!(
            released,
            "conversations of absent agents wait for another one"
        );
    }
    Ok(())
}

async fn tidy(store: &Store, retention: &Retention) -> Result<(), StoreError> {
    while store.tidy(retention, now()).await? > 0 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// One gauge for each state: 1 for the one that the channel is in.
fn show_health(channel: &str, state: Option<&str>) {
    for known in HealthState::ALL {
        let is_now = state == Some(known.as_str());
        metrics::gauge!("tributary_channel_reported", "channel" => channel.to_owned(), "state" => known.as_str())
            .set(if is_now { 1.0 } else { 0.0 });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU64, Ordering},
        },
    };

    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;

    /// Remembers gauges.
    #[derive(Default)]
    struct Seen(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder for Seen {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
            let mut seen = self.0.lock().expect("no test panics in here");
            Gauge::from_arc(Arc::clone(seen.entry(labels.join(" ")).or_default()))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_channel_is_in_one_state_at_a_time() {
        let seen = Seen::default();
        let in_state = || {
            let gauges = seen.0.lock().expect("no test panics in here");
            let set = gauges
                .iter()
                .filter(|(_, value)| f64::from_bits(value.load(Ordering::Relaxed)) > 0.5);
            set.map(|(labels, _)| labels.clone()).collect::<Vec<_>>()
        };
        metrics::with_local_recorder(&seen, || {
            show_health("shop", None);
            assert!(in_state().is_empty());
            show_health("shop", Some("down"));
            assert_eq!(in_state(), ["shop down"]);
            show_health("shop", Some("ok"));
            assert_eq!(in_state(), ["shop ok"]);
        });
    }
}
