//! What the tests of whole connector processes stand on: the process, a stand-in for the router on the other side of its bus,
//! and what it logs. `conformance/`, `custom/` and `telegram/` include all of it; what one of them needs alone is there.

mod log;
mod process;
mod router;

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tributary_base::database::Database;
use tributary_connectors::ConnectorStore;

pub use log::Log;
pub use process::{Process, Running};
pub use router::{Router, delivery};

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until there is something to see; `None` at the end of all patience.
pub async fn look<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let since = Instant::now();
    loop {
        let found = look();
        if found.is_some() || since.elapsed() > PATIENCE {
            return found;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// The connectors' database in a folder, with all tables.
pub async fn database(dir: &Path) -> Database {
    let database = Database::sqlite(&dir.join("connectors.db"))
        .await
        .expect("a database");
    let store = ConnectorStore::new(database.clone());
    store.migrate().await.expect("the schema fits");
    database
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
