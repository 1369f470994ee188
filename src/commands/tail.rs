//! `tributary tail`: what moves on the bus, live. Content is hidden unless asked for.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use futures::StreamExt;
use serde_json::Value;
use tributary_bus::{ChannelId, Envelope, Lane, Moved};
use tributary_config::Settings;

use super::visit_bus;
use crate::cli::{Colour, Tail};

/// Prints until the count is reached, the stream ends or Ctrl-C is pressed.
///
/// # Errors
/// The bus cannot be reached, or nobody reads the output.
pub async fn tail(settings: &Settings, options: &Tail) -> Result<()> {
    let bus = visit_bus(settings).await?;
    let lanes = lanes(settings);
    let mut stream = bus.tail(&lanes).await?;
    let colours = match options.colour {
        Colour::Auto => std::io::stdout().is_terminal(),
        Colour::Always => true,
        Colour::Never => false,
    };
    if std::io::stderr().is_terminal() {
        let hint = if options.content {
            ""
        } else {
            "; content is hidden, --content shows it"
        };
        eprintln!("watching the bus{hint}; Ctrl-C ends");
    }
    if let Some(prefix) = &options.lane
        && !is_known(prefix, &lanes)
    {
        eprintln!(
            "no lane of this config begins with {prefix:?}: use the config of the fleet to see what goes there"
        );
    }
    let mut shown = 0;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while options.count.is_none_or(|count| shown < count) {
        let moved = tokio::select! {
            moved = stream.next() => moved,
            _ = &mut interrupted => break,
        };
        let Some(moved) = moved else { break };
        if let Some(line) = line(&moved, options, colours) {
            // A closed pipe (`| head`) ends the command quietly.
            if writeln!(std::io::stdout(), "{line}").is_err() {
                break;
            }
            shown += 1;
        }
    }
    bus.close().await;
    Ok(())
}

/// The envelope as a tree. Data that can be none (nested too deep, say) is only named.
fn as_value(mut envelope: Envelope) -> Value {
    serde_json::to_value(&envelope).unwrap_or_else(|_| {
        envelope.data = Value::from("[unreadable]").into();
        serde_json::to_value(&envelope).unwrap_or_default()
    })
}

/// All lanes that the config knows of; an endpoint's lane is filled by events.
fn lanes(settings: &Settings) -> Vec<Lane> {
    let inbound = (0..settings.bus.inbound_lanes).map(Lane::Inbound);
    let delivery = settings
        .channels
        .keys()
        .map(|id| Lane::Delivery(ChannelId(id.clone())));
    inbound.chain(delivery).collect()
}

/// One moved message as a line; `None` when the options leave it out.
fn line(moved: &Moved, options: &Tail, colours: bool) -> Option<String> {
    if options
        .lane
        .as_ref()
        .is_some_and(|prefix| !moved.to.starts_with(prefix.as_str()))
    {
        return None;
    }
    let Ok(envelope) = Envelope::parse(&moved.body) else {
        let chosen = options.kind.is_some() || options.organization.is_some();
        let text = format!("{}  not an envelope, {} bytes", moved.to, moved.body.len());
        return (!chosen).then_some(text);
    };
    let kind_differs = options
        .kind
        .as_ref()
        .is_some_and(|kind| !envelope.kind.starts_with(kind.as_str()));
    let organization_differs = options
        .organization
        .as_ref()
        .is_some_and(|id| envelope.orgid.as_str() != id);
    if kind_differs || organization_differs {
        return None;
    }
    if options.json {
        let mut value = as_value(envelope);
        if !options.content {
            hide_content(&mut value);
        }
        return Some(
            serde_json::json!({"to": moved.to, "at": moved.at, "envelope": value}).to_string(),
        );
    }
    Some(columns(moved, &envelope, options.content, colours))
}

fn columns(moved: &Moved, envelope: &Envelope, content: bool, colours: bool) -> String {
    let paint = |code: &str, text: String| {
        if colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text
        }
    };
    let colour = match moved.to.split('.').next() {
        Some("inbound") => "32",
        Some("delivery") => "34",
        Some("events" | "endpoint") => "35",
        Some("dead") => "31;1",
        _ => "0",
    };
    let subject = envelope
        .subject
        .as_deref()
        .and_then(short)
        .unwrap_or_default();
    let data = envelope.data.to_value();
    let mut line = format!(
        "{}  {}  {}  {}  {:>5}  {}",
        paint("2", moved.at.format("%H:%M:%S%.3f").to_string()),
        paint(colour, format!("{:<24}", moved.to)),
        paint("1", format!("{:<30}", envelope.kind)),
        format_args!("{:<10}", envelope.orgid.as_str()),
        envelope
            .place()
            .map_or("-".to_owned(), |place| place.to_string()),
        paint("2", format!("{subject:<10} {}", details(&data))),
    );
    if content && let Some(text) = words(&data) {
        line.push_str(&format!("  {:?}", shorten(text, 80)));
    }
    line
}

