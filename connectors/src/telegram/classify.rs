//! What Telegram's refusals mean. `error_code` and `parameters` decide first; the wording of `description` is no
//! contract and is only looked at where they leave it open.

use std::time::Duration;

use super::client::{CallError, Refusal};
use crate::{Scope, SendError};

/// What to do about a call that was refused or lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Class {
    Failed(SendError),
    /// What was wanted is so already.
    Unchanged,
    /// What was to be deleted is not there.
    Absent,
    /// Send once more without formatting.
    Plain,
    /// Send once more without naming the message that is answered.
    WithoutReply,
    /// Send once more with the bytes instead of their handle.
    BadHandle,
    /// The group has this id now; send there.
    Migrated(i64),
}

/// `description` contains (in lower case) -> the recipient, for ever. What a chat only forbids (voice messages, a closed
/// topic), or only for now (the 24 hours after the person's last message are over: BUSINESS_PEER_USAGE_MISSING), is not
/// here: the contact is not gone for it.
const UNREACHABLE: [&str; 13] = [
    "chat not found",
    "peer_id_invalid",
    "private chat not found",
    "group is deactivated",
    "user not found",
    "have no rights to send",
    "need administrator rights",
    "message thread not found",
    "bot was kicked",
    "user is deactivated",
    "business connection not found",
    "business_connection_invalid",
    "business_peer_invalid",
];

/// A handle that this bot cannot use, or not for this kind of file.
const BAD_HANDLE: [&str; 5] = [
    "wrong file identifier",
    "wrong remote file identifier",
    "wrong file_id",
    "can't use file of type",
    "type of file mismatch",
];

/// Classifies a failed call.
pub(super) fn classify(error: &CallError) -> Class {
    match error {
        CallError::NotSent(reason) => Class::Failed(SendError::Unavailable {
            reason: reason.clone(),
        }),
        CallError::Lost(reason) => Class::Failed(SendError::Uncertain {
            reason: reason.clone(),
        }),
        CallError::Refused(refusal) => refused(refusal),
        // The sender has an answer of its own to it.
        CallError::Unread(error) => Class::Failed(SendError::NotReady {
            reason: error.to_string(),
        }),
    }
}

fn refused(refusal: &Refusal) -> Class {
    let code = refusal.code.to_string();
    let reason = refusal.to_string();
    if let Some(chat) = refusal.migrate_to_chat_id {
        return Class::Migrated(chat);
    }
    if refusal.code == 404 && refusal.description.contains("method not found") {
        // An older Bot API server: it refuses this one call, and nothing else.
        return Class::Failed(SendError::Rejected { code, reason });
    }
    Class::Failed(match refusal.code {
        // 404 without a chat or message that was not found: the token or the server is wrong.
        401 | 404 | 409 | 421 | 300..=399 => SendError::Misconfigured { reason },
        403 => SendError::Unreachable { code, reason },
        429 => rate_limited(refusal),
        400 => return bad_request(refusal),
        // It may have been sent all the same.
        500..=599 => SendError::Uncertain { reason },
        _ => SendError::Rejected { code, reason },
    })
}

/// Telegram does not say whom a limit concerns: the chat it was said about, until another one is limited as well
/// (`Memory::limit`). Groups are asked to wait for long (https://core.telegram.org/bots/faq#my-bot-is-hitting-limits).
fn rate_limited(refusal: &Refusal) -> SendError {
    SendError::RateLimited {
        retry_after: refusal.retry_after.map(Duration::from_secs),
        scope: Scope::Recipient,
    }
}

