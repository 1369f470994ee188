//! What one visitor, one internet address and one connection may do in a while.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use tokio::time::Instant;
use tributary_bus::Address;

use super::{config::Rules, token::Visitor};
use crate::{Buckets, Rate};

/// Frames of one connection: so many at once, and so many a second after that. Far above what the script sends.
const FRAMES: f64 = FRAMES_AT_ONCE as f64;
const FRAMES_PER_SECOND: f64 = 10.0;
const FRAMES_AT_ONCE: u32 = 60;
const SECOND: Duration = Duration::from_secs(1);

/// Of one internet address, which may be an office or a mobile carrier: messages, and frames, as many as so many
/// visitors.
const VISITORS_OF_NETWORK: NonZeroU32 = NonZeroU32::new(50).expect("50 is not zero");

/// The buckets of one account, at this worker.
pub(super) struct Limits {
    messages: [Buckets; 2],
    messages_of_network: [Buckets; 2],
    frames_of_network: Option<Buckets>,
    visitors: [Buckets; 2],
    /// Of one visitor, and of one internet address.
    uploads: Option<[Buckets; 2]>,
}

impl Limits {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            messages: rules.messages.map(Buckets::new),
            messages_of_network: rules.messages.map(|rate| Buckets::new(of_network(rate))),
            frames_of_network: frames_of_network(rules).map(Buckets::new),
            visitors: rules.visitors.map(Buckets::new),
            uploads: (rules.uploads.as_ref()).map(|uploads| uploads.rates.map(Buckets::new)),
        }
    }

    /// A visitor writes.
    ///
    /// # Errors
    /// Too much; how long to wait.
    pub(super) fn message(&self, visitor: Visitor, peer: IpAddr) -> Result<(), Duration> {
        take(&self.messages, &visitor.address())?;
        take(&self.messages_of_network, &network(peer))
    }

    /// A frame comes from an internet address, whatever it says.
    ///
    /// # Errors
    /// Too many; how long to wait.
    pub(super) fn frame(&self, peer: IpAddr) -> Result<(), Duration> {
        match &self.frames_of_network {
            Some(frames) => frames.take(&network(peer)),
            None => Ok(()),
        }
    }

    /// A visitor brings a file.
    ///
    /// # Errors
    /// Too many; how long to wait.
    pub(super) fn upload(&self, visitor: Visitor, peer: IpAddr) -> Result<(), Duration> {
        let Some([one, shared]) = &self.uploads else {
            return Ok(());
        };
        one.take(&visitor.address())?;
        shared.take(&network(peer))
    }

    /// A visitor appears who was never seen before.
    ///
    /// # Errors
    /// Too many from this internet address; how long to wait.
    pub(super) fn newcomer(&self, peer: IpAddr) -> Result<(), Duration> {
        take(&self.visitors, &network(peer))
    }
}

/// Never fewer than messages.
fn frames_of_network(rules: &Rules) -> Option<Rate> {
    let mut rate = Rate::new(FRAMES_PER_SECOND, SECOND, FRAMES_AT_ONCE)?;
    for messages in &rules.messages {
        rate.interval = rate.interval.min(messages.interval);
        rate.burst = rate.burst.max(messages.burst);
    }
    Some(of_network(rate))
}

fn of_network(rate: Rate) -> Rate {
    Rate {
        interval: rate.interval / VISITORS_OF_NETWORK.get(),
        burst: rate.burst.saturating_mul(VISITORS_OF_NETWORK),
    }
}

fn take(buckets: &[Buckets], key: &Address) -> Result<(), Duration> {
    buckets.iter().try_for_each(|bucket| bucket.take(key))
}

/// One household or company: an IPv4 address, or the /64 network of an IPv6 address.
fn network(peer: IpAddr) -> Address {
    match peer.to_canonical() {
        IpAddr::V4(v4) => Address(v4.to_string()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Address(format!("{a:x}:{b:x}:{c:x}:{d:x}"))
        }
    }
}

/// Frames left to one connection.
pub(super) struct Budget {
    left: f64,
    at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: FRAMES,
            at: now,
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// None is left; how long until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * FRAMES_PER_SECOND).min(FRAMES);
        self.at = now;
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64(
                (1.0 - self.left) / FRAMES_PER_SECOND,
            ));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refills_with_time() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let taken = (0..1000).filter(|_| budget.take(start).is_ok()).count();
        assert_eq!(taken, 60);
        let later = start + Duration::from_secs(1);
        let taken = (0..1000).filter(|_| budget.take(later).is_ok()).count();
        assert_eq!(taken, 10);
        let much_later = start + Duration::from_secs(3600);
        let taken = (0..1000)
            .filter(|_| budget.take(much_later).is_ok())
            .count();
        assert_eq!(taken, 60);
    }

    #[test]
    fn an_ipv6_visitor_is_known_by_the_network() {
        let key = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(key("2001:db8:1:2::7"), key("2001:db8:1:2:ffff::1"));
        assert_ne!(key("2001:db8:1:2::7"), key("2001:db8:1:3::7"));
        assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.7"));
        assert_ne!(key("192.0.2.8"), key("192.0.2.7"));
    }
}
