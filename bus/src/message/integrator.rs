//! To integrators: what happened to conversations, messages and contacts.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Content, Failure, Status};
use crate::{Address, AgentId, ChannelId, ContactId, ConversationId, MessageId};

/// Every event type an endpoint can subscribe to, without version.
pub const EVENT_TYPES: [&str; 15] = [
    "conversation.created",
    "conversation.queued",
    "conversation.assigned",
    "conversation.status_changed",
    "conversation.updated",
    "conversation.sla_breached",
    "message.created",
    "message.status_changed",
    "message.edited",
    "message.deleted",
    "contact.created",
    "contact.updated",
    "contact.blocked",
    "note.created",
    "channel.health_changed",
];

/// A contact as integrators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactView {
    pub id: ContactId,
    pub channel_id: ChannelId,
    pub address: Address,
    pub name: Option<String>,
    pub locale: Option<String>,
    /// Whether the contact can be written to.
    pub blocked: bool,
    pub created_at: DateTime<Utc>,
}

/// A conversation as integrators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConversationView {
    pub id: ConversationId,
    pub channel_id: ChannelId,
    pub contact_id: ContactId,
    pub state: ConversationState,
    pub agent_id: Option<AgentId>,
    /// Place of the latest event.
    pub seq: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationState {
    /// Waits for an agent.
    Waiting,
    /// Has an agent.
    Assigned,
    Closed,
}

impl ConversationState {
    /// As it is written in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Assigned => "assigned",
            Self::Closed => "closed",
        }
    }
}

/// A message as integrators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageView {
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub channel_id: ChannelId,
    pub contact_id: ContactId,
    pub direction: Direction,
    pub author: Author,
    pub content: Content,
    pub status: Status,
    /// The outcome of a send is unknown; see `status`.
    pub uncertain: bool,
    pub failure: Option<Failure>,
    /// Place in the conversation.
    pub seq: i64,
    pub created_at: DateTime<Utc>,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    /// As it is written in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Who wrote a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Author {
    Contact {
        id: ContactId,
    },
    Agent {
        id: AgentId,
    },
    /// Sent through the API without naming an agent.
    Api,
}

/// Who got a conversation, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    RoundRobin,
    /// By a person or an integrator.
    Manual,
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        )+
    };
}

events! {
    /// A contact began a conversation.
    ConversationCreated { conversation: ConversationView, contact: ContactView }
    /// No agent was free; the conversation waits.
    ConversationQueued { conversation: ConversationView }
    /// An agent has the conversation now.
    ConversationAssigned { conversation: ConversationView, agent_id: AgentId, by: Assignment }
    /// It was closed or reopened.
    ConversationStatusChanged { conversation: ConversationView, previous: ConversationState }
    /// Something else about it changed.
    ConversationUpdated { conversation: ConversationView }
    /// A promised time has passed.
    ConversationSlaBreached { conversation: ConversationView, target: String }
    /// A message in either direction.
    MessageCreated { message: MessageView, contact: ContactView }
    /// A message came further, or failed.
    MessageStatusChanged { message: MessageView, previous: Status }
    /// The text of a message was changed.
    MessageContentEdited { message: MessageView }
    /// A message was taken back.
    MessageRemoved { message: MessageView }
    /// Somebody new.
    ContactCreated {
        contact: ContactView,
        /// The deep link's payload that brought the contact.
        payload: Option<String>,
    }
    /// Name or locale changed, a block was lifted, or the contact came again by a deep link.
    ContactChanged { contact: ContactView, payload: Option<String> }
    /// The contact can no longer be written to.
    ContactBlocked { contact: ContactView }
    /// An agent's remark, invisible to the contact.
    NoteCreated { conversation_id: ConversationId, author: Author, text: String }
    /// A channel account works better or worse than before.
    ChannelHealthChanged {
        channel_id: ChannelId,
        /// `ok`, `degraded`, `down`, `misconfigured`.
        state: String,
        reason: String,
    }
}
