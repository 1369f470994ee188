//! Giving those who wait to those who are free, one organization at a time: the row of its team is the lock.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use tributary_base::{database::Tx, on, warn_limited};
use tributary_bus::{
    AgentId, ConversationId, OrganizationId,
    message::{Assignment, ConversationQueued, ConversationState},
};
use uuid::Uuid;

use super::{
    Store, StoreError,
    bulk::{for_database, select_by_ids},
    commands::assigned,
    rows::{self, CONVERSATION_COLUMNS, ConversationRow},
};
use crate::{
    decide::matching::{Candidate, room, round_robin},
    model::{Conversation, Outgoing, now},
};

/// Conversations of one transaction, at most.
const BATCH: i64 = 200;

/// What one transaction of matching did.
struct Round {
    shards: BTreeSet<u16>,
    /// There may be more to do.
    more: bool,
}

impl Store {
    /// Gives the conversations that wait to the agents who are free, until nobody waits or nobody is free. Those who
    /// keep waiting are told so once.
    ///
    /// # Errors
    /// No such organization; the database.
    pub async fn match_team(&self, organization: &OrganizationId) -> Result<(), StoreError> {
        loop {
            let round = self.within(self.match_some(organization)).await?;
            self.announce(round.shards).await;
            if !round.more {
                return Ok(());
            }
        }
    }

    /// Organizations where a conversation waits and an agent is free, or whose wait was not told: what
    /// [`Store::match_team`] left undone when its worker ended.
    ///
    /// # Errors
    /// The database.
    pub async fn organizations_to_match(&self) -> Result<Vec<OrganizationId>, StoreError> {
        let work = async {
            Ok(on!(read self.database(), db => {
                sqlx::query_scalar(
                    "SELECT t.organization FROM teams t WHERE EXISTS (SELECT 1 FROM conversations c \
                     WHERE c.organization = t.organization AND c.state = 'waiting' AND (NOT c.queued \
                     OR EXISTS (SELECT 1 FROM agents a WHERE a.organization = t.organization AND a.available \
                     AND a.capacity > (SELECT COUNT(*) FROM conversations o \
                     WHERE o.agent_id = a.id AND o.state = 'assigned'))))",
                )
                .fetch_all(db)
                .await
            })?)
        };
        self.within(work).await
    }

    /// Matches after something else was done, which stands even if this fails: the sweep tries again.
    pub(crate) async fn match_or_later(&self, organization: &OrganizationId) {
        if let Err(error) = self.match_team(organization).await {
            warn_limited!("matching", %organization, %error, "matching failed; the sweep will try again");
        }
    }

    async fn match_some(&self, organization: &OrganizationId) -> Result<Round, StoreError> {
        let now = now();
        let mut tx = self.begin().await?;
        let last = lock_team(&mut tx, organization).await?;
        let agents = candidates(&mut tx, organization).await?;
        let wanted = i64::try_from(room(&agents)).unwrap_or(BATCH).min(BATCH);
        let oldest = oldest(&mut tx, organization, wanted, "").await?;
        let untold = self::oldest(&mut tx, organization, BATCH, "AND NOT queued").await?;
        let full = |ids: &[Uuid]| i64::try_from(ids.len()).is_ok_and(|found| found == BATCH);
        let more = full(&oldest) || full(&untold);

        let mut waiting = hold(&mut tx, &[oldest, untold].concat()).await?;
        let order: Vec<ConversationId> = waiting.iter().map(|c| c.view.id).collect();
        let pairs = round_robin(&order, &agents, last);
        let latest = pairs.last().map(|(_, agent)| *agent);
        let outgoing = decide(&mut waiting, &pairs.into_iter().collect(), now)?;
        rows::conversation_changes(&waiting.iter().collect::<Vec<_>>())
            .update(&mut tx)
            .await?;
        rows::outbox(&outgoing, now)?.insert(&mut tx, "").await?;
        if let Some(latest) = latest {
            remember(&mut tx, organization, latest).await?;
        }
        tx.commit().await?;
        Ok(Round {
            shards: outgoing.iter().map(|o| o.shard).collect(),
            more,
        })
    }
}

