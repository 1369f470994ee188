//! What these tests stand on: a bus, a database, and workers.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::{
    database::Database,
    media::{self, Home, MediaService},
};
use tributary_bus::{
    Address, Bus, EmbeddedBus, Envelope, Lane, MessageId,
    message::{Content, Inbound, MessageReceived, MessageStatus, Status},
};
use tributary_config::{Settings, load_text};

use super::{bus::TestBus, visitor::Visitor};
use crate::{
    Accounts, Action, CallLog, ConnectorStore, Ledger, MediaShelf, NoMedia, Part, Receipt,
    SendContext, SendError,
    server::serve_ingress,
    testing::{Inbox, Kind, PATIENCE, database},
};

/// A bus, a database, and one worker or more with the widget `shop`.
pub(super) struct Stage {
    pub(super) bus: Arc<TestBus>,
    pub(super) database: Database,
    pub(super) workers: Vec<Worker>,
    settings: Arc<Settings>,
    inbox: Inbox,
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
        let inbox = Inbox::open(&inner).await;
        let database = database(kind, &dir).await;
        let mut stage = Self {
            bus: TestBus::new(inner),
            database,
            workers: Vec::new(),
            settings,
            inbox,
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
        let address = self.workers[worker].address;
        Visitor::knock(&format!("ws://{address}/channels/shop/socket"), origin).await
    }

    /// The next event that the router would get.
    pub(super) async fn event(&mut self) -> (Envelope, Inbound) {
        self.inbox.event().await
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
        parts: 1,
        to: to.clone(),
        seq: 1,
        reply_to: None,
        idempotency_key: format!("{message_id}.{index}"),
        deadline: PATIENCE,
        media: Arc::new(NoMedia),
        log: CallLog::nowhere(),
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
