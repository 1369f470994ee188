//! What the suite needs to know of a channel: one [`Stand`] for each kind.
//!
//! A stand is the provider's side: it starts the simulator, seals payloads as the provider does, makes the provider fail
//! on request, and tells what it has taken. It never looks into the connector.

mod custom;
mod telegram;
mod widget;

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use tributary_bus::{Address, message::Inbound};
use tributary_connectors::{InboundSink, ReceiveError, Webhook};

use crate::bare::Bare;

pub use custom::CustomStand;
pub use telegram::TelegramStand;
pub use widget::WidgetStand;

/// The provider's side of one kind of channel. The account under test is always called `shop`.
#[async_trait]
pub trait Stand: Sized + Send + Sync + 'static {
    /// As the registry names it.
    const KIND: &'static str;

    /// Starts the simulator.
    async fn start() -> Self;

    /// The account's settings as TOML lines, all limits of rate far away. They point at the simulator and contain every
    /// secret that the kind can have.
    fn settings(&self) -> String;

    /// What must never be readable in a log, an event or a stored row.
    fn secrets(&self) -> Vec<String>;

    /// Called when the connector process runs, with the address of its ingress: waits until the provider is ready.
    async fn opened(&self, ingress: SocketAddr);

    /// Payloads of every form that the provider sends.
    fn fixtures(&self) -> Vec<Fixture>;

    /// What mutated payloads are made of: the fixtures, and what only fits to something that came before.
    fn seeds(&self) -> Vec<Vec<u8>> {
        let fixtures = self.fixtures().into_iter();
        fixtures.map(|fixture| fixture.body).collect()
    }

    /// A payload in which somebody says something. The same number is the same message of the same person.
    fn says(&self, number: u32, text: &str) -> Vec<u8>;

    /// Brings a payload to the ingress as the provider does, sealed rightly or not.
    async fn post(&self, payload: &[u8], seal: Seal) -> Answer;

    /// Hands payloads to the connector itself, rightly sealed, without network between: for very many of them.
    async fn feed(&self, bare: &Bare, payloads: &[Vec<u8>]) -> Vec<Fed>;

    /// Whether a payload is one that rightly leads to nothing (such as an echo of what we sent ourselves).
    fn is_silent(&self, payload: &[u8]) -> bool;

    /// Somebody who can be written to.
    async fn contact(&self, number: u32) -> Address;

    /// What the provider has taken for somebody and still shows, the oldest first.
    async fn shows(&self, to: &Address) -> Vec<Shown>;

    /// Every message that the provider has taken for somebody, also twice, by its words.
    async fn taken(&self, to: &Address) -> Vec<String>;

    /// Lets the next send to somebody go wrong. `false`: it cannot happen in this channel.
    fn play(&self, mischief: Mischief, to: &Address) -> bool;

    /// Whether the provider has seen this sign of presence (`typing`, `read`) or reaction for somebody.
    async fn has_seen(&self, sign: Sign, to: &Address) -> bool;

    /// Somebody writes, so that it can be reacted to and read.
    async fn writes(&self, from: &Address, text: &str);

    /// Somebody who can be shown that we have read.
    async fn watcher(&self) -> Address;
}

/// A payload as the provider sends it.
#[derive(Debug, Clone)]
pub struct Fixture {
    pub name: String,
    pub body: Vec<u8>,
}

/// How a payload is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    Right,
    /// No signature, token or origin at all.
    Missing,
    Wrong,
    /// Of the right form, and not ours.
    Forged,
}

/// What the ingress answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The provider may forget it.
    Taken,
    /// In the numbers of HTTP, whatever the transport. 499: the connection ends without a word.
    Refused(u16),
}

/// What the connector made of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fed {
    /// So many events and receipts.
    Told(usize),
    /// A defined refusal.
    Refused(&'static str),
    /// Neither.
    Wrong(String),
}

