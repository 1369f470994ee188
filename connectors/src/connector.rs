//! What a channel is to the rest of Tributary. Two methods are required; the ways in are optional.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tributary_base::database::Database;
use tributary_bus::{
    Address, Bus, MessageId,
    message::{Content, Failure, Inbound, Raw, Status},
};
use tributary_config::{Channel, Settings};
use url::Url;

use crate::{
    CallLog, Capabilities, InboundSink, MediaAccess, MediaShelf, MediaSource, MediaStream, Pace,
};

/// One channel account, ready to work.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// What the channel can carry.
    fn capabilities(&self) -> &Capabilities;

    /// Sends one part of a delivery; one provider call, or a few that belong together.
    ///
    /// # Errors
    /// One of the closed list; the harness turns it into retry, pause, failure or a status.
    async fn send(&self, part: &Part, context: &SendContext) -> Result<Receipt, SendError>;

    /// Changes or reacts to what is in the channel, or shows that we write or have read. Asked only for what the
    /// capabilities name.
    ///
    /// # Errors
    /// As for `send`; repeating an action must be harmless.
    async fn act(&self, action: &Action, context: &SendContext) -> Result<(), SendError> {
        let (_, _) = (action, context);
        Err(SendError::Rejected {
            code: "not_supported".to_owned(),
            reason: "the channel cannot do this".to_owned(),
        })
    }

    /// Whether an action leads to a provider call at all. What leads to none takes no place and no turn.
    fn calls_for(&self, action: &Action) -> bool {
        let _ = action;
        true
    }

    /// What must never be readable in the channel log: tokens, passwords.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// Inbound media that has to be fetched from the provider.
    fn media(&self) -> Option<&dyn MediaSource> {
        None
    }

    /// Reads stored payloads again; `None` where they are not kept.
    fn replay(&self) -> Option<&dyn Replay> {
        None
    }

    /// Serves HTTP requests to `/channels/<channel id>/...`: provider webhooks, and pages of the channel's own.
    fn webhook(&self) -> Option<&dyn Webhook> {
        None
    }

    /// Serves `POST /channels/<channel id>/uploads`: media that visitors bring before they refer to it in a message.
    fn uploads(&self) -> Option<&dyn Uploads> {
        None
    }

    /// Runs beside the delivery lane, at one worker of the fleet at a time: polling, IMAP IDLE, SMPP.
    fn session(&self) -> Option<&dyn Session> {
        None
    }

    /// How fast the account may send; `None` is as fast as the provider answers.
    fn pace(&self) -> Option<&dyn Pace> {
        None
    }

    /// Serves WebSockets at `/channels/<channel id>/socket`, at every worker.
    fn sockets(&self) -> Option<&dyn Sockets> {
        None
    }
}

/// Requests to this account.
#[async_trait]
pub trait Webhook: Send + Sync {
    /// Verifies the request over its raw body and translates it. Publishes nothing: the server does, and sends the
    /// reply after the bus confirmed every event.
    ///
    /// # Errors
    /// Refused requests; the server answers with the matching status.
    async fn receive(
        &self,
        request: http::Request<Bytes>,
        peer: IpAddr,
    ) -> Result<Received, ReceiveError>;
}

/// Uploads to this account.
#[async_trait]
pub trait Uploads: Send + Sync {
    /// Decides by the head of the request who this is, and stores the body with [`Context::media`] as it comes in; the
    /// server bounds how many run at once and how long. The stream has the type and size that the headers name, and no name.
    ///
    /// # Errors
    /// Refused; the server answers with the matching status.
    async fn receive(
        &self,
        head: http::request::Parts,
        body: MediaStream,
        peer: IpAddr,
    ) -> Result<http::Response<Bytes>, ReceiveError>;

    /// Answers the `OPTIONS` request that browsers send before an upload to another origin.
    ///
    /// # Errors
    /// Refused.
    fn preflight(
        &self,
        head: &http::request::Parts,
    ) -> Result<http::Response<Bytes>, ReceiveError> {
        let _ = head;
        Err(ReceiveError::NotFound)
    }
}

