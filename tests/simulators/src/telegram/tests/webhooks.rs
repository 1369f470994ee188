//! Delivery of updates to a webhook.

use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::hook::{Hook, status};
use super::*;
use crate::script::Times;

/// Sets a webhook, also where one was set a moment ago.
async fn set(bench: &Bench, arguments: &Value) -> Value {
    loop {
        let (status, body) = bench.call("setWebhook", arguments.clone()).await;
        if status != 429 {
            assert_eq!(status, 200, "{body}");
            return body;
        }
    }
}

#[tokio::test]
async fn updates_are_posted_with_the_secret_and_settled_by_a_2xx() {
    let (bench, hook) = (Bench::start().await, Hook::start().await);
    bench.simulator.user(CHAT).says("before");
    let arguments = json!({"url": hook.url(), "secret_token": "s3cr3t_Token-acc7"});
    let (_, body) = bench.call("setWebhook", arguments.clone()).await;
    assert_eq!(
        body,
        json!({"ok": true, "result": true, "description": "Webhook was set"})
    );
    bench.simulator.user(CHAT).says("after");
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("both are accepted");
    assert_eq!(hook.texts(), ["before", "after"]);
    assert!(
        hook.secrets()
            .iter()
            .all(|secret| secret.as_deref() == Some("s3cr3t_Token-acc7"))
    );
    let deliveries = bench.simulator.deliveries();
    assert_eq!(
        deliveries
            .iter()
            .map(|d| d.outcome.clone())
            .collect::<Vec<_>>(),
        [Ok(200), Ok(200)]
    );
    assert_eq!(bench.simulator.first_bot().webhook_url(), Some(hook.url()));

    let again = set(&bench, &arguments).await;
    assert_eq!(again["description"], "Webhook is already set");
}

#[tokio::test]
async fn a_refused_update_is_retried_and_holds_up_its_own_chat_only() {
    let (bench, hook) = (Bench::start().await, Hook::start().await);
    hook.will_answer(1, vec![status(500), status(503), status(302)]);
    bench.result("setWebhook", json!({"url": hook.url()})).await;
    let (first, second) = (bench.simulator.user(1), bench.simulator.user(2));
    first.says("1a");
    first.says("1b");
    second.says("2a");
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("all are accepted in the end");
    let texts = hook.texts();
    let of_first: Vec<_> = texts.iter().filter(|text| text.starts_with('1')).collect();
    assert_eq!(
        of_first,
        ["1a", "1a", "1a", "1a", "1b"],
        "in order, whatever it takes"
    );
    assert!(
        texts.iter().position(|text| text == "2a") < texts.iter().position(|text| text == "1b")
    );

    let attempts: Vec<_> = bench
        .simulator
        .deliveries()
        .into_iter()
        .filter(|delivery| delivery.chat_id == 1)
        .collect();
    assert_eq!(
        attempts.iter().map(|d| d.attempt).collect::<Vec<_>>(),
        [1, 2, 3, 4, 1]
    );
    let pause = |n: usize| attempts[n].began - attempts[n - 1].ended;
    // The provider's second is 10 ms here: at once, then 2 s, then 4 s.
    assert!(pause(2) >= Duration::from_millis(20) && pause(3) >= Duration::from_millis(40));
    let info = bench.result("getWebhookInfo", json!({})).await;
    assert_eq!(
        info["last_error_message"],
        "Wrong response from the webhook: 302 Found"
    );
    assert_eq!(info["pending_update_count"], 0);
}

#[tokio::test]
async fn chats_go_in_parallel_up_to_max_connections() {
    let (bench, hook) = (Bench::start().await, Hook::start().await);
    hook.close();
    bench
        .result(
            "setWebhook",
            json!({"url": hook.url(), "max_connections": 3}),
        )
        .await;
    for chat in 1..=10 {
        bench.simulator.user(chat).says("hello");
        bench.simulator.user(chat).says("hello again");
    }
    hook.until_seen(3).await;
    let mut chats = hook.chats();
    chats.sort_unstable();
    chats.dedup();
    assert_eq!(chats.len(), 3, "each of another chat");
    hook.open();
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("all are accepted");
    assert_eq!(hook.chats().len(), 20);
    assert_eq!(hook.most_at_once(), 3);
}

