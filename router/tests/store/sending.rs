//! What people and integrators do to conversations.

use std::pin::Pin;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use tributary_bus::{
    AgentId, ConversationId, EventId, MessageId,
    message::{Author, ConversationState, DeliverySend, MessageCreated, Status},
};
use tributary_router::store::{Idempotency, StoreError};

use crate::{
    receiving::reply,
    support::{World, acme, envelope, message, rival, status},
};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

async fn conversation(world: &World, address: &str) -> Result<ConversationId> {
    world.take_in(vec![message(address, address)?]).await?;
    Ok(world.conversation_of(address).await?.id)
}

/// Its delivery goes back into its lane: what the channel reports then must count.
pub fn a_dead_delivery_is_queued_once_more(world: &World) -> Ran<'_> {
    Box::pin(async {
        let conversation = conversation(world, "ada").await?;
        let store = &world.store;
        let dead = store.send_message(reply(conversation, "one")).await?.id;
        let later = store.send_message(reply(conversation, "two")).await?.id;
        assert_eq!(store.sent_after(&acme(), dead).await?, 0);
        let mut reports = vec![envelope(
            EventId::generate(),
            &status("ada", dead, Status::Failed),
        )?];
        reports.push(envelope(
            EventId::generate(),
            &status("ada", later, Status::Sent),
        )?);
        world.take_in(reports).await?;
        assert_eq!(store.sent_after(&acme(), dead).await?, 1);
        assert_eq!(store.sent_after(&rival(), dead).await?, 0);
        let foreign = store.requeue_message(&rival(), dead).await;
        assert!(matches!(foreign, Err(StoreError::NotFound(_))));

        let told = world.told().await?.len();
        for _ in 0..2 {
            store.requeue_message(&acme(), dead).await?;
            store.requeue_message(&acme(), later).await?;
        }
        let told: Vec<_> = world.told().await?.split_off(told);
        ensure!(
            told.len() == 1 && told[0].ends_with("message.status_changed"),
            "{told:?}"
        );
        let sent = envelope(EventId::generate(), &status("ada", dead, Status::Sent))?;
        world.take_in(vec![sent]).await?;
        for id in [dead, later] {
            let message = store.message(&acme(), id).await?.context("a message")?;
            assert_eq!(message.status, Status::Sent);
        }
        Ok(())
    })
}

pub fn a_reply_is_stored_with_its_delivery_and_its_event(world: &World) -> Ran<'_> {
    Box::pin(async {
        let conversation = conversation(world, "ada").await?;
        let mut answer = reply(conversation, "hello");
        answer.reply_to = Some(MessageId::derived(&"shop".into(), "ada"));
        let sent = world.store.send_message(answer).await?;
        assert_eq!((sent.status, sent.seq), (Status::Queued, 4));
        let stored = world.store.message(&acme(), sent.id).await?;
        assert_eq!(stored.as_ref(), Some(&sent));
        let told = world.told().await?;
        assert_eq!(told[3..], ["4 delivery.send", "4 message.created"]);
        let outbox = world.outbox().await?;
        let delivery: DeliverySend = outbox[3].payload()?;
        assert_eq!(outbox[3].id.0, sent.id.0);
        assert_eq!(delivery.to.as_str(), "ada");
        assert_eq!(delivery.reply_to.as_deref(), Some("ada"));
        assert_eq!((delivery.seq, delivery.message_id), (4, sent.id));
        let created: MessageCreated = outbox[4].payload()?;
        assert_eq!(created.message, sent);
        let lanes = "SELECT COUNT(*) FROM outbox WHERE lane = 'delivery.shop'";
        assert_eq!(world.number(lanes).await?, 1);
        Ok(())
    })
}

