//! The ingress: one HTTP server per connector process, for provider webhooks, visitors, media and the channels'
//! files.
//!
//! The path names the account. A reply goes out only after the bus confirmed what the request brought.

mod assets;
mod listen;
mod media;
mod peer;
mod places;
mod routes;
mod socket;
mod wire;

use std::{io, sync::Arc};

use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tributary_config::Settings;

use self::places::Places;
use crate::Accounts;

/// What every request handler needs.
struct Shared {
    accounts: Arc<Accounts>,
    settings: Arc<Settings>,
    stop: CancellationToken,
    /// Visitors' sockets.
    sockets: TaskTracker,
    /// Connections of one address, also of one behind a proxy.
    places: Places,
    /// Visitors' uploads, of all and of one address.
    uploads: Semaphore,
    upload_places: Places,
}

/// Serves until `stop`; then takes no new connection, lets requests in flight finish, closes sockets with 1012, and
/// returns at the latest after `shutdown.deadline`.
///
/// # Errors
/// The listener broke.
pub async fn serve_ingress(
    listener: TcpListener,
    accounts: Arc<Accounts>,
    settings: Arc<Settings>,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Places::new(settings.ingress.max_connections_per_address);
    let limits = listen::Limits {
        connections: settings.ingress.max_connections,
        places: places.clone(),
        proxies: settings.ingress.trusted_proxies.clone(),
        drain: settings.shutdown.deadline,
    };
    let shared = Arc::new(Shared {
        accounts,
        settings,
        stop: stop.clone(),
        sockets: TaskTracker::new(),
        places,
        uploads: Semaphore::new(media::UPLOADS_LIMIT),
        upload_places: Places::new(media::UPLOADS_OF_ADDRESS),
    });
    let sockets = shared.sockets.clone();
    listen::serve(listener, routes::router(shared), limits, sockets, stop).await
}
