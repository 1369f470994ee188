//! What people and integrators do to a conversation: send, close, reopen, assign. One transaction each.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Map;
use tributary_base::{database::Tx, on};
use tributary_bus::{
    AgentId, ConversationId, MessageId, OrganizationId,
    message::{
        Assignment, Author, Content, ConversationAssigned, ConversationState,
        ConversationStatusChanged, ConversationView, DeliverySend, Direction, MessageContext,
        MessageCreated, MessageView, Priority, StateReason, Status,
    },
};
use uuid::Uuid;

use super::{
    Store, StoreError, agents,
    bulk::select_by_ids,
    matching,
    rows::{
        self, CONTACT_COLUMNS, CONVERSATION_COLUMNS, ContactRow, ConversationRow, MESSAGE_COLUMNS,
        MessageRow,
    },
};
use crate::model::{Contact, Conversation, Message, Outgoing, now};

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct NewMessage {
    pub organization: OrganizationId,
    pub conversation: ConversationId,
    pub author: Author,
    pub content: Content,
    /// The message of the same conversation that this one answers.
    pub reply_to: Option<MessageId>,
    pub priority: Priority,
    pub idempotency: Option<Idempotency>,
}

/// Makes a repeated request one request.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// Chosen by the caller; unique within the organization.
    pub key: String,
    /// SHA-256 of the request, so that another request with the same key is noticed.
    pub request: Vec<u8>,
}

impl Store {
    /// Accepts a message: it is stored, and its delivery and event are on their way. The same idempotency key answers
    /// the message that was accepted first, as it stands now.
    ///
    /// # Errors
    /// No such conversation, agent or message to answer; the conversation is closed; the contact has blocked the
    /// channel; the channel is no longer configured; the key was used for something else; the database.
    pub async fn send_message(&self, new: NewMessage) -> Result<MessageView, StoreError> {
        let (message, shards) = self.within(self.accept(new)).await?;
        self.announce(shards).await;
        Ok(message)
    }

    async fn accept(&self, new: NewMessage) -> Result<(MessageView, BTreeSet<u16>), StoreError> {
        let now = now();
        let id = MessageId::generate();
        let mut tx = self.begin().await?;
        if let Some(idempotency) = &new.idempotency
            && let Some(first) = reserve(&mut tx, &new.organization, idempotency, id, now).await?
        {
            let message = message_of(&mut tx, &new.organization, first).await?;
            return Ok((message.shown(), BTreeSet::new()));
        }
        if let Author::Agent { id } = &new.author {
            agents::require(&mut tx, &new.organization, *id).await?;
        }
        let mut conversation = lock(&mut tx, &new.organization, new.conversation).await?;
        if conversation.view.state == ConversationState::Closed {
            return Err(StoreError::Closed);
        }
        let contact = recipient(&mut tx, &conversation).await?;
        let answered = match new.reply_to {
            Some(answered) => Some(answered_by(&mut tx, &conversation, answered).await?),
            None => None,
        };
        let (reply_to_id, reply_to) = answered.unzip();
        conversation.advance(now);
        let message = Message {
            organization: new.organization,
            provider_ids: Vec::new(),
            reply_to: reply_to.flatten(),
            sent_at: None,
            undo: Vec::new(),
            view: MessageView {
                id,
                conversation_id: conversation.view.id,
                channel_id: conversation.view.channel_id.clone(),
                contact_id: conversation.view.contact_id,
                direction: Direction::Outbound,
                author: new.author,
                content: new.content,
                status: Status::Queued,
                uncertain: false,
                failure: None,
                degraded: Vec::new(),
                reply_to: reply_to_id,
                context: MessageContext::default(),
                reactions: Vec::new(),
                our_reactions: Vec::new(),
                edited_at: None,
                deleted_at: None,
                seq: conversation.view.seq,
                created_at: now,
            },
        };
        let outgoing = outgoing_of(&conversation, &contact, &message, new.priority)?;
        rows::messages(&[&message])?.insert(&mut tx, "").await?;
        finish(tx, &conversation, &outgoing, now).await?;
        Ok((message.view, BTreeSet::from([conversation.shard])))
    }

    /// Closes a conversation; one that is closed stays as it is. Its agent is free for the next that waits.
    ///
    /// # Errors
    /// No such conversation; the database.
    pub async fn close_conversation(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
    ) -> Result<ConversationView, StoreError> {
        let change = |conversation: &mut Conversation, now: DateTime<Utc>| {
            conversation.view.state = ConversationState::Closed;
            conversation.closed_at = Some(now);
            conversation.waiting_since = None;
        };
        let unless = |state: ConversationState| state == ConversationState::Closed;
        let closed = self.change_state(organization, id, unless, change).await?;
        self.match_or_later(organization).await;
        Ok(closed)
    }

