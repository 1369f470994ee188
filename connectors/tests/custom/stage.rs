//! A connector process on the embedded bus, a system on the one side and a stand-in for the router on the other.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::Utc;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;
use tributary_base::{
    database::Database,
    media::{Home, MediaService, open},
};
use tributary_bus::{
    Address, Bus, ChannelId, ConversationId, Destination, EmbeddedBus, Envelope, EventId, Group,
    Lane, LaneSpec, MessageId, OrganizationId, Payload, Publication, Workers,
    message::{Content, DeliverySend, Inbound, MessageReceived, MessageStatus, Priority, Status},
};
use tributary_config::{Settings, load_text};
use tributary_connectors::{
    Accounts, ChannelLog, ConnectorAttendant, ConnectorStore, Ledger, LoggedCall, calls_of,
    server::serve_ingress,
};
use tributary_simulators::custom::CustomSystem;

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const CONTACT: &str = "client-5550009876";

/// What the router would have got.
pub type Events = Arc<Mutex<Vec<(EventId, Inbound)>>>;

pub struct Stage {
    pub system: CustomSystem,
    pub bus: Arc<EmbeddedBus>,
    pub events: Events,
    pub media: MediaService,
    /// `http://127.0.0.1:<port>/channels/crm`
    pub account: String,
    store: ConnectorStore,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _dir: TempDir,
}

