//! Limits how often one cause is logged, so that a failure that thousands of tries meet stays readable.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Between two lines of one cause.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Causes that are remembered, at most.
const CAUSES: usize = 256;

/// Which causes were logged lately.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<HashMap<String, Cause>>);

#[derive(Debug)]
struct Cause {
    logged_at: Instant,
    suppressed: u64,
}

/// One for all places of a process: the same cause in another place is still the same cause.
static PROCESS: std::sync::LazyLock<LogLimit> = std::sync::LazyLock::new(LogLimit::default);

/// Whether a cause may be logged now, in this process: `Some` with the number of lines that were left out since the one
/// before. At most one line per [`INTERVAL`] and cause.
pub fn allow(cause: &str) -> Option<u64> {
    PROCESS.allow(cause, Instant::now())
}

impl LogLimit {
    /// Whether a cause may be logged now; see [`allow`].
    pub fn allow(&self, cause: &str, now: Instant) -> Option<u64> {
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = causes.get_mut(cause) {
            if now.saturating_duration_since(known.logged_at) < INTERVAL {
                known.suppressed += 1;
                return None;
            }
            known.logged_at = now;
            return Some(std::mem::take(&mut known.suppressed));
        }
        if causes.len() >= CAUSES {
            causes.retain(|_, c| now.saturating_duration_since(c.logged_at) < INTERVAL);
        }
        if causes.len() >= CAUSES {
            return None;
        }
        let known = Cause {
            logged_at: now,
            suppressed: 0,
        };
        causes.insert(cause.to_owned(), known);
        Some(0)
    }
}

/// A WARN about a failure of which thousands may happen at once: at most one line a second for each cause. The first
/// argument is the cause (text without ids); the rest is what `tracing::warn!` takes. `suppressed` counts the lines that
/// were left out.
#[macro_export]
macro_rules! warn_limited {
    ($cause:expr, $($rest:tt)+) => {
        if let Some(suppressed) = $crate::log_limit::allow($cause) {
            tracing::warn!(suppressed, $($rest)+);
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_logged_once_a_second_and_says_what_was_left_out() {
        let limit = LogLimit::default();
        let begun = Instant::now();
        assert_eq!(limit.allow("read-only", begun), Some(0));
        assert_eq!(limit.allow("another", begun), Some(0));
        for n in 1..100 {
            assert_eq!(
                limit.allow("read-only", begun + INTERVAL.mul_f64(0.01) * n),
                None
            );
        }
        assert_eq!(limit.allow("read-only", begun + INTERVAL), Some(99));
        assert_eq!(limit.allow("read-only", begun + INTERVAL * 3), Some(0));
    }

    #[test]
    fn causes_without_end_take_bounded_memory() {
        let limit = LogLimit::default();
        let begun = Instant::now();
        let logged = (0..10 * CAUSES).filter(|n| limit.allow(&n.to_string(), begun).is_some());
        assert_eq!(logged.count(), CAUSES);
        assert_eq!(limit.allow("later", begun + INTERVAL), Some(0));
    }
}
