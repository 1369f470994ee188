//! A message that no connector can be given any more fails, as if its channel had reported so.

use tributary_bus::{
    Envelope, EventId,
    message::{DeliverySend, Failure, FailureCode, Inbound, MessageStatus, Origin, Status},
};
use uuid::Uuid;

use crate::{
    decide::{Arrival, KeepRaw, Policy},
    model::now,
    store::{Shards, Store, StoreError},
};

/// Reports the message of a delivery as failed. Other deliveries (typing, reactions) have no status.
pub(crate) async fn report(
    store: &Store,
    delivery: &Envelope,
    shards: Shards,
) -> Result<(), StoreError> {
    let Ok(send) = delivery.payload::<DeliverySend>() else {
        return Ok(());
    };
    let reason = format!("channel {} is no longer configured", send.channel_id);
    let status = MessageStatus {
        origin: Origin {
            channel_id: send.channel_id,
            address: send.to,
            occurred_at: now(),
            raw: None,
        },
        message_id: send.message_id,
        status: Status::Failed,
        provider_ids: Vec::new(),
        failure: Some(Failure {
            code: FailureCode::Unreachable,
            reason,
        }),
        uncertain: false,
        degraded: Vec::new(),
        extra: serde_json::Map::new(),
    };
    let arrival = Arrival {
        id: EventId::derived(&["undeliverable", &send.message_id.to_string()]),
        organization: delivery.orgid.clone(),
        inbound: Inbound::Status(status),
    };
    // A status opens no conversation, so neither the window nor the ids matter.
    let policy = Policy {
        reopen_window: chrono::TimeDelta::zero(),
        lanes: shards.own.saturating_add(1),
        raw: KeepRaw::No,
        new_id: Uuid::now_v7,
    };
    store.receive(&[arrival], &policy, || true).await.map(drop)
}
