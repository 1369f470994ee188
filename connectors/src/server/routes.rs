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
use tracing::debug;

use super::{
    Shared, assets,
    listen::TcpPeer,
    media, peer,
    places::Place,
    socket::{OpenSocket, bounded},
};
use crate::{
    Account, ReceiveError, SinkError, Visit, Webhook,
    refusals::{Way, reason, refuse},
};

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
        return unknown_channel(Way::Http);
    };
    let Some(webhook) = account.connector.webhook() else {
        return Refused::Account(ReceiveError::NotFound).answer(account, Way::Http);
    };
    let started = Instant::now();
    let response = match receive(&shared, account, webhook, request).await {
        Ok(response) => response,
        Err(refused) => refused.answer(account, Way::Http),
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
        let received = webhook.receive(request, peer).await;
        let received = received.map_err(Refused::Account)?;
        if !received.events.is_empty() || !received.receipts.is_empty() {
            let sink = &account.sink;
            let away = |error: SinkError| Refused::Away(error.to_string());
            sink.ready().map_err(away)?;
            sink.publish(received.events).await.map_err(away)?;
            sink.receipts(received.receipts).await.map_err(away)?;
        }
        Ok(received.reply.map(Body::from))
    };
    timeout_at(deadline, taken)
        .await
        .map_err(|_| Refused::Away("not done within ingress.request_deadline".to_owned()))?
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
        return unknown_channel(Way::Socket);
    };
    let Some(sockets) = account.connector.sockets() else {
        return Refused::Account(ReceiveError::NotFound).answer(account, Way::Socket);
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
        return Refused::Account(error).answer(account, Way::Socket);
    }
    // A connection of its own has its place already.
    let is_direct = tcp_of(&request) == visit.peer;
    let place = shared.places.take(visit.peer);
    if place.is_none() && !is_direct {
        return Refused::Crowded.answer(account, Way::Socket);
    }
    let place = place.filter(|_| !is_direct);
    match timeout(ADMIT_DEADLINE, upgrade(request)).await {
        Ok(Ok(upgrade)) => accept(&shared, account, visit, place, bounded(upgrade)),
        Ok(Err(rejection)) => {
            refuse(&account.channel.id, Way::Socket, reason::NO_WEBSOCKET, "");
            rejection.into_response()
        }
        Err(_) => Refused::Slow.answer(account, Way::Socket),
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
    place: Option<Place>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let account = Arc::clone(account);
    let stop = shared.stop.clone();
    // Both live as long as the visitor stays: the place of an address behind a proxy, and the server's wait for its
    // sockets.
    let held = (place, shared.sockets.token());
    upgrade.on_upgrade(move |socket| async move {
        let socket = OpenSocket::new(socket, Arc::clone(&account), stop.clone());
        let socket = Box::new(socket);
        if let Some(sockets) = account.connector.sockets() {
            sockets
                .serve(visit, socket, account.sink.clone(), stop)
                .await;
        }
        drop(held);
    })
}

pub(super) fn peer_of(shared: &Shared, request: &Request) -> IpAddr {
    let proxies = &shared.settings.ingress.trusted_proxies;
    peer::peer(tcp_of(request), request.headers(), proxies)
}

/// The other end of the connection, perhaps a proxy.
fn tcp_of(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<TcpPeer>();
    peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| {
        peer.0.ip().to_canonical()
    })
}

/// No account of this id. A script of any page may read so, to tell its visitor.
pub(super) fn unknown_channel(way: Way) -> Response {
    refuse("", way, reason::UNKNOWN_CHANNEL, "");
    let mut response = StatusCode::NOT_FOUND.into_response();
    let any = HeaderValue::from_static("*");
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}

/// Why a request got no reply of the account.
pub(super) enum Refused {
    /// The account's own reason. The details stay here: the other side may be anybody.
    Account(ReceiveError),
    TooLarge,
    /// The client took too long over its request.
    Slow,
    /// As many uploads as one process, or one address, may bring at once.
    Busy,
    /// As many connections as one address may hold.
    Crowded,
    /// The bus cannot take anything right now, or did not in time; what is in the way.
    Away(String),
}

impl Refused {
    fn reason(&self) -> &'static str {
        match self {
            Self::Account(error) => match error {
                ReceiveError::Unauthorized => reason::UNAUTHORIZED,
                ReceiveError::Forbidden => reason::ORIGIN,
                ReceiveError::NotFound => reason::NO_SUCH_PATH,
                ReceiveError::Malformed(_) => reason::MALFORMED,
                ReceiveError::TooMany { .. } => reason::RATE_LIMITED,
                ReceiveError::Unavailable(_) => reason::UNAVAILABLE,
                ReceiveError::Misconfigured(_) => reason::MISCONFIGURED,
            },
            Self::TooLarge => reason::TOO_LARGE,
            Self::Slow => reason::SLOW,
            Self::Busy => reason::UPLOADS_AT_ONCE,
            Self::Crowded => reason::CONNECTIONS_OF_ADDRESS,
            Self::Away(_) => reason::UNAVAILABLE,
        }
    }

    /// Counts the refusal, logs it and answers.
    pub(super) fn answer(self, account: &Account, way: Way) -> Response {
        let channel_id = &account.channel.id;
        let detail = match &self {
            Self::Account(
                ReceiveError::Unavailable(reason) | ReceiveError::Misconfigured(reason),
            )
            | Self::Away(reason) => reason,
            // May quote what came.
            Self::Account(error) => {
                debug!(channel_id, %error, "request refused");
                ""
            }
            Self::TooLarge | Self::Slow | Self::Busy | Self::Crowded => "",
        };
        refuse(channel_id, way, self.reason(), detail);
        let mut response = self.into_response();
        if way == Way::Upload {
            // No cookie is involved, and the visitor is to be told the true reason.
            let any = HeaderValue::from_static("*");
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
        }
        response
    }
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
            Self::Account(ReceiveError::Unavailable(_)) | Self::Busy | Self::Away(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_SOON))
            }
            Self::Account(ReceiveError::Misconfigured(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_LATER))
            }
            Self::Crowded => (StatusCode::TOO_MANY_REQUESTS, Some(RETRY_LATER)),
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
