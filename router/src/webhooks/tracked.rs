//! What a process knows of the endpoints whose lanes it owns, and writing that down in batches.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tributary_base::warn_limited;
use tributary_bus::{EndpointId, EventFilter, OrganizationId};

use super::progress::Progress;
use crate::{
    model::now,
    store::{EndpointHealth, EndpointProgress, EndpointState, EventPlace, Store, StoreError},
};

/// How often it is written down.
const INTERVAL: Duration = Duration::from_secs(2);
/// Events of one endpoint that are looked at in one round, at most.
const ROUND: i64 = 1000;
/// An endpoint that answers nothing but 410 for this long is disabled.
const GONE: TimeDelta = TimeDelta::hours(1);

/// One endpoint, for as long as this process owns its lane.
#[derive(Debug)]
pub struct Tracked {
    pub id: EndpointId,
    pub organization: OrganizationId,
    pub patterns: Vec<String>,
    progress: Mutex<Progress>,
    health: Mutex<EndpointHealth>,
    health_changed: AtomicBool,
    /// Nothing is sent to it. Only its owner disables it; whoever sends its events again sees that it is enabled.
    disabled: AtomicBool,
    /// Events are to be sent again.
    pub resend: Notify,
}

impl Tracked {
    /// What was written down; events wait at once when some are to be sent again.
    pub fn new(
        id: EndpointId,
        organization: OrganizationId,
        patterns: Vec<String>,
        state: EndpointState,
    ) -> Self {
        let tracked = Self {
            id,
            organization,
            patterns,
            progress: Mutex::new(Progress::new(state.position, state.unsettled)),
            health: Mutex::new(state.health),
            health_changed: AtomicBool::new(false),
            disabled: AtomicBool::new(false),
            resend: Notify::new(),
        };
        if state.resend.is_some() {
            tracked.progress().look();
            tracked.resend.notify_one();
        }
        tracked
    }

    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    pub fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::SeqCst)
    }

    /// It answered nothing but 410 for an hour.
    pub fn disable(&self) {
        lock(&self.health).gone_since = None;
        self.health_changed.store(true, Ordering::Relaxed);
        self.set_disabled(true);
    }

    /// It is sent to again; what it answered before does not count.
    pub fn enable(&self) {
        if self.is_disabled() {
            lock(&self.health).gone_since = None;
            self.health_changed.store(true, Ordering::Relaxed);
        }
        self.set_disabled(false);
    }

    pub fn set_disabled(&self, disabled: bool) {
        self.disabled.store(disabled, Ordering::SeqCst);
    }

    /// Which events the endpoint wants.
    pub fn filter(&self) -> EventFilter {
        EventFilter {
            organization: self.organization.clone(),
            patterns: self.patterns.clone(),
        }
    }

    /// The endpoint took an event.
    pub fn succeeded(&self) {
        let mut health = lock(&self.health);
        *health = EndpointHealth {
            last_success_at: Some(now()),
            last_failure_at: health.last_failure_at,
            ..EndpointHealth::default()
        };
        self.health_changed.store(true, Ordering::Relaxed);
    }

    /// The endpoint did not take an event. `true`: it has answered nothing but 410 for so long that it is to be disabled.
    pub fn failed(&self, reason: &str, wait: Option<Duration>, is_gone: bool) -> bool {
        let now = now();
        let mut health = lock(&self.health);
        health.last_failure_at = Some(now);
        health.failures = health.failures.saturating_add(1);
        health.failure_reason = Some(reason.to_owned());
        health.next_try_at = wait.and_then(|wait| Some(now + TimeDelta::from_std(wait).ok()?));
        health.gone_since = is_gone.then(|| health.gone_since.unwrap_or(now));
        self.health_changed.store(true, Ordering::Relaxed);
        is_over(health.gone_since, now)
    }

    fn to_note(&self) -> Option<EndpointProgress> {
        let mut progress = self.progress();
        let health_changed = self.health_changed.swap(false, Ordering::Relaxed);
        if !progress.take_dirty() && !health_changed {
            return None;
        }
        Some(EndpointProgress {
            id: self.id,
            position: progress.position(),
            unsettled: progress.unsettled(),
            health: lock(&self.health).clone(),
        })
    }
}

