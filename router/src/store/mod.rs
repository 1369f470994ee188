//! The router's tables, on PostgreSQL or SQLite.
//!
//! Who locks what, in this order: the row of `teams`, then rows of `conversations` in the order of their ids. Whoever
//! writes to a conversation (a message, a status, an event: all take a `seq`) holds its row, and so does whoever adds
//! to the outbox for it; hence outbox ids of one conversation rise with its `seq`.

mod agent_changes;
mod agents;
mod api_keys;
mod bulk;
mod changes;
mod clearing;
mod commands;
mod conditions;
mod desk;
mod disabling;
mod endpoint_states;
mod endpoints;
mod error;
mod events;
mod fleet;
mod gathering;
mod housekeeping;
mod load;
mod matching;
mod notices;
mod outbox;
mod presence;
mod queries;
mod reading;
mod receive;
mod release;
mod renewed;
mod replay;
mod requeue;
mod rows;
mod sync;
mod told;

use std::{sync::Arc, time::Duration};

use tributary_base::{
    database::{Database, DatabaseError, Migrations, Tx},
    on,
};
use tributary_config::Settings;

use crate::wake::Wake;

pub use agent_changes::AgentChanges;
pub use agents::{Agent, Availability, NewAgent};
pub use api_keys::*;
pub use changes::MessageEdit;
pub(crate) use clearing::Published;
pub use commands::{Idempotency, NewMessage};
pub use conditions::ChannelCondition;
pub use endpoint_states::*;
pub use endpoints::*;
pub use error::StoreError;
pub(crate) use error::Trouble;
pub use events::*;
pub use housekeeping::Retention;
pub(crate) use outbox::{OutboxRow, Rest, Shards};
pub use queries::*;
pub(crate) use renewed::Renewal;
pub use replay::{Known, RawFrom, StoredRaw};

/// The schema, for both databases.
pub fn migrations() -> Migrations {
    Migrations {
        postgres: sqlx::migrate!("migrations/postgres"),
        sqlite: sqlx::migrate!("migrations/sqlite"),
    }
}

/// The router's store. Cheap to clone; clones share their wake-up calls, so one process makes one store and clones it.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    /// How long a whole transaction may take, waiting for a connection included.
    deadline: Duration,
    wake: Arc<Wake>,
    clearing: Arc<clearing::Desk>,
    gathering: Arc<gathering::Desk>,
    reading: Arc<reading::Desk>,
}

impl Store {
    /// A store on an open database; [`Store::migrate`] makes it usable. `deadline` bounds every transaction.
    pub fn new(database: Database, deadline: Duration) -> Self {
        Self {
            database,
            deadline,
            wake: Wake::new(),
            clearing: clearing::Desk::new(),
            gathering: Arc::new(gathering::Desk::new()),
            reading: Arc::new(reading::Desk::new()),
        }
    }

    /// Opens the store that the settings name: `store.db` in the data folder, or PostgreSQL.
    ///
    /// # Errors
    /// The file cannot be created, or the server cannot be reached.
    pub async fn open(settings: &Settings) -> Result<Self, StoreError> {
        let deadline = settings.store.statement_deadline;
        let database = if settings.store.is_embedded() {
            tokio::fs::create_dir_all(&settings.data.dir)
                .await
                .map_err(sqlx::Error::Io)?;
            Database::sqlite(&settings.data.dir.join("store.db")).await?
        } else {
            let url = settings.store.url.expose();
            Database::postgres(url, settings.store.max_connections, deadline).await?
        };
        Ok(Self::new(database, deadline * 2))
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

    /// Closes all connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// The open database, for the modules of this folder.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    /// Bounds a use of the database in time.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.deadline, work)
            .await
            .unwrap_or(Err(StoreError::Deadline(self.deadline)))
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(self.database.begin().await?)
    }

    /// Outbox rows that wait for the relay.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn outbox_depth(&self) -> Result<i64, StoreError> {
        self.within(async {
            Ok(on!(read &self.database, db => {
                sqlx::query_scalar("SELECT COUNT(*) FROM outbox").fetch_one(db).await
            })?)
        })
        .await
    }
}
