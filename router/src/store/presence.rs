//! What a contact may see of those who answer: that somebody is typing, and what was read.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Map;
use tributary_base::{database::Tx, on};
use tributary_bus::{
    ConversationId, OrganizationId, Payload,
    message::{ConversationState, DeliveryRead, DeliveryTyping},
};

use super::{
    Store, StoreError,
    changes::{delivery_id, mark},
    commands::{finish, lock, recipient},
};
use crate::model::{Conversation, now};

/// Providers show typing for about 5 s: within this time of the last call another one says nothing new.
const TYPING_INTERVAL: TimeDelta = TimeDelta::seconds(3);

impl Store {
    /// Shows the contact that somebody is typing. A call soon after another one does nothing.
    ///
    /// # Errors
    /// No such conversation; it is closed; the contact has blocked the channel; the channel is no longer configured; the
    /// database.
    pub async fn show_typing(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
    ) -> Result<(), StoreError> {
        let work = async {
            let now = now();
            let mut tx = self.begin().await?;
            let mut conversation = lock(&mut tx, organization, id).await?;
            if conversation.view.state == ConversationState::Closed {
                return Err(StoreError::Closed);
            }
            let contact = recipient(&mut tx, &conversation).await?;
            let statement = "UPDATE conversations SET typing_at = $2 \
                 WHERE id = $1 AND (typing_at IS NULL OR typing_at < $3)";
            let times = (now, now - TYPING_INTERVAL);
            if !mark(&mut tx, statement, &conversation, times).await? {
                return Ok(BTreeSet::new());
            }
            conversation.advance(now);
            let typing = DeliveryTyping {
                conversation_id: conversation.view.id,
                channel_id: conversation.view.channel_id.clone(),
                to: contact.view.address,
                seq: conversation.view.seq,
                extra: Map::new(),
            };
            deliver(tx, &conversation, &typing, now).await
        };
        let shards = self.within(work).await?;
        self.announce(shards).await;
        Ok(())
    }

    /// Tells the channel that the contact's messages were read, up to the latest. Telling it again does nothing.
    ///
    /// # Errors
    /// No such conversation; the contact wrote nothing in it; the contact has blocked the channel; the channel is no longer
    /// configured; the database.
    pub async fn mark_read(
        &self,
        organization: &OrganizationId,
        id: ConversationId,
    ) -> Result<(), StoreError> {
        let work = async {
            let now = now();
            let mut tx = self.begin().await?;
            let mut conversation = lock(&mut tx, organization, id).await?;
            let contact = recipient(&mut tx, &conversation).await?;
            let latest = latest_inbound(&mut tx, id).await?;
            let (provider_id, seq) = latest.ok_or(StoreError::NothingToRead)?;
            let statement = "UPDATE conversations SET read_seq = $2 \
                 WHERE id = $1 AND (read_seq IS NULL OR read_seq < $3)";
            if !mark(&mut tx, statement, &conversation, (seq, seq)).await? {
                return Ok(BTreeSet::new());
            }
            conversation.advance(now);
            let read = DeliveryRead {
                conversation_id: conversation.view.id,
                channel_id: conversation.view.channel_id.clone(),
                to: contact.view.address,
                seq: conversation.view.seq,
                provider_id,
                extra: Map::new(),
            };
            deliver(tx, &conversation, &read, now).await
        };
        let shards = self.within(work).await?;
        self.announce(shards).await;
        Ok(())
    }
}

/// The provider's id and the place of the contact's latest message.
async fn latest_inbound(
    tx: &mut Tx,
    conversation: ConversationId,
) -> Result<Option<(String, i64)>, StoreError> {
    Ok(on!(tx, db => {
        sqlx::query_as(
            "SELECT provider_id, seq FROM messages WHERE conversation_id = $1 AND direction = 'inbound' \
             AND provider_id IS NOT NULL ORDER BY seq DESC LIMIT 1",
        )
        .bind(conversation)
        .fetch_optional(db)
        .await
    })?)
}

/// Writes a delivery that nobody is told of; answers whose relay has it.
async fn deliver<P: Payload>(
    tx: Tx,
    conversation: &Conversation,
    payload: &P,
    now: DateTime<Utc>,
) -> Result<BTreeSet<u16>, StoreError> {
    let delivery = conversation.delivery(delivery_id(conversation), payload, now)?;
    finish(tx, conversation, &[delivery], now).await?;
    Ok(BTreeSet::from([conversation.shard]))
}
