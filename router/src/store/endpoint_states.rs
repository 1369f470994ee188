//! How far each endpoint is in the events of its organization, and how it does. Written in batches by the workers that own the
//! endpoints' lanes.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, FromRow};
use tributary_base::{
    database::{Database, Tx},
    on,
};
use tributary_bus::{EndpointId, EventId, OrganizationId};

use super::{Position, PublishedEvent, Store, StoreError};

/// An event that is not settled although later ones are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    pub position: i64,
    pub id: EventId,
    pub published_at: DateTime<Utc>,
}

/// Why events are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// The lane was lost: what was settled is left out.
    Lost,
    /// Somebody asked for it: everything is sent.
    Asked,
}

/// How far an endpoint is, and how it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// Every event up to here is settled, but for `unsettled`.
    pub position: i64,
    pub unsettled: Vec<Unsettled>,
    /// Events after this position are to be sent again.
    pub resend: Option<(i64, Resend)>,
    pub health: EndpointHealth,
}

/// How an endpoint does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    pub last_success_at: Option<DateTime<Utc>>,
    pub last_failure_at: Option<DateTime<Utc>>,
    /// Failed requests since the last success.
    pub failures: i64,
    pub failure_reason: Option<String>,
    pub next_try_at: Option<DateTime<Utc>>,
    /// Since when every answer was 410.
    pub gone_since: Option<DateTime<Utc>>,
}

#[derive(FromRow)]
struct StateRow {
    position: i64,
    unsettled: String,
    resend_from: Option<i64>,
    resend_reason: Option<String>,
    last_success_at: Option<DateTime<Utc>>,
    last_failure_at: Option<DateTime<Utc>>,
    failures: i64,
    failure_reason: Option<String>,
    next_try_at: Option<DateTime<Utc>>,
    gone_since: Option<DateTime<Utc>>,
}

#[derive(FromRow)]
struct HealthRow {
    endpoint_id: EndpointId,
    #[sqlx(flatten)]
    state: StateRow,
}

/// How far the order of positions and that of the times of events may be apart.
const POSITIONS_APART: TimeDelta = TimeDelta::seconds(5);

const STATE_COLUMNS: &str = "position, unsettled, resend_from, resend_reason, last_success_at, \
     last_failure_at, failures, failure_reason, next_try_at, gone_since";

impl From<StateRow> for EndpointState {
    fn from(row: StateRow) -> Self {
        let reason = match row.resend_reason.as_deref() {
            Some("asked") => Resend::Asked,
            Some(_) | None => Resend::Lost,
        };
        Self {
            position: row.position,
            // One that cannot be read is only sent again with what follows.
            unsettled: serde_json::from_str(&row.unsettled).unwrap_or_default(),
            resend: row.resend_from.map(|from| (from, reason)),
            health: EndpointHealth {
                last_success_at: row.last_success_at,
                last_failure_at: row.last_failure_at,
                failures: row.failures,
                failure_reason: row.failure_reason,
                next_try_at: row.next_try_at,
                gone_since: row.gone_since,
            },
        }
    }
}

/// Where an event of an organization stands, without what it says.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct EventPlace {
    pub position: i64,
    pub id: EventId,
    pub published_at: DateTime<Utc>,
}

/// What a worker writes down about an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointProgress {
    pub id: EndpointId,
    pub position: i64,
    pub unsettled: Vec<Unsettled>,
    pub health: EndpointHealth,
}

impl Store {
    /// How far an endpoint is. One that is new begins behind the events that there are.
    ///
    /// # Errors
    /// The database.
    pub async fn endpoint_state(&self, id: EndpointId) -> Result<EndpointState, StoreError> {
        let work = async {
            begin_state(self, id).await?;
            let statement =
                format!("SELECT {STATE_COLUMNS} FROM endpoint_states WHERE endpoint_id = $1");
            let row: Option<StateRow> = on!(read self.database(), db => {
                sqlx::query_as(AssertSqlSafe(statement)).bind(id).fetch_optional(db).await
            })?;
            row.map(EndpointState::from)
                .ok_or(StoreError::NotFound("endpoint"))
        };
        self.within(work).await
    }

    /// How the endpoints of an organization do.
    ///
    /// # Errors
    /// The database.
    pub async fn endpoint_healths(
        &self,
        organization: &OrganizationId,
    ) -> Result<HashMap<EndpointId, EndpointHealth>, StoreError> {
        let statement = format!(
            "SELECT endpoint_id, {STATE_COLUMNS} FROM endpoint_states \
             WHERE endpoint_id IN (SELECT id FROM endpoints WHERE organization = $1)"
        );
        let work = async {
            let rows: Vec<HealthRow> = on!(read self.database(), db => {
                sqlx::query_as(AssertSqlSafe(statement))
                    .bind(organization)
                    .fetch_all(db)
                    .await
            })?;
            let states = rows
                .into_iter()
                .map(|row| (row.endpoint_id, EndpointState::from(row.state).health));
            Ok(states.collect())
        };
        self.within(work).await
    }

