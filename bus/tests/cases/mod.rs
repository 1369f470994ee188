//! The cases.

pub mod dead;
pub mod events;
pub mod lanes;
pub mod order;
pub mod ownership;
pub mod publishing;

/// Only with a broker: what happens when it or the network fails.
pub mod distress;
