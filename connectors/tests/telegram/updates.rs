//! The way in: polling and webhook.

use serde_json::json;
use tributary_bus::message::{Inbound, JoinReason, LeaveReason};
use tributary_simulators::{
    script::Times,
    telegram::{CallAction, CallMatch, DeliveryAction, DeliveryMatch, Misbehave},
};

use crate::{
    stage::{Stage, Way, words},
    support::PATIENCE,
};

const OLENA: i64 = 5_550_001_111;

async fn everything_comes_in(way: Way) {
    let stage = Stage::new("").await;
    let worker = stage.worker(way).await;
    let olena = stage.telegram.user(OLENA);
    olena.starts(Some("order_991"));
    olena.says("Where is my order?");
    olena.sends_sticker();
    olena.sends_photo(Some("Broken screen"));
    olena.sends(json!({"hologram": {"shape": "cube"}}));
    let messages = stage.messages(5).await;
    let said: Vec<String> = messages.iter().map(words).collect();
    assert_eq!(
        said,
        [
            "/start order_991",
            "Where is my order?",
            "(sticker)",
            "(image)",
            "[hologram]"
        ],
        "in the order in which they were written"
    );
    let contact = &messages[1].contact;
    assert_eq!(contact.name.as_deref(), Some("Olena"));
    assert_eq!(contact.locale.as_deref(), Some("uk"));
    assert!(messages.iter().all(|message| message.origin.raw.is_some()));
    let joined = stage.all(|event| match event {
        Inbound::Joined(joined) => Some(*joined.clone()),
        _ => None,
    });
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].payload.as_deref(), Some("order_991"));
    assert_eq!(joined[0].reason, JoinReason::Started);
    stage
        .telegram
        .wait_until_drained(PATIENCE)
        .await
        .expect("everything is confirmed");
    olena.blocks();
    assert_eq!(stage.left().await.reason, LeaveReason::Blocked);
    olena.unblocks();
    stage
        .until("unblocked", || {
            stage
                .all(|event| match event {
                    Inbound::Joined(joined) => Some(joined.reason),
                    _ => None,
                })
                .contains(&JoinReason::Unblocked)
                .then_some(())
        })
        .await;
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_in_by_polling() {
    everything_comes_in(Way::Polling).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_in_by_webhook() {
    everything_comes_in(Way::Webhook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pressed_button_stops_spinning() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Polling).await;
    let olena = stage.telegram.user(OLENA);
    olena.says("hello");
    stage.messages(1).await;
    let id = stage.reply(OLENA, "Yes or no?").await;
    let status = stage.status(id).await;
    let (_, message) = status.provider_ids[0].split_once(':').expect("an id");
    olena.presses(message.parse().expect("a number"), "yes");
    let messages = stage.messages(2).await;
    assert_eq!(words(&messages[1]), "chose yes");
    assert_eq!(messages[1].reply_to.as_ref(), status.provider_ids.first());
    stage
        .telegram
        .wait_until(PATIENCE, |records| {
            records.counters.calls_of("answerCallbackQuery") == 1
        })
        .await
        .expect("the button is answered");
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_updates_have_the_same_ids() {
    let stage = Stage::new("").await;
    stage.telegram.misbehave(Misbehave::on(
        CallMatch::method("getUpdates"),
        Times::Count(30),
        CallAction::RepeatUpdates(3),
    ));
    let worker = stage.worker(Way::Polling).await;
    let olena = stage.telegram.user(OLENA);
    for number in 0..6 {
        olena.says(&format!("message {number}"));
        stage
            .until("the message", || {
                let text = format!("message {number}");
                stage
                    .all(|event| match event {
                        Inbound::Received(message) => Some(words(message)),
                        _ => None,
                    })
                    .contains(&text)
                    .then_some(())
            })
            .await;
    }
    let mut ids: Vec<_> = stage
        .router
        .events()
        .iter()
        .filter(|(_, event)| matches!(event, Inbound::Received(_)))
        .map(|(envelope, _)| envelope.id)
        .collect();
    assert!(ids.len() > 6, "something was repeated");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_the_right_secret_is_refused_and_comes_again() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Webhook).await;
    let twice = |action| Misbehave::delivering(DeliveryMatch::any(), Times::Count(2), action);
    stage
        .telegram
        .misbehave(twice(DeliveryAction::WrongSecret).and(twice(DeliveryAction::NoSecret)));
    stage.telegram.user(OLENA).says("hello");
    assert_eq!(words(&stage.messages(1).await[0]), "hello");
    stage
        .telegram
        .wait_until_drained(PATIENCE)
        .await
        .expect("accepted in the end");
    let outcomes: Vec<_> = stage
        .telegram
        .deliveries()
        .iter()
        .map(|delivery| delivery.outcome.clone())
        .collect();
    assert_eq!(outcomes, [Ok(401), Ok(401), Ok(401), Ok(401), Ok(200)]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_and_webhook_follow_each_other_without_loss() {
    let stage = Stage::new("").await;
    let olena = stage.telegram.user(OLENA);
    let mut count = 0;
    for way in [Way::Polling, Way::Webhook, Way::Webhook, Way::Polling] {
        olena.says(&format!("before {count}"));
        let worker = stage.worker(way).await;
        olena.says(&format!("during {count}"));
        count += 2;
        stage.messages(count).await;
        stage
            .telegram
            .wait_until_drained(PATIENCE)
            .await
            .expect("everything is confirmed");
        worker.stop().await;
    }
    let mut said: Vec<String> = stage.messages(count).await.iter().map(words).collect();
    // An update whose confirm was lost at a stop comes again, with the same id.
    said.dedup();
    let expected: Vec<String> = (0..count)
        .step_by(2)
        .flat_map(|number| [format!("before {number}"), format!("during {number}")])
        .collect();
    assert_eq!(said, expected);
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_poller_is_outlived() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Polling).await;
    stage
        .telegram
        .wait_until(PATIENCE, |records| records.counters.polls_waiting == 1)
        .await
        .expect("it polls");
    let url = format!(
        "{}/bot{}/getUpdates",
        stage.telegram.base_url(),
        stage.telegram.token()
    );
    let other = reqwest::Client::new()
        .post(url)
        .json(&json!({"timeout": 1}))
        .send()
        .await
        .expect("an answer");
    assert!(other.status() == 200 || other.status() == 409, "{other:?}");
    stage.telegram.user(OLENA).says("still there?");
    assert_eq!(words(&stage.messages(1).await[0]), "still there?");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_calls_a_person() {
    let stage = Stage::new("").await;
    stage.telegram.first_bot().revoke();
    let worker = stage.worker(Way::Polling).await;
    let health = stage.health("misconfigured").await;
    assert!(health.reason.contains("check token"), "{}", health.reason);
    assert!(!health.reason.contains(stage.telegram.token()));
    worker.stop().await;
}
