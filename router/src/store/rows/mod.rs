//! Rows as they are read and written, and their translation to the router's values.

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use tributary_bus::{
    Address, AgentId, ChannelId, ContactId, ConversationId, EventId, MessageId, OrganizationId,
    message::{
        ContactView, ConversationState, ConversationView, Direction, MessageContext, MessageView,
    },
};
use uuid::Uuid;

use super::{
    StoreError,
    bulk::{Bulk, Column},
};
use crate::{
    decide::RawPayload,
    model::{Contact, Conversation, Message, Outgoing},
};

/// The columns that [`ContactRow`] reads.
pub(crate) const CONTACT_COLUMNS: &str =
    "id, organization, channel_id, address, name, locale, username, blocked, created_at";

/// The columns that [`ConversationRow`] reads.
pub(crate) const CONVERSATION_COLUMNS: &str = "id, organization, channel_id, contact_id, shard, \
     state, agent_id, seq, waiting_since, queued, closed_at, created_at, updated_at";

/// The columns that [`MessageRow`] reads.
pub(crate) const MESSAGE_COLUMNS: &str = "id, organization, conversation_id, channel_id, contact_id, \
     seq, direction, author, content, status, uncertain, failure, provider_id, reply_to, created_at";

#[derive(sqlx::FromRow)]
pub(crate) struct ContactRow {
    pub id: ContactId,
    pub organization: OrganizationId,
    pub channel_id: ChannelId,
    pub address: Address,
    pub name: Option<String>,
    pub locale: Option<String>,
    pub username: Option<String>,
    pub blocked: bool,
    pub created_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
pub(crate) struct ConversationRow {
    pub id: ConversationId,
    pub organization: OrganizationId,
    pub channel_id: ChannelId,
    pub contact_id: ContactId,
    pub shard: i32,
    pub state: String,
    pub agent_id: Option<AgentId>,
    pub seq: i64,
    pub waiting_since: Option<DateTime<Utc>>,
    pub queued: bool,
    pub closed_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
pub(crate) struct MessageRow {
    pub id: MessageId,
    pub organization: OrganizationId,
    pub conversation_id: ConversationId,
    pub channel_id: ChannelId,
    pub contact_id: ContactId,
    pub seq: i64,
    pub direction: String,
    pub author: String,
    pub content: String,
    pub status: String,
    pub uncertain: bool,
    pub failure: Option<String>,
    pub provider_id: Option<String>,
    pub reply_to: Option<String>,
    pub created_at: DateTime<Utc>,
}

impl From<ContactRow> for Contact {
    fn from(row: ContactRow) -> Self {
        Self {
            organization: row.organization,
            username: row.username,
            view: ContactView {
                id: row.id,
                channel_id: row.channel_id,
                address: row.address,
                name: row.name,
                locale: row.locale,
                username: None,
                avatar: None,
                identifiers: Vec::new(),
                first_touch: None,
                last_touch: None,
                blocked: row.blocked,
                created_at: row.created_at,
            },
        }
    }
}

impl TryFrom<ConversationRow> for Conversation {
    type Error = StoreError;

    fn try_from(row: ConversationRow) -> Result<Self, StoreError> {
        let state = match row.state.as_str() {
            "waiting" => ConversationState::Waiting,
            "assigned" => ConversationState::Assigned,
            "closed" => ConversationState::Closed,
            other => return Err(StoreError::Corrupt("conversation state", other.to_owned())),
        };
        let shard = u16::try_from(row.shard)
            .map_err(|error| StoreError::Corrupt("shard", error.to_string()))?;
        Ok(Self {
            organization: row.organization,
            shard,
            waiting_since: row.waiting_since,
            queued: row.queued,
            closed_at: row.closed_at,
            view: ConversationView {
                id: row.id,
                channel_id: row.channel_id,
                contact_id: row.contact_id,
                state,
                agent_id: row.agent_id,
                seq: row.seq,
                created_at: row.created_at,
                updated_at: row.updated_at,
            },
        })
    }
}

impl TryFrom<MessageRow> for Message {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        let direction = match row.direction.as_str() {
            "inbound" => Direction::Inbound,
            "outbound" => Direction::Outbound,
            other => return Err(StoreError::Corrupt("direction", other.to_owned())),
        };
        let status = row
            .status
            .parse()
            .map_err(|reason| StoreError::Corrupt("status", reason))?;
        let failure = row
            .failure
            .as_deref()
            .map(|text| read_json("failure", text));
        Ok(Self {
            organization: row.organization,
            provider_id: row.provider_id,
            reply_to: row.reply_to,
            view: MessageView {
                id: row.id,
                conversation_id: row.conversation_id,
                channel_id: row.channel_id,
                contact_id: row.contact_id,
                direction,
                author: read_json("author", &row.author)?,
                content: read_json("content", &row.content)?,
                status,
                uncertain: row.uncertain,
                failure: failure.transpose()?,
                degraded: Vec::new(),
                reply_to: None,
                context: MessageContext::default(),
                reactions: Vec::new(),
                edited_at: None,
                deleted_at: None,
                seq: row.seq,
                created_at: row.created_at,
            },
        })
    }
}

fn read_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    // The error's text could repeat a value, which may be a person's words: only where it is.
    serde_json::from_str(text).map_err(|error| {
        StoreError::Corrupt(
            what,
            format!("line {}, column {}", error.line(), error.column()),
        )
    })
}

