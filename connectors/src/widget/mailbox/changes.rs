//! What becomes of messages after they were put into a mailbox. Each change takes the next number of its visitor's
//! count, under the lock of the visitor's row, so that a count is a cursor too.

use chrono::{DateTime, Utc};
use tributary_base::{database::Tx, on};
use tributary_bus::MessageId;

use super::{Letter, Mailbox, MailboxError};
use crate::widget::token::Visitor;

/// What happens to a message of ours.
#[derive(Debug, Clone, Copy)]
pub(in crate::widget) enum Change<'a> {
    /// It says this now; JSON.
    Edit(&'a str),
    /// Its body is replaced by this; JSON.
    Delete(&'a str),
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::widget) enum Changed {
    /// Done, as the change of this number.
    Now(i64),
    /// It was so already.
    Already,
    /// There is no such message of ours.
    Unknown,
    /// It was taken back.
    Deleted,
}

/// What became of a press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::widget) enum Pressed {
    /// It counts, as the change of this number.
    Now(i64),
    /// A repetition.
    Already,
    /// Another answer was given before, or the message is gone.
    Late,
}

impl Mailbox {
    /// Changes a message that was sent to the visitor.
    pub(in crate::widget) async fn change(
        &self,
        visitor: Visitor,
        message_id: MessageId,
        seq: i64,
        change: Change<'_>,
        at: DateTime<Utc>,
    ) -> Result<Changed, MailboxError> {
        let mut tx = self.database.begin().await?;
        let number = self.count(&mut tx, visitor).await?;
        let found: Option<(String, Option<DateTime<Utc>>)> = on!(&mut tx, db => sqlx::query_as(
                "SELECT body, deleted_at FROM widget_mailbox
                 WHERE channel_id = $1 AND visitor = $2 AND seq = $3 AND message_id = $4 AND client_id IS NULL",
            )
            .bind(&self.channel)
            .bind(visitor)
            .bind(seq)
            .bind(message_id)
            .fetch_optional(db)
            .await)?;
        // Returning without a commit gives the number back.
        let Some((before, deleted)) = found else {
            return Ok(Changed::Unknown);
        };
        let (body, edited_at, deleted_at) = match change {
            Change::Edit(_) if deleted.is_some() => return Ok(Changed::Deleted),
            Change::Edit(body) if body == before => return Ok(Changed::Already),
            Change::Delete(_) if deleted.is_some() => return Ok(Changed::Already),
            Change::Edit(body) => (body, Some(at), None),
            Change::Delete(body) => (body, None, Some(at)),
        };
        on!(&mut tx, db => sqlx::query(
            "UPDATE widget_mailbox SET body = $4, edited_at = COALESCE($5, edited_at), deleted_at = $6, changed = $7
             WHERE channel_id = $1 AND visitor = $2 AND seq = $3",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(seq)
        .bind(body)
        .bind(edited_at)
        .bind(deleted_at)
        .bind(number)
        .execute(db)
        .await
        .map(drop))?;
        tx.commit().await?;
        Ok(Changed::Now(number))
    }

    /// The visitor chooses; only the first choice counts.
    pub(in crate::widget) async fn press(
        &self,
        visitor: Visitor,
        seq: i64,
        option: &str,
        client_id: &str,
    ) -> Result<Pressed, MailboxError> {
        type Found = (Option<String>, Option<String>, Option<DateTime<Utc>>);
        let mut tx = self.database.begin().await?;
        let number = self.count(&mut tx, visitor).await?;
        let found: Option<Found> = on!(&mut tx, db => sqlx::query_as(
            "SELECT pressed, pressed_by, deleted_at FROM widget_mailbox
             WHERE channel_id = $1 AND visitor = $2 AND seq = $3 AND client_id IS NULL",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(seq)
        .fetch_optional(db)
        .await)?;
        match found {
            Some((None, _, None)) => {}
            Some((Some(pressed), Some(by), _)) if pressed == option && by == client_id => {
                return Ok(Pressed::Already);
            }
            Some(_) | None => return Ok(Pressed::Late),
        }
        on!(&mut tx, db => sqlx::query(
            "UPDATE widget_mailbox SET pressed = $4, pressed_by = $5, changed = $6
             WHERE channel_id = $1 AND visitor = $2 AND seq = $3",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(seq)
        .bind(option)
        .bind(client_id)
        .bind(number)
        .execute(db)
        .await
        .map(drop))?;
        tx.commit().await?;
        Ok(Pressed::Now(number))
    }

    /// The next number of the visitor's count of changes.
    async fn count(&self, tx: &mut Tx, visitor: Visitor) -> Result<i64, MailboxError> {
        let number: Option<i64> = on!(tx, db => sqlx::query_scalar(
            "UPDATE widget_visitors SET changes = changes + 1 WHERE channel_id = $1 AND visitor = $2
             RETURNING changes",
        )
        .bind(&self.channel)
        .bind(visitor)
        .fetch_optional(db)
        .await)?;
        number.ok_or(MailboxError::UnknownVisitor)
    }

    /// The messages whose latest change is behind a number, in the order of their changes, at most `limit`.
    pub(in crate::widget) async fn changed(
        &self,
        visitor: Visitor,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Letter>, MailboxError> {
        Ok(on!(read &self.database, db => sqlx::query_as(
            "SELECT seq, message_id, client_id, body, created_at, changed, edited_at, reply_to, pressed
             FROM widget_mailbox WHERE channel_id = $1 AND visitor = $2 AND changed > $3 AND changed > 0
             ORDER BY changed LIMIT $4",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(after)
        .bind(limit)
        .fetch_all(db)
        .await)?)
    }

    /// The message at a place.
    pub(in crate::widget) async fn letter(
        &self,
        visitor: Visitor,
        seq: i64,
    ) -> Result<Option<Letter>, MailboxError> {
        Ok(on!(read &self.database, db => sqlx::query_as(
            "SELECT seq, message_id, client_id, body, created_at, changed, edited_at, reply_to, pressed
             FROM widget_mailbox WHERE channel_id = $1 AND visitor = $2 AND seq = $3",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(seq)
        .fetch_optional(db)
        .await)?)
    }

    /// The place of a message that the visitor wrote.
    pub(in crate::widget) async fn place(
        &self,
        visitor: Visitor,
        client_id: &str,
    ) -> Result<Option<i64>, MailboxError> {
        Ok(on!(read &self.database, db => sqlx::query_scalar(
            "SELECT seq FROM widget_mailbox WHERE channel_id = $1 AND visitor = $2 AND client_id = $3",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(client_id)
        .fetch_optional(db)
        .await)?)
    }

    /// Our side has read up to a place.
    pub(in crate::widget) async fn mark_seen(
        &self,
        visitor: Visitor,
        seq: i64,
    ) -> Result<(), MailboxError> {
        on!(write &self.database, db => sqlx::query(
            "UPDATE widget_visitors SET seen = CASE WHEN seen < $3 THEN $3 ELSE seen END
             WHERE channel_id = $1 AND visitor = $2",
        )
        .bind(&self.channel)
        .bind(visitor)
        .bind(seq)
        .execute(db)
        .await
        .map(drop))?;
        Ok(())
    }
}
