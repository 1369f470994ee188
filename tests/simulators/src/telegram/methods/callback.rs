//! Answers to pressed buttons.

use super::super::answer::{Answer, ApiError};
use super::Request;

/// Of the text shown to the user, in UTF-16 units.
const MAX_TEXT: usize = 200;

pub(super) fn answer(request: &Request<'_>) -> Result<Answer, ApiError> {
    let id = request.params.get("callback_query_id").unwrap_or_default();
    if !request.bot.with(|account| account.knows_callback(id)) {
        return Err(ApiError::bad_request(
            "query is too old and response timeout expired or query ID is invalid",
        ));
    }
    let text = request.params.get("text").unwrap_or_default();
    if text.encode_utf16().count() > MAX_TEXT {
        return Err(ApiError::bad_request("MESSAGE_TOO_LONG"));
    }
    Ok(Answer::done())
}
