//! What each visitor has written and been sent, in a place of its own: 1, 2, 3, ... without gaps, so that a place is a
//! cursor. A mailbox grows under the lock of its visitor's row.

mod changes;

pub(super) use changes::{Change, Changed, Pressed};

use chrono::{DateTime, Utc};
use tributary_base::{
    database::{Database, DatabaseError, Tx},
    on,
};
use tributary_bus::{ChannelId, MessageId, OrganizationId};

use super::token::Visitor;

/// The mailboxes of one account.
#[derive(Clone)]
pub(super) struct Mailbox {
    database: Database,
    organization: OrganizationId,
    channel: ChannelId,
}

/// Why the mailbox did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum MailboxError {
    #[error("no such visitor has ever written")]
    UnknownVisitor,
    #[error("mailbox did not answer in time")]
    Deadline,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for MailboxError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// A message to be kept.
pub(super) struct Draft {
    pub(super) message_id: MessageId,
    /// 0 but for later parts of a long reply.
    pub(super) part: i32,
    /// No part of the message follows.
    pub(super) is_last: bool,
    /// The visitor's own name of it; `None` when it goes to the visitor.
    pub(super) client_id: Option<String>,
    /// JSON.
    pub(super) body: String,
    /// The place of the message it answers.
    pub(super) reply_to: Option<i64>,
    pub(super) at: DateTime<Utc>,
}

/// Where a message is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) seq: i64,
    pub(super) at: DateTime<Utc>,
    pub(super) before: Before,
}

/// Whether the message was there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Absent,
    /// A repetition.
    Same,
    /// The same name was given to something else, which stays.
    Different,
}

/// A kept message.
#[derive(sqlx::FromRow)]
pub(super) struct Letter {
    pub(super) seq: i64,
    pub(super) message_id: MessageId,
    pub(super) client_id: Option<String>,
    pub(super) body: String,
    #[sqlx(rename = "created_at")]
    pub(super) at: DateTime<Utc>,
    /// The number of its latest change.
    pub(super) changed: i64,
    pub(super) edited_at: Option<DateTime<Utc>>,
    pub(super) reply_to: Option<i64>,
    /// The option that was chosen.
    pub(super) pressed: Option<String>,
}

/// How far a mailbox has come. A visitor who has never written is at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, sqlx::FromRow)]
pub(super) struct Position {
    /// The latest message.
    pub(super) seq: i64,
    /// Up to here, `delivered` was published for every message to the visitor.
    pub(super) delivered: i64,
    /// Likewise `read`.
    pub(super) read: i64,
    /// The latest change of a message.
    pub(super) changes: i64,
    /// Up to here, our side has read what the visitor wrote.
    pub(super) seen: i64,
}

/// A part of a message to the visitor, as far as the message's status is concerned.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Sent {
    pub(super) seq: i64,
    pub(super) message_id: MessageId,
    /// The message ends here: its status is this part's. Parts are put into the mailbox in order.
    pub(super) is_last: bool,
}

impl Mailbox {
    pub(super) fn new(
        database: Database,
        organization: OrganizationId,
        channel: ChannelId,
    ) -> Self {
        Self {
            database,
            organization,
            channel,
        }
    }

    /// The account's key for visitor tokens: `proposal`, unless a worker has proposed one before.
    pub(super) async fn key(&self, proposal: &[u8]) -> Result<Vec<u8>, MailboxError> {
        let mut tx = self.database.begin().await?;
        on!(&mut tx, db => sqlx::query(
            "INSERT INTO widget_keys (channel_id, organization, secret, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (channel_id) DO NOTHING",
        )
        .bind(&self.channel)
        .bind(&self.organization)
        .bind(proposal)
        .bind(Utc::now())
        .execute(db)
        .await
        .map(drop))?;
        let key: Vec<u8> = on!(&mut tx, db => sqlx::query_scalar(
            "SELECT secret FROM widget_keys WHERE channel_id = $1",
        )
        .bind(&self.channel)
        .fetch_one(db)
        .await)?;
        tx.commit().await?;
        Ok(key)
    }

