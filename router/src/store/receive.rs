//! Taking in a batch of inbound events: read, decide, write, in one transaction.

use chrono::{DateTime, Utc};
use tributary_base::database::Tx;

use super::{Store, StoreError, load, rows};
use crate::{
    decide::{Arrival, Change, Changes, Policy, Snapshot, Verdict, decide},
    model::now,
};

impl Store {
    /// Takes in a batch; answers what became of each arrival once that is durable. `may_commit` is asked last: whether
    /// this worker still owns the lane.
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
        let work = async {
            let now = now();
            let mut tx = self.begin().await?;
            let mut snapshot = load::load(&mut tx, arrivals).await?;
            let changes = decide(arrivals, &mut snapshot, policy, now)?;
            apply(&mut tx, &snapshot, &changes, now).await?;
            if !may_commit() {
                return Err(StoreError::NotOwner);
            }
            tx.commit().await?;
            Ok(changes)
        };
        let changes = self.within(work).await?;
        if !changes.waiting.is_empty() {
            self.wake().match_soon(changes.waiting);
        }
        self.announce(changes.outgoing.iter().map(|o| o.shard).collect())
            .await;
        Ok(changes.verdicts)
    }
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
    rows::contacts(&contacts(Change::New))
        .insert(tx, "")
        .await?;
    rows::contact_changes(&contacts(Change::Changed))
        .update(tx)
        .await?;
    rows::conversations(&conversations(Change::New))
        .insert(tx, "")
        .await?;
    rows::conversation_changes(&conversations(Change::Changed))
        .update(tx)
        .await?;
    rows::messages(&messages(Change::New))?
        .insert(tx, "")
        .await?;
    rows::message_changes(&messages(Change::Changed))?
        .update(tx)
        .await?;
    rows::seen(&changes.seen, now).insert(tx, "").await?;
    rows::raw_payloads(&changes.raw, now)
        .insert(tx, "ON CONFLICT DO NOTHING")
        .await?;
    rows::outbox(&changes.outgoing, now)?.insert(tx, "").await?;
    Ok(())
}
