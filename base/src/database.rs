//! One interface to the two databases: PostgreSQL for fleets, a SQLite file for one process.
//!
//! The statements are written once wherever both understand them (`$1` placeholders, `ON CONFLICT`, `RETURNING`);
//! the [`on!`](crate::on) macro runs the same expression with whichever driver is open. Ids are `Uuid`, times are
//! `DateTime<Utc>`, documents are `sqlx::types::Json`: sqlx maps each to the best type of either database.

use std::{path::Path, str::FromStr, time::Duration};

use sqlx::{
    Connection as _, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// SQLite takes its write lock at once, so that a transaction cannot fail half-way.
const BEGIN_WRITING: &str = "BEGIN IMMEDIATE";

/// Why a database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("database: {0}")]
    Sqlx(#[from] sqlx::Error),
    #[error("database migration: {0}")]
    Migrate(sqlx::migrate::MigrateError),
    /// A newer version of this program has migrated the database.
    #[error(
        "database has the schema of a newer version (migration {0}): start that version or a later \
         one; this one could misread what the newer one wrote"
    )]
    Newer(i64),
}

impl From<sqlx::migrate::MigrateError> for DatabaseError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::Newer(version),
            other => Self::Migrate(other),
        }
    }
}

impl DatabaseError {
    /// Whether a person has to act: the server refused the login, or the schema is a newer one's. Waiting does not help.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Sqlx(sqlx::Error::Database(refusal)) => {
                // Class 28: invalid authorization specification; 3D000: the database does not exist.
                let code = refusal.code().unwrap_or_default();
                refusal
                    .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
                    .is_some()
                    && (code.starts_with("28") || code == "3D000")
            }
            Self::Newer(_) => true,
            Self::Sqlx(_) | Self::Migrate(_) => false,
        }
    }
}

/// Whether a database could be used lately, for those who must ask often. Cheap to clone; clones are one.
#[derive(Debug, Clone, Default)]
pub struct DatabaseHealth(std::sync::Arc<std::sync::Mutex<Option<std::time::Instant>>>);

impl DatabaseHealth {
    /// A worker whose database could not be used for this long leaves its work to others.
    const UNFIT_AFTER: Duration = Duration::from_secs(5);

    /// It answered.
    pub fn works(&self) {
        *self.failing() = None;
    }

    /// It did not.
    pub fn fails(&self) {
        self.failing().get_or_insert_with(std::time::Instant::now);
    }

    /// Whether it could be used within the last seconds.
    pub fn is_fit(&self) -> bool {
        self.failing()
            .is_none_or(|since| since.elapsed() < Self::UNFIT_AFTER)
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, Option<std::time::Instant>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// An open pool. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Database {
    /// PostgreSQL.
    Postgres(PgPool),
    /// SQLite: readers side by side, and one connection that writes (more do not write faster, measured).
    Sqlite {
        /// For statements that only read.
        read: SqlitePool,
        /// The single writer.
        write: SqlitePool,
    },
}

/// An open transaction; rolled back when dropped.
pub enum Tx {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
}

/// The same migrations, written for each of the two databases.
pub struct Migrations {
    pub postgres: Migrator,
    pub sqlite: Migrator,
}

/// Runs one expression with the connection of whichever database is open.
///
/// `on!(tx, db => sqlx::query("...").bind(id).execute(db).await)?` for a [`Tx`];
/// `on!(read database, db => ...)` and `on!(write database, db => ...)` for a [`Database`]. The expression is compiled
/// once per driver; `db` is `&mut PgConnection`, `&mut SqliteConnection` or a reference to a pool.
#[macro_export]
macro_rules! on {
    (read $database:expr, $db:ident => $body:expr) => {
        match $database {
            $crate::database::Database::Postgres($db) => $body,
            $crate::database::Database::Sqlite { read: $db, .. } => $body,
        }
    };
    (write $database:expr, $db:ident => $body:expr) => {
        match $database {
            $crate::database::Database::Postgres($db) => $body,
            $crate::database::Database::Sqlite { write: $db, .. } => $body,
        }
    };
    ($tx:expr, $db:ident => $body:expr) => {
        match $tx {
            $crate::database::Tx::Postgres(transaction) => {
                let $db = &mut **transaction;
                $body
            }
            $crate::database::Tx::Sqlite(transaction) => {
                let $db = &mut **transaction;
                $body
            }
        }
    };
}

impl Database {
    /// Opens PostgreSQL. `statement_deadline` also bounds how long a lock is waited for.
    ///
    /// # Errors
    /// A broken URL, or the server cannot be reached within `statement_deadline`.
    pub async fn postgres(
        url: &str,
        max_connections: u32,
        statement_deadline: Duration,
    ) -> Result<Self, DatabaseError> {
        let millis = statement_deadline.as_millis().to_string();
        let options = PgConnectOptions::from_str(url)?
            .application_name("tributary")
            .options([
                ("statement_timeout", millis.as_str()),
                ("lock_timeout", millis.as_str()),
                // A worker that froze in a transaction must not hold its locks for ever.
                ("idle_in_transaction_session_timeout", millis.as_str()),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(statement_deadline)
            .connect_with(options)
            .await?;
        Ok(Self::Postgres(pool))
    }

    /// Opens (or creates) a SQLite file, durable at every commit.
    ///
    /// # Errors
    /// The file cannot be created or is no database.
    pub async fn sqlite(path: &Path) -> Result<Self, DatabaseError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        let read = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self::Sqlite { read, write })
    }

