//! Integrator endpoints.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tributary_bus::{EndpointId, OrganizationId, message::EVENT_TYPES};
use url::Url;
use utoipa::ToSchema;

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Id, Parameters},
    page::{Page, PageQuery, cursor},
    problem::{Code, Problem},
    views::Endpoint,
};
use crate::store::{self, EndpointCreated, EndpointHealth, NoRandomness, Position, new_secret};

/// Endpoints of one organization, at most: each is a lane.
const ENDPOINT_LIMIT: i64 = 50;
/// Longest URL, in bytes.
const URL_LIMIT: usize = 2048;

/// An endpoint to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEndpoint {
    /// Where events are sent by POST. Must be `http` or `https` and lead to a public address; redirects are not
    /// followed.
    #[schema(
        format = "uri",
        min_length = 1,
        max_length = 2048,
        pattern = "^https?://[^/?#\\s]+([/?#].*)?$",
        example = "https://crm.example.org/tributary"
    )]
    url: String,
    /// Which events: `*`, every event of a kind (`message.*`) or one type (`message.created`).
    #[schema(min_items = 1, example = json!(["message.*", "conversation.assigned"]))]
    events: Vec<String>,
}

/// An endpoint with its signing secret, which is shown only when it is created or replaced.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointWithSecret {
    #[serde(flatten)]
    #[schema(inline)]
    endpoint: Endpoint,
    /// Signs every event (Standard Webhooks).
    #[schema(example = "whsec_...")]
    secret: String,
}

impl From<store::Endpoint> for EndpointWithSecret {
    fn from(endpoint: store::Endpoint) -> Self {
        let secret = endpoint
            .secrets
            .first()
            .map(|secret| secret.expose().to_owned());
        Self {
            secret: secret.unwrap_or_default(),
            endpoint: (endpoint, EndpointHealth::default()).into(),
        }
    }
}

/// Create an endpoint
///
/// Events that happen from now on are sent to it, in order per conversation. An event is repeated with growing pauses
/// until the endpoint answers 2xx, for 24 hours by default. While the endpoint is down (no connection, a timeout, 5xx,
/// 410 or 429) all of its events wait; any other answer, and an event that fails with 5xx time and again, holds back only the
/// conversation of that event. Answer quickly and be ready for an event that comes twice: `webhook-id` is the same each
/// time.
#[utoipa::path(
    post, path = "/v1/endpoints", tag = "endpoints", request_body = CreateEndpoint,
    responses((status = 201, body = EndpointWithSecret))
)]
pub async fn create_endpoint(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Body(request): Body<CreateEndpoint>,
) -> Result<(StatusCode, Json<EndpointWithSecret>), Problem> {
    let url = checked_url(&state, &request.url)?;
    let events = checked_events(request.events)?;
    let secret = new_secret().map_err(no_secret)?;
    let created = state
        .store()
        .create_endpoint(&organization, &url, &events, &secret, ENDPOINT_LIMIT)
        .await?;
    let endpoint = match created {
        EndpointCreated::Created(endpoint) => endpoint,
        EndpointCreated::TooMany => {
            return Err(Problem::new(
                Code::LimitReached,
                format!("an organization can have {ENDPOINT_LIMIT} endpoints; delete one first"),
            ));
        }
    };
    if let Err(error) = state.bus().declare(&[endpoint.lane()]).await {
        undo(&state, &organization, endpoint.id).await;
        return Err(error.into());
    }
    Ok((StatusCode::CREATED, Json(endpoint.into())))
}

/// Marks an endpoint whose lane may or may not exist as deleted: a webhook worker removes both.
async fn undo(state: &ApiState, organization: &OrganizationId, id: EndpointId) {
    if let Err(error) = state.store().delete_endpoint(organization, id).await {
        tracing::error!(%error, endpoint = %id, "an endpoint without a lane stays; delete it");
    }
}

