//! Changes of messages that exist: edit, delete, react. One transaction each.
//!
//! Channels report what they refuse and nothing else, so a change is recorded and told at once; what was there before is kept
//! until then (`model::Undo`).

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Map;
use tributary_base::{database::Tx, on};
use tributary_bus::{
    EventId, MessageId, OrganizationId, Payload,
    message::{
        Content, DeliveryDelete, DeliveryEdit, DeliveryReact, Direction, MessageContentEdited,
        MessageReactionsChanged, MessageRemoved, MessageView,
    },
};

use super::{
    Store, StoreError,
    commands::{finish, lock, message_of, recipient},
    rows,
};
use crate::model::{Before, Contact, Conversation, Message, Outgoing, now};

/// What is to change about a message.
#[derive(Debug, Clone)]
pub enum MessageEdit {
    /// What it says.
    Content(Box<Content>),
    /// It is taken back.
    Delete,
    /// Our reactions on it, all of them.
    Reactions(Vec<String>),
}

impl Store {
    /// Records a change of a message and sends it on its way to the channel. A change that changes nothing is none.
    ///
    /// # Errors
    /// No such message; it is not ours, was not sent (yet) or was deleted; the contact has blocked the channel; the channel
    /// is no longer configured; the database.
    pub async fn change_message(
        &self,
        organization: &OrganizationId,
        id: MessageId,
        edit: MessageEdit,
    ) -> Result<MessageView, StoreError> {
        let (view, shards) = self.within(self.change(organization, id, edit)).await?;
        self.announce(shards).await;
        Ok(view)
    }

    async fn change(
        &self,
        organization: &OrganizationId,
        id: MessageId,
        edit: MessageEdit,
    ) -> Result<(MessageView, BTreeSet<u16>), StoreError> {
        let now = now();
        let mut tx = self.begin().await?;
        let home = message_of(&mut tx, organization, id).await?;
        let home = home.view.conversation_id;
        let mut conversation = lock(&mut tx, organization, home).await?;
        // Again, since nobody can change it any more.
        let mut message = message_of(&mut tx, organization, id).await?;
        if check(&message, &edit)? == Wanted::AlreadySo {
            return Ok((message.shown(), BTreeSet::new()));
        }
        let contact = recipient(&mut tx, &conversation).await?;
        conversation.advance(now);
        record(&mut message, &edit, conversation.view.seq, now);
        let change = Change {
            conversation: &conversation,
            contact: &contact,
            message: &message,
            now,
        };
        let outgoing = change.outgoing(edit)?;
        rows::message_changes(&[&message])?.update(&mut tx).await?;
        finish(tx, &conversation, &outgoing, now).await?;
        Ok((message.shown(), BTreeSet::from([conversation.shard])))
    }
}

/// What a change that makes sense comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Change,
    /// The message is already as it is to be.
    AlreadySo,
}

fn check(message: &Message, edit: &MessageEdit) -> Result<Wanted, StoreError> {
    let view = &message.view;
    let already = match edit {
        MessageEdit::Content(_) | MessageEdit::Delete if view.direction == Direction::Inbound => {
            return Err(StoreError::NotOurs);
        }
        MessageEdit::Delete => view.deleted_at.is_some(),
        MessageEdit::Content(_) | MessageEdit::Reactions(_) if view.deleted_at.is_some() => {
            return Err(StoreError::Deleted);
        }
        MessageEdit::Content(content) => view.content == **content,
        MessageEdit::Reactions(reactions) => view.our_reactions == *reactions,
    };
    if message.provider_ids.is_empty() {
        return Err(StoreError::NotSent);
    }
    Ok(if already {
        Wanted::AlreadySo
    } else {
        Wanted::Change
    })
}

fn record(message: &mut Message, edit: &MessageEdit, seq: i64, now: DateTime<Utc>) {
    let view = &mut message.view;
    let before = match edit {
        MessageEdit::Content(content) => Before::Edit {
            content: Box::new(std::mem::replace(&mut view.content, (**content).clone())),
            edited_at: view.edited_at.replace(now),
        },
        MessageEdit::Delete => Before::Delete {
            deleted_at: view.deleted_at.replace(now),
        },
        MessageEdit::Reactions(reactions) => Before::React {
            reactions: std::mem::replace(&mut view.our_reactions, reactions.clone()),
        },
    };
    message.remember(seq, before);
}

/// A change that was recorded.
struct Change<'a> {
    conversation: &'a Conversation,
    contact: &'a Contact,
    message: &'a Message,
    now: DateTime<Utc>,
}

impl Change<'_> {
    /// The delivery and the event. Both have the same place.
    fn outgoing(&self, edit: MessageEdit) -> Result<[Outgoing; 2], StoreError> {
        let view = &self.conversation.view;
        let (conversation_id, seq, message_id) = (view.id, view.seq, self.message.view.id);
        let (channel_id, to) = (view.channel_id.clone(), self.contact.view.address.clone());
        let provider_ids = self.message.provider_ids.clone();
        let (message, extra) = (self.message.shown(), Map::new());
        match edit {
            MessageEdit::Content(content) => {
                let delivery = DeliveryEdit {
                    conversation_id,
                    channel_id,
                    to,
                    seq,
                    message_id,
                    provider_ids,
                    content: *content,
                    extra,
                };
                self.both(&delivery, &MessageContentEdited { message })
            }
            MessageEdit::Delete => {
                let delivery = DeliveryDelete {
                    conversation_id,
                    channel_id,
                    to,
                    seq,
                    message_id,
                    provider_ids,
                    extra,
                };
                self.both(&delivery, &MessageRemoved { message })
            }
            MessageEdit::Reactions(reactions) => {
                let delivery = DeliveryReact {
                    conversation_id,
                    channel_id,
                    to,
                    seq,
                    message_id,
                    provider_id: provider_ids.into_iter().next().unwrap_or_default(),
                    reactions,
                    extra,
                };
                self.both(&delivery, &MessageReactionsChanged { message })
            }
        }
    }

    fn both<D: Payload, E: Payload>(
        &self,
        delivery: &D,
        event: &E,
    ) -> Result<[Outgoing; 2], StoreError> {
        let id = delivery_id(self.conversation);
        Ok([
            self.conversation.delivery(id, delivery, self.now)?,
            self.conversation.event(event, self.now)?,
        ])
    }
}

/// The id of the delivery at the place that the conversation took last.
pub(super) fn delivery_id(conversation: &Conversation) -> EventId {
    let (id, seq) = (
        conversation.view.id.to_string(),
        conversation.view.seq.to_string(),
    );
    EventId::derived(&["delivery", &id, &seq])
}

/// Sets one of the conversation's own marks (when typing was shown, what was read) unless it is beyond a value already.
/// `false`: it is.
pub(super) async fn mark<'q, T>(
    tx: &mut Tx,
    statement: &'static str,
    conversation: &Conversation,
    (value, unless_above): (T, T),
) -> Result<bool, StoreError>
where
    T: Send + 'q + sqlx::Type<sqlx::Postgres> + sqlx::Type<sqlx::Sqlite>,
    T: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Encode<'q, sqlx::Sqlite>,
{
    let changed = on!(tx, db => {
        sqlx::query(statement)
            .bind(conversation.view.id)
            .bind(value)
            .bind(unless_above)
            .execute(db)
            .await
            .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}
