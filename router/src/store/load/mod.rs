//! What the store knows about a batch of inbound events, read within the transaction that will
//! change it.

mod named;
mod references;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use tributary_base::database::Tx;
use tributary_bus::{
    Address, ChannelId, ContactId, ConversationId, EventId, MessageId, OrganizationId,
};
use uuid::Uuid;

use self::{
    named::Named,
    references::{Referenced, early, homes, named_by, referenced},
};
use super::{
    StoreError,
    bulk::select_by_ids,
    rows::{
        CONTACT_COLUMNS, CONVERSATION_COLUMNS, ContactRow, ConversationRow, MESSAGE_COLUMNS,
        MessageRow,
    },
};
use crate::{
    decide::{Arrival, Entry, Snapshot},
    model::{Contact, Conversation, Health, Message},
};

/// How far back from its end a conversation is searched for messages that were read, in places.
const READ_WITHIN: i64 = 1000;

/// Reads everything that matters to the batch and holds its conversations.
pub(super) async fn load(tx: &mut Tx, arrivals: &[&Arrival]) -> Result<Snapshot, StoreError> {
    let mut named = Named::by(arrivals);
    let (contacts, current) = contacts(tx, &named.contacts).await?;
    let Referenced { parts, answers } = referenced(tx, &named).await?;
    named.told_about.extend(named_by(&named.referenced, &parts));
    named.told_about.extend(answers);
    let homes = homes(tx, &named, &parts).await?;
    for (echo, ours) in &homes.echoes {
        if named.told_about.contains(&echo.0) {
            named.told_about.insert(ours.0);
        }
    }
    let told_about = homes.stored.iter();
    let told_about = told_about.filter(|(id, _)| named.told_about.contains(&id.0));
    let mut held: BTreeSet<ConversationId> = current.values().copied().collect();
    held.extend(told_about.clone().map(|(_, home)| home.conversation));
    // Before the messages are read, so that nobody changes them afterwards.
    let conversations = hold(tx, &held).await?;
    let mut about: BTreeSet<Uuid> = told_about.map(|(id, _)| id.0).collect();
    if named.questions {
        let open = conversations.values().filter_map(|c| c.value.question);
        about.extend(open.map(|question| question.message.0));
    }
    let mut messages = messages(tx, &about.into_iter().collect::<Vec<_>>()).await?;
    let readers = contacts.iter().filter(|c| {
        let key = (c.view.channel_id.clone(), c.view.address.clone());
        named.readers.contains(&key)
    });
    let read = readers.filter_map(|c| current.get(&c.view.id));
    for message in unread(tx, &read.map(|id| id.0).collect::<Vec<_>>()).await? {
        let entry = messages.entry(message.view.id);
        entry.or_insert_with(|| Entry::stored(message));
    }
    Ok(Snapshot {
        channels: channels(tx, &named.channels).await?,
        health: health(tx, &named.reporting).await?,
        contacts: contacts
            .into_iter()
            .map(|c| {
                let key = (c.view.channel_id.clone(), c.view.address.clone());
                (key, Entry::stored(c))
            })
            .collect(),
        current,
        conversations,
        messages,
        stored: homes
            .stored
            .into_iter()
            .map(|(id, home)| (id, home.contact))
            .collect(),
        parts,
        echoes: homes.echoes,
        early: early(tx, &homes.early).await?,
        seen: seen(tx, &named.once).await?.into_iter().collect(),
    })
}

