//! The normalized message format, lanes, and the two buses that carry them.
//!
//! Knows no channel and no conversation rule: it carries. Only `amqp` imports lapin.

pub mod amqp;
mod bus;
pub mod embedded;
mod envelope;
mod ids;
mod lane;
pub mod message;

pub use amqp::AmqpBus;
pub use bus::{
    AttemptLog, Bus, BusError, BusState, Claim, DeadId, DeadLetter, Destination, EventFilter,
    Found, Intake, LaneSpec, Lease, Membership, Moved, Notice, Publication, PublishError, Tag,
    Taken,
};
pub use embedded::EmbeddedBus;
pub use envelope::{Data, Envelope, EnvelopeError, Payload, Sealed, schema_uri};
pub use ids::{
    Address, AgentId, ChannelId, ContactId, ConversationId, EndpointId, EventId, MessageId,
    OrganizationId,
};
pub use lane::{
    Attempt, Attendant, Group, Handler, Lane, LaneEnd, LaneRun, NotALane, Outcome, Policy, Step,
    Work, Workers, run_lane,
};
