//! Why the store did not do what it was asked.

use tributary_base::database::DatabaseError;
use tributary_bus::EnvelopeError;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database could not be used, or refused.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The database did not answer in time. What was asked may or may not have happened.
    #[error("database did not answer within {0:?}")]
    Deadline(std::time::Duration),
    /// A row cannot be read by this version.
    #[error("stored {0} cannot be read: {1}")]
    Corrupt(&'static str, String),
    /// An event could not be written as JSON.
    #[error("event cannot be written: {0}")]
    Envelope(#[from] EnvelopeError),
    /// There is none with this id in the organization.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The conversation is closed; reopen it first.
    #[error("conversation is closed")]
    Closed,
    /// The contact has another open conversation.
    #[error("contact has another open conversation")]
    AnotherOpen,
    /// The contact cannot be written to: it blocked the channel or left it.
    #[error("contact has blocked the channel")]
    Blocked,
    /// The config no longer has the conversation's channel.
    #[error("channel {0} is no longer configured")]
    ChannelRemoved(String),
    /// The contact wrote it: it cannot be changed.
    #[error("message is not ours to change")]
    NotOurs,
    /// The channel does not know it: it was not sent (yet), or the channel gave it no id.
    #[error("message was not sent")]
    NotSent,
    /// It was deleted.
    #[error("message was deleted")]
    Deleted,
    /// The contact wrote nothing in the conversation.
    #[error("there is nothing to read")]
    NothingToRead,
    /// The worker no longer owns the lane whose messages it was about to take in.
    #[error("lane is no longer owned by this worker")]
    NotOwner,
    /// The config gives a channel to another organization than before; its contacts and conversations cannot move.
    #[error(
        "channel {channel} belongs to organization {owner} in the store; give the channel a new id"
    )]
    ChannelMoved {
        channel: String,
        /// Whose it is.
        owner: String,
    },
    /// The idempotency key was used for a different request.
    #[error("idempotency key was used for a different request")]
    IdempotencyMismatch,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(DatabaseError::Sqlx(error))
    }
}

/// What an error of a transaction says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The database cannot be used at the moment; nothing is wrong with what was asked.
    Away,
    /// It may work the next time: a race, or a cause that is not known.
    Passing,
    /// These values can never be stored.
    Values,
}

impl StoreError {
    /// Whether a row was waited for in vain that somebody else holds.
    pub(crate) fn is_locked(&self) -> bool {
        // lock_not_available, in PostgreSQL
        matches!(self, Self::Database(DatabaseError::Sqlx(sqlx::Error::Database(refusal)))
            if refusal.code().as_deref() == Some("55P03"))
    }

    /// What the error says about trying again.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::Deadline(_) | Self::NotOwner => Trouble::Away,
            Self::Database(DatabaseError::Sqlx(error)) => sqlx_trouble(error),
            Self::Database(_)
            | Self::Corrupt(..)
            | Self::NotFound(_)
            | Self::Closed
            | Self::AnotherOpen
            | Self::Blocked
            | Self::ChannelRemoved(_)
            | Self::ChannelMoved { .. }
            | Self::NotOurs
            | Self::NotSent
            | Self::Deleted
            | Self::NothingToRead
            | Self::IdempotencyMismatch => Trouble::Passing,
            Self::Envelope(_) => Trouble::Values,
        }
    }
}

/// PostgreSQL: classes of SQLSTATE (Appendix A of its manual). SQLite: primary result codes. What is not known to be about
/// the values or a race is taken for the database's own trouble (a missing migration, a broken disk): waiting for a
/// person harms nobody, giving up on messages would.
fn sqlx_trouble(error: &sqlx::Error) -> Trouble {
    let sqlx::Error::Database(refusal) = error else {
        return match error {
            sqlx::Error::Encode(_) => Trouble::Values,
            sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::RowNotFound => Trouble::Passing,
            _ => Trouble::Away,
        };
    };
    let code = refusal.code().unwrap_or_default();
    let is_sqlite = refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>();
    if is_sqlite.is_some() {
        return match code.parse::<i32>().unwrap_or_default() & 0xff {
            // SQLITE_TOOBIG, SQLITE_MISMATCH
            18 | 20 => Trouble::Values,
            // SQLITE_CONSTRAINT
            19 => Trouble::Passing,
            _ => Trouble::Away,
        };
    }
    match code.get(..2).unwrap_or_default() {
        // data exception, program limit exceeded
        "22" | "54" => Trouble::Values,
        // integrity constraint violation
        "23" => Trouble::Passing,
        _ => Trouble::Away,
    }
}