    /// Makes a mailbox for the visitor, unless there is one.
    pub(super) async fn open(&self, visitor: Visitor) -> Result<(), MailboxError> {
        on!(write &self.database, db => sqlx::query(
            "INSERT INTO widget_visitors (channel_id, visitor, organization, seq, delivered, read, created_at)
             VALUES ($1, $2, $3, 0, 0, 0, $4) ON CONFLICT (channel_id, visitor) DO NOTHING",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(&self.organization)
        .bind(Utc::now())
        .execute(db)
        .await
        .map(drop))?;
        Ok(())
    }

    /// Keeps a message at the visitor's next place; one that is kept already stays where it is.
    pub(super) async fn keep(&self, visitor: Visitor, draft: &Draft) -> Result<Kept, MailboxError> {
        let mut tx = self.database.begin().await?;
        let seq: Option<i64> = on!(&mut tx, db => sqlx::query_scalar(
            "UPDATE widget_visitors SET seq = seq + 1 WHERE channel_id = $1 AND visitor = $2 RETURNING seq",
        )
        .bind(&self.channel)
        .bind(visitor)
        .fetch_optional(db)
        .await)?;
        let seq = seq.ok_or(MailboxError::UnknownVisitor)?;
        let inserted = on!(&mut tx, db => sqlx::query(
            "INSERT INTO widget_mailbox
                 (channel_id, visitor, seq, organization, message_id, part, client_id, body, created_at, reply_to, is_last)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(seq)
        .bind(&self.organization)
        .bind(draft.message_id)
        .bind(draft.part)
        .bind(draft.client_id.as_deref())
        .bind(&draft.body)
        .bind(draft.at)
        .bind(draft.reply_to)
        .bind(draft.is_last)
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
        if inserted == 0 {
            // Rolled back, which gives the place back.
            return self.kept(tx, visitor, draft).await;
        }
        tx.commit().await?;
        Ok(Kept {
            seq,
            at: draft.at,
            before: Before::Absent,
        })
    }

    async fn kept(
        &self,
        mut tx: Tx,
        visitor: Visitor,
        draft: &Draft,
    ) -> Result<Kept, MailboxError> {
        let (seq, at, body): (i64, DateTime<Utc>, String) = on!(&mut tx, db => sqlx::query_as(
            "SELECT seq, created_at, body FROM widget_mailbox
             WHERE channel_id = $1 AND visitor = $2 AND message_id = $3 AND part = $4",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(draft.message_id)
        .bind(draft.part)
        .fetch_one(db)
        .await)?;
        Ok(Kept {
            seq,
            at,
            before: if body == draft.body {
                Before::Same
            } else {
                Before::Different
            },
        })
    }

    /// How far the visitor's mailbox has come; `None` when there is none.
    pub(super) async fn position(
        &self,
        visitor: Visitor,
    ) -> Result<Option<Position>, MailboxError> {
        Ok(on!(read &self.database, db => sqlx::query_as(
            "SELECT seq, delivered, read, changes, seen FROM widget_visitors WHERE channel_id = $1 AND visitor = $2",
        )
        .bind(&self.channel)
        .bind(visitor)
        .fetch_optional(db)
        .await)?)
    }

    /// The messages behind a place, the oldest first, at most `limit`.
    pub(super) async fn page(
        &self,
        visitor: Visitor,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Letter>, MailboxError> {
        Ok(on!(read &self.database, db => sqlx::query_as(
            "SELECT seq, message_id, client_id, body, created_at, changed, edited_at, reply_to, pressed
             FROM widget_mailbox WHERE channel_id = $1 AND visitor = $2 AND seq > $3 ORDER BY seq LIMIT $4",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await)?)
    }

    /// The parts of messages to the visitor behind one place and up to another, at most `limit`.
    pub(super) async fn sent(
        &self,
        visitor: Visitor,
        after: i64,
        upto: i64,
        limit: i64,
    ) -> Result<Vec<Sent>, MailboxError> {
        Ok(on!(read &self.database, db => sqlx::query_as(
            "SELECT seq, message_id, is_last FROM widget_mailbox
             WHERE channel_id = $1 AND visitor = $2 AND seq > $3 AND seq <= $4 AND client_id IS NULL
             ORDER BY seq LIMIT $5",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(after)
        .bind(upto)
        .bind(limit)
        .fetch_all(db)
        .await)?)
    }

    /// Notes that `delivered` was published for everything up to `delivered`, and `read` up to `read`.
    pub(super) async fn mark(
        &self,
        visitor: Visitor,
        delivered: i64,
        read: i64,
    ) -> Result<(), MailboxError> {
        on!(write &self.database, db => sqlx::query(
            "UPDATE widget_visitors SET
                 delivered = CASE WHEN delivered < $3 THEN $3 ELSE delivered END,
                 read = CASE WHEN read < $4 THEN $4 ELSE read END
             WHERE channel_id = $1 AND visitor = $2",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(delivered)
        .bind(read)
        .execute(db)
        .await
        .map(drop))?;
        Ok(())
    }
}
