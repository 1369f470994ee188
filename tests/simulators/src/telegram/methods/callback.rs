//! Answers to pressed buttons.

use std::sync::Arc;

use serde_json::json;

use super::super::answer::{Answer, ApiError};
use super::super::records::ChangeKind;
use super::Request;

/// Of the text shown to the user, in UTF-16 units.
const MAX_TEXT: usize = 200;

pub(super) fn answer(request: &Request<'_>) -> Result<Answer, ApiError> {
    let id = request.params.get("callback_query_id").unwrap_or_default();
    let life = request.bot.shared.options.callback_life;
    if !request.bot.with(|account| account.knows_callback(id, life)) {
        return Err(ApiError::bad_request(
            "query is too old and response timeout expired or query ID is invalid",
        ));
    }
    let text = request.params.get("text").unwrap_or_default();
    if text.encode_utf16().count() > MAX_TEXT {
        return Err(ApiError::bad_request("MESSAGE_TOO_LONG"));
    }
    let given: serde_json::Map<_, _> = request
        .params
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    request.changed("answerCallbackQuery", ChangeKind::Answered, |change| {
        change.after = Some(Arc::new(given.into()));
    });
    Ok(Answer::done())
}
