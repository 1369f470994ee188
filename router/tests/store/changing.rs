//! Changes of messages, typing and reading, as the API asks for them; and a store of an older version.

use std::pin::Pin;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use tributary_base::on;
use tributary_bus::{
    ConversationId, EventId, MessageId,
    message::{
        Content, DeliveryDelete, DeliveryEdit, DeliveryReact, DeliveryRead, Failure, FailureCode,
        MessageChange, MessageChangeFailed, MessageView, Status,
    },
};
use tributary_router::store::{MessageEdit, Store, StoreError, migrations};

use crate::{
    receiving::reply,
    support::{PATIENCE, World, acme, brief, envelope, message, origin, rival, status},
};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

/// A message to Ada that was sent in two parts.
async fn sent(world: &World) -> Result<MessageView> {
    world.take_in(vec![message("ada", "1")?]).await?;
    let conversation = world.conversation_of("ada").await?.id;
    let sent = world.store.send_message(reply(conversation, "one")).await?;
    let mut report = status("ada", sent.id, Status::Sent);
    report.provider_ids = vec!["51".to_owned(), "52".to_owned()];
    let report = envelope(EventId::generate(), &report)?;
    world.take_in(vec![report]).await?;
    Ok(sent)
}

fn text(text: &str) -> MessageEdit {
    MessageEdit::Content(Box::new(Content::text(text)))
}

pub fn a_change_is_recorded_told_and_delivered(world: &World) -> Ran<'_> {
    Box::pin(async {
        let message = sent(world).await?;
        let (store, before) = (&world.store, world.told().await?.len());
        let edited = store
            .change_message(&acme(), message.id, text("two"))
            .await?;
        assert_eq!(edited.content, Content::text("two"));
        ensure!(edited.edited_at.is_some());
        let again = store
            .change_message(&acme(), message.id, text("two"))
            .await?;
        assert_eq!(again, edited, "the same again changes nothing");
        let reactions = MessageEdit::Reactions(vec!["👍".to_owned()]);
        store.change_message(&acme(), message.id, reactions).await?;
        let hers = MessageId::derived(&"shop".into(), "1");
        let heart = MessageEdit::Reactions(vec!["❤".to_owned()]);
        store.change_message(&acme(), hers, heart).await?;
        let deleted = store
            .change_message(&acme(), message.id, MessageEdit::Delete)
            .await?;
        assert_eq!(deleted.content, Content::unsupported("deleted"));
        assert_eq!(
            store
                .change_message(&acme(), message.id, MessageEdit::Delete)
                .await?,
            deleted
        );
        assert_eq!(
            world.told().await?[before..],
            [
                "6 delivery.edit",
                "6 message.edited",
                "7 delivery.react",
                "7 message.reactions_changed",
                "8 delivery.react",
                "8 message.reactions_changed",
                "9 delivery.delete",
                "9 message.deleted"
            ]
        );
        let outbox = world.outbox().await?;
        let edit: DeliveryEdit = outbox[before].payload()?;
        assert_eq!(edit.provider_ids, ["51", "52"]);
        assert_eq!((edit.seq, edit.to.as_str()), (6, "ada"));
        assert_eq!(edit.content, Content::text("two"));
        let react: DeliveryReact = outbox[before + 4].payload()?;
        assert_eq!((react.provider_id.as_str(), react.message_id), ("1", hers));
        let delete: DeliveryDelete = outbox[before + 6].payload()?;
        assert_eq!(delete.provider_ids, ["51", "52"]);
        let lanes = "SELECT COUNT(*) FROM outbox WHERE lane = 'delivery.shop'";
        assert_eq!(world.number(lanes).await?, 5);
        Ok(())
    })
}

