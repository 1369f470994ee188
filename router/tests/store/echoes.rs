//! What reaches the lane in another order than it happened: echoes, answers, reactions and reading
//! before the status.

use std::pin::Pin;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::Map;
use tributary_bus::{
    ConversationId, Envelope, EventId, MessageId,
    message::{
        Choice, ChoiceStyle, Choices, ContactRead, Content, DeliveryReact, MessageEdited,
        MessageReacted, MessageView, SentBy, Status,
    },
};
use tributary_router::store::{MessageEdit, Order};

use crate::{
    receiving::reply,
    support::{World, acme, envelope, message, origin, received, status},
};

type Ran<'w> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

/// Orders that are tried, with a new contact each.
const ORDERS: usize = 60;

fn named(provider_id: &str) -> MessageId {
    MessageId::derived(&"shop".into(), provider_id)
}

async fn stored(world: &World, id: MessageId) -> Result<MessageView> {
    let view = world.store.message(&acme(), id).await?;
    view.with_context(|| format!("message {id} is stored"))
}

async fn all(world: &World, conversation: ConversationId) -> Result<Vec<MessageView>> {
    let store = &world.store;
    let order = Order::OldestFirst;
    Ok(store
        .messages(&acme(), conversation, order, None, 100)
        .await?)
}

fn sent(address: &str, id: MessageId, provider_id: &str) -> Result<Envelope> {
    let mut report = status(address, id, Status::Sent);
    report.provider_ids = vec![provider_id.to_owned()];
    envelope(EventId::derived(&["sent", &id.to_string()]), &report)
}

fn echo(address: &str, provider_id: &str) -> Result<Envelope> {
    let mut echo = received(address, provider_id);
    echo.sent_by = SentBy::Account;
    envelope(echo.message_id.into(), &echo)
}

fn reaction(address: &str, provider_id: &str, reactions: &[&str]) -> Result<Envelope> {
    let reacted = MessageReacted {
        origin: origin("shop", address),
        provider_id: provider_id.to_owned(),
        reactions: reactions.iter().map(ToString::to_string).collect(),
        extra: Map::new(),
    };
    envelope(EventId::generate(), &reacted)
}

fn edit(address: &str, provider_id: &str, text: &str) -> Result<Envelope> {
    let edited = MessageEdited {
        origin: origin("shop", address),
        message_id: named(provider_id),
        content: Content::text(text),
        extra: Map::new(),
    };
    envelope(EventId::generate(), &edited)
}

fn answer(address: &str, provider_id: &str, to: &str) -> Result<Envelope> {
    let mut answer = received(address, provider_id);
    answer.reply_to = Some(to.to_owned());
    envelope(answer.message_id.into(), &answer)
}

fn read(address: &str) -> Result<Envelope> {
    let read = ContactRead {
        origin: origin("shop", address),
        up_to: Utc::now(),
        extra: Map::new(),
    };
    envelope(EventId::generate(), &read)
}

pub fn our_reactions_and_theirs_are_apart(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let ours = world.store.send_message(reply(conversation, "one")).await?;
        world.take_in(vec![sent("ada", ours.id, "51")?]).await?;
        let heart = || MessageEdit::Reactions(vec!["❤".to_owned()]);
        for (id, provider_id) in [(ours.id, "51"), (named("1"), "1")] {
            world
                .take_in(vec![reaction("ada", provider_id, &["❤"])?])
                .await?;
            let before = world.outbox().await?.len();
            // The same as the contact's: it is sent all the same.
            let view = world.store.change_message(&acme(), id, heart()).await?;
            assert_eq!(
                (view.reactions, view.our_reactions),
                (vec!["❤".to_owned()], vec!["❤".to_owned()])
            );
            let outbox = world.outbox().await?;
            let react: DeliveryReact = outbox[before].payload()?;
            assert_eq!(react.reactions, ["❤"]);
            // Each takes back its own.
            world
                .take_in(vec![reaction("ada", provider_id, &[])?])
                .await?;
            let view = stored(world, id).await?;
            assert_eq!(
                (view.reactions, view.our_reactions),
                (vec![], vec!["❤".to_owned()])
            );
            world
                .take_in(vec![reaction("ada", provider_id, &["👍"])?])
                .await?;
            let none = MessageEdit::Reactions(Vec::new());
            let view = world.store.change_message(&acme(), id, none).await?;
            assert_eq!(
                (view.reactions, view.our_reactions),
                (vec!["👍".to_owned()], vec![])
            );
        }
        Ok(())
    })
}

