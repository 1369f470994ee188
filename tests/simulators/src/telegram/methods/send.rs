//! Methods that put something into a chat.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::account::{Chat, now};
use super::super::answer::{Answer, ApiError};
use super::super::params::Params;
use super::super::records::Sent;
use super::super::text::{self, Formatted};
use super::Request;

/// Of a text after parsing, in UTF-16 units.
const MAX_TEXT: usize = 4096;
/// Of an inline button's `callback_data`, in bytes.
const MAX_CALLBACK_DATA: usize = 64;
const ACTIONS: [&str; 11] = [
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
];

/// `sendMessage`.
pub(super) fn message(request: &Request<'_>) -> Result<Answer, ApiError> {
    let formatted = text::formatted(request.params, "text", "entities")?;
    if formatted.text.is_empty() {
        return Err(ApiError::bad_request("message text is empty"));
    }
    if formatted.text.encode_utf16().count() > MAX_TEXT {
        return Err(ApiError::bad_request("message is too long"));
    }
    let Formatted { text, entities } = formatted;
    let mut content = Map::new();
    content.insert("text".into(), json!(text));
    if !entities.is_empty() {
        content.insert("entities".into(), json!(entities));
    }
    send(request, "sendMessage", content, text)
}

/// `sendChatAction`.
pub(super) fn chat_action(request: &Request<'_>) -> Result<Answer, ApiError> {
    let action = request.params.get("action").unwrap_or_default();
    if !ACTIONS.contains(&action) {
        return Err(ApiError::bad_request("wrong parameter action in request"));
    }
    request
        .bot
        .with(|account| account.find_chat(request.params.get("chat_id"))?.open())?;
    Ok(Answer::done())
}

/// Accepts one message: checks the chat, the reply and the buttons, gives it its id, and records it. All that a further
/// send method needs besides is its content, as fields of `Message`.
fn send(
    request: &Request<'_>,
    method: &'static str,
    content: Map<String, Value>,
    text: String,
) -> Result<Answer, ApiError> {
    let params = request.params;
    let markup = inline_keyboard(params)?;
    let from = request.bot.user();
    let bot_id = request.bot.profile.id();
    request.bot.with(|account| {
        let chat = account.find_chat(params.get("chat_id"))?;
        let replied = replied_to(params, chat)?;
        chat.open()?;
        let message_id = chat.next_message_id();
        let mut message = json!({
            "message_id": message_id,
            "from": from,
            "chat": chat.info,
            "date": now(),
        });
        if let Some(fields) = message.as_object_mut() {
            fields.extend(replied.map(|message| ("reply_to_message".to_owned(), message)));
            fields.extend(content);
            fields.extend(markup.map(|markup| ("reply_markup".to_owned(), markup)));
        }
        let message = Arc::new(message);
        chat.keep(message_id, Arc::clone(&message));
        let answer = Answer::new(&message);
        let chat_id = chat.info["id"].as_i64().unwrap_or_default();
        request.bot.shared.record(|records| {
            records.add_sent(|order| Sent {
                order,
                at: SystemTime::now(),
                instant: Instant::now(),
                bot_id,
                method,
                chat_id,
                message_id,
                text,
                parameters: params.clone(),
                message,
                disturbed_by: request.action.cloned(),
            });
        });
        Ok(answer)
    })
}

/// The message that `reply_parameters` (or the older `reply_to_message_id`) names, without what it replied to itself.
fn replied_to(params: &Params, chat: &Chat) -> Result<Option<Value>, ApiError> {
    let reply = match params.get("reply_parameters") {
        None => json!({
            "message_id": params.integer("reply_to_message_id").unwrap_or_default(),
            "allow_sending_without_reply": params.flag("allow_sending_without_reply"),
        }),
        Some(_) => params
            .json("reply_parameters")
            .filter(Value::is_object)
            .ok_or_else(|| ApiError::bad_request("object expected as reply parameters"))?,
    };
    let message_id = reply["message_id"].as_i64().unwrap_or_default();
    if message_id == 0 {
        return Ok(None);
    }
    if !chat.has(message_id) {
        let may_go_alone = reply["allow_sending_without_reply"]
            .as_bool()
            .unwrap_or_default();
        let missing = ApiError::bad_request("message to be replied not found");
        return if may_go_alone { Ok(None) } else { Err(missing) };
    }
    let mut replied = chat
        .message(message_id)
        .map(|message| Value::clone(message));
    if let Some(Value::Object(fields)) = &mut replied {
        fields.remove("reply_to_message");
    }
    Ok(replied)
}

/// The inline keyboard in `reply_markup`, which becomes part of the message; other markup does not.
fn inline_keyboard(params: &Params) -> Result<Option<Value>, ApiError> {
    if params.get("reply_markup").is_none() {
        return Ok(None);
    }
    let markup = params
        .json("reply_markup")
        .filter(Value::is_object)
        .ok_or_else(|| ApiError::bad_request("object expected as reply markup"))?;
    let Some(rows) = markup.get("inline_keyboard").and_then(Value::as_array) else {
        return Ok(None);
    };
    for button in rows.iter().filter_map(Value::as_array).flatten() {
        if button["text"].as_str().is_none_or(str::is_empty) {
            return Err(ApiError::bad_request(
                "can't parse inline keyboard button: Field \"text\" must be of type String",
            ));
        }
        let too_long = |data: &str| data.is_empty() || data.len() > MAX_CALLBACK_DATA;
        if button["callback_data"].as_str().is_some_and(too_long) {
            return Err(ApiError::bad_request("BUTTON_DATA_INVALID"));
        }
    }
    Ok(Some(markup))
}