fn write_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::Envelope(tributary_bus::EnvelopeError::Malformed(error.to_string()))
    })
}

/// A column out of one value of every item.
macro_rules! column {
    ($kind:ident, $items:expr, $item:ident => $value:expr) => {
        Column::$kind($items.iter().map(|$item| $value).collect())
    };
}

/// All columns of new contacts.
pub(crate) fn contacts(all: &[&Contact]) -> Bulk {
    Bulk::new(
        "contacts",
        all.len(),
        vec![
            ("id", column!(Id, all, c => c.view.id.0)),
            (
                "organization",
                column!(Text, all, c => c.organization.0.clone()),
            ),
            (
                "channel_id",
                column!(Text, all, c => c.view.channel_id.0.clone()),
            ),
            ("address", column!(Text, all, c => c.view.address.0.clone())),
            ("name", column!(MaybeText, all, c => c.view.name.clone())),
            (
                "locale",
                column!(MaybeText, all, c => c.view.locale.clone()),
            ),
            ("username", column!(MaybeText, all, c => c.username.clone())),
            ("blocked", column!(Flag, all, c => c.view.blocked)),
            ("created_at", column!(Time, all, c => c.view.created_at)),
        ],
    )
}

/// What can change about a contact.
pub(crate) fn contact_changes(all: &[&Contact]) -> Bulk {
    Bulk::new(
        "contacts",
        all.len(),
        vec![
            ("id", column!(Id, all, c => c.view.id.0)),
            ("name", column!(MaybeText, all, c => c.view.name.clone())),
            (
                "locale",
                column!(MaybeText, all, c => c.view.locale.clone()),
            ),
            ("username", column!(MaybeText, all, c => c.username.clone())),
            ("blocked", column!(Flag, all, c => c.view.blocked)),
        ],
    )
}

/// All columns of new conversations.
pub(crate) fn conversations(all: &[&Conversation]) -> Bulk {
    let mut columns = conversation_columns(all);
    columns.extend([
        (
            "organization",
            column!(Text, all, c => c.organization.0.clone()),
        ),
        (
            "channel_id",
            column!(Text, all, c => c.view.channel_id.0.clone()),
        ),
        ("contact_id", column!(Id, all, c => c.view.contact_id.0)),
        ("shard", column!(Number, all, c => i64::from(c.shard))),
        ("created_at", column!(Time, all, c => c.view.created_at)),
    ]);
    Bulk::new("conversations", all.len(), columns)
}

/// What can change about a conversation.
pub(crate) fn conversation_changes(all: &[&Conversation]) -> Bulk {
    Bulk::new("conversations", all.len(), conversation_columns(all))
}

fn conversation_columns(all: &[&Conversation]) -> Vec<(&'static str, Column)> {
    vec![
        ("id", column!(Id, all, c => c.view.id.0)),
        (
            "state",
            column!(Text, all, c => c.view.state.as_str().to_owned()),
        ),
        (
            "agent_id",
            column!(MaybeId, all, c => c.view.agent_id.map(|id| id.0)),
        ),
        ("seq", column!(Number, all, c => c.view.seq)),
        (
            "waiting_since",
            column!(MaybeTime, all, c => c.waiting_since),
        ),
        ("queued", column!(Flag, all, c => c.queued)),
        ("closed_at", column!(MaybeTime, all, c => c.closed_at)),
        ("updated_at", column!(Time, all, c => c.view.updated_at)),
    ]
}

