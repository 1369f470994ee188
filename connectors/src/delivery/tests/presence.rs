//! Typing and read.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::Map;
use tributary_bus::{
    Address, Bus, ChannelId, ConversationId, Envelope, EventId, Handler, Lane, OrganizationId,
    Outcome, Payload,
    message::{DeliveryRead, DeliveryTyping, Status},
};

use super::{
    changes::able,
    text, unavailable, uncertain,
    world::{World, lock, work},
};
use crate::{Action, Scope, SendError};

fn wrap(payload: &impl Payload) -> Envelope {
    Envelope::wrap(
        EventId(uuid::Uuid::now_v7()),
        "/router".to_owned(),
        OrganizationId::from("acme"),
        None,
        payload,
    )
    .expect("an envelope")
}

fn typing() -> Envelope {
    wrap(&DeliveryTyping {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from("shop"),
        to: Address::from("5550001111"),
        seq: 8,
        extra: Map::new(),
    })
}

fn read() -> Envelope {
    wrap(&DeliveryRead {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from("shop"),
        to: Address::from("5550001111"),
        seq: 8,
        provider_id: "5550001111:66".to_owned(),
        extra: Map::new(),
    })
}

#[tokio::test]
async fn typing_is_shown_at_once_or_not_at_all() {
    let mut world = able().await;
    assert_eq!(world.handle(&typing(), 1).await, Outcome::Done);
    assert_eq!(world.actions(), [Action::Typing]);
    // Failed: not tried again.
    world.answers([unavailable()]);
    assert_eq!(world.handle(&typing(), 1).await, Outcome::Done);
    assert_eq!(world.actions().len(), 2);
    // Stale: not shown.
    let mut stale = work(&typing(), 1);
    stale.age = Duration::from_secs(11);
    let outcomes = world.handler.handle(vec![stale], &world.lease).await;
    assert_eq!(outcomes, [Outcome::Done]);
    // The account was asked to wait: not shown.
    world.answers([SendError::RateLimited {
        retry_after: Some(Duration::from_secs(60)),
        scope: Scope::Account,
    }]);
    let limited = world.handle(&text("hello"), 1).await;
    assert!(matches!(limited, Outcome::Pause { .. }));
    assert_eq!(world.handle(&typing(), 1).await, Outcome::Done);
    world.proven.send_replace(None);
    assert_eq!(world.handle(&typing(), 1).await, Outcome::Done);
    assert_eq!(world.actions().len(), 2);
    assert!(world.is_quiet().await);
}

#[tokio::test]
async fn no_message_waits_for_a_sign_of_presence() {
    let world = able().await;
    let message = text("hello");
    for sign in [typing(), read()] {
        assert_ne!(world.handler.key(&sign), world.handler.key(&message));
    }
    // It takes no slot of the account either, and not longer than a moment.
    *lock(&world.provider.account) = Some(1);
    world.provider.hangs.store(1, Ordering::SeqCst);
    let (sign, message) = (typing(), message);
    let shown = world.handle(&sign, 1);
    let sent = async {
        while world.actions().is_empty() {
            tokio::task::yield_now().await;
        }
        world.handle(&message, 1).await
    };
    let (shown, sent) = tokio::join!(shown, sent);
    assert_eq!((shown, sent), (Outcome::Done, Outcome::Done));
    let (_, deadline) = lock(&world.provider.actions)[0].clone();
    assert!(deadline <= Duration::from_secs(3));
}

#[tokio::test]
async fn read_is_tried_again_and_not_missed() {
    let world = able().await;
    world.answers([unavailable()]);
    assert_eq!(world.finish(&read()).await, 2);
    world.answers([SendError::Rejected {
        code: "400".to_owned(),
        reason: "gone".to_owned(),
    }]);
    assert_eq!(world.handle(&read(), 1).await, Outcome::Done);
    assert_eq!(world.actions().len(), 3);
}

/// A system that does not know the call, or falls over it, is not out of order for that.
#[tokio::test]
async fn read_tells_nothing_about_the_account() {
    let mut world = able().await;
    world.answers([SendError::Misconfigured {
        reason: "the system answers 404".to_owned(),
    }]);
    assert_eq!(world.handle(&read(), 1).await, Outcome::Done);
    world.answers((0..20).map(|_| uncertain()));
    for attempt in 1..=20 {
        let outcome = world.handle(&read(), attempt).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    }
    assert!(world.bus.depth(&Lane::Inbound(0)).await.expect("a depth") == 0);
    assert_eq!(world.handle(&text("hello"), 1).await, Outcome::Done);
    assert_eq!(world.status().await.status, Status::Sent);
    // Whatever the account waits for, only the sign itself is put off.
    world.answers([SendError::RateLimited {
        retry_after: Some(Duration::from_secs(60)),
        scope: Scope::Account,
    }]);
    for attempt in 1..3 {
        let outcome = world.handle(&read(), attempt).await;
        assert!(matches!(outcome, Outcome::Defer { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn what_leads_to_no_call_takes_no_slot() {
    let world = able().await;
    world.provider.no_calls.store(true, Ordering::SeqCst);
    *lock(&world.provider.account) = Some(0);
    assert_eq!(world.handle(&read(), 1).await, Outcome::Done);
    assert!(world.actions().is_empty());
}

#[tokio::test]
async fn a_channel_without_them_passes_them_over() {
    let mut world = World::new().await;
    for sign in [typing(), read()] {
        assert_eq!(world.handle(&sign, 1).await, Outcome::Done);
    }
    assert!(world.actions().is_empty());
    assert!(world.is_quiet().await);
}