    /// Writes down how far some endpoints are and how they do.
    ///
    /// # Errors
    /// The database.
    pub async fn note_endpoints(&self, progress: &[EndpointProgress]) -> Result<(), StoreError> {
        let work = async {
            let mut tx = self.begin().await?;
            // In one order everywhere, so that two workers cannot wait for each other.
            let mut progress: Vec<&EndpointProgress> = progress.iter().collect();
            progress.sort_by_key(|p| p.id);
            for one in progress {
                note_endpoint(&mut tx, one).await?;
            }
            Ok(tx.commit().await?)
        };
        self.within(work).await
    }

    /// Where the events after a position stand, for each of some organizations; at most `limit` for each.
    ///
    /// # Errors
    /// The database.
    pub async fn event_places(
        &self,
        wanted: &[(EndpointId, OrganizationId, i64)],
        limit: i64,
    ) -> Result<Vec<(EndpointId, EventPlace)>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let work = async {
            match self.database() {
                Database::Postgres(pool) => {
                    let ids: Vec<EndpointId> = wanted.iter().map(|(id, ..)| *id).collect();
                    let organizations = wanted.iter().map(|(_, o, _)| o.as_str());
                    let positions: Vec<i64> = wanted.iter().map(|(.., p)| *p).collect();
                    let rows: Vec<(EndpointId, i64, EventId, DateTime<Utc>)> = sqlx::query_as(
                        "SELECT w.endpoint, e.position, e.id, e.published_at \
                         FROM UNNEST($1::uuid[], $2::text[], $3::bigint[]) AS w (endpoint, organization, after) \
                         CROSS JOIN LATERAL (SELECT position, id, published_at FROM events \
                         WHERE events.organization = w.organization AND events.position > w.after \
                         ORDER BY events.position LIMIT $4) AS e ORDER BY e.position",
                    )
                    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
                    .bind(organizations.collect::<Vec<_>>())
                    .bind(positions)
                    .bind(limit)
                    .fetch_all(pool)
                    .await?;
                    let rows = rows.into_iter();
                    Ok(rows
                        .map(|(endpoint, position, id, published_at)| {
                            let place = EventPlace {
                                position,
                                id,
                                published_at,
                            };
                            (endpoint, place)
                        })
                        .collect())
                }
                Database::Sqlite { read, .. } => {
                    let mut places = Vec::new();
                    for (endpoint, organization, after) in wanted {
                        let rows: Vec<EventPlace> = sqlx::query_as(
                            "SELECT position, id, published_at FROM events \
                             WHERE organization = $1 AND position > $2 ORDER BY position LIMIT $3",
                        )
                        .bind(organization)
                        .bind(after)
                        .bind(limit)
                        .fetch_all(read)
                        .await?;
                        places.extend(rows.into_iter().map(|row| (*endpoint, row)));
                    }
                    Ok(places)
                }
            }
        };
        self.within(work).await
    }

    /// Notes that the events of an endpoint after what it settled are to be sent again, since its lane was lost. A wish that
    /// waits already stays.
    ///
    /// # Errors
    /// The database.
    pub async fn resend_lost(&self, id: EndpointId) -> Result<(), StoreError> {
        let work = async {
            begin_state(self, id).await?;
            Ok(on!(write self.database(), db => {
                sqlx::query(
                    "UPDATE endpoint_states SET resend_from = position, resend_reason = 'lost' \
                     WHERE endpoint_id = $1 AND resend_from IS NULL",
                )
                .bind(id)
                .execute(db)
                .await
                .map(drop)
            })?)
        };
        self.within(work).await
    }

    /// Notes that all events of an endpoint after a position are to be sent again. `false`: the organization has no such
    /// endpoint.
    ///
    /// # Errors
    /// The database.
    pub async fn resend_from(
        &self,
        organization: &OrganizationId,
        id: EndpointId,
        from: Position,
    ) -> Result<bool, StoreError> {
        if self.endpoint(organization, id).await?.is_none() {
            return Ok(false);
        }
        let work = async {
            begin_state(self, id).await?;
            Ok(on!(write self.database(), db => {
                sqlx::query(
                    "UPDATE endpoint_states SET resend_reason = 'asked', \
                     resend_from = CASE WHEN resend_from < $2 THEN resend_from ELSE $2 END \
                     WHERE endpoint_id = $1",
                )
                .bind(id)
                .bind(from)
                .execute(db)
                .await
                .map(drop)
            })?)
        };
        self.within(work).await?;
        Ok(true)
    }

    /// Which endpoints wait for events to be sent again.
    ///
    /// # Errors
    /// The database.
    pub async fn endpoints_to_resend(&self) -> Result<Vec<EndpointId>, StoreError> {
        let work = async {
            Ok(on!(read self.database(), db => {
                sqlx::query_scalar(
                    "SELECT endpoint_id FROM endpoint_states WHERE resend_from IS NOT NULL",
                )
                .fetch_all(db)
                .await
            })?)
        };
        self.within(work).await
    }

    /// Notes that all was sent again that was to be, unless another wish came meanwhile.
    ///
    /// # Errors
    /// The database.
    pub async fn resent(&self, id: EndpointId, from: i64) -> Result<(), StoreError> {
        let work = async {
            Ok(on!(write self.database(), db => {
                sqlx::query(
                    "UPDATE endpoint_states SET resend_from = NULL, resend_reason = NULL \
                     WHERE endpoint_id = $1 AND resend_from = $2",
                )
                .bind(id)
                .bind(from)
                .execute(db)
                .await
                .map(drop)
            })?)
        };
        self.within(work).await
    }

    /// Events of an organization by their positions.
    ///
    /// # Errors
    /// The database.
    pub async fn events_at(
        &self,
        organization: &OrganizationId,
        positions: &[i64],
    ) -> Result<Vec<PublishedEvent>, StoreError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let list = match self.database() {
            Database::Postgres(_) => {
                "SELECT value::bigint FROM jsonb_array_elements_text($2::jsonb)"
            }
            Database::Sqlite { .. } => "SELECT value FROM json_each($2)",
        };
        let statement = format!(
            "SELECT position, envelope FROM events WHERE organization = $1 \
             AND position IN ({list}) ORDER BY position"
        );
        let work = async {
            Ok(on!(read self.database(), db => {
                sqlx::query_as(AssertSqlSafe(statement))
                    .bind(organization)
                    .bind(serde_json::json!(positions).to_string())
                    .fetch_all(db)
                    .await
            })?)
        };
        self.within(work).await
    }

    /// The latest row of the outbox that holds an event of the organization; and whether there is one up to `up_to`.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn last_unpublished(
        &self,
        organization: &OrganizationId,
        up_to: i64,
    ) -> Result<Option<i64>, StoreError> {
        let work = async {
            Ok(on!(read self.database(), db => {
                sqlx::query_scalar(
                    "SELECT MAX(id) FROM outbox WHERE organization = $1 AND lane IS NULL AND id <= $2",
                )
                .bind(organization)
                .bind(up_to)
                .fetch_one(db)
                .await
            })?)
        };
        self.within(work).await
    }

    /// A position before the first event that was published at `at` or later, and not long before it; the latest when there is
    /// none.
    ///
    /// # Errors
    /// The database.
    pub async fn position_at(&self, at: DateTime<Utc>) -> Result<Position, StoreError> {
        let work = async {
            // Of whatever organization: that index is by time alone. Positions follow the time closely, not exactly.
            let first: Option<i64> = on!(read self.database(), db => {
                sqlx::query_scalar(
                    "SELECT position FROM events WHERE published_at >= $1 \
                     ORDER BY published_at LIMIT 1",
                )
                .bind(at - POSITIONS_APART)
                .fetch_optional(db)
                .await
            })?;
            let latest: Option<i64> = match first {
                Some(first) => Some(first - 1),
                None => on!(read self.database(), db => {
                    sqlx::query_scalar("SELECT MAX(position) FROM events").fetch_one(db).await
                })?,
            };
            Ok(Position(latest.unwrap_or(0)))
        };
        self.within(work).await
    }
}

