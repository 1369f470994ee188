//! How many lanes a worker owns, told as it is and not as its last look at the lanes left it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Group, Lane, measure};
use crate::Lease;

const INTERVAL: Duration = Duration::from_secs(1);

/// The leases of a worker's lanes.
pub(super) struct Tally {
    shared: Arc<Shared>,
    /// Ends the telling.
    _stop: DropGuard,
}

struct Shared {
    group: Group,
    leases: Mutex<HashMap<Lane, Lease>>,
}

impl Tally {
    /// Begins to tell.
    pub fn new(group: Group) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            group,
            leases: Mutex::default(),
        });
        tokio::spawn(tell_steadily(Arc::clone(&shared), stop.clone()));
        Self {
            shared,
            _stop: stop.drop_guard(),
        }
    }

    pub fn add(&self, lane: Lane, lease: Lease) {
        self.shared.leases().insert(lane, lease);
        self.shared.tell();
    }

    pub fn remove(&self, lane: &Lane) {
        self.shared.leases().remove(lane);
        self.shared.tell();
    }

    pub fn clear(&self) {
        self.shared.leases().clear();
        self.shared.tell();
    }
}

impl Shared {
    fn leases(&self) -> MutexGuard<'_, HashMap<Lane, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane that was lost, or whose lease nobody could prove for too long, is not owned.
    fn tell(&self) {
        let leases = self.leases();
        let owned = leases.values().filter(|lease| lease.is_fresh()).count();
        measure::owned(&self.group, owned);
    }
}

async fn tell_steadily(shared: Arc<Shared>, stop: CancellationToken) {
    let mut clock = tokio::time::interval(INTERVAL);
    while stop.run_until_cancelled(clock.tick()).await.is_some() {
        shared.tell();
    }
}
