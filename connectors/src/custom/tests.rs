//! Every event of the contract, what is refused and how, what goes out, and what nobody would send.

mod mutations;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Request;
use serde_json::{Value, json};
use tributary_base::outgoing::Guard;
use tributary_bus::{
    Address, ChannelId, EventId, MessageId,
    message::{
        Choice, Choices, Content, FailureCode, Inbound, Media, MediaContent, MediaId, MediaState,
        Raw, Status, Text,
    },
};
use tributary_config::{Secret, load_text};

use super::{
    inbound::{Reader, Refusal, to_receipts},
    outbound::{of_action, to_delivery},
    verify::{ID, Keys, SIGNATURE, TIMESTAMP},
    webhook::receive,
};
use crate::{
    Action, CallLog, Connector, Context, NoMedia, Part, ReceiveError, Received, SendContext,
    SendError, event_id, registry, render,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The fixtures of a folder by name.
fn fixtures(folder: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/custom/fixtures")
        .join(folder);
    fs::read_dir(path)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("readable").path())
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            let text = fs::read_to_string(&path).expect("readable");
            (name.into_owned(), text)
        })
        .collect()
}

fn reader() -> Reader {
    Reader {
        channel: ChannelId::from("crm"),
        guard: Guard::default(),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

fn connector() -> Arc<dyn Connector> {
    let text = format!(
        "[demo]\nenabled = false\n[organizations.acme]\nname = 'Acme'\n\
         [channels.crm]\nkind = 'custom'\nurl = 'https://crm.example/hook?key=shibboleth'\n\
         secret = '{SECRET}'\n"
    );
    let settings = Arc::new(load_text("test", &text, &[]).expect("right settings"));
    let context = Context {
        channel: settings.channels["crm"].clone(),
        settings,
        database: None,
        bus: None,
        public_url: None,
        media: None,
    };
    match registry::build(&context) {
        Ok(built) => built.connector,
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The event as it travels, with the size of the raw payload instead of the payload.
fn shown(event: &Inbound) -> Value {
    let (name, value) = match event {
        Inbound::Received(event) => ("received", serde_json::to_value(event)),
        Inbound::Edited(event) => ("edited", serde_json::to_value(event)),
        Inbound::Deleted(event) => ("deleted", serde_json::to_value(event)),
        Inbound::Reacted(event) => ("reacted", serde_json::to_value(event)),
        Inbound::Joined(event) => ("joined", serde_json::to_value(event)),
        Inbound::Left(event) => ("left", serde_json::to_value(event)),
        Inbound::Typing(event) => ("typing", serde_json::to_value(event)),
        Inbound::Read(event) => ("read", serde_json::to_value(event)),
        Inbound::Status(_) | Inbound::Media(_) | Inbound::ChangeFailed(_) | Inbound::Health(_) => {
            panic!("the parser makes no such event")
        }
    };
    let mut value = value.expect("an event is JSON");
    if let Some(raw) = value.pointer_mut("/origin/raw") {
        let size = raw["body"].as_str().map(str::len);
        *raw = json!({ "bytes": size });
    }
    json!({ name: value })
}

#[test]
fn every_event_of_the_contract() {
    let mut text = String::new();
    for (name, body) in fixtures("messages") {
        text.push_str(&format!("## {name}\n"));
        let events = reader().to_events(body.as_bytes());
        for event in events.unwrap_or_else(|refusal| panic!("{name}: {refusal:?}")) {
            let json = serde_json::to_string_pretty(&shown(&event)).expect("JSON");
            text.push_str(&json);
            text.push('\n');
        }
    }
    insta::assert_snapshot!("events", text);
}

#[test]
fn every_status_of_the_contract() {
    let body = &fixtures("statuses")["01_all"];
    let receipts = to_receipts(body.as_bytes(), now()).expect("right");
    let told: Vec<_> = receipts
        .iter()
        .map(|receipt| {
            let failure = receipt.failure.as_ref();
            (
                receipt.provider_id.as_str(),
                receipt.status,
                receipt.at == now(),
                failure.map(|failure| (failure.code, failure.reason.as_str())),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("m-1", Status::Delivered, false, None),
            ("m-2", Status::Read, true, None),
            (
                "m-3",
                Status::Failed,
                false,
                Some((FailureCode::Rejected, "mailbox full"))
            ),
            (
                "m-4",
                Status::Failed,
                true,
                Some((FailureCode::Unreachable, "the system reported a failure"))
            ),
        ]
    );
}

#[test]
fn every_bad_event_is_named_and_nothing_is_taken() {
    let refused = fixtures("refused");
    let mut text = String::new();
    for name in ["messages", "statuses"] {
        let body = refused[name].as_bytes();
        let refusal = match name {
            "messages" => reader().to_events(body).err(),
            _ => to_receipts(body, now()).err(),
        };
        let Some(Refusal::Problems(problems)) = refusal else {
            panic!("{name}: {refusal:?}");
        };
        for problem in problems {
            let id = problem.id.as_deref().unwrap_or("-");
            let line = format!("{name}[{}] {id}: {}\n", problem.index, problem.problem);
            text.push_str(&line);
        }
    }
    insta::assert_snapshot!("problems", text);
}

#[test]
fn a_body_that_is_no_list_is_refused() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"events":{}}"#,
        "{\"events\":[",
        "null",
        "\u{feff}{}",
    ] {
        let refusal = reader().to_events(body.as_bytes()).err();
        assert!(matches!(refusal, Some(Refusal::Body(_))), "{body}");
    }
    let many = format!(r#"{{"events":[{}]}}"#, vec!["7"; 1001].join(","));
    let Err(Refusal::Body(reason)) = reader().to_events(many.as_bytes()) else {
        panic!("too many were read");
    };
    assert!(reason.contains("at most 1000"), "{reason}");
    assert!(reader().to_events(b"\xff{\"events\":[]}").is_err());
}

#[test]
fn the_same_event_is_the_same_however_it_is_written() {
    for (name, body) in fixtures("messages") {
        let ids = |body: &str| -> Vec<_> {
            let events = reader().to_events(body.as_bytes()).expect("right");
            let channel = ChannelId::from("crm");
            events
                .iter()
                .map(|event| event_id(&channel, event))
                .collect()
        };
        let value: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(ids(&body), ids(&value.to_string()), "{name}");
    }
}

/// A person changes their mind faster than the clock of their system ticks.
#[test]
fn events_of_the_same_second_are_told_apart_by_their_ids() {
    let ids_of = |events: &[Value]| -> Vec<EventId> {
        let body = json!({"events": events}).to_string();
        let events = reader().to_events(body.as_bytes()).expect("right");
        let channel = ChannelId::from("crm");
        events
            .iter()
            .map(|event| event_id(&channel, event))
            .collect()
    };
    let event = |id: &str, kind: &str, more: Value| {
        let mut event = json!({"type": kind, "id": id, "at": "2026-03-01T10:00:00Z",
            "from": {"address": "client-77"}});
        for (field, value) in more.as_object().expect("fields") {
            event[field] = value.clone();
        }
        event
    };
    let reaction = |id: &str, reactions: Value| {
        event(
            id,
            "reaction",
            json!({"message": "m-1", "reactions": reactions}),
        )
    };
    let edit = |id: &str, text: &str| {
        let content = json!({"type": "text", "text": text});
        event(id, "edit", json!({"message": "m-1", "content": content}))
    };
    let all = [
        reaction("r-1", json!(["👍"])),
        reaction("r-2", json!([])),
        reaction("r-3", json!(["👍"])),
        edit("e-1", "one"),
        edit("e-2", "two"),
        edit("e-3", "one"),
        event("j-1", "joined", json!({})),
        event("j-2", "joined", json!({})),
        event("l-1", "left", json!({"reason": "gone"})),
        event("l-2", "left", json!({"reason": "gone"})),
        event("t-1", "typing", json!({})),
        event("t-2", "typing", json!({})),
    ];
    let ids = ids_of(&all);
    let different: BTreeSet<&EventId> = ids.iter().collect();
    assert_eq!(different.len(), all.len());
    assert_eq!(ids_of(&all), ids, "posted again they are the same");
}

#[test]
fn what_is_published_can_be_read_again() {
    for (name, body) in fixtures("messages") {
        for event in reader().to_events(body.as_bytes()).expect("right") {
            let Inbound::Received(message) = event else {
                continue;
            };
            let json = serde_json::to_string(&message).expect("JSON");
            let again: tributary_bus::message::MessageReceived =
                serde_json::from_str(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(again, *message, "{name}");
        }
    }
}

#[test]
fn stored_payloads_are_read_again_alike() {
    let connector = connector();
    let replay = connector.replay().expect("it can be replayed");
    for (name, body) in fixtures("messages") {
        for event in reader().to_events(body.as_bytes()).expect("right") {
            let Some(raw) = &event.origin().raw else {
                assert!(matches!(event, Inbound::Typing(_)), "{name}");
                continue;
            };
            let again = replay.read(raw).expect("it was read before");
            assert_eq!(again, [event], "{name}");
        }
    }
    let raw = Raw {
        media_type: "application/json".to_owned(),
        body: "{}".to_owned(),
    };
    assert!(matches!(replay.read(&raw), Err(ReceiveError::Malformed(_))));
}

fn signed(method: &str, path: &str, body: &str, secret: &str) -> Result<Received, ReceiveError> {
    let keys = |secret| Keys::new(&Secret::new(secret), &Secret::default()).expect("keys");
    let timestamp = Utc::now().timestamp();
    let request = Request::builder()
        .method(method)
        .uri(format!("https://x.example/channels/crm/{path}"))
        .header(ID, "req-1")
        .header(TIMESTAMP, timestamp)
        .header(
            SIGNATURE,
            keys(secret).sign("req-1", timestamp, body.as_bytes()),
        )
        .body(Bytes::from(body.to_owned()))
        .expect("a request");
    receive(&reader(), &keys(SECRET), &request)
}

#[test]
fn a_request_is_taken_whole_or_refused_whole() {
    let body = &fixtures("messages")["30_several"];
    let taken = signed("POST", "messages", body, SECRET).expect("taken");
    assert_eq!(taken.events.len(), 3);
    assert_eq!(taken.reply.status(), 200);
    assert_eq!(taken.reply.body(), r#"{"accepted":3}"#);

    let body = &fixtures("statuses")["01_all"];
    let taken = signed("POST", "statuses", body, SECRET).expect("taken");
    assert_eq!((taken.events.len(), taken.receipts.len()), (0, 4));

    let body = &fixtures("refused")["messages"];
    let refused = signed("POST", "messages", body, SECRET).expect("an answer");
    assert_eq!((refused.events.len(), refused.receipts.len()), (0, 0));
    assert_eq!(refused.reply.status(), 400);
    let reply: Value = serde_json::from_slice(refused.reply.body()).expect("JSON");
    assert_eq!(reply["problems"][0]["index"], 1);
    assert_eq!(reply["problems"][0]["id"], "bad-1");

    let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let refused = signed("POST", "messages", body, other);
    assert!(
        matches!(refused, Err(ReceiveError::Unauthorized)),
        "problems are told only to who signs"
    );
    for (method, path) in [("GET", "messages"), ("POST", "other"), ("PUT", "statuses")] {
        let refused = signed(method, path, body, SECRET);
        assert!(matches!(refused, Err(ReceiveError::NotFound)), "{path}");
    }
}

fn context(reply_to: Option<&str>) -> SendContext {
    SendContext {
        message_id: MessageId::derived(&ChannelId::from("crm"), "fixed"),
        parts: 1,
        to: Address::from("client-77"),
        seq: 12,
        reply_to: reply_to.map(str::to_owned),
        idempotency_key: "key-0".to_owned(),
        deadline: std::time::Duration::from_secs(1),
        media: Arc::new(NoMedia),
        log: CallLog::nowhere(),
    }
}

fn part(content: Content) -> Part {
    Part { index: 0, content }
}

fn picture(media: Media) -> Content {
    Content::Image(MediaContent {
        media,
        ..MediaContent::default()
    })
}

#[test]
fn every_delivery_of_the_contract() {
    let channel = ChannelId::from("crm");
    let context = context(Some("evt-1"));
    let link = Media {
        url: Some("https://files.example.org/cat.png".to_owned()),
        source: Some("where it came from".to_owned()),
        ..Media::default()
    };
    let contents = [
        Content::text("Ready!"),
        picture(link),
        Content::Choices(Choices {
            text: Text::plain("Size?"),
            options: vec![Choice::reply("s", "S")],
            ..Choices::default()
        }),
    ];
    let mut text = String::new();
    let mut add = |delivery: &dyn erased::Json| {
        text.push_str(&delivery.pretty());
        text.push('\n');
    };
    for content in contents {
        add(&to_delivery(&channel, &part(content), &context).expect("planned"));
    }
    let ids = vec!["m-1".to_owned(), "m-2".to_owned()];
    for action in [
        Action::Edit {
            parts: vec![("m-1".to_owned(), part(Content::text("Ready now!")))],
        },
        Action::Delete { provider_ids: ids },
        Action::React {
            provider_id: "evt-1".to_owned(),
            reactions: vec!["👍".to_owned()],
        },
        Action::Typing,
        Action::Read {
            provider_id: "evt-1".to_owned(),
        },
    ] {
        add(&of_action(&channel, &action, &context).expect("planned"));
    }
    insta::assert_snapshot!("deliveries", text);
}

/// Lets deliveries of different lifetimes be shown alike.
mod erased {
    pub trait Json {
        fn pretty(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn pretty(&self) -> String {
            serde_json::to_string_pretty(self).expect("JSON")
        }
    }
}

#[test]
fn media_that_nobody_can_open_is_refused_by_name() {
    let kept = Media {
        media_id: Some(MediaId("00".to_owned())),
        ..Media::default()
    };
    let context = context(None);
    let channel = ChannelId::from("crm");
    let planned = to_delivery(&channel, &part(picture(kept)), &context);
    let Err(SendError::Rejected { code, reason }) = planned.map(drop) else {
        panic!("it was planned");
    };
    assert_eq!(code, "no_link");
    assert!(reason.contains("ingress.public_url"));
}

#[test]
fn all_content_goes_out_as_it_is() {
    let connector = connector();
    for (name, body) in fixtures("messages") {
        for event in reader().to_events(body.as_bytes()).expect("right") {
            let Inbound::Received(message) = event else {
                continue;
            };
            let mut content = message.content;
            for media in content.media_mut() {
                media.url = media.source.take();
                media.state = MediaState::Ready;
            }
            let rendered = render(&content, connector.capabilities());
            match content {
                // Only contacts say such things.
                Content::ChoiceReply(_) | Content::Unsupported(_) | Content::Other(_) => {
                    assert!(rendered.is_err(), "{name}");
                }
                content => {
                    let rendered = rendered.unwrap_or_else(|error| panic!("{name}: {error}"));
                    assert_eq!(rendered.degraded, [], "{name}");
                    assert_eq!(rendered.parts, [part(content)], "{name}");
                }
            }
        }
    }
}

#[test]
fn what_must_not_be_logged_is_declared() {
    let secrets = connector().secrets();
    for secret in [SECRET, &SECRET["whsec_".len()..], "key=shibboleth"] {
        assert!(secrets.iter().any(|known| known == secret), "{secret}");
    }
}
