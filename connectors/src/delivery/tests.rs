//! Deliveries with a provider that does what it is told.

mod changes;
mod presence;
mod trouble;
mod world;

use std::{sync::atomic::Ordering, time::Duration};

use chrono::Utc;
use serde_json::{Map, json};
use tributary_bus::{
    Address, Bus, ChannelId, ConversationId, DeadId, DeadLetter, Envelope, Handler, Lane,
    MessageId, OrganizationId, Outcome,
    message::{
        Content, DegradationCode, DeliverySend, Failure, FailureCode, Inbound, MessageStatus,
        Priority, Status,
    },
};

use crate::{Capabilities, Receipted, Receipts, SendError, TextLimit, registry::OnUncertain};
use world::{World, lock, work};

fn delivery(content: Content) -> DeliverySend {
    DeliverySend {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from("shop"),
        to: Address::from("5550001111"),
        seq: 7,
        message_id: MessageId::generate(),
        content,
        reply_to: Some("5550001111:66".to_owned()),
        created_at: Utc::now(),
        priority: Priority::default(),
        extra: Map::new(),
    }
}

fn envelope(delivery: &DeliverySend) -> Envelope {
    Envelope::wrap(
        delivery.message_id.into(),
        "/router".to_owned(),
        OrganizationId::from("acme"),
        None,
        delivery,
    )
    .expect("an envelope")
}

fn text(text: &str) -> Envelope {
    envelope(&delivery(Content::text(text)))
}

fn uncertain() -> SendError {
    SendError::Uncertain {
        reason: "connection lost".to_owned(),
    }
}

fn unavailable() -> SendError {
    SendError::Unavailable {
        reason: "connection refused".to_owned(),
    }
}

#[tokio::test]
async fn a_delivery_is_sent_and_told_once() {
    let mut world = World::new().await;
    let envelope = text("hello");
    assert_eq!(world.handle(&envelope, 1).await, Outcome::Done);
    let (id, first) = world.news().await;
    let Inbound::Status(status) = &first else {
        panic!("not a status");
    };
    assert_eq!(status.status, Status::Sent);
    assert_eq!(status.provider_ids, ["id-1"]);
    assert!(!status.uncertain && status.failure.is_none() && status.degraded.is_empty());
    assert_eq!(status.origin.address, Address::from("5550001111"));
    // Redelivered: nothing is sent, the same news has the same id.
    assert_eq!(world.handle(&envelope, 2).await, Outcome::Done);
    assert_eq!(world.news().await, (id, first));
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_long_text_goes_in_parts_and_goes_on_where_it_stopped() {
    let mut world = World::new().await;
    let envelope = text("The first sentence. The second sentence.");
    // The second part fails once.
    lock(&world.provider.answers).extend([Ok(()), Err(unavailable())]);
    assert_eq!(world.finish(&envelope).await, 2);
    let calls = lock(&world.provider.calls).clone();
    let seen: Vec<(u32, &str, bool)> = calls
        .iter()
        .map(|(part, text, reply)| (*part, text.as_str(), reply.is_some()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, "The first sentence.", true),
            (1, "The second sentence.", false),
            (1, "The second sentence.", false),
        ]
    );
    let status = world.status().await;
    assert_eq!(status.provider_ids, ["id-1", "id-3"]);
    let degraded: Vec<_> = status.degraded.iter().map(|d| d.code).collect();
    assert_eq!(degraded, [DegradationCode::TextSplit]);
}

