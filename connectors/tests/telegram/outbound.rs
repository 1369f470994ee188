//! The way out, with a provider that misbehaves.

use std::time::{Duration, Instant};

use axum::{Router, routing::get};
use bytes::Bytes;
use serde_json::{Map, json};
use tokio::net::TcpListener;
use tributary_bus::{
    Address,
    message::{
        Content, DegradationCode, DeliverySend, Entity, EntityKind, FailureCode, Media,
        MediaContent, Status, Text,
    },
};
use tributary_connectors::SendError;
use tributary_simulators::{
    script::Times,
    telegram::{CallAction, CallMatch, Misbehave, When, sample},
};

use crate::{
    direct::{Direct, Hang, captioned},
    stage::{Stage, Way, Worker, words},
    support::{PATIENCE, delivery, lock},
};

const OLENA: i64 = 5_550_001_111;

fn once(action: CallAction) -> Misbehave {
    Misbehave::on(CallMatch::method("sendMessage"), Times::Count(1), action)
}

async fn started(extra: &str) -> (Stage, Worker) {
    let stage = Stage::new(extra).await;
    let worker = stage.worker(Way::Polling).await;
    stage.telegram.user(OLENA).starts(None);
    stage.messages(1).await;
    (stage, worker)
}

/// Whatever becomes of it: nothing was sent, so nothing is uncertain.
#[tokio::test]
async fn a_slow_host_of_media_leaves_no_doubt() {
    let direct = Direct::plain().await;
    let to = OLENA.to_string();
    let olena = direct.telegram.user(OLENA).known();
    let media = direct
        .shelf
        .keep("p.jpg", "image/jpeg", sample::jpeg(640, 480, 1));
    for hang in [Hang::Opening, Hang::Reading] {
        *lock(&direct.shelf.hangs) = Some(hang);
        let content = Content::Image(captioned(media.clone(), "Front"));
        let error = direct.send(&to, content).await.expect_err("no bytes");
        let later = !matches!(
            error,
            SendError::Uncertain { .. }
                | SendError::Rejected { .. }
                | SendError::Misconfigured { .. }
        );
        assert!(later, "{hang:?}: {error:?}");
        assert!(error.to_string().contains("media"), "{hang:?}: {error}");
    }
    *lock(&direct.shelf.hangs) = None;
    direct
        .sent(&to, Content::Image(captioned(media, "Front")))
        .await;
    assert_eq!(olena.sees().messages.len(), 1);
}

