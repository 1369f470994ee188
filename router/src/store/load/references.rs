//! Which messages the ids of a batch name, and where those belong.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tributary_base::database::Tx;
use tributary_bus::{ChannelId, ContactId, ConversationId, MessageId};
use uuid::Uuid;

use super::named::Named;
use crate::{
    decide::Entry,
    model::Early,
    store::{StoreError, bulk::select_by_ids, rows::EarlyRow},
};

/// Where a stored message belongs; it never changes.
#[derive(Clone, Copy)]
pub(super) struct Home {
    pub conversation: ConversationId,
    pub contact: ContactId,
}

/// The messages that the provider's ids can name: parts of ours, and those that came over the
/// channel.
pub(super) fn named_by(
    ids: &BTreeSet<(ChannelId, String)>,
    parts: &HashMap<(ChannelId, String), MessageId>,
) -> Vec<Uuid> {
    let ids = ids.iter().map(|key| {
        let part = parts.get(key).copied();
        part.unwrap_or_else(|| MessageId::derived(&key.0, &key.1)).0
    });
    ids.collect()
}

/// What the provider's ids of a batch name.
#[derive(Default)]
pub(super) struct Referenced {
    /// Parts of messages of ours.
    pub parts: HashMap<(ChannelId, String), MessageId>,
    /// Messages that answer a message of ours that is given such an id now.
    pub answers: Vec<Uuid>,
}

/// Which of the provider's ids that the batch names are of parts of messages of ours; and what
/// answers those that are given now.
pub(super) async fn referenced(tx: &mut Tx, named: &Named) -> Result<Referenced, StoreError> {
    let all: BTreeSet<&(ChannelId, String)> = named
        .mentioned
        .iter()
        .chain(&named.referenced)
        .chain(&named.given)
        .collect();
    if all.is_empty() {
        return Ok(Referenced::default());
    }
    let keys = all.into_iter().map(|key| {
        let (channel, id) = key;
        (channel.as_str(), id.as_str(), named.given.contains(key))
    });
    let rows: Vec<(ChannelId, String, MessageId, bool)> = match tx {
        Tx::Postgres(tx) => {
            let (mut channels, mut ids, mut given) = (Vec::new(), Vec::new(), Vec::new());
            for (channel, id, is_given) in keys {
                channels.push(channel);
                ids.push(id);
                given.push(is_given);
            }
            sqlx::query_as(
                "WITH k AS (SELECT * FROM UNNEST($1::text[], $2::text[], $3::boolean[]) \
                 AS k (channel_id, provider_id, is_given)) \
                 SELECT channel_id, provider_id, message_id, FALSE FROM provider_ids \
                 JOIN k USING (channel_id, provider_id) \
                 UNION ALL SELECT k.channel_id, k.provider_id, m.id, TRUE FROM k JOIN messages m \
                 ON k.is_given AND m.channel_id = k.channel_id AND m.reply_to = k.provider_id",
            )
            .bind(channels)
            .bind(ids)
            .bind(given)
            .fetch_all(&mut **tx)
            .await?
        }
        Tx::Sqlite(tx) => {
            let keys: Vec<(&str, &str, bool)> = keys.collect();
            sqlx::query_as(
                "WITH k AS (SELECT value AS key FROM json_each($1)) \
                 SELECT channel_id, provider_id, message_id, FALSE FROM k CROSS JOIN provider_ids \
                 ON channel_id = k.key ->> 0 AND provider_id = k.key ->> 1 \
                 UNION ALL SELECT m.channel_id, m.reply_to, m.id, TRUE FROM k CROSS JOIN messages m \
                 ON k.key ->> 2 AND m.channel_id = k.key ->> 0 AND m.reply_to = k.key ->> 1",
            )
            .bind(serde_json::json!(keys).to_string())
            .fetch_all(&mut **tx)
            .await?
        }
    };
    let mut referenced = Referenced::default();
    for (channel, id, message, is_answer) in rows {
        if is_answer {
            referenced.answers.push(message.0);
        } else {
            referenced.parts.insert((channel, id), message);
        }
    }
    Ok(referenced)
}

/// What the store has of the messages that a batch names.
#[derive(Default)]
pub(super) struct Homes {
    /// Where those belong that are stored.
    pub stored: HashMap<MessageId, Home>,
    /// Messages of ours, by the ids of their echoes.
    pub echoes: HashMap<MessageId, MessageId>,
    /// Ids under which something came before the message.
    pub early: Vec<Uuid>,
}

/// Which of the named messages are stored, which are echoes of ours, and to which of the others
/// something happened already.
pub(super) async fn homes(
    tx: &mut Tx,
    named: &Named,
    parts: &HashMap<(ChannelId, String), MessageId>,
) -> Result<Homes, StoreError> {
    let mut ids: BTreeSet<Uuid> = named.received.union(&named.told_about).copied().collect();
    ids.extend(named_by(&named.mentioned, parts));
    // In one statement, since every batch asks all three.
    let statement = "SELECT id, id AS named, conversation_id, contact_id FROM messages WHERE id {ids} \
         UNION ALL SELECT p.message_id, p.echo_id, m.conversation_id, m.contact_id FROM provider_ids p \
         JOIN messages m ON m.id = p.message_id WHERE p.echo_id {ids} \
         UNION ALL SELECT message_id, message_id, NULL, NULL FROM early_changes WHERE message_id {ids}";
    type Row = (
        MessageId,
        MessageId,
        Option<ConversationId>,
        Option<ContactId>,
    );
    let rows: Vec<Row> = select_by_ids(tx, statement, &ids.into_iter().collect::<Vec<_>>()).await?;
    let mut homes = Homes::default();
    for (id, named, conversation, contact) in rows {
        let Some((conversation, contact)) = conversation.zip(contact) else {
            homes.early.push(id.0);
            continue;
        };
        if named != id {
            homes.echoes.insert(named, id);
        }
        let home = Home {
            conversation,
            contact,
        };
        homes.stored.insert(id, home);
    }
    Ok(homes)
}

/// What came under these ids before their messages.
pub(super) async fn early(
    tx: &mut Tx,
    ids: &[Uuid],
) -> Result<BTreeMap<MessageId, Entry<Early>>, StoreError> {
    let statement = "SELECT message_id, organization, channel_id, content, edited_at, deleted_at, reactions, \
         address FROM early_changes WHERE message_id {ids}";
    let rows: Vec<EarlyRow> = select_by_ids(tx, statement, ids).await?;
    let rows = rows.into_iter().map(|row| {
        let early = Early::try_from(row)?;
        Ok((early.message, Entry::stored(early)))
    });
    rows.collect()
}