impl Stage {
    /// Starts everything; `extra` are settings of the account.
    pub async fn new(extra: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let bus = EmbeddedBus::open(&dir.path().join("bus.db"))
            .await
            .expect("a bus");
        let stop = CancellationToken::new();
        let events = Events::default();
        route(&bus, Arc::clone(&events), stop.clone()).await;
        let system = CustomSystem::start().await.expect("a simulator");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let settings = Arc::new(settings(&dir, &system, &format!("http://{address}"), extra));
        let opened = open(&settings, Home::Alone, Some(address)).await;
        let media = opened.expect("a store").expect("media is kept");
        let database = Database::sqlite(&dir.path().join("connectors.db"))
            .await
            .expect("a database");
        let store = ConnectorStore::new(database.clone()).with_media(Some(media.clone()));
        store.migrate().await.expect("the schema fits");
        let anybody: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let ledger = Ledger::start(database.clone(), &settings, stop.clone())
            .await
            .expect("a ledger");
        let ledger = Arc::new(ledger);
        let accounts = Accounts::build(&settings, Some("custom"), &store, &anybody, &ledger);
        let accounts = Arc::new(accounts.expect("right settings"));
        let log = ChannelLog::start(database, &settings, stop.clone());
        let attendant =
            ConnectorAttendant::new(Arc::clone(&accounts), ledger, &settings).with_log(log);
        let (_lanes, lanes) = watch::channel(accounts.lanes());
        let workers = Workers {
            bus: anybody,
            group: Group::Connector("custom".to_owned()),
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
        Self {
            account: format!("http://{address}/channels/crm"),
            system,
            bus,
            events,
            media,
            store,
            stop,
            tasks,
            _dir: dir,
        }
    }

    /// Puts a text into the delivery lane, as the router does.
    pub async fn reply(&self, text: &str) -> MessageId {
        self.reply_with(Content::text(text)).await
    }

    pub async fn reply_with(&self, content: Content) -> MessageId {
        let delivery = DeliverySend {
            conversation_id: ConversationId::generate(),
            channel_id: ChannelId::from("crm"),
            to: Address::from(CONTACT),
            seq: 1,
            message_id: MessageId::generate(),
            content,
            reply_to: None,
            created_at: Utc::now(),
            priority: Priority::default(),
            extra: Map::new(),
        };
        self.deliver(delivery.message_id.into(), &delivery).await;
        delivery.message_id
    }

    pub async fn deliver<P: Payload>(&self, id: EventId, delivery: &P) {
        let lane = Lane::Delivery(ChannelId::from("crm"));
        let spec = LaneSpec {
            lane: lane.clone(),
            filter: None,
        };
        self.bus.declare(&[spec]).await.expect("a lane");
        let organization = OrganizationId::from("acme");
        let envelope = Envelope::wrap(id, "/router".to_owned(), organization, None, delivery);
        let publication = Publication {
            to: Destination::Lane(lane),
            envelope: envelope.and_then(|e| e.seal()).expect("an envelope"),
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
                "no {what}; events: {:?}, system: {}",
                *lock(&self.events),
                self.system.look(ToString::to_string)
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last status of a message, when it is this.
    pub async fn status(&self, id: MessageId, wanted: Status) -> MessageStatus {
        self.until(wanted.as_str(), || {
            self.all(|event| match event {
                Inbound::Status(status) if status.message_id == id => Some(status.clone()),
                _ => None,
            })
            .into_iter()
            .find(|status| status.status == wanted)
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

    pub fn messages(&self) -> Vec<MessageReceived> {
        self.all(|event| match event {
            Inbound::Received(message) => Some((**message).clone()),
            _ => None,
        })
    }

    /// Exactly so many messages: what was answered with 2xx is durable, and on its way here.
    pub async fn received(&self, count: usize) -> Vec<MessageReceived> {
        let messages = self
            .until("messages", || {
                let messages = self.messages();
                (messages.len() >= count).then_some(messages)
            })
            .await;
        assert_eq!(messages.len(), count);
        messages
    }

    /// The channel log of a message, when it has so many calls.
    pub async fn calls(&self, id: MessageId, count: usize) -> Vec<LoggedCall> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let organization = OrganizationId::from("acme");
            let calls = calls_of(&self.store, &organization, id).await;
            let calls = calls.expect("the log can be read");
            if calls.len() >= count {
                return calls;
            }
            assert!(Instant::now() < deadline, "calls: {calls:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops all; the invariant at the end of each test: nothing is left anywhere.
    pub async fn ends_settled(self) {
        let lane = Lane::Delivery(ChannelId::from("crm"));
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
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("it ends well");
        }
    }
}

fn settings(dir: &TempDir, system: &CustomSystem, public_url: &str, extra: &str) -> Settings {
    let text = format!(
        "[demo]\nenabled = false\n[data]\ndir = '{}'\n[bus]\ninbound_lanes = 1\n\
         [ingress]\npublic_url = '{public_url}'\nrequest_deadline = '5s'\n\
         [lanes]\nclaim_interval = '50ms'\n\
         [media]\nfetch_retry_base = '10ms'\nfetch_retry_cap = '50ms'\n\
         [delivery]\nretry_base = '10ms'\nretry_cap = '50ms'\nsend_deadline = '1s'\n\
         [shutdown]\ndeadline = '5s'\n[organizations.acme]\nname = 'Acme'\n\
         [channels.crm]\nkind = 'custom'\nurl = '{}?key=shibboleth'\nsecret = '{}'\n\
         allow_internal = ['127.0.0.0/8']\n{extra}\n",
        dir.path().display(),
        system.url(),
        system.secret(),
    );
    load_text("test", &text, &[]).expect("right settings")
}

/// Takes everything out of the inbound lane, until `stop`.
async fn route(bus: &Arc<EmbeddedBus>, events: Events, stop: CancellationToken) {
    let lane = Lane::Inbound(0);
    let spec = LaneSpec {
        lane: lane.clone(),
        filter: None,
    };
    bus.declare(&[spec]).await.expect("a lane");
    let member = bus.join(&Group::Router).await.expect("a member");
    let claim = member.claim(&lane).await.expect("a claim");
    let mut claim = claim.expect("nobody else claims it");
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
            lock(&events).push((envelope.id, event));
            intake.settle(&[taken.tag]).await.expect("settled");
        }
        drop((member, claim));
    });
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An event of the contact.
pub fn event(id: &str, kind: &str, more: &Value) -> Value {
    let mut event = json!({
        "id": id, "type": kind, "from": {"address": CONTACT, "name": "Olena"},
        "at": Utc::now().to_rfc3339(),
    });
    if let (Some(event), Some(more)) = (event.as_object_mut(), more.as_object()) {
        event.extend(more.clone());
    }
    event
}

pub fn text(id: &str, text: &str) -> Value {
    event(
        id,
        "message",
        &json!({"content": {"type": "text", "text": text}}),
    )
}
