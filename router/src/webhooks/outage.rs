//! An endpoint that is down: how long its events wait, that one of them at a time looks whether it is back, and that an
//! event which breaks its receiver does not pass for an outage for ever.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit};
use tributary_base::backoff::Backoff;
use tributary_bus::EventId;

use super::classify::{Away, Blame};

/// An endpoint that wants to be asked again at once is not asked as fast as it answers.
const SHORTEST_WAIT: Duration = Duration::from_millis(300);
/// An event that failed this often is held back alone: the next one tells whether the endpoint is down.
const SUSPECT_AFTER: u32 = 3;
/// Events whose failures are remembered, at most.
const SUSPECTS: usize = 1000;

/// What is known of an endpoint's health.
#[derive(Debug)]
pub struct Outage {
    backoff: Backoff,
    /// A wait that the endpoint asks for is clamped to this.
    longest: Duration,
    state: Mutex<State>,
    /// While the endpoint is down, whoever tries holds this.
    probe: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    /// Failures in a row; requests that failed together count once.
    failures: u32,
    failed_at: Option<Instant>,
    until: Option<Instant>,
    /// Failures of events that may have caused them.
    suspects: HashMap<EventId, u32>,
}

/// Whether a request may go out.
#[derive(Debug)]
pub enum Admission<'a> {
    /// It may; the permit is held while the endpoint is probed.
    Go(Option<SemaphorePermit<'a>>),
    /// The endpoint is down for this long.
    Wait(Duration),
}

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Setback {
    /// All events wait this long.
    All {
        wait: Duration,
        /// Whether the endpoint worked until now.
        is_new: bool,
    },
    /// The event is the likely cause: only its conversation waits.
    Event,
}

impl Outage {
    /// An endpoint that works as far as one knows.
    pub fn new(backoff: Backoff, longest: Duration) -> Self {
        Self {
            backoff,
            longest,
            state: Mutex::default(),
            probe: Semaphore::new(1),
        }
    }

