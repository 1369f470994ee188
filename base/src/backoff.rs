//! Exponential backoff with full jitter and a cap. The only place where delays between tries are computed.

use std::time::Duration;

use rand::RngExt;

/// How long to wait between tries of one thing.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Upper limit of the first wait.
    pub base: Duration,
    /// Upper limit of every wait.
    pub cap: Duration,
}

impl Backoff {
    /// For connecting to a server of our own (broker, database): quick at first, never more than 5 s.
    pub const SERVER: Self = Self {
        base: Duration::from_millis(200),
        cap: Duration::from_secs(5),
    };

    /// The wait after try number `attempt` (the first is 1): uniform between zero and `base * 2^(attempt-1)`, capped.
    /// Full jitter spreads the tries of many workers that failed together.
    pub fn delay(&self, attempt: u32) -> Duration {
        self.limit(attempt).mul_f64(rand::rng().random::<f64>())
    }

    /// The longest that [`Backoff::delay`] answers for this attempt.
    pub fn limit(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_double_up_to_the_cap() {
        let backoff = Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
        };
        let limits: Vec<u64> = (0..9).map(|n| backoff.limit(n).as_secs()).collect();
        assert_eq!(limits, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.limit(u32::MAX), backoff.cap);
    }

    #[test]
    fn delays_are_spread_below_the_limit() {
        let backoff = Backoff {
            base: Duration::from_secs(8),
            cap: Duration::from_secs(8),
        };
        let delays: Vec<Duration> = (0..200).map(|_| backoff.delay(1)).collect();
        assert!(delays.iter().all(|delay| *delay <= backoff.cap));
        assert!(delays.iter().any(|delay| delay.as_secs() < 2));
        assert!(delays.iter().any(|delay| delay.as_secs() >= 6));
    }
}
