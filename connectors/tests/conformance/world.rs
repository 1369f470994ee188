//! A connector process as it runs in a fleet: ingress, lane runner, ledger on SQLite, embedded bus. On the one side a
//! [`Stand`], on the other what the router would have got.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::Utc;
use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::Map;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::{
    database::Database,
    media::{self, Home},
};
use tributary_bus::{
    Address, Bus, ChannelId, ConversationId, Destination, EmbeddedBus, Envelope, EventId, Group,
    Lane, LaneSpec, MessageId, OrganizationId, Payload, Publication, Workers,
    message::{Content, DeliverySend, Inbound, Media, MessageStatus, Priority, Status},
};
use tributary_config::{Settings, load_text};
use tributary_connectors::{
    Account, Accounts, ChannelLog, ConnectorAttendant, ConnectorStore, Ledger, MediaShelf,
    MediaStream, registry, server::serve_ingress,
};

use crate::{
    stands::Stand,
    watch::{self, lock},
};

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long one provider call may take.
pub const SEND_DEADLINE: Duration = Duration::from_secs(1);
const LANES: u16 = 2;
/// Signs links to media.
pub const MEDIA_KEY: &str = "unmistakable-media-key-0123456789abcdef";

/// What the router would have got.
type Events = Arc<Mutex<Vec<(Envelope, Inbound)>>>;

pub struct World<S> {
    pub stand: S,
    pub store: ConnectorStore,
    shelf: MediaShelf,
    bus: Arc<EmbeddedBus>,
    events: Events,
    accounts: Arc<Accounts>,
    dir: TempDir,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _stopped: DropGuard,
}

/// The whole config; `extra` are further settings of the account.
pub fn settings<S: Stand>(stand: &S, public_url: &str, extra: &str) -> Settings {
    let text = format!(
        "[demo]\nenabled = false\n[bus]\ninbound_lanes = {LANES}\n\
         [ingress]\npublic_url = '{public_url}'\nbody_limit = 100000\nrequest_deadline = '5s'\n\
         [lanes]\nclaim_interval = '50ms'\n\
         [delivery]\nretry_base = '10ms'\nretry_cap = '50ms'\nsend_deadline = '1s'\n\
         [media]\nsigning_key = '{MEDIA_KEY}'\n\
         [shutdown]\ndeadline = '5s'\n\
         [organizations.acme]\nname = 'Acme'\n\
         [channels.shop]\nkind = '{}'\n{}{extra}\n",
        S::KIND,
        stand.settings(),
    );
    load_text("test", &text, &[]).expect("right settings")
}

/// The connectors' database in a folder, with all tables.
pub async fn database(dir: &Path) -> Database {
    let database = Database::sqlite(&dir.join("connectors.db"))
        .await
        .expect("a database");
    let store = ConnectorStore::new(database.clone());
    store.migrate().await.expect("the schema fits");
    database
}

impl<S: Stand> World<S> {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// `extra` are further settings of the account.
    pub async fn with(extra: &str) -> Self {
        watch::count_panics();
        // Somebody else may have installed it.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let stand = S::start().await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut settings = settings(&stand, &format!("http://{address}"), extra);
        settings.data.dir = dir.path().to_owned();
        let settings = Arc::new(settings);
        let media = media::open(&settings, Home::Alone, Some(address)).await;
        let media = media.expect("a media store").expect("it is a folder");
        let shelf = MediaShelf::new(media.clone(), "acme", &settings);
        let bus = EmbeddedBus::open(&dir.path().join("bus.db"))
            .await
            .expect("a bus");
        let stop = CancellationToken::new();
        let events = Events::default();
        for lane in 0..LANES {
            route(&bus, Lane::Inbound(lane), Arc::clone(&events), stop.clone()).await;
        }
        let store = ConnectorStore::new(database(dir.path()).await).with_media(Some(media));
        let shared: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let ledger = Ledger::start(store.database().clone(), &settings, stop.clone()).await;
        let ledger = Arc::new(ledger.expect("a ledger"));
        let accounts = Accounts::build(&settings, Some(S::KIND), &store, &shared, &ledger);
        let accounts = Arc::new(accounts.expect("right settings"));
        let log = ChannelLog::start(store.database().clone(), &settings, stop.clone());
        let attendant = ConnectorAttendant::new(Arc::clone(&accounts), ledger, &settings);
        let attendant = Arc::new(attendant.with_log(log));
        let workers = workers::<S>(shared, &accounts, attendant, &settings);
        let (stopping, serving) = (stop.clone(), stop.clone());
        let answering = Arc::clone(&accounts);
        let tasks = vec![
            tokio::spawn(async move { workers.run(stopping).await }),
            tokio::spawn(async move {
                serve_ingress(listener, answering, settings, serving)
                    .await
                    .expect("the ingress serves");
            }),
        ];
        stand.opened(address).await;
        Self {
            stand,
            store,
            shelf,
            bus,
            events,
            accounts,
            dir,
            _stopped: stop.clone().drop_guard(),
            stop,
            tasks,
        }
    }

