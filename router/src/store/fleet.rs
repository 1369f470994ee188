//! What the processes of a fleet must agree on.

use tributary_base::{fleet::FleetTable, on};

use super::{Store, StoreError};

const FLEET: FleetTable = FleetTable::new("fleet");

impl Store {
    /// The number of inbound lanes that the fleet works with; `None` before `tributary migrate` wrote it.
    ///
    /// # Errors
    /// The database.
    pub async fn inbound_lanes(&self) -> Result<Option<u16>, StoreError> {
        let work = async { Ok(FLEET.inbound_lanes(&self.database).await?) };
        self.within(work).await
    }

    /// Writes the number of inbound lanes if none is kept yet; returns what is kept.
    ///
    /// # Errors
    /// The database.
    pub async fn keep_inbound_lanes(&self, lanes: u16) -> Result<u16, StoreError> {
        let work = async { Ok(FLEET.keep_inbound_lanes(&self.database, lanes).await?) };
        self.within(work).await
    }

    /// Replaces the number of inbound lanes. Conversations of shards that are no more get one of the remaining ones; no
    /// process may run, and the outbox must be empty.
    ///
    /// # Errors
    /// The database.
    pub async fn resize_inbound_lanes(&self, lanes: u16) -> Result<(), StoreError> {
        let remaining = i32::from(lanes.max(1));
        on!(write &self.database, db => {
            sqlx::query("UPDATE conversations SET shard = shard % $1 WHERE shard >= $1")
                .bind(remaining)
                .execute(db)
                .await
                .map(drop)
        })?;
        Ok(FLEET.replace_inbound_lanes(&self.database, lanes).await?)
    }

    /// Whether the store can be read and written right now. Writes one small row.
    ///
    /// # Errors
    /// It cannot.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let work = async { Ok(FLEET.probe(&self.database).await?) };
        self.within(work).await
    }
}
