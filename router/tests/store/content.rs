//! The content model in the tables: what surrounds messages, what is on them, how they change.

use std::pin::Pin;

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use serde_json::Map;
use tributary_bus::{
    EventId, MessageId,
    message::{
        Attribution, Author, ChannelHealth, Choice, ChoiceReply, Choices, ContactJoined,
        ContactRead, Content, Degradation, DegradationCode, Direction, HealthState, Identifier,
        JoinReason, Media, MediaContent, MediaState, MessageContext, MessageDeleted, MessageEdited,
        MessageMedia, MessageReacted, MessageView, Profile, SentBy, Status,
    },
};
use tributary_router::store::{Order, Retention};

use crate::{
    receiving::reply,
    support::{World, acme, envelope, message, origin, received, status},
};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

async fn stored(world: &World, id: MessageId) -> Result<MessageView> {
    let view = world.store.message(&acme(), id).await?;
    view.with_context(|| format!("message {id} is stored"))
}

fn named(provider_id: &str) -> MessageId {
    MessageId::derived(&"shop".into(), provider_id)
}

/// Sends a message to a contact and reports it as sent, with these provider's ids.
async fn sent(world: &World, address: &str, content: Content, ids: &[&str]) -> Result<MessageView> {
    let conversation = world.conversation_of(address).await?.id;
    let mut new = reply(conversation, "");
    new.content = content;
    let sent = world.store.send_message(new).await?;
    let mut report = status(address, sent.id, Status::Sent);
    report.provider_ids = ids.iter().map(ToString::to_string).collect();
    if matches!(sent.content, Content::Choices(_)) {
        report.degraded = vec![Degradation {
            code: DegradationCode::ChoicesNumbered,
            detail: "2 choices".to_owned(),
        }];
    }
    world
        .take_in(vec![envelope(EventId::generate(), &report)?])
        .await?;
    Ok(sent)
}

pub fn everything_about_a_message_reads_back(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let ours = sent(world, "ada", Content::text("hello"), &["51", "52"]).await?;
        let mut answer = received("ada", "2");
        answer.reply_to = Some("52".to_owned());
        answer.context = MessageContext {
            quote: Some("hel\u{0}lo".to_owned()),
            sender: Some(Profile {
                name: Some("Eve".to_owned()),
                ..Profile::default()
            }),
            ..MessageContext::default()
        };
        // And one that answers a message of hers, in the same batch.
        let mut own = received("ada", "3");
        own.reply_to = Some("2".to_owned());
        let mut elsewhere = received("ada", "4");
        elsewhere.reply_to = Some("nowhere".to_owned());
        let mut account = received("ada", "5");
        account.sent_by = SentBy::Account;
        let batch = [&answer, &own, &elsewhere, &account].map(|m| envelope(m.message_id.into(), m));
        world
            .take_in(batch.into_iter().collect::<Result<_>>()?)
            .await?;

        let view = stored(world, answer.message_id).await?;
        assert_eq!(view.reply_to, Some(ours.id));
        assert_eq!(view.context, answer.context);
        let view = stored(world, own.message_id).await?;
        assert_eq!(view.reply_to, Some(answer.message_id));
        assert_eq!(stored(world, elsewhere.message_id).await?.reply_to, None);
        let view = stored(world, account.message_id).await?;
        assert_eq!(
            (view.direction, view.author, view.status),
            (Direction::Outbound, Author::Account, Status::Sent)
        );
        // A reply of ours names the provider's id, and ours.
        let mut new = reply(view.conversation_id, "that");
        new.reply_to = Some(ours.id);
        let ours_again = world.store.send_message(new).await?;
        assert_eq!(ours_again.reply_to, Some(ours.id));
        let delivery = world.outbox().await?;
        let delivery = delivery.iter().rev().find(|e| e.kind == "delivery.send.v1");
        assert_eq!(
            delivery.context("a delivery")?.data.to_value()["reply_to"],
            "51"
        );
        let parts = world.number("SELECT COUNT(*) FROM provider_ids").await?;
        assert_eq!(parts, 2);
        let listed = world
            .store
            .messages(&acme(), view.conversation_id, Order::OldestFirst, None, 50)
            .await?;
        assert_eq!(listed.len(), 7);
        Ok(())
    })
}

