//! Channels: each folder adapts one provider to the normalized format.
//!
//! Knows no conversation, no agent and not the router. A channel folder never imports another.

mod accounts;
mod connector;
mod delivery;
mod health;
mod ledger;
mod pace;
pub mod registry;
pub mod server;
mod sink;
mod store;
mod telegram;
#[cfg(test)]
mod testing;
mod widget;

pub use accounts::{Account, Accounts};
pub use connector::{
    Asset, Capabilities, Connector, Context, Factory, Frame, Part, Receipt, ReceiveError, Received,
    Scope, SendContext, SendError, Session, Socket, SocketClosed, Sockets, TextLimit, Visit,
    Webhook,
};
pub use delivery::ConnectorAttendant;
pub use ledger::{Ledger, LedgerError};
pub use pace::{Bucket, Buckets, Pace, Rate};
pub use sink::{InboundSink, SinkError};
pub use store::{ConnectorStore, migrations};
