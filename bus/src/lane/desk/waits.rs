//! How long messages and lanes wait, and when they are given up.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use tokio::time::Instant;

use super::{
    super::item::{Item, Key, Wait, Waiting},
    Desk,
};

/// What is added to a wait that was asked for, at most.
const JITTER: Duration = Duration::from_secs(1);

impl Desk {
    /// Decides how long the first of `left` waits, and whether it is tried again at all.
    pub(super) fn decide(
        &mut self,
        key: &Key,
        left: &mut [Item],
        wait: Wait,
        now: Instant,
    ) -> Option<Waiting> {
        let count = left.len();
        let first = left.first_mut()?;
        if let Wait::Unrecorded { reason } = wait {
            // It was not tried.
            return Some(self.hold_up(key, first, self.policy.backoff.delay(1), reason, now));
        }
        first.history.survived = true;
        first.history.deaths = 0;
        first.suspect = false;
        match wait {
            Wait::Retry { after, reason } => Some(self.retry(key, first, after, reason, now)),
            Wait::Defer { after, reason } => {
                let gave_up = first.history.exhausted.is_some();
                self.asked.limit(self.policy.max_age).apply(first, &reason);
                let wait = match &first.history.exhausted {
                    Some(_) if !gave_up => Duration::ZERO,
                    Some(_) | None => self.delay(Some(after), 1),
                };
                first.history.excused += wait;
                Some(self.hold_up(key, first, wait, reason, now))
            }
            Wait::Pause { after, reason } => {
                self.asked.limit(self.policy.max_age).apply(first, &reason);
                Some(self.pause(after, reason, now))
            }
            Wait::Panicked if count > 1 => {
                // Which one it was is not known: none is charged, each goes alone.
                if let Some(queue) = self.queues.get_mut(key) {
                    queue.single = count;
                }
                None
            }
            Wait::Panicked => {
                first.history.panics += 1;
                let panics = first.history.panics;
                if panics >= self.policy.crash_limit {
                    first.verdict = Some(format!("its handler panicked {panics} times"));
                    return None;
                }
                let reason = "its handler panicked".to_owned();
                Some(self.retry(key, first, None, reason, now))
            }
            Wait::Unrecorded { .. } => None,
        }
    }

    fn retry(
        &mut self,
        key: &Key,
        item: &mut Item,
        after: Option<Duration>,
        reason: String,
        now: Instant,
    ) -> Waiting {
        item.history.attempts += 1;
        let attempt = item.history.attempts;
        let gave_up = item.history.exhausted.is_some();
        if !gave_up && attempt >= self.policy.max_attempts {
            item.history.exhausted = Some(format!("gave up after {attempt} tries: {reason}"));
        } else {
            self.asked.limit(self.policy.max_age).apply(item, &reason);
        }
        // Giving up needs no further wait, unless giving up itself is what has to be tried again.
        let wait = match &item.history.exhausted {
            Some(_) if !gave_up => Duration::ZERO,
            Some(_) | None => self.delay(after, attempt),
        };
        if after.is_some() {
            item.history.excused += wait;
        }
        self.hold_up(key, item, wait, reason, now)
    }

    /// Lets the key wait.
    fn hold_up(
        &mut self,
        key: &Key,
        item: &Item,
        wait: Duration,
        reason: String,
        now: Instant,
    ) -> Waiting {
        self.wait(key, now + wait);
        Waiting::Key {
            id: item.id,
            attempt: item.history.attempts,
            wait,
            reason,
        }
    }

    /// Nothing of the key goes before this.
    fn wait(&mut self, key: &Key, due: Instant) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.due = Some(due);
        }
        self.dues.insert((due, Arc::clone(key)));
    }

    fn pause(&mut self, after: Option<Duration>, reason: String, now: Instant) -> Waiting {
        if self.paused.is_none() {
            self.pauses = self.pauses.saturating_add(1);
        }
        let wait = self.delay(after, self.pauses);
        if after.is_some() {
            self.asked.pause(wait);
        }
        self.paused = Some(self.paused.unwrap_or(now).max(now + wait));
        Waiting::Lane { wait, reason }
    }

    /// What was asked for, within bounds and at most a second more so that not all come back at once; otherwise the
    /// backoff.
    pub(super) fn delay(&self, after: Option<Duration>, attempt: u32) -> Duration {
        match after {
            Some(after) => {
                let asked = after.min(self.policy.longest_wait);
                let jitter = asked.mul_f64(0.1).min(JITTER);
                asked + jitter.mul_f64(rand::rng().random_range(0.0..1.0))
            }
            None => self.policy.backoff.delay(attempt),
        }
    }
}