fn bad_request(refusal: &Refusal) -> Class {
    let description = refusal.description.to_lowercase();
    let says = |text: &str| description.contains(text);
    let code = refusal.code.to_string();
    let reason = refusal.to_string();
    if says("can't parse entities") || says("can't parse message entities") {
        return Class::Plain;
    }
    if says("message to be replied not found") {
        return Class::WithoutReply;
    }
    if says("message is not modified") {
        return Class::Unchanged;
    }
    if says("message to delete not found") {
        return Class::Absent;
    }
    if says("file is temporarily unavailable") {
        // It is the file's trouble and not the account's: only this chat waits.
        return Class::Failed(SendError::NotReady { reason });
    }
    if BAD_HANDLE.into_iter().any(says) {
        return Class::BadHandle;
    }
    Class::Failed(if UNREACHABLE.into_iter().any(says) {
        SendError::Unreachable { code, reason }
    } else {
        SendError::Rejected { code, reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: u16, description: &str) -> String {
        let refusal = Refusal {
            code,
            description: description.to_owned(),
            ..Refusal::default()
        };
        name(&classify(&CallError::Refused(refusal)))
    }

    fn name(class: &Class) -> String {
        let text = match class {
            Class::Failed(SendError::Rejected { .. }) => "rejected",
            Class::Failed(SendError::Unreachable { .. }) => "unreachable",
            Class::Failed(SendError::RateLimited { retry_after, scope }) => {
                return format!("limited {retry_after:?} {scope:?}");
            }
            Class::Failed(SendError::Unavailable { .. }) => "unavailable",
            Class::Failed(SendError::NotReady { .. }) => "not ready",
            Class::Failed(SendError::Uncertain { .. }) => "uncertain",
            Class::Failed(SendError::Misconfigured { .. }) => "misconfigured",
            Class::Unchanged => "unchanged",
            Class::Absent => "absent",
            Class::BadHandle => "bad handle",
            Class::Plain => "plain",
            Class::WithoutReply => "without reply",
            Class::Migrated(_) => "migrated",
        };
        text.to_owned()
    }

    /// The rows of the table in the provider's facts.
    const TABLE: &[(u16, &[&str], &str)] = &[
        (401, &["Unauthorized"], "misconfigured"),
        (404, &["Not Found", ""], "misconfigured"),
        (404, &["Not Found: method not found"], "rejected"),
        (421, &["Misdirected Request"], "misconfigured"),
        (
            409,
            &[
                "Conflict: can't use getUpdates method while webhook is active",
                "Conflict: terminated by setWebhook request",
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
            ],
            "misconfigured",
        ),
        (
            403,
            &[
                "Forbidden: bot was blocked by the user",
                "Forbidden: user is deactivated",
                "Forbidden: bot can't initiate conversation with a user",
                "Forbidden: bot can't send messages to bots",
                "Forbidden: bot was kicked from the group chat",
                "Forbidden: bot is not a member of the supergroup chat",
                "Forbidden: the group chat was deleted",
            ],
            "unreachable",
        ),
        (
            400,
            &[
                "Bad Request: chat not found",
                "Bad Request: PEER_ID_INVALID",
                "Bad Request: private chat not found",
                "Bad Request: group is deactivated",
                "Bad Request: user not found",
                "Bad Request: have no rights to send a message",
                "Bad Request: need administrator rights in the channel chat",
                "Bad Request: message thread not found",
                "Bad Request: business connection not found",
                "Bad Request: BUSINESS_CONNECTION_INVALID",
                "Bad Request: BUSINESS_PEER_INVALID",
            ],
            "unreachable",
        ),
        (
            400,
            &["Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 0"],
            "plain",
        ),
        (
            400,
            &["Bad Request: message to be replied not found"],
            "without reply",
        ),
        (
            400,
            &[
                "Bad Request: message is not modified: specified new message content and reply markup are exactly the same",
            ],
            "unchanged",
        ),
        (400, &["Bad Request: message to delete not found"], "absent"),
        (
            400,
            &[
                "Bad Request: wrong file identifier/HTTP URL specified",
                "Bad Request: wrong remote file identifier specified: Wrong padding in the string",
                "Bad Request: can't use file of type Document as Photo",
            ],
            "bad handle",
        ),
        (
            400,
            &[
                "Bad Request: message text is empty",
                "Bad Request: message is too long",
                "Bad Request: message caption is too long",
                "Bad Request: failed to get HTTP URL content",
                "Bad Request: wrong type of the web page content",
                "Bad Request: PHOTO_INVALID_DIMENSIONS",
                "Bad Request: IMAGE_PROCESS_FAILED",
                "Bad Request: file is too big",
                "Bad Request: BUTTON_DATA_INVALID",
                "Bad Request: BUTTON_URL_INVALID",
                "Bad Request: reply markup is too long",
                "Bad Request: message can't be edited",
                "Bad Request: message to edit not found",
                "Bad Request: message can't be deleted",
                "Bad Request: media group must include 2-10 items",
                "Bad Request: VOICE_MESSAGES_FORBIDDEN",
                "Bad Request: not enough rights to send text messages to the chat",
                "Bad Request: TOPIC_CLOSED",
                "Bad Request: query is too old and response timeout expired or query ID is invalid",
                "Bad Request: BUSINESS_PEER_USAGE_MISSING",
                "Bad Request: something new",
            ],
            "rejected",
        ),
        (
            400,
            &["Bad Request: file is temporarily unavailable"],
            "not ready",
        ),
        (413, &["Request Entity Too Large", ""], "rejected"),
        (
            429,
            &["Too Many Requests: retry after 7"],
            "limited None Recipient",
        ),
        (500, &["Internal Server Error: restart"], "uncertain"),
        (502, &["Bad Gateway", ""], "uncertain"),
        (503, &[""], "uncertain"),
        (504, &[""], "uncertain"),
        (302, &[""], "misconfigured"),
        (418, &["I'm a teapot"], "rejected"),
    ];

    #[test]
    fn every_row_of_the_table() {
        for (code, descriptions, expected) in TABLE {
            for description in *descriptions {
                assert_eq!(class(*code, description), *expected, "{code} {description}");
            }
        }
    }

    #[test]
    fn parameters_decide_before_words() {
        let limited = |retry_after| {
            let refusal = Refusal {
                code: 429,
                retry_after: Some(retry_after),
                ..Refusal::default()
            };
            name(&classify(&CallError::Refused(refusal)))
        };
        assert_eq!(limited(2), "limited Some(2s) Recipient");
        assert_eq!(limited(2282), "limited Some(2282s) Recipient");
        let refusal = Refusal {
            code: 400,
            description: "Bad Request: group chat was upgraded to a supergroup chat".to_owned(),
            migrate_to_chat_id: Some(-1_002_000_333_444),
            ..Refusal::default()
        };
        assert_eq!(
            classify(&CallError::Refused(refusal)),
            Class::Migrated(-1_002_000_333_444)
        );
    }

    #[test]
    fn lost_is_uncertain_and_not_sent_is_not() {
        let reason = || "x".to_owned();
        assert_eq!(
            name(&classify(&CallError::NotSent(reason()))),
            "unavailable"
        );
        assert_eq!(name(&classify(&CallError::Lost(reason()))), "uncertain");
    }
}
