//! Reactions of the bot, and what it shows itself doing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::answer::{Answer, ApiError};
use super::super::records::ChangeKind;
use super::Request;

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

/// The emoji that may be reactions (documentation of `ReactionTypeEmoji`), without variation selectors.
const EMOJI: &str = "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 \
                     😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡";

/// `sendChatAction`.
pub(super) fn chat_action(request: &Request<'_>) -> Result<Answer, ApiError> {
    let action = request.params.get("action").unwrap_or_default();
    if !ACTIONS.contains(&action) {
        return Err(ApiError::bad_request("wrong parameter action in request"));
    }
    let chat_id = request.bot.with(|account| {
        let chat = account.find_chat(request.params)?;
        chat.open()?;
        Ok(chat.id())
    })?;
    request.changed("sendChatAction", ChangeKind::Acted, |change| {
        change.chat_id = chat_id;
        change.after = Some(Arc::new(json!(action)));
    });
    Ok(Answer::done())
}

/// `setMessageReaction`.
pub(super) fn set(request: &Request<'_>) -> Result<Answer, ApiError> {
    let reactions = match request.params.get("reaction") {
        None => json!([]),
        Some(_) => request
            .params
            .json("reaction")
            .filter(Value::is_array)
            .ok_or_else(|| ApiError::bad_request("can't parse reaction JSON object"))?,
    };
    check(&reactions)?;
    let message_id = request.params.integer("message_id").unwrap_or_default();
    let me = request.bot.profile.id();
    let (chat_id, before) = request.bot.with(|account| {
        let chat = account.find_chat(request.params)?;
        chat.open()?;
        if chat.message(message_id).is_none() {
            return Err(ApiError::bad_request("message to react not found"));
        }
        Ok((chat.id(), chat.react(message_id, me, reactions.clone())))
    })?;
    request.changed("setMessageReaction", ChangeKind::Reacted, |change| {
        change.chat_id = chat_id;
        change.message_id = message_id;
        change.before = Some(Arc::new(before));
        change.after = Some(Arc::new(reactions));
    });
    Ok(Answer::done())
}

/// A bot has at most one, which is an emoji of the list.
fn check(reactions: &Value) -> Result<(), ApiError> {
    let list = reactions.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.len() > 1 {
        return Err(ApiError::bad_request("REACTIONS_TOO_MANY"));
    }
    for reaction in list {
        let bare = |text: &str| text.replace('\u{fe0f}', "");
        let known = match reaction["type"].as_str() {
            Some("emoji") => reaction["emoji"]
                .as_str()
                .is_some_and(|emoji| EMOJI.split_whitespace().any(|known| bare(emoji) == known)),
            // Only those that are in the chat already; there are none here.
            _ => false,
        };
        if !known {
            return Err(ApiError::bad_request("REACTION_INVALID"));
        }
    }
    Ok(())
}
