//! What a message carries that is no text: its name and words for a person.

use serde_json::Value;

use super::super::wire::{Message, Object};

/// What is looked for, most telling first: an animation is a document too, a live photo a photo, a venue a location.
const KINDS: &[(&str, &str)] = &[
    ("animation", "sent an animation"),
    ("live_photo", "sent a live photo"),
    ("photo", "sent a photo"),
    ("video", "sent a video"),
    ("video_note", "sent a round video"),
    ("audio", "sent an audio file"),
    ("voice", "sent a voice message"),
    ("document", "sent a file"),
    ("paid_media", "sent paid media"),
    ("sticker", "sent a sticker"),
    ("story", "forwarded a story"),
    ("venue", "shared a place"),
    ("location", "shared a location"),
    ("contact", "shared a contact"),
    ("poll", "sent a poll"),
    ("dice", "threw a die"),
    ("game", "sent a game"),
    ("checklist", "sent a checklist"),
    ("invoice", "sent an invoice"),
    ("successful_payment", "paid"),
    ("web_app_data", "sent data of a web app"),
    ("users_shared", "shared users"),
    ("chat_shared", "shared a chat"),
    ("pinned_message", "pinned a message"),
    ("new_chat_members", "added members"),
    ("left_chat_member", "removed a member"),
    ("new_chat_title", "changed the title"),
    ("new_chat_photo", "changed the picture"),
    ("delete_chat_photo", "removed the picture"),
    ("group_chat_created", "created the group"),
    ("supergroup_chat_created", "created the group"),
    ("channel_chat_created", "created the channel"),
    ("migrate_to_chat_id", "the group became a supergroup"),
    ("migrate_from_chat_id", "the group became this supergroup"),
    ("forum_topic_created", "opened a topic"),
    ("forum_topic_edited", "changed a topic"),
    ("forum_topic_closed", "closed a topic"),
    ("forum_topic_reopened", "opened a topic again"),
    ("rich_message", "sent a rich message"),
];

/// What surrounds the content of a message.
const FRAME: &[&str] = &[
    "author_signature",
    "business_connection_id",
    "caption",
    "caption_entities",
    "chat",
    "date",
    "direct_messages_topic",
    "edit_date",
    "effect_id",
    "entities",
    "external_reply",
    "forward_date",
    "forward_from",
    "forward_from_chat",
    "forward_from_message_id",
    "forward_origin",
    "forward_sender_name",
    "forward_signature",
    "from",
    "has_media_spoiler",
    "has_protected_content",
    "is_automatic_forward",
    "is_from_offline",
    "is_paid_post",
    "is_topic_message",
    "link_preview_options",
    "media_group_id",
    "message_id",
    "message_thread_id",
    "paid_star_count",
    "quote",
    "reply_markup",
    "reply_to_checklist_task_id",
    "reply_to_message",
    "reply_to_story",
    "sender_boost_count",
    "sender_business_bot",
    "sender_chat",
    "show_caption_above_media",
    "suggested_post_info",
    "text",
    "thumbnail",
    "via_bot",
];

/// The provider's name of a message's content and words for it; a kind that is not known yet is named by its key.
pub(super) fn describe(object: &Object, message: &Message) -> (String, String) {
    let known = KINDS.iter().find(|(key, _)| object.contains_key(*key));
    let (kind, mut words) = match known {
        Some((key, words)) => ((*key).to_owned(), (*words).to_owned()),
        None => {
            let other = object.keys().find(|key| !FRAME.contains(&key.as_str()));
            match other {
                Some(key) => (key.clone(), format!("sent: {}", key.replace('_', " "))),
                None => ("message".to_owned(), "sent an empty message".to_owned()),
            }
        }
    };
    let detail = message
        .caption
        .clone()
        .or_else(|| detail(&kind, object.get(&kind)?));
    if let Some(detail) = detail {
        words.push_str(": ");
        words.push_str(&detail);
    }
    (kind, words)
}

/// What a person wants to see of it at once.
fn detail(kind: &str, body: &Value) -> Option<String> {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    match kind {
        "document" | "audio" => text("file_name"),
        "sticker" => text("emoji"),
        "dice" => Some(format!(
            "{} {}",
            text("emoji")?,
            body.get("value")?.as_i64()?
        )),
        "location" => Some(format!(
            "{}, {}",
            body.get("latitude")?.as_f64()?,
            body.get("longitude")?.as_f64()?
        )),
        "venue" => Some(format!("{}, {}", text("title")?, text("address")?)),
        "contact" => Some(format!("{} {}", text("first_name")?, text("phone_number")?)),
        "poll" => text("question"),
        "web_app_data" => text("button_text"),
        "forum_topic_created" | "forum_topic_edited" => text("name"),
        "new_chat_title" => body.as_str().map(str::to_owned),
        "checklist" | "game" | "invoice" | "chat_shared" => text("title"),
        "left_chat_member" => text("first_name"),
        "new_chat_members" => {
            let names = body.as_array()?.iter();
            let names = names.filter_map(|user| user.get("first_name")?.as_str());
            Some(names.collect::<Vec<_>>().join(", "))
        }
        _ => None,
    }
}
