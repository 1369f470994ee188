//! Real servers of a test's own, which it may kill.

use std::{path::Path, process::Command};

use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tempfile::TempDir;

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests through tests/run"))
}

/// A database of its own; gone with its server.
pub struct Database {
    pub url: String,
    pub pool: PgPool,
}

/// Makes a database with a random name on the given server.
pub async fn fresh_database_on(server: &str) -> Database {
    let name = format!("e2e_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(server)
        .await
        .expect("PostgreSQL answers");
    let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection
        .execute(sqlx::raw_sql(statement))
        .await
        .expect("create a database");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    let url = format!("{base}/{name}");
    let pool = PgPool::connect_lazy(&url).expect("a URL");
    Database { url, pool }
}

/// A server that only this test uses, in a folder of its own; killed when dropped.
pub struct PrivateServer {
    kind: &'static str,
    folder: TempDir,
    pub url: String,
}

impl PrivateServer {
    pub fn rabbitmq() -> Self {
        Self::start("rabbitmq", "TEST_AMQP_URL")
    }

    pub fn postgres() -> Self {
        Self::start("postgres", "TEST_POSTGRES_URL")
    }

    fn start(kind: &'static str, name: &str) -> Self {
        let folder = TempDir::new().expect("temporary folder");
        act("start", kind, folder.path());
        let environment = std::fs::read_to_string(folder.path().join("env")).expect("DIR/env");
        let url = environment
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .expect("the server's URL")
            .to_owned();
        Self { kind, folder, url }
    }

    /// Kills it with -9.
    pub fn kill(&self) {
        act("kill", self.kind, self.folder.path());
    }

    /// Starts it again with its data, on its port.
    pub fn start_again(&self) {
        act("start", self.kind, self.folder.path());
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        run("kill", self.kind, self.folder.path());
    }
}

fn run(verb: &str, kind: &str, folder: &Path) -> bool {
    Command::new(variable("TEST_SERVERS"))
        .args([verb, kind])
        .arg(folder)
        .status()
        .is_ok_and(|status| status.success())
}

fn act(verb: &str, kind: &str, folder: &Path) {
    assert!(
        run(verb, kind, folder),
        "tests/servers {verb} {kind} failed"
    );
}
