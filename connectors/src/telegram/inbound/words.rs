//! Everything there is to read in content that has no form of its own here, whatever it is called. Pure.

use serde_json::Value;

use super::{super::wire::Object, rich};

/// Fields that hold words, in the order in which a person reads them.
const WORDS: &[&str] = &[
    "title",
    "question",
    "query",
    "name",
    "text",
    "caption",
    "description",
    "explanation",
    "summary",
    "prize_description",
    "comment",
    "reason",
    "bio",
    "message",
    "label",
    "emoji",
    "performer",
    "file_name",
    "button_text",
    "option_text",
    "phone_number",
    "email",
    "address",
    "street_line1",
    "street_line2",
    "city",
    "state",
    "post_code",
];
/// Ends of names of fields that hold words, so that a field of a later version is read too.
const ENDINGS: &[&str] = &[
    "_text",
    "_title",
    "_caption",
    "_description",
    "_comment",
    "_message",
    "_question",
];
/// Fields whose content is a list of things to choose or to do.
const LISTS: &[&str] = &["options", "tasks", "items"];
/// Fields that add no words of whoever wrote this.
const SKIPPED: &[&str] = &[
    "added_by_chat",
    "added_by_user",
    "completed_by_chat",
    "completed_by_user",
    "credentials",
    "entities",
    "photo",
    "publisher_chat",
    "reply_markup",
    "thumbnail",
];
/// What surrounds the words of a message within a message, such as a pinned one.
const AROUND_MESSAGE: &[&str] = &["chat", "from", "sender_chat", "reply_to_message"];

/// The words of any value, line by line.
pub(super) fn of(value: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    collect(value, true, &mut lines);
    lines
}

/// The words of all fields for which `wanted` holds.
pub(super) fn of_fields(object: &Object, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let fields = object.iter().filter(|(key, _)| wanted(key));
    let fields: Object = fields
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut lines = Vec::new();
    for (key, value) in sorted(&fields) {
        collect_field(key, value, false, &mut lines);
    }
    lines
}

/// `wordy`: a text here is something that somebody wrote.
fn collect(value: &Value, wordy: bool, lines: &mut Vec<String>) {
    match value {
        Value::String(text) if wordy => {
            lines.extend(
                Some(text.trim())
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned),
            );
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, wordy, lines)),
        Value::Object(object) => collect_object(object, wordy, lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn collect_object(object: &Object, wordy: bool, lines: &mut Vec<String>) {
    let named = person(object);
    let has_name = named.is_some();
    lines.extend(named);
    let is_message = object.contains_key("message_id");
    for (key, value) in sorted(object) {
        let skipped = SKIPPED.contains(&key)
            || key.ends_with("_entities")
            || (has_name && key == "title")
            || (is_message && AROUND_MESSAGE.contains(&key));
        if skipped {
            continue;
        }
        if key == "rich_message" {
            lines.extend(rich::text(value).map(|text| text.text));
            continue;
        }
        let first = lines.len();
        collect_field(key, value, wordy, lines);
        if LISTS.contains(&key) {
            for line in &mut lines[first..] {
                line.insert_str(0, "- ");
            }
        }
    }
    lines.extend(amount(object));
}

fn collect_field(key: &str, value: &Value, wordy: bool, lines: &mut Vec<String>) {
    let formatted = WORDS.contains(&key) && !value.is_string();
    match rich::text(value).filter(|_| formatted) {
        Some(text) => lines.push(text.text),
        None => collect(value, is_wordy(key) || (wordy && key == "text"), lines),
    }
}

/// Known fields first, in their order; then all others, in that of the alphabet.
fn sorted(object: &Object) -> Vec<(&str, &Value)> {
    let rank = |key: &str| WORDS.iter().position(|word| *word == key);
    let mut fields: Vec<(&str, &Value)> = object
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    fields.sort_by_key(|(key, _)| (rank(key).unwrap_or(WORDS.len()), *key));
    fields
}

fn is_wordy(key: &str) -> bool {
    WORDS.contains(&key)
        || LISTS.contains(&key)
        || ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// A person, or a chat with a user name, in one line; by the id where there is no name.
fn person(object: &Object) -> Option<String> {
    let text = |key: &str| {
        let text = object.get(key)?.as_str()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let username = text("username").map(|name| format!("@{name}"));
    let title = username.as_ref().and_then(|_| text("title"));
    let names: Vec<String> = [title, text("first_name"), text("last_name"), username]
        .into_iter()
        .flatten()
        .collect();
    if names.is_empty() {
        return object.get("user_id")?.as_i64().map(|id| id.to_string());
    }
    Some(names.join(" "))
}

fn amount(object: &Object) -> Option<String> {
    let amount = object.get("total_amount").or_else(|| object.get("amount"));
    let currency = object.get("currency")?.as_str()?;
    Some(format!(
        "{} {currency} (in its smallest units)",
        amount?.as_i64()?
    ))
}
