//! Every update of the provider's facts, what is sent for every content, and what nobody would send.

mod mutations;
mod polling;
mod requests;
mod settings;
mod updates;

use std::{collections::BTreeMap, fs, path::Path};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tributary_bus::{ChannelId, message::Inbound};

use super::{
    config::Listen,
    inbound::{Reader, Translated, to_events},
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

fn reader(listen: Listen) -> Reader {
    Reader {
        channel: ChannelId::from("shop"),
        bot: 123_456_789,
        groups: listen,
        channels: listen,
    }
}

fn translated(raw: &str) -> Translated {
    to_events(&reader(Listen::Ignore), raw, now())
}

fn translate(raw: &str) -> Vec<Inbound> {
    translated(raw).events
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
