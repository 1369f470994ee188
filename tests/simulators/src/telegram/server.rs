//! The HTTP side of the simulator: paths, tokens, and what rules make go wrong.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::Instant;

use super::account::Bot;
use super::answer::{Answer, ApiError, html_error, json_response, respond};
use super::misbehave::{CallAction, When};
use super::params::Params;
use super::records::Call;
use super::{Simulation, download, methods};
use crate::serve::Line;

/// Bytes that the other arguments and the boundaries of a multipart body may take.
const BESIDE_UPLOADS: usize = 1 << 20;
/// Of a body that is too long, how much is read before the connection is given up, in bytes.
const MAX_DRAINED: usize = 256 << 20;
/// A body longer than this is not recorded, in bytes.
const MAX_RECORDED: usize = 1 << 20;

pub(super) fn router(simulation: Arc<Simulation>) -> Router {
    Router::new().fallback(serve_any).with_state(simulation)
}

async fn serve_any(
    State(simulation): State<Arc<Simulation>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(path) = parts.uri.path().strip_prefix("/file/bot") {
        return download::serve(&simulation, path, &line).await;
    }
    match whole(
        body,
        simulation.shared.options.sizes.upload + BESIDE_UPLOADS,
    )
    .await
    {
        Ok(body) => call(&simulation, &line, &parts, body).await,
        Err(error) => {
            count_answer(&simulation, &line, error.code);
            respond(&Err(error))
        }
    }
}

/// The body. One that is too long is read to its end all the same, so that the client hears the answer.
async fn whole(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::bad_request("can't read the request"))?;
        length += chunk.len();
        if length <= limit {
            bytes.extend_from_slice(&chunk);
        } else if length > MAX_DRAINED {
            break;
        }
    }
    if length > limit {
        return Err(ApiError::new(413, "Request Entity Too Large"));
    }
    Ok(bytes.freeze())
}

fn count_answer(simulation: &Simulation, line: &Line, status: u16) {
    simulation.shared.record(|records| {
        if !line.is_cut() {
            *records.counters.answers.entry(status).or_default() += 1;
        }
    });
}

/// The HTTP method does not matter to the provider.
async fn call(simulation: &Simulation, line: &Line, parts: &Parts, body: Bytes) -> Response {
    let Some((token, method)) = split(parts.uri.path()) else {
        return respond(&Err(ApiError::new(404, "Not Found")));
    };
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let params = Params::parse(parts.uri.query(), content_type, &body).await;
    let bot = simulation.bot(token).filter(|bot| !bot.is_revoked());
    let recorded = if body.len() > MAX_RECORDED || content_type.starts_with("multipart/") {
        Bytes::new()
    } else {
        body
    };
    simulation.shared.record(|records| {
        records.add_call(|order| Call {
            order,
            at: SystemTime::now(),
            instant: Instant::now(),
            bot_id: bot.as_ref().map(|bot| bot.profile.id()),
            method: method.to_owned(),
            content_type: content_type.to_owned(),
            body: recorded,
            parameters: params.as_ref().map(Params::for_record).unwrap_or_default(),
        });
    });
    let response = match (bot, params) {
        (None, _) => respond(&Err(refused(token))),
        (Some(_), Err(error)) => respond(&Err(error)),
        (Some(bot), Ok(params)) => serve(&bot, method, &params, line).await,
    };
    count_answer(simulation, line, response.status().as_u16());
    response
}

/// `/bot<token>/<method>`: the token and the method.
fn split(path: &str) -> Option<(&str, &str)> {
    let (token, method) = path.strip_prefix("/bot")?.split_once('/')?;
    (!token.is_empty() && !method.is_empty()).then_some((token, method))
}

/// A text that cannot be a token is an unknown path to the provider; a wrong or revoked one is unauthorized.
fn refused(token: &str) -> ApiError {
    let shaped = token
        .split_once(':')
        .is_some_and(|(id, secret)| id.parse::<u64>().is_ok() && !secret.is_empty());
    if shaped {
        ApiError::new(401, "Unauthorized")
    } else {
        ApiError::new(404, "Not Found")
    }
}

