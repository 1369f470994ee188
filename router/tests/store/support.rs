//! A store of its own for each test, with two organizations and their channels.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use chrono::Utc;
use futures::stream::BoxStream;
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tributary_base::{database::Database, on};
use tributary_bus::{
    Address, Attendant, Bus, BusError, BusState, ChannelId, ConversationId, DeadId, DeadLetter,
    Destination, EmbeddedBus, Envelope, EventId, Group, Handler, Lane, LaneSpec, Lease, Membership,
    MessageId, Moved, Notice, OrganizationId, Outcome, Payload, Publication, PublishError, Work,
    message::{
        Content, ConversationView, MessageContext, MessageReceived, MessageStatus, Origin, Profile,
        Raw, SentBy, Status,
    },
};
use tributary_config::Settings;
use tributary_router::{RouterAttendant, store::Store};
use uuid::Uuid;

/// How long a test waits for what should take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"
[demo]
enabled = false
[organizations.acme]
name = "Acme"
[organizations.rival]
name = "Rival"
[channels.shop]
kind = "telegram"
organization = "acme"
[channels.rival-bot]
kind = "telegram"
organization = "rival"
"#;

/// Which database carries the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// A store with acme (channel `shop`) and rival (channel `rival-bot`), a bus, and a router on both.
pub struct World {
    pub kind: Kind,
    pub settings: Settings,
    pub store: Store,
    /// Connections of the test's own to the store's tables.
    pub database: Database,
    pub bus: Arc<EmbeddedBus>,
    /// Keeps the leases of the test alive.
    proof: watch::Sender<Option<Instant>>,
    dir: TempDir,
}

type Case = for<'w> fn(&'w World) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'w>>;

/// Runs a case in a world of its own.
pub async fn run(kind: Kind, case: Case) -> Result<()> {
    let admin = match kind {
        Kind::Sqlite => None,
        Kind::Postgres => Some(
            std::env::var("TEST_POSTGRES_URL")
                .context("TEST_POSTGRES_URL is not set: run this through tests/run")?,
        ),
    };
    let name = format!("store_{}", Uuid::now_v7().simple());
    let dir = tempfile::tempdir()?;
    let mut config = CONFIG.to_owned();
    if let Some(admin) = &admin {
        administer(admin, format!("CREATE DATABASE {name}")).await?;
        let url = beside(admin, &name)?;
        config.push_str(&format!("[store]\nurl = \"{url}\"\n"));
    }
    config.push_str(&format!("[data]\ndir = {:?}\n", dir.path()));
    let settings = tributary_config::load_text("test", &config, &[])?;
    let world = World::begin(kind, settings, dir).await?;
    let outcome = tokio::time::timeout(PATIENCE * 4, case(&world)).await;
    world.store.close().await;
    world.database.close().await;
    world.bus.close().await;
    // The database goes with its server: two that are dropped at once can wait for each other (seen on PostgreSQL 15).
    outcome.context("the case did not end")?
}

async fn administer(url: &str, statement: String) -> Result<()> {
    let database = Database::postgres(url, 1, PATIENCE).await?;
    if let Database::Postgres(pool) = &database {
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .execute(pool)
            .await?;
    }
    database.close().await;
    Ok(())
}

/// The URL of another database of the same server.
fn beside(url: &str, name: &str) -> Result<String> {
    let mut url = url::Url::parse(url)?;
    url.set_path(name);
    Ok(url.to_string())
}

impl World {
    async fn begin(kind: Kind, settings: Settings, dir: TempDir) -> Result<Self> {
        let store = Store::open(&settings).await?;
        store.migrate().await?;
        store.sync_config(&settings).await?;
        let database = match kind {
            Kind::Sqlite => Database::sqlite(&dir.path().join("store.db")).await?,
            Kind::Postgres => Database::postgres(settings.store.url.expose(), 4, PATIENCE).await?,
        };
        Ok(Self {
            kind,
            bus: EmbeddedBus::open(&dir.path().join("bus.db")).await?,
            settings,
            store,
            database,
            proof: watch::Sender::new(Some(Instant::now())),
            dir,
        })
    }

