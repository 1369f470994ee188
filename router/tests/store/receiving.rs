//! Batches of an inbound lane.

use std::{collections::HashMap, pin::Pin, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Map;
use tokio::{sync::watch, task::JoinSet};
use tributary_bus::{
    EventId, Lease, MessageId, Outcome, Payload,
    message::{
        Author, ContactLeft, Content, ConversationState, LeaveReason, MessageReceived, Priority,
        Status,
    },
};
use tributary_router::store::{NewMessage, Order, StoreError};

use crate::support::{
    Kind, World, acme, brief, envelope, field, message, origin, received, status, work,
};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

pub fn reply(conversation: tributary_bus::ConversationId, text: &str) -> NewMessage {
    NewMessage {
        organization: acme(),
        conversation,
        author: Author::Api,
        content: Content::text(text),
        reply_to: None,
        priority: Priority::Reply,
        idempotency: None,
    }
}

pub fn a_first_message_is_stored_and_told(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?;
        assert_eq!(conversation.state, ConversationState::Waiting);
        assert_eq!(
            world.told().await?,
            [
                "1 contact.created",
                "2 conversation.created",
                "3 message.created"
            ]
        );
        let messages = world
            .store
            .messages(&acme(), conversation.id, Order::OldestFirst, None, 10)
            .await?;
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].content, Content::text("text of 1"));
        let told = &world.outbox().await?[2];
        assert_eq!(
            field(told, "/message")?,
            serde_json::to_value(&messages[0])?
        );
        assert_eq!(told.subject, Some(conversation.id.to_string()));
        assert_eq!(world.number("SELECT COUNT(*) FROM raw_payloads").await?, 1);
        Ok(())
    })
}

pub fn a_message_that_comes_twice_is_one_message(world: &World) -> Ran<'_> {
    Box::pin(async {
        let (one, two) = (message("ada", "1")?, message("ada", "2")?);
        world
            .take_in(vec![one.clone(), one.clone(), two.clone()])
            .await?;
        world.take_in(vec![two, one]).await?;
        assert_eq!(world.number("SELECT COUNT(*) FROM messages").await?, 2);
        assert_eq!(world.told().await?.len(), 4);
        assert_eq!(world.conversation_of("ada").await?.seq, 4);
        Ok(())
    })
}

