//! What the parts of the embedded bus share: the way to the writer, and who owns which lane.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    DEADLINE,
    error::Failure,
    registry::Registry,
    writer::{Op, Reply, Request},
};
use crate::{BusError, BusState, Group, Lane};

/// Held by everything that uses the file; the writer ends when the last one is gone.
pub(super) struct Link {
    pub core: Arc<Core>,
    pub read: SqlitePool,
    queue: mpsc::Sender<Request>,
}

/// What the writer shares with the others.
pub(super) struct Core {
    pub state: watch::Sender<BusState>,
    /// This process, in what it records; a new one after each start.
    pub instance: uuid::Uuid,
    /// Set when the bus was closed; nothing is handed out or written any more.
    pub closed: CancellationToken,
    registry: RwLock<Arc<Registry>>,
    slots: Mutex<HashMap<Lane, Arc<Slot>>>,
    /// The slots of lanes that were taken from, by their number in the file.
    taken: Mutex<HashMap<i64, Arc<Slot>>>,
    groups: Mutex<HashMap<Group, HashSet<u64>>>,
    tokens: AtomicU64,
}

/// One lane as this process sees it, whether it exists in the file or not.
pub(super) struct Slot {
    pub lane: Lane,
    /// Counts up when there may be something new to take, or when an intake has ended.
    pub changed: watch::Sender<u64>,
    hold: Mutex<Hold>,
}

/// Who owns a lane and what was handed out of it.
#[derive(Default)]
pub(super) struct Hold {
    pub owner: Option<u64>,
    pub lease: Option<watch::Sender<Option<Instant>>>,
    /// The open intake.
    pub intake: Option<u64>,
    /// Messages that the open intake has handed out.
    pub unsettled: BTreeSet<i64>,
    /// Messages handed out by an intake that is gone, not yet counted as such in the file.
    pub returned: Vec<i64>,
}

impl Link {
    pub fn new(core: Arc<Core>, read: SqlitePool, queue: mpsc::Sender<Request>) -> Self {
        Self { core, read, queue }
    }

    /// Fails once the bus was closed.
    pub fn open(&self) -> Result<(), BusError> {
        if self.core.closed.is_cancelled() {
            return Err(Failure::Closed.into());
        }
        Ok(())
    }

    /// Has the writer do something and waits until it is committed.
    pub async fn write(&self, op: Op) -> Result<Reply, Failure> {
        let (reply, answer) = oneshot::channel();
        let request = Request { op, reply };
        let sent = tokio::time::timeout(DEADLINE, self.queue.send(request)).await;
        match sent {
            // Never queued, so certainly not written.
            Err(_) => return Err(Failure::Storage("too much waits to be written".to_owned())),
            Ok(Err(_)) => return Err(Failure::Closed),
            Ok(Ok(())) => {}
        }
        match tokio::time::timeout(DEADLINE, answer).await {
            Err(_) => Err(Failure::Deadline),
            Ok(Err(_)) => Err(Failure::Closed),
            Ok(Ok(result)) => result,
        }
    }
}

impl Core {
    pub fn new(state: BusState) -> Self {
        Self {
            state: watch::Sender::new(state),
            instance: uuid::Uuid::now_v7(),
            closed: CancellationToken::new(),
            registry: RwLock::default(),
            slots: Mutex::default(),
            taken: Mutex::default(),
            groups: Mutex::default(),
            tokens: AtomicU64::new(1),
        }
    }

    /// A number that nobody else in this process has.
    pub fn token(&self) -> u64 {
        self.tokens.fetch_add(1, Ordering::Relaxed)
    }

    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_registry(&self, registry: Arc<Registry>) {
        *self
            .registry
            .write()
            .unwrap_or_else(PoisonError::into_inner) = registry;
    }

    pub fn slot(&self, lane: &Lane) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(lane.clone()).or_insert_with(|| {
            Arc::new(Slot {
                lane: lane.clone(),
                changed: watch::Sender::new(0),
                hold: Mutex::default(),
            })
        });
        Arc::clone(slot)
    }

    pub fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.slots).values().map(Arc::clone).collect()
    }

    /// Has the slot woken when something comes into the lane of this number.
    pub fn wake_for(&self, lane_id: i64, slot: &Arc<Slot>) {
        lock(&self.taken).insert(lane_id, Arc::clone(slot));
    }

    pub fn wake(&self, lane_ids: &HashSet<i64>) {
        if lane_ids.is_empty() {
            return;
        }
        let taken = lock(&self.taken);
        for slot in lane_ids.iter().filter_map(|id| taken.get(id)) {
            slot.wake();
        }
    }

    pub fn groups(&self) -> MutexGuard<'_, HashMap<Group, HashSet<u64>>> {
        lock(&self.groups)
    }

    /// Moves to a state; listeners hear of a change only.
    pub fn set_state(&self, state: BusState) {
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            if changed {
                *current = state;
            }
            changed
        });
    }
}

impl Slot {
    pub fn hold(&self) -> MutexGuard<'_, Hold> {
        lock(&self.hold)
    }

    pub fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Hold {
    /// Ends the open intake, whoever has it.
    pub fn end_intake(&mut self) {
        self.intake = None;
        self.returned.extend(std::mem::take(&mut self.unsettled));
    }

    /// Ends the ownership.
    pub fn end(&mut self) {
        self.owner = None;
        self.end_intake();
        if let Some(lease) = self.lease.take() {
            lease.send_replace(None);
        }
    }
}

/// Nothing that holds one of these locks can panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