pub fn an_idempotency_key_makes_one_message(world: &World) -> Ran<'_> {
    Box::pin(async {
        let conversation = conversation(world, "ada").await?;
        let request = |request: u8| {
            let mut new = reply(conversation, "hello");
            new.idempotency = Some(Idempotency {
                key: "order-7".to_owned(),
                request: vec![request; 32],
            });
            new
        };
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let (store, new) = (world.store.clone(), request(1));
            tasks.spawn(async move { store.send_message(new).await });
        }
        let mut ids = Vec::new();
        while let Some(sent) = tasks.join_next().await {
            ids.push(sent??.id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        let other = world.store.send_message(request(2)).await;
        assert!(
            matches!(other, Err(StoreError::IdempotencyMismatch)),
            "{other:?}"
        );
        let sent = "SELECT COUNT(*) FROM messages WHERE direction = 'outbound'";
        assert_eq!(world.number(sent).await?, 1);
        // What was refused does not use up the key.
        world
            .store
            .close_conversation(&acme(), conversation)
            .await?;
        let mut new = request(3);
        new.idempotency = new.idempotency.map(|i| Idempotency {
            key: "order-8".to_owned(),
            ..i
        });
        let refused = world.store.send_message(new.clone()).await;
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
        world
            .store
            .reopen_conversation(&acme(), conversation)
            .await?;
        world.store.send_message(new).await?;
        Ok(())
    })
}

pub fn what_cannot_be_sent_is_refused(world: &World) -> Ran<'_> {
    Box::pin(async {
        let ada = conversation(world, "ada").await?;
        conversation(world, "bob").await?;
        let mut nowhere = reply(ConversationId::generate(), "hello");
        let refused = world.store.send_message(nowhere.clone()).await;
        assert!(
            matches!(refused, Err(StoreError::NotFound("conversation"))),
            "{refused:?}"
        );
        nowhere.conversation = ada;
        nowhere.author = Author::Agent {
            id: AgentId::generate(),
        };
        let refused = world.store.send_message(nowhere).await;
        assert!(
            matches!(refused, Err(StoreError::NotFound("agent"))),
            "{refused:?}"
        );
        let mut elsewhere = reply(ada, "hello");
        elsewhere.reply_to = Some(MessageId::derived(&"shop".into(), "bob"));
        let refused = world.store.send_message(elsewhere).await;
        assert!(
            matches!(refused, Err(StoreError::NotFound("message"))),
            "{refused:?}"
        );

        world
            .execute("UPDATE channels SET removed_at = created_at WHERE id = 'shop'".to_owned())
            .await?;
        let refused = world.store.send_message(reply(ada, "hello")).await;
        assert!(
            matches!(refused, Err(StoreError::ChannelRemoved(_))),
            "{refused:?}"
        );
        assert_eq!(world.conversation_of("ada").await?.seq, 3);
        assert_eq!(world.told().await?.len(), 6);
        Ok(())
    })
}

pub fn a_conversation_is_closed_and_reopened(world: &World) -> Ran<'_> {
    Box::pin(async {
        let id = conversation(world, "ada").await?;
        let store = &world.store;
        let closed = store.close_conversation(&acme(), id).await?;
        assert_eq!((closed.state, closed.seq), (ConversationState::Closed, 4));
        assert_eq!(store.close_conversation(&acme(), id).await?, closed);
        let refused = store.send_message(reply(id, "hello")).await;
        assert!(matches!(refused, Err(StoreError::Closed)), "{refused:?}");
        let open = store.reopen_conversation(&acme(), id).await?;
        assert_eq!(open.state, ConversationState::Waiting);
        // Reopened at 5; nobody is there, which is told at 6.
        assert_eq!(open.seq, 6);
        assert_eq!(store.reopen_conversation(&acme(), id).await?, open);
        let told = world.told().await?;
        let expected = [
            "4 conversation.status_changed",
            "5 conversation.status_changed",
            "6 conversation.queued",
        ];
        assert_eq!(told[3..], expected);
        Ok(())
    })
}

pub fn organizations_do_not_see_each_other(world: &World) -> Ran<'_> {
    Box::pin(async {
        let id = conversation(world, "ada").await?;
        let (store, told) = (&world.store, world.told().await?);
        ensure!(store.conversation(&rival(), id).await?.is_none());
        let mut foreign = reply(id, "hello");
        foreign.organization = rival();
        let agent = crate::matching::agent(world, 1).await?.id;
        let refusals = [
            store.send_message(foreign).await.err(),
            store.close_conversation(&rival(), id).await.err(),
            store.reopen_conversation(&rival(), id).await.err(),
            store.assign_conversation(&rival(), id, agent).await.err(),
        ];
        for refusal in refusals {
            let refusal = refusal.context("was not refused")?;
            ensure!(matches!(refusal, StoreError::NotFound(_)), "{refusal:?}");
        }
        // The agent of acme took the conversation; nothing else happened.
        assert_eq!(world.told().await?.len(), told.len() + 1);
        Ok(())
    })
}
