//! The columns of each table, as they are written many rows at a time.

use chrono::{DateTime, Utc};
use serde::Serialize;
use tributary_bus::OrganizationId;
use uuid::Uuid;

use super::write_json;
use crate::{
    decide::RawPayload,
    model::{Contact, Conversation, Early, Health, Message, Outgoing, PartId},
    store::{
        StoreError,
        bulk::{Bulk, Column},
    },
};

/// A column out of one value of every item.
macro_rules! column {
    ($kind:ident, $items:expr, $item:ident => $value:expr) => {
        Column::$kind($items.iter().map(|$item| $value).collect())
    };
}

/// A column of JSON, out of one value of every item.
fn texts<T, V: Serialize>(
    all: &[&T],
    value: impl Fn(&T) -> &V,
) -> Result<Column<'static>, StoreError> {
    let texts = all.iter().map(|item| Ok(write_json(value(item))?.into()));
    Ok(Column::Text(texts.collect::<Result<_, StoreError>>()?))
}

/// A column of JSON, out of one value of every item; `None` is NULL.
fn json<T, V: Serialize + ?Sized>(
    all: &[&T],
    value: impl Fn(&T) -> Option<&V>,
) -> Result<Column<'static>, StoreError> {
    let texts = all.iter().map(|item| {
        let text = value(item).map(write_json).transpose()?;
        Ok(text.map(Into::into))
    });
    Ok(Column::MaybeText(texts.collect::<Result<_, StoreError>>()?))
}

/// All columns of new contacts.
pub(crate) fn contacts<'a>(all: &[&'a Contact]) -> Result<Bulk<'a>, StoreError> {
    let mut columns = contact_columns(all)?;
    columns.extend([
        (
            "organization",
            column!(Text, all, c => c.organization.as_str().into()),
        ),
        (
            "channel_id",
            column!(Text, all, c => c.view.channel_id.as_str().into()),
        ),
        (
            "address",
            column!(Text, all, c => c.view.address.as_str().into()),
        ),
        ("created_at", column!(Time, all, c => c.view.created_at)),
    ]);
    Ok(Bulk::new("contacts", all.len(), columns))
}

/// What can change about a contact.
pub(crate) fn contact_changes<'a>(all: &[&'a Contact]) -> Result<Bulk<'a>, StoreError> {
    Ok(Bulk::new("contacts", all.len(), contact_columns(all)?))
}

fn contact_columns<'a>(all: &[&'a Contact]) -> Result<Vec<(&'static str, Column<'a>)>, StoreError> {
    Ok(vec![
        ("id", column!(Id, all, c => c.view.id.0)),
        (
            "name",
            column!(MaybeText, all, c => c.view.name.as_deref().map(Into::into)),
        ),
        (
            "locale",
            column!(MaybeText, all, c => c.view.locale.as_deref().map(Into::into)),
        ),
        (
            "username",
            column!(MaybeText, all, c => c.view.username.as_deref().map(Into::into)),
        ),
        ("avatar", json(all, |c| c.view.avatar.as_ref())?),
        (
            "identifiers",
            json(all, |c| {
                Some(&c.view.identifiers).filter(|list| !list.is_empty())
            })?,
        ),
        ("first_touch", json(all, |c| c.view.first_touch.as_ref())?),
        ("last_touch", json(all, |c| c.view.last_touch.as_ref())?),
        ("blocked", column!(Flag, all, c => c.view.blocked)),
    ])
}

/// All columns of new conversations.
pub(crate) fn conversations<'a>(all: &[&'a Conversation]) -> Bulk<'a> {
    let mut columns = conversation_columns(all);
    columns.extend([
        (
            "organization",
            column!(Text, all, c => c.organization.as_str().into()),
        ),
        (
            "channel_id",
            column!(Text, all, c => c.view.channel_id.as_str().into()),
        ),
        ("contact_id", column!(Id, all, c => c.view.contact_id.0)),
        ("shard", column!(Number, all, c => i64::from(c.shard))),
        ("created_at", column!(Time, all, c => c.view.created_at)),
    ]);
    Bulk::new("conversations", all.len(), columns)
}

/// What can change about a conversation.
pub(crate) fn conversation_changes<'a>(all: &[&'a Conversation]) -> Bulk<'a> {
    Bulk::new("conversations", all.len(), conversation_columns(all))
}

