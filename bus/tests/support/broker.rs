//! A RabbitMQ of a test's own, through `tests/servers`.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// A private broker; it is killed with the value.
pub struct Broker {
    pub url: String,
    folder: TempDir,
}

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

impl Broker {
    /// Starts a broker; takes about ten seconds.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tributary-bus-")
            .tempdir()?;
        let mut broker = Self {
            url: String::new(),
            folder,
        };
        broker.servers("start").await?;
        let env = std::fs::read_to_string(broker.instance().join("env"))?;
        broker.url = env
            .lines()
            .find_map(|line| line.strip_prefix("TEST_AMQP_URL="))
            .ok_or("no URL in the env of the broker")?
            .to_owned();
        Ok(broker)
    }

    /// Kills it with -9 and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&self) -> Result<()> {
        self.servers("kill").await
    }

    /// Starts it again with the data it had.
    ///
    /// # Errors
    /// It does not start.
    pub async fn revive(&self) -> Result<()> {
        self.servers("start").await
    }

    /// Runs `rabbitmqctl`.
    ///
    /// # Errors
    /// It fails.
    pub async fn control(&self, arguments: &[&str]) -> Result<()> {
        let instance = std::fs::read_to_string(self.instance().join("instance"))?;
        let setting = |name: &str| {
            instance
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .ok_or_else(|| format!("no {name} in the instance of the broker"))
        };
        // The one in /usr/sbin changes the user.
        const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
        let mut command = match std::env::var_os("TEST_RABBITMQ_ROOT") {
            Some(root) => {
                let mut command = Command::new("chroot");
                command.arg(root).arg(CONTROL);
                command
            }
            None => Command::new(CONTROL),
        };
        command
            .env("HOME", self.instance().join("home"))
            .env("ERL_EPMD_PORT", setting("epmd_port")?)
            .env("RABBITMQ_NODENAME", setting("node")?)
            .env(
                "RABBITMQ_CONF_ENV_FILE",
                self.instance().join("rabbitmq-env.conf"),
            )
            .args(["--node", setting("node")?])
            .args(arguments);
        run(command).await
    }

    fn instance(&self) -> PathBuf {
        self.folder.path().join("rabbitmq")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(script());
        command.args([verb, "rabbitmq"]).arg(self.instance());
        command
    }

    async fn servers(&self, verb: &str) -> Result<()> {
        run(self.command(verb)).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nobody waits for the answer: the folder goes next.
        drop(self.command("kill").stdin(Stdio::null()).output());
    }
}

/// Three brokers that form a cluster; they are killed with the value.
#[allow(dead_code, reason = "for the tests of a cluster")]
pub struct Cluster {
    folder: TempDir,
    /// Of each node.
    pub urls: Vec<String>,
}

#[allow(dead_code, reason = "for the tests of a cluster")]
impl Cluster {
    /// Starts the three; takes about twenty seconds.
    ///
    /// # Errors
    /// They do not start.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tributary-cluster-")
            .tempdir()?;
        let mut cluster = Self {
            folder,
            urls: Vec::new(),
        };
        run(cluster.command("start", "rabbitmq-cluster", "")).await?;
        for node in 0..3 {
            let env = cluster
                .folder
                .path()
                .join(format!("rabbitmq/{}/env", node + 1));
            let env = std::fs::read_to_string(env)?;
            let url = env
                .lines()
                .find_map(|line| line.strip_prefix("TEST_AMQP_URL="))
                .ok_or("no URL in the env of a node")?;
            cluster.urls.push(url.to_owned());
        }
        Ok(cluster)
    }

    /// `start`, `stop`, `kill`, `freeze` or `thaw` one of the nodes 0 to 2.
    ///
    /// # Errors
    /// It fails.
    pub async fn node(&self, verb: &str, node: usize) -> Result<()> {
        run(self.command(verb, "rabbitmq", &format!("/{}", node + 1))).await
    }

    fn command(&self, verb: &str, kind: &str, below: &str) -> Command {
        let mut command = Command::new(script());
        let folder = self.folder.path().join("rabbitmq");
        command
            .args([verb, kind])
            .arg(format!("{}{below}", folder.display()));
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut sweep = Command::new(script());
        sweep.arg("sweep").arg(self.folder.path());
        // Nobody waits for the answer: the folder goes next.
        drop(sweep.stdin(Stdio::null()).output());
    }
}

/// `tests/servers`, or where `TEST_SERVERS` says.
fn script() -> PathBuf {
    std::env::var_os("TEST_SERVERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers"),
        PathBuf::from,
    )
}

async fn run(mut command: Command) -> Result<()> {
    command.stdin(Stdio::null());
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(move || command.output()).await??;
    if status.success() {
        return Ok(());
    }
    let text = [stdout, stderr].concat();
    Err(format!("{status}: {}", String::from_utf8_lossy(&text)).into())
}
