//! The two buses behind one face.

use std::{any::Any, error::Error, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::sync::Mutex;
use tributary_bus::{AmqpBus, Bus, BusState, EmbeddedBus};
use tributary_config::Secret;

use super::{eventually, proxy::Proxy, soon};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where a case takes place: a bus of its own, empty at first.
pub enum World {
    Embedded {
        folder: TempDir,
        /// One process at a time has the file.
        bus: Mutex<Option<Arc<dyn Bus>>>,
    },
    Amqp {
        url: String,
        prefix: String,
    },
}

/// A process on the bus.
pub struct Process {
    pub bus: Arc<dyn Bus>,
    /// Its network to the broker.
    pub network: Option<Proxy>,
}

impl World {
    /// # Errors
    /// No folder.
    pub async fn embedded() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bus = Mutex::new(None);
        Ok(Self::Embedded { folder, bus })
    }

    /// On the shared broker of `TEST_AMQP_URL`.
    ///
    /// # Errors
    /// The variable is not set.
    pub async fn amqp() -> Result<Self> {
        let url = std::env::var("TEST_AMQP_URL").map_err(
            |_| "TEST_AMQP_URL is not set: run tests/run, or tests/servers start rabbitmq DIR",
        )?;
        Ok(Self::amqp_at(url))
    }

    /// On a broker of the case's own.
    pub fn amqp_at(url: String) -> Self {
        let prefix = format!("test-{}.", uuid::Uuid::new_v4().simple());
        Self::Amqp { url, prefix }
    }

    /// A process: on RabbitMQ each is another, on a file all are the same.
    ///
    /// # Errors
    /// The bus cannot be opened.
    pub async fn process(&self) -> Result<Process> {
        match self {
            Self::Embedded { folder, bus } => {
                let mut bus = bus.lock().await;
                if bus.is_none() {
                    let path = folder.path().join("bus.sqlite");
                    // The lock of a process that died may take a moment to go.
                    let opened = eventually("the file is free", async || {
                        EmbeddedBus::open(&path).await.ok()
                    });
                    *bus = Some(opened.await);
                }
                let bus = bus.clone().ok_or("opened above")?;
                Ok(Process { bus, network: None })
            }
            Self::Amqp { url, prefix } => {
                let (network, near) = near(url).await?;
                let bus = AmqpBus::connect_with_prefix(&settings(&near), prefix);
                ready(&*bus).await;
                Ok(Process {
                    bus,
                    network: Some(network),
                })
            }
        }
    }

    /// The process dies without a word, with all it held; answers the next one.
    ///
    /// # Errors
    /// The bus cannot be opened again.
    pub async fn crash(&self, process: Process, held: impl Any + Send) -> Result<Process> {
        if let Some(network) = &process.network {
            network.cut();
        }
        if let Self::Embedded { bus, .. } = self {
            bus.lock().await.take();
        }
        drop(held);
        drop(process);
        self.process().await
    }
}

/// A network to a broker, and the URL through it.
///
/// # Errors
/// No URL, no port.
pub async fn near(url: &str) -> Result<(Proxy, String)> {
    let mut near = url::Url::parse(url)?;
    let host = near.host_str().ok_or("a host")?;
    let broker = format!("{host}:{}", near.port().unwrap_or(5672));
    let network = Proxy::start(broker).await?;
    near.set_port(Some(network.address.port()))
        .map_err(|()| "a port")?;
    Ok((network, near.to_string()))
}

/// Waits until a bus can be used.
pub async fn ready(bus: &dyn Bus) {
    let mut state = bus.state();
    let ready = state.wait_for(|state| *state == BusState::Ready);
    soon("the bus is ready", ready).await.expect("a state");
}

/// Settings with short deadlines.
pub fn settings(url: &str) -> tributary_config::Bus {
    tributary_config::Bus {
        url: Secret::new(url),
        heartbeat: Duration::from_secs(4),
        publish_deadline: Duration::from_secs(5),
        connect_deadline: Duration::from_secs(10),
        publish_window: 1000,
        inbound_lanes: 4,
    }
}
