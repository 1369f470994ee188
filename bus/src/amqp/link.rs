//! One connection to the broker, from its handshake to its end. It is never repaired: what lived on it (locks,
//! consumers, unconfirmed publications) is gone with it, and must not be mistaken for something of the next one.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, ErrorKind, Event,
    protocol::{AMQPErrorKind, AMQPSoftError},
    tcp::TLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tributary_config::Secret;
use url::{Host, Url};

use super::board::Side;
use crate::{BusError, Lane};

/// How long a graceful close may take before the socket is shut.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Where the broker is and how to talk to it.
pub(super) struct Dial {
    /// Its nodes. They hold the password; never printed.
    pub(super) urls: Vec<Secret>,
    pub(super) heartbeat: Duration,
    pub(super) connect_deadline: Duration,
    /// For one request to the broker.
    pub(super) request_deadline: Duration,
}

impl Dial {
    /// How many addresses there are to try.
    pub(super) fn len(&self) -> usize {
        self.urls.len().max(1)
    }

    /// One of the addresses, counted round and round.
    fn uri(&self, turn: usize) -> Result<AMQPUri, String> {
        let text = match self.urls.get(turn % self.len()) {
            Some(url) => url.expose(),
            None => return Err("bus.url is empty".to_owned()),
        };
        let mut uri: AMQPUri = text
            .parse()
            .map_err(|reason| format!("bus.url is not an AMQP URL: {reason}"))?;
        // The parser of lapin takes an IPv6 address for a missing host, which would mean localhost.
        if let Ok(Some(Host::Ipv6(address))) = Url::parse(text).map(|url| url.host().map(to_owned))
        {
            uri.authority.host = address.to_string();
        }
        let seconds = self.heartbeat.as_secs().max(1);
        uri.query.heartbeat = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
        Ok(uri)
    }
}

fn to_owned(host: Host<&str>) -> Host<String> {
    host.to_owned()
}

/// A connection that was established.
pub(super) struct Link {
    connection: Connection,
    socket: Arc<Socket>,
    ended: CancellationToken,
    reason: OnceLock<String>,
    request_deadline: Duration,
    term: Duration,
    /// Lanes owned through this connection, with the number of messages held of each. The broker keeps other connections
    /// out, this keeps out our own.
    owned: Mutex<HashMap<Lane, Arc<AtomicUsize>>>,
}

impl Link {
    /// Connects to the address whose turn it is, with the events of the connection.
    pub(super) async fn open(
        dial: &Dial,
        turn: usize,
        side: Side,
    ) -> Result<(Arc<Self>, BoxStream<'static, Event>), String> {
        let uri = dial.uri(turn)?;
        let name = format!("tributary {} {}", std::process::id(), side.as_str());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let socket = Arc::new(Socket::default());
        let handshake = connect(uri, properties, Arc::clone(&socket), dial.connect_deadline);
        let connection = match timeout(dial.connect_deadline, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => {
                // Without this the thread of lapin waits for the rest of the handshake for ever.
                socket.shut();
                return Err(format!(
                    "the broker did not answer within {:?}",
                    dial.connect_deadline
                ));
            }
        };
        let events = connection.events_listener().boxed();
        let heartbeat = Duration::from_secs(connection.configuration().heartbeat().into());
        let link = Self {
            connection,
            socket,
            ended: CancellationToken::new(),
            reason: OnceLock::new(),
            request_deadline: dial.request_deadline,
            // The broker gives a lock away when it has heard nothing for two heartbeats, not before.
            term: heartbeat * 2,
            owned: Mutex::default(),
        };
        Ok((Arc::new(link), events))
    }

    /// An AMQP channel of its own for the caller. A failed declaration closes its AMQP channel, so those that may fail use
    /// one to throw away; dropping it closes it.
    pub(super) async fn channel(&self) -> Result<Channel, BusError> {
        self.ask(self.connection.create_channel()).await
    }

