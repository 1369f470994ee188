//! API keys of the caller's organization.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use tributary_base::text::is_blank;
use utoipa::ToSchema;

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Id, Parameters},
    page::{Page, PageQuery, cursor},
    problem::Problem,
    views::ApiKey,
};
use crate::store::{ApiKeyId, CreateKeyError};

/// Longest name of anything, in characters.
pub const NAME_LIMIT: usize = 100;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// Who uses it, for people; 1 to 100 characters.
    #[schema(min_length = 1, max_length = 100, example = "CRM production")]
    name: String,
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedApiKey {
    #[serde(flatten)]
    #[schema(inline)]
    api_key: ApiKey,
    /// The key itself. It is shown this once and kept nowhere.
    #[schema(example = "trib_...")]
    key: String,
}

/// Create an API key
#[utoipa::path(post, path = "/v1/api-keys", tag = "api-keys", request_body = CreateApiKey, responses((status = 201, body = CreatedApiKey)))]
pub async fn create_api_key(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Body(request): Body<CreateApiKey>,
) -> Result<(StatusCode, Json<CreatedApiKey>), Problem> {
    let name = checked_name(&request.name)?;
    let (key, plain) = state
        .store()
        .create_api_key(&organization, name)
        .await
        .map_err(|error| match error {
            CreateKeyError::Store(error) => Problem::from(error),
            CreateKeyError::Randomness(reason) => {
                tracing::error!(reason, "no API key could be made");
                Problem::internal()
            }
        })?;
    let created = CreatedApiKey {
        api_key: key.into(),
        key: plain.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// List API keys
///
/// Oldest first, revoked ones too.
#[utoipa::path(get, path = "/v1/api-keys", tag = "api-keys", params(PageQuery), responses((status = 200, body = Page<ApiKey>)))]
pub async fn list_api_keys(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Parameters(PageQuery { limit, after }): Parameters<PageQuery>,
) -> Result<Json<Page<ApiKey>>, Problem> {
    let after = cursor(after.as_deref())?;
    let rows = state
        .store()
        .api_keys(&organization, after, limit.and_one())
        .await?;
    Ok(Json(Page::new(rows, limit, |row| row.id.to_string())))
}

/// Revoke an API key
///
/// It is refused from now on; the key that you call with can revoke itself.
#[utoipa::path(post, path = "/v1/api-keys/{id}/revoke", tag = "api-keys", params(("id" = Uuid, Path, description = "API key id")), responses((status = 200, body = ApiKey)))]
pub async fn revoke_api_key(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ApiKeyId>,
) -> Result<Json<ApiKey>, Problem> {
    let row = state.store().revoke_api_key(&organization, id).await?;
    row.map(|row| Json(row.into()))
        .ok_or_else(|| Problem::not_found("API key"))
}

/// A name without the spaces around it.
pub fn checked_name(name: &str) -> Result<&str, Problem> {
    let name = name.trim();
    if is_blank(name) || name.chars().count() > NAME_LIMIT || name.chars().any(char::is_control) {
        return Err(Problem::field(
            "name",
            format!(
                "must be 1 to {NAME_LIMIT} characters that can be seen, without control characters"
            ),
        ));
    }
    Ok(name)
}
