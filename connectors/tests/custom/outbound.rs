//! What the system is sent, and what becomes of its answers.

use std::time::{Duration, Instant};

use serde_json::{Map, json};
use tributary_bus::{
    Address, ChannelId, ConversationId, EventId, MessageId,
    message::{
        Content, DeliveryDelete, DeliveryEdit, DeliveryReact, DeliveryRead, DeliveryTyping,
        FailureCode, HealthState, Inbound, Media, MediaContent, MediaId, Status,
    },
};
use tributary_simulators::{
    custom::{DeliveryAction, DeliveryMatch},
    script::Times,
};

use crate::stage::{CONTACT, Stage, text};

fn once(stage: &Stage, action: DeliveryAction) {
    stage
        .system
        .misbehave(DeliveryMatch::send(), Times::Count(1), action);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_go_out_in_order_and_are_told() {
    let stage = Stage::new("").await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(stage.reply(&format!("reply {number}")).await);
    }
    for id in &ids {
        stage.status(*id, Status::Sent).await;
    }
    let delivered = stage.system.delivered();
    let texts: Vec<&str> = delivered.iter().map(|delivery| delivery.text()).collect();
    let expected: Vec<String> = (0..20).map(|number| format!("reply {number}")).collect();
    assert_eq!(texts, expected);
    let first = &delivered[0].body;
    assert_eq!(
        (&first["to"], &first["kind"]),
        (&json!(CONTACT), &json!("send"))
    );
    let status = stage.status(ids[0], Status::Sent).await;
    assert_eq!(status.provider_ids, [delivered[0].id.clone()]);
    assert!(status.degraded.is_empty() && !status.uncertain);
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_two_parts_is_as_far_as_the_last_one() {
    let stage = Stage::new("text_limit = 10").await;
    let id = stage.reply("0123456789abcdefghij").await;
    let sent = stage.status(id, Status::Sent).await;
    let parts = sent.provider_ids;
    assert_eq!(parts.len(), 2);
    let report = |id: &str, status: &str| json!({"id": id, "status": status});
    let tell = async |statuses: &[serde_json::Value]| {
        let reply = stage.system.send_statuses(&stage.account, statuses).await;
        let reply = reply.expect("an answer");
        assert_eq!(reply.body, json!({"accepted": statuses.len()}));
    };
    tell(&[report(&parts[0], "read"), report("somebody else's", "read")]).await;
    let told = || {
        stage.all(|event| match event {
            Inbound::Status(status) if status.message_id == id => Some(status.status),
            _ => None,
        })
    };
    tell(&[report(&parts[1], "delivered")]).await;
    stage.status(id, Status::Delivered).await;
    tell(&[report(&parts[1], "read"), report(&parts[1], "delivered")]).await;
    stage.status(id, Status::Read).await;
    // The first part's `read` alone moved nothing.
    assert_eq!(told(), [Status::Sent, Status::Delivered, Status::Read]);
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_told_later_counts() {
    let stage = Stage::new("").await;
    let id = stage.reply("hello").await;
    let sent = stage.status(id, Status::Sent).await;
    let report = json!({"id": sent.provider_ids[0], "status": "failed", "reason": "mailbox full"});
    let reply = stage.system.send_statuses(&stage.account, &[report]).await;
    assert_eq!(reply.expect("an answer").status, 200);
    let failed = stage.status(id, Status::Failed).await;
    let failure = failed.failure.expect("a reason");
    assert_eq!(failure.code, FailureCode::Rejected);
    assert!(failure.reason.contains("mailbox full"), "{failure:?}");
    stage.ends_settled().await;
}

/// What is wrong, and how often the system is asked then.
fn doubtful() -> Vec<(&'static str, DeliveryAction)> {
    vec![
        ("500", DeliveryAction::status(500)),
        ("502 and taken", DeliveryAction::TakeAndAnswer(502)),
        ("dropped", DeliveryAction::DropBeforeTaking),
        ("dropped and taken", DeliveryAction::DropAfterTaking),
        ("hanging", DeliveryAction::Hang(Duration::from_secs(3))),
        ("slow", DeliveryAction::Slow(Duration::from_secs(3))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_it_is_taken_once() {
    // It recognises repetitions, so there is nothing to hold.
    let stage = Stage::new("on_uncertain = 'hold'").await;
    for (name, action) in doubtful() {
        once(&stage, action);
        let id = stage.reply(name).await;
        stage.status(id, Status::Sent).await;
        let delivered = stage.system.delivered();
        let taken: Vec<_> = delivered.iter().filter(|d| d.text() == name).collect();
        assert_eq!(taken.len(), 1, "{name}");
        let status = stage.status(id, Status::Sent).await;
        assert_eq!(status.provider_ids, [taken[0].id.clone()], "{name}");
    }
    let repeated = stage.system.look(|records| records.repeated);
    assert_eq!(repeated, 3, "those that had been taken");
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_no_id_is_known_by_the_key() {
    let stage = Stage::new("").await;
    for action in [DeliveryAction::TakeAndAnswer(204), DeliveryAction::Garbled] {
        once(&stage, action);
        let id = stage.reply("hello").await;
        let sent = stage.status(id, Status::Sent).await;
        let key = format!("{id}-0");
        assert_eq!(sent.provider_ids, std::slice::from_ref(&key));
        let report = json!({"id": key, "status": "delivered"});
        let reply = stage.system.send_statuses(&stage.account, &[report]).await;
        assert_eq!(reply.expect("an answer").status, 200);
        stage.status(id, Status::Delivered).await;
    }
    assert_eq!(stage.system.delivered().len(), 2);
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_waited_for() {
    let stage = Stage::new("").await;
    for status in [429, 503] {
        once(
            &stage,
            DeliveryAction::Answer {
                status,
                retry_after: Some(1),
                body: String::new(),
            },
        );
        let began = Instant::now();
        let id = stage.reply("hello").await;
        let sent = stage.status(id, Status::Sent).await;
        assert!(!sent.uncertain && began.elapsed() >= Duration::from_secs(1));
    }
    assert_eq!(stage.system.delivered().len(), 2);
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let stage = Stage::new("").await;
    let refusal = json!({"code": "content", "reason": "no such template"});
    once(&stage, DeliveryAction::refusal(422, &refusal));
    let id = stage.reply("hello").await;
    let failure = stage.status(id, Status::Failed).await.failure;
    let failure = failure.expect("a reason");
    assert_eq!(failure.code, FailureCode::Rejected);
    assert!(failure.reason.contains("no such template"), "{failure:?}");

    let refusal = json!({"code": "recipient", "reason": "closed the account"});
    once(&stage, DeliveryAction::refusal(404, &refusal));
    let id = stage.reply("hello").await;
    let failure = stage.status(id, Status::Failed).await.failure;
    assert_eq!(
        failure.map(|failure| failure.code),
        Some(FailureCode::Unreachable)
    );
    let left = stage
        .until("contact.left", || {
            stage
                .all(|event| match event {
                    Inbound::Left(left) => Some(left.clone()),
                    _ => None,
                })
                .pop()
        })
        .await;
    assert_eq!(left.origin.address, Address::from(CONTACT));
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_gone_waits_for_a_person() {
    let stage = Stage::new("").await;
    once(&stage, DeliveryAction::status(410));
    stage.reply("hello").await;
    let health = stage
        .until("misconfigured", || {
            stage
                .all(|event| match event {
                    Inbound::Health(health) => Some(health.clone()),
                    _ => None,
                })
                .pop()
                .filter(|health| health.state == HealthState::Misconfigured)
        })
        .await;
    assert!(health.reason.contains("410"), "{health:?}");
    assert!(stage.system.delivered().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_signs_are_told() {
    let stage = Stage::new("").await;
    let asked = [text("m-1", "Is it ready?")];
    let reply = stage.system.send_events(&stage.account, &asked).await;
    assert_eq!(reply.expect("an answer").status, 200);
    let id = stage.reply("Almost").await;
    let sent = stage.status(id, Status::Sent).await.provider_ids;
    let (conversation_id, channel_id) = (ConversationId::generate(), ChannelId::from("crm"));
    let to = Address::from(CONTACT);
    let event = || EventId::from(MessageId::generate());
    macro_rules! deliver {
        ($kind:ident { $($field:ident: $value:expr),* $(,)? }) => {
            stage.deliver(event(), &$kind {
                conversation_id,
                channel_id: channel_id.clone(),
                to: to.clone(),
                seq: 2,
                $($field: $value,)*
                extra: Map::new(),
            }).await
        };
    }
    deliver!(DeliveryEdit {
        message_id: id,
        provider_ids: sent.clone(),
        content: Content::text("Ready"),
    });
    deliver!(DeliveryReact {
        message_id: id,
        provider_id: "m-1".to_owned(),
        reactions: vec!["👍".to_owned()],
    });
    deliver!(DeliveryRead {
        provider_id: "m-1".to_owned()
    });
    deliver!(DeliveryDelete {
        message_id: id,
        provider_ids: sent.clone()
    });
    let of = async |kind: &str| {
        let found = || stage.system.delivered_of(kind).pop();
        stage.until(kind, found).await.body.clone()
    };
    let edit = of("edit").await;
    assert_eq!(edit["parts"][0]["id"], json!(sent[0]));
    assert_eq!(edit["parts"][0]["content"]["text"], "Ready");
    let react = of("react").await;
    assert_eq!(
        (&react["message"], &react["reactions"]),
        (&json!("m-1"), &json!(["👍"]))
    );
    assert_eq!(of("read").await["message"], "m-1");
    let shown = stage.system.shows(CONTACT);
    assert!(shown.is_empty() || shown[0]["text"] == "Ready", "{shown:?}");
    assert_eq!(of("delete").await["ids"], json!(sent));
    assert!(stage.system.shows(CONTACT).is_empty());
    deliver!(DeliveryTyping {});
    assert_eq!(of("typing").await["to"], CONTACT);
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_system_is_without_is_not_sent_to_it() {
    let stage = Stage::new("without = ['edit', 'image', 'file']").await;
    let picture = Content::Image(MediaContent {
        media: Media {
            url: Some("https://files.example.org/cat.png".to_owned()),
            ..Media::default()
        },
        ..MediaContent::default()
    });
    let id = stage.reply_with(picture).await;
    let status = stage.status(id, Status::Sent).await;
    assert!(!status.degraded.is_empty());
    let delivered = stage.system.delivered();
    assert_eq!(delivered[0].body["content"]["type"], "text");
    assert!(
        delivered[0]
            .text()
            .contains("https://files.example.org/cat.png")
    );
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_of_ours_goes_out_as_a_link_that_opens() {
    let stage = Stage::new("").await;
    let bytes = b"%PDF-1.4 an invoice".as_slice();
    let body = futures::stream::iter([Ok(bytes::Bytes::from_static(bytes))]);
    let limits = tributary_base::media::Limits {
        size: 1000,
        deadline: Duration::from_secs(5),
    };
    let store = &stage.media.store;
    let stored = store.put("acme", Box::pin(body), None, limits).await;
    let media = Media {
        media_id: Some(MediaId(stored.expect("stored").id)),
        name: Some("invoice.pdf".to_owned()),
        ..Media::default()
    };
    let content = Content::File(MediaContent {
        media,
        ..MediaContent::default()
    });
    let id = stage.reply_with(content).await;
    stage.status(id, Status::Sent).await;
    let delivery = stage.system.delivered().remove(0);
    let link = delivery.body["content"]["media"]["url"].as_str();
    let response = reqwest::get(link.expect("a link"))
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.bytes().await.expect("the file"), bytes);
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_in_the_channel_log_without_secrets() {
    let stage = Stage::new("").await;
    let echo = json!({"reason": stage.system.secret(), "url": "x?key=shibboleth"});
    once(&stage, DeliveryAction::refusal(503, &echo));
    let id = stage.reply("hello").await;
    stage.status(id, Status::Sent).await;
    let calls = stage.calls(id, 2).await;
    let statuses: Vec<_> = calls.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(503), Some(200)]);
    assert_eq!(calls[0].what, "POST send");
    let secret = stage.system.secret();
    for call in &calls {
        let all = format!("{:?}{:?}{:?}", call.request, call.reply, call.error);
        assert!(
            call.request
                .as_ref()
                .is_some_and(|text| text.contains("hello"))
        );
        assert!(!all.contains(&secret["whsec_".len()..]), "{all}");
        assert!(!all.contains("shibboleth"), "{all}");
    }
    stage.ends_settled().await;
}
