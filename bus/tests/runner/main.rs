//! The lane runner on a real file: order, retries, pauses, limits, and what it leaves behind.

#[path = "../kit/mod.rs"]
mod kit;

mod any_order;
mod bounds;
mod crashes;
mod outcomes;

use tributary_bus::Lane;

pub const LANE: Lane = Lane::Inbound(0);

pub fn numbers(range: std::ops::Range<usize>) -> Vec<usize> {
    range.collect()
}
