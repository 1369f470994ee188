//! What is kept, for how long, and what the config says.

use std::{pin::Pin, time::Duration};

use anyhow::Result;
use chrono::{TimeDelta, Utc};
use serde_json::Map;
use tributary_bus::{
    ChannelId, Envelope, EventId,
    message::{Attribution, ContactJoined, ContactRead, JoinReason, Profile},
};
use tributary_router::store::{Order, Retention, StoreError};

use crate::support::{World, acme, envelope, message, origin};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

pub fn what_is_old_goes_in_bounded_steps(world: &World) -> Ran<'_> {
    Box::pin(async {
        let joined = ContactJoined {
            origin: origin("shop", "ada"),
            contact: Profile::default(),
            reason: JoinReason::Started,
            payload: None,
            attribution: Attribution::default(),
            extra: Map::new(),
        };
        for n in 0..2 {
            let id = EventId::derived(&["joined", &n.to_string()]);
            world.take_in(vec![envelope(id, &joined)?]).await?;
        }
        for part in 0..12 {
            let batch = (0..100).map(|n| message("ada", &format!("{part}-{n}")));
            world.take_in(batch.collect::<Result<_>>()?).await?;
        }
        let retention = Retention {
            raw: Duration::from_secs(60),
            events: Duration::from_secs(60),
            seen: Duration::from_secs(3600),
            idempotency: Duration::from_secs(60),
        };
        let (store, now) = (&world.store, Utc::now());
        assert_eq!(store.tidy(&retention, now).await?, 0);
        let later = now + TimeDelta::minutes(2);
        assert_eq!(store.tidy(&retention, later).await?, 1000);
        assert_eq!(store.tidy(&retention, later).await?, 202);
        assert_eq!(store.tidy(&retention, later).await?, 0);
        assert_eq!(world.number("SELECT COUNT(*) FROM seen").await?, 2);
        assert_eq!(store.tidy(&retention, now + TimeDelta::hours(2)).await?, 2);
        assert_eq!(world.number("SELECT COUNT(*) FROM messages").await?, 1200);
        Ok(())
    })
}

pub fn the_config_is_written_down(world: &World) -> Ran<'_> {
    Box::pin(async {
        let store = &world.store;
        let shop = ChannelId::from("shop");
        // Again, and at once from several processes: nothing changes.
        let (one, two) = tokio::join!(
            store.sync_config(&world.settings),
            store.sync_config(&world.settings)
        );
        one.and(two)?;
        let mut settings = world.settings.clone();
        if let Some(channel) = settings.channels.get_mut("shop") {
            channel.name = "The shop".to_owned();
        }
        settings.channels.remove("rival-bot");
        store.sync_config(&settings).await?;
        let renamed = store.channel(&acme(), &shop).await?;
        assert_eq!(renamed.map(|c| c.name).as_deref(), Some("The shop"));
        let removed =
            "SELECT COUNT(*) FROM channels WHERE removed_at IS NOT NULL AND id = 'rival-bot'";
        assert_eq!(world.number(removed).await?, 1);
        store.sync_config(&world.settings).await?;
        assert_eq!(world.number(removed).await?, 0);

        if let Some(channel) = settings.channels.get_mut("shop") {
            channel.organization = "rival".to_owned();
        }
        let refused = store.sync_config(&settings).await;
        assert!(
            matches!(refused, Err(StoreError::ChannelMoved { .. })),
            "{refused:?}"
        );
        assert_eq!(
            world.number(removed).await?,
            0,
            "a refused config changes nothing"
        );
        Ok(())
    })
}

pub fn the_demo_has_an_agent(world: &World) -> Ran<'_> {
    Box::pin(async {
        let mut settings = world.settings.clone();
        settings.demo.enabled = true;
        let demo = tributary_config::Organization {
            name: "Demo".to_owned(),
        };
        settings.organizations.insert("demo".to_owned(), demo);
        for _ in 0..2 {
            world.store.sync_config(&settings).await?;
        }
        let agents = world.store.agents(&"demo".into(), None, 10).await?;
        assert_eq!(agents.len(), 1);
        assert_eq!((agents[0].available, agents[0].capacity), (true, 1000));
        Ok(())
    })
}

/// Requests and lanes are given up at any moment, also while a transaction begins. The connection must not stay in it: the
/// next statement on it would never be committed.
pub fn a_transaction_given_up_while_it_begins_is_ended(world: &World) -> Ran<'_> {
    Box::pin(async {
        let shop = ChannelId::from("shop");
        for n in 0..200 {
            let patience = Duration::from_micros(n * 5);
            let begun = tokio::time::timeout(patience, world.database.begin()).await;
            drop(begun);
            // Written by one connection, read by another.
            world
                .execute(format!(
                    "UPDATE channels SET name = 'shop {n}' WHERE id = 'shop'"
                ))
                .await?;
            let written = world.store.channel(&acme(), &shop).await?.map(|c| c.name);
            assert_eq!(written, Some(format!("shop {n}")));
        }
        Ok(())
    })
}

/// During an update `tributary migrate` runs first and the processes restart later: those that still run keep prepared
/// statements, which must not depend on what columns there are.
pub fn a_later_version_adds_columns_under_a_running_process(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?;
        let organization = acme();
        for round in 0..2 {
            // Often enough that every connection of the pool has prepared them.
            for _ in 0..20 {
                let store = &world.store;
                let messages = store
                    .messages(&organization, conversation.id, Order::OldestFirst, None, 9)
                    .await?;
                assert_eq!(messages.len(), 1);
                let id = messages[0].id;
                assert!(store.message(&organization, id).await?.is_some());
                let contact = store
                    .contact(&organization, conversation.contact_id)
                    .await?;
                assert!(contact.is_some());
                let found = store.conversation(&organization, conversation.id).await?;
                assert!(found.is_some());
                assert!(!store.channel_conditions().await?.is_empty());
                store.endpoints_of_all().await?;
                world.take_in(vec![read_by("ada", round)?]).await?;
            }
            if round == 0 {
                for table in [
                    "messages",
                    "contacts",
                    "conversations",
                    "channels",
                    "endpoints",
                    "early_changes",
                ] {
                    let statement =
                        format!("ALTER TABLE {table} ADD COLUMN of_a_later_version TEXT");
                    world.execute(statement).await?;
                }
            }
        }
        Ok(())
    })
}

fn read_by(address: &str, second: i64) -> Result<Envelope> {
    let read = ContactRead {
        origin: origin("shop", address),
        up_to: Utc::now() + TimeDelta::seconds(second),
        extra: Map::new(),
    };
    envelope(EventId::generate(), &read)
}