/// Makes sure that an endpoint has a state.
async fn begin_state(store: &Store, id: EndpointId) -> Result<(), StoreError> {
    on!(write store.database(), db => {
        sqlx::query(
            "INSERT INTO endpoint_states (endpoint_id, position, unsettled, failures) \
             SELECT id, COALESCE((SELECT MAX(position) FROM events e \
             WHERE e.organization = endpoints.organization), 0), '[]', 0 \
             FROM endpoints WHERE id = $1 ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .execute(db)
        .await
        .map(drop)
    })?;
    Ok(())
}

async fn note_endpoint(tx: &mut Tx, one: &EndpointProgress) -> Result<(), StoreError> {
    // Numbers, ids and times can always be written.
    let unsettled = serde_json::to_string(&one.unsettled).unwrap_or_else(|_| "[]".to_owned());
    on!(tx, db => {
        sqlx::query(
            "UPDATE endpoint_states SET position = $2, unsettled = $3, last_success_at = $4, \
             last_failure_at = $5, failures = $6, failure_reason = $7, next_try_at = $8, \
             gone_since = $9 WHERE endpoint_id = $1",
        )
        .bind(one.id)
        .bind(one.position)
        .bind(unsettled)
        .bind(one.health.last_success_at)
        .bind(one.health.last_failure_at)
        .bind(one.health.failures)
        .bind(one.health.failure_reason.clone())
        .bind(one.health.next_try_at)
        .bind(one.health.gone_since)
        .execute(db)
        .await
        .map(drop)
    })?;
    Ok(())
}
