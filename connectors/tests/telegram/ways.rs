//! How the ways in fare, several bots at once, and changes that come over the lane.

use reqwest::StatusCode;
use serde_json::Map;
use tributary_bus::{
    Address, ChannelId, ConversationId, MessageId,
    message::{Content, DeliveryDelete, DeliveryEdit, DeliveryReact, DeliveryTyping, Inbound},
};
use tributary_simulators::{
    script::Times,
    telegram::{
        BotProfile, CallAction, CallMatch, ChangeKind, DeliveryAction, DeliveryMatch, Misbehave,
        When,
    },
};

use crate::{
    stage::{Stage, Way, words},
    support::{PATIENCE, delivery},
};

const OLENA: i64 = 5_550_001_111;
const TO: &str = "5550001111";

#[tokio::test(flavor = "multi_thread")]
async fn what_telegram_tells_of_the_webhook_becomes_health() {
    let stage = Stage::new("webhook_check = '20ms'").await;
    let worker = stage.worker(Way::Webhook).await;
    stage.telegram.misbehave(Misbehave::delivering(
        DeliveryMatch::any(),
        Times::Always,
        DeliveryAction::WrongSecret,
    ));
    stage.telegram.user(OLENA).says("hello");
    let health = stage.health("degraded").await;
    assert!(
        health.reason.contains("could not deliver") && health.reason.contains("401"),
        "{}",
        health.reason
    );
    assert!(
        health
            .action
            .is_some_and(|action| action.contains("secret"))
    );
    stage.telegram.behave();
    stage.messages(1).await;
    stage.health("ok").await;
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_telegram_does_not_want_calls_a_person() {
    let stage = Stage::new("").await;
    stage.telegram.misbehave(Misbehave::on(
        CallMatch::method("setWebhook"),
        Times::Always,
        CallAction::Refuse {
            code: 400,
            description: "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"
                .to_owned(),
            parameters: None,
        },
    ));
    let worker = stage.start(Way::Webhook).await;
    let health = stage.health("misconfigured").await;
    assert!(
        health.reason.contains("ingress.public_url"),
        "{}",
        health.reason
    );
    worker.stop().await;
}

/// Neither is it told to be well while nothing works, nor is it forgotten to be down.
async fn is_down_while_telegram_is(way: Way, call: &str) {
    let stage = Stage::new("webhook_check = '20ms'").await;
    stage.telegram.misbehave(Misbehave::on(
        CallMatch::method(call),
        Times::Always,
        CallAction::ServerError {
            status: 502,
            when: When::BeforeAccepting,
        },
    ));
    let worker = stage.start(way).await;
    let health = stage.health("down").await;
    assert!(health.reason.contains("502"), "{}", health.reason);
    let action = health.action.expect("what to do");
    assert!(action.contains("api_url"), "{action}");
    let told = || {
        stage.all(|event| match event {
            Inbound::Health(health) => Some(health.state.as_str()),
            _ => None,
        })
    };
    assert_eq!(told(), ["down"], "at first it does not work");
    stage.telegram.behave();
    stage.health("ok").await;
    assert_eq!(told(), ["down", "ok"]);
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_cannot_poll_is_down() {
    is_down_while_telegram_is(Way::Polling, "getUpdates").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_whose_webhook_cannot_be_looked_at_is_down() {
    is_down_while_telegram_is(Way::Webhook, "getWebhookInfo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_secret_changes_both_are_taken() {
    let extra = "secret_token = 'new_secret'\nprevious_secret_token = 'old_secret'";
    let stage = Stage::new(extra).await;
    let worker = stage.worker(Way::Webhook).await;
    let post = async |secret: &str, update: u32| {
        reqwest::Client::new()
            .post(worker.url("/channels/shop/webhook"))
            .header("x-telegram-bot-api-secret-token", secret)
            .body(format!(
                r#"{{"update_id":{update},"message":{{"message_id":{update},"date":1767225600,"text":"{secret}","chat":{{"id":7,"type":"private"}}}}}}"#
            ))
            .send()
            .await
            .expect("an answer")
            .status()
    };
    assert_eq!(post("new_secret", 1).await, StatusCode::OK);
    assert_eq!(post("old_secret", 2).await, StatusCode::OK);
    assert_eq!(post("other_secret", 3).await, StatusCode::UNAUTHORIZED);
    let said: Vec<String> = stage.messages(2).await.iter().map(words).collect();
    assert_eq!(said, ["new_secret", "old_secret"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_several_bots() {
    let mut stage = Stage::new("").await;
    let second = stage
        .telegram
        .add_bot(BotProfile::new("987654321:BBExampleToken"));
    let table = format!(
        "[channels.second]\nkind = 'telegram'\ntoken = '{}'\napi_url = '{}'",
        second.token(),
        stage.telegram.base_url()
    );
    stage.also(&table);
    let worker = stage.worker(Way::Polling).await;
    stage.telegram.user(OLENA).says("to the first");
    second.user(OLENA).says("to the second");
    let mut said: Vec<(String, String)> = stage
        .messages(2)
        .await
        .iter()
        .map(|message| (message.origin.channel_id.0.clone(), words(message)))
        .collect();
    said.sort();
    let expected = [("second", "to the second"), ("shop", "to the first")];
    assert_eq!(
        said,
        expected.map(|(channel, text)| (channel.to_owned(), text.to_owned()))
    );
    let content = Content::text("from the second");
    let delivery = delivery("second", &Address::from(TO), content);
    stage
        .put("second", delivery.message_id.into(), &delivery)
        .await;
    stage.status(delivery.message_id).await;
    let sent = stage.telegram.sent();
    assert_eq!((sent.len(), sent[0].bot_id), (1, 987_654_321));
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_over_the_lane() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Polling).await;
    let olena = stage.telegram.user(OLENA);
    let asked = olena.says("Is it ready?").message_id;
    stage.messages(1).await;
    let id = stage.reply(OLENA, "No").await;
    let provider_ids = stage.status(id).await.provider_ids;
    let conversation_id = ConversationId::generate();
    let channel_id = ChannelId::from("shop");
    macro_rules! put {
        ($payload:ident { $($field:ident: $value:expr),* $(,)? }) => {
            stage.put("shop", MessageId::generate().into(), &$payload {
                conversation_id,
                channel_id: channel_id.clone(),
                to: Address::from(TO),
                seq: 2,
                $($field: $value,)*
                extra: Map::new(),
            }).await
        };
    }
    put!(DeliveryEdit {
        message_id: id,
        provider_ids: provider_ids.clone(),
        content: Content::text("Yes"),
    });
    olena
        .wait_until_sees(PATIENCE, |chat| chat.texts() == ["Is it ready?", "Yes"])
        .await
        .expect("changed in time");
    put!(DeliveryReact {
        message_id: MessageId::generate(),
        provider_id: format!("{TO}:{asked}"),
        reactions: vec!["👍".to_owned()],
    });
    put!(DeliveryTyping {});
    put!(DeliveryDelete {
        message_id: id,
        provider_ids: provider_ids,
    });
    olena
        .wait_until_sees(PATIENCE, |chat| chat.texts() == ["Is it ready?"])
        .await
        .expect("deleted in time");
    stage
        .until("the reaction and the typing", || {
            let changes = |kind| !stage.telegram.changes_of(kind).is_empty();
            (changes(ChangeKind::Reacted) && changes(ChangeKind::Acted)).then_some(())
        })
        .await;
    let refused = stage.all(|event| match event {
        Inbound::ChangeFailed(failed) => Some(failed.failure.reason.clone()),
        _ => None,
    });
    assert!(refused.is_empty(), "{refused:?}");
    worker.stop().await;
    stage.is_settled().await;
}