    /// Reopens a conversation, which then waits for an agent; one that is open stays as it is.
    ///
    /// # Errors
    /// No such conversation; the contact has another open one; the database.
    pub async fn reopen_conversation(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
    ) -> Result<ConversationView, StoreError> {
        let unless = |state: ConversationState| state != ConversationState::Closed;
        self.change_state(organization, id, unless, Conversation::wait)
            .await
            .map_err(another_open)?;
        self.match_or_later(organization).await;
        let now_assigned = self.conversation(organization, id).await?;
        now_assigned.ok_or(StoreError::NotFound("conversation"))
    }

    /// Gives a conversation to an agent, whatever the agent's availability and capacity.
    ///
    /// # Errors
    /// No such conversation or agent; the conversation is closed; the database.
    pub async fn assign_conversation(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
        agent: AgentId,
    ) -> Result<ConversationView, StoreError> {
        let (view, shards) = self.within(self.assign(organization, id, agent)).await?;
        self.announce(shards).await;
        self.match_or_later(organization).await;
        Ok(view)
    }

    async fn assign(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
        agent: AgentId,
    ) -> Result<(ConversationView, BTreeSet<u16>), StoreError> {
        let now = now();
        let mut tx = self.begin().await?;
        matching::lock_team(&mut tx, organization).await?;
        agents::require(&mut tx, organization, agent).await?;
        let mut conversation = lock(&mut tx, organization, id).await?;
        if conversation.view.state == ConversationState::Closed {
            return Err(StoreError::Closed);
        }
        if conversation.view.agent_id == Some(agent) {
            return Ok((conversation.view, BTreeSet::new()));
        }
        let event = assigned(&mut conversation, agent, Assignment::Manual, now)?;
        finish(tx, &conversation, &[event], now).await?;
        Ok((conversation.view, BTreeSet::from([conversation.shard])))
    }

    async fn change_state(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
        unless: fn(ConversationState) -> bool,
        change: fn(&mut Conversation, DateTime<Utc>),
    ) -> Result<ConversationView, StoreError> {
        let work = async {
            let now = now();
            let mut tx = self.begin().await?;
            let mut conversation = lock(&mut tx, organization, id).await?;
            let previous = conversation.view.state;
            if unless(previous) {
                return Ok((conversation.view, BTreeSet::new()));
            }
            change(&mut conversation, now);
            conversation.advance(now);
            let changed = ConversationStatusChanged {
                conversation: conversation.view.clone(),
                previous,
                reason: StateReason::Requested,
            };
            let event = conversation.event(&changed, now)?;
            finish(tx, &conversation, &[event], now).await?;
            Ok((conversation.view, BTreeSet::from([conversation.shard])))
        };
        let (view, shards) = self.within(work).await?;
        self.announce(shards).await;
        Ok(view)
    }
}

/// Gives a conversation to an agent, at its next place.
pub(super) fn assigned(
    conversation: &mut Conversation,
    agent: AgentId,
    by: Assignment,
    now: DateTime<Utc>,
) -> Result<Outgoing, StoreError> {
    conversation.view.state = ConversationState::Assigned;
    conversation.view.agent_id = Some(agent);
    conversation.assigned_at = Some(now);
    conversation.waiting_since = None;
    conversation.advance(now);
    let event = ConversationAssigned {
        conversation: conversation.view.clone(),
        agent_id: agent,
        by,
    };
    Ok(conversation.event(&event, now)?)
}

/// The conversation, held until the transaction ends.
pub(super) async fn lock(
    tx: &mut Tx,
    organization: &OrganizationId,
    id: ConversationId,
) -> Result<Conversation, StoreError> {
    let statement =
        format!("SELECT {CONVERSATION_COLUMNS} FROM conversations WHERE id {{ids}} {{lock}}");
    let rows: Vec<ConversationRow> = select_by_ids(tx, &statement, &[id.0]).await?;
    rows.into_iter()
        .find(|row| row.organization == *organization)
        .ok_or(StoreError::NotFound("conversation"))?
        .try_into()
}

/// The conversation's contact, whether or not it can be written to.
pub(super) async fn contact_of(
    tx: &mut Tx,
    conversation: &Conversation,
) -> Result<Contact, StoreError> {
    let statement = format!("SELECT {CONTACT_COLUMNS} FROM contacts WHERE id {{ids}}");
    let rows: Vec<ContactRow> =
        select_by_ids(tx, &statement, &[conversation.view.contact_id.0]).await?;
    rows.into_iter()
        .next()
        .ok_or(StoreError::NotFound("contact"))?
        .try_into()
}