pub fn what_happens_to_a_message_is_kept(world: &World) -> Ran<'_> {
    Box::pin(async {
        let mut picture = received("ada", "1");
        picture.content = Content::Image(MediaContent {
            media: Media {
                state: MediaState::Pending,
                source: Some("file-1".to_owned()),
                ..Media::default()
            },
            ..MediaContent::default()
        });
        let id = picture.message_id;
        world.take_in(vec![envelope(id.into(), &picture)?]).await?;
        let ready = MessageMedia {
            origin: origin("shop", "ada"),
            message_id: id,
            index: 0,
            media: Media {
                media_id: Some(tributary_bus::message::MediaId("ab".repeat(32))),
                source: Some("file-1".to_owned()),
                size: Some(10),
                ..Media::default()
            },
            extra: Map::new(),
        };
        let ours = sent(world, "ada", Content::text("hello"), &["51"]).await?;
        let reaction = |provider_id: &str, id: &str| {
            let reacted = MessageReacted {
                origin: origin("shop", "ada"),
                provider_id: provider_id.to_owned(),
                reactions: vec!["👍".to_owned()],
                extra: Map::new(),
            };
            envelope(EventId::derived(&[id]), &reacted)
        };
        let batch = vec![
            envelope(EventId::generate(), &ready)?,
            reaction("51", "r1")?,
            reaction("1", "r2")?,
            reaction("99", "r3")?,
        ];
        world.take_in(batch).await?;
        let view = stored(world, id).await?;
        assert_eq!(view.content.media()[0], &ready.media);
        assert_eq!(view.reactions, ["👍"]);
        assert_eq!(stored(world, ours.id).await?.reactions, ["👍"]);

        let deleted = MessageDeleted {
            origin: origin("shop", "ada"),
            message_id: id,
            extra: Map::new(),
        };
        let deleted = envelope(EventId::derived(&["d"]), &deleted)?;
        world.take_in(vec![deleted]).await?;
        let view = stored(world, id).await?;
        assert_eq!(view.content, Content::unsupported("deleted"));
        ensure!(view.deleted_at.is_some());
        let kept = "SELECT COUNT(*) FROM messages WHERE deleted_at IS NOT NULL AND content LIKE '%file-1%'";
        assert_eq!(world.number(kept).await?, 1);
        let told = world.told().await?;
        let kinds: Vec<&str> = told
            .iter()
            .filter_map(|t| t.split_once(' ').map(|(_, kind)| kind))
            .collect();
        assert_eq!(
            kinds[kinds.len() - 4..],
            [
                "message.updated",
                "message.reactions_changed",
                "message.reactions_changed",
                "message.deleted"
            ]
        );
        Ok(())
    })
}

pub fn changes_wait_for_their_message_across_batches(world: &World) -> Ran<'_> {
    Box::pin(async {
        let edited = |id: MessageId, text: &str| {
            let edited = MessageEdited {
                origin: origin("shop", "ada"),
                message_id: id,
                content: Content::text(text),
                extra: Map::new(),
            };
            envelope(EventId::derived(&[text]), &edited)
        };
        world
            .take_in(vec![edited(named("1"), "first")?, edited(named("2"), "x")?])
            .await?;
        world.take_in(vec![edited(named("1"), "second")?]).await?;
        // The same again, from a lane that was redelivered.
        world.take_in(vec![edited(named("1"), "first")?]).await?;
        ensure!(world.told().await?.is_empty());
        let waiting = "SELECT COUNT(*) FROM early_changes";
        assert_eq!(world.number(waiting).await?, 2);
        world.take_in(vec![message("ada", "1")?]).await?;
        let view = stored(world, named("1")).await?;
        assert_eq!(view.content, Content::text("second"));
        ensure!(view.edited_at.is_some());
        assert_eq!(world.number(waiting).await?, 1);
        assert_eq!(
            world.told().await?,
            [
                "1 contact.created",
                "2 conversation.created",
                "3 message.created"
            ]
        );
        // What nobody comes for is given up in the end.
        let week = std::time::Duration::from_secs(7 * 24 * 3600);
        let retention = Retention {
            raw: week * 9,
            events: week * 9,
            seen: week,
            idempotency: week,
        };
        let soon = Utc::now() + TimeDelta::days(6);
        world.store.tidy(&retention, soon).await?;
        assert_eq!(world.number(waiting).await?, 1);
        let later = Utc::now() + TimeDelta::days(8);
        world.store.tidy(&retention, later).await?;
        assert_eq!(world.number(waiting).await?, 0);
        Ok(())
    })
}

