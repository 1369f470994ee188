//! To integrators: what happened to conversations, messages and contacts.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Content, Degradation, Failure, HealthState, Identifier, Media, MessageChange, MessageContext,
    Status, Touch,
};
use crate::{Address, AgentId, ChannelId, ContactId, ConversationId, EndpointId, MessageId};

/// Every event type an endpoint can subscribe to, without version.
pub const EVENT_TYPES: [&str; 20] = [
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
    "message.updated",
    "message.reactions_changed",
    "message.merged",
    "message.change_refused",
    "contact.created",
    "contact.updated",
    "contact.blocked",
    "note.created",
    "endpoint.disabled",
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
    /// The handle in the channel, without `@`.
    pub username: Option<String>,
    pub avatar: Option<Media>,
    pub identifiers: Vec<Identifier>,
    /// What brought the contact first, as far as the channel tells.
    pub first_touch: Option<Touch>,
    /// What brought the contact last.
    pub last_touch: Option<Touch>,
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
    /// All states.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Assigned, Self::Closed];

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
    /// What had to be changed to fit the channel.
    pub degraded: Vec<Degradation>,
    /// The message of the conversation that it answers, when it is known.
    pub reply_to: Option<MessageId>,
    pub context: MessageContext,
    /// The contact's reactions on it.
    pub reactions: Vec<String>,
    /// Our reactions on it.
    #[serde(default)]
    pub our_reactions: Vec<String>,
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
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
    /// The owner of the account, in the provider's own app.
    Account,
}

/// Who got a conversation, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assignment {
    RoundRobin,
    /// By a person or an integrator.
    Manual,
}

/// Why a conversation was closed or reopened, or waits again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateReason {
    /// A person or an integrator asked for it.
    Requested,
    /// The contact wrote again.
    ContactWrote,
    /// Its agent was away for longer than the settings allow.
    AgentAbsent,
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
    /// It was closed or reopened, or waits for an agent again.
    ConversationStatusChanged {
        conversation: ConversationView,
        previous: ConversationState,
        reason: StateReason,
    }
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
    /// More is known of a message: its media arrived, or a later version could read more of it.
    MessageUpdated { message: MessageView }
    /// The contact or we put a reaction on a message or took one back.
    MessageReactionsChanged { message: MessageView }
    /// A message that was reported with `author` `account` is one that was sent through us.
    MessageMerged {
        message: MessageView,
        /// The message that no longer exists: everything about it belongs to `message`.
        merged_id: MessageId,
    }
    /// The channel refused to change a message; there it stands as it was.
    MessageChangeRefused { message: MessageView, change: MessageChange, failure: Failure }
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
    /// An endpoint answered 410 (gone) for an hour: nothing is sent to it until it is enabled again.
    EndpointDisabled {
        endpoint_id: EndpointId,
        url: String,
        /// For a person: why.
        reason: String,
    }
    /// A channel account works better or worse than before.
    ChannelHealthChanged {
        channel_id: ChannelId,
        state: HealthState,
        /// For a person: what happened.
        reason: String,
        /// For a person: what to do about it.
        action: Option<String>,
        since: DateTime<Utc>,
    }
}
