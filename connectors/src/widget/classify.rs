//! What a failure of the mailbox means for a delivery.
//!
//! Keeping a message is idempotent, so no outcome is ever uncertain: it is simply tried again.

use super::{mailbox::MailboxError, outbound::Unfit};
use crate::SendError;

impl From<MailboxError> for SendError {
    fn from(error: MailboxError) -> Self {
        match error {
            MailboxError::UnknownVisitor => unknown_visitor(),
            MailboxError::Deadline | MailboxError::Database(_) => Self::Unavailable {
                reason: error.to_string(),
            },
        }
    }
}

impl From<Unfit> for SendError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Address => unknown_visitor(),
            Unfit::Content => Self::Rejected {
                code: "unsupported_content".to_owned(),
                reason: "the web widget cannot show this".to_owned(),
            },
            Unfit::Media => Self::Rejected {
                code: "no_media".to_owned(),
                reason: "the media has neither an id nor a link".to_owned(),
            },
            Unfit::Link => Self::Rejected {
                code: "bad_link".to_owned(),
                reason: "a link must be a whole http, https, mailto or tel address".to_owned(),
            },
            Unfit::Part => Self::Rejected {
                code: "too_many_parts".to_owned(),
                reason: "the message has too many parts".to_owned(),
            },
        }
    }
}

fn unknown_visitor() -> SendError {
    SendError::Unreachable {
        code: "unknown_visitor".to_owned(),
        reason: "no such visitor has ever written to this widget".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tributary_base::database::DatabaseError;

    use super::*;

    #[test]
    fn each_failure_has_its_meaning() {
        let away = MailboxError::Database(DatabaseError::Sqlx(sqlx::Error::PoolTimedOut));
        let rows: [(SendError, &str); 8] = [
            (
                MailboxError::UnknownVisitor.into(),
                "unreachable (unknown_visitor)",
            ),
            (away.into(), "unavailable"),
            (MailboxError::Deadline.into(), "unavailable"),
            (Unfit::Address.into(), "unreachable (unknown_visitor)"),
            (Unfit::Content.into(), "rejected (unsupported_content)"),
            (Unfit::Part.into(), "rejected (too_many_parts)"),
            (Unfit::Media.into(), "rejected (no_media)"),
            (Unfit::Link.into(), "rejected (bad_link)"),
        ];
        for (error, meaning) in rows {
            assert!(error.to_string().starts_with(meaning), "{error}");
        }
    }
}
