//! The bus on a SQLite file, for one process: durable, in order, and without a server.

mod error;

use std::{path::Path, sync::Arc};

pub use error::OpenError;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::watch;

use crate::{
    Bus, BusError, BusState, DeadId, DeadLetter, Group, Lane, LaneSpec, Membership, Moved, Notice,
    Publication, PublishError,
};

/// The bus on a SQLite file.
pub struct EmbeddedBus {
    state: watch::Sender<BusState>,
}

impl EmbeddedBus {
    /// Opens the file, or creates it with its folder.
    ///
    /// # Errors
    /// Another process uses it, or it cannot be read and written.
    pub async fn open(path: &Path) -> Result<Arc<Self>, OpenError> {
        Err(OpenError::Missing(path.to_owned()))
    }

    /// Opens the file beside the process that uses it, for `dead`, `replay`, `depth` and `tail` only.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read and written.
    pub async fn open_for_management(path: &Path) -> Result<Arc<Self>, OpenError> {
        Err(OpenError::Missing(path.to_owned()))
    }
}

fn refused<T>() -> Result<T, BusError> {
    Err(BusError::Refused("not open".to_owned()))
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn declare(&self, _lanes: &[LaneSpec]) -> Result<(), BusError> {
        refused()
    }
    async fn remove(&self, _lane: &Lane) -> Result<(), BusError> {
        refused()
    }
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        batch
            .iter()
            .map(|_| Err(PublishError::NotPublished("not open".to_owned())))
            .collect()
    }
    async fn join(&self, _group: &Group) -> Result<Arc<dyn Membership>, BusError> {
        refused()
    }
    async fn depth(&self, _lane: &Lane) -> Result<u64, BusError> {
        refused()
    }
    async fn announce(&self, _notice: Notice) -> Result<(), BusError> {
        refused()
    }
    async fn notices(&self) -> Result<BoxStream<'static, Notice>, BusError> {
        refused()
    }
    async fn bury(&self, _letters: Vec<DeadLetter>) -> Result<(), BusError> {
        refused()
    }
    async fn dead(&self, _limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        refused()
    }
    async fn replay(&self, _id: DeadId) -> Result<bool, BusError> {
        refused()
    }
    async fn tail(&self) -> Result<BoxStream<'static, Moved>, BusError> {
        refused()
    }
    fn state(&self) -> watch::Receiver<BusState> {
        self.state.subscribe()
    }
    async fn close(&self) {}
}