    /// Lets every request through while the endpoint works, and one at a time while it does not.
    pub async fn admit(&self) -> Admission<'_> {
        if self.state().failures == 0 {
            return Admission::Go(None);
        }
        // Never closed; if it were, going on without a permit would do no harm.
        let permit = self.probe.acquire().await.ok();
        let now = Instant::now();
        match self.state().until {
            Some(until) if until > now => Admission::Wait(until - now),
            _ => Admission::Go(permit),
        }
    }

    /// Notes that the request for an event, begun at `begun`, failed.
    pub fn failed(&self, begun: Instant, event: EventId, away: &Away) -> Setback {
        let mut state = self.state();
        if away.blame == Blame::Either && state.suspect(event) > SUSPECT_AFTER {
            return Setback::Event;
        }
        let now = Instant::now();
        if state.failed_at.is_some_and(|at| begun < at) {
            // It was under way when another failed: the same outage, already counted.
            let until = state.until.unwrap_or(now);
            return Setback::All {
                wait: until.saturating_duration_since(now),
                is_new: false,
            };
        }
        state.failures = state.failures.saturating_add(1);
        let wait = match away.after {
            Some(Duration::ZERO) => SHORTEST_WAIT,
            Some(asked) => asked.min(self.longest),
            None => self.backoff.delay(state.failures),
        };
        state.failed_at = Some(now);
        state.until = now.checked_add(wait);
        Setback::All {
            wait,
            is_new: state.failures == 1,
        }
    }

    /// Notes that the endpoint answered the request for an event, begun at `begun`. `true`: it was down until now.
    pub fn answered(&self, begun: Instant, event: EventId) -> bool {
        let mut state = self.state();
        state.suspects.remove(&event);
        if state.failed_at.is_none_or(|at| begun < at) {
            return false;
        }
        state.failures = 0;
        state.failed_at = None;
        state.until = None;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a failure of an event.
    fn suspect(&mut self, event: EventId) -> u32 {
        if self.suspects.len() >= SUSPECTS && !self.suspects.contains_key(&event) {
            self.suspects.clear();
        }
        let failures = self.suspects.entry(event).or_default();
        *failures = failures.saturating_add(1);
        *failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(3600);

    fn outage() -> Outage {
        let backoff = Backoff {
            base: Duration::from_secs(8),
            cap: Duration::from_secs(60),
        };
        Outage::new(backoff, LONGEST)
    }

    fn away(blame: Blame, after: Option<Duration>) -> Away {
        Away {
            reason: "test".to_owned(),
            after,
            blame,
            is_gone: false,
        }
    }

    #[tokio::test]
    async fn no_wish_to_wait_is_longer_than_the_bound() {
        let outage = outage();
        let week = away(Blame::Endpoint, Some(Duration::from_secs(604_800)));
        let setback = outage.failed(Instant::now(), EventId::generate(), &week);
        assert_eq!(wait_of(&setback), LONGEST);
        let Admission::Wait(wait) = outage.admit().await else {
            panic!("the endpoint asked for a pause");
        };
        assert!(wait <= LONGEST, "{wait:?}");
    }

    fn wait_of(setback: &Setback) -> Duration {
        match setback {
            Setback::All { wait, .. } => *wait,
            Setback::Event => Duration::MAX,
        }
    }

    #[test]
    fn requests_that_fail_together_are_one_failure() {
        let outage = outage();
        let away = away(Blame::Either, None);
        let begun = Instant::now();
        let first = outage.failed(begun, EventId::generate(), &away);
        assert!(matches!(first, Setback::All { is_new: true, .. }));
        assert!(wait_of(&first) <= Duration::from_secs(8));
        for _ in 0..30 {
            let later = outage.failed(begun, EventId::generate(), &away);
            assert!(matches!(later, Setback::All { is_new: false, .. }));
            assert!(wait_of(&later) <= wait_of(&first));
        }
        assert_eq!(outage.state().failures, 1);
        outage.failed(Instant::now(), EventId::generate(), &away);
        assert_eq!(outage.state().failures, 2);
    }

    #[test]
    fn only_a_later_answer_ends_an_outage() {
        let outage = outage();
        let event = EventId::generate();
        let begun = Instant::now();
        assert!(!outage.answered(begun, event));
        outage.failed(begun, event, &away(Blame::Endpoint, None));
        assert!(!outage.answered(begun, event));
        assert!(outage.answered(Instant::now(), event));
        assert!(!outage.answered(Instant::now(), event));
    }

    #[test]
    fn an_event_that_breaks_its_receiver_is_found_out() {
        let outage = outage();
        let (broken, sound) = (EventId::generate(), EventId::generate());
        let away = away(Blame::Either, None);
        for _ in 0..SUSPECT_AFTER {
            let setback = outage.failed(Instant::now(), broken, &away);
            assert!(matches!(setback, Setback::All { .. }));
        }
        assert_eq!(outage.failed(Instant::now(), broken, &away), Setback::Event);
        assert!(outage.answered(Instant::now(), sound));
        // It stays found out, until it is taken.
        assert_eq!(outage.failed(Instant::now(), broken, &away), Setback::Event);
        assert_eq!(outage.state().failures, 0);
        outage.answered(Instant::now(), broken);
        assert!(matches!(
            outage.failed(Instant::now(), broken, &away),
            Setback::All { .. }
        ));
    }

    #[test]
    fn an_endpoint_that_is_gone_is_not_put_down_to_an_event() {
        let outage = outage();
        let event = EventId::generate();
        for _ in 0..20 {
            let setback = outage.failed(Instant::now(), event, &away(Blame::Endpoint, None));
            assert!(matches!(setback, Setback::All { .. }));
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_is_down_is_tried_by_one_at_a_time() {
        let outage = outage();
        let fail = |after| {
            let away = away(Blame::Endpoint, Some(Duration::from_secs(after)));
            outage.failed(Instant::now(), EventId::generate(), &away)
        };
        assert!(matches!(outage.admit().await, Admission::Go(None)));
        fail(0);
        // "At once" is a moment later: nobody is asked as fast as they answer.
        let Admission::Wait(wait) = outage.admit().await else {
            panic!("asked again at once");
        };
        assert!(wait <= SHORTEST_WAIT);
        tokio::time::sleep(wait).await;
        let probing = outage.admit().await;
        assert!(matches!(probing, Admission::Go(Some(_))));
        assert!(futures::poll!(std::pin::pin!(outage.admit())).is_pending());
        fail(60);
        drop(probing);
        assert!(matches!(outage.admit().await, Admission::Wait(_)));
    }
}
