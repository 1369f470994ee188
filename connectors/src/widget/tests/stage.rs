//! What these tests stand on: a bus that can be made to misbehave, a database, workers, and visitors.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{SinkExt, StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use sqlx::{Connection, Executor};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::{
    database::Database,
    media::{self, Home, MediaService},
};
use tributary_bus::{
    Address, Bus, BusError, BusState, Claim, DeadId, DeadLetter, EmbeddedBus, Envelope, Group,
    Intake, Lane, LaneSpec, Membership, MessageId, Moved, Notice, Publication, PublishError,
    message::{Content, Inbound, MessageReceived, MessageStatus, Status},
};
use tributary_config::{Settings, load_text};

use crate::{
    Accounts, Action, CallLog, ConnectorStore, Ledger, MediaShelf, NoMedia, Part, Receipt,
    SendContext, SendError, server::serve_ingress,
};

/// How long anything in these tests may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Where the connectors' tables are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

/// An empty database of that kind with all tables.
pub(super) async fn database(kind: Kind, dir: &TempDir) -> Database {
    let database = match kind {
        Kind::Sqlite => Database::sqlite(&dir.path().join("connectors.db")).await,
        Kind::Postgres => Database::postgres(&fresh_postgres().await, 5, PATIENCE).await,
    }
    .expect("a database opens");
    let store = ConnectorStore::new(database.clone());
    store.migrate().await.expect("the schema fits");
    database
}

async fn fresh_postgres() -> String {
    let server = std::env::var("TEST_POSTGRES_URL")
        .expect("TEST_POSTGRES_URL is not set: run tests through tests/run");
    let name = format!("widget_{}", uuid::Uuid::now_v7().simple());
    let mut connection = sqlx::PgConnection::connect(&server)
        .await
        .expect("PostgreSQL answers");
    let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection
        .execute(sqlx::raw_sql(statement))
        .await
        .expect("a new database");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{base}/{name}")
}

/// A bus, a database, and one worker or more with the widget `shop`.
pub(super) struct Stage {
    pub(super) bus: Arc<TestBus>,
    pub(super) database: Database,
    pub(super) workers: Vec<Worker>,
    settings: Arc<Settings>,
    _claim: Box<dyn Claim>,
    intake: Box<dyn Intake>,
    _dir: TempDir,
}

/// One connector process.
pub(super) struct Worker {
    pub(super) accounts: Arc<Accounts>,
    pub(super) address: SocketAddr,
    pub(super) stop: CancellationToken,
    media: MediaService,
    _stopped: DropGuard,
}

impl Stage {
    /// With the widget's settings, on SQLite.
    pub(super) async fn new(widget: &str) -> Self {
        Self::on(Kind::Sqlite, widget).await
    }

    /// With so many new visitors a minute.
    pub(super) async fn with_visitors(widget: &str, per_minute: u32) -> Self {
        Self::build(Kind::Sqlite, widget, per_minute).await
    }

    pub(super) async fn on(kind: Kind, widget: &str) -> Self {
        Self::build(kind, widget, 1000).await
    }

    async fn build(kind: Kind, widget: &str, visitors: u32) -> Self {
        // As the program does at its start; another test may have been quicker.
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let text = format!(
            "[data]\ndir = '{}'\n[demo]\nenabled = false\n[bus]\ninbound_lanes = 1\n[organizations.acme]\nname = 'Acme'\n\
             [channels.shop]\nkind = 'widget'\nvisitors_per_minute = {visitors}\nvisitors_per_hour = 1000\n{widget}",
            dir.path().display()
        );
        let settings = Arc::new(load_text("test", &text, &[]).expect("right settings"));
        let inner = EmbeddedBus::open(&dir.path().join("bus.db"))
            .await
            .expect("a bus");
        let lane = Lane::Inbound(0);
        let spec = LaneSpec {
            lane: lane.clone(),
            filter: None,
        };
        inner.declare(&[spec]).await.expect("a lane");
        let member = inner.join(&Group::Router).await.expect("a member");
        let mut claim = member
            .claim(&lane)
            .await
            .expect("a claim")
            .expect("nobody else claims it");
        let intake = claim.take(1000).await.expect("an intake");
        let database = database(kind, &dir).await;
        let mut stage = Self {
            bus: TestBus::new(inner),
            database,
            workers: Vec::new(),
            settings,
            _claim: claim,
            intake,
            _dir: dir,
        };
        stage.add_worker().await;
        stage
    }

