//! Writing what was decided besides contacts, conversations and messages.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use tributary_base::database::Tx;
use uuid::Uuid;

use super::{
    StoreError,
    bulk::{for_database, id_list},
    rows,
};
use crate::decide::{Change, Changes, Snapshot};

/// Writes provider ids, early changes, echoes that are gone and how channels are doing.
pub(super) async fn apply(
    tx: &mut Tx,
    snapshot: &Snapshot,
    changes: &Changes,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    // One that two messages claim stays with the first.
    rows::provider_ids(&changes.parts)
        .insert(tx, "ON CONFLICT DO NOTHING")
        .await?;
    let early = |change| Snapshot::changed(&snapshot.early, change);
    rows::early_changes(&early(Change::New), now)?
        .insert(tx, "")
        .await?;
    rows::early_changes(&early(Change::Changed), now)?
        .update(tx)
        .await?;
    let caught_up: Vec<Uuid> = changes.caught_up.iter().map(|id| id.0).collect();
    delete(
        tx,
        "DELETE FROM early_changes WHERE message_id {ids}",
        &caught_up,
    )
    .await?;
    // Everything about them is in messages of ours now.
    let merged: Vec<Uuid> = changes.merged.iter().map(|id| id.0).collect();
    delete(tx, "DELETE FROM messages WHERE id {ids}", &merged).await?;
    for change in [Change::New, Change::Changed] {
        rows::health(&Snapshot::changed(&snapshot.health, change))
            .update(tx)
            .await?;
    }
    Ok(())
}

async fn delete(tx: &mut Tx, statement: &str, ids: &[Uuid]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let statement = for_database(tx, statement);
    match tx {
        Tx::Postgres(tx) => {
            let query = sqlx::query(AssertSqlSafe(statement)).bind(ids);
            query.execute(&mut **tx).await?;
        }
        Tx::Sqlite(tx) => {
            let query = sqlx::query(AssertSqlSafe(statement)).bind(id_list(ids));
            query.execute(&mut **tx).await?;
        }
    }
    Ok(())
}
