//! Why events were not taken, so that a dead letter can say so.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tributary_bus::EventId;

/// Events whose last failure is remembered, at most. More than a lane has in flight.
const REMEMBERED: usize = 1000;

/// The last failures of an endpoint.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    latest: Option<String>,
    of_events: HashMap<EventId, String>,
}

impl Reasons {
    /// Notes why an event was not taken.
    pub fn note(&self, event: EventId, reason: &str) {
        let mut inner = self.inner();
        if inner.of_events.len() >= REMEMBERED && !inner.of_events.contains_key(&event) {
            inner.of_events.clear();
        }
        inner.of_events.insert(event, reason.to_owned());
        inner.latest = Some(reason.to_owned());
    }

    /// Forgets an event that was taken.
    pub fn forget(&self, event: EventId) {
        self.inner().of_events.remove(&event);
    }

    /// `reason`, and why the event (or, if it was never tried, the latest one that was) was not taken.
    pub fn explain(&self, event: EventId, reason: String) -> String {
        let mut inner = self.inner();
        let last = inner.of_events.remove(&event);
        match last.as_ref().or(inner.latest.as_ref()) {
            Some(last) if !reason.contains(last.as_str()) => format!("{reason}; {last}"),
            Some(_) | None => reason,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_is_told() {
        let reasons = Reasons::default();
        let [refused, waiting] = [EventId::generate(), EventId::generate()];
        let old = || "too old".to_owned();
        assert_eq!(reasons.explain(waiting, old()), "too old");
        reasons.note(refused, "endpoint answered 403");
        reasons.note(EventId::generate(), "endpoint answered 500");
        assert_eq!(
            reasons.explain(refused, old()),
            "too old; endpoint answered 403"
        );
        assert_eq!(
            reasons.explain(waiting, old()),
            "too old; endpoint answered 500"
        );
        let told = "too old: endpoint answered 500".to_owned();
        assert_eq!(reasons.explain(waiting, told.clone()), told);
    }
}
