//! The connectors' own tables: ledger, channel log, media to fetch, and what single channels keep. On PostgreSQL they
//! may share a database with the router, whose tables they never read; a migration table of their own keeps the two apart.

use std::time::Duration;

use tributary_base::{
    database::{Database, DatabaseError, Migrations},
    fleet::FleetTable,
    media::MediaService,
};
use tributary_config::Settings;

/// The name of the table in which sqlx notes the migrations of the connectors.
const MIGRATIONS_TABLE: &str = "connectors_migrations";
const FLEET: FleetTable = FleetTable::new("connectors_fleet");

/// The schema, for both databases.
pub fn migrations() -> Migrations {
    let mut migrations = Migrations {
        postgres: sqlx::migrate!("migrations/postgres"),
        sqlite: sqlx::migrate!("migrations/sqlite"),
    };
    migrations
        .postgres
        .dangerous_set_table_name(MIGRATIONS_TABLE);
    migrations.sqlite.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrations
}

/// The connectors' database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConnectorStore {
    database: Database,
    media: Option<MediaService>,
}

impl ConnectorStore {
    /// Opens `data.dir/connectors.db`, or the PostgreSQL database that `store.connectors_url` (else `store.url`) names.
    ///
    /// # Errors
    /// The folder cannot be created, or the database cannot be reached.
    pub async fn open(settings: &Settings) -> Result<Self, DatabaseError> {
        let store = &settings.store;
        let url = if store.connectors_url.is_empty() {
            &store.url
        } else {
            &store.connectors_url
        };
        let database = if url.expose() == "embedded" {
            tokio::fs::create_dir_all(&settings.data.dir)
                .await
                .map_err(sqlx::Error::Io)?;
            Database::sqlite(&settings.data.dir.join("connectors.db")).await?
        } else {
            let deadline: Duration = store.statement_deadline;
            Database::postgres(url.expose(), store.max_connections, deadline).await?
        };
        Ok(Self::new(database))
    }

    /// A store on a database that is open already.
    pub fn new(database: Database) -> Self {
        Self {
            database,
            media: None,
        }
    }

    /// The same store, with a place for media beside it.
    #[must_use]
    pub fn with_media(self, media: Option<MediaService>) -> Self {
        Self { media, ..self }
    }

    /// Where media is kept; `None`: nowhere.
    pub fn media(&self) -> Option<&MediaService> {
        self.media.as_ref()
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// A migration failed, or the database belongs to a newer version.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        self.database.migrate(&migrations()).await
    }

    /// How many migrations this store still lacks.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn pending(&self) -> Result<usize, DatabaseError> {
        self.database.pending(&migrations()).await
    }

    /// Whether the store can be read and written right now. Writes one small row.
    ///
    /// # Errors
    /// It cannot.
    pub async fn probe(&self) -> Result<(), DatabaseError> {
        FLEET.probe(&self.database).await
    }

    /// The number of inbound lanes that the fleet works with; `None` before `tributary migrate` wrote it.
    ///
    /// # Errors
    /// The database.
    pub async fn inbound_lanes(&self) -> Result<Option<u16>, DatabaseError> {
        FLEET.inbound_lanes(&self.database).await
    }

    /// Writes the number of inbound lanes if none is kept yet; returns what is kept.
    ///
    /// # Errors
    /// The database.
    pub async fn keep_inbound_lanes(&self, lanes: u16) -> Result<u16, DatabaseError> {
        FLEET.keep_inbound_lanes(&self.database, lanes).await
    }

    /// Replaces the number of inbound lanes; no process may run.
    ///
    /// # Errors
    /// The database.
    pub async fn resize_inbound_lanes(&self, lanes: u16) -> Result<(), DatabaseError> {
        FLEET.replace_inbound_lanes(&self.database, lanes).await
    }

    /// The open database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.database.close().await;
    }
}