pub fn a_refused_change_is_undone(world: &World) -> Ran<'_> {
    Box::pin(async {
        let message = sent(world).await?;
        let store = &world.store;
        store
            .change_message(&acme(), message.id, text("two"))
            .await?;
        store
            .change_message(&acme(), message.id, text("three"))
            .await?;
        let refused = |seq: i64, change| {
            let refused = MessageChangeFailed {
                origin: origin("shop", "ada"),
                message_id: message.id,
                change,
                failure: Failure {
                    code: FailureCode::Rejected,
                    reason: "too old".to_owned(),
                },
                seq: Some(seq),
                extra: Map::new(),
            };
            envelope(EventId::generate(), &refused)
        };
        let content = async || -> Result<Content> {
            let view = store.message(&acme(), message.id).await?;
            Ok(view.context("message")?.content)
        };
        // The first of the two; the second stands.
        world
            .take_in(vec![refused(6, MessageChange::Edit)?])
            .await?;
        assert_eq!(content().await?, Content::text("three"));
        world
            .take_in(vec![refused(7, MessageChange::Edit)?])
            .await?;
        assert_eq!(content().await?, Content::text("one"));
        let view = store.message(&acme(), message.id).await?;
        assert_eq!(view.context("message")?.edited_at, None);
        store
            .change_message(&acme(), message.id, MessageEdit::Delete)
            .await?;
        let seq = world.conversation_of("ada").await?.seq;
        let deletion = refused(seq, MessageChange::Delete)?;
        world.take_in(vec![deletion.clone()]).await?;
        world.take_in(vec![deletion]).await?;
        assert_eq!(content().await?, Content::text("one"));
        let told = world.told().await?;
        let refusals = told
            .iter()
            .filter(|t| t.ends_with("message.change_refused"));
        assert_eq!(refusals.count(), 3);
        Ok(())
    })
}

pub fn a_change_on_a_channel_that_is_gone_is_undone(world: &World) -> Ran<'_> {
    Box::pin(async {
        let message = sent(world).await?;
        let store = &world.store;
        store
            .change_message(&acme(), message.id, text("two"))
            .await?;
        world
            .execute("UPDATE channels SET removed_at = created_at WHERE id = 'shop'".to_owned())
            .await?;
        let lane: u16 = u16::try_from(
            world
                .number("SELECT CAST(shard AS BIGINT) FROM conversations")
                .await?,
        )?;
        let beside = world.alongside(world.router(store), lane);
        world
            .eventually("the edit is taken back", async || {
                let view = store.message(&acme(), message.id).await?;
                Ok(view.context("message")?.content == Content::text("one"))
            })
            .await?;
        beside.end().await
    })
}

pub fn what_cannot_be_changed_is_refused(world: &World) -> Ran<'_> {
    Box::pin(async {
        let message = sent(world).await?;
        let store = &world.store;
        let conversation = message.conversation_id;
        let hers = MessageId::derived(&"shop".into(), "1");
        let queued = store.send_message(reply(conversation, "later")).await?.id;
        let told = world.told().await?.len();
        let change = async |organization, id, edit| {
            let refused = store.change_message(&organization, id, edit).await;
            refused.err().context("it was not refused")
        };
        let reaction = || MessageEdit::Reactions(vec!["👍".to_owned()]);
        for (organization, id, edit, expected) in [
            (acme(), hers, text("x"), "message is not ours to change"),
            (
                acme(),
                hers,
                MessageEdit::Delete,
                "message is not ours to change",
            ),
            (acme(), queued, text("x"), "message was not sent"),
            (acme(), queued, MessageEdit::Delete, "message was not sent"),
            (acme(), queued, reaction(), "message was not sent"),
            (rival(), message.id, text("x"), "no such message"),
            (acme(), MessageId::generate(), text("x"), "no such message"),
        ] {
            let refused = change(organization, id, edit).await?;
            assert_eq!(refused.to_string(), expected);
        }
        assert_eq!(world.told().await?.len(), told);
        store
            .change_message(&acme(), message.id, MessageEdit::Delete)
            .await?;
        let refused = change(acme(), message.id, text("x")).await?;
        ensure!(matches!(refused, StoreError::Deleted), "{refused:?}");
        // A closed conversation still has messages that one may take back.
        store.close_conversation(&acme(), conversation).await?;
        store.change_message(&acme(), hers, reaction()).await?;
        Ok(())
    })
}

