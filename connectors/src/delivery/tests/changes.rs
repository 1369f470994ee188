//! Edits, deletions and reactions.

use serde_json::Map;
use tributary_bus::{
    Address, ChannelId, ConversationId, Envelope, EventId, Handler, MessageId, OrganizationId,
    Outcome, Payload,
    message::{
        Content, DeliveryDelete, DeliveryEdit, DeliveryReact, FailureCode, Inbound, MessageChange,
        MessageChangeFailed,
    },
};

use super::{
    delivery, envelope, text, unavailable, uncertain,
    world::{World, lock, work},
};
use crate::{Action, Capabilities, SendError, Support, TextLimit, registry::OnUncertain};

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

fn edit(message_id: MessageId, provider_ids: &[&str], text: &str) -> Envelope {
    wrap(&DeliveryEdit {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from("shop"),
        to: Address::from("5550001111"),
        seq: 9,
        message_id,
        provider_ids: provider_ids.iter().map(ToString::to_string).collect(),
        content: Content::text(text),
        extra: Map::new(),
    })
}

fn delete(message_id: MessageId, provider_ids: &[&str]) -> Envelope {
    wrap(&DeliveryDelete {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from("shop"),
        to: Address::from("5550001111"),
        seq: 9,
        message_id,
        provider_ids: provider_ids.iter().map(ToString::to_string).collect(),
        extra: Map::new(),
    })
}

fn react() -> Envelope {
    wrap(&DeliveryReact {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from("shop"),
        to: Address::from("5550001111"),
        seq: 9,
        message_id: MessageId::generate(),
        provider_id: "5550001111:66".to_owned(),
        reactions: vec!["👍".to_owned()],
        extra: Map::new(),
    })
}

/// A channel that can do everything to its messages.
pub(super) async fn able() -> World {
    let capabilities = Capabilities {
        edit: Support::Yes,
        delete: Support::Yes,
        react: Support::Yes,
        typing: Support::Yes,
        read: Support::Yes,
        ..Capabilities::text_only(TextLimit::Characters(20))
    };
    World::of(OnUncertain::Hold, capabilities).await
}

async fn refused(world: &mut World) -> (EventId, MessageChangeFailed) {
    match world.news().await {
        (id, Inbound::ChangeFailed(failed)) => (id, failed),
        (_, other) => panic!("no refusal: {other:?}"),
    }
}

#[tokio::test]
async fn changes_reach_the_channel() {
    let mut world = able().await;
    let message = MessageId::generate();
    let two = "The first sentence! The second sentence!";
    for envelope in [
        edit(message, &["id-1", "id-2"], two),
        delete(message, &["id-1", "id-2"]),
        react(),
    ] {
        assert_eq!(world.handle(&envelope, 1).await, Outcome::Done);
    }
    let actions = world.actions();
    let [Action::Edit { parts }, deleted, reacted] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    let parts: Vec<(&str, u32)> = parts
        .iter()
        .map(|(id, part)| (id.as_str(), part.index))
        .collect();
    assert_eq!(parts, [("id-1", 0), ("id-2", 1)]);
    let provider_ids = vec!["id-1".to_owned(), "id-2".to_owned()];
    assert_eq!(*deleted, Action::Delete { provider_ids });
    assert!(matches!(reacted, Action::React { reactions, .. } if reactions == &["👍"]));
    assert!(world.is_quiet().await, "success is no news");
}

#[tokio::test]
async fn what_cannot_be_changed_is_refused_with_a_reason() {
    let message = MessageId::generate();
    let mut world = World::new().await;
    for (envelope, change, reason) in [
        (
            edit(message, &["id-1"], "new"),
            MessageChange::Edit,
            "this channel cannot edit messages",
        ),
        (
            delete(message, &["id-1"]),
            MessageChange::Delete,
            "this channel cannot take messages back",
        ),
        (
            react(),
            MessageChange::React,
            "this channel cannot react to messages",
        ),
    ] {
        assert_eq!(world.handle(&envelope, 1).await, Outcome::Done);
        let (_, failed) = refused(&mut world).await;
        assert_eq!(
            (failed.change, failed.failure.reason.as_str()),
            (change, reason)
        );
        assert_eq!(failed.failure.code, FailureCode::Rejected);
    }
    let mut world = able().await;
    let longer = edit(
        message,
        &["id-1"],
        "The first sentence. The second sentence.",
    );
    let mut told = Vec::new();
    for attempt in 1..3 {
        assert_eq!(world.handle(&longer, attempt).await, Outcome::Done);
        told.push(refused(&mut world).await);
    }
    assert_eq!(told[0], told[1], "the same news with the same id");
    assert_eq!(
        told[0].1.failure.reason,
        "the new content takes 2 messages in this channel, the old one was sent in 1; shorten it, or send the rest as a \
         new message"
    );
    assert_eq!(told[0].1.message_id, message);
    assert!(world.actions().is_empty());
}

