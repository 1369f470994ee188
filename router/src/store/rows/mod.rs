//! Rows as they are read and written, and their translation to the router's values.

mod write;

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use tributary_bus::{
    Address, AgentId, ChannelId, ContactId, ConversationId, MessageId, OrganizationId,
    message::{ContactView, ConversationState, ConversationView, Direction, MessageView},
};

pub(crate) use write::*;

use super::StoreError;
use crate::model::{Contact, Conversation, Early, Message, Question};

/// The columns that [`ContactRow`] reads.
pub(crate) const CONTACT_COLUMNS: &str = "id, organization, channel_id, address, name, locale, username, \
     avatar, identifiers, first_touch, last_touch, blocked, created_at";

/// The columns that [`ConversationRow`] reads.
pub(crate) const CONVERSATION_COLUMNS: &str = "id, organization, channel_id, contact_id, shard, \
     state, agent_id, seq, waiting_since, queued, closed_at, assigned_at, read_up_to, question_id, question_at, \
     created_at, updated_at";

/// The columns that [`MessageRow`] reads.
pub(crate) const MESSAGE_COLUMNS: &str = "id, organization, conversation_id, channel_id, contact_id, \
     seq, direction, author, content, status, uncertain, failure, degraded, provider_id, more_provider_ids, reply_to, \
     reply_to_id, context, reactions, our_reactions, edited_at, deleted_at, sent_at, undo, created_at";

#[derive(sqlx::FromRow)]
pub(crate) struct ContactRow {
    pub id: ContactId,
    pub organization: OrganizationId,
    pub channel_id: ChannelId,
    pub address: Address,
    pub name: Option<String>,
    pub locale: Option<String>,
    pub username: Option<String>,
    pub avatar: Option<String>,
    pub identifiers: Option<String>,
    pub first_touch: Option<String>,
    pub last_touch: Option<String>,
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
    pub assigned_at: Option<DateTime<Utc>>,
    pub read_up_to: Option<DateTime<Utc>>,
    pub question_id: Option<MessageId>,
    pub question_at: Option<DateTime<Utc>>,
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
    pub degraded: Option<String>,
    pub provider_id: Option<String>,
    pub more_provider_ids: Option<String>,
    pub reply_to: Option<String>,
    pub reply_to_id: Option<MessageId>,
    pub context: Option<String>,
    pub reactions: Option<String>,
    pub our_reactions: Option<String>,
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
    pub sent_at: Option<DateTime<Utc>>,
    pub undo: Option<String>,
    pub created_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
pub(crate) struct EarlyRow {
    pub message_id: MessageId,
    pub organization: OrganizationId,
    pub channel_id: ChannelId,
    pub content: Option<String>,
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
    pub reactions: Option<String>,
    pub address: Option<Address>,
}

impl TryFrom<ContactRow> for Contact {
    type Error = StoreError;

    fn try_from(row: ContactRow) -> Result<Self, StoreError> {
        Ok(Self {
            organization: row.organization,
            view: ContactView {
                id: row.id,
                channel_id: row.channel_id,
                address: row.address,
                name: row.name,
                locale: row.locale,
                username: row.username,
                avatar: maybe_json("avatar", row.avatar)?,
                identifiers: maybe_json("identifiers", row.identifiers)?.unwrap_or_default(),
                first_touch: maybe_json("first_touch", row.first_touch)?,
                last_touch: maybe_json("last_touch", row.last_touch)?,
                blocked: row.blocked,
                created_at: row.created_at,
            },
        })
    }
}

impl TryFrom<EarlyRow> for Early {
    type Error = StoreError;

    fn try_from(row: EarlyRow) -> Result<Self, StoreError> {
        Ok(Self {
            message: row.message_id,
            organization: row.organization,
            channel: row.channel_id,
            content: maybe_json("content", row.content)?,
            edited_at: row.edited_at,
            deleted_at: row.deleted_at,
            reacted: row.address.zip(maybe_json("reactions", row.reactions)?),
        })
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
            assigned_at: row.assigned_at,
            read_up_to: row.read_up_to,
            question: row
                .question_id
                .zip(row.question_at)
                .map(|(message, asked_at)| Question { message, asked_at }),
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
        let more: Vec<String> =
            maybe_json("provider ids", row.more_provider_ids)?.unwrap_or_default();
        Ok(Self {
            organization: row.organization,
            provider_ids: row.provider_id.into_iter().chain(more).collect(),
            reply_to: row.reply_to,
            sent_at: row.sent_at,
            undo: maybe_json("undo", row.undo)?.unwrap_or_default(),
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
                failure: maybe_json("failure", row.failure)?,
                degraded: maybe_json("degraded", row.degraded)?.unwrap_or_default(),
                reply_to: row.reply_to_id,
                context: maybe_json("context", row.context)?.unwrap_or_default(),
                reactions: maybe_json("reactions", row.reactions)?.unwrap_or_default(),
                our_reactions: maybe_json("reactions", row.our_reactions)?.unwrap_or_default(),
                edited_at: row.edited_at,
                deleted_at: row.deleted_at,
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

fn maybe_json<T: DeserializeOwned>(
    what: &'static str,
    text: Option<String>,
) -> Result<Option<T>, StoreError> {
    text.map(|text| read_json(what, &text)).transpose()
}

fn write_json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::Envelope(tributary_bus::EnvelopeError::Malformed(error.to_string()))
    })
}
