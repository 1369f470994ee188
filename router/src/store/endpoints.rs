//! Integrator endpoints.

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use rand::{TryRng, rngs::SysRng};
use sqlx::{AssertSqlSafe, types::Json};
use tributary_base::on;
use tributary_bus::{EndpointId, EventFilter, Lane, LaneSpec, OrganizationId};
use tributary_config::Secret;
use url::Url;

use super::{Store, StoreError};

/// How long a replaced secret goes on signing.
pub const SECRET_OVERLAP: TimeDelta = TimeDelta::hours(24);
/// Bytes of randomness in a signing secret; Standard Webhooks asks for 24 to 64.
const SECRET_BYTES: usize = 32;

/// Where an integrator wants its events.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub id: EndpointId,
    pub organization: OrganizationId,
    pub url: String,
    /// Patterns of event types: `*`, `message.*`, `message.created`.
    pub events: Vec<String>,
    pub created_at: DateTime<Utc>,
    /// Set when it was deleted and its lane is still to be removed.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Set while nothing is sent to it: it answered 410 for an hour.
    pub disabled_at: Option<DateTime<Utc>>,
    pub disabled_reason: Option<String>,
    /// `whsec_` and base64; the current one first, then the one it replaced while that still signs.
    pub secrets: Vec<Secret>,
}

/// What became of a wish to create an endpoint.
#[derive(Debug)]
pub enum EndpointCreated {
    Created(Endpoint),
    /// The organization has as many as it may have.
    TooMany,
}

/// The system gave no randomness for a secret.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no randomness: {0}")]
pub struct NoRandomness(String);

/// The columns that [`EndpointRow`] reads.
const ENDPOINT_COLUMNS: &str = "id, organization, url, events, secret, previous_secret, \
     previous_until, created_at, deleted_at, disabled_at, disabled_reason";

#[derive(sqlx::FromRow)]
struct EndpointRow {
    id: EndpointId,
    organization: OrganizationId,
    url: String,
    events: Json<Vec<String>>,
    secret: String,
    previous_secret: Option<String>,
    previous_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    disabled_at: Option<DateTime<Utc>>,
    disabled_reason: Option<String>,
}

impl From<EndpointRow> for Endpoint {
    fn from(row: EndpointRow) -> Self {
        let previous = row
            .previous_secret
            .filter(|_| row.previous_until.is_some_and(|until| until > Utc::now()));
        Self {
            id: row.id,
            organization: row.organization,
            url: row.url,
            events: row.events.0,
            created_at: row.created_at,
            deleted_at: row.deleted_at,
            disabled_at: row.disabled_at,
            disabled_reason: row.disabled_reason,
            secrets: std::iter::once(row.secret)
                .chain(previous)
                .map(Secret::new)
                .collect(),
        }
    }
}

impl Endpoint {
    /// The endpoint's lane and the events that flow into it.
    pub fn lane(&self) -> LaneSpec {
        LaneSpec {
            lane: Lane::Endpoint(self.id),
            filter: Some(EventFilter {
                organization: self.organization.clone(),
                patterns: self.events.clone(),
            }),
        }
    }
}

/// A fresh signing secret: `whsec_` and the base64 of 32 random bytes.
///
/// # Errors
/// The system gives no randomness.
pub fn new_secret() -> Result<Secret, NoRandomness> {
    let mut random = [0; SECRET_BYTES];
    SysRng
        .try_fill_bytes(&mut random)
        .map_err(|error| NoRandomness(error.to_string()))?;
    Ok(Secret::new(format!(
        "whsec_{}",
        BASE64_STANDARD.encode(random)
    )))
}

impl Store {
    /// Writes an endpoint. The caller declares its lane next, and deletes it when that fails.
    ///
    /// # Errors
    /// No database.
    pub async fn create_endpoint(
        &self,
        organization: &OrganizationId,
        url: &Url,
        events: &[String],
        secret: &Secret,
        at_most: i64,
    ) -> Result<EndpointCreated, StoreError> {
        let row = self.within(async { Ok(on!(write &self.database, db => sqlx::query_as::<_, EndpointRow>(
            "INSERT INTO endpoints (id, organization, url, events, secret, created_at)
             SELECT $1, $2, $3, $4, $5, $6
             WHERE (SELECT COUNT(*) FROM endpoints WHERE organization = $2 AND deleted_at IS NULL) < $7
             RETURNING *",
        )
        .bind(EndpointId::generate())
        .bind(organization)
        .bind(url.as_str())
        .bind(Json(events))
        .bind(secret.expose())
        .bind(Utc::now())
        .bind(at_most)
        .fetch_optional(db)
        .await)?) }).await?;
        let Some(row) = row else {
            return Ok(EndpointCreated::TooMany);
        };
        // From here on its events count: before its lane exists.
        self.endpoint_state(row.id).await?;
        Ok(EndpointCreated::Created(row.into()))
    }

