//! The cases, by group. Each is generic over the stand.

pub mod actions;
pub mod contents;
pub mod garbage;
pub mod inbound;
pub mod privacy;
pub mod trouble;
