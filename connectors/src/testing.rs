//! What the tests of the harness stand on.

use std::time::Duration;

use sqlx::{Connection, Executor};
use tempfile::TempDir;
use tokio::time::timeout;
use tributary_base::database::Database;
use tributary_bus::{
    Bus, Claim, EmbeddedBus, Envelope, Group, Intake, Lane, LaneSpec, message::Inbound,
};

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

/// What the router would get, where there is one inbound lane.
pub(crate) struct Inbox {
    intake: Box<dyn Intake>,
    _claim: Box<dyn Claim>,
}

impl Inbox {
    /// Claims the lane.
    pub(crate) async fn open(bus: &EmbeddedBus) -> Self {
        let lane = Lane::Inbound(0);
        let spec = LaneSpec {
            lane: lane.clone(),
            filter: None,
        };
        bus.declare(&[spec]).await.expect("a lane");
        let member = bus.join(&Group::Router).await.expect("a member");
        let claim = member.claim(&lane).await.expect("a claim");
        let mut claim = claim.expect("nobody else claims it");
        Self {
            intake: claim.take(1000).await.expect("an intake"),
            _claim: claim,
        }
    }

    /// The next event, which must come.
    pub(crate) async fn event(&mut self) -> (Envelope, Inbound) {
        let next = timeout(PATIENCE, self.next()).await;
        next.expect("an event in time")
    }

    /// Waits for the next event.
    pub(crate) async fn next(&mut self) -> (Envelope, Inbound) {
        let taken = self.intake.next().await.expect("an open lane");
        self.intake.settle(&[taken.tag]).await.expect("settled");
        let envelope = taken.envelope.expect("an envelope");
        let event = Inbound::from_envelope(&envelope).expect("a known event");
        (envelope, event)
    }
}