/// All columns of new messages.
pub(crate) fn messages(all: &[&Message]) -> Result<Bulk, StoreError> {
    let mut columns = message_columns(all)?;
    let authors: Result<Vec<_>, _> = all.iter().map(|m| write_json(&m.view.author)).collect();
    columns.extend([
        (
            "organization",
            column!(Text, all, m => m.organization.0.clone()),
        ),
        (
            "conversation_id",
            column!(Id, all, m => m.view.conversation_id.0),
        ),
        (
            "channel_id",
            column!(Text, all, m => m.view.channel_id.0.clone()),
        ),
        ("contact_id", column!(Id, all, m => m.view.contact_id.0)),
        ("seq", column!(Number, all, m => m.view.seq)),
        (
            "direction",
            column!(Text, all, m => m.view.direction.as_str().to_owned()),
        ),
        ("author", Column::Text(authors?)),
        ("reply_to", column!(MaybeText, all, m => m.reply_to.clone())),
        ("created_at", column!(Time, all, m => m.view.created_at)),
    ]);
    Ok(Bulk::new("messages", all.len(), columns))
}

/// What can change about a message.
pub(crate) fn message_changes(all: &[&Message]) -> Result<Bulk, StoreError> {
    Ok(Bulk::new("messages", all.len(), message_columns(all)?))
}

fn message_columns(all: &[&Message]) -> Result<Vec<(&'static str, Column)>, StoreError> {
    let contents: Result<Vec<_>, _> = all.iter().map(|m| write_json(&m.view.content)).collect();
    let failures: Result<Vec<_>, _> = all
        .iter()
        .map(|m| m.view.failure.as_ref().map(write_json).transpose())
        .collect();
    Ok(vec![
        ("id", column!(Id, all, m => m.view.id.0)),
        ("content", Column::Text(contents?)),
        (
            "status",
            column!(Text, all, m => m.view.status.as_str().to_owned()),
        ),
        ("uncertain", column!(Flag, all, m => m.view.uncertain)),
        ("failure", Column::MaybeText(failures?)),
        (
            "provider_id",
            column!(MaybeText, all, m => m.provider_id.clone()),
        ),
    ])
}

/// Outbox rows. Within a transaction their ids rise in this order.
pub(crate) fn outbox(all: &[Outgoing], now: DateTime<Utc>) -> Result<Bulk, StoreError> {
    let envelopes: Result<Vec<_>, _> = all.iter().map(|o| write_json(&o.envelope)).collect();
    Ok(Bulk::new(
        "outbox",
        all.len(),
        vec![
            (
                "organization",
                column!(Text, all, o => o.envelope.orgid.0.clone()),
            ),
            ("shard", column!(Number, all, o => i64::from(o.shard))),
            (
                "lane",
                column!(MaybeText, all, o => o.lane.as_ref().map(ToString::to_string)),
            ),
            ("envelope", Column::Text(envelopes?)),
            ("created_at", Column::Time(vec![now; all.len()])),
        ],
    ))
}

/// Ids of events that took effect.
pub(crate) fn seen(all: &[(Uuid, OrganizationId)], now: DateTime<Utc>) -> Bulk {
    Bulk::new(
        "seen",
        all.len(),
        vec![
            ("id", column!(Id, all, s => s.0)),
            ("organization", column!(Text, all, s => s.1.0.clone())),
            ("at", Column::Time(vec![now; all.len()])),
        ],
    )
}

/// Provider payloads.
pub(crate) fn raw_payloads(all: &[RawPayload], now: DateTime<Utc>) -> Bulk {
    Bulk::new(
        "raw_payloads",
        all.len(),
        vec![
            ("event_id", column!(Id, all, r => r.event.0)),
            (
                "organization",
                column!(Text, all, r => r.organization.0.clone()),
            ),
            ("channel_id", column!(Text, all, r => r.channel.0.clone())),
            ("received_at", Column::Time(vec![now; all.len()])),
            (
                "media_type",
                column!(Text, all, r => r.raw.media_type.clone()),
            ),
            ("body", column!(Text, all, r => r.raw.body.clone())),
        ],
    )
}

/// Published events; within a transaction their positions rise in this order.
pub(crate) fn events(all: &[(EventId, OrganizationId, &str)], now: DateTime<Utc>) -> Bulk {
    Bulk::new(
        "events",
        all.len(),
        vec![
            ("id", column!(Id, all, e => e.0.0)),
            ("organization", column!(Text, all, e => e.1.0.clone())),
            ("envelope", column!(Text, all, e => e.2.to_owned())),
            ("published_at", Column::Time(vec![now; all.len()])),
        ],
    )
}
