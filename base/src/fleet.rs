//! What the processes of a fleet must agree on, kept in a table of two columns in each store.

use chrono::{SubsecRound as _, Utc};
use sqlx::AssertSqlSafe;

use crate::{
    database::{Database, DatabaseError},
    on,
};

/// The key of the number of inbound lanes.
pub const INBOUND_LANES: &str = "inbound_lanes";
/// The key that readiness writes.
const PROBE: &str = "probe";

/// The table of one store: `key`, `value`, `updated_at`.
#[derive(Debug, Clone, Copy)]
pub struct FleetTable(&'static str);

/// The settings of this process and the fleet's differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "bus.inbound_lanes is {configured}, and this fleet works with {kept}: contacts would change lanes \
     while their messages wait. Set bus.inbound_lanes = {kept} in every process, or stop all of them \
     and run `tributary lanes resize {configured}`"
)]
pub struct OtherLanes {
    pub configured: u16,
    pub kept: u16,
}

impl FleetTable {
    /// A table by its name, which becomes part of statements.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The number of inbound lanes that the fleet works with; `None` before `tributary migrate` wrote it.
    ///
    /// # Errors
    /// The database.
    pub async fn inbound_lanes(self, database: &Database) -> Result<Option<u16>, DatabaseError> {
        let statement = format!("SELECT value FROM {} WHERE key = $1", self.0);
        let kept: Option<String> = on!(read database, db => {
            sqlx::query_scalar(AssertSqlSafe(statement))
                .bind(INBOUND_LANES)
                .fetch_optional(db)
                .await
        })?;
        Ok(kept.and_then(|value| value.parse().ok()))
    }

    /// Writes the number of inbound lanes if none is kept yet; returns what is kept.
    ///
    /// # Errors
    /// The database.
    pub async fn keep_inbound_lanes(
        self,
        database: &Database,
        lanes: u16,
    ) -> Result<u16, DatabaseError> {
        let conflict = "ON CONFLICT (key) DO NOTHING";
        self.write(database, INBOUND_LANES, &lanes.to_string(), conflict)
            .await?;
        Ok(self.inbound_lanes(database).await?.unwrap_or(lanes))
    }

    /// Replaces the number of inbound lanes.
    ///
    /// # Errors
    /// The database.
    pub async fn replace_inbound_lanes(
        self,
        database: &Database,
        lanes: u16,
    ) -> Result<(), DatabaseError> {
        self.write(database, INBOUND_LANES, &lanes.to_string(), REPLACE)
            .await
    }

    /// Writes, to see whether the database takes writes right now.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(self, database: &Database) -> Result<(), DatabaseError> {
        self.write(database, PROBE, "", REPLACE).await
    }

    async fn write(
        self,
        database: &Database,
        key: &str,
        value: &str,
        conflict: &str,
    ) -> Result<(), DatabaseError> {
        let statement = format!(
            "INSERT INTO {} (key, value, updated_at) VALUES ($1, $2, $3) {conflict}",
            self.0
        );
        on!(write database, db => {
            sqlx::query(AssertSqlSafe(statement))
                .bind(key)
                .bind(value)
                .bind(Utc::now().trunc_subsecs(6))
                .execute(db)
                .await
                .map(drop)
        })?;
        Ok(())
    }
}

const REPLACE: &str =
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";

/// Compares the settings with what the fleet works with.
///
/// # Errors
/// They differ.
pub fn compare_lanes(configured: u16, kept: u16) -> Result<(), OtherLanes> {
    if configured == kept {
        return Ok(());
    }
    Err(OtherLanes { configured, kept })
}
