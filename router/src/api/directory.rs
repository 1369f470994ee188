//! Organizations, channels and contacts: what is only read.

use axum::{Json, extract::State};
use tributary_bus::{ChannelId, ContactId};

use super::{
    ApiState,
    auth::Caller,
    extract::{Id, Name, Parameters},
    page::{Page, PageQuery, cursor},
    problem::Problem,
    views::{Channel, Contact, Organization},
};

/// List organizations
///
/// The organization that your API key belongs to, and no other.
#[utoipa::path(get, path = "/v1/organizations", tag = "organizations", params(PageQuery), responses((status = 200, body = Page<Organization>)))]
pub async fn list_organizations(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Parameters(PageQuery { limit, after }): Parameters<PageQuery>,
) -> Result<Json<Page<Organization>>, Problem> {
    let own = state.store().organization(&organization).await?;
    let after = cursor::<Name>(after.as_deref())?;
    let rows: Vec<_> = own
        .into_iter()
        .filter(|own| {
            after
                .as_ref()
                .is_none_or(|Name(after)| own.id.as_str() > after.as_str())
        })
        .collect();
    Ok(Json(Page::new(rows, limit, |row| row.id.0.clone())))
}

/// Get an organization
#[utoipa::path(get, path = "/v1/organizations/{id}", tag = "organizations", params(("id" = String, Path, description = "Organization id")), responses((status = 200, body = Organization)))]
pub async fn get_organization(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(Name(id)): Id<Name>,
) -> Result<Json<Organization>, Problem> {
    let own = state.store().organization(&organization).await?;
    own.filter(|own| own.id.as_str() == id)
        .map(|row| Json(row.into()))
        .ok_or_else(|| Problem::not_found("organization"))
}

/// List channels
#[utoipa::path(get, path = "/v1/channels", tag = "channels", params(PageQuery), responses((status = 200, body = Page<Channel>)))]
pub async fn list_channels(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Parameters(PageQuery { limit, after }): Parameters<PageQuery>,
) -> Result<Json<Page<Channel>>, Problem> {
    let after = cursor::<Name>(after.as_deref())?.map(|Name(after)| ChannelId(after));
    let rows = state
        .store()
        .channels(&organization, after.as_ref(), limit.and_one())
        .await?;
    Ok(Json(Page::new(rows, limit, |row| row.id.0.clone())))
}

/// Get a channel
#[utoipa::path(get, path = "/v1/channels/{id}", tag = "channels", params(("id" = String, Path, description = "Channel id")), responses((status = 200, body = Channel)))]
pub async fn get_channel(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(Name(id)): Id<Name>,
) -> Result<Json<Channel>, Problem> {
    let row = state.store().channel(&organization, &ChannelId(id)).await?;
    row.map(|row| Json(row.into()))
        .ok_or_else(|| Problem::not_found("channel"))
}

/// Get a contact
#[utoipa::path(get, path = "/v1/contacts/{id}", tag = "contacts", params(("id" = Uuid, Path, description = "Contact id")), responses((status = 200, body = Contact)))]
pub async fn get_contact(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(id): Id<ContactId>,
) -> Result<Json<Contact>, Problem> {
    let view = state.store().contact(&organization, id).await?;
    view.map(|view| Json(state.links().contact(&organization, view).into()))
        .ok_or_else(|| Problem::not_found("contact"))
}
