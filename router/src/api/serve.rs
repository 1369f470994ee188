//! The HTTP server under the API and under the operations routes: bounded connections, a deadline for headers, and a
//! stop that lets requests finish.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

/// Connections at once; further ones wait in the listener's queue.
const CONNECTION_LIMIT: usize = 4096;
/// How long a client may take to send the headers of a request; also how long an idle connection is kept.
const HEADER_DEADLINE: Duration = Duration::from_secs(30);
/// Buffer for the headers of a request, in bytes; larger headers are refused.
const HEADER_LIMIT: usize = 64 * 1024;
/// Pause after an error of accepting that concerns the whole process, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until `stop`, then lets requests in flight finish for at most `patience`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Duration,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let abandon = CancellationToken::new();
    while let Some((stream, permit)) = next_connection(&listener, &permits, &stop).await {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_DEADLINE)
            .max_buf_size(HEADER_LIMIT)
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(router.clone()),
            );
        let connection = graceful.watch(connection);
        let abandon = abandon.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::trace!(%error, "a connection ended with an error");
                    }
                }
                () = abandon.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    let open = graceful.count();
    if tokio::time::timeout(patience, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            open,
            "requests were still running at the deadline and were given up"
        );
    }
    abandon.cancel();
}

/// The next connection and its permit; `None` after `stop`.
async fn next_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are small and written whole.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::trace!(%error, "a connection cannot be set to send at once");
                    }
                    return Some((stream, permit));
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "connections cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = accept => accepted,
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