async fn channels(
    tx: &mut Tx,
    ids: &BTreeSet<ChannelId>,
) -> Result<HashMap<ChannelId, OrganizationId>, StoreError> {
    let ids: Vec<&str> = ids.iter().map(ChannelId::as_str).collect();
    let rows: Vec<(ChannelId, OrganizationId)> = match tx {
        Tx::Postgres(tx) => {
            // Of a join PostgreSQL keeps the plan; of a list it makes a new one every time.
            sqlx::query_as(
                "SELECT id, organization FROM channels JOIN UNNEST($1::text[]) AS k (id) USING (id)",
            )
            .bind(ids)
            .fetch_all(&mut **tx)
            .await?
        }
        Tx::Sqlite(tx) => sqlx::query_as(
            "SELECT id, organization FROM channels WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(&mut **tx)
        .await?,
    };
    Ok(rows.into_iter().collect())
}

/// A contact, and its open conversation or else the latest.
#[derive(sqlx::FromRow)]
struct Known {
    #[sqlx(flatten)]
    contact: ContactRow,
    current: Option<ConversationId>,
}

/// The contacts that are known; and the open conversation of each, or else the latest.
async fn contacts(
    tx: &mut Tx,
    keys: &BTreeSet<(ChannelId, Address)>,
) -> Result<(Vec<Contact>, HashMap<ContactId, ConversationId>), StoreError> {
    if keys.is_empty() {
        return Ok(Default::default());
    }
    let keys = keys.iter();
    let keys = keys.map(|(channel, address)| (channel.as_str(), address.as_str()));
    let columns = format!(
        "{CONTACT_COLUMNS}, COALESCE( \
         (SELECT o.id FROM conversations o WHERE o.contact_id = contacts.id AND o.state <> 'closed'), \
         (SELECT l.id FROM conversations l WHERE l.contact_id = contacts.id \
          ORDER BY l.created_at DESC LIMIT 1)) AS current"
    );
    let rows: Vec<Known> = match tx {
        Tx::Postgres(tx) => {
            let (channels, addresses): (Vec<&str>, Vec<&str>) = keys.unzip();
            let statement = format!(
                "SELECT {columns} FROM contacts JOIN UNNEST($1::text[], $2::text[]) \
                 AS k (channel_id, address) USING (channel_id, address)"
            );
            sqlx::query_as(AssertSqlSafe(statement))
                .bind(channels)
                .bind(addresses)
                .fetch_all(&mut **tx)
                .await?
        }
        Tx::Sqlite(tx) => {
            let statement = format!(
                "SELECT {columns} FROM (SELECT value AS pair FROM json_each($1)) AS k CROSS JOIN contacts \
                 ON channel_id = k.pair ->> 0 AND address = k.pair ->> 1"
            );
            let pairs: Vec<(&str, &str)> = keys.collect();
            sqlx::query_as(AssertSqlSafe(statement))
                .bind(serde_json::json!(pairs).to_string())
                .fetch_all(&mut **tx)
                .await?
        }
    };
    let (mut contacts, mut current) = (Vec::with_capacity(rows.len()), HashMap::new());
    for row in rows {
        if let Some(conversation) = row.current {
            current.insert(row.contact.id, conversation);
        }
        contacts.push(Contact::try_from(row.contact)?);
    }
    Ok((contacts, current))
}

/// Holds conversations until the transaction ends, in the order of their ids.
async fn hold(
    tx: &mut Tx,
    ids: &BTreeSet<ConversationId>,
) -> Result<BTreeMap<ConversationId, Entry<Conversation>>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let statement = format!(
        "SELECT {CONVERSATION_COLUMNS} FROM conversations WHERE id {{ids}} ORDER BY id {{lock}}"
    );
    let rows: Vec<ConversationRow> = select_by_ids(tx, &statement, &ids).await?;
    let mut held = BTreeMap::new();
    for row in rows {
        held.insert(row.id, Entry::stored(Conversation::try_from(row)?));
    }
    Ok(held)
}

async fn messages(
    tx: &mut Tx,
    ids: &[Uuid],
) -> Result<BTreeMap<MessageId, Entry<Message>>, StoreError> {
    let statement = format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE id {{ids}}");
    let rows: Vec<MessageRow> = select_by_ids(tx, &statement, ids).await?;
    let mut messages = BTreeMap::new();
    for row in rows {
        messages.insert(row.id, Entry::stored(Message::try_from(row)?));
    }
    Ok(messages)
}

/// Messages of these conversations that were sent and are not known to be read, near their ends.
async fn unread(tx: &mut Tx, conversations: &[Uuid]) -> Result<Vec<Message>, StoreError> {
    let statement = format!(
        "SELECT {MESSAGE_COLUMNS} FROM messages WHERE id IN \
         (SELECT m.id FROM conversations c JOIN messages m ON m.conversation_id = c.id \
         AND m.seq > c.seq - {READ_WITHIN} WHERE c.id {{ids}} AND m.direction = 'outbound' \
         AND m.status IN ('sent', 'delivered'))"
    );
    let rows: Vec<MessageRow> = select_by_ids(tx, &statement, conversations).await?;
    rows.into_iter().map(Message::try_from).collect()
}

/// What the channels reported last.
async fn health(
    tx: &mut Tx,
    channels: &BTreeSet<ChannelId>,
) -> Result<BTreeMap<ChannelId, Entry<Health>>, StoreError> {
    let mut known = BTreeMap::new();
    for channel in channels {
        let row: Option<(String, String, Option<String>, DateTime<Utc>)> = tributary_base::on!(&mut *tx, db => {
            sqlx::query_as(
                "SELECT health_state, COALESCE(health_reason, ''), health_action, health_since \
                 FROM channels WHERE id = $1 AND health_state IS NOT NULL",
            )
            .bind(channel)
            .fetch_optional(db)
            .await
        })?;
        if let Some((state, reason, action, since)) = row {
            let corrupt = |reason| StoreError::Corrupt("state of a channel", reason);
            let health = Health {
                channel: channel.clone(),
                state: state.parse().map_err(corrupt)?,
                reason,
                action,
                since,
            };
            known.insert(channel.clone(), Entry::stored(health));
        }
    }
    Ok(known)
}

async fn seen(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<EventId>, StoreError> {
    let rows: Vec<(EventId,)> =
        select_by_ids(tx, "SELECT id FROM seen WHERE id {ids}", ids).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