#[tokio::test]
async fn an_edit_to_fewer_parts_takes_the_rest_back() {
    let mut world = able().await;
    let message = MessageId::generate();
    let two = "The first sentence. The second sentence.";
    let mut delivery = delivery(Content::text(two));
    delivery.message_id = message;
    assert_eq!(world.handle(&envelope(&delivery), 1).await, Outcome::Done);
    assert_eq!(world.status().await.provider_ids, ["id-1", "id-2"]);
    let named = ["id-1", "id-2"];
    for text in ["One.", "Two."] {
        assert_eq!(
            world.handle(&edit(message, &named, text), 1).await,
            Outcome::Done
        );
    }
    let actions = world.actions();
    let [
        Action::Edit { parts },
        Action::Delete { provider_ids },
        Action::Edit { parts: again },
    ] = actions.as_slice()
    else {
        panic!("{actions:?}");
    };
    assert_eq!(*provider_ids, ["id-2"]);
    for parts in [parts, again] {
        let ids: Vec<&str> = parts.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["id-1"]);
    }
    // What is gone does not come back.
    assert_eq!(
        world.handle(&edit(message, &named, two), 1).await,
        Outcome::Done
    );
    let (_, failed) = refused(&mut world).await;
    assert_eq!(failed.failure.code, FailureCode::Rejected);
    assert_eq!(
        world.handle(&delete(message, &named), 1).await,
        Outcome::Done
    );
    let provider_ids = vec!["id-1".to_owned()];
    assert_eq!(
        world.actions().last(),
        Some(&Action::Delete { provider_ids })
    );
}

/// The edit stands, so it must not be taken back where it was recorded.
#[tokio::test]
async fn an_edit_whose_rest_cannot_be_taken_back_is_uncertain() {
    let mut world = able().await;
    lock(&world.provider.answers).extend([Ok(()), Err(rejected())]);
    let shorter = edit(MessageId::generate(), &["id-1", "id-2"], "One.");
    assert_eq!(world.handle(&shorter, 1).await, Outcome::Done);
    let (_, failed) = refused(&mut world).await;
    assert_eq!(failed.failure.code, FailureCode::Uncertain);
}

fn rejected() -> SendError {
    SendError::Rejected {
        code: "400".to_owned(),
        reason: "too old".to_owned(),
    }
}

/// The customer may see it: what the last try says is no proof of what the tries before it did.
#[tokio::test]
async fn a_change_that_may_have_arrived_is_uncertain_when_it_fails() {
    for (before, code) in [
        (uncertain(), FailureCode::Uncertain),
        (unavailable(), FailureCode::Rejected),
    ] {
        let mut world = able().await;
        let change = edit(MessageId::generate(), &["id-1"], "99");
        world.answers([before.clone(), before, rejected()]);
        assert_eq!(world.finish(&change).await, 3);
        let (_, failed) = refused(&mut world).await;
        assert_eq!(failed.failure.code, code);
    }
    for (before, code) in [
        (uncertain(), FailureCode::Uncertain),
        (unavailable(), FailureCode::Expired),
    ] {
        let mut world = able().await;
        let change = edit(MessageId::generate(), &["id-1"], "99");
        world.answers([before.clone(), before.clone(), before]);
        for attempt in 1..4 {
            world.handle(&change, attempt).await;
        }
        let reason = "gave up after 3 tries".to_owned();
        let outcome = world
            .handler
            .exhausted(work(&change, 3), reason, &world.lease)
            .await;
        assert_eq!(outcome, Outcome::Done);
        let (_, failed) = refused(&mut world).await;
        assert_eq!(failed.failure.code, code);
        assert!(failed.failure.reason.starts_with("gave up after 3 tries"));
    }
}

#[tokio::test]
async fn a_message_that_was_not_sent_cannot_be_changed() {
    let mut world = able().await;
    world.answers([SendError::Rejected {
        code: "400".to_owned(),
        reason: "no".to_owned(),
    }]);
    let failed = text("hello");
    world.handle(&failed, 1).await;
    world.status().await;
    for message in [MessageId(failed.id.0), MessageId::generate()] {
        assert_eq!(
            world.handle(&edit(message, &[], "new"), 1).await,
            Outcome::Done
        );
        let (_, refusal) = refused(&mut world).await;
        assert_eq!(refusal.failure.reason, "the message was not sent");
    }
    // The ledger knows the ids of what was sent.
    let sent = text("hello");
    world.handle(&sent, 1).await;
    world.status().await;
    world.handle(&delete(MessageId(sent.id.0), &[]), 1).await;
    let provider_ids = vec!["id-2".to_owned()];
    assert_eq!(world.actions(), [Action::Delete { provider_ids }]);
}

#[tokio::test]
async fn changes_are_judged_like_messages() {
    let mut world = able().await;
    let change = delete(MessageId::generate(), &["id-1"]);
    // In doubt it is repeated, even where messages are left to a person: that does no harm.
    world.answers([unavailable(), uncertain()]);
    assert_eq!(world.finish(&change).await, 3);
    assert_eq!(world.actions().len(), 3);
    // Another one, of which nothing has arrived.
    let change = delete(MessageId::generate(), &["id-1"]);
    world.answers([SendError::Unreachable {
        code: "403".to_owned(),
        reason: "blocked".to_owned(),
    }]);
    assert_eq!(world.handle(&change, 1).await, Outcome::Done);
    let (_, failed) = refused(&mut world).await;
    assert_eq!(failed.failure.code, FailureCode::Unreachable);
    assert!(matches!(world.news().await.1, Inbound::Left(_)));
    // Too late.
    let outcome = world
        .handler
        .exhausted(work(&change, 50), "older than 24h".to_owned(), &world.lease)
        .await;
    assert_eq!(outcome, Outcome::Done);
    let (_, failed) = refused(&mut world).await;
    assert_eq!(failed.failure.code, FailureCode::Expired);
}

#[tokio::test]
async fn without_a_fresh_lease_nothing_is_changed() {
    let world = able().await;
    world.proven.send_replace(None);
    let outcome = world.handle(&react(), 1).await;
    assert!(matches!(outcome, Outcome::Retry { .. }));
    assert!(world.actions().is_empty());
}
