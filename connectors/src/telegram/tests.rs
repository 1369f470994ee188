//! Every update of the provider's facts, and what nobody would send.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tributary_bus::{
    Address, Bus, ChannelId, EmbeddedBus, Lane, LaneSpec, MessageId,
    message::{Content, Entity, EntityKind, Inbound, Text},
};
use tributary_config::{Secret, load_text};
use tributary_simulators::telegram::{Options, TelegramSimulator};

use super::{config::Config, inbound::to_events, outbound::to_request};
use crate::{
    CallLog, Context, InboundSink, NoMedia, Part, SendContext, registry, testing::PATIENCE,
};

/// The fixtures of a folder by name.
fn fixtures(folder: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/telegram/fixtures")
        .join(folder);
    fs::read_dir(path)
        .expect("the fixtures are there")
        .map(|entry| entry.expect("readable"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = fs::read_to_string(entry.path()).expect("readable");
            (name, text.trim().to_owned())
        })
        .collect()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

fn translate(raw: &str) -> Vec<Inbound> {
    to_events(&ChannelId::from("shop"), raw, now()).events
}

/// The event as it travels, with the size of the raw payload instead of the payload.
fn shown(event: &Inbound) -> Value {
    let (name, value) = match event {
        Inbound::Received(event) => ("received", serde_json::to_value(event)),
        Inbound::Edited(event) => ("edited", serde_json::to_value(event)),
        Inbound::Deleted(event) => ("deleted", serde_json::to_value(event)),
        Inbound::Reacted(event) => ("reacted", serde_json::to_value(event)),
        Inbound::Status(event) => ("status", serde_json::to_value(event)),
        Inbound::Media(event) => ("media", serde_json::to_value(event)),
        Inbound::ChangeFailed(event) => ("change_failed", serde_json::to_value(event)),
        Inbound::Joined(event) => ("joined", serde_json::to_value(event)),
        Inbound::Left(event) => ("left", serde_json::to_value(event)),
        Inbound::Typing(event) => ("typing", serde_json::to_value(event)),
        Inbound::Read(event) => ("read", serde_json::to_value(event)),
        Inbound::Health(event) => ("health", serde_json::to_value(event)),
    };
    let mut value = value.expect("an event is JSON");
    if let Some(origin) = value.get_mut("origin").and_then(Value::as_object_mut) {
        let raw = origin.remove("raw").unwrap_or(Value::Null);
        let size = raw.get("body").and_then(Value::as_str).map(str::len);
        origin.insert("raw_bytes".to_owned(), json!(size));
    }
    json!({ name: value })
}

#[test]
fn every_known_update() {
    let mut text = String::new();
    for (name, raw) in fixtures("updates") {
        text.push_str(&format!("## {name}\n"));
        for event in translate(&raw) {
            let json = serde_json::to_string_pretty(&shown(&event)).expect("JSON");
            text.push_str(&json);
            text.push('\n');
        }
    }
    insta::assert_snapshot!("updates", text);
}

#[test]
fn the_raw_payload_travels_once_and_whole() {
    for (name, raw) in fixtures("updates") {
        let events = translate(&raw);
        let raws: Vec<&str> = events
            .iter()
            .filter_map(|event| Some(event.origin().raw.as_ref()?.body.as_str()))
            .collect();
        assert_eq!(raws, [raw.as_str()], "{name}");
    }
}

#[test]
fn a_message_polled_and_one_posted_have_the_same_id() {
    let id = |raw: &str| match translate(raw).pop() {
        Some(Inbound::Received(message)) => message.message_id,
        other => panic!("not a message: {other:?}"),
    };
    let raw = &fixtures("updates")["01_text.json"];
    let spaced = raw.replace(':', " : ").replace("https : ", "https:");
    assert_eq!(id(raw), id(&spaced));
    assert_eq!(
        id(raw),
        MessageId::derived(&ChannelId::from("shop"), "5550001111:51")
    );
}

#[test]
fn a_pressed_button_is_answered() {
    let translated = to_events(
        &ChannelId::from("shop"),
        &fixtures("updates")["20_callback_query.json"],
        now(),
    );
    let answer = translated.answer.expect("an answer");
    assert_eq!(answer.callback_query_id, "2383000000000000001");
}

fn context(to: &str, reply_to: Option<&str>) -> SendContext {
    SendContext {
        message_id: MessageId::generate(),
        to: Address::from(to),
        seq: 1,
        reply_to: reply_to.map(str::to_owned),
        idempotency_key: "k".to_owned(),
        deadline: Duration::from_secs(1),
        media: Arc::new(NoMedia),
        log: CallLog::nowhere(),
    }
}

fn request(to: &str, reply_to: Option<&str>, text: &str, entities: Vec<Entity>) -> Value {
    let part = Part {
        index: 0,
        content: Content::Text(Text {
            text: text.to_owned(),
            entities,
            extra: serde_json::Map::new(),
        }),
    };
    let request = to_request(&part, &context(to, reply_to)).expect("text can be sent");
    serde_json::to_value(request).expect("JSON")
}

#[test]
fn requests_are_what_telegram_takes() {
    let link = Entity {
        offset: 2,
        length: 4,
        kind: EntityKind::Link {
            url: "https://shop.example.org".to_owned(),
        },
    };
    assert_eq!(
        request("5550001111", Some("5550001111:66"), "😀 here", vec![link]),
        json!({
            "chat_id": 5_550_001_111_i64,
            "text": "😀 here",
            "entities": [{"type": "text_link", "offset": 3, "length": 4, "url": "https://shop.example.org"}],
            "reply_parameters": {"message_id": 66, "allow_sending_without_reply": true},
        })
    );
    // Ids of another chat, or none of ours, are not answered to.
    for other in ["5550001112:66", "callback:5", "66", "5550001111:x"] {
        assert_eq!(
            request("5550001111", Some(other), "hi", Vec::new()),
            json!({"chat_id": 5_550_001_111_i64, "text": "hi"})
        );
    }
    assert_eq!(
        request("@news_ex", None, "hi", Vec::new()),
        json!({"chat_id": "@news_ex", "text": "hi"})
    );
}

#[test]
fn wrong_settings_are_all_named() {
    let config = Config {
        token: Secret::new("not a token"),
        api_url: "ftp://x.example".parse().expect("a URL"),
        secret_token: Secret::new("with.dot"),
        webhook_connections: 0,
        rate_per_second: 0.0,
        ..Config::default()
    };
    let problems = config.check("channels.shop").err().expect("all wrong");
    let keys: Vec<&str> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "channels.shop.token",
            "channels.shop.api_url",
            "channels.shop.secret_token",
            "channels.shop.webhook_connections",
            "channels.shop.rate_per_second",
        ]
    );
    let text = format!("{problems:?} {config:?}");
    assert!(
        !text.contains("not a token") && !text.contains("with.dot"),
        "{text}"
    );
    let right = Config {
        token: Secret::new("123456789:AAExampleToken"),
        secret_token: Secret::new("x".repeat(256)),
        ..Config::default()
    };
    assert!(right.check("channels.shop").is_ok());
    let long = Config {
        secret_token: Secret::new("x".repeat(257)),
        ..right
    };
    assert!(long.check("channels.shop").is_err());
}

