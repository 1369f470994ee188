//! Conversations, contacts, assignment, the store and its outbox, the REST API and the webhook worker.
//!
//! Knows no provider and no connector: it meets them only on the bus. `decide` is pure; `store` applies what it says.

pub mod api;
pub mod store;
pub mod webhooks;

mod attendant;
mod chores;
mod decide;
mod inbound;
mod links;
mod model;
mod relay;
mod undeliverable;
mod wake;

pub use attendant::{RouterAttendant, lane_policy, lanes};
pub use links::{MediaLinks, WebhookLinks};
