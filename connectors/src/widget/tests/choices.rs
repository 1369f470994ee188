//! Buttons: offered, pressed once, and by nobody else.

use serde_json::{Value, json};
use tributary_bus::message::{ChoiceReply, Content, Inbound};

use super::{stage::Stage, visitor::Visitor};
use crate::testing::Kind;

fn question() -> Value {
    json!({"type": "choices", "text": {"text": "Which <b>size</b>?"}, "options": [
        {"id": "s", "title": "Small"},
        {"id": "l", "title": "Large"},
        {"id": "site", "title": "Table", "action": {"do": "url", "url": "https://shop.example/sizes"}}]})
}

fn press(client_id: &str, seq: i64, button: &str) -> Value {
    json!({"t": "press", "client_id": client_id, "seq": seq, "button": button})
}

/// A visitor who has been asked; the question is at place 2.
async fn asked(stage: &mut Stage) -> (Visitor, String) {
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    stage.message().await;
    let (_, provider_id) = stage.offer(&visitor.address(), question()).await;
    let pushed = visitor.next().await;
    assert_eq!(
        pushed["body"],
        json!({"type": "choices", "text": "Which <b>size</b>?", "style": "buttons", "options": [
            {"id": "s", "title": "Small"},
            {"id": "l", "title": "Large"},
            {"id": "site", "title": "Table", "url": "https://shop.example/sizes"}]})
    );
    (visitor, provider_id)
}

#[tokio::test]
async fn a_press_is_an_answer_and_stays_pressed() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut stage = Stage::on(kind, "").await;
        let (mut visitor, question) = asked(&mut stage).await;
        visitor.frame(press("p1", 2, "l")).await;
        let ack = visitor.next().await;
        assert_eq!((&ack["client_id"], &ack["seq"]), (&json!("p1"), &json!(3)));
        let changed = visitor.next().await;
        assert_eq!(changed["events"][0]["pressed"], "l");
        let message = stage.message().await;
        let Content::ChoiceReply(ChoiceReply { id, title, .. }) = message.content else {
            panic!("not a choice");
        };
        assert_eq!((id.as_str(), title.as_deref()), ("l", Some("Large")));
        assert_eq!(message.reply_to, Some(question));

        let back = stage.visitor_at(0, json!({"token": visitor.token()})).await;
        let events = &back.welcome["events"];
        assert_eq!(events[1]["pressed"], "l");
        assert_eq!(
            events[2]["body"],
            json!({"type": "choice_reply", "id": "l", "title": "Large"})
        );
        assert_eq!(
            (&events[2]["reply_to"], &events[2]["client_id"]),
            (&json!(2), &json!("p1"))
        );
    }
}

#[tokio::test]
async fn a_lost_ack_is_given_again_and_a_second_answer_is_not_taken() {
    let mut stage = Stage::new("").await;
    let (mut visitor, _) = asked(&mut stage).await;
    visitor.frame(press("p1", 2, "l")).await;
    let ack = visitor.until("ack").await;
    let mut other = stage.visitor_at(0, json!({"token": visitor.token()})).await;
    other.frame(press("p1", 2, "l")).await;
    assert_eq!(other.next().await, ack);
    for (client_id, button) in [("p2", "l"), ("p2", "s"), ("p1", "s")] {
        other.frame(press(client_id, 2, button)).await;
        let complaint = json!({"t": "err", "code": "already_pressed", "client_id": client_id});
        assert_eq!(other.next().await, complaint);
    }
    // Both tries of the one answer are the same message.
    let first = stage.message().await.message_id;
    assert_eq!(stage.message().await.message_id, first);
    assert!(stage.is_quiet().await);
}

#[tokio::test]
async fn only_what_was_offered_to_this_visitor_can_be_pressed() {
    let mut stage = Stage::new("").await;
    let (mut visitor, _) = asked(&mut stage).await;
    let mut stranger = stage.visitor().await;
    let refused =
        |client_id: &str, code: &str| json!({"t": "err", "code": code, "client_id": client_id});
    for (seq, button) in [
        (2, "xl"),
        (2, "site"),
        (1, "s"),
        (3, "s"),
        (0, ""),
        (i64::MIN, "s"),
    ] {
        visitor.frame(press("p1", seq, button)).await;
        assert_eq!(
            visitor.next().await,
            refused("p1", "not_offered"),
            "{seq} {button}"
        );
    }
    visitor.frame(press("p 1", 2, "s")).await;
    assert_eq!(visitor.next().await, refused("p 1", "bad_message"));
    stranger.frame(press("p1", 2, "s")).await;
    assert_eq!(stranger.next().await, refused("p1", "not_offered"));
    assert!(stage.is_quiet().await);
}

#[tokio::test]
async fn what_was_taken_back_cannot_be_pressed() {
    let mut stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    stage.message().await;
    let to = visitor.address();
    let (id, provider_id) = stage.offer(&to, question()).await;
    let delete = crate::Action::Delete {
        provider_ids: vec![provider_id],
    };
    stage.act(&to, id, delete).await.expect("deleted");
    visitor.frame(press("p1", 2, "s")).await;
    let complaint = visitor.until("err").await;
    assert_eq!(complaint["code"], "not_offered");
    assert!(stage.is_quiet().await);
}

#[tokio::test]
async fn a_press_waits_for_the_bus_and_counts_then() {
    let mut stage = Stage::new("").await;
    let (mut visitor, _) = asked(&mut stage).await;
    stage.bus.set_state(tributary_bus::BusState::Away {
        reason: "test".to_owned(),
    });
    visitor.frame(press("p1", 2, "l")).await;
    let complaint = visitor.until("err").await;
    assert_eq!(complaint["code"], "unavailable");
    stage.bus.set_state(tributary_bus::BusState::Ready);
    visitor.frame(press("p1", 2, "l")).await;
    assert_eq!(visitor.until("ack").await["seq"], 3);
    assert!(matches!(stage.event().await.1, Inbound::Received(_)));
}

#[tokio::test]
async fn a_message_is_answered_by_its_place() {
    let mut stage = Stage::new("").await;
    let (mut visitor, question) = asked(&mut stage).await;
    let send = |client_id: &str, place: i64| json!({"t": "send", "client_id": client_id, "reply_to": place, "body": {"type": "text", "text": "This"}});
    visitor.frame(send("c2", 2)).await;
    visitor.until("ack").await;
    assert_eq!(stage.message().await.reply_to, Some(question));
    visitor.frame(send("c3", 1)).await;
    visitor.until("ack").await;
    let own = format!("{}:c1", visitor.address().as_str());
    assert_eq!(stage.message().await.reply_to, Some(own.clone()));
    visitor.frame(send("c4", 99)).await;
    assert_eq!(visitor.next().await["code"], "bad_message");

    // And ours answer theirs.
    let id = tributary_bus::MessageId::generate();
    let context = crate::SendContext {
        reply_to: Some(own),
        ..super::stage::context(&visitor.address(), id, 0)
    };
    let sent = stage.send_with(0, 0, Content::text("Yes"), &context).await;
    sent.expect("sent");
    let pushed = visitor.next().await;
    assert_eq!(
        (&pushed["seq"], &pushed["reply_to"]),
        (&json!(5), &json!(1))
    );
    let back = stage.visitor_at(0, json!({"token": visitor.token()})).await;
    let answers: Vec<&Value> = back.welcome["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["reply_to"])
        .collect();
    assert_eq!(
        answers,
        [&Value::Null, &Value::Null, &json!(2), &json!(1), &json!(1)]
    );
}