pub fn an_echo_before_its_status_is_merged(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let ours = world.store.send_message(reply(conversation, "one")).await?;
        world.take_in(vec![echo("ada", "51")?]).await?;
        assert_eq!(all(world, conversation).await?.len(), 3);
        // What is said to the echo meanwhile, by the contact and by us.
        world.take_in(vec![answer("ada", "2", "51")?]).await?;
        let mut new = reply(conversation, "two");
        new.reply_to = Some(named("51"));
        let second = world.store.send_message(new).await?;
        world.take_in(vec![sent("ada", ours.id, "51")?]).await?;
        let left = all(world, conversation).await?;
        let ids: Vec<MessageId> = left.iter().map(|view| view.id).collect();
        assert_eq!(ids, [named("1"), ours.id, named("2"), second.id]);
        for view in &left[2..] {
            assert_eq!(view.reply_to, Some(ours.id));
        }
        let told = world.told().await?;
        let kinds: Vec<&str> = told[told.len() - 4..]
            .iter()
            .filter_map(|told| told.split_once(' ').map(|(_, kind)| kind))
            .collect();
        assert_eq!(
            kinds,
            [
                "message.status_changed",
                "message.merged",
                "message.updated",
                "message.updated"
            ]
        );
        // The echo again, a later edit of it, and requests that know its id: all of it is ours.
        world
            .take_in(vec![echo("ada", "51")?, edit("ada", "51", "better")?])
            .await?;
        assert_eq!(all(world, conversation).await?.len(), 4);
        let view = stored(world, named("51")).await?;
        assert_eq!((view.id, view.content), (ours.id, Content::text("better")));
        let heart = MessageEdit::Reactions(vec!["❤".to_owned()]);
        let view = world
            .store
            .change_message(&acme(), named("51"), heart)
            .await?;
        assert_eq!(view.id, ours.id);
        Ok(())
    })
}

pub fn what_came_before_the_status_is_taken_up(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let ours = world.store.send_message(reply(conversation, "one")).await?;
        world.take_in(vec![reaction("ada", "51", &["👍"])?]).await?;
        world.take_in(vec![edit("ada", "51", "better")?]).await?;
        let before = world.told().await?.len();
        world.take_in(vec![sent("ada", ours.id, "51")?]).await?;
        let view = stored(world, ours.id).await?;
        assert_eq!(view.reactions, ["👍"]);
        assert_eq!(view.content, Content::text("better"));
        assert_eq!(
            world.told().await?[before..],
            [
                "5 message.status_changed",
                "6 message.edited",
                "7 message.reactions_changed"
            ]
        );
        // And for a message of the contact.
        world.take_in(vec![reaction("ada", "2", &["😮"])?]).await?;
        world.take_in(vec![message("ada", "2")?]).await?;
        assert_eq!(stored(world, named("2")).await?.reactions, ["😮"]);
        let waiting = "SELECT COUNT(*) FROM early_changes";
        assert_eq!(world.number(waiting).await?, 0);
        Ok(())
    })
}

