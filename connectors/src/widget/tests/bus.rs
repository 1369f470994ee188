//! A bus that can be made to misbehave.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use tokio::sync::{Semaphore, watch};
use tributary_bus::{
    Bus, BusError, BusState, DeadId, DeadLetter, EmbeddedBus, Group, Lane, LaneSpec, Membership,
    Moved, Notice, Publication, PublishError,
};

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
    pub(super) fn new(inner: Arc<EmbeddedBus>) -> Arc<Self> {
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
