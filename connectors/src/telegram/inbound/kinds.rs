//! What a message carries that is no text: its name and words for a person.

use serde_json::Value;

use super::{
    super::wire::{Message, Object},
    words,
};

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
    ("gift", "sent a gift"),
    ("unique_gift", "sent a unique gift"),
    ("gift_upgrade_sent", "paid for the upgrade of a gift"),
    ("giveaway_created", "announced a giveaway"),
    ("giveaway", "sent a giveaway"),
    ("giveaway_winners", "told the winners of a giveaway"),
    ("giveaway_completed", "completed a giveaway"),
    ("checklist_tasks_done", "ticked tasks of a checklist"),
    ("checklist_tasks_added", "added tasks to a checklist"),
    ("poll_option_added", "added an option to a poll"),
    ("poll_option_deleted", "removed an option from a poll"),
    ("refunded_payment", "got a payment back"),
    ("passport_data", "shared documents of Telegram Passport"),
    ("user_shared", "shared a user"),
    ("suggested_post_approved", "approved a suggested post"),
    (
        "suggested_post_approval_failed",
        "could not approve a suggested post",
    ),
    ("suggested_post_declined", "declined a suggested post"),
    ("suggested_post_paid", "paid for a suggested post"),
    (
        "suggested_post_refunded",
        "got the price of a suggested post back",
    ),
    ("proximity_alert_triggered", "came near"),
    ("boost_added", "boosted the chat"),
    ("connected_website", "logged in on a website"),
    ("write_access_allowed", "allowed the bot to write"),
    ("video_chat_scheduled", "scheduled a video chat"),
    ("video_chat_started", "started a video chat"),
    ("video_chat_ended", "ended a video chat"),
    ("video_chat_participants_invited", "invited to a video chat"),
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
    "ephemeral_message_id",
    "external_reply",
    "forward_date",
    "forward_from",
    "forward_from_chat",
    "forward_from_message_id",
    "forward_origin",
    "forward_sender_name",
    "forward_signature",
    "from",
    "guest_bot_caller_chat",
    "guest_bot_caller_user",
    "guest_query_id",
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
    "receiver_user",
    "reply_markup",
    "reply_to_checklist_task_id",
    "reply_to_message",
    "reply_to_poll_option_id",
    "reply_to_story",
    "sender_boost_count",
    "sender_business_bot",
    "sender_chat",
    "sender_tag",
    "show_caption_above_media",
    "suggested_post_info",
    "text",
    "thumbnail",
    "via_bot",
];

/// The provider's name of a message's content, and all that there is to read in it; a kind that is
/// not known yet is named by its key.
pub(super) fn describe(object: &Object, message: &Message) -> (String, String) {
    let known = KINDS.iter().find(|(key, _)| object.contains_key(*key));
    let (kind, words, details) = match known {
        Some((key, words)) => {
            let details = detail(key, object.get(*key));
            ((*key).to_owned(), (*words).to_owned(), details)
        }
        None => match unknown_key(object) {
            Some(key) => {
                let words = format!("sent: {}", key.replace('_', " "));
                (key.to_owned(), words, read_all(object))
            }
            None => {
                let words = "sent an empty message".to_owned();
                ("message".to_owned(), words, Vec::new())
            }
        },
    };
    let mut lines: Vec<String> = message.caption.iter().cloned().collect();
    lines.extend(details);
    (kind, with_lines(words, &lines))
}

/// The content of a message in words, without their surroundings; `None` when it is not known.
pub(super) fn known_words(object: &Object) -> Option<String> {
    let (key, words) = KINDS.iter().find(|(key, _)| object.contains_key(*key))?;
    let lines = detail(key, object.get(*key));
    Some(with_lines((*words).to_owned(), &lines))
}

/// Who did something, in updates that are no messages.
const ACTORS: &[&str] = &[
    "actor_chat",
    "new_chat_member",
    "old_chat_member",
    "user",
    "voter_chat",
];

/// All that there is to read in an object of any kind, without what surrounds it.
pub(super) fn read_all(object: &Object) -> Vec<String> {
    words::of_fields(object, |key| {
        !FRAME.contains(&key) && !ACTORS.contains(&key)
    })
}

pub(super) fn with_lines(words: String, lines: &[String]) -> String {
    match lines {
        [] => words,
        lines => format!("{words}: {}", lines.join("\n")),
    }
}

/// The content of a message of a later version: what is more than a flag, if there is any.
fn unknown_key(object: &Object) -> Option<&str> {
    let mut others = object
        .iter()
        .filter(|(key, _)| !FRAME.contains(&key.as_str()));
    let first = others.clone().next()?;
    let telling = others.find(|(_, value)| !value.is_boolean() && !value.is_number());
    Some(telling.unwrap_or(first).0.as_str())
}

/// What a person wants to read of it, line by line.
fn detail(kind: &str, body: Option<&Value>) -> Vec<String> {
    let Some(body) = body else { return Vec::new() };
    match short_detail(kind, body) {
        Some(line) => vec![line],
        None => words::of(body),
    }
}

/// What is told in a line of its own form; `None`: read as it stands.
fn short_detail(kind: &str, body: &Value) -> Option<String> {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    match kind {
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
        "left_chat_member" => text("first_name"),
        "new_chat_members" => {
            let names = body.as_array()?.iter();
            let names = names.filter_map(|user| user.get("first_name")?.as_str());
            Some(names.collect::<Vec<_>>().join(", "))
        }
        _ => None,
    }
}