/// The end of a conversation's id, where ids differ. Other subjects may hold an address and are left out.
fn short(subject: &str) -> Option<String> {
    let id = uuid::Uuid::parse_str(subject).ok()?.simple().to_string();
    id.get(24..).map(str::to_owned)
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most).chain(['…']).collect()
}

/// What an operator may see of the payload: statuses, reasons, content types.
fn details(data: &Value) -> String {
    let mut found = Vec::new();
    let message = data.get("message").unwrap_or(data);
    for key in ["status", "state", "reason", "direction"] {
        if let Some(text) = message.get(key).and_then(Value::as_str) {
            found.push(text.to_owned());
        }
    }
    if let Some(kind) = message.pointer("/content/type").and_then(Value::as_str) {
        found.push(kind.to_owned());
    }
    if let Some(code) = message.pointer("/failure/code").and_then(Value::as_str) {
        found.push(format!("failure={code}"));
    }
    if message.get("uncertain").and_then(Value::as_bool) == Some(true) {
        found.push("uncertain".to_owned());
    }
    found.join(" ")
}

fn words(data: &Value) -> Option<&str> {
    data.pointer("/content/text")
        .or_else(|| data.pointer("/message/content/text"))?
        .as_str()
}

/// Keys whose values are somebody's words, name or address.
const PRIVATE: [&str; 13] = [
    "content",
    "raw",
    "contact",
    "address",
    "to",
    "text",
    "payload",
    "profile",
    "username",
    "name",
    "page",
    "reactions",
    "our_reactions",
];

/// Replaces what people wrote and who they are by `[hidden]`, at every depth of the payload.
pub fn hide_content(envelope: &mut Value) {
    if let Some(data) = envelope.get_mut("data") {
        hide(data);
    } else {
        hide(envelope);
    }
    if let Some(subject) = envelope.get_mut("subject").filter(|subject| {
        // A conversation's id tells nothing; anything else may hold an address.
        subject
            .as_str()
            .is_none_or(|text| uuid::Uuid::parse_str(text).is_err())
    }) {
        *subject = Value::String("[hidden]".to_owned());
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if PRIVATE.contains(&key.as_str()) && !inner.is_null() {
                    *inner = match inner.get("type").cloned() {
                        Some(kind) => serde_json::json!({"type": kind, "hidden": true}),
                        None => Value::String("[hidden]".to_owned()),
                    };
                } else {
                    hide(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether something that is watched has a name that begins so.
fn is_known(prefix: &str, lanes: &[Lane]) -> bool {
    let begins = |name: &str| name.starts_with(prefix);
    begins("events") || begins("dead") || lanes.iter().any(|lane| begins(&lane.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_nobody_knows_is_told() {
        let lanes = [
            Lane::Inbound(3),
            Lane::Delivery(ChannelId::from("acme-bot")),
        ];
        for prefix in ["", "in", "inbound.3", "delivery.acme", "events", "dead"] {
            assert!(is_known(prefix, &lanes), "{prefix}");
        }
        for prefix in ["inbound.4", "delivery.other", "endpoint"] {
            assert!(!is_known(prefix, &lanes), "{prefix}");
        }
    }

    #[test]
    fn data_that_is_no_tree_is_named() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let text = format!(
            r#"{{"specversion":"1.0","id":"0190b5a0-0000-7000-8000-000000000001","source":"/x","type":"x.y.v1","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","dataschema":"x","orgid":"acme","data":{deep}}}"#
        );
        let value = as_value(Envelope::parse(text.as_bytes()).expect("an envelope"));
        assert_eq!(value["data"], "[unreadable]");
        assert_eq!(value["type"], "x.y.v1");
    }

    #[test]
    fn hidden_means_hidden_at_every_depth() {
        let mut value = serde_json::json!({
            "id": "1", "subject": "shop/5550001111",
            "data": {
                "origin": {"channel_id": "shop", "address": "5550001111", "raw": {"body": "hello"}},
                "message": {"content": {"type": "text", "text": "hello"}, "status": "queued"},
                "contact": {"name": "Olena"},
            }
        });
        hide_content(&mut value);
        let text = value.to_string();
        for secret in ["hello", "5550001111", "Olena"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!(
            value.pointer("/data/message/content/type"),
            Some(&Value::from("text"))
        );
        assert_eq!(
            value.pointer("/data/message/status"),
            Some(&Value::from("queued"))
        );
    }
}
