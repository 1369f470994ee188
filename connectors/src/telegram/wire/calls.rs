//! What is called, and what is answered. The calls that send are objects made in `outbound`, since the same ones go as
//! JSON and as forms.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::ALLOWED_UPDATES;

/// The answer to every call.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Answer {
    pub ok: bool,
    #[serde(default)]
    pub result: Option<Box<RawValue>>,
    #[serde(default)]
    pub error_code: Option<u16>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub parameters: Option<Parameters>,
}

/// What a refusal adds.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Parameters {
    #[serde(default)]
    pub retry_after: Option<u64>,
    #[serde(default)]
    pub migrate_to_chat_id: Option<i64>,
}

/// A number, or `@name` of a public group or channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub(in super::super) enum ChatId {
    Number(i64),
    Name(String),
}

/// `getUpdates`.
#[derive(Debug, Serialize)]
pub(in super::super) struct GetUpdates {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    pub limit: u8,
    /// Seconds.
    pub timeout: u64,
    pub allowed_updates: [&'static str; ALLOWED_UPDATES.len()],
}

/// `setWebhook`.
#[derive(Debug, Serialize)]
pub(in super::super) struct SetWebhook<'a> {
    pub url: &'a str,
    pub secret_token: &'a str,
    pub max_connections: u32,
    pub allowed_updates: [&'static str; ALLOWED_UPDATES.len()],
    pub drop_pending_updates: bool,
}

/// `deleteWebhook`.
#[derive(Debug, Serialize)]
pub(in super::super) struct DeleteWebhook {
    pub drop_pending_updates: bool,
}

/// Result of `getWebhookInfo`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct WebhookInfo {
    pub url: String,
    pub max_connections: Option<u32>,
    pub allowed_updates: Vec<String>,
    pub pending_update_count: u64,
    /// Unix seconds; 0: never.
    pub last_error_date: i64,
    pub last_error_message: String,
}

/// Result of `getFile`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct FileInfo {
    /// Below `/file/bot<token>/`; a path of the server's disk in its local mode.
    pub file_path: Option<String>,
    /// Bytes.
    pub file_size: Option<u64>,
}

/// `answerCallbackQuery`, as a call or as the body of a webhook's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in super::super) struct AnswerCallbackQuery {
    pub callback_query_id: String,
}

/// No parameters.
#[derive(Debug, Serialize)]
pub(in super::super) struct Nothing {}