/// Stored payloads, read again by the present parser.
#[async_trait]
pub trait Replay: Send + Sync {
    /// What the payload says, with the same ids as the first time. Causes no effect.
    ///
    /// # Errors
    /// It is not a payload of this channel.
    fn read(&self, raw: &Raw) -> Result<Vec<Inbound>, ReceiveError>;

    /// Gives what was read the addresses that the account's tables know of; for most channels they are in the payload.
    ///
    /// # Errors
    /// The tables cannot be read.
    async fn settle(&self, events: &mut [Inbound]) -> Result<(), ReceiveError> {
        let _ = events;
        Ok(())
    }
}

/// A connection that the account holds.
#[async_trait]
pub trait Session: Send + Sync {
    /// Works until `shutdown`. Confirms upstream only what the sink has published, and says [`InboundSink::settled`] when
    /// it has done for the first time what it is for: that it runs does not show that it works.
    ///
    /// # Errors
    /// The session broke; it is started again with backoff.
    async fn run(
        &self,
        inbound: InboundSink,
        shutdown: CancellationToken,
    ) -> Result<(), ReceiveError>;
}

/// WebSocket visitors of this account.
#[async_trait]
pub trait Sockets: Send + Sync {
    /// Decides before the upgrade whether the visit is welcome (origin, flood).
    ///
    /// # Errors
    /// Refused; answered as plain HTTP.
    fn admit(&self, visit: &Visit) -> Result<(), ReceiveError>;

    /// Serves one visitor until either side ends it. At `shutdown` finish what is in hand and return: the server's
    /// socket closes itself with 1012 and its `receive` answers [`SocketClosed`].
    async fn serve(
        &self,
        visit: Visit,
        socket: Box<dyn Socket>,
        inbound: InboundSink,
        shutdown: CancellationToken,
    );
}

/// A visitor's connection, in text frames. The server bounds frame size and write buffers.
#[async_trait]
pub trait Socket: Send {
    /// The next frame. Cancelling the wait loses nothing. Pings are answered and not shown.
    ///
    /// # Errors
    /// The visitor is gone.
    async fn receive(&mut self) -> Result<Frame, SocketClosed>;

    /// Sends a text frame, under a deadline.
    ///
    /// # Errors
    /// The visitor is gone or does not read.
    async fn send(&mut self, text: String) -> Result<(), SocketClosed>;

    /// Closes with a WebSocket close code.
    async fn close(&mut self, code: u16, reason: &str);
}

/// What a visitor sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    /// Binary, or anything else that is no text.
    Other,
}

/// The connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("socket closed")]
pub struct SocketClosed;

/// Who wants to connect.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The `Origin` header.
    pub origin: Option<String>,
    /// Seen through trusted proxies.
    pub peer: IpAddr,
}

/// What a request led to.
#[derive(Debug)]
pub struct Received {
    /// Published, in order, before the reply goes out.
    pub events: Vec<Inbound>,
    /// What the provider tells about what it took from us; noted, and told, before the reply goes out.
    pub receipts: Vec<Receipted>,
    pub reply: http::Response<Bytes>,
}

/// What a provider tells about a part that it took: a delivery receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipted {
    /// As [`Receipt::provider_id`] named it.
    pub provider_id: String,
    /// `delivered`, `read`, `failed` or `expired`; anything else is no news about something that was taken.
    pub status: Status,
    /// By the provider's clock.
    pub at: DateTime<Utc>,
    /// With `failed` and `expired`.
    pub failure: Option<Failure>,
}

/// Longer ids are no ids.
const LONGEST_PROVIDER_ID: usize = 1024;

impl Receipted {
    /// Whether it tells anything that can be noted.
    pub(crate) fn is_news(&self) -> bool {
        let id = &self.provider_id;
        let tells = match self.status {
            Status::Delivered | Status::Read | Status::Failed | Status::Expired => true,
            Status::Received | Status::Queued | Status::Sent => false,
        };
        tells && !id.is_empty() && id.len() <= LONGEST_PROVIDER_ID && !id.contains('\0')
    }
}