/// A message as the provider shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Text or caption.
    pub text: String,
    /// `text`, `image` and so on, where the provider tells them apart; else empty.
    pub kind: String,
    /// Labels of its buttons.
    pub buttons: Vec<String>,
}

/// What a provider can do wrong with one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    /// 429 with a wait of a second, about this recipient.
    LimitedRecipient,
    /// 429 with a wait so long that the whole account has to pause.
    LimitedAccount,
    /// 5xx, and nothing was accepted.
    ServerError,
    /// 5xx, and it was accepted all the same.
    ServerErrorAfter,
    /// No answer within the deadline, nothing accepted.
    SlowBefore,
    /// Accepted, no answer within the deadline.
    SlowAfter,
    /// The connection ends without an answer, nothing accepted.
    CutBefore,
    /// Accepted, and the connection ends without an answer.
    CutAfter,
    /// Accepted, and the answer cannot be read.
    Garbled,
}

impl Mischief {
    pub const ALL: [Self; 9] = [
        Self::LimitedRecipient,
        Self::LimitedAccount,
        Self::ServerError,
        Self::ServerErrorAfter,
        Self::SlowBefore,
        Self::SlowAfter,
        Self::CutBefore,
        Self::CutAfter,
        Self::Garbled,
    ];

    /// Whether the provider took the message, though it did not say so.
    pub fn accepts(self) -> bool {
        match self {
            Self::ServerErrorAfter | Self::SlowAfter | Self::CutAfter | Self::Garbled => true,
            Self::LimitedRecipient
            | Self::LimitedAccount
            | Self::ServerError
            | Self::SlowBefore
            | Self::CutBefore => false,
        }
    }
}

/// What the contact may see of us besides messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Typing,
    Read,
    Reaction,
}

/// Hands one request to a webhook and publishes what it says, as the ingress does.
pub async fn feed_webhook(
    webhook: &dyn Webhook,
    sink: &InboundSink,
    request: http::Request<Bytes>,
) -> Fed {
    let peer = std::net::Ipv4Addr::LOCALHOST.into();
    match webhook.receive(request, peer).await {
        // A channel may say by a reply of its own what is wrong.
        Ok(received) if received.reply.status().is_client_error() => {
            if received.events.is_empty() && received.receipts.is_empty() {
                Fed::Refused("by its reply")
            } else {
                Fed::Wrong("refused and taken".to_owned())
            }
        }
        Ok(received) => {
            let count = received.events.len() + received.receipts.len();
            let status = received.reply.status();
            match published(sink, received.events).await {
                Err(error) => Fed::Wrong(error),
                Ok(()) if status.is_success() => Fed::Told(count),
                // Refused in the channel's own words.
                Ok(()) if status.is_client_error() && count == 0 => Fed::Refused("refused"),
                Ok(()) => Fed::Wrong(format!("{count} events are answered with {status}")),
            }
        }
        Err(ReceiveError::Malformed(_)) => Fed::Refused("malformed"),
        Err(ReceiveError::Unauthorized) => Fed::Refused("unauthorized"),
        Err(ReceiveError::Forbidden) => Fed::Refused("forbidden"),
        Err(ReceiveError::NotFound) => Fed::Refused("not found"),
        Err(ReceiveError::TooMany { .. }) => Fed::Wrong("too many requests".to_owned()),
        Err(ReceiveError::Unavailable(why)) => Fed::Wrong(format!("unavailable: {why}")),
        Err(ReceiveError::Misconfigured(why)) => Fed::Wrong(format!("misconfigured: {why}")),
    }
}

async fn published(sink: &InboundSink, events: Vec<Inbound>) -> Result<(), String> {
    for event in &events {
        if event.origin().address.as_str().is_empty() {
            return Err("an event about nobody".to_owned());
        }
    }
    let published = sink.publish(events).await;
    published.map_err(|error| format!("cannot travel: {error}"))
}
