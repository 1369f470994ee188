//! An endpoint that is down: how long its events wait, and that one of them at a time looks whether it is back.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit};
use tributary_base::backoff::Backoff;

/// What is known of an endpoint's health.
#[derive(Debug)]
pub struct Outage {
    backoff: Backoff,
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
}

/// Whether a request may go out.
#[derive(Debug)]
pub enum Admission<'a> {
    /// It may; the permit is held while the endpoint is probed.
    Go(Option<SemaphorePermit<'a>>),
    /// The endpoint is down for this long.
    Wait(Duration),
}

/// What a failure changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Setback {
    /// How long all events wait.
    pub wait: Duration,
    /// Whether the endpoint worked until now.
    pub is_new: bool,
}

impl Outage {
    /// An endpoint that works as far as one knows.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
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

    /// Notes that a request which was begun at `begun` failed; `asked` is the pause the endpoint asked for.
    pub fn failed(&self, begun: Instant, asked: Option<Duration>) -> Setback {
        let mut state = self.state();
        let now = Instant::now();
        if state.failed_at.is_some_and(|at| begun < at) {
            // It was under way when another failed: the same outage, already counted.
            let until = state.until.unwrap_or(now);
            return Setback {
                wait: until.saturating_duration_since(now),
                is_new: false,
            };
        }
        state.failures = state.failures.saturating_add(1);
        let wait = asked.unwrap_or_else(|| self.backoff.delay(state.failures));
        state.failed_at = Some(now);
        state.until = now.checked_add(wait);
        Setback {
            wait,
            is_new: state.failures == 1,
        }
    }

    /// Notes that the endpoint answered a request which was begun at `begun`. `true`: it was down until now.
    pub fn answered(&self, begun: Instant) -> bool {
        let mut state = self.state();
        if state.failed_at.is_none_or(|at| begun < at) {
            return false;
        }
        *state = State::default();
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage() -> Outage {
        Outage::new(Backoff {
            base: Duration::from_secs(8),
            cap: Duration::from_secs(60),
        })
    }

    #[test]
    fn requests_that_fail_together_are_one_failure() {
        let outage = outage();
        let begun = Instant::now();
        let first = outage.failed(begun, None);
        assert!(first.is_new && first.wait <= Duration::from_secs(8));
        for _ in 0..30 {
            let later = outage.failed(begun, None);
            assert!(!later.is_new && later.wait <= first.wait);
        }
        assert_eq!(outage.state().failures, 1);
        assert!(!outage.failed(Instant::now(), None).is_new);
        assert_eq!(outage.state().failures, 2);
    }

    #[test]
    fn only_a_later_answer_ends_an_outage() {
        let outage = outage();
        let begun = Instant::now();
        assert!(!outage.answered(begun));
        outage.failed(begun, None);
        assert!(!outage.answered(begun));
        assert!(outage.answered(Instant::now()));
        assert!(!outage.answered(Instant::now()));
    }

    #[tokio::test]
    async fn an_endpoint_that_is_down_is_tried_by_one_at_a_time() {
        let outage = outage();
        assert!(matches!(outage.admit().await, Admission::Go(None)));
        outage.failed(Instant::now(), Some(Duration::ZERO));
        let probing = outage.admit().await;
        assert!(matches!(probing, Admission::Go(Some(_))));
        assert!(futures::poll!(std::pin::pin!(outage.admit())).is_pending());
        outage.failed(Instant::now(), Some(Duration::from_secs(60)));
        drop(probing);
        assert!(matches!(outage.admit().await, Admission::Wait(_)));
    }
}
