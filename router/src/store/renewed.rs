//! Delivery lanes that had to be declared anew: what was in them is emitted again.

use chrono::{DateTime, Utc};
use tributary_base::on;
use tributary_bus::{
    ChannelId, ConversationId, MessageId, OrganizationId,
    message::{Priority, Status},
};

use super::{
    Store, StoreError,
    commands::{delivery_of, finish, lock, message_of, recipient},
};
use crate::model::now;

/// Messages of one round.
const ROUND: i64 = 1000;

impl Store {
    /// Notes that the lane of a channel was declared anew.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn note_renewed(&self, channel: &ChannelId) -> Result<(), StoreError> {
        let work = async {
            Ok(on!(write self.database(), db => {
                sqlx::query(
                    "INSERT INTO fleet (key, value, updated_at) VALUES ($1, '', $2) \
                     ON CONFLICT (key) DO UPDATE SET updated_at = excluded.updated_at",
                )
                .bind(format!("{RENEWED}{channel}"))
                .bind(now())
                .execute(db)
                .await
                .map(drop)
            })?)
        };
        self.within(work).await
    }

    /// The channels whose lanes were declared anew, and when.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn renewed(&self) -> Result<Vec<(ChannelId, DateTime<Utc>)>, StoreError> {
        let work = async {
            let rows: Vec<(String, DateTime<Utc>)> = on!(read self.database(), db => {
                sqlx::query_as("SELECT key, updated_at FROM fleet WHERE key LIKE 'renewed %'")
                    .fetch_all(db)
                    .await
            })?;
            let channels = rows.into_iter().filter_map(|(key, at)| {
                let channel = key.strip_prefix(RENEWED)?;
                Some((ChannelId(channel.to_owned()), at))
            });
            Ok(channels.collect())
        };
        self.within(work).await
    }

    /// Emits the deliveries of a channel's `queued` messages again, in order per conversation; returns how many. The ledger
    /// makes one that was handled already harmless.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn emit_queued(
        &self,
        channel: &ChannelId,
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let (mut emitted, mut after) = (0, (ConversationId(uuid::Uuid::nil()), 0_i64));
        loop {
            let page = self.within(self.queued(channel, after)).await?;
            let Some((.., conversation, seq)) = page.last() else {
                break;
            };
            after = (*conversation, *seq);
            for (organization, message, conversation, _) in page {
                match self
                    .within(self.emit(&organization, conversation, message))
                    .await
                {
                    Ok(count) => emitted += count,
                    // They fail by their own way.
                    Err(StoreError::Blocked | StoreError::ChannelRemoved(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let work = async {
            Ok(on!(write self.database(), db => {
                sqlx::query("DELETE FROM fleet WHERE key = $1 AND updated_at = $2")
                    .bind(format!("{RENEWED}{channel}"))
                    .bind(at)
                    .execute(db)
                    .await
                    .map(drop)
            })?)
        };
        self.within(work).await?;
        Ok(emitted)
    }

    async fn queued(
        &self,
        channel: &ChannelId,
        (conversation, seq): (ConversationId, i64),
    ) -> Result<Vec<(OrganizationId, MessageId, ConversationId, i64)>, StoreError> {
        Ok(on!(read self.database(), db => {
            sqlx::query_as(
                "SELECT organization, id, conversation_id, seq FROM messages \
                 WHERE channel_id = $1 AND direction = 'outbound' AND status = 'queued' \
                 AND (conversation_id, seq) > ($2, $3) ORDER BY conversation_id, seq LIMIT $4",
            )
            .bind(channel)
            .bind(conversation)
            .bind(seq)
            .bind(ROUND)
            .fetch_all(db)
            .await
        })?)
    }

    async fn emit(
        &self,
        organization: &OrganizationId,
        conversation: ConversationId,
        message: MessageId,
    ) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let conversation = lock(&mut tx, organization, conversation).await?;
        let message = message_of(&mut tx, organization, message).await?;
        if message.view.status != Status::Queued {
            return Ok(0);
        }
        let contact = recipient(&mut tx, &conversation).await?;
        // What it was is not kept: somebody may wait for it.
        let delivery = delivery_of(&conversation, &contact, &message, Priority::Reply)?;
        finish(tx, &conversation, &[delivery], now()).await?;
        self.announce([conversation.shard].into()).await;
        Ok(1)
    }
}

const RENEWED: &str = "renewed ";
