//! The custom channel: events by signed `POST`, the integrator's system simulated.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tributary_bus::Address;
use tributary_simulators::{
    custom::{CustomSystem, DeliveryAction, DeliveryMatch, Forged},
    script::Times,
};

use super::{Answer, Fed, Fixture, Mischief, Seal, Shown, Sign, Stand, feed_webhook};
use crate::bare::Bare;

const PREVIOUS: &str = "whsec_dW5taXN0YWthYmxlLXByZXZpb3VzLXNlY3JldC0wMTIz";

pub struct CustomStand {
    system: CustomSystem,
    ingress: OnceLock<SocketAddr>,
}

/// Where a payload goes: events and statuses have paths of their own.
fn path(payload: &[u8]) -> &'static str {
    if String::from_utf8_lossy(payload).contains("\"statuses\"") {
        "statuses"
    } else {
        "messages"
    }
}

fn answer(status: u16) -> Answer {
    match status {
        200..=299 => Answer::Taken,
        status => Answer::Refused(status),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

fn message(id: &str, from: &str, text: &str) -> Vec<u8> {
    let event = json!({
        "type": "message", "id": id, "at": "2026-01-01T10:00:00Z",
        "from": {"address": from, "name": "Olena"},
        "content": {"type": "text", "text": text},
    });
    json!({"events": [event]}).to_string().into_bytes()
}

impl CustomStand {
    /// By Standard Webhooks: HMAC-SHA256 over `<id>.<timestamp>.<body>`.
    fn signature(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let secret = self.system.secret();
        let key = secret.strip_prefix("whsec_").expect("a prefix");
        let key = BASE64_STANDARD.decode(key).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }

    async fn sign_and_post(&self, url: &str, payload: &[u8]) -> Answer {
        let now = now();
        let request = reqwest::Client::new()
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", "req-1")
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", self.signature("req-1", now, payload))
            .body(payload.to_vec());
        let response = request.send().await.expect("an answer");
        answer(response.status().as_u16())
    }

    /// Deliveries of a kind to somebody.
    fn delivered(&self, kind: &str, to: &Address) -> Vec<Value> {
        let delivered = self.system.delivered_of(kind);
        delivered
            .iter()
            .filter(|delivery| delivery.body["to"] == to.as_str())
            .map(|delivery| delivery.body.clone())
            .collect()
    }
}

fn shown(content: &Value) -> Shown {
    let kind = content["type"].as_str().unwrap_or_default();
    let text = match kind {
        "text" => &content["text"],
        "choices" | "carousel" => &content["text"]["text"],
        _ => &content["caption"]["text"],
    };
    let options = content["options"].as_array().cloned().unwrap_or_default();
    Shown {
        text: text.as_str().unwrap_or_default().to_owned(),
        kind: kind.to_owned(),
        buttons: options
            .iter()
            .filter_map(|option| Some(option["title"].as_str()?.to_owned()))
            .collect(),
    }
}

#[async_trait]
impl Stand for CustomStand {
    const KIND: &'static str = "custom";

    async fn start() -> Self {
        Self {
            system: CustomSystem::start().await.expect("a simulator"),
            ingress: OnceLock::new(),
        }
    }

    fn settings(&self) -> String {
        format!(
            "url = '{}'\nsecret = '{}'\nprevious_secret = '{PREVIOUS}'\n\
             allow_internal = ['127.0.0.0/8']\n",
            self.system.url(),
            self.system.secret(),
        )
    }

    fn secrets(&self) -> Vec<String> {
        [self.system.secret(), PREVIOUS.to_owned()]
            .iter()
            .filter_map(|secret| secret.strip_prefix("whsec_").map(str::to_owned))
            .collect()
    }

    async fn opened(&self, ingress: SocketAddr) {
        self.ingress.set(ingress).expect("opened once");
    }

    fn fixtures(&self) -> Vec<Fixture> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/custom/fixtures");
        let mut fixtures = Vec::new();
        for folder in ["messages", "statuses"] {
            for entry in fs::read_dir(dir.join(folder)).expect("the fixtures") {
                let path = entry.expect("a fixture").path();
                let name = path.file_name().expect("a name").to_string_lossy();
                fixtures.push(Fixture {
                    name: format!("{folder}/{name}"),
                    body: fs::read(&path).expect("a fixture"),
                });
            }
        }
        fixtures.sort_by(|a, b| a.name.cmp(&b.name));
        fixtures
    }

    fn says(&self, number: u32, text: &str) -> Vec<u8> {
        message(&format!("m-{number}"), "client-5550600007", text)
    }

    async fn post(&self, payload: &[u8], seal: Seal) -> Answer {
        let ingress = self.ingress.get().expect("it is open");
        let url = format!("http://{ingress}/channels/shop/{}", path(payload));
        let forged = match seal {
            // The simulator signs text only.
            Seal::Right => return self.sign_and_post(&url, payload).await,
            Seal::Missing => Forged::Unsigned,
            Seal::Wrong => Forged::WrongSecret,
            Seal::Forged => Forged::OtherBody,
        };
        let reply = self.system.post(&url, payload.to_vec(), forged).await;
        answer(reply.expect("an answer").status)
    }

    async fn feed(&self, bare: &Bare, payloads: &[Vec<u8>]) -> Vec<Fed> {
        let webhook = bare.connector.webhook().expect("it has a webhook");
        let now = now();
        let mut fed = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let request = http::Request::post(format!("/channels/shop/{}", path(payload)))
                .header("content-type", "application/json")
                .header("webhook-id", "req-1")
                .header("webhook-timestamp", now.to_string())
                .header("webhook-signature", self.signature("req-1", now, payload))
                .body(Bytes::copy_from_slice(payload))
                .expect("a request");
            fed.push(feed_webhook(webhook, &bare.sink, request).await);
        }
        fed
    }

    /// Requests that hold no event, and statuses of what was never sent.
    fn is_silent(&self, payload: &[u8]) -> bool {
        let document: Value = serde_json::from_slice(payload).unwrap_or_default();
        let none = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
        none(&document["events"]) || document["statuses"].is_array()
    }

    async fn contact(&self, number: u32) -> Address {
        Address(format!("client-55507{number:05}"))
    }

    async fn shows(&self, to: &Address) -> Vec<Shown> {
        let mut messages: Vec<(String, Shown)> = Vec::new();
        for delivery in self.system.delivered() {
            let body = &delivery.body;
            if body["to"] != to.as_str() {
                continue;
            }
            match delivery.kind() {
                "send" => messages.push((delivery.id.clone(), shown(&body["content"]))),
                "edit" => {
                    for part in body["parts"].as_array().into_iter().flatten() {
                        for (id, message) in &mut messages {
                            if part["id"] == id.as_str() {
                                *message = shown(&part["content"]);
                            }
                        }
                    }
                }
                "delete" => {
                    let ids = body["ids"].as_array().cloned().unwrap_or_default();
                    messages.retain(|(id, _)| !ids.contains(&json!(id)));
                }
                _ => {}
            }
        }
        messages.into_iter().map(|(_, message)| message).collect()
    }

    async fn taken(&self, to: &Address) -> Vec<String> {
        let sent = self.delivered("send", to);
        sent.iter()
            .map(|body| shown(&body["content"]).text)
            .collect()
    }

    fn play(&self, mischief: Mischief, to: &Address) -> bool {
        let slow = Duration::from_secs(4);
        let limited = |body: &str| DeliveryAction::Answer {
            status: 429,
            retry_after: Some(1),
            body: body.to_owned(),
        };
        let action = match mischief {
            Mischief::LimitedRecipient => limited(r#"{"code":"recipient"}"#),
            Mischief::LimitedAccount => limited(""),
            Mischief::ServerError => DeliveryAction::status(503),
            Mischief::ServerErrorAfter => DeliveryAction::TakeAndAnswer(502),
            Mischief::SlowBefore => DeliveryAction::Hang(slow),
            Mischief::SlowAfter => DeliveryAction::Slow(slow),
            Mischief::CutBefore => DeliveryAction::DropBeforeTaking,
            Mischief::CutAfter => DeliveryAction::DropAfterTaking,
            Mischief::Garbled => DeliveryAction::Garbled,
        };
        let matching = DeliveryMatch::send().to(to.as_str());
        self.system.misbehave(matching, Times::Count(1), action);
        true
    }

    async fn has_seen(&self, sign: Sign, to: &Address) -> bool {
        let kind = match sign {
            Sign::Typing => "typing",
            Sign::Read => "read",
            Sign::Reaction => "react",
        };
        !self.delivered(kind, to).is_empty()
    }

    async fn writes(&self, from: &Address, text: &str) {
        let id = format!("from-{}", from.as_str());
        let payload = message(&id, from.as_str(), text);
        assert_eq!(self.post(&payload, Seal::Right).await, Answer::Taken);
    }

    async fn watcher(&self) -> Address {
        self.contact(99_999).await
    }
}
