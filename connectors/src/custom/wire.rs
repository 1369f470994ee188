//! The JSON of this channel, which is ours: what comes in, what goes out. docs/channels/custom.md tells it to
//! integrators.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value, value::RawValue};
use tributary_bus::{
    Address, ChannelId, MessageId,
    message::{Attribution, Content, JoinReason, LeaveReason, Profile, SentBy},
};

/// `POST .../messages`. Each event is read by itself, so that every bad one can be named.
#[derive(Deserialize)]
pub(super) struct Messages<'a> {
    #[serde(borrow)]
    pub events: Vec<&'a RawValue>,
}

/// `POST .../statuses`.
#[derive(Deserialize)]
pub(super) struct Statuses<'a> {
    #[serde(borrow)]
    pub statuses: Vec<&'a RawValue>,
}

/// What every event has.
#[derive(Deserialize)]
#[serde(expecting = "an event")]
pub(super) struct Event {
    /// Names the event; of a message it is the message's id.
    pub id: String,
    pub from: From,
    #[serde(deserialize_with = "time")]
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub what: Tagged,
}

/// The other fields, which depend on `type`.
#[derive(Deserialize)]
pub(super) struct Tagged {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// Whom it is about.
#[derive(Deserialize)]
pub(super) struct From {
    pub address: String,
    #[serde(flatten)]
    pub profile: Profile,
}

#[derive(Deserialize)]
pub(super) struct Message {
    /// Read apart, so that the error can say what is wrong with it.
    pub content: Map<String, Value>,
    pub reply_to: Option<String>,
    #[serde(default)]
    pub sent_by: SentBy,
    #[serde(default)]
    pub attribution: Attribution,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Edit {
    /// The id of the message.
    pub message: String,
    pub content: Map<String, Value>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Delete {
    pub message: String,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Reaction {
    /// The id of the message, theirs or ours.
    pub message: String,
    /// All that are on it now; none takes them back.
    pub reactions: Vec<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Joined {
    #[serde(default = "started")]
    pub reason: JoinReason,
    pub payload: Option<String>,
    #[serde(default)]
    pub attribution: Attribution,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

fn started() -> JoinReason {
    JoinReason::Started
}

#[derive(Deserialize)]
pub(super) struct Left {
    pub reason: LeaveReason,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Typing {
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Deserialize)]
pub(super) struct Read {
    /// Everything until then; `at` when it is left out.
    #[serde(default, deserialize_with = "optional_time")]
    pub up_to: Option<DateTime<Utc>>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What became of a part that was delivered.
#[derive(Deserialize)]
#[serde(expecting = "a status")]
pub(super) struct StatusReport {
    pub id: String,
    pub status: ReportedStatus,
    #[serde(default, deserialize_with = "optional_time")]
    pub at: Option<DateTime<Utc>>,
    /// With `failed`, for a person.
    pub reason: Option<String>,
    /// With `failed`: `recipient` or `content`.
    pub code: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReportedStatus {
    Delivered,
    Read,
    Failed,
}

/// Says what is expected where a time cannot be read.
fn time<'de, D: Deserializer<'de>>(input: D) -> Result<DateTime<Utc>, D::Error> {
    read_time(&String::deserialize(input)?)
}

fn optional_time<'de, D: Deserializer<'de>>(input: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text: Option<String> = Option::deserialize(input)?;
    text.map(|text| read_time(&text)).transpose()
}

fn read_time<E: Error>(text: &str) -> Result<DateTime<Utc>, E> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| E::custom("not a time such as 2026-03-01T10:00:00Z (RFC 3339)"))
}

/// Something wrong in a request; nothing of it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    /// In the list, from 0.
    pub index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub problem: String,
}

/// The answer to a request.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Reply {
    Accepted {
        accepted: usize,
    },
    Refused {
        error: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        problems: Vec<Problem>,
    },
}

/// What is posted to the integrator.
#[derive(Debug, Serialize)]
pub(super) struct Delivery<'a> {
    /// The same for every try; `webhook-id` has it too.
    pub idempotency_key: &'a str,
    pub channel_id: &'a ChannelId,
    /// The contact, as `from.address` named it.
    pub to: &'a Address,
    /// Rises within the conversation.
    pub seq: i64,
    #[serde(flatten)]
    pub what: What<'a>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum What<'a> {
    Send {
        message_id: MessageId,
        part: u32,
        content: Box<Content>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<&'a str>,
    },
    Edit {
        message_id: MessageId,
        parts: Vec<EditedPart<'a>>,
    },
    Delete {
        message_id: MessageId,
        ids: &'a [String],
    },
    React {
        /// The id of the message, theirs or ours.
        message: &'a str,
        reactions: &'a [String],
    },
    Typing,
    Read {
        /// The id of the contact's message.
        message: &'a str,
    },
}

impl What<'_> {
    /// The value of `kind`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::React { .. } => "react",
            Self::Typing => "typing",
            Self::Read { .. } => "read",
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct EditedPart<'a> {
    pub id: &'a str,
    pub part: u32,
    pub content: Content,
}

/// The integrator's answer to a delivery; all of it may be left out.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(super) struct Answer {
    /// Text or a number.
    #[serde(default)]
    pub id: Value,
    /// With a refusal: `recipient` or `content`.
    #[serde(default)]
    pub code: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
}
