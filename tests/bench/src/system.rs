//! The system under measurement: the real program on servers or embedded, with a provider and an endpoint at its ends.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle};
use tributary_simulators::telegram::{Options, Records, TelegramSimulator};

use crate::endpoint::Endpoint;

/// What carries the messages.
pub enum Backing {
    Servers { amqp: String, postgres: String },
    Embedded,
}

impl Backing {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Servers { .. } => "RabbitMQ + PostgreSQL (one process per role)",
            Self::Embedded => "the embedded bus and store (one process)",
        }
    }
}

/// Where messages begin and end.
pub struct Ends {
    pub endpoint: Endpoint,
    /// The thread of both ends: what they say to each other wakes no other, which would cost the cores under test.
    pub thread: Handle,
}

impl Ends {
    pub async fn start() -> Result<Self> {
        let thread = thread()?;
        let endpoint = thread.spawn(Endpoint::start()).await??;
        Ok(Self { endpoint, thread })
    }
}

/// Everything that runs during a measurement.
pub struct System {
    pub ends: Ends,
    /// Where Telegram would post, and the secret it would send.
    pub webhook: (String, String),
    operations: Vec<String>,
    /// The processes by their roles.
    children: Vec<(&'static str, Child)>,
    telegram: TelegramSimulator,
    _folder: TempDir,
}

impl System {
    /// Starts the program on the backing and points simulators at it.
    pub async fn start(program: &Path, backing: &Backing) -> Result<Self> {
        let telegram = TelegramSimulator::start(Options::quick()).await?;
        let ends = Ends::start().await?;
        let folder = TempDir::new()?;
        let (ingress, api) = (free_address()?, free_address()?);
        let environment = environment(backing, &telegram, &ingress, &api);
        let command = |arguments: &str| {
            let mut command = Command::new(program);
            command
                .args(arguments.split(' '))
                .current_dir(folder.path())
                .envs(environment.clone());
            command.stdin(Stdio::null());
            command
        };
        let roles: &[&str] = match backing {
            Backing::Embedded => &["up"],
            Backing::Servers { .. } => {
                anyhow::ensure!(
                    command("migrate").output()?.status.success(),
                    "migrate failed"
                );
                &[
                    "run router",
                    "run connector telegram",
                    "run webhooks",
                    "run api",
                ]
            }
        };
        let mut children = Vec::new();
        let mut operations = Vec::new();
        for role in roles {
            let mut child = command(role).stdout(Stdio::piped()).spawn()?;
            let lines = lines(&mut child);
            children.push((*role, child));
            operations.push(wait_for(
                &lines,
                if *role == "up" {
                    "Metrics"
                } else {
                    "operations"
                },
            )?);
            wait_for(&lines, "stops")?;
        }
        let key = command("key create --organization demo --name bench").output()?;
        anyhow::ensure!(
            key.status.success(),
            "{}",
            String::from_utf8_lossy(&key.stderr)
        );
        let mut system = Self {
            ends,
            webhook: Default::default(),
            operations,
            children,
            telegram,
            _folder: folder,
        };
        system
            .subscribe(&api, String::from_utf8(key.stdout)?.trim())
            .await?;
        Ok(system)
    }

    /// Makes the endpoint known, and learns where Telegram would post.
    async fn subscribe(&mut self, api: &str, key: &str) -> Result<()> {
        let made: serde_json::Value = reqwest::Client::new()
            .post(format!("http://{api}/v1/endpoints"))
            .bearer_auth(key)
            .json(&json!({"url": self.ends.endpoint.url(), "events": ["message.created"]}))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        self.ends
            .endpoint
            .set_secret(made["secret"].as_str().context("no secret")?)?;
        let webhook_is_set =
            |records: &Records| records.calls.iter().any(|call| call.method == "setWebhook");
        self.telegram
            .wait_until(Duration::from_secs(30), webhook_is_set)
            .await?;
        let call = self
            .telegram
            .calls_of("setWebhook")
            .pop()
            .context("no webhook was set")?;
        let get = |name: &str| call.parameters.get(name).unwrap_or_default().to_owned();
        self.webhook = (get("url"), get("secret_token"));
        Ok(())
    }

    /// The processes that take part, by name and id.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        let children = self.children.iter();
        children.map(|(role, child)| (*role, child.id())).collect()
    }

    /// Where time went, by the processes' own histograms.
    pub async fn metrics(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for address in &self.operations {
            let text = reqwest::get(format!("{address}/metrics"))
                .await?
                .text()
                .await?;
            for line in text.lines().filter(|line| line.contains("_seconds_sum")) {
                let Some((name, sum)) = line.rsplit_once(' ') else {
                    continue;
                };
                let counter = name.replacen("_sum", "_count", 1);
                let count = text
                    .lines()
                    .find_map(|line| line.strip_prefix(&counter)?.trim().parse::<f64>().ok());
                if let (Ok(sum), Some(count)) = (sum.parse::<f64>(), count)
                    && count > 0.0
                {
                    found.push(format!(
                        "{:<72} {:>9.0} times, {:>8.2} ms each",
                        name.replacen("_sum", "", 1),
                        count,
                        sum / count * 1e3
                    ));
                }
            }
        }
        Ok(found)
    }

    pub async fn stop(mut self) {
        for (_, child) in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
        self.telegram.stop().await;
    }
}

impl Drop for System {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A thread with a runtime of its own, until the program ends.
fn thread() -> Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

/// An address of this machine that nobody listens on right now: the program must be told one that it can print in URLs.
fn free_address() -> Result<String> {
    let probe = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(probe.local_addr()?.to_string())
}

fn environment(
    backing: &Backing,
    telegram: &TelegramSimulator,
    ingress: &str,
    api: &str,
) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        (
            "TRIBUTARY_CHANNELS__TELEGRAM__TOKEN",
            telegram.token().to_owned(),
        ),
        ("TRIBUTARY_CHANNELS__TELEGRAM__API_URL", telegram.base_url()),
        ("TRIBUTARY_INGRESS__PUBLIC_URL", format!("http://{ingress}")),
        ("TRIBUTARY_INGRESS__LISTEN", ingress.to_owned()),
        ("TRIBUTARY_API__LISTEN", api.to_owned()),
        ("TRIBUTARY_OPERATIONS__LISTEN", "127.0.0.1:0".to_owned()),
        (
            "TRIBUTARY_WEBHOOKS__ALLOW_INTERNAL",
            "[\"127.0.0.0/8\"]".to_owned(),
        ),
        ("TRIBUTARY_LOG__FILTER", "warn".to_owned()),
    ];
    if let Backing::Servers { amqp, postgres } = backing {
        environment.push(("TRIBUTARY_BUS__URL", amqp.clone()));
        environment.push(("TRIBUTARY_STORE__URL", postgres.clone()));
    }
    environment
}

/// The lines of a child's stdout, read to the end so that it never blocks.
fn lines(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
    }
    receiver
}

/// The address on the first line that contains the word.
fn wait_for(lines: &mpsc::Receiver<String>, word: &str) -> Result<String> {
    loop {
        let line = lines
            .recv_timeout(Duration::from_secs(60))
            .with_context(|| format!("tributary did not print {word:?}"))?;
        if line.contains(word) {
            let address = line
                .split_whitespace()
                .find(|part| part.starts_with("http://"));
            return Ok(address
                .unwrap_or_default()
                .trim_end_matches("/metrics")
                .to_owned());
        }
    }
}
