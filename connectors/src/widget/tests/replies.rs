//! What visitors are sent, by whichever worker.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tributary_bus::{Address, MessageId, message::Content};

use super::stage::Stage;
use crate::{SendError, testing::Kind};

fn texts(events: &Value) -> Vec<&str> {
    let events = events.as_array().expect("events");
    events
        .iter()
        .filter_map(|event| event["body"]["text"].as_str())
        .collect()
}

fn places(events: &Value) -> Vec<i64> {
    let events = events.as_array().expect("events");
    events
        .iter()
        .filter_map(|event| event["seq"].as_i64())
        .collect()
}

#[tokio::test]
async fn a_reply_is_pushed_by_the_worker_that_holds_the_socket() {
    let mut stage = Stage::on(Kind::Postgres, "").await;
    stage.add_worker().await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    let (id, receipt) = stage
        .reply(1, &visitor.address(), "<i>Hello</i>")
        .await
        .expect("sent");
    let pushed = visitor.next().await;
    assert_eq!(pushed["id"], id.to_string());
    assert_eq!(
        (&pushed["from"], &pushed["seq"]),
        (&json!("agent"), &json!(2))
    );
    assert_eq!(
        pushed["body"],
        json!({"type": "text", "text": "<i>Hello</i>"})
    );
    assert!(pushed.get("client_id").is_none());
    assert!(receipt.provider_id.ends_with("/2"));
}

#[tokio::test]
async fn a_reply_sent_twice_is_shown_once() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    let (to, id) = (visitor.address(), MessageId::generate());
    let first = stage.send(0, &to, id, 0, Content::text("Hello")).await;
    let second = stage.send(0, &to, id, 0, Content::text("Hello")).await;
    assert_eq!(first.expect("sent"), second.expect("sent"));
    assert_eq!(visitor.next().await["body"]["text"], "Hello");
    let part = stage.send(0, &to, id, 1, Content::text("more")).await;
    part.expect("sent");
    assert_eq!(visitor.next().await["body"]["text"], "more");
    visitor.nothing_but_pong().await;
}

#[tokio::test]
async fn whoever_never_wrote_cannot_be_reached() {
    let stage = Stage::new("").await;
    let silent = stage.visitor().await;
    for to in [silent.address(), Address::from("+380501112233")] {
        let result = stage.reply(0, &to, "Hello").await;
        assert!(
            matches!(&result, Err(SendError::Unreachable { code, .. }) if code == "unknown_visitor"),
            "{result:?}"
        );
    }
    let poll = Content::unsupported("poll");
    let result = stage
        .send(0, &silent.address(), MessageId::generate(), 0, poll)
        .await;
    assert!(matches!(result, Err(SendError::Rejected { .. })));
}

#[tokio::test]
async fn a_lost_call_is_made_up_for_by_the_next_ping() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    stage.bus.deaf.store(true, Ordering::Release);
    for text in ["one", "two"] {
        stage
            .reply(0, &visitor.address(), text)
            .await
            .expect("sent");
    }
    visitor.frame(json!({"t": "ping"})).await;
    assert_eq!(visitor.next().await["t"], "pong");
    let page = visitor.next().await;
    assert_eq!(page["t"], "page");
    assert_eq!(texts(&page["events"]), ["one", "two"]);
}

#[tokio::test]
async fn missed_calls_are_made_up_for_when_there_are_calls_again() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    stage.bus.deaf.store(true, Ordering::Release);
    for text in ["one", "two"] {
        stage
            .reply(0, &visitor.address(), text)
            .await
            .expect("sent");
    }
    stage.bus.break_notices();
    let page = visitor.next().await;
    assert_eq!(page["t"], "page");
    assert_eq!(texts(&page["events"]), ["one", "two"]);
}

#[tokio::test]
async fn whoever_was_away_gets_everything_in_order() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    let (to, token) = (visitor.address(), visitor.token());
    drop(visitor);
    for n in 2..=451 {
        stage.reply(0, &to, &n.to_string()).await.expect("sent");
    }

    let mut back = stage
        .visitor_at(0, json!({"token": token, "since": 1}))
        .await;
    assert_eq!(
        (&back.welcome["since"], &back.welcome["seq"]),
        (&json!(1), &json!(451))
    );
    let mut seen = places(&back.welcome["events"]);
    assert_eq!((seen.len(), &back.welcome["more"]), (200, &json!(true)));
    loop {
        let page = back.next().await;
        assert_eq!(page["t"], "page");
        seen.extend(places(&page["events"]));
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, (2..=451).collect::<Vec<i64>>());
    back.nothing_but_pong().await;

    let mut fresh = stage.visitor_at(0, json!({"token": token})).await;
    assert_eq!(
        (&fresh.welcome["since"], &fresh.welcome["more"]),
        (&json!(251), &json!(false))
    );
    let seen = places(&fresh.welcome["events"]);
    assert_eq!(seen, (252..=451).collect::<Vec<i64>>());
    fresh.nothing_but_pong().await;
}

#[tokio::test]
async fn long_messages_come_in_frames_that_fit() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    let (to, token) = (visitor.address(), visitor.token());
    let long = "\u{1}".repeat(9_000);
    for _ in 0..20 {
        stage.reply(0, &to, &long).await.expect("sent");
    }
    let mut back = stage.visitor_at(0, json!({"token": token})).await;
    let mut seen = places(&back.welcome["events"]);
    while seen.len() < 21 {
        let page = back.next().await;
        assert!(page.to_string().len() < 256 * 1024);
        if page["t"] == "msg" {
            seen.extend(page["seq"].as_i64());
        } else {
            seen.extend(places(&page["events"]));
        }
    }
    assert_eq!(seen, (1..=21).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_cursor_from_nowhere_begins_anew() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    let mut back = stage.knock(0, None).await.expect("open");
    back.hello(json!({"token": visitor.token(), "since": 77}))
        .await;
    assert_eq!(back.next().await, json!({"t": "resync"}));
    let welcome = back.next().await;
    assert_eq!((&welcome["since"], &welcome["seq"]), (&json!(0), &json!(1)));
    assert_eq!(texts(&welcome["events"]), ["Hi"]);
}
