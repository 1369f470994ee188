//! Agents.

use std::num::NonZeroU32;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use tributary_bus::AgentId;
use utoipa::ToSchema;

use super::{
    ApiState,
    api_keys::checked_name,
    auth::Caller,
    extract::{Body, Id, Parameters},
    page::{Page, PageQuery, cursor},
    problem::Problem,
    views::Agent,
};
use crate::store::{AgentChanges, Availability, NewAgent};

/// Conversations at once of an agent for whom nothing is said.
const DEFAULT_CAPACITY: u32 = 10;
/// Conversations at once of one agent, at most.
const CAPACITY_LIMIT: u32 = 10_000;

/// An agent to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAgent {
    /// 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100, example = "Olena")]
    name: String,
    /// Whether new conversations may be assigned to the agent.
    #[serde(default)]
    available: bool,
    /// Conversations at once, at most; 10 unless said otherwise.
    #[serde(default = "default_capacity")]
    #[schema(minimum = 1, maximum = 10000, required = false)]
    capacity: u32,
}

fn default_capacity() -> u32 {
    DEFAULT_CAPACITY
}

/// What is to change about an agent; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeAgent {
    /// 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Whether new conversations may be assigned to the agent. Those the agent has stay.
    #[schema(example = true)]
    available: Option<bool>,
    /// Conversations at once, at most. Those above it stay.
    #[schema(minimum = 1, maximum = 10000)]
    capacity: Option<u32>,
}

/// Create an agent
///
/// An available agent is assigned the conversations that wait, up to its capacity.
#[utoipa::path(post, path = "/v1/agents", tag = "agents", request_body = CreateAgent, responses((status = 201, body = Agent)))]
pub async fn create_agent(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Body(request): Body<CreateAgent>,
) -> Result<(StatusCode, Json<Agent>), Problem> {
    let new = NewAgent {
        name: checked_name(&request.name)?.to_owned(),
        availability: availability(request.available),
        capacity: checked_capacity(request.capacity)?,
        organization: organization.clone(),
    };
    let id = state.store().create_agent(new).await?.id;
    let agent = state.store().agent(&organization, id).await?;
    agent
        .map(|row| (StatusCode::CREATED, Json(row.into())))
        .ok_or_else(|| Problem::not_found("agent"))
}

/// List agents
///
/// Oldest first.
#[utoipa::path(get, path = "/v1/agents", tag = "agents", params(PageQuery), responses((status = 200, body = Page<Agent>)))]
pub async fn list_agents(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Parameters(PageQuery { limit, after }): Parameters<PageQuery>,
) -> Result<Json<Page<Agent>>, Problem> {
    let after = cursor(after.as_deref())?;
    let rows = state
        .store()
        .agents(&organization, after, limit.and_one())
        .await?;
    Ok(Json(Page::new(rows, limit, |row| row.id.to_string())))
}

/// Get an agent
#[utoipa::path(get, path = "/v1/agents/{id}", tag = "agents", params(("id" = Uuid, Path, description = "Agent id")), responses((status = 200, body = Agent)))]
pub async fn get_agent(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<AgentId>,
) -> Result<Json<Agent>, Problem> {
    let row = state.store().agent(&organization, id).await?;
    row.map(|row| Json(row.into()))
        .ok_or_else(|| Problem::not_found("agent"))
}

/// Change an agent
///
/// Availability, capacity and name. An agent with room is assigned the conversations that wait.
#[utoipa::path(patch, path = "/v1/agents/{id}", tag = "agents", params(("id" = Uuid, Path, description = "Agent id")), request_body = ChangeAgent, responses((status = 200, body = Agent)))]
pub async fn change_agent(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<AgentId>,
    Body(request): Body<ChangeAgent>,
) -> Result<Json<Agent>, Problem> {
    let name = request.name.as_deref().map(checked_name).transpose()?;
    let changes = AgentChanges {
        name: name.map(str::to_owned),
        availability: request.available.map(availability),
        capacity: request.capacity.map(checked_capacity).transpose()?,
    };
    let agent = state
        .store()
        .change_agent(&organization, id, changes)
        .await?;
    Ok(Json(agent.into()))
}

fn availability(available: bool) -> Availability {
    if available {
        Availability::Available
    } else {
        Availability::Away
    }
}

fn checked_capacity(capacity: u32) -> Result<NonZeroU32, Problem> {
    NonZeroU32::new(capacity)
        .filter(|capacity| capacity.get() <= CAPACITY_LIMIT)
        .ok_or_else(|| Problem::field("capacity", format!("must be 1 to {CAPACITY_LIMIT}")))
}
