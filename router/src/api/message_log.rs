//! The channel log of a message: what was asked of its provider, and what the provider said. It is kept by the
//! connectors; the composition root lends it to the API.

use async_trait::async_trait;
use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tributary_bus::{MessageId, OrganizationId};
use utoipa::ToSchema;

use super::{ApiState, auth::Caller, extract::Id, problem::Problem};

/// Where the log is read.
#[async_trait]
pub trait MessageLog: Send + Sync {
    /// The calls about one message, the first one first; none of another organization.
    ///
    /// # Errors
    /// It cannot be read right now; says why, for our own log.
    async fn calls(
        &self,
        organization: &OrganizationId,
        message: MessageId,
    ) -> Result<Vec<ProviderCall>, String>;
}

/// One request to a provider and what came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderCall {
    /// When it had ended.
    pub at: DateTime<Utc>,
    pub channel_id: String,
    /// The method, without host and secrets.
    #[schema(example = "POST sendMessage")]
    pub call: String,
    /// What was sent, at most 8 KiB of it; `…` stands where it was cut, `[secret]` where a secret was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub request: Option<String>,
    /// HTTP status, or the provider's own code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, example = 200)]
    pub status: Option<i32>,
    /// What came back, like `request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub reply: Option<String>,
    /// Why nothing came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub error: Option<String>,
    /// Milliseconds.
    pub took_ms: i64,
}

/// The calls about one message.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderLog {
    items: Vec<ProviderCall>,
}

/// Get the channel log of a message
///
/// What was asked of the channel's provider for this message and what it answered, the first call first: the latest 50,
/// without secrets, for as long as they are kept (7 days by default). Written a moment after the call; empty for messages
/// that caused none.
#[utoipa::path(get, path = "/v1/messages/{id}/log", tag = "messages", params(("id" = Uuid, Path, description = "Message id")), responses((status = 200, body = ProviderLog)))]
pub async fn get_message_log(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<MessageId>,
) -> Result<Json<ProviderLog>, Problem> {
    let message = state.store().message(&organization, id).await?;
    if message.is_none() {
        return Err(Problem::not_found("message"));
    }
    let Some(log) = state.message_log() else {
        return Err(Problem::unavailable("the channel log"));
    };
    match log.calls(&organization, id).await {
        Ok(items) => Ok(Json(ProviderLog { items })),
        Err(error) => {
            tracing::warn!(%error, "channel log cannot be read");
            Err(Problem::unavailable("the channel log"))
        }
    }
}