/// Two workers that both believe to own the lane, with the same messages in different batches.
pub fn two_owners_at_once_store_every_message_once(world: &World) -> Ran<'_> {
    Box::pin(async {
        let mut batch = Vec::new();
        for n in 0..30 {
            batch.push(message(&format!("contact-{}", n % 4), &n.to_string())?);
        }
        let mut tasks = JoinSet::new();
        for owner in 0..4 {
            let handler = world.handler(0).await?;
            let lease = world.lease();
            let mut left = batch.clone();
            tasks.spawn(async move {
                while !left.is_empty() {
                    let size = left.len().min(3 + owner * 5);
                    let works = left[..size].iter().cloned().map(work).collect();
                    let outcomes = handler.handle(works, &lease).await;
                    let done = outcomes.iter().take_while(|o| **o == Outcome::Done).count();
                    ensure!(!outcomes.iter().any(|o| matches!(o, Outcome::Dead { .. })));
                    left.drain(..done);
                }
                Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        assert_eq!(world.number("SELECT COUNT(*) FROM messages").await?, 30);
        assert_eq!(world.number("SELECT COUNT(*) FROM contacts").await?, 4);
        assert_eq!(world.number("SELECT COUNT(*) FROM conversations").await?, 4);
        places_have_no_gaps(world).await
    })
}

/// Inbound batches, replies and statuses at once.
pub fn places_rise_without_gaps(world: &World) -> Ran<'_> {
    Box::pin(async {
        let contacts = ["ada", "bob", "cyd"];
        for address in contacts {
            world.take_in(vec![message(address, address)?]).await?;
        }
        let mut tasks = JoinSet::new();
        for address in contacts {
            let conversation = world.conversation_of(address).await?.id;
            let store = world.store.clone();
            let (handler, lease) = (world.handler(0).await?, world.lease());
            tasks.spawn(async move {
                for n in 0..10 {
                    let sent = store
                        .send_message(reply(conversation, &n.to_string()))
                        .await?;
                    let report = status(address, sent.id, Status::Delivered);
                    let report = envelope(EventId::generate(), &report)?;
                    ensure!(handler.handle(vec![work(report)], &lease).await == [Outcome::Done]);
                }
                Ok(())
            });
        }
        for round in 0..10 {
            let batch = contacts
                .iter()
                .map(|who| message(who, &format!("{who}-{round}")));
            world.take_in(batch.collect::<Result<_>>()?).await?;
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        assert_eq!(world.number("SELECT COUNT(*) FROM messages").await?, 63);
        places_have_no_gaps(world).await
    })
}

/// The events of each conversation in the outbox are at the places 1, 2, 3, ... in the order of its rows.
async fn places_have_no_gaps(world: &World) -> Result<()> {
    let mut latest: HashMap<String, i64> = HashMap::new();
    for event in world.outbox().await? {
        if event.kind.starts_with("delivery.") {
            continue;
        }
        let subject = event.subject.clone().context("subject")?;
        let place: i64 = event.sequence.clone().context("sequence")?.parse()?;
        let before = latest.insert(subject, place).unwrap_or(0);
        ensure!(place == before + 1, "{} after {before}", brief(&event));
    }
    let behind = world
        .number("SELECT COUNT(*) FROM conversations v WHERE v.seq < (SELECT MAX(seq) FROM messages m WHERE m.conversation_id = v.id)")
        .await?;
    ensure!(behind == 0 && !latest.is_empty());
    Ok(())
}

pub fn a_closed_conversation_reopens_or_a_new_one_begins(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let first = world.conversation_of("ada").await?;
        world.store.close_conversation(&acme(), first.id).await?;
        world.take_in(vec![message("ada", "2")?]).await?;
        let again = world.conversation_of("ada").await?;
        assert_eq!(
            (again.id, again.state),
            (first.id, ConversationState::Waiting)
        );
        let told = world.told().await?;
        assert!(
            told.ends_with(&[
                "4 conversation.status_changed".to_owned(),
                "5 conversation.status_changed".to_owned(),
                "6 message.created".to_owned(),
            ]),
            "{told:?}"
        );

        world.store.close_conversation(&acme(), first.id).await?;
        let long_ago = match world.kind {
            Kind::Sqlite => "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-25 hours')",
            Kind::Postgres => "now() - interval '25 hours'",
        };
        world
            .execute(format!("UPDATE conversations SET closed_at = {long_ago}"))
            .await?;
        world.take_in(vec![message("ada", "3")?]).await?;
        let new = world.conversation_of("ada").await?;
        assert_ne!(new.id, first.id);
        assert_eq!(new.seq, 2);
        // The open one is found, although an older one was touched later.
        let refused = world.store.reopen_conversation(&acme(), first.id).await;
        assert!(
            matches!(refused, Err(StoreError::AnotherOpen)),
            "{refused:?}"
        );
        world.take_in(vec![message("ada", "4")?]).await?;
        assert_eq!(world.conversation_of("ada").await?.seq, 3);
        assert_eq!(world.number("SELECT COUNT(*) FROM contacts").await?, 1);
        Ok(())
    })
}

pub fn statuses_move_forward_and_are_told_once(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let sent = world
            .store
            .send_message(reply(conversation, "hello"))
            .await?;
        let report = |to, id: &str| {
            let mut report = status("ada", sent.id, to);
            report.provider_ids = vec![id.to_owned()];
            envelope(EventId::generate(), &report)
        };
        let batch = vec![report(Status::Read, "p1")?, report(Status::Sent, "p2")?];
        world.take_in(batch).await?;
        world
            .take_in(vec![report(Status::Delivered, "p3")?])
            .await?;
        let stored = world
            .store
            .message(&acme(), sent.id)
            .await?
            .context("message")?;
        assert_eq!(stored.status, Status::Read);
        let told = world.told().await?;
        let changes = told
            .iter()
            .filter(|t| t.ends_with("message.status_changed"));
        assert_eq!(changes.count(), 1);
        let kept = world
            .number("SELECT COUNT(*) FROM messages WHERE provider_id = 'p1'")
            .await?;
        assert_eq!(kept, 1);
        Ok(())
    })
}

