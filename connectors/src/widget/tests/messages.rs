//! What visitors write.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tributary_bus::{
    BusState, EventId, MessageId,
    message::{Content, MessageReceived},
};

use super::stage::{Stage, eventually};
use crate::testing::Kind;

fn text(message: &MessageReceived) -> &str {
    match &message.content {
        Content::Text(text) => &text.text,
        other => panic!("not text: {other:?}"),
    }
}

#[tokio::test]
async fn a_message_is_on_the_bus_and_in_the_mailbox_when_it_is_acknowledged() {
    let mut stage = Stage::new("").await;
    let page = json!({"url": "https://shop.example/p/7?token=x", "title": "Shoes", "ref": ""});
    let mut visitor = stage
        .visitor_at(0, json!({"page": page, "locale": "uk-UA"}))
        .await;
    let ack = visitor.said("c1", "<b>Де замовлення?</b>").await;
    assert_eq!(ack["seq"], 1);

    let (envelope, _) = stage.event().await;
    let message: MessageReceived = envelope.payload().expect("message.received");
    assert_eq!(EventId::from(message.message_id), envelope.id);
    assert_eq!(envelope.orgid.as_str(), "acme");
    assert_eq!(ack["id"], message.message_id.to_string());
    assert_eq!(text(&message), "<b>Де замовлення?</b>");
    assert_eq!(message.origin.address, visitor.address());
    let provider_id = format!("{}:c1", visitor.address().as_str());
    assert_eq!(message.provider_id, provider_id);
    assert_eq!(
        message.message_id,
        MessageId::derived(&message.origin.channel_id, &provider_id)
    );
    assert_eq!(message.contact.locale.as_deref(), Some("uk-UA"));
    let told = message.context.attribution;
    assert_eq!(
        (told.page_url.as_deref(), told.page_title.as_deref()),
        (Some("https://shop.example/p/7"), Some("Shoes"))
    );
    assert_eq!(told.referrer, None);
    let raw = message.origin.raw.expect("the frame as it came");
    let raw: Value = serde_json::from_str(&raw.body).expect("JSON");
    assert_eq!(raw["client_id"], "c1");

    let again = stage.visitor_at(0, json!({"token": visitor.token()})).await;
    let event = &again.welcome["events"][0];
    assert_eq!((&event["id"], &event["seq"]), (&ack["id"], &json!(1)));
    assert_eq!(
        (&event["from"], &event["client_id"]),
        (&json!("visitor"), &json!("c1"))
    );
    assert_eq!(
        event["body"],
        json!({"type": "text", "text": "<b>Де замовлення?</b>"})
    );

    visitor.said("c2", "Hallo").await;
    let second = stage.message().await;
    assert!(second.context.is_empty(), "a page is told once");
    let frame = json!({"t": "send", "client_id": "c3", "body": {"type": "text", "text": "And these?"},
        "page": {"url": "https://shop.example/p/8?utm_source=mail&Session_Id=7", "title": "Boots"}});
    visitor.frame(frame).await;
    let told = stage.message().await.context.attribution;
    assert_eq!(
        told.page_url.as_deref(),
        Some("https://shop.example/p/8?utm_source=mail")
    );
    assert_eq!(told.page_title.as_deref(), Some("Boots"));
    let source = told.utm.and_then(|utm| utm.source);
    assert_eq!(source.as_deref(), Some("mail"));
}

#[tokio::test]
async fn no_ack_before_the_confirm() {
    let mut stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    stage.bus.hold();
    visitor.say("c1", "Hi").await;
    eventually("published", async || {
        stage.bus.publishing.load(Ordering::Acquire) == 1
    })
    .await;
    let token = visitor.token();
    let elsewhere = stage.visitor_at(0, json!({"token": token})).await;
    assert_eq!(
        elsewhere.welcome["events"],
        json!([]),
        "not said to be sent"
    );
    stage.bus.confirm();
    let ack = visitor.next().await;
    assert_eq!((&ack["t"], &ack["seq"]), (&json!("ack"), &json!(1)));
    stage.message().await;
}

#[tokio::test]
async fn a_lost_ack_is_given_again() {
    let mut stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    let ack = visitor.said("c1", "Hi").await;
    visitor.said("c2", "Are you there?").await;
    drop(visitor.said("c1", "Hi").await);
    let mut again = stage.visitor_at(0, json!({"token": visitor.token()})).await;
    assert_eq!(again.said("c1", "Hi").await, ack);
    let history = again.welcome["events"].as_array().expect("events");
    assert_eq!(history.len(), 2);
    // On the bus it is the same message each time.
    let first = stage.message().await.message_id;
    stage.message().await;
    assert_eq!(stage.message().await.message_id, first);
    assert_eq!(stage.message().await.message_id, first);
    again.nothing_but_pong().await;
}