#[test]
fn derived_secrets_are_legal_stable_and_of_the_account() {
    let config = Config {
        token: Secret::new("123456789:AAExampleToken"),
        ..Config::default()
    };
    let secret = config.secret_of("shop");
    assert_eq!(secret.expose().len(), 64);
    assert_eq!(secret.expose(), config.secret_of("shop").expose());
    assert_ne!(secret.expose(), config.secret_of("other").expose());
}

/// What is polled is confirmed only when it is durable.
#[tokio::test(flavor = "multi_thread")]
async fn updates_wait_at_telegram_while_there_is_no_bus() {
    let telegram = TelegramSimulator::start(Options::quick())
        .await
        .expect("a simulator");
    telegram.user(7).says("hello");
    let text = format!(
        "[demo]\nenabled = false\n[bus]\ninbound_lanes = 1\n[organizations.acme]\nname = 'Acme'\n\
         [channels.shop]\nkind = 'telegram'\ntoken = '{}'\napi_url = '{}'\n",
        telegram.token(),
        telegram.base_url()
    );
    let settings = Arc::new(load_text("test", &text, &[]).expect("right settings"));
    let context = Context {
        channel: settings.channels["shop"].clone(),
        settings: Arc::clone(&settings),
        database: None,
        bus: None,
        public_url: None,
        media: None,
    };
    let built = registry::build(&context).expect("right settings");
    let session = built.connector.session().expect("a session");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let lane = LaneSpec {
        lane: Lane::Inbound(0),
        filter: None,
    };
    for (name, open) in [("away.db", false), ("there.db", true)] {
        let bus = EmbeddedBus::open(&dir.path().join(name))
            .await
            .expect("a bus");
        bus.declare(std::slice::from_ref(&lane))
            .await
            .expect("a lane");
        if !open {
            bus.close().await;
        }
        let anybody: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let sink = InboundSink::new(anybody, &context.channel, &settings);
        let stop = CancellationToken::new();
        let running = session.run(sink, stop.clone());
        let drained = telegram.wait_until_drained(if open {
            PATIENCE
        } else {
            Duration::from_millis(700)
        });
        let watched = async {
            let drained = drained.await;
            stop.cancel();
            drained
        };
        let (ended, drained) = tokio::join!(running, watched);
        ended.expect("it stops as asked");
        assert_eq!(drained.is_ok(), open, "{name}");
        if open {
            assert_eq!(bus.depth(&lane.lane).await.expect("a depth"), 1);
        }
    }
    let polls = telegram.calls_of("getUpdates");
    assert_eq!(polls[0].parameters.integer("offset"), None);
}

