//! A message or a change that no connector can be given any more fails, as if its channel had reported so.

use serde_json::Map;
use tributary_bus::{
    Address, ChannelId, Envelope, EventId,
    message::{
        DeliveryDelete, DeliveryEdit, DeliveryReact, DeliverySend, Failure, FailureCode, Inbound,
        MessageChange, MessageChangeFailed, MessageStatus, Origin, Status,
    },
};
use uuid::Uuid;

use crate::{
    decide::{Arrival, KeepRaw, Policy},
    model::now,
    store::{Shards, Store, StoreError},
};

/// Reports the message of a delivery as failed, and a change of a message as refused. Other deliveries (typing, read) leave
/// nothing to report.
pub(crate) async fn report(
    store: &Store,
    delivery: &Envelope,
    shards: Shards,
) -> Result<(), StoreError> {
    let Some(inbound) = failure_of(delivery) else {
        return Ok(());
    };
    let arrival = Arrival {
        id: EventId::derived(&["undeliverable", &delivery.id.to_string()]),
        organization: delivery.orgid.clone(),
        inbound,
    };
    // Neither opens a conversation, so the window and the ids do not matter.
    let policy = Policy {
        reopen_window: chrono::TimeDelta::zero(),
        lanes: shards.own.saturating_add(1),
        raw: KeepRaw::No,
        new_id: Uuid::now_v7,
    };
    store.receive(&[arrival], &policy, || true).await.map(drop)
}

fn failure_of(delivery: &Envelope) -> Option<Inbound> {
    if let Ok(send) = delivery.payload::<DeliverySend>() {
        return Some(Inbound::Status(MessageStatus {
            failure: Some(unreachable(&send.channel_id)),
            origin: origin(send.channel_id, send.to),
            message_id: send.message_id,
            status: Status::Failed,
            provider_ids: Vec::new(),
            uncertain: false,
            degraded: Vec::new(),
            extra: Map::new(),
        }));
    }
    let (change, message_id, seq, channel_id, to) =
        if let Ok(edit) = delivery.payload::<DeliveryEdit>() {
            let change = MessageChange::Edit;
            (change, edit.message_id, edit.seq, edit.channel_id, edit.to)
        } else if let Ok(delete) = delivery.payload::<DeliveryDelete>() {
            let change = MessageChange::Delete;
            (
                change,
                delete.message_id,
                delete.seq,
                delete.channel_id,
                delete.to,
            )
        } else {
            let react = delivery.payload::<DeliveryReact>().ok()?;
            let change = MessageChange::React;
            (
                change,
                react.message_id,
                react.seq,
                react.channel_id,
                react.to,
            )
        };
    Some(Inbound::ChangeFailed(MessageChangeFailed {
        failure: unreachable(&channel_id),
        origin: origin(channel_id, to),
        message_id,
        change,
        seq: Some(seq),
        extra: Map::new(),
    }))
}

fn origin(channel_id: ChannelId, address: Address) -> Origin {
    Origin {
        channel_id,
        address,
        occurred_at: now(),
        event: None,
        raw: None,
    }
}

fn unreachable(channel: &ChannelId) -> Failure {
    Failure {
        code: FailureCode::Unreachable,
        reason: format!("channel {channel} is no longer configured"),
    }
}
