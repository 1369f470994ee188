//! What the API reads. Every query carries the organization.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use tributary_base::on;
use tributary_bus::{
    AgentId, ChannelId, ContactId, ConversationId, MessageId, OrganizationId,
    message::{ContactView, ConversationState, ConversationView, MessageView},
};

use super::{
    Store, StoreError,
    rows::{
        CONTACT_COLUMNS, CONVERSATION_COLUMNS, ContactRow, ConversationRow, MESSAGE_COLUMNS,
        MessageRow,
    },
};
use crate::model::{Contact, Conversation, Message};

/// A tenant.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct OrganizationRow {
    pub id: OrganizationId,
    pub name: String,
    pub created_at: DateTime<Utc>,
}

/// A channel account.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ChannelRow {
    pub id: ChannelId,
    /// `telegram`, `widget`, ...
    pub kind: String,
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// What it said last of how it is doing: see [`tributary_bus::message::HealthState`]; `None` before its first report.
    pub health_state: Option<String>,
    /// For a person: what happened.
    pub health_reason: Option<String>,
    /// For a person: what to do about it.
    pub health_action: Option<String>,
    pub health_since: Option<DateTime<Utc>>,
}

/// An agent, and how busy.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct AgentRow {
    pub id: AgentId,
    pub name: String,
    pub available: bool,
    /// Conversations at once, at most.
    pub capacity: i32,
    /// Conversations assigned right now.
    pub assigned: i64,
    pub created_at: DateTime<Utc>,
}

/// Which conversations to list; `None` is no condition.
#[derive(Debug, Clone, Default)]
pub struct ConversationFilter {
    pub state: Option<ConversationState>,
    pub agent: Option<AgentId>,
    pub channel: Option<ChannelId>,
    pub contact: Option<ContactId>,
}

/// In which direction messages are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

impl Store {
    /// One organization.
    ///
    /// # Errors
    /// No database.
    pub async fn organization(
        &self,
        id: &OrganizationId,
    ) -> Result<Option<OrganizationRow>, StoreError> {
        self.within(async {
            Ok(
                on!(read &self.database, db => sqlx::query_as::<_, OrganizationRow>(
            "SELECT id, name, created_at FROM organizations WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(db)
        .await)?,
            )
        })
        .await
    }

    /// The channel accounts of an organization after `after`, by id.
    ///
    /// # Errors
    /// No database.
    pub async fn channels(
        &self,
        organization: &OrganizationId,
        after: Option<&ChannelId>,
        limit: i64,
    ) -> Result<Vec<ChannelRow>, StoreError> {
        self.within(async {
            Ok(
                on!(read &self.database, db => sqlx::query_as::<_, ChannelRow>(
            "SELECT id, kind, name, created_at, health_state, health_reason, health_action, health_since FROM channels
             WHERE organization = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3",
        )
        .bind(organization)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await)?,
            )
        })
        .await
    }

    /// One channel account of an organization.
    ///
    /// # Errors
    /// No database.
    pub async fn channel(
        &self,
        organization: &OrganizationId,
        id: &ChannelId,
    ) -> Result<Option<ChannelRow>, StoreError> {
        self.within(async {
            Ok(
                on!(read &self.database, db => sqlx::query_as::<_, ChannelRow>(
            "SELECT id, kind, name, created_at, health_state, health_reason, health_action, health_since FROM channels WHERE organization = $1 AND id = $2",
        )
        .bind(organization)
        .bind(id)
        .fetch_optional(db)
        .await)?,
            )
        })
        .await
    }

    /// How the configured channel accounts of every organization are doing, by their own word.
    pub(crate) async fn health_of_channels(
        &self,
    ) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let work = async {
            Ok(on!(read &self.database, db => {
                sqlx::query_as("SELECT id, health_state FROM channels WHERE removed_at IS NULL")
                    .fetch_all(db)
                    .await
            })?)
        };
        self.within(work).await
    }

    /// The agents of an organization after `after`, oldest first.
    ///
    /// # Errors
    /// No database.
    pub async fn agents(
        &self,
        organization: &OrganizationId,
        after: Option<AgentId>,
        limit: i64,
    ) -> Result<Vec<AgentRow>, StoreError> {
        self.within(async { Ok(on!(read &self.database, db => sqlx::query_as::<_, AgentRow>(
            "SELECT id, name, available, capacity, created_at,
             (SELECT COUNT(*) FROM conversations WHERE agent_id = agents.id AND state = 'assigned') AS assigned
             FROM agents WHERE organization = $1 AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3",
        )
        .bind(organization)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await)?) }).await
    }

    /// One agent of an organization.
    ///
    /// # Errors
    /// No database.
    pub async fn agent(
        &self,
        organization: &OrganizationId,
        id: AgentId,
    ) -> Result<Option<AgentRow>, StoreError> {
        self.within(async { Ok(on!(read &self.database, db => sqlx::query_as::<_, AgentRow>(
            "SELECT id, name, available, capacity, created_at,
             (SELECT COUNT(*) FROM conversations WHERE agent_id = agents.id AND state = 'assigned') AS assigned
             FROM agents WHERE organization = $1 AND id = $2",
        )
        .bind(organization)
        .bind(id)
        .fetch_optional(db)
        .await)?) }).await
    }

