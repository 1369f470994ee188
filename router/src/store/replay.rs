//! Raw payloads, and what is known of what they led to: for those who read them again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::QueryBuilder;
use tributary_base::on;
use tributary_bus::{ChannelId, EventId, OrganizationId, message::Content};

use super::{Store, StoreError};

/// A payload as it came.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct StoredRaw {
    /// The event that it came with.
    pub event_id: EventId,
    pub received_at: DateTime<Utc>,
    pub media_type: String,
    pub body: String,
}

/// What is stored under an event's id.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// A message that says this.
    Message(Box<Content>),
    /// Something else took effect.
    Other,
}

/// Where a page of payloads begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawFrom {
    /// At the first that was received then or later.
    Time(DateTime<Utc>),
    /// Behind this one.
    Behind(DateTime<Utc>, EventId),
}

impl Store {
    /// The payloads of a channel, the oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn raw_payloads(
        &self,
        organization: &OrganizationId,
        channel: &ChannelId,
        from: RawFrom,
        limit: i64,
    ) -> Result<Vec<StoredRaw>, StoreError> {
        self.within(async {
            Ok(on!(read &self.database, db => {
                let mut select = QueryBuilder::new(
                    "SELECT event_id, received_at, media_type, body FROM raw_payloads WHERE organization = ",
                );
                select.push_bind(organization.clone());
                select.push(" AND channel_id = ").push_bind(channel.clone());
                match from {
                    RawFrom::Time(since) => {
                        select.push(" AND received_at >= ").push_bind(since);
                    }
                    RawFrom::Behind(at, id) => {
                        select.push(" AND (received_at, event_id) > (").push_bind(at);
                        select.push(", ").push_bind(id).push(")");
                    }
                }
                select.push(" ORDER BY received_at, event_id LIMIT ").push_bind(limit);
                select.build_query_as().fetch_all(db).await
            })?)
        })
        .await
    }

    /// What is stored under these ids; nothing for those that never took effect here, or so long ago that it was
    /// forgotten.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn known_events(
        &self,
        organization: &OrganizationId,
        ids: &[EventId],
    ) -> Result<BTreeMap<EventId, Known>, StoreError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let messages: Vec<(EventId, String)> = self
            .within(async {
                Ok(on!(read &self.database, db => {
                    let mut select = QueryBuilder::new("SELECT id, content FROM messages WHERE organization = ");
                    select.push_bind(organization.clone()).push(" AND id IN (");
                    let mut list = select.separated(", ");
                    for id in ids {
                        list.push_bind(*id);
                    }
                    select.push(")");
                    select.build_query_as().persistent(false).fetch_all(db).await
                })?)
            })
            .await?;
        let seen: Vec<(EventId,)> = self
            .within(async {
                Ok(on!(read &self.database, db => {
                    let mut select = QueryBuilder::new("SELECT id FROM seen WHERE organization = ");
                    select.push_bind(organization.clone()).push(" AND id IN (");
                    let mut list = select.separated(", ");
                    for id in ids {
                        list.push_bind(*id);
                    }
                    select.push(")");
                    select.build_query_as().persistent(false).fetch_all(db).await
                })?)
            })
            .await?;
        let mut known: BTreeMap<EventId, Known> =
            seen.into_iter().map(|(id,)| (id, Known::Other)).collect();
        for (id, content) in messages {
            let content = serde_json::from_str(&content)
                .unwrap_or_else(|_| Content::unsupported("unreadable"));
            known.insert(id, Known::Message(Box::new(content)));
        }
        Ok(known)
    }
}
