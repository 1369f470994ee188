//! Rules for calls.

use std::time::Instant;

use super::*;
use crate::script::Times;

async fn bench() -> Bench {
    let bench = Bench::start().await;
    let _known = bench.simulator.user(CHAT).known();
    bench
}

fn sends(action: CallAction) -> Misbehave {
    Misbehave::on(CallMatch::method("sendMessage"), Times::Count(1), action)
}

#[tokio::test]
async fn too_many_requests_for_one_chat() {
    let bench = bench().await;
    let _other = bench.simulator.user(7).known();
    let matches = CallMatch::method("sendMessage").to(CHAT);
    let limit = CallAction::TooManyRequests { retry_after: 7 };
    bench
        .simulator
        .misbehave(Misbehave::on(matches, Times::Count(2), limit));
    for _ in 0..2 {
        assert_eq!(bench.says(7, "not limited").await.0, 200);
        let arguments = json!({"chat_id": CHAT, "text": "limited"});
        let response = bench
            .try_call("sendMessage", arguments)
            .await
            .expect("an answer");
        assert_eq!(response.headers()["retry-after"], "7");
        let (status, body) = read(response).await;
        assert_eq!(
            (status, &body["parameters"]),
            (429, &json!({"retry_after": 7}))
        );
        assert_eq!(body["description"], "Too Many Requests: retry after 7");
    }
    assert_eq!(bench.says(CHAT, "the rule is used up").await.0, 200);
    assert_eq!(bench.simulator.counters().misbehaved, 2);
}

#[tokio::test]
async fn a_dropped_call_may_have_been_accepted_or_not() {
    let bench = bench().await;
    bench.simulator.misbehave(
        sends(CallAction::Drop(When::BeforeAccepting))
            .and(sends(CallAction::Drop(When::AfterAccepting))),
    );
    let arguments = json!({"chat_id": CHAT, "text": "hello"});
    bench
        .try_call("sendMessage", arguments.clone())
        .await
        .expect_err("the connection was cut");
    assert!(bench.simulator.sent().is_empty());
    bench
        .try_call("sendMessage", arguments)
        .await
        .expect_err("the connection was cut");
    let sent = bench.simulator.sent();
    assert_eq!(sent[0].text, "hello");
    assert_eq!(
        sent[0].disturbed_by,
        Some(CallAction::Drop(When::AfterAccepting))
    );
    assert!(bench.simulator.counters().answers.is_empty());
    assert_eq!(bench.says(CHAT, "again").await.0, 200);
    assert_eq!(bench.simulator.sent()[1].disturbed_by, None);
}

#[tokio::test]
async fn answers_that_say_nothing() {
    let bench = bench().await;
    let errors = |when| sends(CallAction::ServerError { status: 502, when });
    bench.simulator.misbehave(
        errors(When::BeforeAccepting)
            .and(errors(When::AfterAccepting))
            .and(sends(CallAction::EmptyBody))
            .and(sends(CallAction::InvalidJson)),
    );
    let mut seen = Vec::new();
    for _ in 0..4 {
        let arguments = json!({"chat_id": CHAT, "text": "hello"});
        let response = bench
            .try_call("sendMessage", arguments)
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        let body = response.bytes().await.expect("a whole body");
        assert!(
            serde_json::from_slice::<Value>(&body).is_err(),
            "it is no JSON"
        );
        seen.push((
            status,
            body.starts_with(b"<html>"),
            bench.simulator.counters().sent,
        ));
    }
    assert_eq!(
        seen,
        [
            (502, true, 0),
            (502, true, 1),
            (200, false, 2),
            (200, false, 3)
        ]
    );
}

#[tokio::test]
async fn slow_calls() {
    let bench = bench().await;
    let pause = Duration::from_millis(150);
    let arguments = || json!({"chat_id": CHAT, "text": "hello"});
    bench
        .simulator
        .misbehave(sends(CallAction::SlowAnswer(pause)));
    let began = Instant::now();
    let call = bench.in_background("sendMessage", arguments());
    bench
        .simulator
        .wait_for_sent(1, WITHIN)
        .await
        .expect("it is accepted at once");
    assert_eq!(call.await.expect("the call ended").0, 200);
    assert!(began.elapsed() >= pause, "and answered later");

    bench
        .simulator
        .misbehave(sends(CallAction::SlowStart(Duration::from_secs(60))));
    let call = bench.in_background("sendMessage", arguments());
    let seen = bench
        .simulator
        .wait_until(WITHIN, |records| records.counters.misbehaved == 2)
        .await;
    seen.expect("the call arrived");
    call.abort();
    assert_eq!(
        bench.simulator.counters().sent,
        1,
        "who gives up before is not served"
    );
}

#[tokio::test]
async fn refusals_of_any_kind() {
    let bench = bench().await;
    let refuse = CallAction::Refuse {
        code: 403,
        description: "Forbidden: user is deactivated".into(),
        parameters: Some(json!({"x": 1})),
    };
    bench
        .simulator
        .misbehave(Misbehave::on(CallMatch::any(), Times::Always, refuse));
    for method in ["getMe", "sendMessage"] {
        let (status, body) = bench.call(method, json!({})).await;
        assert_eq!((status, &body["parameters"]["x"]), (403, &json!(1)));
    }
    bench.simulator.behave();
    assert_eq!(bench.call("getMe", json!({})).await.0, 200);
}

#[tokio::test]
async fn updates_out_of_order_and_repeated() {
    let bench = bench().await;
    for n in 0..12 {
        bench.simulator.user(n % 3 + 1).says(&n.to_string());
    }
    let polls = |action| Misbehave::on(CallMatch::method("getUpdates"), Times::Count(1), action);
    let in_order = bench.result("getUpdates", json!({})).await;
    bench
        .simulator
        .misbehave(polls(CallAction::ShuffleChats { seed: 4 }));
    let shuffled = bench.result("getUpdates", json!({})).await;
    assert_ne!(ids(&shuffled), ids(&in_order));
    let of_chat = |updates: &Value, chat: i64| -> Vec<i64> {
        let all = updates.as_array().expect("a list of updates");
        let own = all
            .iter()
            .filter(|update| update["message"]["chat"]["id"] == chat);
        own.map(|update| update["update_id"].as_i64().expect("an id"))
            .collect()
    };
    for chat in 1..=3 {
        assert_eq!(of_chat(&shuffled, chat).len(), 4);
        assert!(
            of_chat(&shuffled, chat).is_sorted(),
            "a chat's own order stays"
        );
    }
    bench
        .simulator
        .misbehave(polls(CallAction::ShuffleAll { seed: 4 }));
    let mixed = bench.result("getUpdates", json!({})).await;
    assert!((1..=3).any(|chat| !of_chat(&mixed, chat).is_sorted()));

    let last = ids(&in_order)[11];
    bench
        .simulator
        .misbehave(polls(CallAction::RepeatUpdates(2)));
    let repeated = bench.result("getUpdates", json!({"offset": last})).await;
    assert_eq!(ids(&repeated), [last - 2, last - 1, last]);
}
