//! A connector process on the embedded bus, Telegram on the one side and a stand-in for the router on the other.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::Utc;
use serde_json::Map;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::database::Database;
use tributary_bus::{
    Address, Bus, ChannelId, ConversationId, Destination, EmbeddedBus, Envelope, EventId, Group,
    Lane, LaneSpec, MessageId, OrganizationId, Payload, Publication, Workers,
    message::{
        ChannelHealth, ContactLeft, Content, DeliverySend, Inbound, MessageReceived, MessageStatus,
        Priority,
    },
};
use tributary_config::{Settings, load_text};
use tributary_connectors::{
    Accounts, Connector, ConnectorAttendant, ConnectorStore, Context, Ledger, registry,
    server::serve_ingress,
};
use tributary_simulators::telegram::{Options, TelegramSimulator};

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Inbound lanes.
const LANES: u16 = 4;

/// How updates come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Polling,
    Webhook,
}

/// What the router would have got.
pub type Events = Arc<Mutex<Vec<(Envelope, Inbound)>>>;

pub struct Stage {
    pub telegram: TelegramSimulator,
    pub bus: Arc<EmbeddedBus>,
    pub events: Events,
    extra: String,
    dir: TempDir,
    _stop: DropGuard,
}

/// A connector process.
pub struct Worker {
    pub address: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Stage {
    /// `extra` are settings of the account.
    pub async fn new(extra: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let bus = EmbeddedBus::open(&dir.path().join("bus.db"))
            .await
            .expect("a bus");
        let stop = CancellationToken::new();
        let events = Events::default();
        for lane in 0..LANES {
            route(&bus, Lane::Inbound(lane), Arc::clone(&events), stop.clone()).await;
        }
        Self {
            telegram: TelegramSimulator::start(Options::quick())
                .await
                .expect("a simulator"),
            bus,
            events,
            extra: extra.to_owned(),
            dir,
            _stop: stop.drop_guard(),
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
        let database = database(self.dir.path()).await;
        let store = ConnectorStore::new(database.clone());
        store.migrate().await.expect("the schema fits");
        let bus: Arc<dyn Bus> = Arc::clone(&self.bus) as Arc<dyn Bus>;
        let stop = CancellationToken::new();
        let ledger = Ledger::start(database, &settings, stop.clone())
            .await
            .expect("a ledger");
        let ledger = Arc::new(ledger);
        let accounts = Accounts::build(&settings, Some("telegram"), &store, &bus, &ledger);
        let accounts = Arc::new(accounts.expect("right settings"));
        let attendant = ConnectorAttendant::new(Arc::clone(&accounts), ledger, &settings);
        let (_lanes, lanes) = watch::channel(accounts.lanes());
        let workers = Workers {
            bus,
            group: Group::Connector("telegram".to_owned()),
            lanes,
            attendant: Arc::new(attendant),
            policy: ConnectorAttendant::policy(&settings),
            claim_interval: settings.lanes.claim_interval,
            drain_deadline: settings.shutdown.deadline,
        };
        let (stopping, serving) = (stop.clone(), stop.clone());
        let tasks = vec![
            tokio::spawn(async move { workers.run(stopping).await }),
            tokio::spawn(async move {
                serve_ingress(listener, accounts, settings, serving)
                    .await
                    .expect("the ingress serves");
            }),
        ];
        Worker {
            address,
            stop,
            tasks,
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
            conversation_id: ConversationId::generate(),
            channel_id: ChannelId::from("shop"),
            to: Address::from(to),
            seq: 1,
            message_id: MessageId::generate(),
            content: Content::text(text),
            reply_to: reply_to.map(str::to_owned),
            created_at: Utc::now(),
            priority: Priority::default(),
            extra: Map::new(),
        };
        self.deliver(&delivery).await;
        delivery.message_id
    }

    pub async fn deliver(&self, delivery: &DeliverySend) {
        self.put("shop", delivery.message_id.into(), delivery).await;
    }

    /// Puts anything into a delivery lane.
    pub async fn put<P: Payload>(&self, channel: &str, id: EventId, payload: &P) {
        let lane = Lane::Delivery(ChannelId::from(channel));
        let spec = LaneSpec {
            lane: lane.clone(),
            filter: None,
        };
        self.bus.declare(&[spec]).await.expect("a lane");
        let envelope = Envelope::wrap(
            id,
            "/router".to_owned(),
            OrganizationId::from("acme"),
            None,
            payload,
        )
        .expect("an envelope");
        let publication = Publication {
            to: Destination::Lane(lane),
            envelope: envelope.seal().expect("an envelope"),
        };
        for result in self.bus.publish(vec![publication]).await {
            result.expect("published");
        }
    }

    /// Looks until there is something to see.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "no {what}; events: {:?}, calls: {:?}",
                *lock(&self.events),
                self.telegram.counters()
            );
            sleep(Duration::from_millis(10)).await;
        }
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
        lock(&self.events)
            .iter()
            .filter_map(|(_, event)| wanted(event))
            .collect()
    }

    /// The invariant at the end of each test: nothing is left anywhere.
    pub async fn is_settled(&self) {
        let lane = Lane::Delivery(ChannelId::from("shop"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waiting = self.bus.depth(&lane).await.expect("a depth");
            if waiting == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{waiting} deliveries are left");
            sleep(Duration::from_millis(10)).await;
        }
        let dead = self.bus.dead(10).await.expect("the dead letters");
        assert!(dead.is_empty(), "{dead:?}");
    }
}

impl Worker {
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("it ends well");
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn database(dir: &Path) -> Database {
    Database::sqlite(&dir.join("connectors.db"))
        .await
        .expect("a database")
}

/// Takes everything out of an inbound lane, until `stop`.
async fn route(bus: &Arc<EmbeddedBus>, lane: Lane, events: Events, stop: CancellationToken) {
    let spec = LaneSpec {
        lane: lane.clone(),
        filter: None,
    };
    bus.declare(&[spec]).await.expect("a lane");
    let member = bus.join(&Group::Router).await.expect("a member");
    let mut claim = member
        .claim(&lane)
        .await
        .expect("a claim")
        .expect("nobody else claims it");
    let mut intake = claim.take(1000).await.expect("an intake");
    tokio::spawn(async move {
        loop {
            let taken = tokio::select! {
                () = stop.cancelled() => break,
                taken = intake.next() => taken,
            };
            let Ok(taken) = taken else { break };
            let envelope = taken.envelope.expect("an envelope");
            let event = Inbound::from_envelope(&envelope).expect("a known event");
            lock(&events).push((envelope, event));
            intake.settle(&[taken.tag]).await.expect("settled");
        }
        drop((member, claim));
    });
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
