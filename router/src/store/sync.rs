//! Bringing the store in line with the config: organizations, channel accounts, teams, the demo agent.

use chrono::{DateTime, Utc};
use tributary_base::{database::Tx, on};
use tributary_bus::{AgentId, OrganizationId};
use tributary_config::{Channel, Settings};

use super::{Agent, Store, StoreError, agents, matching};
use crate::model::now;

/// The organization that `demo.enabled` makes.
const DEMO: &str = "demo";
/// Conversations of the demo agent at once: more than a demonstration needs.
const DEMO_CAPACITY: i32 = 1000;

impl Store {
    /// Writes down what the config says of organizations and channel accounts. Every process that takes part in a fleet
    /// may do so, in any order, when it starts; they must have the same config. A channel that the config no longer has is
    /// marked as removed: what it brought is still taken in, nothing is sent through it.
    ///
    /// # Errors
    /// [`StoreError::ChannelMoved`]; the database.
    pub async fn sync_config(&self, settings: &Settings) -> Result<(), StoreError> {
        let work = async {
            let now = now();
            let mut tx = self.begin().await?;
            for (id, organization) in &settings.organizations {
                organization_row(&mut tx, id, &organization.name, now).await?;
            }
            for channel in settings.channels.values() {
                channel_row(&mut tx, channel, now).await?;
            }
            let known: Vec<&str> = settings.channels.keys().map(String::as_str).collect();
            mark_removed(&mut tx, &known, now).await?;
            if settings.demo.enabled && settings.organizations.contains_key(DEMO) {
                demo_agent(&mut tx, now).await?;
            }
            Ok(tx.commit().await?)
        };
        self.within(work).await
    }
}

async fn organization_row(
    tx: &mut Tx,
    id: &str,
    name: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    on!(&mut *tx, db => {
        sqlx::query(
            "INSERT INTO organizations (id, name, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        )
        .bind(id)
        .bind(name)
        .bind(now)
        .execute(db)
        .await
        .map(drop)
    })?;
    on!(tx, db => {
        sqlx::query("INSERT INTO teams (organization) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(id)
            .execute(db)
            .await
            .map(drop)
    })
}

async fn channel_row(tx: &mut Tx, channel: &Channel, now: DateTime<Utc>) -> Result<(), StoreError> {
    let owner: String = on!(tx, db => {
        sqlx::query_scalar(
            "INSERT INTO channels (id, organization, kind, name, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name = excluded.name, removed_at = NULL \
             RETURNING organization",
        )
        .bind(&channel.id)
        .bind(&channel.organization)
        .bind(&channel.kind)
        .bind(&channel.name)
        .bind(now)
        .fetch_one(db)
        .await
    })?;
    if owner == channel.organization {
        return Ok(());
    }
    Err(StoreError::ChannelMoved {
        channel: channel.id.clone(),
        owner,
    })
}

async fn mark_removed(tx: &mut Tx, known: &[&str], now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    match tx {
        Tx::Postgres(tx) => sqlx::query(
            "UPDATE channels SET removed_at = $1 WHERE removed_at IS NULL AND id <> ALL($2)",
        )
        .bind(now)
        .bind(known)
        .execute(&mut **tx)
        .await
        .map(drop),
        Tx::Sqlite(tx) => sqlx::query(
            "UPDATE channels SET removed_at = $1 WHERE removed_at IS NULL \
             AND id NOT IN (SELECT value FROM json_each($2))",
        )
        .bind(now)
        .bind(serde_json::json!(known).to_string())
        .execute(&mut **tx)
        .await
        .map(drop),
    }
}

/// Somebody who answers, in a demonstration where nobody was hired yet.
async fn demo_agent(tx: &mut Tx, now: DateTime<Utc>) -> Result<(), StoreError> {
    let organization = OrganizationId::from(DEMO);
    matching::lock_team(tx, &organization).await?;
    let agents: i64 = on!(&mut *tx, db => {
        sqlx::query_scalar("SELECT COUNT(*) FROM agents WHERE organization = $1")
            .bind(&organization)
            .fetch_one(db)
            .await
    })?;
    if agents > 0 {
        return Ok(());
    }
    let agent = Agent {
        id: AgentId::generate(),
        organization,
        name: "Demo agent".to_owned(),
        available: true,
        capacity: DEMO_CAPACITY,
        created_at: now,
    };
    agents::insert(tx, &agent).await
}
