//! The widget behind the real ingress, on the real embedded bus and both databases.

mod asset;
mod browser;
mod bus;
mod changes;
mod choices;
mod doors;
mod mailbox;
mod messages;
mod refusals;
mod replies;
mod seen;
mod stage;
mod uploads;
mod visitor;