    /// One more process with the same bus and database.
    pub(super) async fn add_worker(&mut self) {
        let bus: Arc<dyn Bus> = Arc::clone(&self.bus) as Arc<dyn Bus>;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let media = media::open(&self.settings, Home::Alone, Some(address)).await;
        let store = ConnectorStore::new(self.database.clone());
        let media = media.expect("a folder for media");
        let store = store.with_media(media.clone());
        let stop = CancellationToken::new();
        let ledger = Ledger::start(self.database.clone(), &self.settings, stop.clone())
            .await
            .expect("a ledger");
        let ledger = Arc::new(ledger);
        let accounts = Accounts::build(&self.settings, Some("widget"), &store, &bus, &ledger);
        let accounts = Arc::new(accounts.expect("right settings"));
        let (serving, settings) = (Arc::clone(&accounts), Arc::clone(&self.settings));
        let stopping = stop.clone();
        tokio::spawn(async move { serve_ingress(listener, serving, settings, stopping).await });
        self.workers.push(Worker {
            media: media.expect("a place for media"),
            accounts,
            address,
            _stopped: stop.clone().drop_guard(),
            stop,
        });
    }

    /// A new visitor at the first worker.
    pub(super) async fn visitor(&self) -> Visitor {
        self.visitor_at(0, json!({})).await
    }

    /// A visitor with additional fields of `hello`, who has been welcomed.
    pub(super) async fn visitor_at(&self, worker: usize, fields: Value) -> Visitor {
        let mut visitor = self.knock(worker, None).await.expect("the door is open");
        visitor.hello(fields).await;
        visitor.welcome = visitor.next().await;
        assert_eq!(visitor.welcome["t"], "welcome", "{}", visitor.welcome);
        visitor
    }