/// Serves bytes by their names, and says nothing true about their types.
async fn file_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let gif = Bytes::from_static(b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;");
    let png =
        Bytes::from_static(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0");
    let files = [("gif", gif), ("png", png), ("pdf", sample::pdf(3000, 1))];
    let app = files.into_iter().fold(Router::new(), |app, (name, bytes)| {
        app.route(&format!("/{name}"), get(async move || bytes.clone()))
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn media_without_a_type_go_as_what_they_are() {
    let (stage, worker) = started("[media]\nallow_internal = ['127.0.0.0/8']").await;
    let base = file_server().await;
    let media = |name: &str| MediaContent {
        media: Media {
            url: Some(format!("{base}/{name}")),
            ..Media::default()
        },
        ..MediaContent::default()
    };
    for (content, method, converted) in [
        (Content::Image(media("gif")), "sendAnimation", false),
        (Content::Image(media("png")), "sendPhoto", false),
        (Content::Image(media("pdf")), "sendDocument", true),
        (Content::Voice(media("png")), "sendPhoto", true),
    ] {
        let to = Address::from("5550001111");
        let delivery = delivery("shop", &to, content);
        stage.deliver(&delivery).await;
        let status = stage.status(delivery.message_id).await;
        assert_eq!(status.status, Status::Sent, "{:?}", status.failure);
        assert_eq!(
            stage.telegram.calls_of(method).len(),
            1 + usize::from(method == "sendPhoto" && converted)
        );
        let codes: Vec<DegradationCode> = status.degraded.iter().map(|one| one.code).collect();
        let expected = if converted {
            vec![DegradationCode::MediaConverted]
        } else {
            Vec::new()
        };
        assert_eq!(codes, expected, "{method}");
    }
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_go_out_in_order_and_are_told() {
    let (stage, worker) = started("").await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(stage.reply(OLENA, &format!("reply {number}")).await);
    }
    for id in &ids {
        let status = stage.status(*id).await;
        assert_eq!((status.status, status.uncertain), (Status::Sent, false));
    }
    let sent = stage.telegram.sent_to(OLENA);
    let texts: Vec<&str> = sent.iter().map(|sent| sent.text.as_str()).collect();
    let expected: Vec<String> = (0..20).map(|number| format!("reply {number}")).collect();
    assert_eq!(texts, expected);
    let last = stage.status(ids[19]).await.provider_ids;
    assert_eq!(last, [format!("{OLENA}:{}", sent[19].message_id)]);
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn formatting_and_answers_arrive() {
    let (stage, worker) = started("").await;
    let olena = stage.telegram.user(OLENA);
    olena.says("Is it ready?");
    let asked = stage.messages(2).await.remove(1);
    let content = Content::Text(Text {
        text: "😀 Yes".to_owned(),
        entities: vec![Entity {
            offset: 2,
            length: 3,
            kind: EntityKind::Bold,
        }],
        extra: Map::new(),
    });
    let delivery = DeliverySend {
        reply_to: Some(asked.provider_id.clone()),
        ..delivery("shop", &asked.origin.address, content)
    };
    stage.deliver(&delivery).await;
    stage.status(delivery.message_id).await;
    let sent = stage.telegram.sent_to(OLENA).remove(0);
    assert_eq!(
        sent.parameters.json("entities"),
        Some(json!([{"type": "bold", "offset": 3, "length": 3}]))
    );
    let (_, message) = asked.provider_id.split_once(':').expect("an id");
    let message: i64 = message.parse().expect("a number");
    assert_eq!(
        sent.parameters.json("reply_parameters"),
        Some(json!({"message_id": message, "allow_sending_without_reply": true}))
    );
    // And the other way round.
    olena.replies(sent.message_id, "Thanks");
    let thanks = stage.messages(3).await.remove(2);
    assert_eq!(words(&thanks), "Thanks");
    let status = stage.status(delivery.message_id).await;
    assert_eq!(thanks.reply_to.as_ref(), status.provider_ids.first());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_waited_for() {
    let (stage, worker) = started("").await;
    stage
        .telegram
        .misbehave(once(CallAction::TooManyRequests { retry_after: 1 }));
    let began = Instant::now();
    let id = stage.reply(OLENA, "hello").await;
    let status = stage.status(id).await;
    assert_eq!((status.status, status.uncertain), (Status::Sent, false));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(stage.telegram.sent().len(), 1);
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_blocked_the_bot_has_left() {
    let (stage, worker) = started("").await;
    let refusal = CallAction::Refuse {
        code: 403,
        description: "Forbidden: bot was blocked by the user".to_owned(),
        parameters: None,
    };
    stage.telegram.misbehave(once(refusal));
    let id = stage.reply(OLENA, "hello").await;
    let status = stage.status(id).await;
    assert_eq!(status.status, Status::Failed);
    let code = status.failure.map(|failure| failure.code);
    assert_eq!(code, Some(FailureCode::Unreachable));
    let left = stage.left().await;
    assert_eq!(left.origin.address, Address(OLENA.to_string()));
    worker.stop().await;
    stage.is_settled().await;
}

/// What is wrong, how often Telegram takes the message then, and whether the status must be in doubt.
fn doubtful() -> Vec<(&'static str, CallAction, usize)> {
    vec![
        (
            "server error, sent",
            CallAction::ServerError {
                status: 502,
                when: When::AfterAccepting,
            },
            2,
        ),
        (
            "server error, not sent",
            CallAction::ServerError {
                status: 500,
                when: When::BeforeAccepting,
            },
            1,
        ),
        ("dropped, sent", CallAction::Drop(When::AfterAccepting), 2),
        (
            "dropped, not sent",
            CallAction::Drop(When::BeforeAccepting),
            1,
        ),
        ("slow", CallAction::SlowAnswer(Duration::from_secs(3)), 2),
        ("empty answer", CallAction::EmptyBody, 2),
        ("half an answer", CallAction::InvalidJson, 2),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_sent_again_and_told() {
    let (stage, worker) = started("").await;
    for (name, action, times) in doubtful() {
        stage.telegram.misbehave(once(action));
        let id = stage.reply(OLENA, name).await;
        let status = stage.status(id).await;
        assert_eq!(
            (status.status, status.uncertain),
            (Status::Sent, true),
            "{name}"
        );
        let sent = stage.telegram.sent_to(OLENA);
        let taken = sent.iter().filter(|sent| sent.text == name).count();
        assert_eq!(taken, times, "{name}");
    }
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_held_where_wanted() {
    let (stage, worker) = started("on_uncertain = 'hold'").await;
    for (name, action, times) in doubtful() {
        stage.telegram.misbehave(once(action));
        let id = stage.reply(OLENA, name).await;
        let status = stage.status(id).await;
        assert_eq!(
            (status.status, status.uncertain),
            (Status::Failed, true),
            "{name}"
        );
        let code = status.failure.map(|failure| failure.code);
        assert_eq!(code, Some(FailureCode::Uncertain), "{name}");
        let sent = stage.telegram.sent_to(OLENA);
        let taken = sent.iter().filter(|sent| sent.text == name).count();
        assert_eq!(taken, times - 1, "{name}");
    }
    // Surely not sent is not uncertain: it is tried again all the same.
    stage
        .telegram
        .misbehave(once(CallAction::TooManyRequests { retry_after: 1 }));
    let id = stage.reply(OLENA, "limited").await;
    assert_eq!(stage.status(id).await.status, Status::Sent);
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_telegram_asks_for_is_mended_at_once() {
    let (stage, worker) = started("").await;
    let group: i64 = -4_000_111_222;
    let supergroup: i64 = -1_002_000_333_444;
    let bot = stage.telegram.first_bot();
    for (id, kind) in [(group, "group"), (supergroup, "supergroup")] {
        assert!(bot.add_chat(json!({"id": id, "title": "Team", "type": kind})));
    }
    stage.telegram.misbehave(Misbehave::on(
        CallMatch::method("sendMessage").to(group),
        Times::Always,
        CallAction::Refuse {
            code: 400,
            description: "Bad Request: group chat was upgraded to a supergroup chat".to_owned(),
            parameters: Some(json!({"migrate_to_chat_id": supergroup})),
        },
    ));
    for text in ["moved", "moved for good"] {
        let id = stage.reply(group, text).await;
        let status = stage.status(id).await;
        assert_eq!(status.status, Status::Sent);
        assert!(status.provider_ids[0].starts_with(&format!("{supergroup}:")));
    }
    let refused = stage
        .telegram
        .calls_of("sendMessage")
        .iter()
        .filter(|call| call.parameters.integer("chat_id") == Some(group))
        .count();
    assert_eq!(refused, 1, "the new id is remembered");
    stage.telegram.behave();

    let refusal = CallAction::Refuse {
        code: 400,
        description: "Bad Request: can't parse entities: Can't find end of the entity".to_owned(),
        parameters: None,
    };
    stage.telegram.misbehave(once(refusal));
    let content = Content::Text(Text {
        text: "bold".to_owned(),
        entities: vec![Entity {
            offset: 0,
            length: 4,
            kind: EntityKind::Bold,
        }],
        extra: Map::new(),
    });
    let delivery = delivery("shop", &Address(OLENA.to_string()), content);
    stage.deliver(&delivery).await;
    assert_eq!(stage.status(delivery.message_id).await.status, Status::Sent);
    let sent = stage.telegram.sent_to(OLENA).remove(0);
    assert_eq!(sent.parameters.json("entities"), None);
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_chat_slows_no_other() {
    let (stage, worker) = started("").await;
    let other = 5_550_002_222;
    stage.telegram.user(other).starts(None);
    stage.messages(2).await;
    stage.telegram.misbehave(Misbehave::on(
        CallMatch::method("sendMessage").to(OLENA),
        Times::Count(2),
        CallAction::TooManyRequests { retry_after: 2 },
    ));
    let late = stage.reply(OLENA, "late").await;
    stage
        .telegram
        .wait_until(PATIENCE, |records| {
            records.counters.calls_of("sendMessage") == 1
        })
        .await
        .expect("it was tried");
    let began = Instant::now();
    let prompt = stage.reply(other, "prompt").await;
    stage.status(prompt).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(stage.status(late).await.status, Status::Sent);
    worker.stop().await;
    stage.is_settled().await;
}
