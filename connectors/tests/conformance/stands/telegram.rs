//! Telegram: updates by webhook, sealed with the secret token; the Bot API simulated.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::sleep;
use tributary_bus::Address;
use tributary_simulators::{
    script::Times,
    telegram::{
        BusinessAccount, CallAction, CallMatch, ChangeKind, Misbehave, Options, Sent,
        TelegramSimulator, User, When,
    },
};

use super::{Answer, Fed, Fixture, Mischief, Seal, Shown, Sign, Stand, feed_webhook};
use crate::{bare::Bare, support::PATIENCE};

const SECRET: &str = "unmistakable_secret-0123456789abcdef";
const OLD_SECRET: &str = "unmistakable_older_secret-0123456789";
const HEADER: &str = "X-Telegram-Bot-Api-Secret-Token";
/// Those who are written to; in fixtures there are others.
const FIRST_CONTACT: i64 = 5_550_700_000_000;
const OWNER: i64 = 5_559_990_000;
/// Longer than what only concerns one chat.
const ACCOUNT_WAIT: u32 = 4;

pub struct TelegramStand {
    telegram: TelegramSimulator,
    ingress: OnceLock<SocketAddr>,
    business: OnceLock<BusinessAccount>,
    http: reqwest::Client,
}

impl TelegramStand {
    fn user(&self, to: &Address) -> User {
        self.telegram.user(chat(to))
    }

    fn business(&self) -> &BusinessAccount {
        self.business
            .get_or_init(|| self.telegram.first_bot().business(OWNER))
    }
}

/// `<id>` or `business/<connection>/<id>`.
fn chat(to: &Address) -> i64 {
    let id = to.as_str().rsplit('/').next().unwrap_or_default();
    id.parse().expect("addresses of people are ids")
}

fn comes_from_a_person(update: &str) -> bool {
    let Ok(Value::Object(update)) = serde_json::from_str(update) else {
        return false;
    };
    let Some((_, body)) = update.iter().find(|(key, _)| *key != "update_id") else {
        return false;
    };
    let mut chats = ["/chat", "/message/chat"]
        .into_iter()
        .filter_map(|path| body.pointer(path).filter(|chat| chat.is_object()));
    if let Some(chat) = chats.next() {
        let private = match chat["type"].as_str() {
            Some(kind) => kind == "private",
            None => chat["id"].as_i64().is_some_and(|id| id > 0),
        };
        if !private {
            return false;
        }
    }
    // Which of them counts is the connector's business: none may be below zero, as no person's is.
    let ids: Vec<i64> = [
        "/chat/id",
        "/message/chat/id",
        "/from/id",
        "/user/id",
        "/user_chat_id",
    ]
    .into_iter()
    .filter_map(|path| body.pointer(path).and_then(Value::as_i64))
    .collect();
    !ids.is_empty() && ids.iter().all(|id| *id > 0)
}

fn kind(sent: &Sent) -> String {
    let kind = match sent.method {
        "sendMessage" => "text",
        "sendPhoto" => "image",
        "sendVideo" => "video",
        "sendAudio" => "audio",
        "sendVoice" => "voice",
        "sendDocument" => "file",
        "sendSticker" => "sticker",
        "sendLocation" | "sendVenue" => "location",
        "sendContact" => "contact_card",
        other => other,
    };
    kind.to_owned()
}

fn buttons(sent: &Sent) -> Vec<String> {
    let Some(markup) = &sent.markup else {
        return Vec::new();
    };
    ["inline_keyboard", "keyboard"]
        .iter()
        .filter_map(|rows| markup[*rows].as_array())
        .flatten()
        .filter_map(|row| row.as_array())
        .flatten()
        .filter_map(|button| Some(button["text"].as_str()?.to_owned()))
        .collect()
}

#[async_trait]
impl Stand for TelegramStand {
    const KIND: &'static str = "telegram";

    async fn start() -> Self {
        Self {
            telegram: TelegramSimulator::start(Options::quick())
                .await
                .expect("a simulator"),
            ingress: OnceLock::new(),
            business: OnceLock::new(),
            http: reqwest::Client::new(),
        }
    }

    fn settings(&self) -> String {
        format!(
            "token = '{}'\napi_url = '{}'\nsecret_token = '{SECRET}'\n\
             previous_secret_token = '{OLD_SECRET}'\n\
             rate_per_second = 10000\nchat_rate_per_second = 10000\nchat_burst = 1000\n\
             group_rate_per_minute = 100000\n",
            self.telegram.token(),
            self.telegram.base_url(),
        )
    }

    fn secrets(&self) -> Vec<String> {
        let (_, half) = self.telegram.token().split_once(':').expect("a token");
        vec![half.to_owned(), SECRET.to_owned(), OLD_SECRET.to_owned()]
    }

