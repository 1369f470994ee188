//! The HTTP side of the endpoint.

use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use standardwebhooks::HEADER_WEBHOOK_ID;
use tokio::time::Instant;

use super::Shared;
use super::misbehave::EndpointAction;
use super::records::{Received, Refused};
use crate::serve::Line;

/// Bytes.
const MAX_BODY: usize = 16 << 20;
/// Attributes every CloudEvent has.
const REQUIRED: [&str; 4] = ["id", "source", "specversion", "type"];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .fallback(receive)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let response = match read(&shared, &method, &headers, &body) {
        Ok(event) => take(&shared, &line, event, headers, body).await,
        Err((status, reason)) => {
            let webhook_id = webhook_id(&headers).map(str::to_owned);
            let at = SystemTime::now();
            let refused = Refused {
                at,
                status: status.as_u16(),
                reason,
                webhook_id,
            };
            shared.record(|records| records.refuse(refused));
            status.into_response()
        }
    };
    let status = response.status().as_u16();
    if !line.is_cut() {
        shared.record(|records| *records.answers.entry(status).or_default() += 1);
    }
    response
}

fn webhook_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(HEADER_WEBHOOK_ID)?
        .to_str()
        .ok()
        .filter(|id| !id.is_empty())
}

/// The event in a request, or the status and the reason it is refused with.
fn read(
    shared: &Shared,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Value, (StatusCode, String)> {
    if method != Method::POST {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{method} instead of POST"),
        ));
    }
    verify(shared, headers, body).map_err(|reason| (StatusCode::UNAUTHORIZED, reason))?;
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    webhook_id(headers).ok_or_else(|| bad(format!("no {HEADER_WEBHOOK_ID} header")))?;
    let event: Value = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let missing = REQUIRED
        .into_iter()
        .find(|name| event[*name].as_str().is_none_or(str::is_empty));
    if let Some(name) = missing {
        return Err(bad(format!("not a CloudEvent: no {name}")));
    }
    if event["specversion"] != "1.0" {
        return Err(bad("not a CloudEvent of version 1.0".into()));
    }
    Ok(event)
}

fn verify(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Result<(), String> {
    let secrets = shared
        .secrets
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    let mut result = Ok(());
    for secret in secrets.iter() {
        result = secret
            .verify(body, headers)
            .map_err(|error| error.to_string());
        if result.is_ok() {
            break;
        }
    }
    result
}

async fn take(
    shared: &Shared,
    line: &Line,
    event: Value,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let event_type = event["type"].as_str().unwrap_or_default();
    let subject = event["subject"].as_str();
    let action = shared
        .script
        .next(|matches| matches.fits(event_type, subject));
    let webhook_id = webhook_id(&headers).unwrap_or_default().to_owned();
    let attempt = shared.record(|records| records.attempt(&webhook_id));
    match &action {
        Some(EndpointAction::Status {
            status,
            retry_after,
        }) => {
            return refusal(*status, *retry_after);
        }
        Some(EndpointAction::Hang(pause)) => {
            tokio::time::sleep(*pause).await;
            return cut(line);
        }
        Some(EndpointAction::DropBeforeRecording) => return cut(line),
        Some(EndpointAction::Slow(_) | EndpointAction::DropAfterRecording) | None => {}
    }
    let (at, instant) = (SystemTime::now(), Instant::now());
    let disturbed_by = action.clone();
    shared.record(|records| {
        records.accept(|order| Received {
            order,
            at,
            instant,
            webhook_id,
            attempt,
            event,
            body,
            headers,
            disturbed_by,
        });
    });
    match action {
        Some(EndpointAction::Slow(pause)) => tokio::time::sleep(pause).await,
        Some(EndpointAction::DropAfterRecording) => return cut(line),
        _ => {}
    }
    StatusCode::NO_CONTENT.into_response()
}

fn refusal(status: u16, retry_after: Option<u32>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match retry_after {
        Some(seconds) => (status, [(header::RETRY_AFTER, seconds.to_string())]).into_response(),
        None => status.into_response(),
    }
}

/// Ends the connection; the answer is never read.
fn cut(line: &Line) -> Response {
    line.cut();
    StatusCode::BAD_GATEWAY.into_response()
}