#[tokio::test]
async fn a_retry_after_is_honoured_and_an_answer_may_be_a_call() {
    let (bench, hook) = (Bench::start().await, Hook::start().await);
    let busy = (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "9")]).into_response();
    let reply = json!({"method": "sendMessage", "chat_id": CHAT, "text": "in the answer"});
    hook.will_answer(CHAT, vec![busy, reply.to_string().into_response()]);
    bench.result("setWebhook", json!({"url": hook.url()})).await;
    bench.simulator.user(CHAT).says("hello");
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("it is accepted");
    let deliveries = bench.simulator.deliveries();
    assert!(deliveries[1].began - deliveries[0].ended >= Duration::from_millis(90));
    assert_eq!(bench.simulator.sent()[0].text, "in the answer");
}

#[tokio::test]
async fn settings_are_checked() {
    let bench = Bench::start().await;
    for (arguments, reason) in [
        (
            json!({"url": "ftp://127.0.0.1/"}),
            "Bad Request: invalid webhook URL specified",
        ),
        (
            json!({"url": "http://h/", "secret_token": "a.b"}),
            "Bad Request: secret token contains unallowed characters",
        ),
        (
            json!({"url": "http://h/", "secret_token": "a".repeat(257)}),
            "Bad Request: secret token is too long",
        ),
    ] {
        assert_eq!(
            bench.failure("setWebhook", arguments).await,
            (400, reason.to_owned())
        );
    }
    let patient = Bench::with(Options::default()).await;
    let set = || json!({"url": "http://127.0.0.1:9/", "secret_token": "a".repeat(256)});
    patient.result("setWebhook", set()).await;
    let (status, body) = patient.call("setWebhook", set()).await;
    assert_eq!(
        (status, &body["parameters"]["retry_after"]),
        (429, &json!(1))
    );
    let (_, deleted) = patient.call("setWebhook", json!({"url": ""})).await;
    assert_eq!(deleted["description"], "Webhook was deleted");
    let (_, deleted) = patient.call("deleteWebhook", json!({})).await;
    assert_eq!(deleted["description"], "Webhook is already deleted");
}

#[tokio::test]
async fn a_webhook_that_is_away_gets_everything_later() {
    let (bench, hook) = (Bench::start().await, Hook::start().await);
    let closed = Hook::start().await;
    closed.stop().await;
    bench
        .result("setWebhook", json!({"url": closed.url()}))
        .await;
    bench.simulator.user(CHAT).says("hello");
    let failed = bench
        .simulator
        .wait_until(WITHIN, |records| records.counters.deliveries >= 2)
        .await;
    failed.expect("it was tried");
    let info = bench.result("getWebhookInfo", json!({})).await;
    assert_eq!(info["last_error_message"], "Connection refused");
    set(&bench, &json!({"url": hook.url()})).await;
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("it is accepted");
    bench.simulator.user(CHAT).says("dropped");
    bench
        .result("deleteWebhook", json!({"drop_pending_updates": true}))
        .await;
    assert_eq!(bench.simulator.counters().updates_pending(), 0);
}

