//! How much one internet address may hold at once, so that nobody takes everything.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Places, so many for each address (IPv6: each /64 network). Cheap to clone.
#[derive(Clone)]
pub(super) struct Places {
    limit: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place, given back when dropped.
pub(super) struct Place {
    network: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    /// Takes a place, if the address has one left.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let network = network(address);
        let mut taken = lock(&self.taken);
        let count = taken.entry(network).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Place {
            network,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

fn lock(taken: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One household or company.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_and_gives_them_back() {
        let places = Places::new(2);
        let of = |text: &str| places.take(text.parse().expect("an address"));
        let held = [of("192.0.2.7"), of("::ffff:192.0.2.7")];
        assert!(held.iter().all(Option::is_some));
        assert!(of("192.0.2.7").is_none());
        let network = [of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::1")];
        assert!(network.iter().all(Option::is_some));
        assert!(of("2001:db8:1:2::8").is_none());
        assert!(of("2001:db8:1:3::8").is_some() && of("192.0.2.8").is_some());
        drop(held);
        assert!(of("192.0.2.7").is_some());
        drop(network);
        assert!(lock(&places.taken).is_empty());
    }
}