/// One change somewhere in a document.
#[derive(Debug, Clone)]
struct Mutation {
    /// Chooses the place.
    place: usize,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    Replace(Value),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let value = prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"id": null, "type": 5, "text": []})),
        Just(json!([[["x"]], 7])),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!("/start  \u{0} 😀")),
        "\\PC{0,40}".prop_map(Value::from),
    ];
    let change = prop_oneof![
        1 => Just(Change::Remove),
        3 => value.prop_map(Change::Replace),
    ];
    let mutation = (any::<usize>(), change).prop_map(|(place, change)| Mutation { place, change });
    prop::collection::vec(mutation, 1..5)
}

/// JSON pointers to everything in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let path = format!("{at}/{key}");
                places(inner, &path, found);
                found.push(path);
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                let path = format!("{at}/{index}");
                places(inner, &path, found);
                found.push(path);
            }
        }
        _ => {}
    }
}

fn mutate(document: &mut Value, mutation: &Mutation) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    if found.is_empty() {
        return;
    }
    let place = &found[mutation.place % found.len()];
    match &mutation.change {
        Change::Replace(value) => {
            if let Some(target) = document.pointer_mut(place) {
                *target = value.clone();
            }
        }
        Change::Remove => {
            let (parent, key) = place.rsplit_once('/').unwrap_or(("", place));
            match document.pointer_mut(parent) {
                Some(Value::Object(map)) => {
                    map.remove(key);
                }
                Some(Value::Array(list)) => list.clear(),
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Never a panic, never silence, and always something that can travel.
    #[test]
    fn whatever_comes_something_is_told(which in any::<usize>(), changes in mutations(), cut in any::<Option<u16>>()) {
        let all: Vec<String> = fixtures("updates").into_values().collect();
        let mut document: Value = serde_json::from_str(&all[which % all.len()]).expect("JSON");
        for change in &changes {
            mutate(&mut document, change);
        }
        let mut raw = document.to_string();
        if let Some(cut) = cut.filter(|cut| cut % 8 == 0) {
            let end = raw.floor_char_boundary(usize::from(cut) % (raw.len() + 1));
            raw.truncate(end);
        }
        let events = translate(&raw);
        prop_assert!(!events.is_empty());
        for event in &events {
            prop_assert!(!event.origin().address.as_str().is_empty());
            shown(event);
        }
        prop_assert_eq!(translate(&raw), events, "the same every time");
    }
}