    /// Opens a socket and says nothing; answers the HTTP status when there is none.
    pub(super) async fn knock(&self, worker: usize, origin: Option<&str>) -> Result<Visitor, u16> {
        let url = format!("ws://{}/channels/shop/socket", self.workers[worker].address);
        let mut request = url.into_client_request().expect("a request");
        if let Some(origin) = origin {
            let origin = origin.parse().expect("a header");
            request.headers_mut().insert("origin", origin);
        }
        match connect_async(request).await {
            Ok((wire, _)) => Ok(Visitor {
                wire,
                welcome: Value::Null,
            }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// The next event that the router would get.
    pub(super) async fn event(&mut self) -> (Envelope, Inbound) {
        let taken = timeout(PATIENCE, self.intake.next())
            .await
            .expect("an event in time")
            .expect("an open lane");
        self.intake.settle(&[taken.tag]).await.expect("settled");
        let envelope = taken.envelope.expect("an envelope");
        let event = Inbound::from_envelope(&envelope).expect("a known event");
        (envelope, event)
    }

    pub(super) async fn message(&mut self) -> MessageReceived {
        match self.event().await.1 {
            Inbound::Received(message) => *message,
            other => panic!("not a message: {other:?}"),
        }
    }

    pub(super) async fn status(&mut self) -> (MessageId, Status) {
        match self.event().await.1 {
            Inbound::Status(MessageStatus {
                message_id, status, ..
            }) => (message_id, status),
            other => panic!("not a status: {other:?}"),
        }
    }

    /// Where the organization's media is.
    pub(super) fn shelf(&self) -> MediaShelf {
        MediaShelf::new(self.workers[0].media.clone(), "acme", &self.settings)
    }

    /// An address of the first worker.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.workers[0].address)
    }

    /// Brings a file as the script does; answers status and body.
    pub(super) async fn upload(&self, token: &str, file: File<'_>) -> (u16, Value) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut request = reqwest::Client::new()
            .post(self.url("channels/shop/uploads"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", file.mime)
            .header("x-file-name", file.name)
            .body(file.bytes.to_vec());
        if let Some(origin) = file.origin {
            request = request.header("origin", origin);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        if status != 403 && status != 404 {
            let allowed = &response.headers()["access-control-allow-origin"];
            assert_eq!(allowed, file.origin.unwrap_or("*"));
        }
        let body = response.bytes().await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Whether the router has got everything.
    pub(super) async fn is_quiet(&self) -> bool {
        let depth = self.bus.inner.depth(&Lane::Inbound(0)).await;
        depth.expect("a depth") == 0
    }

    /// Sends a reply as the owner of the delivery lane at one worker does.
    pub(super) async fn reply(
        &self,
        worker: usize,
        to: &Address,
        text: &str,
    ) -> Result<(MessageId, Receipt), SendError> {
        let id = MessageId::generate();
        let receipt = self.send(worker, to, id, 0, Content::text(text)).await?;
        Ok((id, receipt))
    }

    pub(super) async fn send(
        &self,
        worker: usize,
        to: &Address,
        message_id: MessageId,
        index: u32,
        content: Content,
    ) -> Result<Receipt, SendError> {
        self.send_with(worker, index, content, &context(to, message_id, index))
            .await
    }

    /// With a context of the test's own.
    pub(super) async fn send_with(
        &self,
        worker: usize,
        index: u32,
        content: Content,
        context: &SendContext,
    ) -> Result<Receipt, SendError> {
        let account = self.workers[worker].accounts.get("shop").expect("there");
        let part = Part { index, content };
        account.connector.send(&part, context).await
    }

    /// Sends any content, given as JSON; answers its id and the provider's.
    pub(super) async fn offer(&self, to: &Address, content: Value) -> (MessageId, String) {
        let content = serde_json::from_value(content).expect("a content");
        let id = MessageId::generate();
        let receipt = self.send(0, to, id, 0, content).await.expect("sent");
        (id, receipt.provider_id)
    }

    /// Does something as the owner of the delivery lane at the first worker does.
    pub(super) async fn act(
        &self,
        to: &Address,
        message_id: MessageId,
        action: Action,
    ) -> Result<(), SendError> {
        let account = self.workers[0].accounts.get("shop").expect("there");
        let context = context(to, message_id, 0);
        account.connector.act(&action, &context).await
    }
}

/// A file to be brought.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) mime: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) origin: Option<&'a str>,
}

/// A red square of 2 by 3 pixels.
pub(super) const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0xd, 0xa, 0x1a, 0xa, 0x0, 0x0, 0x0, 0xd, 0x49, 0x48, 0x44, 0x52, 0x0,
    0x0, 0x0, 0x2, 0x0, 0x0, 0x0, 0x3, 0x8, 0x2, 0x0, 0x0, 0x0, 0x36, 0x88, 0x49, 0xd6, 0x0, 0x0,
    0x0, 0x10, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x38, 0x63, 0xac, 0x4, 0x44, 0xc, 0x28,
    0x14, 0x0, 0x4b, 0x30, 0x6, 0xc7, 0x62, 0x32, 0xd8, 0x92, 0x0, 0x0, 0x0, 0x0, 0x49, 0x45, 0x4e,
    0x44, 0xae, 0x42, 0x60, 0x82,
];

/// A picture as a browser brings it.
pub(super) const PICTURE: File<'static> = File {
    name: "red.png",
    mime: "image/png",
    bytes: PNG,
    origin: None,
};

/// What surrounds a part or an action.
pub(super) fn context(to: &Address, message_id: MessageId, index: u32) -> SendContext {
    SendContext {
        message_id,
        to: to.clone(),
        seq: 1,
        reply_to: None,
        idempotency_key: format!("{message_id}.{index}"),
        deadline: PATIENCE,
        media: Arc::new(NoMedia),
        log: CallLog::nowhere(),
    }
}

type Wire = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A visitor's connection.
pub(super) struct Visitor {
    wire: Wire,
    pub(super) welcome: Value,
}

impl Visitor {
    pub(super) fn address(&self) -> Address {
        Address::from(self.welcome["visitor"].as_str().expect("a visitor"))
    }

    pub(super) fn token(&self) -> String {
        self.welcome["token"].as_str().expect("a token").to_owned()
    }

    pub(super) async fn hello(&mut self, fields: Value) {
        let mut hello = json!({"t": "hello", "v": 1, "channel": "shop"});
        for (name, value) in fields.as_object().expect("fields") {
            hello[name] = value.clone();
        }
        self.write(&hello.to_string()).await;
    }

    pub(super) async fn say(&mut self, client_id: &str, text: &str) {
        let body = json!({"type": "text", "text": text});
        self.frame(json!({"t": "send", "client_id": client_id, "body": body}))
            .await;
    }

    /// Says it and answers the ack.
    pub(super) async fn said(&mut self, client_id: &str, text: &str) -> Value {
        self.say(client_id, text).await;
        let ack = self.next().await;
        assert_eq!(
            (&ack["t"], &ack["client_id"]),
            (&json!("ack"), &json!(client_id)),
            "{ack}"
        );
        ack
    }

    pub(super) async fn frame(&mut self, frame: Value) {
        self.write(&frame.to_string()).await;
    }

    pub(super) async fn write(&mut self, text: &str) {
        self.wire
            .send(Message::text(text))
            .await
            .expect("the frame leaves");
    }

    pub(super) async fn write_binary(&mut self) {
        let frame = Message::binary(vec![0, 159, 146, 150]);
        self.wire.send(frame).await.expect("the frame leaves");
    }

    /// The next frame, which must come.
    pub(super) async fn next(&mut self) -> Value {
        match self.try_next().await {
            Ok(frame) => frame,
            Err(code) => panic!("closed with {code:?}"),
        }
    }

    /// The next frame, or the close code.
    pub(super) async fn try_next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let next = timeout(PATIENCE, self.wire.next());
            match next.await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next frame of a kind; what comes before it is passed over.
    pub(super) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["t"] == kind {
                return frame;
            }
        }
    }

    /// Reads until the connection is closed; answers what came before, and the code.
    pub(super) async fn until_closed(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut frames = Vec::new();
        loop {
            match self.try_next().await {
                Ok(frame) => frames.push(frame),
                Err(code) => return (frames, code),
            }
        }
    }

    /// Nothing has come: what was asked after it is answered first.
    pub(super) async fn nothing_but_pong(&mut self) {
        self.frame(json!({"t": "ping"})).await;
        let frame = self.next().await;
        assert_eq!(frame["t"], "pong", "{frame}");
    }
}

/// Asks until it is so.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The embedded bus, with faults on request.
pub(super) struct TestBus {
    pub(super) inner: Arc<EmbeddedBus>,
    state: watch::Sender<BusState>,
    /// Publications wait here.
    gate: Semaphore,
    pub(super) publishing: AtomicUsize,
    /// Notices are lost.
    pub(super) deaf: AtomicBool,
    /// Each change ends the streams of notices.
    breaks: watch::Sender<()>,
}

/// More than a test ever publishes.
const OPEN: usize = 1 << 20;

impl TestBus {
    fn new(inner: Arc<EmbeddedBus>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            state: watch::Sender::new(BusState::Ready),
            gate: Semaphore::new(OPEN),
            publishing: AtomicUsize::new(0),
            deaf: AtomicBool::new(false),
            breaks: watch::Sender::new(()),
        })
    }

    /// Whoever listens to notices learns that some may have been missed.
    pub(super) fn break_notices(&self) {
        self.breaks.send_replace(());
    }

    pub(super) fn set_state(&self, state: BusState) {
        self.state.send_replace(state);
    }

    /// Holds publications back until [`TestBus::confirm`].
    pub(super) fn hold(&self) {
        self.gate.forget_permits(OPEN);
    }

    pub(super) fn confirm(&self) {
        self.gate.add_permits(OPEN);
    }
}