fn conversation_columns<'a>(all: &[&'a Conversation]) -> Vec<(&'static str, Column<'a>)> {
    vec![
        ("id", column!(Id, all, c => c.view.id.0)),
        (
            "state",
            column!(Text, all, c => c.view.state.as_str().into()),
        ),
        (
            "agent_id",
            column!(MaybeId, all, c => c.view.agent_id.map(|id| id.0)),
        ),
        ("seq", column!(Number, all, c => c.view.seq)),
        (
            "waiting_since",
            column!(MaybeTime, all, c => c.waiting_since),
        ),
        ("queued", column!(Flag, all, c => c.queued)),
        ("closed_at", column!(MaybeTime, all, c => c.closed_at)),
        ("assigned_at", column!(MaybeTime, all, c => c.assigned_at)),
        ("read_up_to", column!(MaybeTime, all, c => c.read_up_to)),
        (
            "question_id",
            column!(MaybeId, all, c => c.question.map(|q| q.message.0)),
        ),
        (
            "question_at",
            column!(MaybeTime, all, c => c.question.map(|q| q.asked_at)),
        ),
        ("updated_at", column!(Time, all, c => c.view.updated_at)),
    ]
}

/// All columns of new messages.
pub(crate) fn messages<'a>(all: &[&'a Message]) -> Result<Bulk<'a>, StoreError> {
    let mut columns = message_columns(all)?;
    columns.extend([
        (
            "organization",
            column!(Text, all, m => m.organization.as_str().into()),
        ),
        (
            "conversation_id",
            column!(Id, all, m => m.view.conversation_id.0),
        ),
        (
            "channel_id",
            column!(Text, all, m => m.view.channel_id.as_str().into()),
        ),
        ("contact_id", column!(Id, all, m => m.view.contact_id.0)),
        ("seq", column!(Number, all, m => m.view.seq)),
        (
            "direction",
            column!(Text, all, m => m.view.direction.as_str().into()),
        ),
        ("author", texts(all, |m| &m.view.author)?),
        (
            "reply_to",
            column!(MaybeText, all, m => m.reply_to.as_deref().map(Into::into)),
        ),
        ("created_at", column!(Time, all, m => m.view.created_at)),
    ]);
    Ok(Bulk::new("messages", all.len(), columns))
}

/// What can change about a message.
pub(crate) fn message_changes<'a>(all: &[&'a Message]) -> Result<Bulk<'a>, StoreError> {
    Ok(Bulk::new("messages", all.len(), message_columns(all)?))
}

fn message_columns<'a>(all: &[&'a Message]) -> Result<Vec<(&'static str, Column<'a>)>, StoreError> {
    fn some<T>(list: &[T]) -> Option<&[T]> {
        Some(list).filter(|list| !list.is_empty())
    }
    Ok(vec![
        ("id", column!(Id, all, m => m.view.id.0)),
        ("content", texts(all, |m| &m.view.content)?),
        (
            "status",
            column!(Text, all, m => m.view.status.as_str().into()),
        ),
        ("uncertain", column!(Flag, all, m => m.view.uncertain)),
        ("failure", json(all, |m| m.view.failure.as_ref())?),
        ("degraded", json(all, |m| some(&m.view.degraded))?),
        (
            "provider_id",
            column!(MaybeText, all, m => m.provider_ids.first().map(|id| id.as_str().into())),
        ),
        (
            "more_provider_ids",
            json(all, |m| m.provider_ids.get(1..).and_then(some))?,
        ),
        (
            "reply_to_id",
            column!(MaybeId, all, m => m.view.reply_to.map(|id| id.0)),
        ),
        (
            "context",
            json(all, |m| Some(&m.view.context).filter(|c| !c.is_empty()))?,
        ),
        ("reactions", json(all, |m| some(&m.view.reactions))?),
        ("our_reactions", json(all, |m| some(&m.view.our_reactions))?),
        ("edited_at", column!(MaybeTime, all, m => m.view.edited_at)),
        (
            "deleted_at",
            column!(MaybeTime, all, m => m.view.deleted_at),
        ),
        ("sent_at", column!(MaybeTime, all, m => m.sent_at)),
        ("undo", json(all, |m| some(&m.undo))?),
    ])
}

