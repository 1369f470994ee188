//! The widget: visitors' frames by WebSocket, sealed with the page's origin and the visitor's token. Its provider is
//! ourselves, so there is no provider that could fail: what a visitor is shown comes out of the mailbox.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};
use tokio_util::sync::CancellationToken;
use tributary_bus::Address;
use tributary_connectors::{Frame, Socket, SocketClosed, Visit};

use super::{Answer, Fed, Fixture, Mischief, Seal, Shown, Sign, Stand};
use crate::{
    bare::Bare,
    support::{PATIENCE, lock},
};

const SECRET: &str = "unmistakable-widget-key-0123456789abcdef";
const ORIGIN: &str = "https://shop.example";
/// Unreadable frames of one connection: the fifth ends it.
const FRAMES: usize = 4;

#[derive(Default)]
pub struct WidgetStand {
    ingress: OnceLock<SocketAddr>,
    /// Tokens of visitors, by address.
    tokens: Mutex<HashMap<Address, String>>,
    /// Who says everything in `says` and in the fixtures.
    speaker: tokio::sync::OnceCell<Address>,
    /// What those heard who kept looking.
    heard: Arc<Mutex<Vec<(Address, Value)>>>,
}

type Wire = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A visitor's connection after the greeting.
struct Visitor {
    wire: Wire,
    welcome: Value,
}

impl WidgetStand {
    async fn knock(&self, origin: Option<&str>) -> Result<Wire, u16> {
        let ingress = self.ingress.get().expect("it is open");
        let url = format!("ws://{ingress}/channels/shop/socket");
        let mut request = url.into_client_request().expect("a request");
        if let Some(origin) = origin {
            let origin = origin.parse().expect("a header");
            request.headers_mut().insert("origin", origin);
        }
        match connect_async(request).await {
            Ok((wire, _)) => Ok(wire),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// Greets, with a token or as somebody new.
    async fn visit(&self, token: Option<&str>) -> Result<Visitor, u16> {
        let wire = self.knock(Some(ORIGIN)).await?;
        let mut visitor = Visitor {
            wire,
            welcome: Value::Null,
        };
        visitor.write(hello(token)).await;
        visitor.welcome = visitor.next().await?;
        match visitor.welcome["t"].as_str() {
            Some("welcome") => Ok(visitor),
            // The close code follows.
            _ => Err(visitor.until_closed().await),
        }
    }

    async fn visit_as(&self, address: &Address) -> Visitor {
        let token = lock(&self.tokens).get(address).cloned();
        let token = token.expect("a visitor of this stand");
        let visit = self.visit(Some(&token)).await;
        visit.expect("the token is right")
    }

    async fn somebody(&self) -> Address {
        let visitor = self.visit(None).await.expect("the door is open");
        let text = |name: &str| visitor.welcome[name].as_str().expect("text").to_owned();
        let address = Address(text("visitor"));
        lock(&self.tokens).insert(address.clone(), text("token"));
        address
    }

    async fn speaker(&self) -> &Address {
        self.speaker.get_or_init(|| self.somebody()).await
    }
}

fn hello(token: Option<&str>) -> Value {
    let mut hello = json!({"t": "hello", "v": 1, "channel": "shop", "since": 0});
    if let Some(token) = token {
        hello["token"] = json!(token);
    }
    hello
}

impl Visitor {
    async fn write(&mut self, frame: Value) {
        let sent = self.wire.send(Message::text(frame.to_string())).await;
        sent.expect("the frame leaves");
    }

    /// The next frame, or the close code as a status.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let next = timeout(PATIENCE, self.wire.next()).await;
            match next.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Some(Ok(Message::Close(Some(frame)))) => return Err(status(frame.code.into())),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err(499),
                Some(Ok(_)) => {}
            }
        }
    }

    async fn until_closed(&mut self) -> u16 {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }

    /// What it is answered with, before the pong that follows it.
    async fn asks(&mut self, frame: Message) -> Answer {
        if self.wire.send(frame).await.is_err() {
            return Answer::Refused(self.until_closed().await);
        }
        let ping = Message::text(json!({"t": "ping"}).to_string());
        // The connection may be ended already; then the code tells.
        self.wire.send(ping).await.ok();
        let mut answer = Answer::Taken;
        loop {
            match self.next().await {
                Ok(frame) => match frame["t"].as_str() {
                    Some("pong") => return answer,
                    Some("err") => answer = Answer::Refused(complaint(&frame)),
                    _ => {}
                },
                Err(status) => return Answer::Refused(status),
            }
        }
    }

    /// All that the mailbox shows.
    async fn letters(mut self) -> Vec<Value> {
        let mut letters = Vec::new();
        let mut frame = self.welcome.clone();
        loop {
            if let Some(events) = frame["events"].as_array() {
                letters.extend(events.iter().cloned());
            }
            if frame["more"] != json!(true) {
                return letters;
            }
            frame = self.next().await.expect("the next page");
        }
    }
}

/// Close codes in the numbers of HTTP.
fn status(code: u16) -> u16 {
    match code {
        1009 => 413,
        1013 => 503,
        4401 => 401,
        4400..=4499 => code - 4000,
        _ => 400,
    }
}

