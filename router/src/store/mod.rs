//! The router's tables, on PostgreSQL or SQLite.

use tributary_base::database::{Database, DatabaseError, Migrations};

/// The schema, for both databases.
pub fn migrations() -> Migrations {
    Migrations {
        postgres: sqlx::migrate!("migrations/postgres"),
        sqlite: sqlx::migrate!("migrations/sqlite"),
    }
}

/// The router's store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
}

impl Store {
    /// A store on an open database; [`Store::migrate`] makes it usable.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// A migration failed, or the database belongs to a newer version.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        self.database.migrate(&migrations()).await
    }
}
