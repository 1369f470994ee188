//! Stand-ins for the two sides a test needs: providers ([`telegram`]), a system of one's own ([`custom`]) and an integrator ([`endpoint`]).
//!
//! They are written from the providers' documents alone and import no crate of Tributary, so a mistake in our code cannot be
//! repeated here. They keep every fact a test may ask for (what was accepted, in which order, when), they live on `127.0.0.1:0`,
//! and they can misbehave by a [`script`]. Everything they keep is bounded.

pub mod custom;
pub mod endpoint;
pub mod script;
pub mod telegram;

mod client;
mod serve;
mod wait;

pub use wait::TimedOut;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks for a short, synchronous step. A panic in a test's predicate must not hide what the simulator knows.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
