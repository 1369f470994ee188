//! What the operator's tools ask of a process: is it alive, is it ready, how does it do.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::serve::serve;

/// How long the checks of readiness may take together.
const READY_DEADLINE: Duration = Duration::from_secs(3);
/// How long requests in flight may take after the stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that must be there for a process to do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `bus`, `store`, ...
    pub name: String,
    #[serde(flatten)]
    pub state: CheckState,
}

/// Whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CheckState {
    Ready,
    /// Not at the moment; the reason is for the operator and names no secret.
    Missing {
        reason: String,
    },
}

impl Check {
    /// Something that is there.
    pub fn ready(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: CheckState::Ready,
        }
    }

    /// Something that is missing.
    pub fn missing(name: &str, reason: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            state: CheckState::Missing {
                reason: reason.into(),
            },
        }
    }
}

/// What a process tells of itself.
#[derive(Clone)]
pub struct Operations {
    /// Looks at everything the process needs.
    pub ready: Arc<dyn Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync>,
    /// Renders the Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operations")
    }
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

/// Serves `/livez` (200 while the process runs), `/readyz` (200, or 503 and what is missing) and `/metrics` until
/// `stop`. Meant for an address that only operators reach: nothing here asks for a key.
pub async fn serve_operations(
    listener: TcpListener,
    operations: Operations,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route(
            "/livez",
            get(async || Json(serde_json::json!({ "live": true }))),
        )
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(operations);
    serve(listener, router, PATIENCE, stop).await;
}

async fn readyz(State(operations): State<Operations>) -> Response {
    let checks = tokio::time::timeout(READY_DEADLINE, (operations.ready)())
        .await
        .unwrap_or_else(|_| {
            vec![Check::missing(
                "checks",
                format!("no answer within {READY_DEADLINE:?}"),
            )]
        });
    let ready = checks.iter().all(|check| check.state == CheckState::Ready);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, checks })).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (content_type, (operations.metrics)()).into_response()
}