    /// One contact of an organization.
    ///
    /// # Errors
    /// No database.
    pub async fn contact(
        &self,
        organization: &OrganizationId,
        id: ContactId,
    ) -> Result<Option<ContactView>, StoreError> {
        let row = self
            .within(async {
                Ok(
                    on!(read &self.database, db => sqlx::query_as::<_, ContactRow>(
            AssertSqlSafe(format!("SELECT {CONTACT_COLUMNS} FROM contacts
             WHERE organization = $1 AND id = $2")),
        )
        .bind(organization)
        .bind(id)
        .fetch_optional(db)
        .await)?,
                )
            })
            .await?;
        row.map(|row| Ok(Contact::try_from(row)?.view)).transpose()
    }

    /// The conversations of an organization before `before`, newest first.
    ///
    /// # Errors
    /// No database.
    pub async fn conversations(
        &self,
        organization: &OrganizationId,
        filter: &ConversationFilter,
        before: Option<ConversationId>,
        limit: i64,
    ) -> Result<Vec<ConversationView>, StoreError> {
        let rows = self.within(async { Ok(on!(read &self.database, db => sqlx::query_as::<_, ConversationRow>(
            AssertSqlSafe(format!("SELECT {CONVERSATION_COLUMNS} FROM conversations
             WHERE organization = $1 AND ($2 IS NULL OR state = $2) AND ($3 IS NULL OR agent_id = $3)
             AND ($4 IS NULL OR channel_id = $4) AND ($5 IS NULL OR contact_id = $5)
             AND ($6 IS NULL OR id < $6) ORDER BY id DESC LIMIT $7")),
        )
        .bind(organization)
        .bind(filter.state.map(ConversationState::as_str))
        .bind(filter.agent)
        .bind(filter.channel.as_ref())
        .bind(filter.contact)
        .bind(before)
        .bind(limit)
        .fetch_all(db)
        .await)?) }).await?;
        rows.into_iter()
            .map(|row| Ok(Conversation::try_from(row)?.view))
            .collect()
    }

    /// One conversation of an organization.
    ///
    /// # Errors
    /// No database.
    pub async fn conversation(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
    ) -> Result<Option<ConversationView>, StoreError> {
        let row = self
            .within(async {
                Ok(
                    on!(read &self.database, db => sqlx::query_as::<_, ConversationRow>(
            AssertSqlSafe(format!("SELECT {CONVERSATION_COLUMNS} FROM conversations
             WHERE organization = $1 AND id = $2")),
        )
        .bind(organization)
        .bind(id)
        .fetch_optional(db)
        .await)?,
                )
            })
            .await?;
        row.map(|row| Ok(Conversation::try_from(row)?.view))
            .transpose()
    }

    /// The messages of a conversation beyond a place in it, in the given order.
    ///
    /// # Errors
    /// No database.
    pub async fn messages(
        &self,
        organization: &OrganizationId,
        conversation: ConversationId,
        order: Order,
        beyond: Option<i64>,
        limit: i64,
    ) -> Result<Vec<MessageView>, StoreError> {
        let (statement, beyond) = match order {
            Order::OldestFirst => (
                AssertSqlSafe(format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE organization = $1 AND conversation_id = $2 AND seq > $3
                 ORDER BY seq LIMIT $4")),
                beyond.unwrap_or(i64::MIN),
            ),
            Order::NewestFirst => (
                AssertSqlSafe(format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE organization = $1 AND conversation_id = $2 AND seq < $3
                 ORDER BY seq DESC LIMIT $4")),
                beyond.unwrap_or(i64::MAX),
            ),
        };
        let rows = self
            .within(async {
                Ok(
                    on!(read &self.database, db => sqlx::query_as::<_, MessageRow>(statement)
            .bind(organization)
            .bind(conversation)
            .bind(beyond)
            .bind(limit)
            .fetch_all(db)
            .await)?,
                )
            })
            .await?;
        rows.into_iter()
            .map(|row| Ok(Message::try_from(row)?.shown()))
            .collect()
    }

    /// One message of an organization.
    ///
    /// # Errors
    /// No database.
    pub async fn message(
        &self,
        organization: &OrganizationId,
        id: MessageId,
    ) -> Result<Option<MessageView>, StoreError> {
        let row = self
            .within(async {
                Ok(
                    on!(read &self.database, db => sqlx::query_as::<_, MessageRow>(
            AssertSqlSafe(format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE organization = $1 AND id = \
                 COALESCE((SELECT message_id FROM provider_ids WHERE echo_id = $2 LIMIT 1), $2)")),
        )
        .bind(organization)
        .bind(id)
        .fetch_optional(db)
        .await)?,
                )
            })
            .await?;
        row.map(|row| Ok(Message::try_from(row)?.shown()))
            .transpose()
    }
}