/// The conversation's contact, if it can be written to.
pub(super) async fn recipient(
    tx: &mut Tx,
    conversation: &Conversation,
) -> Result<Contact, StoreError> {
    let contact = contact_of(tx, conversation).await?;
    if contact.view.blocked {
        return Err(StoreError::Blocked);
    }
    let channel = conversation.view.channel_id.as_str();
    let configured: Option<i32> = on!(tx, db => {
        sqlx::query_scalar("SELECT 1 FROM channels WHERE id = $1 AND removed_at IS NULL")
            .bind(channel)
            .fetch_optional(db)
            .await
    })?;
    match configured {
        Some(_) => Ok(contact),
        None => Err(StoreError::ChannelRemoved(channel.to_owned())),
    }
}

/// A message of this conversation, and the provider's id of it; `None` when it has none (yet).
async fn answered_by(
    tx: &mut Tx,
    conversation: &Conversation,
    answered: MessageId,
) -> Result<(MessageId, Option<String>), StoreError> {
    let message = message_of(tx, &conversation.organization, answered).await?;
    if message.view.conversation_id != conversation.view.id {
        return Err(StoreError::NotFound("message"));
    }
    Ok((message.view.id, message.provider_ids.into_iter().next()))
}

/// A message by its id, or by that of an echo which was merged into it.
pub(super) async fn message_of(
    tx: &mut Tx,
    organization: &OrganizationId,
    id: MessageId,
) -> Result<Message, StoreError> {
    let statement = format!(
        "SELECT {MESSAGE_COLUMNS} FROM messages WHERE id {{ids}} \
         OR id = (SELECT message_id FROM provider_ids WHERE echo_id {{ids}} LIMIT 1)"
    );
    let rows: Vec<MessageRow> = select_by_ids(tx, &statement, &[id.0]).await?;
    rows.into_iter()
        .find(|row| row.organization == *organization)
        .ok_or(StoreError::NotFound("message"))?
        .try_into()
}

/// Takes an idempotency key for message `id`. When somebody had it before: the message it was taken for.
async fn reserve(
    tx: &mut Tx,
    organization: &OrganizationId,
    idempotency: &Idempotency,
    id: MessageId,
    now: DateTime<Utc>,
) -> Result<Option<MessageId>, StoreError> {
    let taken = on!(tx, db => {
        sqlx::query(
            "INSERT INTO idempotency_keys (organization, key, request, message_id, created_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(organization)
        .bind(&idempotency.key)
        .bind(&idempotency.request)
        .bind(id)
        .bind(now)
        .execute(db)
        .await
        .map(|done| done.rows_affected())
    })?;
    if taken == 1 {
        return Ok(None);
    }
    let (request, first): (Vec<u8>, Uuid) = on!(tx, db => {
        sqlx::query_as("SELECT request, message_id FROM idempotency_keys WHERE organization = $1 AND key = $2")
            .bind(organization)
            .bind(&idempotency.key)
            .fetch_one(db)
            .await
    })?;
    if request != idempotency.request {
        return Err(StoreError::IdempotencyMismatch);
    }
    Ok(Some(MessageId(first)))
}

/// The delivery and the event of a message that was just accepted. All three have the same place.
fn outgoing_of(
    conversation: &Conversation,
    contact: &Contact,
    message: &Message,
    priority: Priority,
) -> Result<[Outgoing; 2], StoreError> {
    let created = MessageCreated {
        message: message.shown(),
        contact: contact.view.clone(),
    };
    Ok([
        delivery_of(conversation, contact, message, priority)?,
        conversation.event(&created, message.view.created_at)?,
    ])
}

/// What makes a connector send a message.
pub(super) fn delivery_of(
    conversation: &Conversation,
    contact: &Contact,
    message: &Message,
    priority: Priority,
) -> Result<Outgoing, StoreError> {
    let now = message.view.created_at;
    let send = DeliverySend {
        conversation_id: conversation.view.id,
        channel_id: conversation.view.channel_id.clone(),
        to: contact.view.address.clone(),
        seq: message.view.seq,
        message_id: message.view.id,
        content: message.view.content.clone(),
        reply_to: message.reply_to.clone(),
        created_at: now,
        priority,
        extra: Map::new(),
    };
    Ok(conversation.delivery(message.view.id.into(), &send, now)?)
}

/// Writes the conversation and what is to be published, and commits.
pub(super) async fn finish(
    mut tx: Tx,
    conversation: &Conversation,
    outgoing: &[Outgoing],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    rows::conversation_changes(&[conversation])
        .update(&mut tx)
        .await?;
    rows::outbox(outgoing, now)?.insert(&mut tx, "").await?;
    Ok(tx.commit().await?)
}

/// One contact has at most one open conversation: a unique index says so.
fn another_open(error: StoreError) -> StoreError {
    match error {
        StoreError::Database(tributary_base::database::DatabaseError::Sqlx(
            sqlx::Error::Database(refusal),
        )) if refusal.is_unique_violation() => StoreError::AnotherOpen,
        other => other,
    }
}