pub fn reading_reads_what_was_sent(world: &World) -> Ran<'_> {
    Box::pin(async {
        let batch = vec![message("ada", "1")?, message("bob", "2")?];
        world.take_in(batch).await?;
        let mut ours = Vec::new();
        for n in 0..3 {
            let id = n.to_string();
            ours.push(sent(world, "ada", Content::text("hello"), &[&id]).await?);
        }
        let to_bob = sent(world, "bob", Content::text("hello"), &["b"]).await?;
        let unsent = world
            .store
            .send_message(reply(ours[0].conversation_id, "later"))
            .await?;
        let read = |up_to| {
            let read = ContactRead {
                origin: origin("shop", "ada"),
                up_to,
                extra: Map::new(),
            };
            envelope(EventId::generate(), &read)
        };
        world.take_in(vec![read(ours[1].created_at)?]).await?;
        let mut statuses = Vec::new();
        for id in ours.iter().chain([&to_bob, &unsent]).map(|m| m.id) {
            statuses.push(stored(world, id).await?.status);
        }
        use Status::{Queued, Read, Sent};
        assert_eq!(statuses, [Read, Read, Sent, Sent, Queued]);
        let before = world.told().await?.len();
        world.take_in(vec![read(ours[1].created_at)?]).await?;
        assert_eq!(world.told().await?.len(), before);
        world.take_in(vec![read(Utc::now())?]).await?;
        assert_eq!(world.told().await?.len(), before + 1);
        Ok(())
    })
}

pub fn a_typed_answer_is_a_choice(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let question = Content::Choices(Choices {
            text: "Which?".into(),
            options: vec![Choice::reply("t", "Tea"), Choice::reply("c", "Coffee")],
            ..Choices::default()
        });
        let asked = sent(world, "ada", question, &["51"]).await?;
        let typed = |id: &str, text: &str| {
            let mut typed = received("ada", id);
            typed.content = Content::text(text);
            envelope(typed.message_id.into(), &typed)
        };
        world.take_in(vec![typed("2", "hm")?]).await?;
        world.take_in(vec![typed("3", "coffee")?]).await?;
        world.take_in(vec![typed("4", "1")?]).await?;
        assert_eq!(
            stored(world, named("2")).await?.content,
            Content::text("hm")
        );
        let answer = stored(world, named("3")).await?;
        let Content::ChoiceReply(reply) = &answer.content else {
            anyhow::bail!("{:?}", answer.content);
        };
        assert_eq!(
            (reply.id.as_str(), &reply.extra["typed"]),
            ("c", &"coffee".into())
        );
        assert_eq!(answer.reply_to, Some(asked.id));
        assert_eq!(stored(world, named("4")).await?.content, Content::text("1"));
        Ok(())
    })
}

