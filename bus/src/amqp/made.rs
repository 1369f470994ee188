//! Lanes whose queues this process found missing and declared anew, until somebody was told.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;

use crate::{Found, Lane};

/// Lanes made anew that wait for a slow listener; the oldest are dropped.
const LISTENED: usize = 10_000;

/// The broker answers only once that a queue was missing. What fails between that answer and the end of the
/// declaration must not lose it: the next declaration answers it then.
pub(super) struct Made {
    untold: Mutex<HashSet<Lane>>,
    listeners: broadcast::Sender<Lane>,
}

impl Made {
    pub(super) fn new() -> Self {
        Self {
            untold: Mutex::default(),
            listeners: broadcast::Sender::new(LISTENED),
        }
    }

    /// Notes that the queue of a lane is missing, before it is made: the answer to that may be lost.
    pub(super) fn note(&self, lane: &Lane) {
        self.untold().insert(lane.clone());
    }

    /// Removed on purpose: the next declaration makes a new lane, and notes so itself.
    pub(super) fn forget(&self, lane: &Lane) {
        self.untold().remove(lane);
    }

    /// What a declaration that has succeeded answers, given what it saw itself. Tells those who listen.
    pub(super) fn answer(&self, lane: &Lane, found: Found) -> Found {
        if !self.untold().remove(lane) && found == Found::Before {
            return Found::Before;
        }
        // Nobody may listen.
        drop(self.listeners.send(lane.clone()));
        Found::Now
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Lane> {
        self.listeners.subscribe()
    }

    fn untold(&self) -> MutexGuard<'_, HashSet<Lane>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
