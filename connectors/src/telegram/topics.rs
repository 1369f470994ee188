//! In which topic a message is: Telegram does not say so of a reaction, nor of a button on a message that
//! is too old to be shown. A reaction belongs to the contact of its message, which is the topic.
//!
//! A row for each message of a topic, ours and theirs, is written before the message is published.

use chrono::{DateTime, Utc};
use sqlx::QueryBuilder;
use tracing::warn;
use tributary_base::{
    database::{Database, DatabaseError},
    on,
};
use tributary_bus::{
    Address, ChannelId, OrganizationId,
    message::{Content, Inbound, MessageReceived},
};

use super::address::{MessageKey, Place};
use crate::ReceiveError;

/// The topics of one account's messages.
pub(super) struct Topics {
    organization: OrganizationId,
    channel: ChannelId,
    /// `None` in `tributary check` and in tests.
    database: Option<Database>,
}

impl Topics {
    pub(super) fn new(
        organization: OrganizationId,
        channel: ChannelId,
        database: Option<Database>,
    ) -> Self {
        Self {
            organization,
            channel,
            database,
        }
    }

    /// Notes the topics of messages that came, and gives the others the topics that they lack.
    ///
    /// # Errors
    /// The table cannot be used: the update must come again.
    pub(super) async fn settle(&self, events: &mut [Inbound]) -> Result<(), ReceiveError> {
        let came = events.iter().filter_map(|event| match event {
            Inbound::Received(message) if in_topic(&message.origin.address) => {
                Some((message.provider_id.as_str(), &message.origin.address))
            }
            _ => None,
        });
        let noted = self.note(&came.collect::<Vec<_>>()).await;
        noted.map_err(|error| ReceiveError::Unavailable(error.to_string()))?;
        self.readdress_all(events).await
    }

    /// The second half of `settle`, for what was noted before.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) async fn readdress_all(&self, events: &mut [Inbound]) -> Result<(), ReceiveError> {
        for event in events {
            let (about, address) = match event {
                Inbound::Reacted(event) => (event.provider_id.clone(), &mut event.origin.address),
                Inbound::Received(event) => match pressed(event).cloned() {
                    Some(about) => (about, &mut event.origin.address),
                    None => continue,
                },
                _ => continue,
            };
            let whole_chat = Place::parse(address).is_some_and(|place| place.business.is_none());
            if !whole_chat || in_topic(address) {
                continue;
            }
            let found = self.find(&about).await;
            let found = found.map_err(|error| ReceiveError::Unavailable(error.to_string()))?;
            if let Some(topic) = found {
                *address = topic;
            }
        }
        Ok(())
    }

    /// Notes the topic of a message that was sent. Without it only a reaction to it is lost.
    pub(super) async fn sent(&self, place: &Place, provider_id: &str) {
        let address = place.address();
        if !in_topic(&address) {
            return;
        }
        if let Err(error) = self.note(&[(provider_id, &address)]).await {
            warn!(channel_id = %self.channel, %error, "topic of a message not written down");
        }
    }

    async fn note(&self, messages: &[(&str, &Address)]) -> Result<(), DatabaseError> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        if messages.is_empty() {
            return Ok(());
        }
        let now = Utc::now();
        on!(write database, db => {
            let mut insert = QueryBuilder::new(
                "INSERT INTO telegram_topics (organization, channel_id, message, address, created_at) ");
            insert.push_values(messages, |mut row, (message, address)| {
                row.push_bind(&self.organization)
                    .push_bind(&self.channel)
                    .push_bind(*message)
                    .push_bind(*address)
                    .push_bind(now);
            });
            insert.push(" ON CONFLICT DO NOTHING");
            insert.build().persistent(false).execute(db).await.map(drop)
        })?;
        Ok(())
    }

    async fn find(&self, message: &str) -> Result<Option<Address>, DatabaseError> {
        let Some(database) = &self.database else {
            return Ok(None);
        };
        let found: Option<String> = on!(read database, db => sqlx::query_scalar(
            "SELECT address FROM telegram_topics WHERE organization = $1 AND channel_id = $2 AND message = $3")
            .bind(&self.organization)
            .bind(&self.channel)
            .bind(message)
            .fetch_optional(db)
            .await)?;
        Ok(found.map(Address))
    }
}

/// Removes at most `limit` rows that were written before `before`; answers how many.
pub(crate) async fn remove_topics(
    database: &Database,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, DatabaseError> {
    let removed = on!(write database, db => sqlx::query(
        "DELETE FROM telegram_topics WHERE (channel_id, message) IN \
         (SELECT channel_id, message FROM telegram_topics WHERE created_at < $1 LIMIT $2)")
        .bind(before)
        .bind(limit)
        .execute(db).await.map(|done| done.rows_affected()))?;
    Ok(removed)
}

fn in_topic(address: &Address) -> bool {
    Place::parse(address).is_some_and(|place| place.thread.is_some() || place.direct.is_some())
}

/// The message on which the button was, when one was pressed.
fn pressed(message: &MessageReceived) -> Option<&String> {
    let is_press = matches!(
        message.content,
        Content::ChoiceReply(_) | Content::Unsupported(_)
    ) && MessageKey::parse(&message.provider_id).is_none();
    message.reply_to.as_ref().filter(|_| is_press)
}
