//! What every request passes: a request id, a deadline, a bound on how many run at once, and one shape of errors.

use std::{any::Any, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::{Instrument, field::Empty};
use uuid::Uuid;

use super::{
    ApiState,
    auth::Allowance,
    problem::{Code, PROBLEM_JSON, Problem, for_status},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken from a caller, in characters.
const REQUEST_ID_LIMIT: usize = 64;

/// Goes around every route.
pub async fn around(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let allowance = Allowance::default();
    request.extensions_mut().insert(allowance.clone());
    let span = tracing::info_span!("request", id, %method, route, organization = Empty);
    let response = within_bounds(&state, request, next)
        .instrument(span.clone())
        .await;
    // Links are opened by browsers and anything else that reads files: what they are told is no problem document.
    let mut response = match route.starts_with("/media/") {
        true => response,
        false => one_shape(response),
    };
    finish_headers(response.headers_mut(), &route, &id);
    response
        .headers_mut()
        .extend(allowance.headers().into_iter().flatten());
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, "answered a request"));
    let labels = [
        ("method", method_label(&method).to_owned()),
        ("route", route),
        ("status", status.to_string()),
    ];
    metrics::counter!("tributary_api_requests_total", &labels).increment(1);
    metrics::histogram!("tributary_api_request_seconds").record(begun.elapsed().as_secs_f64());
    response
}

/// A method for a metric's label: callers can make up any, and each would be a series.
fn method_label(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PATCH
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS => method.as_str(),
        _ => "other",
    }
}

/// What a panic of a handler becomes. The panic itself was printed by the hook.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    Problem::internal().into_response()
}

async fn within_bounds(state: &ApiState, request: Request, next: Next) -> Response {
    let Ok(_permit) = state.in_flight().try_acquire() else {
        return Problem::unavailable("capacity for another request").into_response();
    };
    let deadline = match request.extensions().get::<MatchedPath>() {
        // As long as its body may take, and a little more for the answer.
        Some(path) if path.as_str() == "/v1/media" => {
            state.upload_limits().deadline + state.request_deadline()
        }
        _ => state.request_deadline(),
    };
    tokio::time::timeout(deadline, next.run(request))
        .await
        .unwrap_or_else(|_| {
            tracing::warn!("a request took too long and was given up");
            Problem::of(Code::DeadlineExceeded)
                .retry_after(std::time::Duration::from_secs(1))
                .into_response()
        })
}

/// Puts a problem in the place of any error that a library answered in a shape of its own; its headers stay (`Allow`).
fn one_shape(response: Response) -> Response {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == PROBLEM_JSON);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let mut problem = for_status(status).into_response();
    for (name, value) in response.headers() {
        if !matches!(
            *name,
            header::CONTENT_TYPE | header::CONTENT_LENGTH | header::CONTENT_ENCODING
        ) {
            problem.headers_mut().insert(name.clone(), value.clone());
        }
    }
    problem
}

fn finish_headers(headers: &mut HeaderMap, route: &str, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if route.starts_with("/v1/") {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// The caller's id where it is harmless in a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| {
            (1..=REQUEST_ID_LIMIT).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        })
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, routing::get};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;
    use crate::api::serve::serve;

    #[tokio::test]
    async fn a_panic_of_a_handler_is_a_problem() {
        async fn broken() -> &'static str {
            panic!("as if there were a mistake")
        }
        let router = Router::new()
            .route("/", get(broken))
            .layer(CatchPanicLayer::custom(panicked));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router, Duration::ZERO, stop.clone()));
        drop(rustls::crypto::ring::default_provider().install_default());
        let url = format!("http://{address}/");
        let answer = reqwest::get(url).await.expect("an answer");
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let text = answer.text().await.expect("a body");
        assert!(
            text.contains("\"internal\"") && !text.contains("mistake"),
            "{text}"
        );
        stop.cancel();
        serving.await.expect("the server ends");
    }

    #[test]
    fn made_up_methods_share_a_label() {
        assert_eq!(method_label(&Method::PATCH), "PATCH");
        let made_up = Method::from_bytes(b"X17").expect("a method");
        assert_eq!(method_label(&made_up), "other");
    }

    #[test]
    fn only_harmless_request_ids_are_taken_over() {
        let id = |text: &'static str| {
            request_id(&HeaderMap::from_iter([(
                REQUEST_ID,
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(id("abc-1.2_3"), "abc-1.2_3");
        for text in [
            "",
            "a b",
            "a=\"1\"",
            "ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00f",
        ] {
            assert_ne!(id(text), text);
        }
    }
}
