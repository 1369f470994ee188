//! Clearing the outbox: the relays of one process share transactions. Positions are given by one transaction at a time in
//! the whole fleet, so fewer and larger ones wait less; and a relay that waits for its turn holds no connection.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, oneshot};
use tributary_base::database::Tx;
use tributary_bus::{EventId, OrganizationId};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::model::now;

/// First half of the key of PostgreSQL's advisory lock that orders event positions; the second names an organization.
const POSITIONS_LOCK: i32 = 0x7472_6962;

/// A row that was published.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub row: i64,
    pub organization: OrganizationId,
    /// The id of an event, which readers with a cursor get to see; `None` for a delivery, and for what cannot be read.
    pub event: Option<EventId>,
}

/// What the relays of this process want cleared.
#[derive(Debug)]
pub(super) struct Desk {
    waiting: Mutex<Vec<Request>>,
    turn: Semaphore,
}

#[derive(Debug)]
struct Request {
    published: Arc<Vec<Published>>,
    cleared: oneshot::Sender<()>,
}

impl Desk {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            turn: Semaphore::new(1),
        })
    }

    /// A list is whole after every statement, so a panic elsewhere leaves nothing half done in it.
    fn waiting(&self) -> MutexGuard<'_, Vec<Request>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Removes rows that were published, and gives the events among them their positions. A row that another relay
    /// removed meanwhile is left out.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn clear_outbox(
        &self,
        published: &Arc<Vec<Published>>,
    ) -> Result<(), StoreError> {
        let (cleared, mut answer) = oneshot::channel();
        self.clearing.waiting().push(Request {
            published: Arc::clone(published),
            cleared,
        });
        // Whoever has the turn clears for all who wait. Nobody closes the semaphore.
        let _turn = self.clearing.turn.acquire().await.ok();
        if answer.try_recv().is_ok() {
            return Ok(());
        }
        let requests = std::mem::take(&mut *self.clearing.waiting());
        let others = requests
            .iter()
            .filter(|r| !Arc::ptr_eq(&r.published, published));
        let all: Vec<&Published> = published
            .iter()
            .chain(others.flat_map(|request| request.published.iter()))
            .collect();
        // On failure the others are not answered, and each tries for itself.
        self.within(self.clear(all)).await?;
        for request in requests {
            // A relay that went away meanwhile needs no answer.
            request.cleared.send(()).ok();
        }
        Ok(())
    }

    async fn clear(&self, mut published: Vec<&Published>) -> Result<(), StoreError> {
        published.sort_by_key(|p| p.row);
        published.dedup_by_key(|p| p.row);
        let events = published.iter().filter(|p| p.event.is_some());
        let mut tx = self.begin().await?;
        // First, so that nobody who holds rows waits for it.
        order_positions(&mut tx, events.map(|p| &p.organization)).await?;
        clear(&mut tx, &published).await?;
        Ok(tx.commit().await?)
    }
}

/// Moves the events from the outbox to those that readers with a cursor see, in the order of their rows, and removes the
/// other rows. The envelopes never leave the database.
async fn clear(tx: &mut Tx, published: &[&Published]) -> Result<(), sqlx::Error> {
    let rows = published.iter().map(|p| p.row);
    let events = published.iter().map(|p| p.event.map(|id| id.0));
    match tx {
        Tx::Postgres(tx) => {
            // The rows are found by their list alone: a plan made while the outbox is empty stays good for a full one.
            sqlx::query(
                "WITH gone AS (DELETE FROM outbox WHERE id = ANY($1) RETURNING id, organization, envelope) \
                 INSERT INTO events (id, organization, envelope, published_at) \
                 SELECT p.event, gone.organization, gone.envelope, $3 \
                 FROM UNNEST($1, $2) AS p (id, event) JOIN gone USING (id) \
                 WHERE p.event IS NOT NULL ORDER BY gone.id",
            )
            .bind(rows.collect::<Vec<i64>>())
            .bind(events.collect::<Vec<Option<Uuid>>>())
            .bind(now())
            .execute(&mut **tx)
            .await?;
        }
        Tx::Sqlite(tx) => {
            let events = events.map(|id| id.map(|id| id.simple().to_string()));
            let list: Vec<(i64, Option<String>)> = rows.zip(events).collect();
            let list = serde_json::json!(list).to_string();
            sqlx::query(
                "INSERT INTO events (id, organization, envelope, published_at) \
                 SELECT unhex(p.value ->> 1), organization, envelope, $2 \
                 FROM json_each($1) AS p CROSS JOIN outbox ON outbox.id = p.value ->> 0 \
                 WHERE p.value ->> 1 IS NOT NULL ORDER BY outbox.id",
            )
            .bind(&list)
            .bind(now())
            .execute(&mut **tx)
            .await?;
            sqlx::query("DELETE FROM outbox WHERE id IN (SELECT value ->> 0 FROM json_each($1))")
                .bind(&list)
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}

/// From here to the commit no other transaction gives positions to these organizations' events: a position never appears
/// behind one that a reader has seen. SQLite writes one transaction at a time anyway.
async fn order_positions(
    tx: &mut Tx,
    organizations: impl Iterator<Item = &OrganizationId>,
) -> Result<(), sqlx::Error> {
    let Tx::Postgres(tx) = tx else {
        return Ok(());
    };
    let distinct: BTreeSet<&str> = organizations.map(OrganizationId::as_str).collect();
    if distinct.is_empty() {
        return Ok(());
    }
    let distinct: Vec<&str> = distinct.into_iter().collect();
    // In one order everywhere: by the hash itself, since two names can share one.
    sqlx::query(
        "SELECT pg_advisory_xact_lock($1, h) FROM \
         (SELECT DISTINCT hashtext(o) AS h FROM UNNEST($2::text[]) AS o ORDER BY 1) AS hashes",
    )
    .bind(POSITIONS_LOCK)
    .bind(distinct)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
