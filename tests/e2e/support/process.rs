//! The real program as child processes, each with its output kept.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Api, PATIENCE};

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct Spawn {
    /// The subcommand with its arguments.
    pub arguments: Vec<String>,
    /// Settings by environment, e.g. `TRIBUTARY_BUS__URL`.
    pub environment: BTreeMap<String, String>,
    /// A config file's content.
    pub config: String,
    /// What runs it: a program that replaces itself by it, with its arguments.
    pub under: Vec<String>,
}

impl Spawn {
    pub fn new(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            ..Self::default()
        }
    }

    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.under = wrapper.iter().map(|w| (*w).to_owned()).collect();
        self
    }

    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.environment.insert(key.to_owned(), value.to_string());
        self
    }

    /// Every listener on a port of the system's choosing.
    pub fn free_ports(self) -> Self {
        self.set("TRIBUTARY_INGRESS__LISTEN", "127.0.0.1:0")
            .set("TRIBUTARY_API__LISTEN", "127.0.0.1:0")
            .set("TRIBUTARY_OPERATIONS__LISTEN", "127.0.0.1:0")
    }

    fn command(&self, folder: &Path) -> Command {
        let config = folder.join("tributary.toml");
        std::fs::write(&config, &self.config).expect("write the config");
        let program = env!("CARGO_BIN_EXE_tributary").to_owned();
        let mut line = self.under.iter().cloned().chain([program]);
        let mut command = Command::new(line.next().expect("never empty"));
        command
            .args(line)
            .arg("--config")
            .arg(config)
            .args(&self.arguments)
            .current_dir(folder)
            .env_remove("TRIBUTARY_CONFIG")
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end: exit status, stdout, stderr.
    pub fn output(&self, folder: &Path) -> (ExitStatus, String, String) {
        let output = self.command(folder).output().expect("run tributary");
        (
            output.status,
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Starts it in a folder; returns at once.
    pub fn start(&self, folder: &Path) -> Program {
        let mut child = self.command(folder).spawn().expect("start tributary");
        let lines = Arc::new(Mutex::new(Vec::new()));
        keep(
            child.stdout.take().expect("piped"),
            Arc::clone(&lines),
            "out",
        );
        keep(
            child.stderr.take().expect("piped"),
            Arc::clone(&lines),
            "err",
        );
        Program {
            child,
            lines,
            name: self.arguments.join(" "),
        }
    }
}

fn keep(pipe: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>, stream: &'static str) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines
                .lock()
                .expect("no panic while locked")
                .push(format!("{stream} {line}"));
        }
    });
}

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    name: String,
}

impl Program {
    /// All output so far, one line each, after `out ` or `err `.
    pub fn output(&self) -> Vec<String> {
        self.lines.lock().expect("no panic while locked").clone()
    }

    /// What follows `prefix` on the first line of stdout that contains it, waited for.
    pub async fn printed(&self, prefix: &str) -> String {
        super::eventually(
            &format!("{}: no {prefix:?} in {:#?}", self.name, self.output()),
            || async {
                self.output().iter().find_map(|line| {
                    let line = line.strip_prefix("out ")?;
                    line.find(prefix)
                        .map(|at| line[at + prefix.len()..].trim().to_owned())
                })
            },
        )
        .await
    }

    /// Whether some line of the log (stderr) contains the text.
    pub fn logged(&self, text: &str) -> bool {
        self.output()
            .iter()
            .any(|line| line.starts_with("err ") && line.contains(text))
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// SIGTERM, and the exit status.
    pub async fn terminate(&mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill");
        assert!(sent.success(), "{} was gone already", self.name);
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{} does not stop: {:#?}",
                self.name,
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- output of {}", self.name);
            let lines = self.output();
            for line in lines.iter().skip(lines.len().saturating_sub(25)) {
                eprintln!("{line}");
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `tributary up` with its defaults, in a folder of its own, on ports that stay the same over restarts.
pub struct Demo {
    pub program: Program,
    pub folder: PathBuf,
    pub api: Api,
    /// `http://127.0.0.1:<port>` of the ingress.
    pub ingress: String,
    pub operations: String,
    spawn: Spawn,
    _kept: TempDir,
}

impl Demo {
    /// Starts with additional settings.
    pub async fn start(spawn: Spawn) -> Self {
        let kept = TempDir::new().expect("temporary folder");
        let folder = kept.path().to_owned();
        let spawn = Spawn {
            arguments: vec!["up".to_owned()],
            ..spawn
        }
        .set(
            "TRIBUTARY_INGRESS__LISTEN",
            format!("127.0.0.1:{}", free_port()),
        )
        .set(
            "TRIBUTARY_API__LISTEN",
            format!("127.0.0.1:{}", free_port()),
        )
        .set(
            "TRIBUTARY_OPERATIONS__LISTEN",
            format!("127.0.0.1:{}", free_port()),
        );
        let program = spawn.start(&folder);
        let key = program.printed("API key     ").await;
        let key = key.split_whitespace().next().expect("a key").to_owned();
        let api = program.printed("API         ").await;
        let api = Api::new(api.trim_end_matches("/docs"), &key);
        let ingress = program.printed("Ingress     ").await;
        let metrics = program.printed("Metrics     ").await;
        let operations = metrics
            .split("/metrics")
            .next()
            .expect("an address")
            .to_owned();
        Self {
            program,
            folder,
            api,
            ingress,
            operations,
            spawn,
            _kept: kept,
        }
    }

    /// The demo page's address.
    pub fn page(&self) -> String {
        format!("{}/channels/demo/demo", self.ingress)
    }

    /// The settings it runs with, for commands on the same data.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.spawn.environment.clone()
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.spawn
            .environment
            .insert(key.to_owned(), value.to_string());
    }

    /// The only conversation, waited for.
    pub async fn conversation(&self) -> String {
        super::eventually("a conversation", || async {
            let list = self.api.list("/v1/conversations").await;
            assert!(list.len() < 2, "{list:?}");
            Some(list.first()?["id"].as_str()?.to_owned())
        })
        .await
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts again in the same folder, on the same ports, with the same key.
    pub async fn restart(&mut self) {
        self.program = self.spawn.start(&self.folder);
        self.program.printed("Ctrl-C stops").await;
    }
}

/// A port that is free now, and stays so while nobody asks: each test runs in a process of its own and looks in a range of
/// its own, below the ports that the system gives to clients.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = 10_000 + (std::process::id() % 400) as u16 * 20;
    loop {
        let port = range + NEXT.fetch_add(1, Ordering::Relaxed) % 20;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
