//! Records of messages that are handled alone, in the file.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    core::{Link, Slot},
    error::Failure,
    writer::Op,
};
use crate::{Attempt, AttemptLog, BusError};

pub(super) struct FileLog {
    link: Arc<Link>,
    slot: Arc<Slot>,
}

impl FileLog {
    pub fn new(link: Arc<Link>, slot: Arc<Slot>) -> Self {
        Self { link, slot }
    }

    /// `None`: the lane was removed, and its records with it.
    fn lane_id(&self) -> Option<i64> {
        self.link.core.registry().id(&self.slot.lane)
    }

    fn op(&self, attempt: Attempt) -> Result<Option<Op>, BusError> {
        let Some(lane_id) = self.lane_id() else {
            return Ok(None);
        };
        let record = serde_json::to_string(&attempt)
            .map_err(|reason| BusError::Refused(reason.to_string()))?;
        Ok(Some(Op::Record {
            lane_id,
            instance: attempt.instance,
            record,
        }))
    }
}

#[async_trait]
impl AttemptLog for FileLog {
    fn instance(&self) -> Uuid {
        self.link.core.instance
    }

    async fn read(&mut self) -> Result<Vec<Attempt>, BusError> {
        let Some(lane_id) = self.lane_id() else {
            return Ok(Vec::new());
        };
        let records: Vec<String> =
            sqlx::query_scalar("SELECT record FROM attempts WHERE lane_id = ? ORDER BY place")
                .bind(lane_id)
                .fetch_all(&self.link.read)
                .await
                .map_err(Failure::from)?;
        // What a later version recorded is no evidence for this one.
        let read = |record: &String| serde_json::from_str(record).ok();
        Ok(records.iter().filter_map(read).collect())
    }

    async fn add(&mut self, attempt: Attempt) -> Result<(), BusError> {
        if let Some(op) = self.op(attempt)? {
            self.link.write(op).await?;
        }
        Ok(())
    }

    fn add_later(&mut self, attempt: Attempt) {
        // The lane is lost when the bus is closed, which withdraws all, or when it was removed.
        if let Ok(Some(op)) = self.op(attempt) {
            let link = Arc::clone(&self.link);
            tokio::spawn(async move { link.write(op).await });
        }
    }

    async fn clear(&mut self) -> Result<(), BusError> {
        if let Some(lane_id) = self.lane_id() {
            self.link.write(Op::ClearRecords(lane_id)).await?;
        }
        Ok(())
    }
}
