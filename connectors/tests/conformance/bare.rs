//! A connector with no network before it, on a bus that only counts: for a hundred thousand payloads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tempfile::TempDir;
use tokio::sync::watch;
use tributary_bus::{
    Bus, BusError, BusState, DeadId, DeadLetter, EmbeddedBus, Group, Lane, LaneSpec, Membership,
    Moved, Notice, Publication, PublishError,
};
use tributary_connectors::{Connector, Context, InboundSink, registry};

use crate::{stands::Stand, support::database, world::settings};

pub struct Bare {
    pub connector: Arc<dyn Connector>,
    pub sink: InboundSink,
    pub bus: Arc<CountingBus>,
    _dir: TempDir,
}

impl Bare {
    pub async fn new<S: Stand>(stand: &S) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let bus = CountingBus::open(&dir).await;
        let settings = Arc::new(settings(stand, "http://127.0.0.1:9", ""));
        let channel = settings.channels["shop"].clone();
        let shared: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let context = Context {
            channel: channel.clone(),
            public_url: Context::public_url_of(&channel, &settings),
            settings: Arc::clone(&settings),
            database: Some(database(dir.path()).await),
            bus: Some(Arc::clone(&shared)),
            media: None,
        };
        let built = registry::build(&context).expect("right settings");
        Self {
            connector: built.connector,
            sink: InboundSink::new(shared, &channel, &settings),
            bus,
            _dir: dir,
        }
    }
}

/// Confirms everything and keeps nothing.
pub struct CountingBus {
    inner: Arc<EmbeddedBus>,
    published: AtomicUsize,
}

impl CountingBus {
    async fn open(dir: &TempDir) -> Arc<Self> {
        Arc::new(Self {
            inner: EmbeddedBus::open(&dir.path().join("bus.db"))
                .await
                .expect("a bus"),
            published: AtomicUsize::new(0),
        })
    }

    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Bus for CountingBus {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        self.published.fetch_add(batch.len(), Ordering::AcqRel);
        batch.iter().map(|_| Ok(())).collect()
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