fn is_over(gone_since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    gone_since.is_some_and(|since| now - since >= GONE)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The endpoints whose lanes this process owns.
#[derive(Debug)]
pub struct Registry {
    endpoints: Mutex<HashMap<EndpointId, Weak<Tracked>>>,
    /// Held by the one task of this process that writes them down.
    keeper: Semaphore,
}

impl Registry {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            endpoints: Mutex::default(),
            keeper: Semaphore::new(1),
        })
    }

    pub fn add(&self, tracked: &Arc<Tracked>) {
        lock(&self.endpoints).insert(tracked.id, Arc::downgrade(tracked));
    }

    pub fn get(&self, id: EndpointId) -> Option<Arc<Tracked>> {
        lock(&self.endpoints).get(&id)?.upgrade()
    }

    fn all(&self) -> Vec<Arc<Tracked>> {
        let mut endpoints = lock(&self.endpoints);
        endpoints.retain(|_, tracked| tracked.strong_count() > 0);
        endpoints.values().filter_map(Weak::upgrade).collect()
    }

    /// Writes down what changed, every now and then, until `stop`. Runs beside every lane and works in one of them.
    pub async fn keep(&self, store: &Store, stop: &CancellationToken) {
        let work = async {
            // A closed semaphore cannot be: nobody closes it.
            let Ok(_permit) = self.keeper.acquire().await else {
                return;
            };
            loop {
                tokio::time::sleep(INTERVAL).await;
                self.round(store).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn round(&self, store: &Store) {
        let to_note: Vec<_> = self
            .all()
            .into_iter()
            .filter_map(|tracked| Some((tracked.to_note()?, tracked)))
            .collect();
        if let Err(error) = note(store, &to_note).await {
            warn_limited!("endpoints noted", %error, "how far endpoints are cannot be written down; trying again");
            for (_, tracked) in &to_note {
                tracked.health_changed.store(true, Ordering::Relaxed);
            }
        }
        match store.endpoints_to_resend().await {
            Ok(wanted) => {
                for tracked in wanted.into_iter().filter_map(|id| self.get(id)) {
                    tracked.resend.notify_one();
                }
            }
            Err(error) => {
                warn_limited!("endpoints to resend", %error, "it cannot be read which events are to be sent again; trying again");
            }
        }
    }
}

async fn note(
    store: &Store,
    changed: &[(EndpointProgress, Arc<Tracked>)],
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let wanted: Vec<_> = changed
        .iter()
        .map(|(note, tracked)| (note.id, tracked.organization.clone(), note.position))
        .collect();
    let mut places: HashMap<EndpointId, Vec<EventPlace>> = HashMap::new();
    for (id, place) in store.event_places(&wanted, ROUND).await? {
        places.entry(id).or_default().push(place);
    }
    let mut notes = Vec::with_capacity(changed.len());
    for (note, tracked) in changed {
        let mut progress = tracked.progress();
        progress.advance(places.remove(&note.id).unwrap_or_default());
        notes.push(EndpointProgress {
            position: progress.position(),
            unsettled: progress.unsettled(),
            ..note.clone()
        });
    }
    store.note_endpoints(&notes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked() -> Tracked {
        let state = EndpointState::default();
        Tracked::new(
            EndpointId::generate(),
            "acme".into(),
            vec!["*".to_owned()],
            state,
        )
    }

    #[test]
    fn only_410_for_an_hour_ends_an_endpoint() {
        let tracked = tracked();
        assert!(!tracked.failed("410", None, true));
        let since = |age| lock(&tracked.health).gone_since = Some(now() - age);
        since(GONE - TimeDelta::seconds(9));
        assert!(!tracked.failed("410", None, true));
        since(GONE);
        assert!(!tracked.failed("500", None, false), "another answer");
        assert!(!tracked.failed("410", None, true), "the hour begins anew");
        since(GONE);
        assert!(tracked.failed("410", None, true));
        tracked.succeeded();
        assert!(!tracked.failed("410", None, true));
    }
}
