//! A message or a change that no connector can be given any more fails, as if its channel had reported so.

use tributary_bus::{
    EventId,
    message::{Failure, FailureCode, Undelivered},
};
use uuid::Uuid;

use crate::{
    decide::{Arrival, KeepRaw, Policy},
    model::now,
    store::{Shards, Store, StoreError},
};

/// Reports the message of a delivery as failed, and a change of a message as refused. `body` is its envelope, as far as it
/// can be read. Other deliveries (typing, read) leave nothing to report.
pub(crate) async fn report(
    store: &Store,
    body: &[u8],
    code: FailureCode,
    reason: &str,
    shards: Shards,
) -> Result<(), StoreError> {
    let Some(delivery) = Undelivered::read(body) else {
        return Ok(());
    };
    let failure = Failure {
        code,
        reason: reason.to_owned(),
    };
    let of = format!("{:?}", (delivery.message_id, delivery.change));
    let arrival = Arrival {
        id: EventId::derived(&["undeliverable", &of]),
        organization: delivery.organization.clone(),
        inbound: delivery.report(failure, now()),
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
