//! A connector process on the embedded bus, Telegram on the one side and a stand-in for the router on the other.

use std::{net::SocketAddr, sync::Arc};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tributary_bus::{
    Address, EventId, MessageId, Payload,
    message::{
        ChannelHealth, ContactLeft, Content, DeliverySend, Inbound, MessageReceived, MessageStatus,
    },
};
use tributary_config::{Settings, load_text};
use tributary_connectors::{Connector, ConnectorStore, Context, registry};
use tributary_simulators::telegram::{Options, TelegramSimulator};

use crate::support::{Process, Router, Running, database, delivery, look};

/// Inbound lanes.
const LANES: u16 = 4;

/// How updates come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Polling,
    Webhook,
}

pub struct Stage {
    pub telegram: TelegramSimulator,
    pub router: Router,
    extra: String,
    dir: TempDir,
}

/// A connector process.
pub struct Worker {
    pub address: SocketAddr,
    process: Running,
}

impl Stage {
    /// `extra` are settings of the account.
    pub async fn new(extra: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let router = Router::start(dir.path(), LANES).await;
        let telegram = TelegramSimulator::start(Options::quick()).await;
        Self {
            telegram: telegram.expect("a simulator"),
            router,
            extra: extra.to_owned(),
            dir,
        }
    }

    fn settings(&self, public_url: &str) -> Settings {
        let text = format!(
            "[demo]\nenabled = false\n[bus]\ninbound_lanes = {LANES}\n\
             [ingress]\npublic_url = '{public_url}'\nbody_limit = 100000\nrequest_deadline = '2s'\n\
             [lanes]\nclaim_interval = '50ms'\n\
             [delivery]\nretry_base = '10ms'\nretry_cap = '50ms'\nsend_deadline = '1s'\n\
             [shutdown]\ndeadline = '5s'\n\
             [organizations.acme]\nname = 'Acme'\n\
             [channels.shop]\nkind = 'telegram'\ntoken = '{}'\napi_url = '{}'\n\
             rate_per_second = 10000\nchat_rate_per_second = 10000\n{}\n",
            self.telegram.token(),
            self.telegram.base_url(),
            self.extra,
        );
        load_text("test", &text, &[]).expect("right settings")
    }

    /// Starts a connector process with its ingress.
    pub async fn worker(&self, way: Way) -> Worker {
        let worker = self.start(way).await;
        if way == Way::Webhook {
            self.until("a webhook", || self.telegram.first_bot().webhook_url())
                .await;
        }
        worker
    }

    /// The same, whatever becomes of its webhook.
    pub async fn start(&self, way: Way) -> Worker {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let public_url = match way {
            Way::Polling => String::new(),
            Way::Webhook => format!("http://{address}"),
        };
        let settings = Arc::new(self.settings(&public_url));
        let store = ConnectorStore::new(database(self.dir.path()).await);
        let process = Process::new("telegram", settings, &store, self.router.bus()).await;
        Worker {
            address,
            process: process.run(listener),
        }
    }

    /// More settings, after those of the account.
    pub fn also(&mut self, text: &str) {
        self.extra.push('\n');
        self.extra.push_str(text);
    }

    /// The account's connector, built as a worker builds it.
    pub async fn connector(&self) -> Arc<dyn Connector> {
        let settings = Arc::new(self.settings(""));
        let context = Context {
            channel: settings.channels["shop"].clone(),
            settings,
            database: Some(database(self.dir.path()).await),
            bus: None,
            public_url: None,
            media: None,
        };
        registry::build(&context).expect("right settings").connector
    }

    /// Puts a reply into the delivery lane, as the router does.
    pub async fn reply(&self, to: i64, text: &str) -> MessageId {
        self.answer(&to.to_string(), text, None).await
    }

    /// The same to any address, perhaps as an answer to a message.
    pub async fn answer(&self, to: &str, text: &str, reply_to: Option<&str>) -> MessageId {
        let delivery = DeliverySend {
            reply_to: reply_to.map(str::to_owned),
            ..delivery("shop", &Address::from(to), Content::text(text))
        };
        self.deliver(&delivery).await;
        delivery.message_id
    }

    pub async fn deliver(&self, delivery: &DeliverySend) {
        self.put("shop", delivery.message_id.into(), delivery).await;
    }

    /// Puts anything into a delivery lane.
    pub async fn put<P: Payload>(&self, channel: &str, id: EventId, payload: &P) {
        self.router.deliver(channel, id, payload).await;
    }

    /// Looks until there is something to see.
    pub async fn until<T>(&self, what: &str, see: impl FnMut() -> Option<T>) -> T {
        look(see).await.unwrap_or_else(|| {
            panic!(
                "no {what}; events: {:?}, calls: {:?}",
                self.router.events(),
                self.telegram.counters()
            )
        })
    }

    /// The first so many messages that came in.
    pub async fn messages(&self, count: usize) -> Vec<MessageReceived> {
        self.until("messages", || {
            let all: Vec<MessageReceived> = self.all(|event| match event {
                Inbound::Received(message) => Some((**message).clone()),
                _ => None,
            });
            (all.len() >= count).then_some(all)
        })
        .await
    }

    /// The status of a message.
    pub async fn status(&self, id: MessageId) -> MessageStatus {
        self.until("status", || {
            self.all(|event| match event {
                Inbound::Status(status) if status.message_id == id => Some(status.clone()),
                _ => None,
            })
            .pop()
        })
        .await
    }

    /// The first time that a contact left.
    pub async fn left(&self) -> ContactLeft {
        self.until("contact.left", || {
            self.all(|event| match event {
                Inbound::Left(left) => Some(left.clone()),
                _ => None,
            })
            .pop()
        })
        .await
    }

    /// What was told last about the account's health, when it is this.
    pub async fn health(&self, state: &str) -> ChannelHealth {
        self.until("health", || {
            self.all(|event| match event {
                Inbound::Health(health) => Some(health.clone()),
                _ => None,
            })
            .pop()
            .filter(|health| health.state.as_str() == state)
        })
        .await
    }

    /// What has come so far, as far as it is wanted.
    pub fn all<T>(&self, wanted: impl Fn(&Inbound) -> Option<T>) -> Vec<T> {
        self.router.all(wanted)
    }

    /// The invariant at the end of each test: nothing is left anywhere.
    pub async fn is_settled(&self) {
        self.router.is_settled("shop").await;
    }
}

impl Worker {
    pub async fn stop(self) {
        self.process.stop().await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// The words of a message: its text, or what stands for it.
pub fn words(message: &MessageReceived) -> String {
    match &message.content {
        Content::Text(text) => text.text.clone(),
        Content::Unsupported(other) => format!("[{}]", other.kind),
        Content::ChoiceReply(choice) => format!("chose {}", choice.id),
        other => format!("({})", other.kind()),
    }
}
