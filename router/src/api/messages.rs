//! Messages of a conversation.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tributary_bus::{
    AgentId, ConversationId, MessageId,
    message::{self, Author},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Id, IdempotencyKey, Limit, Parameters},
    page::{Page, cursor},
    problem::Problem,
    views::Message,
};
use crate::store::{Idempotency, NewMessage, Order};

/// Longest text of one message, in characters (Unicode scalar values). Channels split what is too long for them.
const TEXT_LIMIT: usize = 10_000;

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
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendMessage {
    content: SendContent,
    /// The agent who writes; without it the message is from the API.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    agent_id: Option<AgentId>,
    /// The message of the same conversation that this one answers.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    reply_to: Option<MessageId>,
}

/// What a message says.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum SendContent {
    /// Plain text.
    Text {
        /// 1 to 10,000 characters, not only spaces. What is too long for a channel is sent in parts.
        #[schema(min_length = 1, max_length = 10000, example = "Hello, how can I help?")]
        text: String,
    },
}

/// Hides the words.
impl std::fmt::Debug for SendContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SendContent")
    }
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
    Ok(Json(Page::new(rows, query.limit, |view| {
        view.seq.to_string()
    })))
}

/// Send a message
///
/// Accepted and stored, it is `queued`; its way to the contact is told by `message.status_changed` events. With an
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
    let idempotency = key
        .map(|key| fingerprint(id, &request).map(|request| Idempotency { key, request }))
        .transpose()?;
    let SendContent::Text { text } = request.content;
    let new = NewMessage {
        organization,
        conversation: id,
        author: request
            .agent_id
            .map_or(Author::Api, |id| Author::Agent { id }),
        content: message::Content::text(checked_text(text)?),
        reply_to: request.reply_to,
        idempotency,
    };
    let view = state.store().send_message(new).await?;
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
    view.map(|view| Json(view.into()))
        .ok_or_else(|| Problem::not_found("message"))
}

/// SHA-256 of what is asked for, however it was spelled in JSON.
fn fingerprint(conversation: ConversationId, request: &SendMessage) -> Result<Vec<u8>, Problem> {
    let canonical =
        serde_json::to_vec(&(conversation, request)).map_err(|_| Problem::internal())?;
    Ok(Sha256::digest(&canonical).to_vec())
}

fn checked_text(text: String) -> Result<String, Problem> {
    let at = "content.text";
    if text.trim().is_empty() {
        return Err(Problem::field(at, "must not be empty or only spaces"));
    }
    if text.chars().count() > TEXT_LIMIT {
        return Err(Problem::field(
            at,
            format!("must have at most {TEXT_LIMIT} characters"),
        ));
    }
    if text.contains('\0') {
        return Err(Problem::field(at, "must not contain the character U+0000"));
    }
    Ok(text)
}