pub fn a_reading_is_kept_for_what_is_sent_later(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let ours = world.store.send_message(reply(conversation, "one")).await?;
        world.take_in(vec![read("ada")?]).await?;
        assert_eq!(stored(world, ours.id).await?.status, Status::Queued);
        world.take_in(vec![sent("ada", ours.id, "51")?]).await?;
        assert_eq!(stored(world, ours.id).await?.status, Status::Read);
        // One that was sent long after is another matter.
        let later = world.store.send_message(reply(conversation, "two")).await?;
        let mut report = status("ada", later.id, Status::Sent);
        report.origin.occurred_at = Utc::now();
        world
            .execute("UPDATE conversations SET read_up_to = created_at".to_owned())
            .await?;
        world
            .take_in(vec![envelope(EventId::generate(), &report)?])
            .await?;
        assert_eq!(stored(world, later.id).await?.status, Status::Sent);
        Ok(())
    })
}

pub fn an_older_question_does_not_displace_a_later_one(world: &World) -> Ran<'_> {
    Box::pin(async {
        world.take_in(vec![message("ada", "1")?]).await?;
        let conversation = world.conversation_of("ada").await?.id;
        let mut asked = Vec::new();
        for drink in ["Tea", "Coffee"] {
            let mut new = reply(conversation, "");
            new.content = Content::Choices(Choices {
                text: "This one?".into(),
                options: vec![Choice::reply(drink.to_lowercase(), drink)],
                style: ChoiceStyle::QuickReplies,
                ..Choices::default()
            });
            asked.push(world.store.send_message(new).await?.id);
        }
        // The later one is sent first; nothing was degraded, and each status comes alone.
        world.take_in(vec![sent("ada", asked[1], "52")?]).await?;
        world.take_in(vec![sent("ada", asked[0], "51")?]).await?;
        let mut typed = received("ada", "2");
        typed.content = Content::text("Coffee");
        let typed = envelope(typed.message_id.into(), &typed)?;
        world.take_in(vec![typed]).await?;
        assert_eq!(stored(world, named("2")).await?.reply_to, Some(asked[1]));
        Ok(())
    })
}

/// Everything that can happen to a message of ours, in many orders, each step in a transaction of
/// its own.
pub fn every_order_ends_alike(world: &World) -> Ran<'_> {
    Box::pin(async {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let steps = Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle();
        for n in 0..ORDERS {
            let order = steps.new_tree(&mut runner).map_err(anyhow::Error::msg)?;
            let order = order.current();
            one_order(world, &format!("contact-{n}"), &order)
                .await
                .with_context(|| format!("order {order:?}"))?;
        }
        let left = "SELECT COUNT(*) FROM early_changes";
        assert_eq!(world.number(left).await?, 0);
        Ok(())
    })
}

async fn one_order(world: &World, address: &str, order: &[usize]) -> Result<()> {
    let (first, id) = (format!("{address}-1"), format!("{address}-51"));
    world.take_in(vec![message(address, &first)?]).await?;
    let conversation = world.conversation_of(address).await?.id;
    let ours = world.store.send_message(reply(conversation, "one")).await?;
    let report = |status_is| envelope(EventId::generate(), &status(address, ours.id, status_is));
    for step in order {
        let step = match step {
            0 => sent(address, ours.id, &id)?,
            1 => report(Status::Delivered)?,
            2 => report(Status::Read)?,
            3 => echo(address, &id)?,
            4 => read(address)?,
            5 => edit(address, &id, "better")?,
            6 => reaction(address, &id, &["👍"])?,
            _ => answer(address, &format!("{address}-2"), &id)?,
        };
        world.take_in(vec![step]).await?;
    }
    let heart = MessageEdit::Reactions(vec!["👍".to_owned()]);
    world.store.change_message(&acme(), ours.id, heart).await?;
    let all = all(world, conversation).await?;
    ensure!(all.len() == 3, "{} messages", all.len());
    let view = stored(world, ours.id).await?;
    ensure!(view.status == Status::Read, "{:?}", view.status);
    ensure!(view.content == Content::text("better"), "the content");
    ensure!(
        view.reactions == ["👍"] && view.our_reactions == ["👍"],
        "the reactions"
    );
    let answer = stored(world, named(&format!("{address}-2"))).await?;
    ensure!(answer.reply_to == Some(ours.id), "the answer");
    Ok(())
}
