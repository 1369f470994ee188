//! Passing a message on: as one's own, or as somebody's.

use serde_json::{Map, Value, json};

use super::super::account::{Account, now};
use super::super::answer::{Answer, ApiError};
use super::super::params::Params;
use super::Request;
use super::send::{self, Outgoing};

/// What belongs to a message and not to its content.
const ENVELOPE: [&str; 17] = [
    "message_id",
    "message_thread_id",
    "is_topic_message",
    "from",
    "sender_chat",
    "sender_business_bot",
    "business_connection_id",
    "chat",
    "date",
    "edit_date",
    "reply_to_message",
    "quote",
    "external_reply",
    "media_group_id",
    "reply_markup",
    "forward_origin",
    "has_protected_content",
];

/// `copyMessage`: the result is only the new id.
pub(super) fn copy(request: &Request<'_>) -> Result<Answer, ApiError> {
    let message = request.bot.with(|account| {
        let original = original(request, account, "copy")?;
        let mut content = content_of(&original);
        if request.params.get("caption").is_some() && content.contains_key("caption") {
            content.remove("caption_entities");
            content.extend(send::caption_content(request.params)?.0);
        }
        let text = text_of(&content);
        let outgoing = Outgoing::new("copyMessage", content, text);
        send::post(request, account, outgoing.with_markup(request.params)?)
    })?;
    Ok(Answer::new(&json!({"message_id": message["message_id"]})))
}

/// `forwardMessage`.
pub(super) fn forward(request: &Request<'_>) -> Result<Answer, ApiError> {
    let message = request.bot.with(|account| {
        let original = original(request, account, "forward")?;
        let mut content = content_of(&original);
        content.insert("forward_origin".into(), origin(&original));
        let text = text_of(&content);
        send::post(
            request,
            account,
            Outgoing::new("forwardMessage", content, text),
        )
    })?;
    Ok(Answer::new(&message))
}

fn original(request: &Request<'_>, account: &mut Account, verb: &str) -> Result<Value, ApiError> {
    let from = request.params.get("from_chat_id").unwrap_or_default();
    let place = Params::from_object(json!({ "chat_id": from })).unwrap_or_default();
    let message_id = request.params.integer("message_id").unwrap_or_default();
    let missing = || ApiError::bad_request(&format!("message to {verb} not found"));
    let message = account
        .find_chat(&place)?
        .message(message_id)
        .ok_or_else(missing)?;
    if message["has_protected_content"] == true {
        let reason = format!("the message can't be {verb}ed: message has protected content");
        return Err(ApiError::bad_request(&reason.replace("copyed", "copied")));
    }
    Ok(Value::clone(message))
}

fn content_of(message: &Value) -> Map<String, Value> {
    let mut content = message.as_object().cloned().unwrap_or_default();
    content.retain(|name, _| !ENVELOPE.contains(&name.as_str()));
    content
}

fn text_of(content: &Map<String, Value>) -> String {
    let text = content.get("text").or_else(|| content.get("caption"));
    text.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn origin(message: &Value) -> Value {
    if let Some(origin) = message.get("forward_origin") {
        return origin.clone();
    }
    let date = message["date"].as_i64().unwrap_or_else(now);
    if message["chat"]["type"] == "channel" {
        return json!({
            "type": "channel", "date": date, "chat": message["chat"], "message_id": message["message_id"],
        });
    }
    json!({"type": "user", "date": date, "sender_user": message["from"]})
}
