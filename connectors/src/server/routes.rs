//! From path to account, and from what the account says to an HTTP response.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{
        FromRequestParts, Path, Request, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use metrics::{counter, histogram};
use tokio::time::{Instant, timeout, timeout_at};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{debug, warn};

use super::{
    Shared, assets,
    listen::{Counted, TcpPeer},
    media, peer,
    socket::{OpenSocket, bounded},
};
use crate::{Account, ReceiveError, SinkError, Visit, Webhook};

/// What a provider is asked to wait when nothing can be stored right now.
const RETRY_SOON: Duration = Duration::from_secs(2);
/// The same when a person must act first.
const RETRY_LATER: Duration = Duration::from_secs(60);
/// How long an upgrade may take.
const ADMIT_DEADLINE: Duration = Duration::from_secs(10);

/// All routes of the ingress.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let router = Router::new()
        .route("/media/{organization}/{id}/{name}", any(media::open))
        .route("/channels/{channel_id}/socket", get(socket))
        .route("/channels/{channel_id}/uploads", any(media::uploads))
        .route("/channels/{channel_id}", any(webhook))
        .route("/channels/{channel_id}/", any(webhook))
        .route("/channels/{channel_id}/{*rest}", any(webhook));
    assets::routes(router)
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(axum::middleware::map_response(finish))
        .layer(CatchPanicLayer::new())
        .with_state(shared)
}

/// No browser may guess another type than the one that is named.
async fn finish(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Every path of an account.
pub(super) async fn webhook(
    State(shared): State<Arc<Shared>>,
    Path(params): Path<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let Some(account) = account(&shared, &params) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(webhook) = account.connector.webhook() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let started = Instant::now();
    let response = match receive(&shared, account, webhook, request).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    };
    let channel = account.channel.id.clone();
    let status = response.status().as_u16().to_string();
    counter!("tributary_ingress_requests_total", "channel" => channel.clone(), "status" => status)
        .increment(1);
    histogram!("tributary_ingress_seconds", "channel" => channel)
        .record(started.elapsed().as_secs_f64());
    response
}

pub(super) fn account<'a>(
    shared: &'a Shared,
    params: &[(String, String)],
) -> Option<&'a Arc<Account>> {
    let (_, id) = params.iter().find(|(name, _)| name == "channel_id")?;
    shared.accounts.get(id)
}

/// Body, verification and translation by the account, confirm of the bus; all within the request's deadline.
async fn receive(
    shared: &Shared,
    account: &Account,
    webhook: &dyn Webhook,
    request: Request,
) -> Result<Response, Refused> {
    let deadline = Instant::now() + shared.settings.ingress.request_deadline;
    let peer = peer_of(shared, &request);
    let limit = shared.settings.ingress.body_limit;
    let request = timeout_at(deadline, read(request, limit))
        .await
        .map_err(|_| Refused::Slow)??;
    let taken = async {
        let received = webhook.receive(request, peer).await.map_err(|error| {
            log_refusal(account, &error);
            Refused::Account(error)
        })?;
        if !received.events.is_empty() || !received.receipts.is_empty() {
            let sink = &account.sink;
            let away = |error: SinkError| {
                warn!(channel_id = %account.channel.id, %error, "webhook refused for now");
                Refused::Away
            };
            sink.ready().map_err(|_| Refused::Away)?;
            sink.publish(received.events).await.map_err(away)?;
            sink.receipts(received.receipts).await.map_err(away)?;
        }
        Ok(received.reply.map(Body::from))
    };
    timeout_at(deadline, taken)
        .await
        .map_err(|_| Refused::Away)?
}

