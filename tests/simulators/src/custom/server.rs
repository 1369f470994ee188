//! Where deliveries are posted to.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use serde_json::{Value, json};
use standardwebhooks::HEADER_WEBHOOK_ID;

use super::{Refused, Shared};
use crate::{lock, serve::Line};

/// Bytes.
const MAX_BODY: usize = 16 << 20;
/// What every delivery has.
const REQUIRED: [&str; 4] = ["kind", "to", "channel_id", "idempotency_key"];

/// What becomes of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAction {
    /// Answered so and not taken.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Seconds in a `Retry-After` header.
        retry_after: Option<u32>,
        /// JSON, or anything else.
        body: String,
    },
    /// Taken, and answered with this status and no body.
    TakeAndAnswer(u16),
    /// Taken, and answered only after this time.
    Slow(Duration),
    /// Taken, and answered with 200 and half a document.
    Garbled,
    /// Not taken; the connection ends without an answer after this time.
    Hang(Duration),
    /// Taken; then the connection ends without an answer.
    DropAfterTaking,
    /// The connection ends at once; not taken.
    DropBeforeTaking,
}

impl DeliveryAction {
    /// Not taken, with this status.
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            body: String::new(),
        }
    }

    /// Not taken, with this status and this JSON.
    pub fn refusal(status: u16, body: &Value) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            body: body.to_string(),
        }
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/hook", post(receive))
        .route("/files/{name}", any(file))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

async fn file(State(shared): State<Arc<Shared>>) -> Response {
    let file = lock(&shared.file).clone();
    match file {
        Some((mime, bytes)) => ([(header::CONTENT_TYPE, mime)], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (webhook_id, delivery) = match read(&shared, &headers, &body) {
        Ok(read) => read,
        Err((status, reason)) => {
            shared.record(|records| {
                records.refuse(Refused {
                    status: status.as_u16(),
                    reason,
                });
            });
            return status.into_response();
        }
    };
    let action = shared.script.next(|wanted| wanted.fits(&delivery));
    shared.record(|records| records.attempts += 1);
    match &action {
        Some(DeliveryAction::Answer {
            status,
            retry_after,
            body,
        }) => return answer(*status, *retry_after, body.clone()),
        Some(DeliveryAction::DropBeforeTaking) => return cut(&line),
        Some(DeliveryAction::Hang(pause)) => {
            tokio::time::sleep(*pause).await;
            return cut(&line);
        }
        Some(
            DeliveryAction::TakeAndAnswer(_)
            | DeliveryAction::Slow(_)
            | DeliveryAction::Garbled
            | DeliveryAction::DropAfterTaking,
        )
        | None => {}
    }
    if let Some(id) = shared.record(|records| records.known(&webhook_id)) {
        return (StatusCode::CONFLICT, Json(json!({"id": id}))).into_response();
    }
    let id = shared.record(|records| records.take(&webhook_id, delivery));
    match action {
        Some(DeliveryAction::TakeAndAnswer(status)) => return answer(status, None, String::new()),
        Some(DeliveryAction::Slow(pause)) => tokio::time::sleep(pause).await,
        Some(DeliveryAction::Garbled) => return answer(200, None, "{\"id\": \"crm".into()),
        Some(DeliveryAction::DropAfterTaking) => return cut(&line),
        _ => {}
    }
    Json(json!({"id": id})).into_response()
}

/// The delivery in a request, or the status and the reason it is refused with.
fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(String, Value), (StatusCode, String)> {
    let verified = shared.secret().webhook.verify(body, headers);
    verified.map_err(|error| (StatusCode::UNAUTHORIZED, error.to_string()))?;
    let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
    let id = headers
        .get(HEADER_WEBHOOK_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default();
    let delivery: Value = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let missing = REQUIRED
        .into_iter()
        .find(|name| delivery[*name].as_str().is_none_or(str::is_empty));
    if let Some(name) = missing {
        return Err(bad(format!("not a delivery: no {name}")));
    }
    if delivery["idempotency_key"] != id {
        return Err(bad("webhook-id is not the idempotency key".into()));
    }
    Ok((id.to_owned(), delivery))
}

fn answer(status: u16, retry_after: Option<u32>, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, body).into_response();
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Ends the connection; the answer is never read.
fn cut(line: &Line) -> Response {
    line.cut();
    StatusCode::BAD_GATEWAY.into_response()
}