    /// Another database of the same kind, without tables.
    pub async fn empty_database(&self) -> Result<Database> {
        if self.kind == Kind::Sqlite {
            return Ok(Database::sqlite(&self.dir.path().join("empty.db")).await?);
        }
        let (url, name) = (
            self.settings.store.url.expose(),
            format!("empty_{}", Uuid::now_v7().simple()),
        );
        administer(url, format!("CREATE DATABASE {name}")).await?;
        Ok(Database::postgres(&beside(url, &name)?, 2, PATIENCE).await?)
    }

    /// A lease that stays fresh.
    pub fn lease(&self) -> Lease {
        Lease::new(self.proof.subscribe(), Duration::from_secs(3600))
    }

    /// A router, as one process has it.
    pub fn router(&self, store: &Store) -> RouterAttendant {
        let bus: Arc<dyn Bus> = Arc::clone(&self.bus) as Arc<dyn Bus>;
        RouterAttendant::new(store.clone(), bus, &self.settings)
    }

    pub async fn handler(&self, lane: u16) -> Result<Arc<dyn Handler>> {
        let router = self.router(&self.store);
        let handler = router.attend(&Lane::Inbound(lane)).await;
        handler.map_err(anyhow::Error::msg)
    }

    /// Hands envelopes to the handler of a lane, as one batch.
    pub async fn hand(&self, envelopes: Vec<Envelope>) -> Result<Vec<Outcome>> {
        let batch = envelopes.into_iter().map(work).collect();
        Ok(self.handler(0).await?.handle(batch, &self.lease()).await)
    }

    /// Hands envelopes over and expects that all are taken in.
    pub async fn take_in(&self, envelopes: Vec<Envelope>) -> Result<()> {
        let outcomes = self.hand(envelopes).await?;
        for outcome in outcomes {
            anyhow::ensure!(outcome == Outcome::Done, "{outcome:?}");
        }
        Ok(())
    }

    /// Runs what runs beside a lane until it is stopped.
    pub fn alongside(&self, router: RouterAttendant, lane: u16) -> Beside {
        let stop = CancellationToken::new();
        let (lease, token) = (self.lease(), stop.clone());
        let task = tokio::spawn(async move {
            let lane = Lane::Inbound(lane);
            router.alongside(&lane, &lease, token).await
        });
        Beside { stop, task }
    }

    /// The conversation of a contact: the latest.
    pub async fn conversation_of(&self, address: &str) -> Result<ConversationView> {
        let (id, organization): (ConversationId, OrganizationId) = on!(read &self.database, db => {
            sqlx::query_as(
                "SELECT v.id, v.organization FROM conversations v JOIN contacts c ON c.id = v.contact_id \
                 WHERE c.address = $1 ORDER BY v.created_at DESC LIMIT 1",
            )
            .bind(address)
            .fetch_one(db)
            .await
        })?;
        let found = self.store.conversation(&organization, id).await?;
        found.context("the conversation is there")
    }

    pub async fn number(&self, statement: &'static str) -> Result<i64> {
        Ok(on!(read &self.database, db => sqlx::query_scalar(statement).fetch_one(db).await)?)
    }

    pub async fn execute(&self, statement: String) -> Result<()> {
        let statement = sqlx::AssertSqlSafe(statement);
        on!(write &self.database, db => sqlx::raw_sql(statement).execute(db).await.map(drop))?;
        Ok(())
    }