#[tokio::test]
async fn bad_messages_are_refused_by_name() {
    let stage = Stage::new("text_limit = 10").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c0", "0123456789").await;
    let body = |text: &str| json!({"type": "text", "text": text});
    for (client_id, body, code) in [
        ("c1", body("01234567890"), "too_long"),
        ("c2", body("  \n "), "bad_message"),
        ("c2", body("\u{200b}\u{2060}\u{feff}"), "bad_message"),
        ("c3", json!({"type": "file", "upload": "u1"}), "bad_message"),
        ("c 4", body("Hi"), "bad_message"),
        ("c0", body("other"), "duplicate"),
        ("c6", json!({"type": "text"}), "bad_frame"),
    ] {
        let frame = json!({"t": "send", "client_id": client_id, "body": body});
        visitor.frame(frame).await;
        let complaint = json!({"t": "err", "code": code, "client_id": client_id});
        assert_eq!(visitor.next().await, complaint);
    }
    visitor.said("c7", "Hi").await;
}

#[tokio::test]
async fn a_flood_from_one_visitor_is_dammed() {
    let mut stage = Stage::new("").await;
    let mut flooding = stage.visitor().await;
    let mut other = stage.visitor().await;
    let (mut acks, mut refused) = (0, Vec::new());
    while refused.len() < 10 {
        assert!(acks <= 12, "the allowance has no end");
        flooding
            .say(&format!("c{acks}-{}", refused.len()), "Buy now")
            .await;
        let frame = flooding.next().await;
        if frame["t"] == "ack" {
            acks += 1;
        } else {
            assert_eq!(frame["code"], "rate_limited");
            refused.push(frame);
        }
    }
    assert!(acks >= 10, "{acks}");
    assert_eq!(flooding.until_closed().await, (vec![], Some(4429)));
    assert!(refused.iter().all(|frame| {
        frame["client_id"].is_string() && frame["retry_after"].as_u64().is_some_and(|s| s > 0)
    }));
    // A new connection is no new allowance, and others are served.
    let mut back = stage
        .visitor_at(0, json!({"token": flooding.token()}))
        .await;
    back.say("c99", "Buy now").await;
    assert_eq!(back.next().await["code"], "rate_limited");
    other.said("c1", "Hi").await;
    for _ in 0..=acks {
        stage.message().await;
    }
    assert!(stage.is_quiet().await);
}

#[tokio::test]
async fn tabs_of_one_visitor_show_the_same() {
    let stage = Stage::new("").await;
    let mut one = stage.visitor().await;
    let mut two = stage.visitor_at(0, json!({"token": one.token()})).await;
    let ack = one.said("c1", "Hi").await;
    let mirrored = two.next().await;
    assert_eq!(
        (&mirrored["t"], &mirrored["id"]),
        (&json!("msg"), &ack["id"])
    );
    assert_eq!(mirrored["client_id"], "c1");
    let ack = two.said("c2", "It is me").await;
    assert_eq!(ack["seq"], 2);
    assert_eq!(one.next().await["seq"], 2);
    one.nothing_but_pong().await;
    two.nothing_but_pong().await;
}

#[tokio::test]
async fn without_the_bus_a_message_waits_with_the_visitor() {
    let mut stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    stage.bus.set_state(BusState::Away {
        reason: "test".to_owned(),
    });
    visitor.say("c1", "Hi").await;
    let complaint = visitor.next().await;
    assert_eq!(complaint["code"], "unavailable");
    assert_eq!(complaint["client_id"], "c1");
    assert!(complaint["retry_after"].as_u64().is_some_and(|s| s > 0));
    stage.bus.set_state(BusState::Ready);
    let ack = visitor.said("c1", "Hi").await;
    assert_eq!(ack["seq"], 1);
    assert_eq!(text(&stage.message().await), "Hi");
    assert!(stage.is_quiet().await);
}

#[tokio::test]
async fn without_the_mailbox_there_is_no_ack_and_no_loss() {
    let mut stage = Stage::on(Kind::Postgres, "").await;
    let mut visitor = stage.visitor().await;
    let letters = "ALTER TABLE widget_mailbox RENAME TO hidden";
    tributary_base::on!(write &stage.database, db => sqlx::query(letters).execute(db).await.map(drop))
        .expect("renamed");
    visitor.say("c1", "Hi").await;
    assert_eq!(visitor.next().await["code"], "unavailable");
    let letters = "ALTER TABLE hidden RENAME TO widget_mailbox";
    tributary_base::on!(write &stage.database, db => sqlx::query(letters).execute(db).await.map(drop))
        .expect("renamed");
    let ack = visitor.said("c1", "Hi").await;
    assert_eq!(ack["seq"], 1);
    // Published by both tries, under one id.
    let first = stage.message().await.message_id;
    assert_eq!(stage.message().await.message_id, first);
    assert_eq!(ack["id"], first.to_string());
}