    pub fn account(&self) -> &Account {
        self.accounts.get("shop").expect("it is configured")
    }

    /// Puts bytes into the media store, as an upload over the API does.
    pub async fn keep(&self, name: &str, bytes: Bytes) -> Media {
        let stream = MediaStream {
            size: Some(bytes.len() as u64),
            body: stream::iter([Ok(bytes)]).boxed(),
            mime: None,
            name: Some(name.to_owned()),
        };
        self.shelf.put(stream, None).await.expect("it is stored")
    }

    /// Where the databases are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a reply into the delivery lane, as the router does.
    pub async fn send(&self, to: &Address, content: Content) -> MessageId {
        let delivery = DeliverySend {
            conversation_id: ConversationId::generate(),
            channel_id: ChannelId::from("shop"),
            to: to.clone(),
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

    /// Puts any delivery into the lane.
    pub async fn deliver<P: Payload + Serialize>(&self, id: EventId, delivery: &P) {
        let lane = Lane::Delivery(ChannelId::from("shop"));
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
            delivery,
        );
        let publication = Publication {
            to: Destination::Lane(lane),
            envelope: envelope.and_then(|e| e.seal()).expect("an envelope"),
        };
        for result in self.bus.publish(vec![publication]).await {
            result.expect("published");
        }
    }

    /// Everything that has come so far.
    pub fn events(&self) -> Vec<(Envelope, Inbound)> {
        lock(&self.events).clone()
    }

    /// What has come so far, as far as it is wanted.
    pub fn all<T>(&self, wanted: impl Fn(&Inbound) -> Option<T>) -> Vec<T> {
        let events = lock(&self.events);
        events
            .iter()
            .filter_map(|(_, event)| wanted(event))
            .collect()
    }

    /// Looks until there is something to see.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "{}: no {what}; events: {:?}",
                S::KIND,
                self.events()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What became of a message in the end, as far as the provider's answer tells.
    pub async fn outcome(&self, id: MessageId) -> MessageStatus {
        self.until("outcome", || {
            let statuses = self.all(|event| match event {
                Inbound::Status(status) if status.message_id == id => Some(status.clone()),
                _ => None,
            });
            statuses
                .into_iter()
                .find(|status| !matches!(status.status, Status::Received | Status::Queued))
        })
        .await
    }

    /// The invariant at the end: nothing is left in the lane, nothing is dead, no task has panicked. Then it stops.
    pub async fn ends_well(mut self) {
        self.is_settled().await;
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await.expect("it ends well");
        }
        assert_eq!(watch::panics(), 0, "{}: a task has panicked", S::KIND);
    }

    pub async fn is_settled(&self) {
        let lane = Lane::Delivery(ChannelId::from("shop"));
        let since = Instant::now();
        loop {
            let waiting = self.bus.depth(&lane).await.unwrap_or_default();
            if waiting == 0 {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{waiting} deliveries are left");
            sleep(Duration::from_millis(10)).await;
        }
        let dead = self.bus.dead(10).await.expect("the dead letters");
        assert!(dead.is_empty(), "{}: {dead:?}", S::KIND);
    }
}

fn workers<S: Stand>(
    bus: Arc<dyn Bus>,
    accounts: &Arc<Accounts>,
    attendant: Arc<ConnectorAttendant>,
    settings: &Settings,
) -> Workers {
    let (_, lanes) = tokio::sync::watch::channel(accounts.lanes());
    Workers {
        bus,
        group: Group::Connector(S::KIND.to_owned()),
        lanes,
        attendant,
        policy: ConnectorAttendant::policy(settings),
        claim_interval: settings.lanes.claim_interval,
        drain_deadline: settings.shutdown.deadline,
    }
}

/// Takes everything out of an inbound lane, until `stop`.
async fn route(bus: &Arc<EmbeddedBus>, lane: Lane, events: Events, stop: CancellationToken) {
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
            lock(&events).push((envelope, event));
            intake.settle(&[taken.tag]).await.expect("settled");
        }
        drop((member, claim));
    });
}

/// The kinds there are, for the test that none is forgotten.
pub fn kinds() -> Vec<&'static str> {
    registry::kinds().collect()
}
