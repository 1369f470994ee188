//! Decisions as values: what an inbound event changes, and who gets whom. Nothing here reads or writes.

pub(crate) mod matching;
