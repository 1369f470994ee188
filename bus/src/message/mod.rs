//! The normalized format: what happened in a channel, what is to be sent, what integrators are told.

mod content;
mod context;
mod delivery;
mod inbound;
mod integrator;
mod markdown;
mod person;
mod status;
mod undelivered;

pub use content::{
    Card, Carousel, Choice, ChoiceAction, ChoiceReply, ChoiceStyle, Choices, ContactCard, Content,
    Email, Entity, EntityKind, Location, Media, MediaContent, MediaId, MediaState, Sticker,
    Template, Text, Unsupported,
};
pub use context::{Degradation, DegradationCode, MessageContext};
pub use delivery::{
    DeliveryDelete, DeliveryEdit, DeliveryReact, DeliveryRead, DeliverySend, DeliveryTyping,
    Priority,
};
pub use inbound::{
    ChannelHealth, ContactJoined, ContactLeft, ContactRead, ContactTyping, Inbound, JoinReason,
    LeaveReason, MessageChange, MessageChangeFailed, MessageDeleted, MessageEdited, MessageMedia,
    MessageReacted, MessageReceived, MessageStatus, Origin, Raw, SentBy,
};
pub use integrator::{
    Assignment, Author, ChannelHealthChanged, ContactBlocked, ContactChanged, ContactCreated,
    ContactView, ConversationAssigned, ConversationCreated, ConversationQueued,
    ConversationSlaBreached, ConversationState, ConversationStatusChanged, ConversationUpdated,
    ConversationView, Direction, EVENT_TYPES, EndpointDisabled, MessageChangeRefused,
    MessageContentEdited, MessageCreated, MessageMerged, MessageReactionsChanged, MessageRemoved,
    MessageStatusChanged, MessageUpdated, MessageView, NoteCreated, StateReason,
};
pub use markdown::from_markdown;
pub use person::{Attribution, Identifier, Profile, Touch, Utm};
pub use status::{Failure, FailureCode, HealthState, Status};
pub use undelivered::Undelivered;

use crate::{Payload, schema_uri};

macro_rules! payload {
    ($($type:ty => $name:literal),+ $(,)?) => {
        $(impl Payload for $type { const TYPE: &'static str = $name; })+

        /// Every event type with its JSON Schema, whose `$id` is the `dataschema` of such events.
        pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
            vec![$(($name, identified($name, schemars::schema_for!($type)))),+]
        }

        /// Every event type with a reference to its schema, which the generator holds with all that it mentions.
        pub fn schemas_in(generator: &mut schemars::SchemaGenerator) -> Vec<(&'static str, schemars::Schema)> {
            vec![$(($name, generator.subschema_for::<$type>())),+]
        }
    };
}

fn identified(name: &str, mut schema: schemars::Schema) -> schemars::Schema {
    schema.insert("$id".to_owned(), schema_uri(name).into());
    schema
}

payload! {
    MessageReceived => "message.received.v1",
    MessageEdited => "message.edit_received.v1",
    MessageDeleted => "message.delete_received.v1",
    MessageReacted => "message.reacted.v1",
    MessageStatus => "message.status.v1",
    MessageMedia => "message.media.v1",
    MessageChangeFailed => "message.change_failed.v1",
    ContactJoined => "contact.joined.v1",
    ContactLeft => "contact.left.v1",
    ContactTyping => "contact.typing.v1",
    ContactRead => "contact.read.v1",
    ChannelHealth => "channel.health.v1",
    DeliverySend => "delivery.send.v1",
    DeliveryEdit => "delivery.edit.v1",
    DeliveryDelete => "delivery.delete.v1",
    DeliveryReact => "delivery.react.v1",
    DeliveryTyping => "delivery.typing.v1",
    DeliveryRead => "delivery.read.v1",
    ConversationCreated => "conversation.created.v1",
    ConversationQueued => "conversation.queued.v1",
    ConversationAssigned => "conversation.assigned.v1",
    ConversationStatusChanged => "conversation.status_changed.v1",
    ConversationUpdated => "conversation.updated.v1",
    ConversationSlaBreached => "conversation.sla_breached.v1",
    MessageCreated => "message.created.v1",
    MessageStatusChanged => "message.status_changed.v1",
    MessageContentEdited => "message.edited.v1",
    MessageRemoved => "message.deleted.v1",
    MessageUpdated => "message.updated.v1",
    MessageReactionsChanged => "message.reactions_changed.v1",
    MessageMerged => "message.merged.v1",
    MessageChangeRefused => "message.change_refused.v1",
    ContactCreated => "contact.created.v1",
    ContactChanged => "contact.updated.v1",
    ContactBlocked => "contact.blocked.v1",
    NoteCreated => "note.created.v1",
    EndpointDisabled => "endpoint.disabled.v1",
    ChannelHealthChanged => "channel.health_changed.v1",
}
