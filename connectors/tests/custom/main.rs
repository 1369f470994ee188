//! The custom channel against a simulated system, on the real embedded bus, the real ledger and media store.

mod inbound;
mod outbound;
mod secrets;
mod stage;
#[path = "../support/mod.rs"]
mod support;
