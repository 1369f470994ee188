//! Delivery lanes that had to be declared anew: what was in them is emitted again.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tributary_base::on;
use tributary_bus::{
    ChannelId, ConversationId, MessageId, OrganizationId,
    message::{Priority, Status},
};
use uuid::Uuid;

use super::{
    Store, StoreError,
    commands::{contact_of, delivery_of, finish, lock, message_of},
};
use crate::model::now;

/// Messages of one round.
const ROUND: i64 = 1000;
/// Messages of one transaction, all of one conversation.
const TOGETHER: usize = 50;
/// After so many failures in a row the database is taken to be away; the next sweep goes on.
const IN_A_ROW: u32 = 3;

/// A place in the order in which messages are emitted.
type Place = (ConversationId, i64);
type Queued = (OrganizationId, MessageId, ConversationId, i64);

/// A delivery lane that was declared anew, and how far the emission of what it held has come.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub channel: ChannelId,
    at: DateTime<Utc>,
    progress: Progress,
}

/// Kept in the row: a sweep goes on where the last one ended.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    /// What is up to here was emitted, or is in `failed`.
    after: Place,
    /// Conversations that could not be emitted from behind these places on.
    failed: Vec<Place>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            after: (ConversationId(Uuid::nil()), 0),
            failed: Vec::new(),
        }
    }
}

/// One sweep's part of an emission.
#[derive(Default)]
struct Pass {
    emitted: u64,
    in_a_row: u32,
    error: Option<StoreError>,
}

impl Pass {
    fn is_over(&self) -> bool {
        self.in_a_row >= IN_A_ROW
    }

    /// What became of some messages of one conversation. `false`: they are to be tried again.
    fn note(&mut self, result: Result<u64, StoreError>) -> bool {
        match result {
            Ok(count) => {
                self.in_a_row = 0;
                self.emitted += count;
                true
            }
            Err(error) => {
                self.in_a_row += 1;
                self.error.get_or_insert(error);
                false
            }
        }
    }
}

