//! Putting conversations back to those who wait: since somebody asks for it, or since their agent
//! is away for too long.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use tributary_base::{database::Tx, on};
use tributary_bus::{
    AgentId, ConversationId, OrganizationId,
    message::{ConversationState, ConversationStatusChanged, ConversationView, StateReason},
};
use uuid::Uuid;

use super::{
    Store, StoreError,
    bulk::select_by_ids,
    commands::{finish, lock},
    matching,
    rows::{self, CONVERSATION_COLUMNS, ConversationRow},
};
use crate::model::{Conversation, Outgoing, now};

/// Conversations of one transaction, at most.
const BATCH: i64 = 200;

impl Store {
    /// Takes a conversation from its agent: it waits again, behind those who wait already, and is
    /// assigned when somebody is free, who may be the same agent. One that waits stays as it is.
    ///
    /// # Errors
    /// No such conversation; it is closed; the database.
    pub async fn release_conversation(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
    ) -> Result<ConversationView, StoreError> {
        let work = async {
            let now = now();
            let mut tx = self.begin().await?;
            let mut conversation = lock(&mut tx, organization, id).await?;
            match conversation.view.state {
                ConversationState::Closed => return Err(StoreError::Closed),
                ConversationState::Waiting => return Ok(BTreeSet::new()),
                ConversationState::Assigned => {}
            }
            let event = released(&mut conversation, StateReason::Requested, now)?;
            finish(tx, &conversation, &[event], now).await?;
            Ok(BTreeSet::from([conversation.shard]))
        };
        let shards = self.within(work).await?;
        self.announce(shards).await;
        self.match_or_later(organization).await;
        let now_waiting = self.conversation(organization, id).await?;
        now_waiting.ok_or(StoreError::NotFound("conversation"))
    }

    /// Puts back the conversations of agents who have been away for `grace`, and have had the
    /// conversation for as long; returns how many. An organization that fails keeps none of the
    /// others from it.
    ///
    /// # Errors
    /// The database, of the first organization that failed.
    pub async fn release_absent(
        &self,
        grace: Duration,
        now: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let grace = TimeDelta::from_std(grace).unwrap_or(TimeDelta::MAX);
        let Some(since) = now.checked_sub_signed(grace) else {
            return Ok(0);
        };
        let organizations: Vec<OrganizationId> = self.within(self.with_absent(since)).await?;
        let (mut released, mut failed) = (0, None);
        for organization in organizations {
            match self.release_absent_of(&organization, since).await {
                Ok(count) => released += count,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(released), Err)
    }

    /// Organizations where somebody waits for an agent who is away since then.
    async fn with_absent(&self, since: DateTime<Utc>) -> Result<Vec<OrganizationId>, StoreError> {
        Ok(on!(read self.database(), db => {
            sqlx::query_scalar(
                "SELECT DISTINCT a.organization FROM agents a JOIN conversations c \
                 ON c.agent_id = a.id AND c.state = 'assigned' AND c.assigned_at <= $1 \
                 WHERE NOT a.available AND a.away_since <= $1",
            )
            .bind(since)
            .fetch_all(db)
            .await
        })?)
    }

    async fn release_absent_of(
        &self,
        organization: &OrganizationId,
        since: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let mut released = 0;
        loop {
            let (shards, count) = self.within(self.release_some(organization, since)).await?;
            self.announce(shards).await;
            released += count;
            if i64::try_from(count).is_ok_and(|count| count < BATCH) {
                break;
            }
        }
        self.match_or_later(organization).await;
        Ok(released)
    }

    async fn release_some(
        &self,
        organization: &OrganizationId,
        since: DateTime<Utc>,
    ) -> Result<(BTreeSet<u16>, usize), StoreError> {
        let now = now();
        let mut tx = self.begin().await?;
        // Under the team's lock nobody comes back or gets a conversation meanwhile.
        matching::lock_team(&mut tx, organization).await?;
        let found = absent(&mut tx, organization, since).await?;
        let ids: Vec<Uuid> = found.iter().map(|(id, _)| id.0).collect();
        let statement = format!(
            "SELECT {CONVERSATION_COLUMNS} FROM conversations WHERE id {{ids}} ORDER BY id {{lock}}"
        );
        let held: Vec<ConversationRow> = select_by_ids(&mut tx, &statement, &ids).await?;
        let (mut conversations, mut outgoing) = (Vec::new(), Vec::new());
        for row in held {
            let mut conversation = Conversation::try_from(row)?;
            let view = &conversation.view;
            let is_open = view.state == ConversationState::Assigned;
            if is_open && found.contains(&(view.id, view.agent_id)) {
                outgoing.push(released(&mut conversation, StateReason::AgentAbsent, now)?);
                conversations.push(conversation);
            }
        }
        rows::conversation_changes(&conversations.iter().collect::<Vec<_>>())
            .update(&mut tx)
            .await?;
        rows::outbox(&outgoing, now)?.insert(&mut tx, "").await?;
        tx.commit().await?;
        let shards = conversations.iter().map(|c| c.shard).collect();
        Ok((shards, conversations.len()))
    }
}

/// Conversations of the organization's agents who are away since then. They are not held yet.
async fn absent(
    tx: &mut Tx,
    organization: &OrganizationId,
    since: DateTime<Utc>,
) -> Result<Vec<(ConversationId, Option<AgentId>)>, StoreError> {
    Ok(on!(tx, db => {
        sqlx::query_as(
            "SELECT c.id, c.agent_id FROM agents a JOIN conversations c \
             ON c.agent_id = a.id AND c.state = 'assigned' AND c.assigned_at <= $1 \
             WHERE a.organization = $2 AND NOT a.available AND a.away_since <= $1 \
             ORDER BY c.assigned_at, c.id LIMIT $3",
        )
        .bind(since)
        .bind(organization)
        .bind(BATCH)
        .fetch_all(db)
        .await
    })?)
}

/// Makes a conversation wait again, at its next place.
fn released(
    conversation: &mut Conversation,
    reason: StateReason,
    now: DateTime<Utc>,
) -> Result<Outgoing, StoreError> {
    let previous = conversation.view.state;
    conversation.wait(now);
    conversation.advance(now);
    let event = ConversationStatusChanged {
        conversation: conversation.view.clone(),
        previous,
        reason,
    };
    Ok(conversation.event(&event, now)?)
}