    /// The endpoints of an organization after `after`, oldest first.
    ///
    /// # Errors
    /// No database.
    pub async fn endpoints(
        &self,
        organization: &OrganizationId,
        after: Option<EndpointId>,
        limit: i64,
    ) -> Result<Vec<Endpoint>, StoreError> {
        let rows = self
            .within(async {
                Ok(
                    on!(read &self.database, db => sqlx::query_as::<_, EndpointRow>(
            AssertSqlSafe(format!("SELECT {ENDPOINT_COLUMNS} FROM endpoints WHERE organization = $1 AND deleted_at IS NULL
             AND ($2 IS NULL OR id > $2) ORDER BY id LIMIT $3")),
        )
        .bind(organization)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await)?,
                )
            })
            .await?;
        Ok(rows.into_iter().map(Endpoint::from).collect())
    }

    /// One endpoint of an organization.
    ///
    /// # Errors
    /// No database.
    pub async fn endpoint(
        &self,
        organization: &OrganizationId,
        id: EndpointId,
    ) -> Result<Option<Endpoint>, StoreError> {
        let row = self
            .within(async {
                Ok(
                    on!(read &self.database, db => sqlx::query_as::<_, EndpointRow>(
            AssertSqlSafe(format!("SELECT {ENDPOINT_COLUMNS} FROM endpoints WHERE organization = $1 AND id = $2 AND deleted_at IS NULL")),
        )
        .bind(organization)
        .bind(id)
        .fetch_optional(db)
        .await)?,
                )
            })
            .await?;
        Ok(row.map(Endpoint::from))
    }

    /// Marks an endpoint as deleted: nobody sees it any more, and the webhook workers remove its lane. `false`: the
    /// organization has no such endpoint.
    ///
    /// # Errors
    /// No database.
    pub async fn delete_endpoint(
        &self,
        organization: &OrganizationId,
        id: EndpointId,
    ) -> Result<bool, StoreError> {
        let changed = self.within(async { Ok(on!(write &self.database, db => sqlx::query(
            "UPDATE endpoints SET deleted_at = $3 WHERE organization = $1 AND id = $2 AND deleted_at IS NULL",
        )
        .bind(organization)
        .bind(id)
        .bind(Utc::now())
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?) }).await?;
        Ok(changed > 0)
    }

    /// Replaces the secret; the old one goes on signing for [`SECRET_OVERLAP`]. `None`: the organization has no such
    /// endpoint.
    ///
    /// # Errors
    /// No database.
    pub async fn rotate_secret(
        &self,
        organization: &OrganizationId,
        id: EndpointId,
        secret: &Secret,
    ) -> Result<Option<Endpoint>, StoreError> {
        let row = self
            .within(async {
                Ok(
                    on!(write &self.database, db => sqlx::query_as::<_, EndpointRow>(
            "UPDATE endpoints SET previous_secret = secret, previous_until = $4, secret = $3
             WHERE organization = $1 AND id = $2 AND deleted_at IS NULL RETURNING *",
        )
        .bind(organization)
        .bind(id)
        .bind(secret.expose())
        .bind(Utc::now() + SECRET_OVERLAP)
        .fetch_optional(db)
        .await)?,
                )
            })
            .await?;
        Ok(row.map(Endpoint::from))
    }

    /// Every endpoint of every organization, deleted ones too: for the workers that serve them all.
    ///
    /// # Errors
    /// No database.
    pub async fn endpoints_of_all(&self) -> Result<Vec<Endpoint>, StoreError> {
        let rows = self.within(async { Ok(on!(read &self.database, db => sqlx::query_as::<_, EndpointRow>(AssertSqlSafe(format!("SELECT {ENDPOINT_COLUMNS} FROM endpoints ORDER BY id")))
            .fetch_all(db)
            .await)?) }).await?;
        Ok(rows.into_iter().map(Endpoint::from).collect())
    }

    /// The endpoint that a lane belongs to, deleted or not: for the worker that owns the lane.
    ///
    /// # Errors
    /// No database.
    pub async fn endpoint_of_lane(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let row = self.within(async { Ok(on!(read &self.database, db => sqlx::query_as::<_, EndpointRow>(AssertSqlSafe(format!("SELECT {ENDPOINT_COLUMNS} FROM endpoints WHERE id = $1")))
            .bind(id)
            .fetch_optional(db)
            .await)?) }).await?;
        Ok(row.map(Endpoint::from))
    }

    /// Forgets an endpoint that was deleted, after its lane was removed.
    ///
    /// # Errors
    /// No database.
    pub async fn forget_endpoint(&self, id: EndpointId) -> Result<(), StoreError> {
        self.within(async { Ok(on!(write &self.database, db => sqlx::query("DELETE FROM endpoints WHERE id = $1 AND deleted_at IS NOT NULL")
            .bind(id)
            .execute(db)
            .await
            .map(drop))?) }).await?;
        Ok(())
    }
}
