//! Downloads: `GET /file/bot<token>/<file_path>`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, stream};
use percent_encoding::percent_decode_str;

use super::Simulation;
use super::account::Bot;
use super::answer::{ApiError, html_error, respond};
use super::files::Stored;
use super::misbehave::DownloadAction;
use crate::serve::Line;

/// Serves `<token>/<file_path>`.
pub(super) async fn serve(simulation: &Simulation, path: &str, line: &Line) -> Response {
    let Some((token, path)) = path.split_once('/') else {
        return respond(&Err(ApiError::new(404, "Not Found")));
    };
    let Some(bot) = simulation.bot(token).filter(|bot| !bot.is_revoked()) else {
        return respond(&Err(ApiError::new(401, "Unauthorized")));
    };
    let path = percent_decode_str(path).decode_utf8_lossy();
    let found = bot.with(|account| account.files.at(&path).map(Arc::clone));
    let Some(file) = found else {
        return respond(&Err(ApiError::new(404, "Not Found")));
    };
    let action = simulation
        .shared
        .downloads
        .next(|kind| kind.is_none_or(|kind| kind == file.kind));
    if action.is_some() {
        bot.shared
            .record(|records| records.counters.misbehaved += 1);
    }
    answer(&bot, &file, action, line).await
}

async fn answer(
    bot: &Arc<Bot>,
    file: &Stored,
    action: Option<DownloadAction>,
    line: &Line,
) -> Response {
    let bytes = file.bytes.clone();
    let length = bytes.len();
    let body = match action {
        None => pieces(
            bytes,
            usize::MAX,
            Duration::ZERO,
            End::Done(Arc::clone(bot)),
        ),
        Some(DownloadAction::SlowStart(pause)) => {
            tokio::time::sleep(pause).await;
            pieces(
                bytes,
                usize::MAX,
                Duration::ZERO,
                End::Done(Arc::clone(bot)),
            )
        }
        Some(DownloadAction::Trickle { piece, pause }) => {
            pieces(bytes, piece.max(1), pause, End::Done(Arc::clone(bot)))
        }
        Some(DownloadAction::CutAfter(count)) => {
            let some = bytes.slice(..count.min(length));
            pieces(some, usize::MAX, Duration::ZERO, End::Cut(line.clone()))
        }
        Some(DownloadAction::Endless { extra }) => {
            let whole = pieces(bytes, usize::MAX, Duration::ZERO, End::Open);
            let more = pieces(
                Bytes::from(vec![0; extra.min(1 << 30)]),
                1 << 16,
                Duration::ZERO,
                End::Done(Arc::clone(bot)),
            );
            return response(
                Body::from_stream(stream::StreamExt::chain(whole, more)),
                None,
            );
        }
        Some(DownloadAction::Fail { status }) => return html_error(status),
    };
    response(Body::from_stream(body), Some(length))
}

fn response(body: Body, length: Option<usize>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    let mut response = (StatusCode::OK, kind, body).into_response();
    if let Some(length) = length {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

/// What happens with the last byte.
enum End {
    /// The download is counted: a client with the whole length may ask for nothing more.
    Done(Arc<Bot>),
    /// More follows.
    Open,
    /// The connection is cut.
    Cut(Line),
}

fn pieces(
    bytes: Bytes,
    piece: usize,
    pause: Duration,
    end: End,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::unfold((bytes, end), move |(mut left, end)| async move {
        if left.is_empty() {
            let End::Cut(line) = end else { return None };
            // What was written before must leave first.
            tokio::time::sleep(Duration::from_millis(20)).await;
            line.cut();
            return None;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let next = left.split_to(piece.min(left.len()));
        if let End::Done(bot) = &end
            && left.is_empty()
        {
            bot.shared.record(|records| records.counters.downloads += 1);
        }
        Some((Ok(next), (left, end)))
    })
}
