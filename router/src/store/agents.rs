//! The humans who answer.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use tributary_base::{database::Tx, on};
use tributary_bus::{AgentId, OrganizationId};

use super::{Store, StoreError, matching};
use crate::model::now;

/// A human who answers.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Agent {
    pub id: AgentId,
    pub organization: OrganizationId,
    pub name: String,
    /// Whether new conversations may be given to the agent.
    pub available: bool,
    /// Open conversations at once, at most.
    pub capacity: i32,
    pub created_at: DateTime<Utc>,
}

/// An agent to be.
#[derive(Debug, Clone)]
pub struct NewAgent {
    pub organization: OrganizationId,
    pub name: String,
    pub availability: Availability,
    /// Open conversations at once, at most.
    pub capacity: NonZeroU32,
}

/// Whether new conversations may be given to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    Available,
    Away,
}

impl Store {
    /// Adds an agent, who gets those that wait, if available.
    ///
    /// # Errors
    /// No such organization; the database.
    pub async fn create_agent(&self, new: NewAgent) -> Result<Agent, StoreError> {
        let agent = Agent {
            id: AgentId::generate(),
            organization: new.organization,
            name: new.name,
            available: new.availability == Availability::Available,
            capacity: i32::try_from(new.capacity.get()).unwrap_or(i32::MAX),
            created_at: now(),
        };
        let work = async {
            let mut tx = self.begin().await?;
            matching::lock_team(&mut tx, &agent.organization).await?;
            insert(&mut tx, &agent).await?;
            Ok(tx.commit().await?)
        };
        self.within(work).await?;
        self.match_or_later(&agent.organization).await;
        Ok(agent)
    }

    /// Says whether an agent takes new conversations. Those the agent has already stay.
    ///
    /// # Errors
    /// No such agent; the database.
    pub async fn set_availability(
        &self,
        organization: &OrganizationId,
        id: AgentId,
        availability: Availability,
    ) -> Result<Agent, StoreError> {
        let work = async {
            let mut tx = self.begin().await?;
            // Under the team's lock: once this returns, nobody is given to an agent who went away.
            matching::lock_team(&mut tx, organization).await?;
            let agent: Option<Agent> = on!(&mut tx, db => {
                sqlx::query_as(
                    "UPDATE agents SET available = $1, \
                     away_since = CASE WHEN $1 THEN NULL ELSE COALESCE(away_since, $4) END \
                     WHERE id = $2 AND organization = $3 \
                     RETURNING id, organization, name, available, capacity, created_at",
                )
                .bind(availability == Availability::Available)
                .bind(id)
                .bind(organization)
                .bind(now())
                .fetch_optional(db)
                .await
            })?;
            tx.commit().await?;
            agent.ok_or(StoreError::NotFound("agent"))
        };
        let agent = self.within(work).await?;
        self.match_or_later(organization).await;
        Ok(agent)
    }
}

pub(super) async fn insert(tx: &mut Tx, agent: &Agent) -> Result<(), StoreError> {
    on!(tx, db => {
        sqlx::query(
            "INSERT INTO agents (id, organization, name, available, capacity, created_at, away_since) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(agent.id)
        .bind(&agent.organization)
        .bind(&agent.name)
        .bind(agent.available)
        .bind(agent.capacity)
        .bind(agent.created_at)
        .bind((!agent.available).then_some(agent.created_at))
        .execute(db)
        .await
        .map(drop)
    })?;
    Ok(())
}

/// Checks that the organization has this agent.
pub(super) async fn require(
    tx: &mut Tx,
    organization: &OrganizationId,
    id: AgentId,
) -> Result<(), StoreError> {
    let found: Option<i32> = on!(tx, db => {
        sqlx::query_scalar("SELECT 1 FROM agents WHERE id = $1 AND organization = $2")
            .bind(id)
            .bind(organization)
            .fetch_optional(db)
            .await
    })?;
    found.map(drop).ok_or(StoreError::NotFound("agent"))
}