fn complaint(frame: &Value) -> u16 {
    match frame["code"].as_str() {
        Some("bad_token") => 401,
        Some("rate_limited") => 429,
        Some("too_long") => 413,
        Some("unavailable") => 503,
        _ => 400,
    }
}

/// A frame as a browser could send it; what is no text goes as bytes.
fn message(payload: &[u8]) -> Message {
    match std::str::from_utf8(payload) {
        Ok(text) => Message::text(text),
        Err(_) => Message::binary(payload.to_vec()),
    }
}

#[async_trait]
impl Stand for WidgetStand {
    const KIND: &'static str = "widget";

    async fn start() -> Self {
        Self::default()
    }

    fn settings(&self) -> String {
        format!(
            "secret = '{SECRET}'\nallowed_origins = ['{ORIGIN}']\n\
             messages_per_10s = 1000000\nmessages_per_10m = 1000000\n\
             visitors_per_minute = 1000000\nvisitors_per_hour = 1000000\n\
             sockets_per_visitor = 1000\n"
        )
    }

    fn secrets(&self) -> Vec<String> {
        let tokens = lock(&self.tokens).values().cloned().collect::<Vec<_>>();
        [SECRET.to_owned()].into_iter().chain(tokens).collect()
    }

    async fn opened(&self, ingress: SocketAddr) {
        self.ingress.set(ingress).expect("opened once");
    }

    fn fixtures(&self) -> Vec<Fixture> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/fixtures/widget");
        let mut fixtures: Vec<Fixture> = fs::read_dir(dir)
            .expect("the fixtures")
            .map(|entry| {
                let path = entry.expect("a fixture").path();
                let name = path.file_name().expect("a name");
                Fixture {
                    name: name.to_string_lossy().into_owned(),
                    body: fs::read(&path).expect("a fixture"),
                }
            })
            .collect();
        fixtures.sort_by(|a, b| a.name.cmp(&b.name));
        fixtures
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        let fixtures = self.fixtures().into_iter().map(|fixture| fixture.body);
        let more = [
            json!({"t": "press", "client_id": "s-1", "seq": 4, "button": "yes"}),
            json!({"t": "send", "client_id": "s-2", "reply_to": 4,
                "body": {"type": "upload", "upload": "u-1", "caption": "Bill"}}),
            json!({"t": "hello", "v": 1, "channel": "shop", "since": 4, "changes": 2, "locale": "uk",
                "page": {"url": "https://shop.example/p/7", "title": "P", "ref": "https://google.example/"}}),
        ];
        let more = more.into_iter().map(|frame| frame.to_string().into_bytes());
        fixtures.chain(more).collect()
    }

    fn says(&self, number: u32, text: &str) -> Vec<u8> {
        let body = json!({"type": "text", "text": text});
        json!({"t": "send", "client_id": format!("c-{number}"), "body": body})
            .to_string()
            .into_bytes()
    }

    async fn post(&self, payload: &[u8], seal: Seal) -> Answer {
        let refused = match seal {
            Seal::Right => None,
            Seal::Missing => Some(self.knock(None).await.err()),
            Seal::Wrong => Some(self.knock(Some("https://other.example")).await.err()),
            Seal::Forged => {
                let address = self.speaker().await.clone();
                let mut token = lock(&self.tokens)[&address].clone();
                let last = token.pop();
                token.push(if last == Some('A') { 'B' } else { 'A' });
                Some(self.visit(Some(&token)).await.err())
            }
        };
        if let Some(refused) = refused {
            return Answer::Refused(refused.expect("the door is shut"));
        }
        let mut visitor = self.visit_as(self.speaker().await).await;
        visitor.asks(message(payload)).await
    }

    /// The sockets are in memory.
    async fn feed(&self, bare: &Bare, payloads: &[Vec<u8>]) -> Vec<Fed> {
        let mut fed = Vec::with_capacity(payloads.len());
        for frames in payloads.chunks(FRAMES) {
            fed.extend(converse(bare, frames).await);
        }
        fed
    }

    /// Pings, signs of presence, and marks of what was read before.
    fn is_silent(&self, payload: &[u8]) -> bool {
        let frame: Value = serde_json::from_slice(payload).unwrap_or_default();
        let kind = frame["t"].as_str().unwrap_or_default();
        ["ping", "again", "typing", "delivered", "read"].contains(&kind)
    }

    /// Only who has written can be answered.
    async fn contact(&self, _number: u32) -> Address {
        let address = self.somebody().await;
        let mut visitor = self.visit_as(&address).await;
        let frame = self.says(0, "Is anybody there?");
        assert_eq!(visitor.asks(message(&frame)).await, Answer::Taken);
        address
    }

    async fn shows(&self, to: &Address) -> Vec<Shown> {
        let letters = self.visit_as(to).await.letters().await;
        letters
            .iter()
            .filter(|letter| letter["from"] == "agent" && letter["body"]["type"] != "deleted")
            .map(|letter| shown(&letter["body"]))
            .collect()
    }

    async fn taken(&self, to: &Address) -> Vec<String> {
        let shown = self.shows(to).await;
        shown.into_iter().map(|shown| shown.text).collect()
    }

    fn play(&self, _mischief: Mischief, _to: &Address) -> bool {
        false
    }

    async fn has_seen(&self, sign: Sign, to: &Address) -> bool {
        let heard = lock(&self.heard);
        let mut frames = heard.iter().filter(|(who, _)| who == to);
        frames.any(|(_, frame)| match sign {
            Sign::Typing => frame["t"] == "typing",
            Sign::Read => frame["t"] == "status" && frame["state"] == "seen",
            Sign::Reaction => false,
        })
    }

    async fn writes(&self, from: &Address, text: &str) {
        let mut visitor = self.visit_as(from).await;
        let frame = self.says(1, text);
        assert_eq!(visitor.asks(message(&frame)).await, Answer::Taken);
    }

    /// Somebody who keeps looking.
    async fn watcher(&self) -> Address {
        let address = self.somebody().await;
        let mut visitor = self.visit_as(&address).await;
        let (who, heard) = (address.clone(), Arc::clone(&self.heard));
        tokio::spawn(async move {
            while let Some(Ok(message)) = visitor.wire.next().await {
                if let Message::Text(text) = message {
                    let frame = serde_json::from_str(&text).expect("frames are JSON");
                    lock(&heard).push((who.clone(), frame));
                }
            }
        });
        address
    }
}

