//! Media over HTTP: signed links out, visitors' uploads in.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt};
use metrics::counter;
use tokio::time::timeout;
use tributary_base::media::{MediaRequest, serve};

use super::{
    Shared,
    routes::{Refused, account, peer_of, unknown_channel, webhook},
};
use crate::{
    MediaStream, Uploads,
    refusals::{Way, reason, refuse},
};

/// Uploads that run at once in one process; each holds a few MiB at most. Further ones are asked to come back.
pub(super) const UPLOADS_LIMIT: usize = 64;
/// Of those, how many one internet address may hold.
pub(super) const UPLOADS_OF_ADDRESS: usize = 16;

/// A signed link is opened.
pub(super) async fn open(
    State(shared): State<Arc<Shared>>,
    Path((organization, id, name)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let Some(media) = shared.accounts.media() else {
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
    let response = serve(media, asked).await.map(Body::from_stream);
    let status = response.status().as_u16().to_string();
    counter!("tributary_media_requests_total", "status" => status).increment(1);
    response
}

/// A visitor brings media.
pub(super) async fn uploads(
    State(shared): State<Arc<Shared>>,
    Path(params): Path<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let Some(account) = account(&shared, &params) else {
        return unknown_channel(Way::Upload);
    };
    let Some(uploads) = account.connector.uploads() else {
        return webhook(State(shared), Path(params), request).await;
    };
    if !matches!(*request.method(), Method::POST | Method::OPTIONS) {
        refuse(&account.channel.id, Way::Upload, reason::METHOD, "");
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match receive(&shared, uploads, request).await {
        Ok(response) => response,
        Err(refused) => refused.answer(account, Way::Upload),
    }
}

async fn receive(
    shared: &Shared,
    uploads: &dyn Uploads,
    request: Request,
) -> Result<Response, Refused> {
    let peer = peer_of(shared, &request);
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        let reply = uploads.preflight(&head).map_err(Refused::Account)?;
        return Ok(reply.map(Body::from));
    }
    let _place = shared.upload_places.take(peer).ok_or(Refused::Busy)?;
    let _permit = shared.uploads.try_acquire().map_err(|_| Refused::Busy)?;
    let stream = stream(&head.headers, body);
    let deadline = shared.settings.media.fetch_deadline + shared.settings.ingress.request_deadline;
    let reply = timeout(deadline, uploads.receive(head, stream, peer))
        .await
        .map_err(|_| Refused::Slow)?
        .map_err(Refused::Account)?;
    Ok(reply.map(Body::from))
}

fn stream(headers: &HeaderMap, body: Body) -> MediaStream {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    MediaStream {
        mime: text(header::CONTENT_TYPE).map(str::to_owned),
        size: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        name: None,
        body: body.into_data_stream().map_err(io::Error::other).boxed(),
    }
}
