//! Accepts connections and bounds them: how many there are, and how long a client may take over its headers.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    places::Places,
    wire::{Held, Wire},
};
use crate::refusals::{Way, reason, refuse};

/// How long a client may take to send the head of a request, counted from the connection or the last response.
/// Longer than a provider's keep-alive pause between two webhooks costs it a new connection, nothing else.
const HEAD_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes that a request's head may have.
const HEAD_LIMIT: usize = 16 * 1024;

/// Bounds of a server.
pub(super) struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Of those, how many one address may hold.
    pub places: Places,
    /// Who stands for many.
    pub proxies: Vec<IpNet>,
    /// How long to wait for what is in flight after the stop.
    pub drain: Duration,
}

/// Who is at the other end of the TCP connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct TcpPeer(pub SocketAddr);

/// Accepts until `stop`, then waits for the connections and for `others`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    others: TaskTracker,
    stop: CancellationToken,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let address = peer.ip().to_canonical();
        let is_proxy = limits.proxies.iter().any(|net| net.contains(&address));
        let place = limits.places.take(address);
        if place.is_none() && !is_proxy {
            refuse("", Way::Http, reason::CONNECTIONS_OF_ADDRESS, "");
            continue;
        }
        let held = Held {
            _permit: permit,
            _place: place.filter(|_| !is_proxy),
        };
        let wire = Wire::new(stream, held, connections.clone());
        connections.spawn(connection(wire, peer, router.clone(), stop.clone()));
    }
    drop(listener);
    connections.close();
    others.close();
    let drained = async {
        connections.wait().await;
        others.wait().await;
    };
    if timeout(limits.drain, drained).await.is_err() {
        let open = connections.len() + others.len();
        warn!(open, "connections still open at the end of the drain");
    }
    Ok(())
}

/// The next connection. When all permits are in use new connections wait in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        permit
    } else {
        refuse("", Way::Http, reason::CONNECTIONS, "further ones wait");
        Arc::clone(permits).acquire_owned().await.ok()?
    };
    match listener.accept().await {
        Ok((stream, peer)) => {
            drop(stream.set_nodelay(true));
            Some((stream, peer, permit))
        }
        Err(error) => {
            // A connection that was reset before it was accepted, or no file handles left: neither ends the server.
            warn!(%error, "connection not accepted");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(wire: Wire, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(TcpPeer(peer));
        let service = TowerToHyperService::new(router.clone());
        async move { Ok::<Response, Infallible>(call(service, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_header_size(HEAD_LIMIT)
        .max_buf_size(2 * HEAD_LIMIT)
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection broke");
    }
}

async fn call(service: TowerToHyperService<Router>, request: Request<Incoming>) -> Response {
    match hyper::service::Service::call(&service, request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
