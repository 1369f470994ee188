//! A visitor of the web widget, speaking its protocol as the script does.

use std::{collections::BTreeMap, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::PATIENCE;

/// Between pings, as the script does it: a ping finds what no call told of.
const PING: Duration = Duration::from_secs(25);

type Wire = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A visitor who keeps its token, its history and what it has not got an ack for, over any number of connections.
pub struct Visitor {
    /// `ws://...` addresses of the workers; tried in turn.
    addresses: Vec<String>,
    channel: String,
    token: Option<String>,
    wire: Option<Wire>,
    next: usize,
    /// What it was sent and has sent, by the mailbox's cursor.
    pub history: BTreeMap<i64, Value>,
    sent: u64,
}

impl Visitor {
    /// A visitor that is connected to one worker.
    pub async fn arrive(ingress: &str, channel: &str) -> Self {
        let mut visitor = Self::new(&[ingress.to_owned()], channel, 0);
        visitor.connect().await;
        visitor
    }

    /// A visitor that knows several workers and begins with one of them.
    pub fn new(ingresses: &[String], channel: &str, first: usize) -> Self {
        let addresses = ingresses
            .iter()
            .map(|base| {
                format!(
                    "{}/channels/{channel}/socket",
                    base.replacen("http", "ws", 1)
                )
            })
            .collect();
        Self {
            addresses,
            channel: channel.to_owned(),
            token: None,
            wire: None,
            next: first,
            history: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Says something and waits for the ack, over as many connections as it takes. Answers the ack frame.
    pub async fn say(&mut self, text: &str) -> Value {
        self.sent += 1;
        let client_id = uuid::Uuid::now_v7().to_string();
        let frame =
            json!({"t": "send", "client_id": client_id, "body": {"type": "text", "text": text}});
        let started = tokio::time::Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE * 3, "no ack");
            if self.wire.is_none() {
                self.connect().await;
            }
            if !self.write(&frame).await {
                continue;
            }
            while let Some(answer) = self.read(Duration::from_secs(5)).await {
                if answer["client_id"] != frame["client_id"] {
                    continue;
                }
                match answer["t"].as_str() {
                    Some("ack") => return answer,
                    Some("err") => {
                        let wait = answer["retry_after"]
                            .as_f64()
                            .unwrap_or(0.2)
                            .clamp(0.05, 15.0);
                        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
                        break;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Reads frames until the history satisfies, over as many connections as it takes.
    pub async fn until(
        &mut self,
        what: &str,
        mut satisfied: impl FnMut(&BTreeMap<i64, Value>) -> bool,
    ) {
        let started = tokio::time::Instant::now();
        let mut pinged = started;
        while !satisfied(&self.history) {
            assert!(
                started.elapsed() < PATIENCE * 2,
                "never: {what}; history {:#?}",
                self.history
            );
            if self.wire.is_none() {
                self.connect().await;
                continue;
            }
            self.read(Duration::from_millis(500)).await;
            if pinged.elapsed() >= PING {
                self.write(&json!({"t": "ping"})).await;
                pinged = tokio::time::Instant::now();
            }
        }
    }

    /// The agent's texts in the order of the mailbox.
    pub fn answers(&self) -> Vec<String> {
        self.history
            .values()
            .filter(|event| event["t"] == "msg" && event["from"] == "agent")
            .filter_map(|event| event["body"]["text"].as_str().map(str::to_owned))
            .collect()
    }

    /// Tells that everything up to the cursor was shown (`delivered`) or read (`read`).
    pub async fn confirm(&mut self, what: &str) {
        let upto = self.history.keys().next_back().copied().unwrap_or_default();
        self.write(&json!({"t": what, "upto": upto})).await;
    }

    /// Connects to the next worker that answers, and takes in what was missed.
    pub async fn connect(&mut self) {
        let started = tokio::time::Instant::now();
        while self.wire.is_none() {
            assert!(
                started.elapsed() < PATIENCE * 3,
                "no worker lets the visitor in"
            );
            let address = self.addresses[self.next % self.addresses.len()].clone();
            self.next += 1;
            let connecting = tokio_tungstenite::connect_async(&address);
            if let Ok(Ok((wire, _))) =
                tokio::time::timeout(Duration::from_secs(5), connecting).await
            {
                self.wire = Some(wire);
                if self.greet().await {
                    return;
                }
            }
            self.wire = None;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn greet(&mut self) -> bool {
        let since = self.history.keys().next_back().copied().unwrap_or_default();
        let mut hello = json!({"t": "hello", "v": 1, "channel": self.channel, "since": since});
        if let Some(token) = &self.token {
            hello["token"] = json!(token);
        }
        if !self.write(&hello).await {
            return false;
        }
        while let Some(frame) = self.read(Duration::from_secs(5)).await {
            if frame["t"] == "welcome" {
                return true;
            }
        }
        false
    }

    async fn write(&mut self, frame: &Value) -> bool {
        let Some(wire) = &mut self.wire else {
            return false;
        };
        let sending = wire.send(Message::text(frame.to_string()));
        let sent = matches!(
            tokio::time::timeout(Duration::from_secs(5), sending).await,
            Ok(Ok(()))
        );
        if !sent {
            self.wire = None;
        }
        sent
    }

    /// The next frame within the time; keeps events, token and connection up to date.
    async fn read(&mut self, time: Duration) -> Option<Value> {
        let wire = self.wire.as_mut()?;
        let Ok(next) = tokio::time::timeout(time, wire.next()).await else {
            return None;
        };
        let frame = match next {
            Some(Ok(Message::Text(text))) => {
                serde_json::from_str::<Value>(&text).expect("frames are JSON")
            }
            Some(Ok(
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_),
            )) => Value::Null,
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                self.wire = None;
                return None;
            }
        };
        if let Some(token) = frame["token"].as_str() {
            self.token = Some(token.to_owned());
        }
        for event in frame["events"].as_array().into_iter().flatten() {
            self.keep(event);
        }
        self.keep(&frame);
        Some(frame)
    }

    fn keep(&mut self, event: &Value) {
        if event["t"] == "msg"
            && let Some(seq) = event["seq"].as_i64()
        {
            self.history.insert(seq, event.clone());
        }
    }
}
