//! Custom: events signed by a system of one's own, deliveries posted to it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tributary_bus::Address;
use tributary_simulators::{
    custom::{CustomSystem, DeliveryAction, DeliveryMatch, Forged, fresh_secret, sign},
    script::Times,
};

use super::{Answer, Fed, Fixture, Mischief, Seal, Shown, Sign, Stand, feed_webhook};
use crate::bare::Bare;

/// Longer than the deadline of a send.
const SLOW: Duration = Duration::from_secs(4);

pub struct CustomStand {
    system: CustomSystem,
    previous: String,
    ingress: OnceLock<SocketAddr>,
    written: AtomicU32,
}

impl CustomStand {
    fn account(&self) -> String {
        let ingress = self.ingress.get().expect("it is open");
        format!("http://{ingress}/channels/shop")
    }
}

/// Statuses have a path of their own.
fn path(payload: &[u8]) -> &'static str {
    let value: Value = serde_json::from_slice(payload).unwrap_or_default();
    match value.get("statuses") {
        Some(_) => "statuses",
        None => "messages",
    }
}

fn message(id: &str, address: &str, second: u32, text: &str) -> Value {
    let (minute, second) = (second / 60 % 60, second % 60);
    json!({
        "type": "message", "id": id, "from": {"address": address, "name": "Olena"},
        "at": format!("2026-03-01T10:{minute:02}:{second:02}Z"),
        "content": {"type": "text", "text": text},
    })
}

fn shown(content: &Value) -> Shown {
    let text = [
        &content["text"],
        &content["text"]["text"],
        &content["caption"]["text"],
    ];
    let options = content["options"].as_array().cloned().unwrap_or_default();
    let titles = options.iter().filter_map(|option| option["title"].as_str());
    Shown {
        text: text
            .iter()
            .find_map(|text| text.as_str())
            .unwrap_or_default()
            .to_owned(),
        kind: content["type"].as_str().unwrap_or_default().to_owned(),
        buttons: titles.map(str::to_owned).collect(),
    }
}

#[async_trait]
impl Stand for CustomStand {
    const KIND: &'static str = "custom";

    async fn start() -> Self {
        Self {
            system: CustomSystem::start().await.expect("a simulator"),
            previous: fresh_secret(),
            ingress: OnceLock::new(),
            written: AtomicU32::new(0),
        }
    }

    fn settings(&self) -> String {
        format!(
            "url = '{}?key=unmistakable_query'\nsecret = '{}'\nprevious_secret = '{}'\n\
             allow_internal = ['127.0.0.0/8']\n",
            self.system.url(),
            self.system.secret(),
            self.previous,
        )
    }

    fn secrets(&self) -> Vec<String> {
        let bare = |secret: &str| secret["whsec_".len()..].to_owned();
        vec![
            bare(&self.system.secret()),
            bare(&self.previous),
            "unmistakable_query".to_owned(),
        ]
    }

    async fn opened(&self, ingress: SocketAddr) {
        self.ingress.set(ingress).expect("opened once");
    }

    fn fixtures(&self) -> Vec<Fixture> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/custom/fixtures");
        let mut fixtures = Vec::new();
        for folder in ["messages", "statuses"] {
            for entry in fs::read_dir(root.join(folder)).expect("the fixtures") {
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
        let event = message(&format!("says-{number}"), "client-5550600", number, text);
        json!({"events": [event]}).to_string().into_bytes()
    }

    async fn post(&self, payload: &[u8], seal: Seal) -> Answer {
        let url = format!("{}/{}", self.account(), path(payload));
        let forged = match seal {
            Seal::Right => Forged::No,
            Seal::Missing => Forged::Unsigned,
            Seal::Wrong => Forged::WrongSecret,
            Seal::Forged => Forged::OtherBody,
        };
        // Whoever sends too much may find the connection closed before the answer.
        match self.system.post(&url, payload.to_vec(), forged).await {
            Ok(reply) if reply.status / 100 == 2 => Answer::Taken,
            Ok(reply) => Answer::Refused(reply.status),
            Err(_) => Answer::Refused(499),
        }
    }

    async fn feed(&self, bare: &Bare, payloads: &[Vec<u8>]) -> Vec<Fed> {
        let webhook = bare.connector.webhook().expect("it has a webhook");
        let secret = self.system.secret();
        let mut fed = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let now = chrono::Utc::now().timestamp();
            let signature = sign(&secret, "req", now, payload).expect("a secret");
            let request = http::Request::post(format!("/channels/shop/{}", path(payload)))
                .header("webhook-id", "req")
                .header("webhook-timestamp", now)
                .header("webhook-signature", signature)
                .body(Bytes::copy_from_slice(payload))
                .expect("a request");
            fed.push(feed_webhook(webhook, &bare.sink, request).await);
        }
        fed
    }

    /// Nobody's status, and a list with nothing in it.
    fn is_silent(&self, payload: &[u8]) -> bool {
        let value: Value = serde_json::from_slice(payload).unwrap_or_default();
        let empty = |list: &str| value[list].as_array().is_some_and(Vec::is_empty);
        value.get("statuses").is_some() || empty("events")
    }

    async fn contact(&self, number: u32) -> Address {
        Address(format!("client-55507{number:05}"))
    }

    async fn shows(&self, to: &Address) -> Vec<Shown> {
        self.system.shows(to.as_str()).iter().map(shown).collect()
    }

    async fn taken(&self, to: &Address) -> Vec<String> {
        let sent = self.system.delivered_of("send");
        let to_them = sent.iter().filter(|sent| sent.body["to"] == to.as_str());
        to_them.map(|sent| sent.text().to_owned()).collect()
    }

    fn play(&self, mischief: Mischief, to: &Address) -> bool {
        let limited = |seconds: u32, body: Value| DeliveryAction::Answer {
            status: 429,
            retry_after: Some(seconds),
            body: body.to_string(),
        };
        let action = match mischief {
            Mischief::LimitedRecipient => limited(1, json!({"code": "recipient"})),
            Mischief::LimitedAccount => limited(2, Value::Null),
            Mischief::ServerError => DeliveryAction::status(502),
            Mischief::ServerErrorAfter => DeliveryAction::TakeAndAnswer(504),
            Mischief::SlowBefore => DeliveryAction::Hang(SLOW),
            Mischief::SlowAfter => DeliveryAction::Slow(SLOW),
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
        let seen = self.system.delivered_of(kind);
        seen.iter()
            .any(|delivery| delivery.body["to"] == to.as_str())
    }

    async fn writes(&self, from: &Address, text: &str) {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let event = message(&format!("writes-{number}"), from.as_str(), number, text);
        let reply = self.system.send_events(&self.account(), &[event]).await;
        assert_eq!(reply.expect("an answer").status, 200);
    }

    async fn watcher(&self) -> Address {
        self.contact(0).await
    }
}
