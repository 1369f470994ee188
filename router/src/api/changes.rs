//! Changing messages: edit, take back, react.

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Map, Value};
use tributary_base::text::is_blank;
use tributary_bus::{MessageId, OrganizationId};
use utoipa::ToSchema;

use super::{
    ApiState,
    auth::Caller,
    content::{describe, sendable},
    extract::{Body, Id},
    problem::Problem,
    views::Message,
};
use crate::store::MessageEdit;

/// Reactions on one message, at most.
const REACTION_LIMIT: usize = 10;
/// Longest reaction, in characters: an emoji can have many.
const REACTION_LENGTH: usize = 32;

/// What a message is to say from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMessage {
    #[schema(value_type = Object)]
    content: Map<String, Value>,
}

/// An emoji, or what the channel calls a reaction of its own.
#[derive(ToSchema)]
#[schema(
    min_length = 1,
    max_length = 32,
    pattern = "^[^\\s\\u0000-\\u001f\\u007f-\\u009f]+$",
    example = "👍"
)]
#[expect(dead_code, reason = "only described")]
struct Reaction(String);

/// Our reactions on a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetReactions {
    /// All of them: emoji, or what the channel calls its own. None takes them back.
    #[schema(value_type = Vec<Reaction>, max_items = 10, example = json!(["👍"]))]
    reactions: Vec<String>,
}

/// Edit a message
///
/// Only what was sent to the contact. The new content is recorded at once and told by `message.edited`; when the channel
/// refuses it, `message.change_refused` tells so, and the message says again what it said before. The same content again
/// changes nothing.
#[utoipa::path(
    patch, path = "/v1/messages/{id}", tag = "messages", params(("id" = Uuid, Path, description = "Message id")),
    request_body = EditMessage,
    responses((status = 200, body = Message))
)]
pub async fn edit_message(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<MessageId>,
    Body(request): Body<EditMessage>,
) -> Result<Json<Message>, Problem> {
    let mut content = sendable(request.content)?;
    describe(state.media(), &organization, &mut content).await;
    let edit = MessageEdit::Content(Box::new(content));
    change(&state, &organization, id, edit).await
}

/// Delete a message
///
/// Takes back what was sent to the contact. It is recorded at once and told by `message.deleted`; when the channel refuses
/// it, `message.change_refused` tells so, and the message is there again. Deleting it again changes nothing.
#[utoipa::path(
    delete, path = "/v1/messages/{id}", tag = "messages", params(("id" = Uuid, Path, description = "Message id")),
    responses((status = 200, body = Message))
)]
pub async fn delete_message(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<MessageId>,
) -> Result<Json<Message>, Problem> {
    let edit = MessageEdit::Delete;
    change(&state, &organization, id, edit).await
}

/// React to a message
///
/// Sets all our reactions on a message, the contact's or ours; an empty list takes them back. It is recorded at once and told
/// by `message.reactions_changed`; when the channel refuses it, `message.change_refused` tells so.
#[utoipa::path(
    put, path = "/v1/messages/{id}/reactions", tag = "messages", params(("id" = Uuid, Path, description = "Message id")),
    request_body = SetReactions,
    responses((status = 200, body = Message))
)]
pub async fn set_reactions(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<MessageId>,
    Body(request): Body<SetReactions>,
) -> Result<Json<Message>, Problem> {
    let edit = MessageEdit::Reactions(checked(request.reactions)?);
    change(&state, &organization, id, edit).await
}

/// Changes the message and answers it as it is now.
async fn change(
    state: &ApiState,
    organization: &OrganizationId,
    id: MessageId,
    edit: MessageEdit,
) -> Result<Json<Message>, Problem> {
    let view = state.store().change_message(organization, id, edit).await?;
    Ok(Json(state.links().message(organization, view).into()))
}

fn checked(reactions: Vec<String>) -> Result<Vec<String>, Problem> {
    if reactions.len() > REACTION_LIMIT {
        let detail = format!("must have at most {REACTION_LIMIT} items");
        return Err(Problem::field("reactions", detail));
    }
    for (n, reaction) in reactions.iter().enumerate() {
        let fits = reaction.chars().count() <= REACTION_LENGTH && !is_blank(reaction);
        if !fits
            || reaction
                .chars()
                .any(|c| c.is_control() || c.is_whitespace())
        {
            let detail =
                format!("must have 1 to {REACTION_LENGTH} characters, none of them a space");
            return Err(Problem::field(&format!("reactions[{n}]"), detail));
        }
        if reactions[..n].contains(reaction) {
            return Err(Problem::field(&format!("reactions[{n}]"), "is there twice"));
        }
    }
    Ok(reactions)
}