impl Store {
    /// Notes that the lane of a channel was declared anew; an emission that is under way begins again.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn note_renewed(&self, channel: &ChannelId) -> Result<(), StoreError> {
        let work = async {
            Ok(on!(write self.database(), db => {
                sqlx::query(
                    "INSERT INTO fleet (key, value, updated_at) VALUES ($1, '', $2) \
                     ON CONFLICT (key) DO UPDATE SET value = '', updated_at = excluded.updated_at",
                )
                .bind(format!("{RENEWED}{channel}"))
                .bind(now())
                .execute(db)
                .await
                .map(drop)
            })?)
        };
        self.within(work).await
    }

    /// The channels whose lanes were declared anew.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn renewed(&self) -> Result<Vec<Renewal>, StoreError> {
        let work = async {
            let rows: Vec<(String, String, DateTime<Utc>)> = on!(read self.database(), db => {
                sqlx::query_as("SELECT key, value, updated_at FROM fleet WHERE key LIKE 'renewed %'")
                    .fetch_all(db)
                    .await
            })?;
            let renewals = rows.into_iter().filter_map(|(key, value, at)| {
                Some(Renewal {
                    channel: ChannelId(key.strip_prefix(RENEWED)?.to_owned()),
                    at,
                    // Empty at first.
                    progress: serde_json::from_str(&value).unwrap_or_default(),
                })
            });
            Ok(renewals.collect())
        };
        self.within(work).await
    }

    /// Emits the deliveries of a channel's `queued` messages again, in order per conversation; returns how many. The ledger
    /// makes one that was handled already harmless. Whether the contact can be written to is the connector's to find out: it
    /// reports what becomes of each. A conversation that fails holds up no other, and is tried again by the next call.
    ///
    /// # Errors
    /// The first failure; what could be emitted was.
    pub(crate) async fn emit_queued(&self, mut renewal: Renewal) -> Result<u64, StoreError> {
        let mut pass = Pass::default();
        // What waits for a channel that the config no longer has fails by its own way.
        if !self.is_configured(&renewal.channel).await? {
            self.end_emission(&renewal).await?;
            return Ok(0);
        }
        let before = std::mem::take(&mut renewal.progress.failed);
        let mut failed = before.clone();
        loop {
            let page = self.within(self.queued(&renewal.channel, renewal.progress.after));
            let page = page.await?;
            if page.is_empty() {
                break;
            }
            for messages in page.chunk_by(|one, next| one.2 == next.2) {
                if pass.is_over() {
                    break;
                }
                self.emit_all(messages, &mut failed, &mut pass).await;
                if let Some((.., conversation, seq)) = messages.last() {
                    renewal.progress.after = (*conversation, *seq);
                }
            }
            renewal.progress.failed.clone_from(&failed);
            self.keep_progress(&renewal).await?;
            if pass.is_over() {
                break;
            }
        }
        // Those that failed before, each once; one that fails again goes behind the others.
        for place in before {
            if pass.is_over() {
                break;
            }
            failed.retain(|one| *one != place);
            self.emit_conversation(&renewal.channel, place, &mut failed, &mut pass)
                .await;
        }
        renewal.progress.failed = failed;
        let Some(error) = pass.error else {
            self.end_emission(&renewal).await?;
            return Ok(pass.emitted);
        };
        self.keep_progress(&renewal).await?;
        Err(error)
    }

    /// Emits what is queued of one conversation behind a place.
    async fn emit_conversation(
        &self,
        channel: &ChannelId,
        mut place: Place,
        failed: &mut Vec<Place>,
        pass: &mut Pass,
    ) {
        loop {
            let page = match self.within(self.queued(channel, place)).await {
                Ok(page) => page,
                Err(error) => {
                    failed.push(place);
                    pass.note(Err(error));
                    return;
                }
            };
            let messages = page.partition_point(|message| message.2 == place.0);
            let Some((.., seq)) = page[..messages].last() else {
                return;
            };
            let failures = failed.len();
            self.emit_all(&page[..messages], failed, pass).await;
            if failed.len() > failures {
                return;
            }
            place.1 = *seq;
        }
    }

    /// Emits messages of one conversation, unless it has failed already; from the first failure on they are to be tried again.
    async fn emit_all(&self, messages: &[Queued], failed: &mut Vec<Place>, pass: &mut Pass) {
        for part in messages.chunks(TOGETHER) {
            let Some((.., conversation, seq)) = part.first() else {
                return;
            };
            if failed.iter().any(|place| place.0 == *conversation) {
                return;
            }
            if !pass.note(self.within(self.emit(part)).await) {
                failed.push((*conversation, seq - 1));
                return;
            }
        }
    }

    async fn queued(
        &self,
        channel: &ChannelId,
        (conversation, seq): Place,
    ) -> Result<Vec<Queued>, StoreError> {
        Ok(on!(read self.database(), db => {
            sqlx::query_as(
                "SELECT organization, id, conversation_id, seq FROM messages \
                 WHERE channel_id = $1 AND direction = 'outbound' AND status = 'queued' \
                 AND (conversation_id, seq) > ($2, $3) ORDER BY conversation_id, seq LIMIT $4",
            )
            .bind(channel)
            .bind(conversation)
            .bind(seq)
            .bind(ROUND)
            .fetch_all(db)
            .await
        })?)
    }

    /// Emits messages of one conversation. What can never be read is left out.
    async fn emit(&self, messages: &[Queued]) -> Result<u64, StoreError> {
        let Some((organization, _, id, _)) = messages.first() else {
            return Ok(0);
        };
        let mut tx = self.begin().await?;
        let read = async {
            let conversation = lock(&mut tx, organization, *id).await?;
            let contact = contact_of(&mut tx, &conversation).await?;
            Ok((conversation, contact))
        };
        let (conversation, contact) = match read.await {
            Ok(read) => read,
            Err(error) => return left_out(error, *id, None).map(|()| 0),
        };
        let mut deliveries = Vec::new();
        for (organization, message_id, ..) in messages {
            let delivery = match message_of(&mut tx, organization, *message_id).await {
                Ok(message) if message.view.status != Status::Queued => continue,
                // What it was is not kept: somebody may wait for it.
                Ok(message) => delivery_of(&conversation, &contact, &message, Priority::Reply),
                Err(error) => Err(error),
            };
            match delivery {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => left_out(error, *id, Some(*message_id))?,
            }
        }
        if deliveries.is_empty() {
            return Ok(0);
        }
        finish(tx, &conversation, &deliveries, now()).await?;
        self.announce([conversation.shard].into()).await;
        Ok(deliveries.len() as u64)
    }

    /// Nothing when the lane was declared anew once more meanwhile.
    async fn keep_progress(&self, renewal: &Renewal) -> Result<(), StoreError> {
        let progress = serde_json::to_string(&renewal.progress)
            .map_err(|error| StoreError::Corrupt("progress", error.to_string()))?;
        let work = async {
            Ok(on!(write self.database(), db => {
                sqlx::query("UPDATE fleet SET value = $3 WHERE key = $1 AND updated_at = $2")
                    .bind(format!("{RENEWED}{}", renewal.channel))
                    .bind(renewal.at)
                    .bind(progress)
                    .execute(db)
                    .await
                    .map(drop)
            })?)
        };
        self.within(work).await
    }

    async fn end_emission(&self, renewal: &Renewal) -> Result<(), StoreError> {
        let work = async {
            Ok(on!(write self.database(), db => {
                sqlx::query("DELETE FROM fleet WHERE key = $1 AND updated_at = $2")
                    .bind(format!("{RENEWED}{}", renewal.channel))
                    .bind(renewal.at)
                    .execute(db)
                    .await
                    .map(drop)
            })?)
        };
        self.within(work).await
    }
}

/// What no later attempt can read holds up nothing.
fn left_out(
    error: StoreError,
    conversation: ConversationId,
    message: Option<MessageId>,
) -> Result<(), StoreError> {
    let never = matches!(
        error,
        StoreError::Corrupt(..) | StoreError::NotFound(_) | StoreError::Envelope(_)
    );
    if !never {
        return Err(error);
    }
    let message = message.map(tracing::field::display);
    tracing::error!(
        %conversation,
        message,
        %error,
        "a message of a lane that was declared anew cannot be emitted again; it stays queued"
    );
    Ok(())
}

const RENEWED: &str = "renewed ";
