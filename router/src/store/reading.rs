//! Reading the outbox together: after a transaction that many lanes shared, all their relays are woken at once, and one
//! statement reads for all of them. Each relay still sees its own shard only.

use std::collections::{BTreeSet, HashMap};

use sqlx::{FromRow, PgPool, Row};

use super::{OutboxRow, Store, StoreError, desk};

/// Relays that are read for at once, at most.
const TOGETHER: usize = 64;

/// Where the relays of this process come together.
pub(super) type Desk = desk::Desk<Shard, Vec<OutboxRow>>;

/// What a relay wants to read.
#[derive(Debug)]
pub(super) struct Shard {
    own: u16,
    /// Rows, at most.
    limit: i64,
}

impl Store {
    /// The oldest rows of a shard, read together with others. `None`: to be read alone.
    pub(super) async fn outbox_rows_together(
        &self,
        pool: &PgPool,
        own: u16,
        limit: i64,
    ) -> Option<Vec<OutboxRow>> {
        let mut answered = self.reading.put(Shard { own, limit });
        loop {
            match self.reading.next(&mut answered).await {
                desk::Next::Answer(rows) => return Some(rows),
                desk::Next::Alone => return None,
                desk::Next::Turn(_turn) => {
                    let requests = self.reading.take(TOGETHER, |_| 1);
                    let shards: BTreeSet<u16> = requests.iter().map(|r| r.wanted.own).collect();
                    let limit = requests.iter().map(|r| r.wanted.limit).max().unwrap_or(1);
                    match self.within(read(pool, &shards, limit)).await {
                        Ok(mut rows) => {
                            for request in requests {
                                // Two relays of one shard, while it changes hands: the second reads alone.
                                if let Some(own) = rows.remove(&request.wanted.own) {
                                    request.answer(own);
                                }
                            }
                        }
                        Err(error) => {
                            tracing::debug!(%error, "the outbox cannot be read together");
                        }
                    }
                }
            }
        }
    }
}

async fn read(
    pool: &PgPool,
    shards: &BTreeSet<u16>,
    limit: i64,
) -> Result<HashMap<u16, Vec<OutboxRow>>, StoreError> {
    let numbers: Vec<i32> = shards.iter().map(|shard| i32::from(*shard)).collect();
    let found = sqlx::query(
        "SELECT s.shard AS shard, o.id, o.organization, o.lane, o.envelope FROM UNNEST($1::int[]) AS s (shard) \
         CROSS JOIN LATERAL (SELECT id, organization, lane, envelope FROM outbox \
         WHERE outbox.shard = s.shard ORDER BY id LIMIT $2) AS o ORDER BY o.id",
    )
    .bind(numbers)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    let mut rows: HashMap<u16, Vec<OutboxRow>> =
        shards.iter().map(|shard| (*shard, Vec::new())).collect();
    for row in found {
        let shard: i32 = row.try_get("shard")?;
        let Ok(shard) = u16::try_from(shard) else {
            continue;
        };
        let of_shard = rows.entry(shard).or_default();
        of_shard.push(OutboxRow::from_row(&row)?);
    }
    Ok(rows)
}