fn shown(body: &Value) -> Shown {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let options = body["options"].as_array().cloned().unwrap_or_default();
    Shown {
        text: match body["caption"].as_str() {
            Some(caption) => caption.to_owned(),
            None => text("text"),
        },
        kind: text("type"),
        buttons: options
            .iter()
            .filter_map(|option| Some(option["title"].as_str()?.to_owned()))
            .collect(),
    }
}

/// What a visitor in memory says, and what is answered.
#[derive(Default)]
struct Dialogue {
    says: VecDeque<Frame>,
    hears: Vec<Value>,
    closed: Option<u16>,
}

struct MemorySocket(Arc<Mutex<Dialogue>>);

#[async_trait]
impl Socket for MemorySocket {
    async fn receive(&mut self) -> Result<Frame, SocketClosed> {
        lock(&self.0).says.pop_front().ok_or(SocketClosed)
    }

    async fn send(&mut self, text: String) -> Result<(), SocketClosed> {
        let frame = serde_json::from_str(&text).map_err(|_| SocketClosed)?;
        lock(&self.0).hears.push(frame);
        Ok(())
    }

    async fn close(&mut self, code: u16, _reason: &str) {
        lock(&self.0).closed = Some(code);
    }
}

fn text(frame: &Value) -> Frame {
    Frame::Text(frame.to_string())
}

/// One connection with these frames, each followed by a ping: what comes before its pong is its answer.
async fn converse(bare: &Bare, frames: &[Vec<u8>]) -> Vec<Fed> {
    let mut says = VecDeque::from([text(&hello(None))]);
    for frame in frames {
        says.push_back(match std::str::from_utf8(frame) {
            Ok(text) => Frame::Text(text.to_owned()),
            Err(_) => Frame::Other,
        });
        says.push_back(text(&json!({"t": "ping"})));
    }
    let dialogue = Arc::new(Mutex::new(Dialogue {
        says,
        ..Dialogue::default()
    }));
    let visit = Visit {
        origin: Some(ORIGIN.to_owned()),
        peer: Ipv4Addr::LOCALHOST.into(),
    };
    let sockets = bare.connector.sockets().expect("it has sockets");
    let socket = Box::new(MemorySocket(Arc::clone(&dialogue)));
    let serving = sockets.serve(visit, socket, bare.sink.clone(), CancellationToken::new());
    let done = timeout(Duration::from_secs(30), serving).await;
    let dialogue = lock(&dialogue);
    if done.is_err() {
        return vec![Fed::Wrong("it does not end".to_owned()); frames.len()];
    }
    answers(&dialogue, frames.len())
}

fn answers(dialogue: &Dialogue, count: usize) -> Vec<Fed> {
    let mut fed = Vec::with_capacity(count);
    let mut now = Fed::Told(0);
    for frame in dialogue.hears.iter().skip(1) {
        match frame["t"].as_str() {
            Some("pong") => fed.push(std::mem::replace(&mut now, Fed::Told(0))),
            Some("err") => {
                now = match frame["code"].as_str() {
                    Some("unavailable") => Fed::Wrong("unavailable".to_owned()),
                    Some("rate_limited") => Fed::Wrong("rate limited".to_owned()),
                    _ => Fed::Refused("err"),
                }
            }
            Some("ack") => now = Fed::Told(1),
            _ => {}
        }
    }
    // After the one that ended the connection, nothing is answered.
    while fed.len() < count {
        fed.push(match dialogue.closed {
            Some(_) => Fed::Refused("closed"),
            None => Fed::Wrong(format!("no answer: {:?}", dialogue.hears.last())),
        });
    }
    // A mutant may be a ping itself; its pong is not ours.
    fed.truncate(count);
    fed
}
