//! What can change about an agent.

use std::num::NonZeroU32;

use tributary_base::on;
use tributary_bus::{AgentId, OrganizationId};

use super::{AgentRow, Availability, Store, StoreError, matching};
use crate::model::now;

/// What is to change about an agent; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct AgentChanges {
    pub name: Option<String>,
    pub availability: Option<Availability>,
    /// Open conversations at once, at most. Those above it stay with the agent.
    pub capacity: Option<NonZeroU32>,
}

impl Store {
    /// Changes an agent, who gets those that wait, if there is room for them now.
    ///
    /// # Errors
    /// No such agent; the database.
    pub async fn change_agent(
        &self,
        organization: &OrganizationId,
        id: AgentId,
        changes: AgentChanges,
    ) -> Result<AgentRow, StoreError> {
        let capacity = changes
            .capacity
            .map(|capacity| i32::try_from(capacity.get()).unwrap_or(i32::MAX));
        let available = changes
            .availability
            .map(|availability| availability == Availability::Available);
        let work = async {
            let mut tx = self.begin().await?;
            // Under the team's lock: once this returns, nobody is given to an agent who went away.
            matching::lock_team(&mut tx, organization).await?;
            let changed = on!(&mut tx, db => sqlx::query(
                "UPDATE agents SET name = COALESCE($3, name), available = COALESCE($4, available),
                 capacity = COALESCE($5, capacity), away_since = CASE WHEN COALESCE($4, available) THEN NULL
                 ELSE COALESCE(away_since, $6) END WHERE organization = $1 AND id = $2",
            )
            .bind(organization)
            .bind(id)
            .bind(changes.name)
            .bind(available)
            .bind(capacity)
            .bind(now())
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
            tx.commit().await?;
            Ok(changed > 0)
        };
        if !self.within(work).await? {
            return Err(StoreError::NotFound("agent"));
        }
        self.match_or_later(organization).await;
        let agent = self.agent(organization, id).await?;
        agent.ok_or(StoreError::NotFound("agent"))
    }
}
