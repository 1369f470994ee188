//! How fast an account may send: token buckets for the account and for each recipient.
//!
//! Exact without a shared counter, since an account's deliveries have one owner at a time.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tributary_bus::Address;

/// Asked before each provider call: the recipient's bucket first, then, until it gives a slot, the account's.
pub trait Pace: Send + Sync {
    /// Takes a slot of the recipient.
    ///
    /// # Errors
    /// Too fast; nothing was taken. Ask again after this long.
    fn recipient(&self, to: &Address) -> Result<(), Duration>;

    /// Takes a slot of the account.
    ///
    /// # Errors
    /// Too fast; nothing was taken. Ask again after this long.
    fn account(&self) -> Result<(), Duration>;

    /// Takes a slot of bulk's share, asked before [`Pace::account`] for what is one of many: a share of the account's
    /// burst, so that a reply always finds the rest of it.
    ///
    /// # Errors
    /// Too fast; nothing was taken. Ask again after this long.
    fn bulk(&self) -> Result<(), Duration> {
        Ok(())
    }
}

/// A rate: so many per period, so many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Between two, when used up.
    pub interval: Duration,
    pub burst: NonZeroU32,
}

impl Rate {
    /// `per` messages in `period`, `burst` of them at once; `None` when it would be no rate.
    pub fn new(per: f64, period: Duration, burst: u32) -> Option<Self> {
        let seconds = period.as_secs_f64() / per;
        let interval = Duration::try_from_secs_f64(seconds).ok()?;
        let burst = NonZeroU32::new(burst)?;
        (!interval.is_zero()).then_some(Self { interval, burst })
    }

    fn quota(self) -> Option<Quota> {
        Some(Quota::with_period(self.interval)?.allow_burst(self.burst))
    }
}

/// One bucket, of an account, and within it the share of bulk: as fast, with half of the burst.
pub struct Bucket {
    clock: DefaultClock,
    limiter: Option<DefaultDirectRateLimiter>,
    bulk: Option<DefaultDirectRateLimiter>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        let half = NonZeroU32::new(rate.burst.get() / 2).unwrap_or(NonZeroU32::MIN);
        let share = Rate {
            burst: half,
            ..rate
        };
        Self {
            clock: DefaultClock::default(),
            limiter: rate.quota().map(RateLimiter::direct),
            bulk: share.quota().map(RateLimiter::direct),
        }
    }

    /// Takes a slot.
    ///
    /// # Errors
    /// Empty; a slot will be there after this long.
    pub fn take(&self) -> Result<(), Duration> {
        self.take_from(self.limiter.as_ref())
    }

    /// Takes a slot of bulk's share; [`Bucket::take`] is still to be asked.
    ///
    /// # Errors
    /// The share is used up; a slot will be there after this long.
    pub fn take_bulk(&self) -> Result<(), Duration> {
        self.take_from(self.bulk.as_ref())
    }

    fn take_from(&self, limiter: Option<&DefaultDirectRateLimiter>) -> Result<(), Duration> {
        let Some(limiter) = limiter else {
            return Ok(());
        };
        limiter
            .check()
            .map_err(|not| not.wait_time_from(self.clock.now()))
    }
}

/// A bucket for each recipient.
pub struct Buckets {
    clock: DefaultClock,
    limiter: Option<DefaultKeyedRateLimiter<Address>>,
    taken: AtomicUsize,
}

/// Every so many takings, recipients whose buckets are full again are forgotten.
const TIDY_EVERY: usize = 10_000;

impl Buckets {
    /// Full buckets for everybody.
    pub fn new(rate: Rate) -> Self {
        Self {
            clock: DefaultClock::default(),
            limiter: rate.quota().map(RateLimiter::keyed),
            taken: AtomicUsize::new(0),
        }
    }

    /// Takes a slot of one recipient.
    ///
    /// # Errors
    /// Empty; a slot will be there after this long.
    pub fn take(&self, to: &Address) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        if self.taken.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        limiter
            .check_key(to)
            .map_err(|not| not.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_says_how_long() {
        let rate = Rate::new(1.0, Duration::from_secs(60), 3).expect("a rate");
        let buckets = Buckets::new(rate);
        let (one, other) = (Address::from("1"), Address::from("2"));
        for _ in 0..3 {
            assert_eq!(buckets.take(&one), Ok(()));
        }
        let wait = buckets.take(&one).expect_err("the burst is used up");
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60));
        assert_eq!(buckets.take(&other), Ok(()));
    }

    #[test]
    fn bulk_uses_a_part_of_the_burst() {
        let bucket = Bucket::new(Rate::new(1.0, Duration::from_secs(60), 5).expect("a rate"));
        for _ in 0..2 {
            assert_eq!((bucket.take_bulk(), bucket.take()), (Ok(()), Ok(())));
        }
        assert!(bucket.take_bulk().is_err());
        for _ in 0..3 {
            assert_eq!(bucket.take(), Ok(()), "the rest is for replies");
        }
        assert!(bucket.take().is_err());
    }

    #[test]
    fn impossible_rates_are_none() {
        assert_eq!(Rate::new(0.0, Duration::from_secs(1), 1), None);
        assert_eq!(Rate::new(-1.0, Duration::from_secs(1), 1), None);
        assert_eq!(Rate::new(1.0, Duration::from_secs(1), 0), None);
        assert_eq!(Rate::new(f64::NAN, Duration::from_secs(1), 1), None);
    }
}