/// Assigns those who got an agent; tells the others, once each, that they wait.
fn decide(
    waiting: &mut [Conversation],
    pairs: &HashMap<ConversationId, AgentId>,
    now: DateTime<Utc>,
) -> Result<Vec<Outgoing>, StoreError> {
    let mut outgoing = Vec::new();
    for conversation in waiting {
        if let Some(agent) = pairs.get(&conversation.view.id) {
            outgoing.push(assigned(conversation, *agent, Assignment::RoundRobin, now)?);
        } else if !conversation.queued {
            conversation.queued = true;
            conversation.advance(now);
            let queued = ConversationQueued {
                conversation: conversation.view.clone(),
            };
            outgoing.push(conversation.event(&queued, now)?);
        }
    }
    Ok(outgoing)
}

/// Takes the lock of an organization's team; answers the agent who got the latest conversation.
pub(super) async fn lock_team(
    tx: &mut Tx,
    organization: &OrganizationId,
) -> Result<Option<AgentId>, StoreError> {
    let statement = for_database(
        tx,
        "SELECT last_agent FROM teams WHERE organization = $1 {lock}",
    );
    let team: Option<(Option<AgentId>,)> = on!(tx, db => {
        sqlx::query_as(AssertSqlSafe(statement)).bind(organization).fetch_optional(db).await
    })?;
    Ok(team.ok_or(StoreError::NotFound("organization"))?.0)
}

/// The agents who take new conversations, with what they have.
async fn candidates(
    tx: &mut Tx,
    organization: &OrganizationId,
) -> Result<Vec<Candidate>, StoreError> {
    let rows: Vec<(AgentId, i32, i64)> = on!(tx, db => {
        sqlx::query_as(
            "SELECT a.id, a.capacity, (SELECT COUNT(*) FROM conversations c \
             WHERE c.agent_id = a.id AND c.state = 'assigned') \
             FROM agents a WHERE a.organization = $1 AND a.available ORDER BY a.id",
        )
        .bind(organization)
        .fetch_all(db)
        .await
    })?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|(agent, capacity, load)| Candidate {
            agent,
            capacity: u32::try_from(capacity).unwrap_or(0),
            load: u32::try_from(load).unwrap_or(u32::MAX),
        })
        .collect())
}

/// The conversations that have waited longest. They are not held yet.
async fn oldest(
    tx: &mut Tx,
    organization: &OrganizationId,
    limit: i64,
    condition: &'static str,
) -> Result<Vec<Uuid>, StoreError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let statement = format!(
        "SELECT id FROM conversations WHERE organization = $1 AND state = 'waiting' {condition} \
         ORDER BY waiting_since, id LIMIT $2"
    );
    Ok(on!(tx, db => {
        sqlx::query_scalar(AssertSqlSafe(statement)).bind(organization).bind(limit).fetch_all(db).await
    })?)
}

/// Holds conversations, in the order of their ids as everybody does; answers those that still wait, oldest first.
async fn hold(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<Conversation>, StoreError> {
    let statement = format!(
        "SELECT {CONVERSATION_COLUMNS} FROM conversations WHERE id {{ids}} ORDER BY id {{lock}}"
    );
    let rows: Vec<ConversationRow> = select_by_ids(tx, &statement, ids).await?;
    let all: Result<Vec<Conversation>, _> = rows.into_iter().map(Conversation::try_from).collect();
    let mut waiting = all?;
    waiting.retain(|c| c.view.state == ConversationState::Waiting);
    waiting.sort_by_key(|c| (c.waiting_since, c.view.id));
    Ok(waiting)
}

/// Notes where the round goes on.
async fn remember(
    tx: &mut Tx,
    organization: &OrganizationId,
    latest: AgentId,
) -> Result<(), StoreError> {
    on!(tx, db => {
        sqlx::query("UPDATE teams SET last_agent = $1 WHERE organization = $2")
            .bind(latest)
            .bind(organization)
            .execute(db)
            .await
            .map(drop)
    })?;
    Ok(())
}
