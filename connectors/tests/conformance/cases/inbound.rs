//! What the provider brings.

use std::collections::BTreeSet;

use tributary_bus::{
    ChannelId, EventId, MessageId,
    message::{Content, Inbound},
};
use tributary_connectors::event_id;

use crate::{
    stands::{Answer, Fixture, Seal, Stand},
    world::World,
};

/// What was said in messages so far, with their ids.
fn said<S: Stand>(world: &World<S>) -> Vec<(MessageId, String)> {
    world.all(|event| match event {
        Inbound::Received(message) => match &message.content {
            Content::Text(text) => Some((message.message_id, text.text.clone())),
            _ => None,
        },
        _ => None,
    })
}

/// Waits until this was said: everything posted before it is in.
async fn until_said<S: Stand>(world: &World<S>, text: &str) -> MessageId {
    world
        .until(text, || {
            let found = said(world).into_iter().find(|(_, said)| said == text);
            found.map(|(id, _)| id)
        })
        .await
}

/// Every payload leads to an event at least, and none to an error that loses it.
pub async fn every_fixture_is_told<S: Stand>() {
    let world = World::<S>::new().await;
    let fixtures = world.stand.fixtures();
    assert!(!fixtures.is_empty());
    for Fixture { name, body } in fixtures {
        let before = world.events().len();
        let answer = world.stand.post(&body, Seal::Right).await;
        assert_eq!(answer, Answer::Taken, "{}: {name}", S::KIND);
        if world.stand.is_silent(&body) {
            continue;
        }
        let what = format!("event of {name}");
        world
            .until(&what, || (world.events().len() > before).then_some(()))
            .await;
    }
    // What has no type of its own is named.
    for kind in world.all(|event| match event {
        Inbound::Received(message) => match &message.content {
            Content::Unsupported(unsupported) => Some(unsupported.kind.clone()),
            _ => None,
        },
        _ => None,
    }) {
        assert!(!kind.is_empty(), "{}: an unsupported without name", S::KIND);
    }
    world.ends_well().await;
}

/// 401 or 403, and nothing is published.
pub async fn what_is_not_sealed_is_refused<S: Stand>() {
    let world = World::<S>::new().await;
    for seal in [Seal::Missing, Seal::Wrong, Seal::Forged] {
        let payload = world.stand.says(1, "from a stranger");
        let answer = world.stand.post(&payload, seal).await;
        assert!(
            matches!(answer, Answer::Refused(401 | 403)),
            "{}: {seal:?} is answered with {answer:?}",
            S::KIND
        );
    }
    // The door is open for the right ones.
    let payload = world.stand.says(2, "from the provider");
    let answer = world.stand.post(&payload, Seal::Right).await;
    assert_eq!(answer, Answer::Taken, "{}", S::KIND);
    until_said(&world, "from the provider").await;
    let texts: Vec<String> = said(&world).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["from the provider"], "{}", S::KIND);
    world.ends_well().await;
}

pub async fn repeated_and_reordered_payloads_have_the_same_ids<S: Stand>() {
    let world = World::<S>::new().await;
    let stand = &world.stand;
    let number = |n: u32| stand.says(n, &format!("number {n}"));
    for n in [1, 1, 2, 3, 3, 1, 5, 4, 2] {
        let answer = stand.post(&number(n), Seal::Right).await;
        assert_eq!(answer, Answer::Taken, "{}: number {n}", S::KIND);
    }
    stand.post(&stand.says(6, "the end"), Seal::Right).await;
    until_said(&world, "the end").await;
    let said = said(&world);
    let distinct: BTreeSet<(String, String)> = said
        .iter()
        .map(|(id, text)| (id.to_string(), text.clone()))
        .collect();
    assert_eq!(distinct.len(), 6, "{}: {distinct:?}", S::KIND);
    let ids: BTreeSet<&String> = distinct.iter().map(|(id, _)| id).collect();
    assert_eq!(
        ids.len(),
        6,
        "{}: different messages, different ids",
        S::KIND
    );
    // What says the same is the same event: whoever has seen it can leave it.
    let channel = ChannelId::from("shop");
    for (envelope, event) in world.events() {
        if let Inbound::Received(message) = &event {
            assert_eq!(envelope.id, event_id(&channel, &event), "{}", S::KIND);
            let again = world.events();
            let ids: BTreeSet<String> = again
                .iter()
                .filter(|(_, other)| match other {
                    Inbound::Received(other) => other.message_id == message.message_id,
                    _ => false,
                })
                .map(|(envelope, _)| envelope.id.to_string())
                .collect();
            assert_eq!(ids.len(), 1, "{}: one message, several events", S::KIND);
        }
    }
    world.ends_well().await;
}

/// What is stored is read again by the same parser, with the same ids. A channel that cannot do it keeps the ids by the
/// case above.
pub async fn replayed_payloads_have_the_same_ids<S: Stand>() {
    let world = World::<S>::new().await;
    for fixture in world.stand.fixtures() {
        world.stand.post(&fixture.body, Seal::Right).await;
    }
    let last = world.stand.says(900_001, "the last one");
    world.stand.post(&last, Seal::Right).await;
    until_said(&world, "the last one").await;
    let Some(replay) = world.account().connector.replay() else {
        return world.ends_well().await;
    };
    let channel = ChannelId::from("shop");
    let events = world.events();
    let published: BTreeSet<EventId> = events.iter().map(|(envelope, _)| envelope.id).collect();
    let mut replayed = 0;
    for (_, event) in &events {
        let Some(raw) = &event.origin().raw else {
            continue;
        };
        let again = replay.read(raw).expect("it was read before");
        assert!(!again.is_empty(), "{}: nothing in {raw:?}", S::KIND);
        for event in again {
            let id = event_id(&channel, &event);
            assert!(published.contains(&id), "{}: {event:?} is new", S::KIND);
            replayed += 1;
        }
    }
    assert!(replayed > 0, "{}: no event has its payload", S::KIND);
    world.ends_well().await;
}