#[tokio::test]
async fn every_end_is_told() {
    let mut world = World::new().await;
    let code = "400".to_owned();
    let reason = "too long".to_owned();
    world.answers([SendError::Rejected { code, reason }]);
    assert_eq!(world.handle(&text("hello"), 1).await, Outcome::Done);
    let status = world.status().await;
    assert_eq!(status.status, Status::Failed);
    let failure = status.failure.expect("a failure");
    assert_eq!(failure.code, FailureCode::Rejected);
    assert_eq!(failure.reason, "too long (400)");

    for content in [
        Content::unsupported("sticker"),
        Content::Other(Map::from_iter([("type".to_owned(), json!("carousel"))])),
        Content::text("   "),
    ] {
        let envelope = envelope(&delivery(content));
        assert_eq!(world.handle(&envelope, 1).await, Outcome::Done);
        let status = world.status().await;
        let code = status.failure.map(|failure| failure.code);
        assert_eq!(
            (status.status, code),
            (Status::Failed, Some(FailureCode::Rejected))
        );
    }
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn who_cannot_be_reached_has_left() {
    let mut world = World::new().await;
    let code = "403".to_owned();
    let reason = "bot was blocked by the user".to_owned();
    world.answers([SendError::Unreachable { code, reason }]);
    let envelope = text("hello");
    let mut told = Vec::new();
    for attempt in 1..3 {
        assert_eq!(world.handle(&envelope, attempt).await, Outcome::Done);
        told.push((world.news().await, world.news().await));
    }
    let ((_, status), (_, left)) = &told[0];
    assert!(
        matches!(status, Inbound::Status(MessageStatus { status: Status::Failed, failure: Some(failure), .. })
            if failure.code == FailureCode::Unreachable)
    );
    assert!(matches!(left, Inbound::Left(_)));
    assert_eq!(told[0], told[1], "the same news with the same ids");
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_short_wait_for_our_own_limit_is_waited_for_in_place() {
    let world = World::new().await;
    // Our own limit: a short wait is waited for in place, a long one makes room.
    *lock(&world.provider.slow) = Some(Duration::from_millis(5));
    assert_eq!(world.handle(&text("in place"), 1).await, Outcome::Done);
    let long = Duration::from_secs(30);
    *lock(&world.provider.slow) = Some(long);
    let waits = world.handle(&text("later"), 1).await;
    assert!(matches!(waits, Outcome::Retry { after: Some(after), .. } if after == long));
}

#[tokio::test]
async fn an_uncertain_send_is_repeated_and_says_so() {
    let mut world = World::new().await;
    world.answers([uncertain()]);
    assert_eq!(world.finish(&text("hello")).await, 2);
    let status = world.status().await;
    assert_eq!((status.status, status.uncertain), (Status::Sent, true));
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn an_uncertain_send_is_held_where_wanted() {
    let mut world = World::with(OnUncertain::Hold, false).await;
    world.answers([uncertain()]);
    let envelope = text("hello");
    for attempt in 1..3 {
        assert_eq!(world.handle(&envelope, attempt).await, Outcome::Done);
        let status = world.status().await;
        assert_eq!((status.status, status.uncertain), (Status::Failed, true));
        let code = status.failure.map(|failure| failure.code);
        assert_eq!(code, Some(FailureCode::Uncertain));
    }
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_provider_that_recognises_repetitions_leaves_no_doubt() {
    let mut world = World::with(OnUncertain::Hold, true).await;
    world.answers([uncertain()]);
    assert_eq!(world.finish(&text("hello")).await, 2);
    let status = world.status().await;
    assert_eq!((status.status, status.uncertain), (Status::Sent, false));
    let keys = lock(&world.provider.keys).clone();
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_send_of_an_earlier_life_is_uncertain() {
    for (on_uncertain, idempotent, expected) in [
        (OnUncertain::Resend, false, (Status::Sent, true, 2)),
        (OnUncertain::Hold, false, (Status::Failed, true, 1)),
        (OnUncertain::Hold, true, (Status::Sent, false, 2)),
    ] {
        let mut world = World::with(on_uncertain, idempotent).await;
        let envelope = text("hello");
        world.handle(&envelope, 1).await;
        world.status().await;
        world.vanish().await;
        assert_eq!(world.handle(&envelope, 2).await, Outcome::Done);
        let status = world.status().await;
        assert_eq!((status.status, status.uncertain, world.calls()), expected);
    }
}

#[tokio::test]
async fn a_worker_without_a_fresh_lease_does_nothing() {
    let mut world = World::new().await;
    world.proven.send_replace(None);
    let outcome = world.handle(&text("hello"), 1).await;
    assert!(matches!(outcome, Outcome::Retry { .. }));
    assert_eq!(world.calls(), 0);
    assert!(world.is_quiet().await);
}

#[tokio::test]
async fn too_late_is_expired_for_good() {
    let mut world = World::new().await;
    let envelope = text("hello");
    let reason = || "older than 24h".to_owned();
    let outcome = world
        .handler
        .exhausted(work(&envelope, 1), reason(), &world.lease)
        .await;
    assert_eq!(outcome, Outcome::Done);
    let status = world.status().await;
    assert_eq!((status.status, status.uncertain), (Status::Expired, false));
    // Redelivered before it was settled: it is not sent after all.
    assert_eq!(world.handle(&envelope, 2).await, Outcome::Done);
    assert_eq!(world.status().await.status, Status::Expired);
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn what_was_sent_does_not_expire() {
    let mut world = World::new().await;
    let whole = text("hello");
    world.handle(&whole, 1).await;
    let half = text("The first sentence. The second sentence.");
    lock(&world.provider.answers).extend([Ok(()), Err(uncertain())]);
    world.handle(&half, 1).await;
    world.status().await;
    let reason = "50 tries".to_owned();
    for (envelope, expected) in [
        (whole, (Status::Sent, vec!["id-1"], false)),
        (half, (Status::Expired, vec!["id-2"], true)),
    ] {
        let outcome = world
            .handler
            .exhausted(work(&envelope, 50), reason.clone(), &world.lease)
            .await;
        assert_eq!(outcome, Outcome::Done);
        let status = world.status().await;
        let ids: Vec<&str> = status.provider_ids.iter().map(String::as_str).collect();
        assert_eq!((status.status, ids, status.uncertain), expected);
    }
}

/// The system took it each time and answered 500: the last try proves nothing about those before it, even where the
/// system recognises repetitions.
#[tokio::test]
async fn what_may_have_arrived_is_uncertain_however_it_ends() {
    for idempotent in [false, true] {
        let mut world = World::with(OnUncertain::Resend, idempotent).await;
        let envelope = text("hello");
        world.answers([uncertain(), uncertain()]);
        for attempt in 1..3 {
            world.handle(&envelope, attempt).await;
        }
        let outcome = world
            .handler
            .exhausted(work(&envelope, 3), "3 tries".to_owned(), &world.lease)
            .await;
        assert_eq!(outcome, Outcome::Done);
        let status = world.status().await;
        assert_eq!((status.status, status.uncertain), (Status::Expired, true));
        // Redelivered before it was settled.
        assert_eq!(world.handle(&envelope, 4).await, Outcome::Done);
        assert!(world.status().await.uncertain);

        let refused = text("hello");
        world.answers([
            uncertain(),
            SendError::Rejected {
                code: "400".to_owned(),
                reason: "too late".to_owned(),
            },
        ]);
        assert_eq!(world.finish(&refused).await, 2);
        let status = world.status().await;
        assert_eq!((status.status, status.uncertain), (Status::Failed, true));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_dead() {
    let mut world = World::new().await;
    let mut unknown = text("hello");
    unknown.kind = "delivery.send.v9".to_owned();
    let mut broken = text("hello");
    broken.data = json!({"to": "5"}).into();
    let mut of_others = text("hello");
    of_others.orgid = OrganizationId::from("other");
    let mut elsewhere = delivery(Content::text("hello"));
    elsewhere.channel_id = ChannelId::from("other");
    for envelope in [unknown, broken, of_others, envelope(&elsewhere)] {
        let outcome = world.handle(&envelope, 1).await;
        let Outcome::Dead { reason } = outcome else {
            panic!("not dead: {outcome:?}");
        };
        assert!(!reason.contains("hello"), "{reason}");
    }
    assert_eq!(world.calls(), 0);
    assert!(world.is_quiet().await);
}

/// Whatever made it a dead letter: the message must not stay `queued`.
#[tokio::test]
async fn a_delivery_that_is_buried_fails_its_message() {
    let mut world = World::new().await;
    let mut unknown = text("hello");
    unknown.kind = "delivery.send.v9".to_owned();
    let cases = [
        (text("hello"), FailureCode::Uncertain),
        (unknown, FailureCode::Rejected),
    ];
    for (envelope, code) in cases {
        let letter = letter(&envelope);
        let lease = world.lease.clone();
        for _ in 0..2 {
            let reported = world.handler.buried(&letter, &lease).await;
            assert_eq!(reported, Ok(()));
        }
        let status = world.status().await;
        assert_eq!(world.status().await.failure, status.failure, "told again");
        assert_eq!(status.status, Status::Failed);
        let failure = status.failure.expect("a failure");
        assert_eq!(failure.code, code);
        assert!(
            failure.reason.contains("it crashed its workers"),
            "{failure:?}"
        );
        assert_eq!(status.uncertain, code == FailureCode::Uncertain);
    }
    let mut of_others = text("hello");
    of_others.orgid = OrganizationId::from("other");
    let mut elsewhere = delivery(Content::text("hello"));
    elsewhere.channel_id = ChannelId::from("other");
    for envelope in [of_others, envelope(&elsewhere)] {
        let reported = world.handler.buried(&letter(&envelope), &world.lease).await;
        assert_eq!(reported, Ok(()));
    }
    assert!(world.is_quiet().await);
}

#[tokio::test]
async fn a_report_that_was_not_published_keeps_the_letter_back() {
    let world = World::new().await;
    world.bus.close().await;
    let reported = world
        .handler
        .buried(&letter(&text("hello")), &world.lease)
        .await;
    assert!(reported.is_err());
}

fn letter(envelope: &Envelope) -> DeadLetter {
    DeadLetter {
        id: DeadId(uuid::Uuid::now_v7()),
        lane: Lane::Delivery(ChannelId::from("shop")),
        reason: "it crashed its workers".to_owned(),
        at: chrono::Utc::now(),
        body: envelope.clone().seal().expect("small").body,
    }
}

#[tokio::test]
async fn a_status_that_was_not_published_is_published_later() {
    let world = World::new().await;
    world.bus.close().await;
    let envelope = text("hello");
    for attempt in 1..3 {
        let outcome = world.handle(&envelope, attempt).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    }
    assert_eq!(world.calls(), 1, "sent once, told later");
}

#[tokio::test]
async fn a_connector_that_hangs_is_uncertain() {
    let mut world = World::new().await;
    world.provider.hangs.store(1, Ordering::SeqCst);
    assert_eq!(world.finish(&text("hello")).await, 2);
    assert!(world.status().await.uncertain);
}

#[tokio::test]
async fn receipts_that_outran_the_send_are_told_after_it() {
    let capabilities = Capabilities {
        receipts: Receipts::Read,
        ..Capabilities::text_only(TextLimit::Characters(20))
    };
    let mut world = World::of(OnUncertain::Resend, capabilities).await;
    let receipt = |id: &str| Receipted {
        provider_id: id.to_owned(),
        status: Status::Delivered,
        at: Utc::now(),
        failure: None,
    };
    let sink = world.account.sink.clone();
    sink.receipts(vec![receipt("id-1"), receipt("id-2")])
        .await
        .expect("noted");
    assert!(world.is_quiet().await, "nothing is known of them yet");
    let envelope = text("The first sentence. The second sentence.");
    assert_eq!(world.handle(&envelope, 1).await, Outcome::Done);
    assert_eq!(world.status().await.status, Status::Sent);
    let (id, delivered) = world.news().await;
    assert!(
        matches!(&delivered, Inbound::Status(status) if status.status == Status::Delivered
            && status.message_id.0 == envelope.id.0)
    );
    // Told again (the provider did not see our answer): the same news.
    sink.receipts(vec![receipt("id-2")]).await.expect("noted");
    let again = world.news().await;
    assert_eq!(again.0, id);
}

#[tokio::test]
async fn a_failed_receipt_of_who_is_gone_says_so() {
    let mut world = World::new().await;
    world.handle(&text("hello"), 1).await;
    assert_eq!(world.status().await.status, Status::Sent);
    let gone = Receipted {
        provider_id: "id-1".to_owned(),
        status: Status::Failed,
        at: Utc::now(),
        failure: Some(Failure {
            code: FailureCode::Unreachable,
            reason: "unknown subscriber (1)".to_owned(),
        }),
    };
    world
        .account
        .sink
        .receipts(vec![gone])
        .await
        .expect("noted");
    assert_eq!(world.status().await.status, Status::Failed);
    assert!(matches!(world.news().await.1, Inbound::Left(_)));
}

#[tokio::test]
async fn every_try_is_in_the_log_without_the_secret() {
    let world = World::new().await;
    let envelope = text("hello");
    world.answers([unavailable()]);
    assert_eq!(world.finish(&envelope).await, 2);
    let calls = world.log_of(MessageId(envelope.id.0), 2).await;
    let requests: Vec<_> = calls.iter().map(|call| call.request.as_deref()).collect();
    assert_eq!(requests, [Some("[secret] hello"); 2]);
}
