//! Telegram's JSON, as far as it is read and written here: what comes (`updates`) and what is called (`calls`).

mod calls;
mod updates;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) use calls::{
    Answer, AnswerCallbackQuery, ChatId, DeleteWebhook, FileInfo, GetUpdates, Nothing, SetWebhook,
    WebhookInfo,
};
pub(super) use updates::{
    BusinessConnection, CallbackQuery, Chat, ChatMember, ChatMemberUpdated,
    DeletedBusinessMessages, File, ForwardOrigin, Message, MessageReaction, Story, Update, User,
    read,
};

/// Any JSON object.
pub(super) type Object = Map<String, Value>;

/// Every kind of update that is asked for. Kinds that only bots with special modes get (inline, payments, polls) are
/// not: they are no part of a conversation.
pub(super) const ALLOWED_UPDATES: [&str; 11] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "message_reaction",
    "callback_query",
    "my_chat_member",
];

/// A stretch of text; `offset` and `length` count UTF-16 code units.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: i64,
    pub length: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of a block of code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}
