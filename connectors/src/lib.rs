//! Channels: each folder adapts one provider to the normalized format.
//!
//! Knows no conversation, no agent and not the router. A channel folder never imports another.

mod connector;

pub use connector::{
    Asset, Capabilities, Connector, Context, Factory, Frame, InboundSink, Part, Receipt,
    ReceiveError, Received, Scope, SendContext, SendError, Session, SinkError, Socket,
    SocketClosed, Sockets, TextLimit, Visit, Webhook,
};
