//! What every room stands on and no room owns: databases, outgoing HTTP, backoff, telemetry.
//!
//! Knows no channel, no conversation and no message.

pub mod backoff;
pub mod database;
pub mod fleet;
pub mod log_limit;
pub mod media;
pub mod outgoing;
pub mod telemetry;
pub mod text;
