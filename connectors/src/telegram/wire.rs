//! Telegram's JSON, as far as it is read and written here. Reading is lenient: a field of an unexpected type is as if
//! it were missing, since the format grows several times a year and a message must not be lost over one field.

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};

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

/// A field of any type that is `None` unless it is a `T`.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    input: D,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(input)?;
    Ok(T::deserialize(value).ok())
}

/// Reads what can be read.
pub(super) fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

macro_rules! lenient {
    ($(#[$doc:meta])* $name:ident { $($(#[$serde:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $(
                #[serde(deserialize_with = "lenient")]
                $(#[$serde])*
                pub $field: Option<$type>,
            )*
        }
    };
}

lenient!(
    /// A message of any kind; its content is looked up by key.
    Message {
        message_id: i64,
        date: i64,
        edit_date: i64,
        chat: Chat,
        from: User,
        text: String,
        entities: Vec<Entity>,
        caption: String,
        reply_to_message: Box<Message>,
        reply_markup: Value,
    }
);
lenient!(
    /// A private chat, group or channel.
    Chat {
        id: i64,
        #[serde(rename = "type")]
        kind: String,
        title: String,
        first_name: String,
        last_name: String,
        username: String,
    }
);
lenient!(
    /// A person or a bot.
    User {
        id: i64,
        first_name: String,
        last_name: String,
        username: String,
        language_code: String,
    }
);
lenient!(
    /// A pressed inline button.
    CallbackQuery {
        id: String,
        from: User,
        message: Message,
        data: String,
    }
);
lenient!(
    /// The reactions one person has on a message now.
    MessageReaction {
        chat: Chat,
        message_id: i64,
        date: i64,
        new_reaction: Vec<Value>,
    }
);
lenient!(
    /// What the bot may do in a chat has changed.
    ChatMemberUpdated {
        chat: Chat,
        from: User,
        date: i64,
        old_chat_member: ChatMember,
        new_chat_member: ChatMember,
    }
);
lenient!(
    /// How the bot stands in a chat.
    ChatMember {
        status: String,
    }
);

/// A stretch of text; `offset` and `length` count UTF-16 code units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: i64,
    pub length: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// An update taken apart: its id, its one further key, and what stands there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update<'a> {
    pub id: Option<i64>,
    pub kind: &'a str,
    pub body: &'a Value,
}

impl<'a> Update<'a> {
    /// `None`: not an object with anything in it.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        let object = value.as_object()?;
        let (kind, body) = object.iter().find(|(key, _)| *key != "update_id")?;
        Some(Self {
            id: object.get("update_id").and_then(Value::as_i64),
            kind,
            body,
        })
    }
}

/// The answer to every call.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
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
pub(super) struct Parameters {
    #[serde(default)]
    pub retry_after: Option<u64>,
    #[serde(default)]
    pub migrate_to_chat_id: Option<i64>,
}

/// `sendMessage`. Formatting goes as entities: markup could fail to parse.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SendMessage {
    pub chat_id: ChatId,
    pub text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Entity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_parameters: Option<ReplyParameters>,
}

/// A number, or `@name` of a public group or channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum ChatId {
    Number(i64),
    Name(String),
}

/// What a message answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ReplyParameters {
    pub message_id: i64,
    pub allow_sending_without_reply: bool,
}

/// `getUpdates`.
#[derive(Debug, Serialize)]
pub(super) struct GetUpdates {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    pub limit: u8,
    /// Seconds.
    pub timeout: u64,
    pub allowed_updates: [&'static str; ALLOWED_UPDATES.len()],
}

/// `setWebhook`.
#[derive(Debug, Serialize)]
pub(super) struct SetWebhook<'a> {
    pub url: &'a str,
    pub secret_token: &'a str,
    pub max_connections: u32,
    pub allowed_updates: [&'static str; ALLOWED_UPDATES.len()],
    pub drop_pending_updates: bool,
}

/// `deleteWebhook`.
#[derive(Debug, Serialize)]
pub(super) struct DeleteWebhook {
    pub drop_pending_updates: bool,
}

/// Result of `getWebhookInfo`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WebhookInfo {
    pub url: String,
    pub max_connections: Option<u32>,
    pub allowed_updates: Vec<String>,
    pub pending_update_count: u64,
    pub last_error_date: i64,
    pub last_error_message: String,
}

/// `answerCallbackQuery`, as a call or as the body of a webhook's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct AnswerCallbackQuery {
    pub callback_query_id: String,
}

/// No parameters.
#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

/// Any JSON object.
pub(super) type Object = Map<String, Value>;
