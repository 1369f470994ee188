//! Channels: each folder adapts one provider to the normalized format.
//!
//! Knows no conversation, no agent and not the router. A channel folder never imports another.

mod accounts;
mod call_log;
mod capabilities;
mod connector;
mod custom;
mod delivery;
mod event_id;
mod health;
mod ledger;
mod media;
mod pace;
mod refusals;
pub mod registry;
pub mod render;
pub mod server;
mod sink;
mod store;
mod telegram;
#[cfg(test)]
mod testing;
mod widget;

pub use accounts::{Account, Accounts};
pub use call_log::{Call, CallLog, CallSink, ChannelLog, LoggedCall, calls_of};
pub use capabilities::{
    Capabilities, CarouselLimits, ChoiceLimits, Markup, MediaLimit, MediaLimits, Receipts, Support,
    TextLimit,
};
pub use connector::{
    Action, Asset, Connector, Context, Factory, Frame, Part, Receipt, Receipted, ReceiveError,
    Received, Replay, Scope, SendContext, SendError, Session, Socket, SocketClosed, Sockets,
    Uploads, Visit, Webhook,
};
pub use delivery::ConnectorAttendant;
pub use event_id::event_id;
pub use health::HealthReport;
pub use ledger::{Ledger, LedgerError};
pub use media::{
    FetchError, FetchQueue, LinkTypes, MediaAccess, MediaShelf, MediaSource, MediaStream, NoMedia,
};
pub use pace::{Bucket, Buckets, Pace, Rate};
pub use render::{Rendered, Unrenderable, render};
pub use sink::{InboundSink, SinkError};
pub use store::{ConnectorStore, migrations};
