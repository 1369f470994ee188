//! Uploads of media that messages refer to, and signed links to what is stored.

use std::{io, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt, future, stream::BoxStream};
use serde::{Deserialize, Serialize};
use tributary_base::media::{MediaRequest, MediaService, PutError, Stored, clean_name, serve};
use tributary_bus::{
    OrganizationId,
    message::{Media, MediaId, MediaState},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    auth::Caller,
    extract::{Id, Name, Parameters},
    problem::{Code, Problem},
};

/// Uploads of one process at once; each holds a few MiB at most.
pub(super) const UPLOADS_LIMIT: usize = 32;
/// Longest name, in characters.
const NAME_LIMIT: usize = 255;

/// How a medium is called.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MediaName {
    /// A file name, for those who save it; part of the link.
    #[param(max_length = 255, example = "invoice.pdf")]
    name: Option<String>,
}

/// A stored medium.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoredMedia {
    /// Refer to it in a message by `{"media_id": ...}`. Its `url` is signed and expires; ask again for a fresh one.
    #[schema(value_type = Object)]
    media: Media,
}

/// Upload media
///
/// The body is the file itself, as it is: no form, no base64. `Content-Type` is a hint; the type in the answer is what the bytes
/// show. The same bytes uploaded again are the same medium, so repeating an upload is harmless. The largest size is a setting of
/// the server (50 MiB unless changed), and each channel has limits of its own.
#[utoipa::path(
    post, path = "/v1/media", tag = "media", params(MediaName),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = StoredMedia))
)]
pub async fn upload_media(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Parameters(MediaName { name }): Parameters<MediaName>,
    request: Request,
) -> Result<(StatusCode, Json<StoredMedia>), Problem> {
    let name = checked_name(name)?;
    let media = kept(&state)?;
    let (head, body) = request.into_parts();
    let declared = content_type(&head.headers);
    if declared.is_some_and(|mime| mime.starts_with("multipart/")) {
        let detail = "send the bytes of the file as the body, without a form";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let limits = state.upload_limits();
    if content_length(&head.headers).is_some_and(|length| length > limits.size) {
        return Err(too_large(limits.size));
    }
    let _permit = state
        .uploads()
        .try_acquire()
        .map_err(|_| Problem::unavailable("capacity for another upload"))?;
    let body = not_empty(body, limits.deadline).await?;
    let stored = media
        .store
        .put(organization.as_str(), body, declared, limits);
    let stored = stored.await.map_err(refused)?;
    let answer = shown(media, &organization, stored, name);
    Ok((StatusCode::CREATED, Json(answer)))
}

/// The bytes of a body that has any.
async fn not_empty(
    body: Body,
    deadline: Duration,
) -> Result<BoxStream<'static, io::Result<Bytes>>, Problem> {
    let chunks = body.into_data_stream().map_err(io::Error::other);
    let filled = chunks.try_filter(|chunk| future::ready(!chunk.is_empty()));
    let mut filled = Box::pin(filled.peekable());
    let first = tokio::time::timeout(deadline, filled.as_mut().peek()).await;
    match first {
        Ok(Some(_)) => Ok(filled),
        Ok(None) => {
            let detail = "the body is empty: send the bytes of the file";
            Err(Problem::field("", detail))
        }
        Err(_) => Err(Problem::of(Code::RequestTimeout)),
    }
}

/// Get media
///
/// What is stored under a `media_id`, with a fresh link. The type is the one that the bytes show.
#[utoipa::path(
    get, path = "/v1/media/{id}", tag = "media", params(("id" = String, Path), MediaName),
    responses((status = 200, body = StoredMedia))
)]
pub async fn get_media(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Id(Name(id)): Id<Name>,
    Parameters(MediaName { name }): Parameters<MediaName>,
) -> Result<Json<StoredMedia>, Problem> {
    let name = checked_name(name)?;
    let media = kept(&state)?;
    match media.store.describe(organization.as_str(), &id).await {
        Ok(Some(stored)) => Ok(Json(shown(media, &organization, stored, name))),
        Ok(None) => Err(Problem::not_found("media")),
        Err(error) => {
            tracing::warn!(%error, "the media store is away");
            Err(Problem::unavailable("the media store"))
        }
    }
}

/// `GET /media/{organization}/{id}/{name}`: opens a signed link; needs no API key.
pub(super) async fn open_link(
    State(state): State<ApiState>,
    Path((organization, id, name)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let Some(media) = state.media() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let asked = MediaRequest {
        method: request.method(),
        organization: &organization,
        id: &id,
        name: &name,
        query: request.uri().query(),
        headers: request.headers(),
    };
    serve(media, asked).await.map(Body::from_stream)
}

fn kept(state: &ApiState) -> Result<&MediaService, Problem> {
    let detail = "no media is kept on this server; its operator can set media.url";
    state
        .media()
        .ok_or_else(|| Problem::new(Code::Unavailable, detail))
}

fn shown(
    service: &MediaService,
    organization: &OrganizationId,
    stored: Stored,
    name: Option<String>,
) -> StoredMedia {
    let link = service
        .links
        .link(organization.as_str(), &stored.id, name.as_deref());
    let (width, height) = stored.pixels.unzip();
    let media = Media {
        state: MediaState::Ready,
        url: link.map(String::from),
        media_id: Some(MediaId(stored.id.clone())),
        mime: Some(stored.mime),
        size: Some(stored.size),
        name,
        sha256: Some(stored.id),
        width,
        height,
        ..Media::default()
    };
    StoredMedia { media }
}

fn checked_name(name: Option<String>) -> Result<Option<String>, Problem> {
    match name {
        Some(name) if name.chars().count() > NAME_LIMIT || name.contains('\0') => {
            let detail = format!("must have at most {NAME_LIMIT} characters, none of them NUL");
            Err(Problem::parameter("name", detail))
        }
        name => Ok(name.as_deref().and_then(clean_name)),
    }
}

fn refused(error: PutError) -> Problem {
    match error {
        PutError::TooLarge { limit } => too_large(limit),
        PutError::Slow(_) | PutError::Source(_) => Problem::of(Code::RequestTimeout),
        // The store has said so in the log.
        PutError::Full | PutError::Store(_) => Problem::unavailable("the media store"),
    }
}

fn too_large(limit: u64) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("media may have at most {limit} bytes"),
    )
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