    /// Brings the schema up to date. Safe to call from several processes at once.
    ///
    /// # Errors
    /// A migration failed, or the database is newer than this program.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(pool) => migrations.postgres.run(pool).await?,
            Self::Sqlite { write, .. } => migrations.sqlite.run(write).await?,
        }
        Ok(())
    }

    /// How many of the migrations this database still lacks; all of them when it is empty.
    ///
    /// # Errors
    /// The database cannot be reached, or [`DatabaseError::Newer`].
    pub async fn pending(&self, migrations: &Migrations) -> Result<usize, DatabaseError> {
        let migrator = match self {
            Self::Postgres(_) => &migrations.postgres,
            Self::Sqlite { .. } => &migrations.sqlite,
        };
        let statement = format!("SELECT version FROM {} WHERE success", migrator.table_name);
        // The table's name is a constant of ours, so the statement is safe.
        let applied: Result<Vec<i64>, sqlx::Error> = crate::on!(read self, db => {
            sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_all(db).await
        });
        let applied = match applied {
            Ok(versions) => versions,
            // No table yet: nothing was applied.
            Err(sqlx::Error::Database(_)) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let known = migrator
            .iter()
            .filter(|migration| !migration.migration_type.is_down_migration());
        let known: Vec<i64> = known.map(|migration| migration.version).collect();
        if let Some(newer) = applied
            .iter()
            .filter(|version| !known.contains(version))
            .max()
        {
            return Err(DatabaseError::Newer(*newer));
        }
        let missing = known.iter().filter(|version| !applied.contains(version));
        Ok(missing.count())
    }

    /// Begins a transaction that writes. SQLite takes its write lock at once, so it cannot fail half-way.
    ///
    /// # Errors
    /// No connection could be had in time.
    pub async fn begin(&self) -> Result<Tx, DatabaseError> {
        Ok(match self {
            Self::Postgres(pool) => Tx::Postgres(begin_to_the_end(pool).await?),
            Self::Sqlite { write, .. } => Tx::Sqlite(begin_writing(write).await?),
        })
    }

    /// Answers whether the database can be used right now.
    ///
    /// # Errors
    /// It cannot.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        crate::on!(read self, db => sqlx::query("SELECT 1").execute(db).await.map(drop))?;
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

/// Begins on the single writer. SQLite ends a transaction by itself when the disk is full, without sqlx noticing: such a
/// connection can never begin again, so it is closed, and the pool opens another.
async fn begin_writing(write: &SqlitePool) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
    let first = match write.begin_with(BEGIN_WRITING).await {
        Ok(transaction) => return Ok(transaction),
        Err(error) => error,
    };
    if matches!(first, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) {
        return Err(first);
    }
    let broken = write.acquire().await?.detach();
    broken.close_hard().await?;
    write.begin_with(BEGIN_WRITING).await
}

/// Begins in a task of its own, so that nobody can give up half-way: sqlx 0.9.0 forgets a transaction whose future is dropped
/// while `BEGIN` is on its way, and the connection goes back to the pool within it. The next statement on it would be
/// acknowledged and never committed.
async fn begin_to_the_end(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin().await }).await;
    // The task ends early only with the runtime.
    begun.unwrap_or(Err(sqlx::Error::PoolClosed))
}

impl Tx {
    /// Makes everything durable.
    ///
    /// # Errors
    /// It is unknown whether the transaction took effect; the caller repeats it (every write is idempotent).
    pub async fn commit(self) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(transaction) => transaction.commit().await?,
            Self::Sqlite(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    /// Whether this is PostgreSQL, for the few statements that differ.
    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}
