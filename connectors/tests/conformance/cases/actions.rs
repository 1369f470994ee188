//! What is done in a channel besides sending.

use chrono::Utc;
use serde_json::Map;
use tributary_bus::{
    Address, ChannelId, ConversationId, EventId, MessageId,
    message::{
        Content, DeliveryDelete, DeliveryEdit, DeliveryReact, DeliveryRead, DeliveryTyping,
        Inbound, MessageChange, MessageChangeFailed, Status,
    },
};
use tributary_connectors::Support;

use crate::{
    stands::{Sign, Stand},
    support::PATIENCE,
    world::World,
};

/// A delivery with the fields that all have.
macro_rules! delivery {
    ($name:ident to $to:expr; $($field:ident: $value:expr),* $(,)?) => {
        $name {
            conversation_id: ConversationId::generate(),
            channel_id: ChannelId::from("shop"),
            to: $to.clone(),
            seq: 2,
            $($field: $value,)*
            extra: Map::new(),
        }
    };
}

async fn edit<S: Stand>(world: &World<S>, to: &Address, message_id: MessageId, text: &str) {
    let edit = delivery!(DeliveryEdit to to;
        message_id: message_id, provider_ids: Vec::new(), content: Content::text(text));
    world.deliver(EventId::generate(), &edit).await;
}

async fn delete<S: Stand>(world: &World<S>, to: &Address, message_id: MessageId) {
    let delete = delivery!(DeliveryDelete to to;
        message_id: message_id, provider_ids: Vec::new());
    world.deliver(EventId::generate(), &delete).await;
}

async fn react<S: Stand>(world: &World<S>, to: &Address, asked: &Asked) {
    let react = delivery!(DeliveryReact to to;
        message_id: asked.id, provider_id: asked.provider_id.clone(), reactions: vec!["👍".to_owned()]);
    world.deliver(EventId::generate(), &react).await;
}

async fn show<S: Stand>(world: &World<S>, to: &Address, asked: &Asked) {
    world
        .deliver(EventId::generate(), &delivery!(DeliveryTyping to to;))
        .await;
    let read = delivery!(DeliveryRead to to; provider_id: asked.provider_id.clone());
    world.deliver(EventId::generate(), &read).await;
}

/// A message of the contact.
struct Asked {
    id: MessageId,
    provider_id: String,
}

async fn asked<S: Stand>(world: &World<S>, from: &Address) -> Asked {
    world.stand.writes(from, "a question").await;
    world
        .until("question", || {
            let asked = world.all(|event| match event {
                Inbound::Received(message) if message.origin.address == *from => Some(Asked {
                    id: message.message_id,
                    provider_id: message.provider_id.clone(),
                }),
                _ => None,
            });
            asked.into_iter().next_back()
        })
        .await
}

fn refusals<S: Stand>(world: &World<S>) -> Vec<MessageChangeFailed> {
    world.all(|event| match event {
        Inbound::ChangeFailed(failed) => Some(failed.clone()),
        _ => None,
    })
}

async fn texts<S: Stand>(world: &World<S>, to: &Address) -> Vec<String> {
    let shown = world.stand.shows(to).await;
    shown.into_iter().map(|shown| shown.text).collect()
}

/// Waits for what the provider shows.
async fn until_shown<S: Stand>(world: &World<S>, to: &Address, expected: &[&str]) {
    let since = std::time::Instant::now();
    loop {
        let shown = texts(world, to).await;
        if shown == expected {
            return;
        }
        assert!(
            since.elapsed() < PATIENCE,
            "{}: {shown:?} instead of {expected:?}; {:?}",
            S::KIND,
            refusals(world)
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn until_seen<S: Stand>(world: &World<S>, sign: Sign, to: &Address) {
    let since = std::time::Instant::now();
    while !world.stand.has_seen(sign, to).await {
        assert!(
            since.elapsed() < PATIENCE,
            "{}: {sign:?} is claimed and not seen; {:?}",
            S::KIND,
            refusals(world)
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Two messages to somebody; their ids.
async fn two<S: Stand>(world: &World<S>, to: &Address) -> [MessageId; 2] {
    let mut ids = Vec::new();
    for text in ["first", "second"] {
        let id = world.send(to, Content::text(text)).await;
        let outcome = world.outcome(id).await;
        assert_ne!(outcome.status, Status::Failed, "{}: {outcome:?}", S::KIND);
        ids.push(id);
    }
    [ids[0], ids[1]]
}

pub async fn what_is_claimed_is_done<S: Stand>() {
    let world = World::<S>::new().await;
    let capabilities = world.account().connector.capabilities().clone();
    let to = world.stand.contact(1).await;
    let question = asked(&world, &to).await;
    let [first, second] = two(&world, &to).await;
    if capabilities.edit == Support::Yes {
        edit(&world, &to, second, "the second").await;
        until_shown(&world, &to, &["first", "the second"]).await;
    }
    if capabilities.delete == Support::Yes {
        delete(&world, &to, first).await;
        let second = texts(&world, &to).await.pop().unwrap_or_default();
        until_shown(&world, &to, &[&second]).await;
    }
    if capabilities.react == Support::Yes {
        react(&world, &to, &question).await;
        until_seen(&world, Sign::Reaction, &to).await;
    }
    let watcher = world.stand.watcher().await;
    let question = asked(&world, &watcher).await;
    show(&world, &watcher, &question).await;
    if capabilities.typing == Support::Yes {
        until_seen(&world, Sign::Typing, &watcher).await;
    }
    if capabilities.read == Support::Yes {
        until_seen(&world, Sign::Read, &watcher).await;
    }
    let refused = refusals(&world);
    assert!(refused.is_empty(), "{}: {refused:?}", S::KIND);
    world.ends_well().await;
}

/// What cannot be done is told by `message.change_failed`; signs of presence are left out.
pub async fn what_is_not_claimed_is_refused<S: Stand>() {
    let world = World::<S>::new().await;
    let capabilities = world.account().connector.capabilities().clone();
    let to = world.stand.contact(1).await;
    let question = asked(&world, &to).await;
    let before = Utc::now();
    let [first, second] = two(&world, &to).await;
    let mut expected = Vec::new();
    if capabilities.edit == Support::No {
        edit(&world, &to, second, "the second").await;
        expected.push(MessageChange::Edit);
    }
    if capabilities.delete == Support::No {
        delete(&world, &to, first).await;
        expected.push(MessageChange::Delete);
    }
    if capabilities.react == Support::No {
        react(&world, &to, &question).await;
        expected.push(MessageChange::React);
    }
    // Of a message that was never sent nothing can be changed, whatever is claimed.
    let nobodys = MessageId::generate();
    edit(&world, &to, nobodys, "what?").await;
    expected.push(MessageChange::Edit);
    delete(&world, &to, nobodys).await;
    expected.push(MessageChange::Delete);
    show(&world, &to, &question).await;
    let refused = world
        .until("refusals", || {
            let refused = refusals(&world);
            (refused.len() >= expected.len()).then_some(refused)
        })
        .await;
    let changes: Vec<MessageChange> = refused.iter().map(|failed| failed.change).collect();
    assert_eq!(changes, expected, "{}", S::KIND);
    for failed in &refused {
        assert!(!failed.failure.reason.is_empty(), "{}", S::KIND);
        assert!(failed.origin.occurred_at >= before, "{}", S::KIND);
    }
    world.is_settled().await;
    assert_eq!(texts(&world, &to).await, ["first", "second"], "{}", S::KIND);
    world.ends_well().await;
}
