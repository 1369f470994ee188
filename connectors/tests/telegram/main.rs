//! The Telegram channel against a simulated Telegram, on the real embedded bus and the real ledger.

mod ingress;
mod outbound;
mod secrets;
mod stage;
mod updates;
