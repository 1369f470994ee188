//! Messages of a conversation.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tributary_bus::{
    AgentId, ConversationId, MessageId,
    message::{Author, Content, Priority},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    auth::Caller,
    content::{describe, sendable},
    extract::{Body, Id, IdempotencyKey, Limit, Parameters},
    page::{Page, cursor},
    problem::Problem,
    views::Message,
};
use crate::store::{Idempotency, NewMessage, Order};

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MessagesQuery {
    /// Items of a page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
    /// `next` of the page before.
    after: Option<String>,
    /// `asc`: the oldest first; `desc`: the latest first.
    #[serde(default)]
    #[param(inline)]
    order: OrderBy,
}

/// In which order messages are listed.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OrderBy {
    #[default]
    Asc,
    Desc,
}

/// A message to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    #[schema(value_type = Object)]
    content: Map<String, Value>,
    /// The agent who writes; without it the message is from the API.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    agent_id: Option<AgentId>,
    /// The message of the same conversation that this one answers.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    reply_to: Option<MessageId>,
    #[serde(default)]
    #[schema(inline)]
    priority: SendPriority,
}

/// What goes first where a channel is at its limit: `reply` (the default), somebody waits for it; then `bulk`, one of many.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SendPriority {
    #[default]
    Reply,
    Bulk,
}

/// What decides whether two requests ask for the same.
#[derive(Serialize)]
struct Asked<'a> {
    conversation: ConversationId,
    content: &'a Content,
    agent_id: Option<AgentId>,
    reply_to: Option<MessageId>,
    priority: SendPriority,
}

/// List messages
///
/// Both directions, by place in the conversation.
#[utoipa::path(get, path = "/v1/conversations/{id}/messages", tag = "messages", params(("id" = Uuid, Path, description = "Conversation id"), MessagesQuery), responses((status = 200, body = Page<Message>)))]
pub async fn list_messages(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ConversationId>,
    Parameters(query): Parameters<MessagesQuery>,
) -> Result<Json<Page<Message>>, Problem> {
    let beyond = cursor(query.after.as_deref())?;
    let order = match query.order {
        OrderBy::Asc => Order::OldestFirst,
        OrderBy::Desc => Order::NewestFirst,
    };
    let store = state.store();
    let rows = store
        .messages(&organization, id, order, beyond, query.limit.and_one())
        .await?;
    if rows.is_empty() && store.conversation(&organization, id).await?.is_none() {
        return Err(Problem::not_found("conversation"));
    }
    let linked = rows
        .into_iter()
        .map(|view| state.links().message(&organization, view));
    Ok(Json(Page::new(linked.collect(), query.limit, |view| {
        view.seq.to_string()
    })))
}

/// Send a message
///
/// Any content that makes sense to send: text, media by `url` or `media_id`, choices, and so on. What the channel cannot carry is
/// brought into a form that it can, and `degraded` says how. Accepted and stored, it is `queued`; its way to the contact is told by `message.status_changed` events. With an
/// `Idempotency-Key` a repeated request is answered with the message that was accepted first, as it stands now; keys are
/// remembered for at least 24 hours. Without one a repeated request is another message.
#[utoipa::path(
    post, path = "/v1/conversations/{id}/messages", tag = "messages",
    params(
        ("id" = Uuid, Path, description = "Conversation id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Chosen by you, unique for each message; 1 to 255 visible ASCII characters", example = "order-1042-shipped")
    ),
    request_body = SendMessage,
    responses(
        (status = 201, body = Message)
    )
)]
pub async fn send_message(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ConversationId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(request): Body<SendMessage>,
) -> Result<(StatusCode, Json<Message>), Problem> {
    let mut content = sendable(request.content)?;
    let asked = Asked {
        conversation: id,
        content: &content,
        agent_id: request.agent_id,
        reply_to: request.reply_to,
        priority: request.priority,
    };
    let idempotency = key
        .map(|key| fingerprint(&asked).map(|request| Idempotency { key, request }))
        .transpose()?;
    // After the fingerprint, which is of what was asked for.
    describe(state.media(), &organization, &mut content).await;
    let new = NewMessage {
        organization: organization.clone(),
        conversation: id,
        author: request
            .agent_id
            .map_or(Author::Api, |id| Author::Agent { id }),
        content,
        reply_to: request.reply_to,
        priority: match request.priority {
            SendPriority::Reply => Priority::Reply,
            SendPriority::Bulk => Priority::Bulk,
        },
        idempotency,
    };
    let view = state.store().send_message(new).await?;
    let view = state.links().message(&organization, view);
    Ok((StatusCode::CREATED, Json(view.into())))
}

/// Get a message
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "messages", params(("id" = Uuid, Path, description = "Message id")), responses((status = 200, body = Message)))]
pub async fn get_message(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<MessageId>,
) -> Result<Json<Message>, Problem> {
    let view = state.store().message(&organization, id).await?;
    view.map(|view| Json(state.links().message(&organization, view).into()))
        .ok_or_else(|| Problem::not_found("message"))
}

/// SHA-256 of what is asked for, however it was spelled in JSON.
fn fingerprint(asked: &Asked<'_>) -> Result<Vec<u8>, Problem> {
    let canonical = serde_json::to_vec(asked).map_err(|_| Problem::internal())?;
    Ok(Sha256::digest(&canonical).to_vec())
}