/// The whole body, as long as it is within the limit.
async fn read(request: Request, limit: usize) -> Result<http::Request<Bytes>, Refused> {
    let (parts, body) = request.into_parts();
    let declared = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(Refused::TooLarge);
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(http::Request::from_parts(parts, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
        Err(_) => Err(Refused::Slow),
    }
}

/// A visitor's WebSocket.
async fn socket(
    State(shared): State<Arc<Shared>>,
    Path(params): Path<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let Some(account) = account(&shared, &params) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(sockets) = account.connector.sockets() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let visit = Visit {
        origin: request
            .headers()
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok())
            .map(str::to_owned),
        peer: peer_of(&shared, &request),
    };
    if let Err(error) = sockets.admit(&visit) {
        log_refusal(account, &error);
        return Refused::Account(error).into_response();
    }
    let counted = request.extensions().get::<Counted>().cloned();
    match timeout(ADMIT_DEADLINE, upgrade(request)).await {
        Ok(Ok(upgrade)) => accept(&shared, account, visit, counted, bounded(upgrade)),
        Ok(Err(rejection)) => rejection.into_response(),
        Err(_) => Refused::Slow.into_response(),
    }
}

async fn upgrade(request: Request) -> Result<WebSocketUpgrade, WebSocketUpgradeRejection> {
    let (mut parts, _) = request.into_parts();
    WebSocketUpgrade::from_request_parts(&mut parts, &()).await
}

fn accept(
    shared: &Shared,
    account: &Arc<Account>,
    visit: Visit,
    counted: Option<Counted>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let account = Arc::clone(account);
    let stop = shared.stop.clone();
    // Both live as long as the visitor stays: the place among the connections, and the server's wait for its sockets.
    let held = (counted, shared.sockets.token());
    upgrade.on_upgrade(move |socket| async move {
        let socket = Box::new(OpenSocket::new(socket, stop.clone()));
        if let Some(sockets) = account.connector.sockets() {
            sockets
                .serve(visit, socket, account.sink.clone(), stop)
                .await;
        }
        drop(held);
    })
}

pub(super) fn peer_of(shared: &Shared, request: &Request) -> IpAddr {
    let tcp = request
        .extensions()
        .get::<TcpPeer>()
        .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
    peer::peer(
        tcp,
        request.headers(),
        &shared.settings.ingress.trusted_proxies,
    )
}

pub(super) fn log_refusal(account: &Account, error: &ReceiveError) {
    let channel_id = &account.channel.id;
    match error {
        ReceiveError::Unauthorized
        | ReceiveError::Forbidden
        | ReceiveError::NotFound
        | ReceiveError::Malformed(_)
        | ReceiveError::TooMany { .. } => debug!(channel_id, %error, "request refused"),
        ReceiveError::Unavailable(_) | ReceiveError::Misconfigured(_) => {
            warn!(channel_id, %error, "request refused for now");
        }
    }
}

/// Why a request got no reply of the account.
pub(super) enum Refused {
    /// The account's own reason. The details stay here: the other side may be anybody.
    Account(ReceiveError),
    TooLarge,
    /// The client took too long over its request.
    Slow,
    /// The bus cannot take anything right now, or did not in time.
    Away,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let is_unread = matches!(self, Self::TooLarge | Self::Slow);
        let (status, retry_after) = match self {
            Self::Account(ReceiveError::Unauthorized) => (StatusCode::UNAUTHORIZED, None),
            Self::Account(ReceiveError::Forbidden) => (StatusCode::FORBIDDEN, None),
            Self::Account(ReceiveError::NotFound) => (StatusCode::NOT_FOUND, None),
            Self::Account(ReceiveError::Malformed(_)) => (StatusCode::BAD_REQUEST, None),
            Self::Account(ReceiveError::TooMany { retry_after }) => {
                (StatusCode::TOO_MANY_REQUESTS, Some(retry_after))
            }
            Self::Account(ReceiveError::Unavailable(_)) | Self::Away => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_SOON))
            }
            Self::Account(ReceiveError::Misconfigured(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_LATER))
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, None),
        };
        let mut response = status.into_response();
        if is_unread {
            // The connection ends here, and a client who is not told would send its next request into it.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if let Some(wait) = retry_after {
            let seconds = wait.as_secs().max(1);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
