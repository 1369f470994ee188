//! What the tests of the harness stand on.

use std::time::Duration;

use sqlx::{Connection, Executor};
use tempfile::TempDir;
use tributary_base::database::Database;

use crate::ConnectorStore;

/// How long anything in a test may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Which database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// An empty database.
pub(crate) async fn empty_database(kind: Kind, dir: &TempDir) -> Database {
    match kind {
        Kind::Sqlite => Database::sqlite(&dir.path().join("connectors.db")).await,
        Kind::Postgres => Database::postgres(&fresh_postgres().await, 5, PATIENCE).await,
    }
    .expect("a database opens")
}

/// A database with all tables.
pub(crate) async fn database(kind: Kind, dir: &TempDir) -> Database {
    let database = empty_database(kind, dir).await;
    let store = ConnectorStore::new(database.clone());
    store.migrate().await.expect("the schema fits");
    database
}

async fn fresh_postgres() -> String {
    let server = std::env::var("TEST_POSTGRES_URL")
        .expect("TEST_POSTGRES_URL is not set: run tests through tests/run");
    let name = format!("connectors_{}", uuid::Uuid::now_v7().simple());
    let mut connection = sqlx::PgConnection::connect(&server)
        .await
        .expect("PostgreSQL answers");
    let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection
        .execute(sqlx::raw_sql(statement))
        .await
        .expect("a new database");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{base}/{name}")
}