pub fn who_leaves_cannot_be_written_to_until_they_write(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let left = ContactLeft {
            origin: origin("shop", "ada"),
            reason: LeaveReason::Blocked,
            extra: Map::new(),
        };
        let left = envelope(EventId::derived(&["left"]), &left)?;
        world.take_in(vec![left.clone()]).await?;
        let refused = world.store.send_message(reply(conversation, "hello")).await;
        assert!(matches!(refused, Err(StoreError::Blocked)), "{refused:?}");
        world.take_in(vec![message("ada", "2")?]).await?;
        world
            .store
            .send_message(reply(conversation, "hello"))
            .await?;
        // The same departure again is old news.
        world.take_in(vec![left]).await?;
        world
            .store
            .send_message(reply(conversation, "hello"))
            .await?;
        let told = world.told().await?;
        assert_eq!(
            told.iter()
                .filter(|t| t.ends_with("contact.blocked"))
                .count(),
            1
        );
        Ok(())
    })
}

pub fn without_a_fresh_lease_nothing_is_written(world: &World) -> Ran<'_> {
    Box::pin(async {
        let (proof, proven) = watch::channel(None);
        let lost = Lease::new(proven, Duration::from_secs(3600));
        let handler = world.handler(0).await?;
        let outcomes = handler
            .handle(vec![work(message("ada", "1")?)], &lost)
            .await;
        assert!(
            matches!(outcomes[..], [Outcome::Pause { .. }]),
            "{outcomes:?}"
        );
        drop(proof);
        for table in [
            "contacts",
            "conversations",
            "messages",
            "outbox",
            "raw_payloads",
        ] {
            let rows: i64 = tributary_base::on!(read &world.database, db => {
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}")))
                    .fetch_one(db).await
            })?;
            assert_eq!(rows, 0, "{table}");
        }
        Ok(())
    })
}

/// A trigger refuses one text, as a database would that cannot hold it.
pub fn one_that_cannot_be_stored_spoils_no_batch(world: &World) -> Ran<'_> {
    Box::pin(async {
        world
            .execute(match world.kind {
                Kind::Postgres => "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN \
                     RAISE EXCEPTION 'refused' USING ERRCODE = '22000'; END $$ LANGUAGE plpgsql; \
                     CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW \
                     WHEN (NEW.provider_id = 'poison') EXECUTE FUNCTION refuse()"
                    .to_owned(),
                Kind::Sqlite => "CREATE TRIGGER refuse BEFORE INSERT ON messages \
                     WHEN NEW.provider_id = 'poison' BEGIN SELECT RAISE(ABORT, 'refused'); END"
                    .to_owned(),
            })
            .await?;
        let batch = ["1", "poison", "2"].map(|id| message("ada", id));
        let outcomes = world
            .hand(batch.into_iter().collect::<Result<_>>()?)
            .await?;
        match world.kind {
            // It knows that the values are to blame.
            Kind::Postgres => assert!(
                matches!(
                    outcomes[..],
                    [Outcome::Done, Outcome::Dead { .. }, Outcome::Done]
                ),
                "{outcomes:?}"
            ),
            // A constraint may be a race: after some tries the lane's runner gives the message up.
            Kind::Sqlite => assert!(
                matches!(
                    outcomes[..],
                    [Outcome::Done, Outcome::Retry { .. }, Outcome::Retry { .. }]
                ),
                "{outcomes:?}"
            ),
        }
        let stored = world.number("SELECT COUNT(*) FROM messages").await?;
        let done = outcomes.iter().filter(|o| **o == Outcome::Done).count();
        assert_eq!(stored, i64::try_from(done)?);
        Ok(())
    })
}