/// Why nothing was taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// 401: signature or secret missing or wrong.
    #[error("signature or secret is wrong")]
    Unauthorized,
    /// 403: origin not allowed.
    #[error("not allowed")]
    Forbidden,
    /// 404: the channel has no such path.
    #[error("no such path")]
    NotFound,
    /// 400: not what the provider sends.
    #[error("cannot be read: {0}")]
    Malformed(String),
    /// 429.
    #[error("too many requests")]
    TooMany { retry_after: Duration },
    /// 503: the provider (or this process) cannot be used right now; tried again.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A person must act: token, permission, two consumers.
    #[error("misconfigured: {0}")]
    Misconfigured(String),
}

/// Why a part was not sent. Closed: one place turns it into an outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// This content, for ever.
    #[error("rejected ({code}): {reason}")]
    Rejected { code: String, reason: String },
    /// This recipient: blocked, unsubscribed, unknown.
    #[error("unreachable ({code}): {reason}")]
    Unreachable { code: String, reason: String },
    #[error("rate limited for {retry_after:?}")]
    RateLimited {
        retry_after: Option<Duration>,
        scope: Scope,
    },
    /// Nothing was accepted; try again.
    #[error("unavailable: {reason}")]
    Unavailable { reason: String },
    /// Something of our own that the call needs is not there right now (media behind a link that does not answer).
    /// Nothing was sent, and it says nothing about the provider; only this recipient waits.
    #[error("not ready: {reason}")]
    NotReady { reason: String },
    /// It may have arrived: timeout after the request left, connection lost before the answer.
    #[error("uncertain: {reason}")]
    Uncertain { reason: String },
    /// Token, permission, billing: the account pauses until a person acts.
    #[error("misconfigured: {reason}")]
    Misconfigured { reason: String },
}

/// Whom a rate limit concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Recipient,
    Account,
}

/// One provider send of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// 0 for the first.
    pub index: u32,
    pub content: Content,
}

/// Something to be done that sends no new message.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Our message now says this. As many parts as it was sent in, each with its provider's id.
    Edit { parts: Vec<(String, Part)> },
    /// Our message is taken back, all its parts.
    Delete { provider_ids: Vec<String> },
    /// These are our reactions on a message; none takes them back.
    React {
        provider_id: String,
        reactions: Vec<String>,
    },
    /// Somebody writes.
    Typing,
    /// We have read up to this message of the contact.
    Read { provider_id: String },
}

/// What surrounds a part or an action.
#[derive(Debug, Clone)]
pub struct SendContext {
    pub message_id: MessageId,
    /// How many parts the message has; 1 for an action.
    pub parts: u32,
    pub to: Address,
    /// Place in the conversation.
    pub seq: i64,
    /// The provider's id of the message to answer; only on the first part.
    pub reply_to: Option<String>,
    /// The same for every try.
    pub idempotency_key: String,
    /// Time left for this call.
    pub deadline: Duration,
    pub media: Arc<dyn MediaAccess>,
    pub log: CallLog,
}

/// What the provider said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's id of what was sent, opaque.
    pub provider_id: String,
}

/// All that the registry knows of a channel.
pub trait Factory {
    /// `telegram`, `widget`, ...
    const KIND: &'static str;
    /// The account's own settings, below `channels.<id>`.
    type Config: DeserializeOwned;

    /// Builds an account. No network and no disk: `tributary check` calls it too.
    ///
    /// # Errors
    /// A setting that cannot work, by key.
    fn build(
        config: Self::Config,
        context: &Context,
    ) -> Result<Arc<dyn Connector>, Vec<tributary_config::Problem>>;

    /// Files served at fixed paths, whatever the account.
    fn assets() -> &'static [Asset] {
        &[]
    }
}

/// A file that is served as it is.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// `/widget.js`
    pub path: &'static str,
    pub media_type: &'static str,
    pub body: &'static str,
}

/// What an account is built with.
#[derive(Clone)]
pub struct Context {
    pub channel: Channel,
    pub settings: Arc<Settings>,
    /// The connectors' own tables; `None` in `tributary check`.
    pub database: Option<Database>,
    /// `None` in `tributary check`.
    pub bus: Option<Arc<dyn Bus>>,
    /// Where the internet reaches this account: `<ingress.public_url>/channels/<id>`; `None` without a public URL.
    pub public_url: Option<Url>,
    /// Where the account keeps media; `None` in `tributary check`, and where no media is kept.
    pub media: Option<MediaShelf>,
}
