//! Taking in a batch of inbound events: read, decide, write, in one transaction.

use chrono::{DateTime, Utc};
use tributary_base::database::Tx;

use super::{Store, StoreError, load, rows, told};
use crate::{
    decide::{Arrival, Change, Changes, Policy, Snapshot, Verdict, decide},
    model::now,
};

/// How long a row is waited for that somebody else holds: two seconds.
const LOCK_PATIENCE: &str = "SET LOCAL lock_timeout = 2000";

impl Store {
    /// Takes in a batch in a transaction of its own; answers what became of each arrival once that is durable.
    /// `may_commit` is asked last: whether this worker still owns the lane.
    ///
    /// # Errors
    /// [`StoreError::NotOwner`] when it does not; the database. Nothing of the batch has happened then, unless the commit
    /// itself was not answered; taking it in again is always safe.
    pub(crate) async fn receive(
        &self,
        arrivals: &[Arrival],
        policy: &Policy,
        may_commit: impl Fn() -> bool + Send + Sync,
    ) -> Result<Vec<Verdict>, StoreError> {
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        let arrivals: Vec<&Arrival> = arrivals.iter().collect();
        let work = async {
            let mut tx = self.begin().await?;
            if let Tx::Postgres(tx) = &mut tx {
                sqlx::query(LOCK_PATIENCE).execute(&mut **tx).await?;
            }
            take_in(tx, &arrivals, policy, may_commit).await
        };
        let changes = self.within(work).await?;
        Ok(self.received(changes).await)
    }

    /// Tells those who go on from what was taken in; answers the verdicts.
    pub(super) async fn received(&self, changes: Changes) -> Vec<Verdict> {
        if !changes.waiting.is_empty() {
            self.wake().match_soon(changes.waiting);
        }
        for message_id in &changes.unknown_media {
            metrics::counter!("tributary_unknown_media_total").increment(1);
            tracing::warn!(%message_id, "media came of a message that is not known");
        }
        self.announce(changes.outgoing.iter().map(|o| o.shard).collect())
            .await;
        changes.verdicts
    }
}

/// Reads, decides, writes and commits.
pub(super) async fn take_in(
    mut tx: Tx,
    arrivals: &[&Arrival],
    policy: &Policy,
    may_commit: impl Fn() -> bool + Send + Sync,
) -> Result<Changes, StoreError> {
    let now = now();
    let mut snapshot = load::load(&mut tx, arrivals).await?;
    let changes = decide(arrivals.iter().copied(), &mut snapshot, policy, now)?;
    apply(&mut tx, &snapshot, &changes, now).await?;
    if !may_commit() {
        return Err(StoreError::NotOwner);
    }
    tx.commit().await?;
    Ok(changes)
}

/// Writes what was decided, in the order that the tables' references need.
async fn apply(
    tx: &mut Tx,
    snapshot: &Snapshot,
    changes: &Changes,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let contacts = |change| Snapshot::changed(&snapshot.contacts, change);
    let conversations = |change| Snapshot::changed(&snapshot.conversations, change);
    let messages = |change| Snapshot::changed(&snapshot.messages, change);
    rows::contacts(&contacts(Change::New))?
        .insert(tx, "")
        .await?;
    rows::contact_changes(&contacts(Change::Changed))?
        .update(tx)
        .await?;
    rows::conversations(&conversations(Change::New))
        .insert(tx, "")
        .await?;
    rows::messages(&messages(Change::New))?
        .insert(tx, "")
        .await?;
    // After the new messages: the check of their reference finds rows that this transaction holds as they were read, and
    // need not lock them once more as they were written.
    rows::conversation_changes(&conversations(Change::Changed))
        .update(tx)
        .await?;
    rows::message_changes(&messages(Change::Changed))?
        .update(tx)
        .await?;
    told::apply(tx, snapshot, changes, now).await?;
    rows::seen(&changes.seen, now).insert(tx, "").await?;
    rows::raw_payloads(&changes.raw, now)
        .insert(tx, "ON CONFLICT DO NOTHING")
        .await?;
    rows::outbox(&changes.outgoing, now)?.insert(tx, "").await?;
    Ok(())
}