pub fn typing_and_reading_are_delivered_once(world: &World) -> Ran<'_> {
    Box::pin(async {
        let conversation = sent(world).await?.conversation_id;
        let (store, before) = (&world.store, world.outbox().await?.len());
        for _ in 0..3 {
            store.show_typing(&acme(), conversation).await?;
            store.mark_read(&acme(), conversation).await?;
        }
        world.take_in(vec![message("ada", "2")?]).await?;
        store.mark_read(&acme(), conversation).await?;
        let outbox = world.outbox().await?;
        let told: Vec<String> = outbox[before..].iter().map(brief).collect();
        assert_eq!(
            told,
            [
                "6 delivery.typing",
                "7 delivery.read",
                "8 message.created",
                "9 delivery.read"
            ]
        );
        let read: DeliveryRead = outbox[before + 3].payload()?;
        assert_eq!(read.provider_id, "2");
        // Some time later it is news again.
        world
            .execute("UPDATE conversations SET typing_at = created_at".to_owned())
            .await?;
        world
            .execute("UPDATE conversations SET typing_at = NULL".to_owned())
            .await?;
        store.show_typing(&acme(), conversation).await?;
        assert_eq!(world.outbox().await?.len(), before + 5);

        for foreign in [
            store.show_typing(&rival(), conversation).await,
            store.mark_read(&rival(), conversation).await,
            store.show_typing(&acme(), ConversationId::generate()).await,
        ] {
            ensure!(
                matches!(foreign, Err(StoreError::NotFound("conversation"))),
                "{foreign:?}"
            );
        }
        store.close_conversation(&acme(), conversation).await?;
        let closed = store.show_typing(&acme(), conversation).await;
        ensure!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
        Ok(())
    })
}

/// A store that the first migration made is brought up to date with what it holds.
pub fn an_older_store_is_brought_up_to_date(world: &World) -> Ran<'_> {
    Box::pin(async {
        let database = world.empty_database().await?;
        let mut older = migrations();
        for migrator in [&mut older.postgres, &mut older.sqlite] {
            migrator.migrations = migrator.migrations.iter().take(1).cloned().collect();
        }
        database.migrate(&older).await?;
        let store = Store::new(database.clone(), PATIENCE);
        ensure!(store.pending().await? > 0);
        let (id, hers) = (
            MessageId::generate(),
            MessageId::derived(&"shop".into(), "7"),
        );
        let (contact, conversation) = (uuid::Uuid::now_v7(), ConversationId::generate());
        let now = chrono::Utc::now();
        on!(write &database, db => sqlx::query("INSERT INTO organizations (id, name, created_at) VALUES ('acme', 'Acme', $1)")
            .bind(now).execute(db).await.map(drop))?;
        on!(write &database, db => sqlx::query(
            "INSERT INTO contacts (id, organization, channel_id, address, username, blocked, created_at)
             VALUES ($1, 'acme', 'shop', 'ada', 'ada', $2, $3)",
        ).bind(contact).bind(false).bind(now).execute(db).await.map(drop))?;
        on!(write &database, db => sqlx::query(
            "INSERT INTO conversations (id, organization, channel_id, contact_id, shard, state, seq, queued, created_at,
             updated_at) VALUES ($1, 'acme', 'shop', $2, 3, 'waiting', 2, $3, $4, $4)",
        ).bind(conversation).bind(contact).bind(true).bind(now).execute(db).await.map(drop))?;
        for (seq, (id, direction, provider_id)) in
            (1_i64..).zip([(hers, "inbound", "7"), (id, "outbound", "51")])
        {
            on!(write &database, db => sqlx::query(
                "INSERT INTO messages (id, organization, conversation_id, channel_id, contact_id, seq, direction, author,
                 content, status, uncertain, provider_id, created_at)
                 VALUES ($1, 'acme', $2, 'shop', $3, $4, $5, $6, $7, 'sent', $8, $9, $10)",
            )
            .bind(id).bind(conversation).bind(contact).bind(seq).bind(direction)
            .bind(serde_json::json!({"kind": "api"}).to_string())
            .bind(serde_json::json!({"type": "text", "text": "hello"}).to_string())
            .bind(false).bind(provider_id).bind(now)
            .execute(db).await.map(drop))?;
        }
        store.migrate().await?;
        ensure!(store.pending().await? == 0);
        let view = store.message(&acme(), id).await?.context("message")?;
        assert_eq!(view.content, Content::text("hello"));
        ensure!(view.reactions.is_empty() && view.context.is_empty() && view.reply_to.is_none());
        let ids: Vec<(String, MessageId)> = on!(read &database, db => {
            sqlx::query_as("SELECT provider_id, message_id FROM provider_ids").fetch_all(db).await
        })?;
        assert_eq!(ids, [("51".to_owned(), id)]);
        let contact = tributary_bus::ContactId(contact);
        let contact = store.contact(&acme(), contact).await?.context("contact")?;
        assert_eq!(contact.username.as_deref(), Some("ada"));
        ensure!(serde_json::to_value(&contact)?["avatar"] == Value::Null);
        store.close().await;
        database.close().await;
        Ok(())
    })
}
