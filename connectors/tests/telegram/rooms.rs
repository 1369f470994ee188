//! Groups, topics, channels and business accounts.

use tributary_bus::{
    Address,
    message::{Content, Inbound, JoinReason, LeaveReason, SentBy, Status},
};
use tributary_connectors::{Action, SendError};
use tributary_simulators::telegram::ChangeKind;

use crate::{
    direct::Direct,
    stage::{Stage, Way, words},
};

const OLENA: i64 = 5_550_001_111;
const OWNER: i64 = 5_559_990_000;
const GROUP: i64 = -4_000_111_222;
const SUPERGROUP: i64 = -1_002_000_333_444;

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_a_contact_where_it_is_wanted() {
    let stage = Stage::new("groups = 'on'").await;
    let worker = stage.worker(Way::Polling).await;
    let group = stage
        .telegram
        .first_bot()
        .supergroup(SUPERGROUP, "Team")
        .administered();
    group.adds_bot(OLENA);
    group.user(OLENA).says("Who is there?");
    let asked = stage.messages(1).await.remove(0);
    assert_eq!(words(&asked), "Who is there?");
    assert_eq!(asked.origin.address, Address(SUPERGROUP.to_string()));
    assert_eq!(asked.contact.name.as_deref(), Some("Team"));
    let sender = asked.context.sender.as_ref().expect("a sender");
    assert_eq!(sender.name.as_deref(), Some("Olena"));
    let address = asked.origin.address.as_str();
    let id = stage
        .answer(address, "We are", Some(&asked.provider_id))
        .await;
    assert_eq!(stage.status(id).await.status, Status::Sent);
    let seen = group.looks();
    let reply = seen.from_bot().next().expect("a reply");
    assert_eq!(reply.text, "We are");
    assert!(
        asked
            .provider_id
            .ends_with(&format!(":{}", reply.reply_to.expect("a reply")))
    );
    group.removes_bot(OLENA);
    let left = stage.left().await;
    assert_eq!(left.origin.address, asked.origin.address);
    assert_eq!(left.reason, LeaveReason::Blocked);
    let joined = stage.all(|event| match event {
        Inbound::Joined(joined) => Some(joined.reason),
        _ => None,
    });
    assert_eq!(joined, [JoinReason::Subscribed]);
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_stays_in_its_topic() {
    let stage = Stage::new("groups = 'on'").await;
    let worker = stage.worker(Way::Webhook).await;
    let room = stage.telegram.first_bot().supergroup(SUPERGROUP, "Team");
    let topic = room.administered().topic(15);
    topic.user(OLENA).says("Who packs 991?");
    let asked = stage.messages(1).await.remove(0);
    let address = format!("{SUPERGROUP}/15");
    assert_eq!(asked.origin.address.as_str(), address);
    let id = stage.answer(&address, "I do", None).await;
    assert_eq!(stage.status(id).await.status, Status::Sent);
    let sent = stage.telegram.sent().remove(0);
    assert_eq!(sent.parameters.integer("message_thread_id"), Some(15));
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_writer_to_a_channel_is_a_contact_who_gets_the_answer() {
    for setting in ["groups = 'on'", "channels = 'on'"] {
        let stage = Stage::new(setting).await;
        let worker = stage.worker(Way::Polling).await;
        let room = stage
            .telegram
            .first_bot()
            .direct_messages(SUPERGROUP, "News");
        room.writer(71, OLENA).says("Is it still there?");
        room.writer(72, OWNER).says("What does it cost?");
        let mut asked = stage.messages(2).await;
        asked.sort_by_key(words);
        let addresses = asked.iter().map(|message| message.origin.address.as_str());
        let expected = [71, 72].map(|topic| format!("direct/{SUPERGROUP}/{topic}"));
        assert!(addresses.eq(expected.iter()), "{expected:?}");
        let identifiers = asked.iter().map(|message| &message.contact.identifiers[0]);
        let persons = [OLENA, OWNER].map(|id| id.to_string());
        assert!(identifiers.map(|identifier| &identifier.value).eq(&persons));
        assert!(asked.iter().all(|message| message.context.sender.is_none()));
        let answered = Some(asked[0].provider_id.as_str());
        let id = stage.answer(&expected[0], "It is", answered).await;
        let status = stage.status(id).await;
        assert_eq!(status.status, Status::Sent, "{:?}", status.failure);
        let sent = stage.telegram.sent().remove(0);
        let topic = sent.parameters.integer("direct_messages_topic_id");
        assert_eq!(
            (topic, sent.parameters.get("message_thread_id")),
            (Some(71), None)
        );
        worker.stop().await;
        stage.is_settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_stays_in_its_topic_of_a_private_chat() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Polling).await;
    let olena = stage.telegram.user(OLENA);
    olena.says("Good morning");
    olena.clone().in_topic(7).says("About my order");
    let mut said = stage.messages(2).await;
    said.sort_by_key(words);
    let addresses = said.iter().map(|message| message.origin.address.as_str());
    let expected = [format!("{OLENA}/7"), OLENA.to_string()];
    assert!(addresses.eq(expected.iter()), "{expected:?}");
    let mut messages = vec![said[0].provider_id.clone()];
    for (address, thread) in [(&expected[0], Some(7)), (&expected[1], None)] {
        let id = stage.answer(address, "Yes?", None).await;
        let status = stage.status(id).await;
        assert_eq!(status.status, Status::Sent);
        messages.extend(status.provider_ids);
        let sent = stage.telegram.sent().pop().expect("sent");
        assert_eq!(sent.parameters.integer("message_thread_id"), thread);
    }
    // Telegram does not say in which topic a reaction is, nor of whose message.
    let number = |id: &String| {
        let (_, message) = id.rsplit_once(':').expect("an id");
        message.parse().expect("a number")
    };
    for id in &messages {
        olena.reacts(number(id), "👍");
    }
    let addresses = stage
        .until("the reactions", || {
            let reactions = stage.all(|event| match event {
                Inbound::Reacted(event) => {
                    Some((event.provider_id.clone(), event.origin.address.0.clone()))
                }
                _ => None,
            });
            (reactions.len() >= messages.len()).then_some(reactions)
        })
        .await;
    for (id, address) in messages
        .iter()
        .zip([&expected[0], &expected[0], &expected[1]])
    {
        assert!(
            addresses.contains(&(id.clone(), address.clone())),
            "{addresses:?}"
        );
    }
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_moves_stays_the_same_contact() {
    let stage = Stage::new("groups = 'on'").await;
    let worker = stage.worker(Way::Polling).await;
    let bot = stage.telegram.first_bot();
    let group = bot.group(GROUP, "Team").administered();
    group.user(OLENA).says("before");
    stage.messages(1).await;
    let supergroup = group.migrates(OLENA, SUPERGROUP).administered();
    supergroup.user(OLENA).says("after");
    let messages = stage.messages(4).await;
    let old = GROUP.to_string();
    assert!(
        messages
            .iter()
            .all(|message| message.origin.address.as_str() == old)
    );
    assert_eq!(words(&messages[3]), "after");
    worker.stop().await;
    // Another process, which has seen nothing of it: the way in and the way out know it all the same.
    let worker = stage.worker(Way::Webhook).await;
    supergroup.user(OLENA).says("much later");
    let later = stage.messages(5).await.remove(4);
    assert_eq!(later.origin.address.as_str(), old);
    let id = stage
        .answer(&old, "We are here", Some(&later.provider_id))
        .await;
    let status = stage.status(id).await;
    assert_eq!(status.status, Status::Sent);
    assert!(status.provider_ids[0].starts_with(&format!("{SUPERGROUP}:")));
    let refused = stage.telegram.calls_of("sendMessage");
    assert_eq!(refused.len(), 1, "the old id is not tried any more");
    let reply = refused[0].parameters.json("reply_parameters");
    assert!(
        reply.is_some(),
        "a message of the new group can be answered"
    );
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_channels_are_not_heard_by_default() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Polling).await;
    let bot = stage.telegram.first_bot();
    let group = bot.supergroup(SUPERGROUP, "Team").administered();
    group.adds_bot(OLENA);
    group.user(OLENA).says("Who is there?");
    let channel = bot
        .channel(-1_001_234_567_890, "News", "news_ex")
        .administered();
    channel.user(OLENA).says("Post");
    group.removes_bot(OLENA);
    // Updates are taken in order: what is told after all this, is told alone.
    stage.telegram.user(OLENA).says("In private");
    let said: Vec<String> = stage.messages(1).await.iter().map(words).collect();
    assert_eq!(said, ["In private"]);
    let about = stage.all(|event| match event {
        Inbound::Health(_) => None,
        event => Some(event.origin().address.clone()),
    });
    assert!(
        about
            .iter()
            .all(|address| *address == Address(OLENA.to_string())),
        "{about:?}"
    );
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_account_is_answered_for() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Polling).await;
    let business = stage.telegram.first_bot().business(OWNER);
    let customer = business.customer(OLENA);
    let asked = customer.says("Hi owner").message_id;
    let mut told = stage.messages(2).await;
    // The owner is another contact than the customer, in a lane of its own.
    told.sort_by_key(words);
    assert_eq!(words(&told[1]), "[business_connection]");
    told.swap(0, 1);
    let address = format!("business/{}/{OLENA}", business.id());
    assert_eq!(told[1].origin.address.as_str(), address);
    assert_eq!(told[1].sent_by, SentBy::Contact);
    let id = stage
        .answer(&address, "Hello from the bot", Some(&told[1].provider_id))
        .await;
    let status = stage.status(id).await;
    assert_eq!(status.status, Status::Sent);
    let sent = stage.telegram.sent().remove(0);
    assert_eq!(
        sent.parameters.get("business_connection_id"),
        Some(business.id())
    );
    let seen = customer.sees();
    let texts = seen.texts();
    assert_eq!(texts, ["Hi owner", "Hello from the bot"]);
    assert_eq!(seen.messages[1].reply_to, Some(asked));
    // What the owner writes is told, and is not the customer's.
    business.owner_to(OLENA).says("It is me now");
    let own = stage.messages(3).await.remove(2);
    assert_eq!(words(&own), "It is me now");
    assert_eq!(own.sent_by, SentBy::Account);
    assert_eq!(own.origin.address.as_str(), address);
    assert_eq!(own.contact.name.as_deref(), Some("Olena"));
    customer.edits(asked, "Hi owner!");
    business.deletes(OLENA, &[asked]);
    stage
        .until("the deletion", || {
            stage
                .all(|event| match event {
                    Inbound::Deleted(deleted) => Some(deleted.message_id),
                    _ => None,
                })
                .contains(&told[1].message_id)
                .then_some(())
        })
        .await;
    let edited = stage.all(|event| match event {
        Inbound::Edited(edited) => Some(edited.message_id),
        _ => None,
    });
    assert_eq!(edited, [told[1].message_id]);
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test]
async fn what_can_be_done_in_a_business_chat() {
    let direct = Direct::plain().await;
    let business = direct.telegram.first_bot().business(OWNER);
    let customer = business.customer(OLENA);
    let asked = customer.says("Hi owner").message_id;
    let to = format!("business/{}/{OLENA}", business.id());
    let provider_id = format!("{}:{OLENA}:{asked}", business.id());
    let read = Action::Read {
        provider_id: provider_id.clone(),
    };
    direct.act(&to, read).await.expect("read");
    let read = direct.telegram.changes_of(ChangeKind::Read);
    assert_eq!((read[0].chat_id, read[0].message_id), (OLENA, asked));
    direct.act(&to, Action::Typing).await.expect("typing");
    let id = direct.sent(&to, Content::text("Hello")).await;
    direct
        .edit(&to, &id, Content::text("Hello!"))
        .await
        .expect("edited");
    assert_eq!(customer.sees().texts(), ["Hi owner", "Hello!"]);
    direct.delete(&to, &[id]).await.expect("taken back");
    assert_eq!(customer.sees().texts(), ["Hi owner"]);
    let react = Action::React {
        provider_id,
        reactions: vec!["👍".to_owned()],
    };
    let refused = direct.act(&to, react).await;
    assert!(
        matches!(refused, Err(SendError::Rejected { .. })),
        "{refused:?}"
    );
    direct.keeps_the_token(&[]);
}
