//! What the contact may see of those who answer.

use axum::{extract::State, http::StatusCode};
use tributary_bus::{BusState, ConversationId};

use super::{ApiState, auth::Caller, extract::Id, problem::Problem};

/// Show typing
///
/// Tells the contact that somebody is writing, where the channel can. It shows for a few seconds: call it every 4 s or so while
/// somebody types. Calls within 3 s of the last one do nothing.
#[utoipa::path(
    post, path = "/v1/conversations/{id}/typing", tag = "conversations",
    params(("id" = Uuid, Path, description = "Conversation id")), responses((status = 204))
)]
pub async fn show_typing(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ConversationId>,
) -> Result<StatusCode, Problem> {
    // Nobody wants to see it later.
    let is_ready = *state.bus().state().borrow() == BusState::Ready;
    if !is_ready {
        return Err(Problem::unavailable("the bus"));
    }
    state.store().show_typing(&organization, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mark as read
///
/// Tells the channel that the contact's messages were read, up to the latest one, where the channel can. Calling it again changes
/// nothing until the contact writes again.
#[utoipa::path(
    post, path = "/v1/conversations/{id}/read", tag = "conversations",
    params(("id" = Uuid, Path, description = "Conversation id")), responses((status = 204))
)]
pub async fn mark_read(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ConversationId>,
) -> Result<StatusCode, Problem> {
    state.store().mark_read(&organization, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