    async fn opened(&self, ingress: SocketAddr) {
        self.ingress.set(ingress).expect("opened once");
        let since = Instant::now();
        while self.telegram.first_bot().webhook_url().is_none() {
            assert!(since.elapsed() < PATIENCE, "no webhook was set");
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn fixtures(&self) -> Vec<Fixture> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telegram/fixtures/updates");
        let mut fixtures: Vec<Fixture> = fs::read_dir(dir)
            .expect("the fixtures")
            .map(|entry| {
                let path = entry.expect("a fixture").path();
                Fixture {
                    name: path
                        .file_name()
                        .expect("a name")
                        .to_string_lossy()
                        .into_owned(),
                    body: fs::read(&path).expect("a fixture"),
                }
            })
            .collect();
        fixtures.sort_by(|a, b| a.name.cmp(&b.name));
        fixtures
    }

    fn says(&self, number: u32, text: &str) -> Vec<u8> {
        json!({
            "update_id": number,
            "message": {
                "message_id": number,
                "from": { "id": 5_550_600_000_007_i64, "is_bot": false, "first_name": "Olena" },
                "chat": { "id": 5_550_600_000_007_i64, "type": "private", "first_name": "Olena" },
                "date": 1_767_225_600_u32 + number,
                "text": text,
            },
        })
        .to_string()
        .into_bytes()
    }

    async fn post(&self, payload: &[u8], seal: Seal) -> Answer {
        let ingress = self.ingress.get().expect("it is open");
        let mut request = self
            .http
            .post(format!("http://{ingress}/channels/shop/webhook"))
            .header("Content-Type", "application/json")
            .body(payload.to_vec());
        match seal {
            Seal::Right => request = request.header(HEADER, SECRET),
            Seal::Missing => {}
            Seal::Wrong => request = request.header(HEADER, "wrong"),
            Seal::Forged => request = request.header(HEADER, SECRET.to_uppercase()),
        }
        let response = request.send().await.expect("an answer");
        match response.status() {
            status if status.is_success() => Answer::Taken,
            status => Answer::Refused(status.as_u16()),
        }
    }

    async fn feed(&self, bare: &Bare, payloads: &[Vec<u8>]) -> Vec<Fed> {
        let webhook = bare.connector.webhook().expect("it has a webhook");
        let mut fed = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let request = http::Request::post("/channels/shop/webhook")
                .header(HEADER, SECRET)
                .body(Bytes::copy_from_slice(payload))
                .expect("a request");
            fed.push(feed_webhook(webhook, &bare.sink, request).await);
        }
        fed
    }

    /// Of a business account, what the bot itself wrote comes back to it; and what comes from a group or a channel that
    /// is not listened to, or from nobody, is only counted.
    fn is_silent(&self, payload: &[u8]) -> bool {
        let text = String::from_utf8_lossy(payload);
        text.contains("sender_business_bot") || !comes_from_a_person(&text)
    }

    async fn contact(&self, number: u32) -> Address {
        let id = FIRST_CONTACT + i64::from(number);
        drop(self.telegram.user(id).known());
        Address(id.to_string())
    }

    async fn shows(&self, to: &Address) -> Vec<Shown> {
        let seen = self.user(to).sees();
        let sent = self.telegram.sent_to(chat(to));
        seen.from_bot()
            .filter_map(|message| {
                let origin = sent.iter().find(|s| s.message_id == message.message_id)?;
                Some(Shown {
                    text: message.text.clone(),
                    kind: kind(origin),
                    buttons: buttons(origin),
                })
            })
            .collect()
    }

    async fn taken(&self, to: &Address) -> Vec<String> {
        let sent = self.telegram.sent_to(chat(to));
        sent.iter().map(|sent| sent.text.clone()).collect()
    }

    fn play(&self, mischief: Mischief, to: &Address) -> bool {
        let (before, after) = (When::BeforeAccepting, When::AfterAccepting);
        let slow = Duration::from_secs(4);
        let action = match mischief {
            Mischief::LimitedRecipient => CallAction::TooManyRequests { retry_after: 1 },
            Mischief::LimitedAccount => CallAction::TooManyRequests {
                retry_after: ACCOUNT_WAIT,
            },
            Mischief::ServerError => CallAction::ServerError {
                status: 502,
                when: before,
            },
            Mischief::ServerErrorAfter => CallAction::EmptyError {
                status: 504,
                when: after,
            },
            Mischief::SlowBefore => CallAction::SlowStart(slow),
            Mischief::SlowAfter => CallAction::SlowAnswer(slow),
            Mischief::CutBefore => CallAction::Drop(before),
            Mischief::CutAfter => CallAction::Drop(after),
            Mischief::Garbled => CallAction::InvalidJson,
        };
        let matching = CallMatch::method("sendMessage").to(chat(to));
        self.telegram
            .misbehave(Misbehave::on(matching, Times::Count(1), action));
        true
    }

    async fn has_seen(&self, sign: Sign, to: &Address) -> bool {
        let kind = match sign {
            Sign::Typing => ChangeKind::Acted,
            Sign::Read => ChangeKind::Read,
            Sign::Reaction => ChangeKind::Reacted,
        };
        let changes = self.telegram.changes_of(kind);
        changes.iter().any(|change| change.chat_id == chat(to))
    }

    async fn writes(&self, from: &Address, text: &str) {
        if from.as_str().starts_with("business/") {
            self.business().customer(chat(from)).says(text);
        } else {
            self.user(from).says(text);
        }
    }

    /// Telegram shows reading in chats of business accounts only.
    async fn watcher(&self) -> Address {
        let id = FIRST_CONTACT - 1;
        Address(format!("business/{}/{id}", self.business().id()))
    }
}