async fn serve(bot: &Arc<Bot>, method: &str, params: &Params, line: &Line) -> Response {
    let chat_id = params.integer("chat_id");
    let action = bot
        .shared
        .calls
        .next(|matches| matches.fits(&bot.profile.token, method, chat_id));
    if action.is_some() {
        bot.shared
            .record(|records| records.counters.misbehaved += 1);
    }
    if let Some(response) = before(action.as_ref(), line).await {
        return response;
    }
    let request = methods::Request {
        bot,
        params,
        action: action.as_ref(),
    };
    let outcome = methods::run(method, &request).await;
    after(action.as_ref(), line, &outcome).await
}

/// What goes wrong before anything is done; the answer then.
async fn before(action: Option<&CallAction>, line: &Line) -> Option<Response> {
    match action? {
        CallAction::TooManyRequests { retry_after } => {
            Some(respond(&Err(ApiError::too_many_requests(*retry_after))))
        }
        CallAction::Refuse {
            code,
            description,
            parameters,
        } => Some(respond(&Err(ApiError {
            code: *code,
            description: description.clone(),
            parameters: parameters.clone(),
        }))),
        CallAction::ServerError {
            status,
            when: When::BeforeAccepting,
        } => Some(html_error(*status)),
        CallAction::EmptyError {
            status,
            when: When::BeforeAccepting,
        } => Some(empty_error(*status)),
        CallAction::Drop(When::BeforeAccepting) => {
            line.cut();
            Some(StatusCode::BAD_GATEWAY.into_response())
        }
        CallAction::SlowStart(pause) => {
            tokio::time::sleep(*pause).await;
            None
        }
        CallAction::ServerError {
            when: When::AfterAccepting,
            ..
        }
        | CallAction::EmptyError {
            when: When::AfterAccepting,
            ..
        }
        | CallAction::Drop(When::AfterAccepting)
        | CallAction::SlowAnswer(_)
        | CallAction::EmptyBody
        | CallAction::InvalidJson
        | CallAction::RepeatUpdates(_)
        | CallAction::ShuffleChats { .. }
        | CallAction::ShuffleAll { .. } => None,
    }
}

/// What goes wrong with the answer. A refusal passes through it as well: what was not accepted cannot be answered better.
async fn after(
    action: Option<&CallAction>,
    line: &Line,
    outcome: &Result<Answer, ApiError>,
) -> Response {
    match action {
        Some(CallAction::Drop(_)) => {
            line.cut();
            StatusCode::BAD_GATEWAY.into_response()
        }
        Some(CallAction::ServerError { status, .. }) => html_error(*status),
        Some(CallAction::EmptyError { status, .. }) => empty_error(*status),
        Some(CallAction::EmptyBody) => json_response(StatusCode::OK, String::new()),
        Some(CallAction::InvalidJson) => {
            let body = outcome.as_ref().map_or_else(ApiError::body, Answer::body);
            let half = body.chars().take(body.chars().count() / 2).collect();
            json_response(StatusCode::OK, half)
        }
        Some(CallAction::SlowAnswer(pause)) => {
            tokio::time::sleep(*pause).await;
            respond(outcome)
        }
        _ => respond(outcome),
    }
}

fn empty_error(status: u16) -> Response {
    StatusCode::from_u16(status)
        .unwrap_or(StatusCode::BAD_GATEWAY)
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_token_and_method() {
        assert_eq!(split("/bot12:ab/getMe"), Some(("12:ab", "getMe")));
        assert_eq!(split("/bot12:ab/"), None);
        assert_eq!(split("/12:ab/getMe"), None);
    }

    #[test]
    fn a_token_of_the_wrong_form_is_not_found() {
        assert_eq!(refused("12:ab").code, 401);
        assert_eq!(refused("12").code, 404);
        assert_eq!(refused("x:ab").code, 404);
    }
}