#[tokio::test]
async fn deliveries_misbehave_by_the_script() {
    let (bench, hook) = (Bench::start().await, Hook::start().await);
    let rule =
        |chat, action| Misbehave::delivering(DeliveryMatch::from(chat), Times::Count(1), action);
    bench.simulator.misbehave(
        rule(1, DeliveryAction::Twice)
            .and(rule(2, DeliveryAction::SwapWithNext))
            .and(rule(3, DeliveryAction::NoSecret))
            .and(rule(3, DeliveryAction::WrongSecret))
            .and(rule(4, DeliveryAction::Hold(Duration::from_millis(500))))
            .and(rule(5, DeliveryAction::HangUp(Duration::from_millis(50)))),
    );
    hook.will_answer(3, vec![status(401), status(401)]);
    bench.simulator.user(1).says("1a");
    bench.simulator.user(2).says("2a");
    bench.simulator.user(2).says("2b");
    bench.simulator.user(3).says("3a");
    bench.simulator.user(4).says("4a");
    bench
        .result(
            "setWebhook",
            json!({"url": hook.url(), "secret_token": "right"}),
        )
        .await;
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("all are accepted");
    let texts = hook.texts();
    let of = |chat: char| -> Vec<&str> {
        texts
            .iter()
            .map(String::as_str)
            .filter(|text| text.starts_with(chat))
            .collect()
    };
    assert_eq!(of('1'), ["1a", "1a"]);
    assert_eq!(of('2'), ["2b", "2a"]);
    assert_eq!(of('3').len(), 3);
    let third: Vec<_> = hook
        .secrets()
        .into_iter()
        .zip(&texts)
        .filter(|(_, text)| *text == "3a")
        .map(|(s, _)| s)
        .collect();
    assert_eq!(third[0], None);
    assert!(third[1].as_deref().is_some_and(|secret| secret != "right"));
    assert_eq!(third[2].as_deref(), Some("right"));
    assert_eq!(
        texts.last().map(String::as_str),
        Some("4a"),
        "the others overtook it"
    );

    hook.close();
    bench.simulator.user(5).says("5a");
    let hung_up = bench
        .simulator
        .wait_until(WITHIN, |records| {
            records
                .deliveries
                .iter()
                .any(|delivery| delivery.outcome.is_err())
        })
        .await;
    hung_up.expect("it hung up");
    hook.open();
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("it is accepted in the end");
    assert!(hook.texts().iter().filter(|text| *text == "5a").count() >= 2);
}

#[tokio::test]
async fn a_callback_query_nobody_accepts_in_time_is_given_up() {
    let options = Options {
        callback_life: Duration::from_millis(200),
        ..Options::quick()
    };
    let (bench, hook) = (Bench::with(options).await, Hook::start().await);
    set(&bench, &json!({"url": hook.url()})).await;
    hook.will_answer(0, (0..100).map(|_| status(503)).collect());
    let user = bench.simulator.user(CHAT).known();
    user.presses(1, "late");
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("its time is over");
    assert_eq!(bench.simulator.counters().updates_expired, 1);
    assert!(bench.simulator.deliveries().len() > 1, "it was tried again");
}

#[tokio::test]
async fn other_kinds_overtake_messages_where_a_rule_holds_those() {
    let (bench, hook) = (Bench::start().await, Hook::start().await);
    set(&bench, &json!({"url": hook.url()})).await;
    let user = bench.simulator.user(CHAT).known();
    bench.simulator.misbehave(Misbehave::delivering(
        DeliveryMatch::from(CHAT).of_kind("message"),
        Times::Count(1),
        DeliveryAction::Hold(Duration::from_millis(300)),
    ));
    let told = user.says("first");
    let pressed = user.presses(told.message_id, "second");
    bench
        .simulator
        .wait_until_drained(WITHIN)
        .await
        .expect("both are accepted");
    let order: Vec<_> = bench
        .simulator
        .deliveries()
        .iter()
        .map(|delivery| Some(delivery.update_id))
        .collect();
    assert_eq!(order, [pressed.update_id, told.update_id]);
}

#[tokio::test]
async fn looking_at_a_chat_does_not_make_it_known() {
    let bench = Bench::start().await;
    assert!(bench.simulator.user(CHAT).sees().messages.is_empty());
    assert_eq!(bench.says(CHAT, "x").await.0, 400);
}