/// List endpoints
///
/// Oldest first.
#[utoipa::path(get, path = "/v1/endpoints", tag = "endpoints", params(PageQuery), responses((status = 200, body = Page<Endpoint>)))]
pub async fn list_endpoints(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Parameters(PageQuery { limit, after }): Parameters<PageQuery>,
) -> Result<Json<Page<Endpoint>>, Problem> {
    let after = cursor(after.as_deref())?;
    let rows = state
        .store()
        .endpoints(&organization, after, limit.and_one())
        .await?;
    let mut healths = state.store().endpoint_healths(&organization).await?;
    let rows = rows.into_iter();
    let rows = rows.map(|row| {
        let health = healths.remove(&row.id).unwrap_or_default();
        (row, health)
    });
    Ok(Json(Page::new(rows.collect(), limit, |(row, _)| {
        row.id.to_string()
    })))
}

/// Get an endpoint
#[utoipa::path(get, path = "/v1/endpoints/{id}", tag = "endpoints", params(("id" = Uuid, Path, description = "Endpoint id")), responses((status = 200, body = Endpoint)))]
pub async fn get_endpoint(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<EndpointId>,
) -> Result<Json<Endpoint>, Problem> {
    shown(&state, &organization, id).await
}

async fn shown(
    state: &ApiState,
    organization: &OrganizationId,
    id: EndpointId,
) -> Result<Json<Endpoint>, Problem> {
    let row = state.store().endpoint(organization, id).await?;
    let row = row.ok_or_else(|| Problem::not_found("endpoint"))?;
    let mut healths = state.store().endpoint_healths(organization).await?;
    let health = healths.remove(&id).unwrap_or_default();
    Ok(Json((row, health).into()))
}

/// Enable an endpoint
///
/// An endpoint that answers nothing but 410 for an hour is disabled: nothing is sent to it. Once it is enabled it is sent
/// everything from where it stood, as far back as events are kept. One that is not disabled stays as it is.
#[utoipa::path(post, path = "/v1/endpoints/{id}/enable", tag = "endpoints", params(("id" = Uuid, Path, description = "Endpoint id")), responses((status = 200, body = Endpoint)))]
pub async fn enable_endpoint(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<EndpointId>,
) -> Result<Json<Endpoint>, Problem> {
    if !state.store().enable_endpoint(&organization, id).await? {
        return Err(Problem::not_found("endpoint"));
    }
    shown(&state, &organization, id).await
}

/// From where events are sent again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "FromWhere")]
pub enum Redeliver {
    /// Events published at this time or later.
    #[schema(title = "Since")]
    Since(DateTime<Utc>),
    /// Events after this place: `next` of a page of `GET /v1/events`.
    #[schema(title = "After")]
    After(Place),
}

/// [`Redeliver`] as it comes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromWhere {
    #[serde(default)]
    since: Option<DateTime<Utc>>,
    #[serde(default)]
    after: Option<String>,
}

impl TryFrom<FromWhere> for Redeliver {
    type Error = &'static str;

    fn try_from(from: FromWhere) -> Result<Self, Self::Error> {
        match (from.since, from.after) {
            (Some(since), None) => Ok(Self::Since(since)),
            (None, Some(after)) => Ok(Self::After(Place(after))),
            (Some(_), Some(_)) | (None, None) => Err("name either `since` or `after`"),
        }
    }
}

/// A place in the events.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^[0-9]{1,18}$", example = "4711")]
pub struct Place(String);

/// Send events again
///
/// Sends every event that the endpoint wants from a time or place on once more, in order per conversation and with the same
/// ids, as far back as events are kept (30 days by default). Newer events of a conversation wait for them.
#[utoipa::path(post, path = "/v1/endpoints/{id}/redeliver", tag = "endpoints", params(("id" = Uuid, Path, description = "Endpoint id")), request_body = Redeliver, responses((status = 202, body = Endpoint)))]
pub async fn redeliver_events(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<EndpointId>,
    Body(request): Body<Redeliver>,
) -> Result<(StatusCode, Json<Endpoint>), Problem> {
    let from = match request {
        Redeliver::Since(since) => state.store().position_at(since).await?,
        Redeliver::After(Place(after)) => match after.parse::<i64>() {
            Ok(position) if position >= 0 && after.len() <= 18 => Position(position),
            Ok(_) | Err(_) => {
                let reason = "not a place in the events; pass `next` of a page of GET /v1/events";
                return Err(Problem::field("after", reason));
            }
        },
    };
    if !state.store().resend_from(&organization, id, from).await? {
        return Err(Problem::not_found("endpoint"));
    }
    Ok((
        StatusCode::ACCEPTED,
        shown(&state, &organization, id).await?,
    ))
}