/// The provider's ids of parts.
pub(crate) fn provider_ids(all: &[PartId]) -> Bulk<'_> {
    Bulk::new(
        "provider_ids",
        all.len(),
        vec![
            (
                "channel_id",
                column!(Text, all, p => p.channel.as_str().into()),
            ),
            (
                "provider_id",
                column!(Text, all, p => p.provider_id.as_str().into()),
            ),
            (
                "organization",
                column!(Text, all, p => p.organization.as_str().into()),
            ),
            ("message_id", column!(Id, all, p => p.message.0)),
            ("echo_id", column!(Id, all, p => p.echo().0)),
            (
                "part",
                column!(Number, all, p => i64::try_from(p.part).unwrap_or(i64::MAX)),
            ),
        ],
    )
}

/// Changes that came before their message.
pub(crate) fn early_changes<'a>(
    all: &[&'a Early],
    now: DateTime<Utc>,
) -> Result<Bulk<'a>, StoreError> {
    Ok(Bulk::new(
        "early_changes",
        all.len(),
        vec![
            ("message_id", column!(Id, all, e => e.message.0)),
            (
                "organization",
                column!(Text, all, e => e.organization.as_str().into()),
            ),
            (
                "channel_id",
                column!(Text, all, e => e.channel.as_str().into()),
            ),
            ("content", json(all, |e| e.content.as_ref())?),
            ("edited_at", column!(MaybeTime, all, e => e.edited_at)),
            ("deleted_at", column!(MaybeTime, all, e => e.deleted_at)),
            (
                "reactions",
                json(all, |e| e.reacted.as_ref().map(|(_, reactions)| reactions))?,
            ),
            (
                "address",
                column!(MaybeText, all, e => e.reacted.as_ref().map(|(by, _)| by.as_str().into())),
            ),
            ("at", Column::Time(vec![now; all.len()])),
        ],
    ))
}

/// How channels are doing.
pub(crate) fn health<'a>(all: &[&'a Health]) -> Bulk<'a> {
    Bulk::new(
        "channels",
        all.len(),
        vec![
            ("id", column!(Text, all, h => h.channel.as_str().into())),
            (
                "health_state",
                column!(Text, all, h => h.state.as_str().into()),
            ),
            (
                "health_reason",
                column!(Text, all, h => h.reason.as_str().into()),
            ),
            (
                "health_action",
                column!(MaybeText, all, h => h.action.as_deref().map(Into::into)),
            ),
            ("health_since", column!(Time, all, h => h.since)),
        ],
    )
}

/// Outbox rows. Within a transaction their ids rise in this order.
pub(crate) fn outbox(all: &[Outgoing], now: DateTime<Utc>) -> Result<Bulk<'_>, StoreError> {
    let envelopes = all.iter().map(|o| Ok(write_json(&o.envelope)?.into()));
    let envelopes: Result<_, StoreError> = envelopes.collect();
    Ok(Bulk::new(
        "outbox",
        all.len(),
        vec![
            (
                "organization",
                column!(Text, all, o => o.envelope.orgid.as_str().into()),
            ),
            ("shard", column!(Number, all, o => i64::from(o.shard))),
            (
                "lane",
                column!(MaybeText, all, o => o.lane.as_ref().map(|lane| lane.to_string().into())),
            ),
            ("envelope", Column::Text(envelopes?)),
            ("created_at", Column::Time(vec![now; all.len()])),
        ],
    ))
}

/// Ids of events that took effect.
pub(crate) fn seen(all: &[(Uuid, OrganizationId)], now: DateTime<Utc>) -> Bulk<'_> {
    Bulk::new(
        "seen",
        all.len(),
        vec![
            ("id", column!(Id, all, s => s.0)),
            ("organization", column!(Text, all, s => s.1.as_str().into())),
            ("at", Column::Time(vec![now; all.len()])),
        ],
    )
}

/// Provider payloads.
pub(crate) fn raw_payloads(all: &[RawPayload], now: DateTime<Utc>) -> Bulk<'_> {
    Bulk::new(
        "raw_payloads",
        all.len(),
        vec![
            ("event_id", column!(Id, all, r => r.event.0)),
            (
                "organization",
                column!(Text, all, r => r.organization.as_str().into()),
            ),
            (
                "channel_id",
                column!(Text, all, r => r.channel.as_str().into()),
            ),
            ("received_at", Column::Time(vec![now; all.len()])),
            (
                "media_type",
                column!(Text, all, r => r.raw.media_type.as_str().into()),
            ),
            ("body", column!(Text, all, r => r.raw.body.as_str().into())),
        ],
    )
}