pub fn a_choice_by_its_id_alone_gets_its_title(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let question = Content::Choices(Choices {
            text: "Which?".into(),
            options: vec![Choice::reply("t", "Tea"), Choice::reply("c", "Coffee")],
            ..Choices::default()
        });
        let asked = sent(world, "ada", question, &["51"]).await?;
        let mut pressed = received("ada", "2");
        pressed.reply_to = Some("51".to_owned());
        pressed.content = Content::ChoiceReply(ChoiceReply {
            id: "c".to_owned(),
            title: None,
            extra: Map::new(),
        });
        let press = envelope(pressed.message_id.into(), &pressed)?;
        world.take_in(vec![press]).await?;
        let answer = stored(world, named("2")).await?;
        let Content::ChoiceReply(reply) = &answer.content else {
            anyhow::bail!("{:?}", answer.content);
        };
        assert_eq!(reply.title.as_deref(), Some("Coffee"));
        assert_eq!(answer.reply_to, Some(asked.id));
        Ok(())
    })
}

pub fn a_contact_is_kept_whole(world: &World) -> Ran<'_> {
    Box::pin(async {
        let ad = |id: &str| Attribution {
            ad_id: Some(id.to_owned()),
            ..Attribution::default()
        };
        let joined = |id: &str, profile: Profile| {
            let joined = ContactJoined {
                origin: origin("shop", "ada"),
                contact: profile,
                reason: JoinReason::Started,
                payload: Some("spring".to_owned()),
                attribution: ad(id),
                extra: Map::new(),
            };
            envelope(EventId::derived(&["joined", id]), &joined)
        };
        let profile = Profile {
            username: Some("ada".to_owned()),
            avatar: Some(Media {
                url: Some("https://cdn.example/ada.png".to_owned()),
                ..Media::default()
            }),
            identifiers: vec![Identifier {
                kind: "phone".to_owned(),
                value: "+380501112233".to_owned(),
                scope: None,
                verified: true,
            }],
            ..Profile::default()
        };
        world.take_in(vec![joined("a", profile.clone())?]).await?;
        world
            .take_in(vec![joined("b", Profile::default())?])
            .await?;
        world.take_in(vec![message("ada", "1")?]).await?;
        let id = world.conversation_of("ada").await?.contact_id;
        let contact = world.store.contact(&acme(), id).await?;
        let contact = contact.context("the contact is stored")?;
        assert_eq!(contact.username, profile.username);
        assert_eq!(contact.avatar, profile.avatar);
        assert_eq!(contact.identifiers, profile.identifiers);
        let first = contact.first_touch.context("a first touch")?.attribution;
        assert_eq!(first.ad_id.as_deref(), Some("a"));
        assert_eq!(first.payload.as_deref(), Some("spring"));
        let last = contact.last_touch.context("a last touch")?.attribution;
        assert_eq!(last.ad_id.as_deref(), Some("b"));
        Ok(())
    })
}

pub fn channels_say_how_they_are(world: &World) -> Ran<'_> {
    Box::pin(async {
        let shop = "shop".into();
        let before = world.store.channel(&acme(), &shop).await?;
        ensure!(before.context("shop")?.health_state.is_none());
        let now = Utc::now();
        let report = |state, minutes: i64| {
            let mut origin = origin("shop", "");
            origin.occurred_at = now - TimeDelta::minutes(minutes);
            let health = ChannelHealth {
                origin,
                state,
                reason: "token\u{0} rejected".to_owned(),
                action: Some("renew it".to_owned()),
                reason_since: None,
                extra: Map::new(),
            };
            envelope(EventId::derived(&[&minutes.to_string()]), &health)
        };
        world
            .take_in(vec![report(HealthState::Misconfigured, 5)?])
            .await?;
        world.take_in(vec![report(HealthState::Ok, 9)?]).await?;
        let shop_now = world.store.channel(&acme(), &shop).await?.context("shop")?;
        assert_eq!(shop_now.health_state.as_deref(), Some("misconfigured"));
        assert_eq!(shop_now.health_action.as_deref(), Some("renew it"));
        world.take_in(vec![report(HealthState::Ok, 1)?]).await?;
        let shop_now = world.store.channel(&acme(), &shop).await?.context("shop")?;
        assert_eq!(shop_now.health_state.as_deref(), Some("ok"));
        assert_eq!(
            world.told().await?,
            ["- channel.health_changed", "- channel.health_changed"]
        );
        Ok(())
    })
}
