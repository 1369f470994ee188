//! Why the file could not be opened, and what a failed write means.

use std::path::PathBuf;

use crate::{BusError, BusState, PublishError};

/// Why the embedded bus could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "another tributary process uses {0}: stop it, or give this one a `data.dir` of its own"
    )]
    InUse(PathBuf),
    #[error("there is no embedded bus at {0}: start `tributary up` first, or check `data.dir`")]
    Missing(PathBuf),
    #[error("embedded bus {path}: {reason}")]
    File {
        /// The file that was to be opened.
        path: PathBuf,
        /// What stands in the way.
        reason: String,
    },
}

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No room; nothing was written.
    Full,
    /// The file or its disk is in trouble; nothing was written.
    Storage(String),
    /// The commit itself failed: after a crash it may turn out to have been written.
    Uncertain(String),
    /// This one request cannot be done; the file is well.
    Refused(String),
    /// The bus was closed.
    Closed,
    /// No answer in time.
    Deadline,
}

/// For a person: what is wrong and what to do.
const FULL: &str = "the disk of the embedded bus is full: free some space, it goes on by itself";

impl Failure {
    /// Reads an error of a statement inside a transaction that will be rolled back.
    pub fn of(error: &sqlx::Error) -> Self {
        let Some(code) = code(error) else {
            return Self::Storage(error.to_string());
        };
        // Primary result codes, <https://www.sqlite.org/rescode.html>: the low byte of an extended one.
        match code & 0xff {
            13 => Self::Full,
            5 | 6 | 7 | 8 | 10 | 11 | 14 | 22 | 26 => Self::Storage(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }

    /// Reads an error of the commit. Running out of room and waiting for a lock happen before the commit is marked
    /// as complete; after any other error the mark may or may not have reached the disk.
    pub fn of_commit(error: &sqlx::Error) -> Self {
        match Self::of(error) {
            Self::Full => Self::Full,
            other if code(error).is_some_and(|code| matches!(code & 0xff, 5 | 6 | 8)) => other,
            other => Self::Uncertain(other.reason()),
        }
    }

    /// Whether other requests would fail in the same way.
    pub fn concerns_all(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    /// What the bus is in after this, if it concerns all.
    pub fn state(&self) -> Option<BusState> {
        match self {
            Self::Full => Some(BusState::Blocked {
                reason: self.reason(),
            }),
            Self::Storage(_) | Self::Uncertain(_) => Some(BusState::Away {
                reason: self.reason(),
            }),
            Self::Refused(_) | Self::Closed | Self::Deadline => None,
        }
    }

    pub fn reason(&self) -> String {
        match self {
            Self::Full => FULL.to_owned(),
            Self::Storage(reason) | Self::Uncertain(reason) => {
                format!("the file of the embedded bus cannot be written: {reason}")
            }
            Self::Refused(reason) => reason.clone(),
            Self::Closed => "the embedded bus was closed".to_owned(),
            Self::Deadline => "the embedded bus did not answer in time".to_owned(),
        }
    }
}

/// The extended result code of SQLite.
fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

impl From<Failure> for BusError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(reason) => Self::Refused(reason),
            Failure::Deadline => Self::Deadline(super::DEADLINE),
            Failure::Full | Failure::Storage(_) | Failure::Uncertain(_) | Failure::Closed => {
                Self::Away(failure.reason())
            }
        }
    }
}

impl From<Failure> for PublishError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Uncertain(_) | Failure::Deadline => Self::Unknown(failure.reason()),
            Failure::Full | Failure::Storage(_) | Failure::Refused(_) | Failure::Closed => {
                Self::NotPublished(failure.reason())
            }
        }
    }
}
