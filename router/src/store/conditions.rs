//! How the channel accounts are doing, of all organizations: for the operator of the fleet.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use tributary_base::on;
use tributary_bus::{ChannelId, OrganizationId};

use super::{Store, StoreError};

/// A configured account and how it is doing.
#[derive(Debug, Clone, FromRow)]
pub struct ChannelCondition {
    pub id: ChannelId,
    pub organization: OrganizationId,
    pub kind: String,
    /// See [`tributary_bus::message::HealthState`]; `None`: nothing was told yet.
    #[sqlx(rename = "health_state")]
    pub state: Option<String>,
    #[sqlx(rename = "health_reason")]
    pub reason: Option<String>,
    #[sqlx(rename = "health_action")]
    pub action: Option<String>,
    #[sqlx(rename = "health_since")]
    pub since: Option<DateTime<Utc>>,
}

impl Store {
    /// All accounts that the config has.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn channel_conditions(&self) -> Result<Vec<ChannelCondition>, StoreError> {
        self.within(async {
            Ok(on!(read &self.database, db => {
                sqlx::query_as("SELECT id, organization, kind, health_state, health_reason, health_action, health_since FROM channels WHERE removed_at IS NULL ORDER BY organization, id")
                    .fetch_all(db)
                    .await
            })?)
        })
        .await
    }
}
