//! Conversations.

use axum::{Json, extract::State};
use serde::Deserialize;
use tributary_bus::{AgentId, ChannelId, ContactId, ConversationId, message::ConversationState};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Id, Limit, Parameters},
    page::{Page, cursor},
    problem::Problem,
    views::Conversation,
};
use crate::store::ConversationFilter;

/// Which conversations; conditions are combined.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConversationsQuery {
    /// Items of a page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
    /// `next` of the page before.
    after: Option<String>,
    /// `waiting`, `assigned` or `closed`.
    #[param(value_type = Option<String>, example = "waiting")]
    state: Option<ConversationState>,
    /// Assigned to this agent, now or until it was closed.
    #[param(value_type = Option<uuid::Uuid>)]
    agent_id: Option<AgentId>,
    #[param(value_type = Option<String>)]
    channel_id: Option<ChannelId>,
    #[param(value_type = Option<uuid::Uuid>)]
    contact_id: Option<ContactId>,
}

/// Who gets a conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignConversation {
    /// `null`: nobody; it waits for an agent again.
    // Named, so that it has to be there: what was left out by mistake takes a conversation from
    // nobody.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<uuid::Uuid>, required)]
    agent_id: Option<AgentId>,
}

/// List conversations
///
/// The latest first.
#[utoipa::path(get, path = "/v1/conversations", tag = "conversations", params(ConversationsQuery), responses((status = 200, body = Page<Conversation>)))]
pub async fn list_conversations(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Parameters(query): Parameters<ConversationsQuery>,
) -> Result<Json<Page<Conversation>>, Problem> {
    let before = cursor(query.after.as_deref())?;
    let filter = ConversationFilter {
        state: query.state,
        agent: query.agent_id,
        channel: query.channel_id,
        contact: query.contact_id,
    };
    let rows = state
        .store()
        .conversations(&organization, &filter, before, query.limit.and_one())
        .await?;
    Ok(Json(Page::new(rows, query.limit, |view| {
        view.id.to_string()
    })))
}

/// Get a conversation
#[utoipa::path(get, path = "/v1/conversations/{id}", tag = "conversations", params(("id" = Uuid, Path, description = "Conversation id")), responses((status = 200, body = Conversation)))]
pub async fn get_conversation(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ConversationId>,
) -> Result<Json<Conversation>, Problem> {
    let view = state.store().conversation(&organization, id).await?;
    view.map(|view| Json(view.into()))
        .ok_or_else(|| Problem::not_found("conversation"))
}

/// Close a conversation
///
/// Closing a closed one changes nothing.
#[utoipa::path(post, path = "/v1/conversations/{id}/close", tag = "conversations", params(("id" = Uuid, Path, description = "Conversation id")), responses((status = 200, body = Conversation)))]
pub async fn close_conversation(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ConversationId>,
) -> Result<Json<Conversation>, Problem> {
    let view = state.store().close_conversation(&organization, id).await?;
    Ok(Json(view.into()))
}

/// Reopen a conversation
///
/// It waits for an agent and is assigned when one is free. Reopening an open one changes nothing.
#[utoipa::path(
    post, path = "/v1/conversations/{id}/reopen", tag = "conversations", params(("id" = Uuid, Path, description = "Conversation id")),
    responses((status = 200, body = Conversation))
)]
pub async fn reopen_conversation(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ConversationId>,
) -> Result<Json<Conversation>, Problem> {
    let view = state.store().reopen_conversation(&organization, id).await?;
    Ok(Json(view.into()))
}

/// Assign a conversation
///
/// To this agent, whatever its availability and capacity. Or to nobody (`"agent_id": null`): it
/// waits again, behind those who wait already, and is assigned when an agent has room, who may be
/// the same one.
#[utoipa::path(
    post, path = "/v1/conversations/{id}/assign", tag = "conversations", params(("id" = Uuid, Path, description = "Conversation id")),
    request_body = AssignConversation,
    responses((status = 200, body = Conversation))
)]
pub async fn assign_conversation(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ConversationId>,
    Body(request): Body<AssignConversation>,
) -> Result<Json<Conversation>, Problem> {
    let store = state.store();
    let view = match request.agent_id {
        Some(agent) => store.assign_conversation(&organization, id, agent).await?,
        None => store.release_conversation(&organization, id).await?,
    };
    Ok(Json(view.into()))
}
