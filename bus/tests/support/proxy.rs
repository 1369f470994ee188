//! A network between a process and its broker that can fail: cut (connections break) or frozen (nothing gets through).

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    /// New connections break as well.
    Cut,
    Frozen,
    /// What holds these bytes waits, and all behind it.
    Holding(&'static [u8]),
}

/// A proxy on a port of its own.
pub struct Proxy {
    pub address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    _stop: DropGuard,
}

impl Proxy {
    /// # Errors
    /// No port.
    pub async fn start(broker: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let weather = Arc::new(watch::Sender::new(Weather::Fine));
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, broker, Arc::clone(&weather), stop.clone()));
        Ok(Self {
            address,
            weather,
            _stop: stop.drop_guard(),
        })
    }

    /// Breaks every connection, and new ones until [`Proxy::mend`].
    pub fn cut(&self) {
        self.weather.send_replace(Weather::Cut);
    }

    /// Lets nothing through, and tells nobody.
    pub fn freeze(&self) {
        self.weather.send_replace(Weather::Frozen);
    }

    /// Holds back what contains these bytes, and all that comes behind it on the same connection.
    #[allow(dead_code, reason = "not every test needs it")]
    pub fn hold(&self, bytes: &'static [u8]) {
        self.weather.send_replace(Weather::Holding(bytes));
    }

    pub fn mend(&self) {
        self.weather.send_replace(Weather::Fine);
    }
}

async fn accept(
    listener: TcpListener,
    broker: String,
    weather: Arc<watch::Sender<Weather>>,
    stop: CancellationToken,
) {
    let serve = async {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(
                client,
                broker.clone(),
                weather.subscribe(),
                stop.clone(),
            ));
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = serve => {}
    }
}

async fn carry(
    client: TcpStream,
    broker: String,
    weather: watch::Receiver<Weather>,
    stop: CancellationToken,
) {
    let mut cut = weather.clone();
    let carried = async {
        let server = TcpStream::connect(broker).await?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            pump(from_client, to_server, weather.clone()),
            pump(from_server, to_client, weather.clone()),
        )
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = cut.wait_for(|now| *now == Weather::Cut) => {}
        _ = carried => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let passes = |now: &Weather| match now {
            Weather::Fine | Weather::Cut => true,
            Weather::Frozen => false,
            Weather::Holding(bytes) => !buffer[..length]
                .windows(bytes.len())
                .any(|window| window == *bytes),
        };
        drop(weather.wait_for(passes).await);
        to.write_all(&buffer[..length]).await?;
    }
}