#[async_trait]
impl Bus for TestBus {
    async fn declare(&self, lanes: &[LaneSpec]) -> Result<(), BusError> {
        self.inner.declare(lanes).await
    }

    async fn remove(&self, lane: &Lane) -> Result<(), BusError> {
        self.inner.remove(lane).await
    }

    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        if *self.state.borrow() != BusState::Ready {
            let away = || Err(PublishError::NotPublished("the bus is away".to_owned()));
            return batch.iter().map(|_| away()).collect();
        }
        self.publishing.fetch_add(1, Ordering::AcqRel);
        let permit = self.gate.acquire().await;
        drop(permit.expect("the gate is never closed"));
        self.inner.publish(batch).await
    }

    async fn join(&self, group: &Group) -> Result<Arc<dyn Membership>, BusError> {
        self.inner.join(group).await
    }

    async fn depth(&self, lane: &Lane) -> Result<u64, BusError> {
        self.inner.depth(lane).await
    }

    async fn announce(&self, notice: Notice) -> Result<(), BusError> {
        if self.deaf.load(Ordering::Acquire) {
            return Ok(());
        }
        self.inner.announce(notice).await
    }

    async fn notices(&self) -> Result<BoxStream<'static, Notice>, BusError> {
        let mut breaks = self.breaks.subscribe();
        let notices = self.inner.notices().await?;
        let broken = async move { drop(breaks.changed().await) };
        Ok(notices.take_until(Box::pin(broken)).boxed())
    }

    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<(), BusError> {
        self.inner.bury(letters).await
    }

    async fn dead(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        self.inner.dead(limit).await
    }

    async fn replay(&self, id: DeadId) -> Result<bool, BusError> {
        self.inner.replay(id).await
    }

    async fn tail(&self, lanes: &[Lane]) -> Result<BoxStream<'static, Moved>, BusError> {
        self.inner.tail(lanes).await
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.state.subscribe()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