pub fn what_belongs_to_another_organization_is_dead(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let sent = world
            .store
            .send_message(reply(conversation, "hello"))
            .await?;
        // The channel of one, the organization of another.
        let mut foreign = received("ada", "2");
        foreign.origin = origin("rival-bot", "ada");
        let foreign = envelope(foreign.message_id.into(), &foreign)?;
        // A status from a channel that never sent the message.
        let mut report = status("ada", sent.id, Status::Read);
        report.origin = origin("rival-bot", "ada");
        let mut report = envelope(EventId::generate(), &report)?;
        report.orgid = crate::support::rival();
        // A channel that nobody configured.
        let mut nowhere = received("ada", "3");
        nowhere.origin = origin("nowhere", "ada");
        let nowhere = envelope(nowhere.message_id.into(), &nowhere)?;

        let before = world.told().await?;
        let outcomes = world.hand(vec![foreign, report, nowhere]).await?;
        assert!(
            outcomes.iter().all(|o| matches!(o, Outcome::Dead { .. })),
            "{outcomes:?}"
        );
        assert_eq!(world.told().await?, before);
        let stored = world
            .store
            .message(&acme(), sent.id)
            .await?
            .context("message")?;
        assert_eq!(stored.status, Status::Queued);
        Ok(())
    })
}

pub fn what_cannot_be_read_is_dead(world: &World) -> Ran<'_> {
    Box::pin(async {
        let mut newer = message("ada", "1")?;
        newer.kind = MessageReceived::TYPE.replace(".v1", ".v2");
        let mut misfit = message("ada", "2")?;
        misfit.data = serde_json::json!({"origin": 5}).into();
        let endless = message(&"9".repeat(600), "3")?;
        let batch = vec![newer, message("ada", "4")?, misfit, endless];
        let outcomes = world.hand(batch).await?;
        let reasons: Vec<&str> = outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Dead { reason } => reason.as_str(),
                Outcome::Done
                | Outcome::Retry { .. }
                | Outcome::Defer { .. }
                | Outcome::Pause { .. } => "",
            })
            .collect();
        assert_eq!(
            reasons[0],
            "unknown event type or version message.received.v2"
        );
        assert_eq!(outcomes[1], Outcome::Done);
        assert!(reasons[2].starts_with("data of message.received.v1 does not fit"));
        assert!(reasons[3].starts_with("address"));
        Ok(())
    })
}

pub fn text_that_a_database_refuses_is_stored(world: &World) -> Ran<'_> {
    Box::pin(async {
        let text = "nul \0 escape \\u0000 emoji \u{1f98a} quote \" brace {} and 0.1000000000000000055511151231257827";
        let mut odd = received("ada", "a\0b");
        odd.content = Content::text(text);
        odd.contact.name = Some("Ad\0a".to_owned());
        odd.origin.raw = odd.origin.raw.map(|mut raw| {
            raw.body = "\0".to_owned();
            raw
        });
        let id: MessageId = odd.message_id;
        world.take_in(vec![envelope(id.into(), &odd)?]).await?;
        let stored = world.store.message(&acme(), id).await?.context("message")?;
        assert_eq!(stored.content, Content::text(text));
        let conversation = world.conversation_of("ada").await?.id;
        let sent = world.store.send_message(reply(conversation, text)).await?;
        let stored = world
            .store
            .message(&acme(), sent.id)
            .await?
            .context("message")?;
        assert_eq!(stored, sent);
        Ok(())
    })
}

pub fn a_database_that_is_away_uses_up_no_attempts(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.store.close().await;
        let outcomes = world
            .hand(vec![message("ada", "1")?, message("ada", "2")?])
            .await?;
        let all_wait = outcomes.iter().all(|o| matches!(o, Outcome::Pause { .. }));
        assert!(all_wait, "{outcomes:?}");
        Ok(())
    })
}

/// A missing migration is nobody's message's fault: everything waits for a person.
pub fn a_schema_that_is_behind_makes_nothing_dead(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.execute("DROP TABLE raw_payloads".to_owned()).await?;
        let outcomes = world.hand(vec![message("ada", "1")?]).await?;
        assert!(
            matches!(outcomes[..], [Outcome::Pause { .. }]),
            "{outcomes:?}"
        );
        Ok(())
    })
}
