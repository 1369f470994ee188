//! Deleting messages.

use std::sync::Arc;

use serde_json::Value;

use super::super::account::{Account, now};
use super::super::answer::{Answer, ApiError};
use super::super::params::Params;
use super::super::records::ChangeKind;
use super::Request;

/// Messages of one `deleteMessages`.
const MAX_AT_ONCE: usize = 100;

/// `message_ids` of a call that deletes several.
pub(super) fn message_ids(params: &Params) -> Result<Vec<i64>, ApiError> {
    let ids: Option<Vec<i64>> = params
        .json("message_ids")
        .and_then(|ids| ids.as_array()?.iter().map(Value::as_i64).collect());
    let ids = ids.ok_or_else(|| ApiError::bad_request("can't parse message identifiers"))?;
    if ids.is_empty() {
        return Err(ApiError::bad_request(
            "message identifiers are not specified",
        ));
    }
    if ids.len() > MAX_AT_ONCE {
        return Err(ApiError::bad_request(
            "too many message identifiers specified",
        ));
    }
    Ok(ids)
}

/// `deleteMessage`.
pub(super) fn one(request: &Request<'_>) -> Result<Answer, ApiError> {
    let message_id = request.params.integer("message_id").unwrap_or_default();
    if message_id <= 0 {
        return Err(ApiError::bad_request("message identifier is not specified"));
    }
    request
        .bot
        .with(|account| delete(request, account, "deleteMessage", message_id))?;
    Ok(Answer::done())
}

/// `deleteMessages`: those that are not found or cannot be deleted are skipped.
pub(super) fn many(request: &Request<'_>) -> Result<Answer, ApiError> {
    let ids = message_ids(request.params)?;
    request.bot.with(|account| {
        account.find_chat(request.params)?;
        for id in ids {
            match delete(request, account, "deleteMessages", id) {
                Ok(()) => {}
                Err(error) if error.code == 400 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    Ok(Answer::done())
}

fn delete(
    request: &Request<'_>,
    account: &mut Account,
    method: &'static str,
    message_id: i64,
) -> Result<(), ApiError> {
    let chat = account.find_chat(request.params)?;
    chat.open()?;
    let message = chat
        .message(message_id)
        .map(Arc::clone)
        .ok_or_else(|| ApiError::bad_request("message to delete not found"))?;
    let within = request.bot.shared.options.delete_within.as_secs();
    let age = now() - message["date"].as_i64().unwrap_or_default();
    let too_old = u64::try_from(age).is_ok_and(|age| age >= within);
    let foreign = !request.bot.has_sent(chat, &message) && !chat.is("private");
    if too_old || foreign {
        return Err(ApiError::bad_request("message can't be deleted"));
    }
    chat.remove(message_id);
    let chat_id = chat.id();
    request.changed(method, ChangeKind::Deleted, |change| {
        change.chat_id = chat_id;
        change.message_id = message_id;
        change.before = Some(message);
    });
    Ok(())
}
