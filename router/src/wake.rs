//! Calls within this process: a relay is woken when its outbox has rows, a matcher when somebody waits.
//!
//! A lost call does no harm: relays also look by themselves every now and then, and so does the sweep for those who
//! wait.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, Semaphore};
use tributary_bus::OrganizationId;

/// The bells of one process.
#[derive(Debug)]
pub(crate) struct Wake {
    relays: Mutex<HashMap<u16, Vec<Arc<Notify>>>>,
    waiting: Mutex<BTreeSet<OrganizationId>>,
    somebody_waits: Notify,
    /// Held by the one task of this process that matches.
    pub matcher: Semaphore,
    /// Held by the one task of this process that listens for calls from other processes.
    pub listener: Semaphore,
    /// Held by the one task of this process that notes which lanes were declared anew.
    pub renewals: Semaphore,
}

/// A relay's bell; taken down when dropped.
#[derive(Debug)]
pub(crate) struct Bell {
    shard: u16,
    notify: Arc<Notify>,
    wake: Arc<Wake>,
}

impl Wake {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            relays: Mutex::default(),
            waiting: Mutex::default(),
            somebody_waits: Notify::new(),
            matcher: Semaphore::new(1),
            listener: Semaphore::new(1),
            renewals: Semaphore::new(1),
        })
    }

    /// Hangs up a bell for the relay of a shard.
    pub fn bell(self: &Arc<Self>, shard: u16) -> Bell {
        let notify = Arc::new(Notify::new());
        let mut relays = lock(&self.relays);
        relays.entry(shard).or_default().push(Arc::clone(&notify));
        Bell {
            shard,
            notify,
            wake: Arc::clone(self),
        }
    }

    /// Rings for a shard. `false`: its relay is not in this process.
    pub fn ring(&self, shard: u16) -> bool {
        match lock(&self.relays).get(&shard) {
            Some(bells) if !bells.is_empty() => {
                bells.iter().for_each(|bell| bell.notify_one());
                true
            }
            Some(_) | None => false,
        }
    }

    /// Rings for every shard whose relay is in this process.
    pub fn ring_all(&self) {
        for bell in lock(&self.relays).values().flatten() {
            bell.notify_one();
        }
    }

    /// Asks for a matching of these organizations, soon.
    pub fn match_soon(&self, organizations: impl IntoIterator<Item = OrganizationId>) {
        lock(&self.waiting).extend(organizations);
        self.somebody_waits.notify_one();
    }

    /// The organizations that asked for a matching; waits for the first.
    pub async fn next_to_match(&self) -> BTreeSet<OrganizationId> {
        loop {
            let waiting = std::mem::take(&mut *lock(&self.waiting));
            if !waiting.is_empty() {
                return waiting;
            }
            self.somebody_waits.notified().await;
        }
    }
}

impl Bell {
    /// Waits until it rings. A ring while nobody waited is kept.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(bells) = lock(&self.wake.relays).get_mut(&self.shard) {
            bells.retain(|bell| !Arc::ptr_eq(bell, &self.notify));
        }
    }
}

/// The maps are whole after every statement, so a panic elsewhere leaves nothing half done in them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rings_only_where_the_relay_is() {
        let wake = Wake::new();
        assert!(!wake.ring(3));
        let bell = wake.bell(3);
        assert!(wake.ring(3));
        bell.rung().await;
        drop(bell);
        assert!(!wake.ring(3));
    }

    #[tokio::test]
    async fn a_call_before_the_wait_is_kept() {
        let wake = Wake::new();
        wake.match_soon([OrganizationId::from("acme")]);
        wake.match_soon([OrganizationId::from("acme"), OrganizationId::from("other")]);
        assert_eq!(wake.next_to_match().await.len(), 2);
    }
}
