//! What the store knows about a batch of inbound events, read within the transaction that will change it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::AssertSqlSafe;
use tributary_base::database::Tx;
use tributary_bus::{
    Address, ChannelId, ContactId, ConversationId, EventId, MessageId, OrganizationId,
    message::Inbound,
};
use uuid::Uuid;

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
    model::{Contact, Conversation, Message},
};

/// What a batch names.
#[derive(Default)]
struct Named {
    channels: BTreeSet<ChannelId>,
    contacts: BTreeSet<(ChannelId, Address)>,
    /// Messages that came.
    received: BTreeSet<Uuid>,
    /// Messages that something is told about.
    told_about: BTreeSet<Uuid>,
    /// Events that take effect once.
    once: Vec<Uuid>,
}

impl Named {
    fn by(arrivals: &[&Arrival]) -> Self {
        let mut named = Self::default();
        for arrival in arrivals {
            let origin = arrival.inbound.origin();
            named.channels.insert(origin.channel_id.clone());
            let contact = || (origin.channel_id.clone(), origin.address.clone());
            match &arrival.inbound {
                Inbound::Received(event) => {
                    named.contacts.insert(contact());
                    named.received.insert(event.message_id.0);
                }
                Inbound::Status(event) => {
                    named.told_about.insert(event.message_id.0);
                }
                Inbound::Edited(event) => {
                    named.once.push(arrival.id.0);
                    named.told_about.insert(event.message_id.0);
                }
                Inbound::Deleted(event) => {
                    named.once.push(arrival.id.0);
                    named.told_about.insert(event.message_id.0);
                }
                Inbound::Joined(_) | Inbound::Left(_) => {
                    named.once.push(arrival.id.0);
                    named.contacts.insert(contact());
                }
                Inbound::Health(_) => named.once.push(arrival.id.0),
                Inbound::Reacted(_)
                | Inbound::Media(_)
                | Inbound::ChangeFailed(_)
                | Inbound::Typing(_)
                | Inbound::Read(_) => {}
            }
        }
        named
    }
}

/// Reads everything that matters to the batch and holds its conversations.
pub(super) async fn load(tx: &mut Tx, arrivals: &[&Arrival]) -> Result<Snapshot, StoreError> {
    let named = Named::by(arrivals);
    let contacts: Vec<Contact> = contacts(tx, &named.contacts).await?;
    let contact_ids: Vec<Uuid> = contacts.iter().map(|c| c.view.id.0).collect();
    let current = current(tx, &contact_ids).await?;
    let homes = homes(tx, &named).await?;
    let told_about = |id: &MessageId| named.told_about.contains(&id.0);
    let held: BTreeSet<ConversationId> = current
        .values()
        .chain(
            homes
                .iter()
                .filter(|(id, _)| told_about(id))
                .map(|(_, home)| home),
        )
        .copied()
        .collect();
    // Before the messages are read, so that nobody changes them afterwards.
    let conversations = hold(tx, &held).await?;
    let about: Vec<Uuid> = homes
        .keys()
        .filter(|id| told_about(id))
        .map(|id| id.0)
        .collect();
    let messages = messages(tx, &about).await?;
    Ok(Snapshot {
        channels: channels(tx, &named.channels).await?,
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
        stored: homes.into_keys().collect(),
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
            sqlx::query_as("SELECT id, organization FROM channels WHERE id = ANY($1)")
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

async fn contacts(
    tx: &mut Tx,
    keys: &BTreeSet<(ChannelId, Address)>,
) -> Result<Vec<Contact>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (channels, addresses): (Vec<&str>, Vec<&str>) = keys
        .iter()
        .map(|(channel, address)| (channel.as_str(), address.as_str()))
        .unzip();
    let rows: Vec<ContactRow> = match tx {
        Tx::Postgres(tx) => {
            let statement = format!(
                "SELECT {CONTACT_COLUMNS} FROM contacts JOIN UNNEST($1::text[], $2::text[]) \
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
                "SELECT {CONTACT_COLUMNS} FROM (SELECT value AS pair FROM json_each($1)) AS k CROSS JOIN contacts \
                 ON channel_id = k.pair ->> 0 AND address = k.pair ->> 1"
            );
            let pairs: Vec<(&str, &str)> = channels.into_iter().zip(addresses).collect();
            sqlx::query_as(AssertSqlSafe(statement))
                .bind(serde_json::json!(pairs).to_string())
                .fetch_all(&mut **tx)
                .await?
        }
    };
    Ok(rows.into_iter().map(Contact::from).collect())
}

/// The open conversation of each contact, or else the latest.
async fn current(
    tx: &mut Tx,
    contacts: &[Uuid],
) -> Result<HashMap<ContactId, ConversationId>, StoreError> {
    let rows: Vec<(ContactId, Option<ConversationId>)> = select_by_ids(
        tx,
        "SELECT id, COALESCE( \
         (SELECT o.id FROM conversations o WHERE o.contact_id = contacts.id AND o.state <> 'closed'), \
         (SELECT l.id FROM conversations l WHERE l.contact_id = contacts.id \
          ORDER BY l.created_at DESC LIMIT 1)) \
         FROM contacts WHERE id {ids}",
        contacts,
    )
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .filter_map(|(contact, id)| Some((contact, id?)))
        .collect())
}

/// Which of the named messages are stored, and the conversation of each (which never changes).
async fn homes(
    tx: &mut Tx,
    named: &Named,
) -> Result<HashMap<MessageId, ConversationId>, StoreError> {
    let ids: Vec<Uuid> = named.received.union(&named.told_about).copied().collect();
    let statement = "SELECT id, conversation_id FROM messages WHERE id {ids}";
    let rows: Vec<(MessageId, ConversationId)> = select_by_ids(tx, statement, &ids).await?;
    Ok(rows.into_iter().collect())
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

async fn seen(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<EventId>, StoreError> {
    let rows: Vec<(EventId,)> =
        select_by_ids(tx, "SELECT id FROM seen WHERE id {ids}", ids).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}
