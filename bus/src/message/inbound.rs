//! From connectors to the router: what happened in a channel.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Attribution, Content, Degradation, Failure, HealthState, Media, MessageContext, Profile, Status,
};
use crate::{Address, ChannelId, Envelope, EnvelopeError, MessageId, Payload};

/// Where an inbound event comes from; part of every event of a connector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    pub channel_id: ChannelId,
    /// The contact (or the group) in the channel; decides the lane.
    pub address: Address,
    /// When it happened, by the provider's clock.
    pub occurred_at: DateTime<Utc>,
    /// The provider's own name of this event (not of the message that it is about): the same whenever it is reported
    /// again, another one for anything else. Part of the event's id where the time alone would not tell two apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The provider's payload as it came, so that a better parser can read it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Raw>,
}

/// A provider payload.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Raw {
    /// `application/json`, ...
    pub media_type: String,
    pub body: String,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({}, {} bytes)", self.media_type, self.body.len())
    }
}

/// A contact wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageReceived {
    pub origin: Origin,
    /// Derived from channel and provider id; see [`MessageId::derived`]. The envelope has the same id.
    pub message_id: MessageId,
    /// The provider's id of the message, opaque.
    pub provider_id: String,
    pub contact: Profile,
    pub content: Content,
    /// The provider's id of the message this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "SentBy::is_contact")]
    pub sent_by: SentBy,
    #[serde(default, skip_serializing_if = "MessageContext::is_empty")]
    pub context: MessageContext,
    /// Read again from a stored payload by a later parser: it may tell more than what is stored, and never anything new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Who wrote what came over a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SentBy {
    #[default]
    Contact,
    /// The owner of the account, in the provider's own app; it reached the contact already.
    Account,
}

impl SentBy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_contact(&self) -> bool {
        *self == Self::Contact
    }
}

/// Media of a message has arrived, or cannot be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageMedia {
    pub origin: Origin,
    pub message_id: MessageId,
    /// Its place among the media of the message's content, from 0; see [`Content::media`].
    pub index: u32,
    /// Takes the place of the pending one.
    pub media: Media,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A change of one of our messages was refused for good: the message stands in the channel as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageChangeFailed {
    pub origin: Origin,
    /// The message that was to be changed, or reacted to.
    pub message_id: MessageId,
    pub change: MessageChange,
    pub failure: Failure,
    /// `seq` of the delivery that was refused: which of several changes it was. Absent: the latest of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What was to happen to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageChange {
    Edit,
    Delete,
    React,
}

/// A contact changed a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageEdited {
    pub origin: Origin,
    pub message_id: MessageId,
    pub content: Content,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A contact took a message back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageDeleted {
    pub origin: Origin,
    pub message_id: MessageId,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A contact reacted to a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageReacted {
    pub origin: Origin,
    /// The provider's id of the message reacted to.
    pub provider_id: String,
    /// The reactions the contact has on it now.
    pub reactions: Vec<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How far one of our messages has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageStatus {
    pub origin: Origin,
    /// The message as the delivery named it.
    pub message_id: MessageId,
    pub status: Status,
    /// The provider's ids of its parts, when they became known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provider_ids: Vec<String>,
    /// Set when `status` is `failed` or `expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// It may have been sent twice, or not at all: the outcome of a try is unknown.
    #[serde(default)]
    pub uncertain: bool,
    /// What had to be changed to fit the channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Degradation>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A contact can be written to from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactJoined {
    pub origin: Origin,
    pub contact: Profile,
    pub reason: JoinReason,
    /// The deep link's payload, e.g. of `/start <payload>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(default, skip_serializing_if = "Attribution::is_empty")]
    pub attribution: Attribution,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How a contact came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinReason {
    /// Started the bot.
    Started,
    /// Lifted a block.
    Unblocked,
    /// Opted in.
    Subscribed,
}

/// A contact cannot be written to from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactLeft {
    pub origin: Origin,
    pub reason: LeaveReason,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How a contact went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    Blocked,
    Unsubscribed,
    /// The account no longer exists.
    Gone,
}

/// A contact is writing; passes, is not kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactTyping {
    pub origin: Origin,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A contact has read everything up to a moment (channels that do not name messages).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactRead {
    pub origin: Origin,
    pub up_to: DateTime<Utc>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How a channel account is doing since `origin.occurred_at`. Its origin's address is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelHealth {
    pub origin: Origin,
    pub state: HealthState,
    /// For a person: what happened.
    pub reason: String,
    /// For a person: what to do about it; absent when nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// When this reason took the place of another one of the same state; absent: it is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_since: Option<DateTime<Utc>>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Every event a connector can send.
#[expect(
    clippy::large_enum_variant,
    reason = "the common ones are boxed; the others are rare and short-lived"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound {
    Received(Box<MessageReceived>),
    Edited(MessageEdited),
    Deleted(MessageDeleted),
    Reacted(MessageReacted),
    Status(MessageStatus),
    Media(Box<MessageMedia>),
    ChangeFailed(MessageChangeFailed),
    Joined(Box<ContactJoined>),
    Left(ContactLeft),
    Typing(ContactTyping),
    Read(ContactRead),
    Health(ChannelHealth),
}

impl Inbound {
    /// Reads an envelope that came over an inbound lane.
    ///
    /// # Errors
    /// A type or version this program does not know, or data that does not fit.
    pub fn from_envelope(envelope: &Envelope) -> Result<Self, EnvelopeError> {
        Ok(match envelope.kind.as_str() {
            MessageReceived::TYPE => Self::Received(Box::new(envelope.payload()?)),
            MessageEdited::TYPE => Self::Edited(envelope.payload()?),
            MessageDeleted::TYPE => Self::Deleted(envelope.payload()?),
            MessageReacted::TYPE => Self::Reacted(envelope.payload()?),
            MessageStatus::TYPE => Self::Status(envelope.payload()?),
            MessageMedia::TYPE => Self::Media(Box::new(envelope.payload()?)),
            MessageChangeFailed::TYPE => Self::ChangeFailed(envelope.payload()?),
            ContactJoined::TYPE => Self::Joined(Box::new(envelope.payload()?)),
            ContactLeft::TYPE => Self::Left(envelope.payload()?),
            ContactTyping::TYPE => Self::Typing(envelope.payload()?),
            ContactRead::TYPE => Self::Read(envelope.payload()?),
            ChannelHealth::TYPE => Self::Health(envelope.payload()?),
            other => return Err(EnvelopeError::UnknownType(other.to_owned())),
        })
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Received(event) => &event.origin,
            Self::Edited(event) => &event.origin,
            Self::Deleted(event) => &event.origin,
            Self::Reacted(event) => &event.origin,
            Self::Status(event) => &event.origin,
            Self::Media(event) => &event.origin,
            Self::ChangeFailed(event) => &event.origin,
            Self::Joined(event) => &event.origin,
            Self::Left(event) => &event.origin,
            Self::Typing(event) => &event.origin,
            Self::Read(event) => &event.origin,
            Self::Health(event) => &event.origin,
        }
    }
}