/// Delete an endpoint
///
/// What it did not receive yet is dropped. An event that is on its way may still arrive.
#[utoipa::path(delete, path = "/v1/endpoints/{id}", tag = "endpoints", params(("id" = Uuid, Path, description = "Endpoint id")), responses((status = 204)))]
pub async fn delete_endpoint(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<EndpointId>,
) -> Result<StatusCode, Problem> {
    if state.store().delete_endpoint(&organization, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found("endpoint"))
    }
}

/// Replace an endpoint's secret
///
/// For 24 hours events carry two signatures, separated by a space, of the new secret and of the one it replaced: change
/// the receiver over in that time. Replacing a secret again ends the time of the one before.
#[utoipa::path(post, path = "/v1/endpoints/{id}/rotate-secret", tag = "endpoints", params(("id" = Uuid, Path, description = "Endpoint id")), responses((status = 200, body = EndpointWithSecret)))]
pub async fn rotate_secret(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<EndpointId>,
) -> Result<Json<EndpointWithSecret>, Problem> {
    let secret = new_secret().map_err(no_secret)?;
    let row = state
        .store()
        .rotate_secret(&organization, id, &secret)
        .await?;
    row.map(|row| Json(row.into()))
        .ok_or_else(|| Problem::not_found("endpoint"))
}

fn no_secret(error: NoRandomness) -> Problem {
    tracing::error!(%error, "no signing secret could be made");
    Problem::internal()
}

fn checked_url(state: &ApiState, text: &str) -> Result<Url, Problem> {
    let wrong = |reason: String| Problem::field("url", reason);
    if text.len() > URL_LIMIT {
        return Err(wrong(format!("must have at most {URL_LIMIT} bytes")));
    }
    let url = Url::parse(text).map_err(|reason| wrong(format!("not a URL: {reason}")))?;
    state
        .guard()
        .check(&url)
        .map_err(|refused| wrong(refused.to_string()))?;
    Ok(url)
}

fn checked_events(mut patterns: Vec<String>) -> Result<Vec<String>, Problem> {
    if patterns.is_empty() {
        return Err(Problem::field(
            "events",
            "name at least one; `*` is every event",
        ));
    }
    if let Some((index, _)) = patterns
        .iter()
        .enumerate()
        .find(|(_, pattern)| !is_pattern(pattern))
    {
        return Err(Problem::field(
            &format!("events[{index}]"),
            format!(
                "no such event; write `*`, a kind such as `message.*`, or one of {}",
                EVENT_TYPES.join(", ")
            ),
        ));
    }
    patterns.sort();
    patterns.dedup();
    Ok(patterns)
}

/// Whether the text stands for at least one event type.
pub fn is_pattern(text: &str) -> bool {
    let noun = |kind: &&str| kind.split_once('.').map(|(noun, _)| noun) == text.strip_suffix(".*");
    text == "*"
        || EVENT_TYPES.contains(&text)
        || (text.ends_with(".*") && EVENT_TYPES.iter().any(noun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_something() {
        for pattern in [
            "*",
            "message.*",
            "message.created",
            "contact.*",
            "channel.health_changed",
        ] {
            assert!(is_pattern(pattern), "{pattern}");
        }
        for text in [
            "",
            "**",
            ".*",
            "message",
            "message.",
            "mess*",
            "message.created.v1",
            "letter.*",
            "message.*.*",
        ] {
            assert!(!is_pattern(text), "{text}");
        }
    }
}