    /// What the outbox holds, in its order.
    pub async fn outbox(&self) -> Result<Vec<Envelope>> {
        let rows: Vec<String> = on!(read &self.database, db => {
            sqlx::query_scalar("SELECT envelope FROM outbox ORDER BY id").fetch_all(db).await
        })?;
        let rows = rows.iter().map(|row| Envelope::parse(row.as_bytes()));
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The kinds of the outbox rows and their places.
    pub async fn told(&self) -> Result<Vec<String>> {
        let outbox = self.outbox().await?;
        Ok(outbox.iter().map(brief).collect())
    }

    pub async fn eventually<F>(&self, what: &str, check: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = Result<bool>>,
    {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if check().await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("never: {what}")
    }
}

/// A task that runs beside a lane.
pub struct Beside {
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), String>>,
}

impl Beside {
    pub async fn end(self) -> Result<()> {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await??;
        ended.map_err(anyhow::Error::msg)
    }
}

/// `3 message.created` for an envelope at place 3.
pub fn brief(envelope: &Envelope) -> String {
    let place = envelope
        .place()
        .map_or("-".to_owned(), |place| place.to_string());
    format!("{place} {}", envelope.kind.trim_end_matches(".v1"))
}

pub fn work(envelope: Envelope) -> Work {
    Work {
        envelope,
        attempt: 1,
        age: Duration::ZERO,
        redeliveries: 0,
    }
}

pub fn acme() -> OrganizationId {
    OrganizationId::from("acme")
}

pub fn rival() -> OrganizationId {
    OrganizationId::from("rival")
}

pub fn origin(channel: &str, address: &str) -> Origin {
    Origin {
        channel_id: ChannelId::from(channel),
        address: Address::from(address),
        occurred_at: Utc::now(),
        event: None,
        raw: Some(Raw {
            media_type: "application/json".to_owned(),
            body: "{\"update_id\":1}".to_owned(),
        }),
    }
}

/// An envelope as a connector of acme's channel makes it.
pub fn envelope<P: Payload>(id: EventId, payload: &P) -> Result<Envelope> {
    Ok(Envelope::wrap(
        id,
        "/channels/shop".to_owned(),
        acme(),
        None,
        payload,
    )?)
}

pub fn received(address: &str, provider_id: &str) -> MessageReceived {
    let origin = origin("shop", address);
    MessageReceived {
        message_id: MessageId::derived(&origin.channel_id, provider_id),
        origin,
        provider_id: provider_id.to_owned(),
        contact: Profile {
            name: Some("Ada".to_owned()),
            ..Profile::default()
        },
        content: Content::text(format!("text of {provider_id}")),
        reply_to: None,
        sent_by: SentBy::Contact,
        context: MessageContext::default(),
        replayed: false,
        extra: Map::new(),
    }
}

/// A message of a contact of acme.
pub fn message(address: &str, provider_id: &str) -> Result<Envelope> {
    let received = received(address, provider_id);
    envelope(received.message_id.into(), &received)
}

/// A status report on a message that was sent to a contact of acme.
pub fn status(address: &str, message_id: MessageId, status: Status) -> MessageStatus {
    MessageStatus {
        origin: origin("shop", address),
        message_id,
        status,
        provider_ids: Vec::new(),
        failure: None,
        uncertain: false,
        degraded: Vec::new(),
        extra: Map::new(),
    }
}

pub fn field(envelope: &Envelope, pointer: &str) -> Result<Value> {
    let value = envelope.data.to_value().pointer(pointer).cloned();
    value.with_context(|| format!("{} has no {pointer}", envelope.kind))
}

/// A bus that refuses publications to one lane until it is healed.
pub struct FaultyBus {
    inner: Arc<dyn Bus>,
    lane: Lane,
    healed: AtomicBool,
}

impl FaultyBus {
    pub fn new(inner: Arc<dyn Bus>, lane: Lane) -> Arc<Self> {
        let healed = AtomicBool::new(false);
        Arc::new(Self {
            inner,
            lane,
            healed,
        })
    }

    pub fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Bus for FaultyBus {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        let refused = Destination::Lane(self.lane.clone());
        if !self.healed.load(Ordering::SeqCst) && batch.iter().any(|p| p.to == refused) {
            return vec![Err(PublishError::NotPublished("refused".to_owned())); batch.len()];
        }
        self.inner.publish(batch).await
    }

    async fn declare(&self, lanes: &[LaneSpec]) -> Result<(), BusError> {
        self.inner.declare(lanes).await
    }

    async fn remove(&self, lane: &Lane) -> Result<(), BusError> {
        self.inner.remove(lane).await
    }

    async fn join(&self, group: &Group) -> Result<Arc<dyn Membership>, BusError> {
        self.inner.join(group).await
    }

    async fn depth(&self, lane: &Lane) -> Result<u64, BusError> {
        self.inner.depth(lane).await
    }

    async fn announce(&self, notice: Notice) -> Result<(), BusError> {
        self.inner.announce(notice).await
    }

    async fn notices(&self) -> Result<BoxStream<'static, Notice>, BusError> {
        self.inner.notices().await
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
        self.inner.state()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