    /// Waits for an answer of the broker, no longer than the deadline and the connection last.
    pub(super) async fn ask<T>(
        &self,
        request: impl Future<Output = lapin::Result<T>> + Send,
    ) -> Result<T, BusError> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(BusError::Away(self.reason())),
            answer = timeout(self.request_deadline, request) => match answer {
                Ok(answer) => answer.map_err(|error| explain(&error)),
                Err(_) => Err(BusError::Deadline(self.request_deadline)),
            },
        }
    }

    /// Twice the negotiated heartbeat.
    pub(super) fn term(&self) -> Duration {
        self.term
    }

    /// Ends the connection as far as this process is concerned; the first reason stays.
    pub(super) fn end(&self, reason: impl Into<String>) {
        self.reason.get_or_init(|| reason.into());
        self.ended.cancel();
    }

    /// Waits for the end.
    pub(super) fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.ended.cancelled()
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Why it ended.
    pub(super) fn reason(&self) -> String {
        self.reason
            .get()
            .map_or("the connection ended", String::as_str)
            .to_owned()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Says goodbye where the broker still listens, then shuts the socket: nothing is sent any more when this returns.
    pub(super) async fn close(&self) {
        self.end("the connection was closed");
        if self.is_connected() && !self.is_blocked() {
            let goodbye = self.connection.close(200, "OK".into());
            // Whatever it answers, the socket is shut next.
            drop(timeout(CLOSE_DEADLINE, goodbye).await);
        }
        self.socket.shut();
    }

    /// Notes that a lane is owned here, and answers where to count what is held of it; `None` when it was already.
    pub(super) fn own(&self, lane: &Lane) -> Option<Arc<AtomicUsize>> {
        match self.owned().entry(lane.clone()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => Some(Arc::clone(place.insert(Arc::default()))),
        }
    }

    /// How many messages of a lane are held here, if it is owned here.
    pub(super) fn held(&self, lane: &Lane) -> Option<usize> {
        let owned = self.owned();
        owned.get(lane).map(|held| held.load(Ordering::Relaxed))
    }

    pub(super) fn disown(&self, lane: &Lane) {
        self.owned().remove(lane);
    }

    fn owned(&self) -> MutexGuard<'_, HashMap<Lane, Arc<AtomicUsize>>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    socket: Arc<Socket>,
    deadline: Duration,
) -> lapin::Result<Connection> {
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let host = uri.authority.host.as_str();
            let found = tokio::net::lookup_host((host, uri.authority.port)).await?;
            let addresses: Vec<SocketAddr> = found.collect();
            // On a thread of lapin's, where nobody else watches the time.
            let stream = timeout(deadline, AsyncTcpStream::connect(&runtime, addresses))
                .await
                .map_err(std::io::Error::from)??;
            if let AsyncTcpStream::Plain(plain) = &stream {
                plain.get_ref().set_nodelay(true)?;
                socket.keep(plain.get_ref())?;
            }
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => Ok(stream.into_tls(host, TLSConfig::default()).await?),
            }
        },
        properties,
    )
    .await
}

/// A second handle on the socket below lapin, to end what lapin would wait for: a handshake without answer, frames that a
/// blocked broker does not read.
#[derive(Default)]
struct Socket(Mutex<Option<TcpStream>>);

impl Socket {
    #[cfg(unix)]
    fn keep(&self, stream: &impl std::os::fd::AsFd) -> std::io::Result<()> {
        let handle = stream.as_fd().try_clone_to_owned()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.into());
        Ok(())
    }

    #[cfg(windows)]
    fn keep(&self, stream: &impl std::os::windows::io::AsSocket) -> std::io::Result<()> {
        let handle = stream.as_socket().try_clone_to_owned()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.into());
        Ok(())
    }

    fn shut(&self) {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(socket) = socket {
            // An error means that it is shut already.
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

/// 404 NOT_FOUND is an answer and no error: what was asked for is not there.
pub(super) async fn if_there<T>(
    request: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<Option<T>> {
    unless(AMQPSoftError::NOTFOUND, request).await
}

/// 405 RESOURCE_LOCKED is an answer and no error: another connection has it.
pub(super) async fn if_free<T>(
    request: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<Option<T>> {
    unless(AMQPSoftError::RESOURCELOCKED, request).await
}

async fn unless<T>(
    refusal: AMQPSoftError,
    request: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<Option<T>> {
    match request.await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(reply) if *reply.kind() == AMQPErrorKind::Soft(refusal) => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

/// What an error of lapin means: a refusal closes one AMQP channel, everything else is a matter of the connection.
pub(super) fn explain(error: &lapin::Error) -> BusError {
    if error.is_amqp_soft_error() {
        BusError::Refused(error.to_string())
    } else {
        BusError::Away(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(url: &str) -> Dial {
        Dial {
            urls: url.split_whitespace().map(Secret::new).collect(),
            heartbeat: Duration::from_millis(500),
            connect_deadline: Duration::from_secs(1),
            request_deadline: Duration::from_secs(1),
        }
    }

    #[test]
    fn hosts_and_heartbeats_are_read() {
        let uri = dial("amqp://u:p@[::1]:5673/%2f").uri(0).expect("a URL");
        assert_eq!(uri.authority.host, "::1");
        assert_eq!(uri.authority.port, 5673);
        assert_eq!(uri.query.heartbeat, Some(1), "AMQP counts in seconds");
        let uri = dial("amqp://rabbit.example.org").uri(0).expect("a URL");
        assert_eq!(uri.authority.host, "rabbit.example.org");
    }

    #[test]
    fn addresses_have_their_turns() {
        let dial = dial("amqp://a amqp://b amqp://c");
        let host = |turn| dial.uri(turn).expect("a URL").authority.host;
        let hosts: Vec<String> = (1..6).map(host).collect();
        assert_eq!(hosts, ["b", "c", "a", "b", "c"]);
    }

    #[test]
    fn a_wrong_url_is_named_without_its_password() {
        let reason = dial("http://user:hunter2@host")
            .uri(0)
            .expect_err("not AMQP");
        assert!(reason.contains("bus.url"), "{reason}");
        assert!(!reason.contains("hunter2"), "{reason}");
    }
}
