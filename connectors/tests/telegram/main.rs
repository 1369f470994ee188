//! The Telegram channel against a simulated Telegram, on the real embedded bus and the real ledger.

mod contents;
mod direct;
mod ingress;
mod media;
mod outbound;
mod rooms;
mod secrets;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod updates;
mod ways;
