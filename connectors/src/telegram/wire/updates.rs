//! What comes. Reading is lenient: a field of an unexpected type is as if it were missing, since the format grows
//! several times a year and a message must not be lost over one field.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use super::Entity;

/// A field of any type that is `None` unless it is a `T`.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    input: D,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(input)?;
    Ok(T::deserialize(value).ok())
}

/// Reads what can be read.
pub(in super::super) fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

macro_rules! lenient {
    ($(#[$doc:meta])* $name:ident { $($(#[$serde:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub(in super::super) struct $name {
            $(
                #[serde(deserialize_with = "lenient")]
                $(#[$serde])*
                pub $field: Option<$type>,
            )*
        }
    };
}

lenient!(
    /// A message of any kind. What it carries that is not listed here is named by its key.
    Message {
        message_id: i64,
        date: i64,
        edit_date: i64,
        chat: Chat,
        from: User,
        sender_chat: Chat,
        author_signature: String,
        message_thread_id: i64,
        is_topic_message: bool,
        direct_messages_topic: DirectMessagesTopic,
        business_connection_id: String,
        sender_business_bot: User,
        media_group_id: String,
        reply_to_message: Box<Message>,
        external_reply: ExternalReply,
        reply_to_story: Story,
        reply_to_checklist_task_id: i64,
        reply_to_poll_option_id: String,
        quote: Quote,
        forward_origin: ForwardOrigin,
        reply_markup: Value,
        text: String,
        entities: Vec<Entity>,
        rich_message: Value,
        caption: String,
        caption_entities: Vec<Entity>,
        photo: Vec<File>,
        animation: File,
        video: File,
        video_note: File,
        audio: File,
        voice: File,
        document: File,
        sticker: File,
        location: Location,
        venue: Venue,
        contact: Contact,
        migrate_to_chat_id: i64,
        migrate_from_chat_id: i64,
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
        /// The chat in which people write to a channel.
        is_direct_messages: bool,
    }
);
lenient!(
    /// What one person and a channel write to each other.
    DirectMessagesTopic {
        topic_id: i64,
        /// Who writes to the channel.
        user: User,
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
    /// Bytes of any kind: a size of a photo, a video, a sticker, ...
    File {
        file_id: String,
        file_unique_id: String,
        file_name: String,
        mime_type: String,
        /// Bytes.
        file_size: u64,
        /// Seconds.
        duration: u64,
        width: u32,
        height: u32,
        /// Width and height of a round video.
        length: u32,
        emoji: String,
        is_animated: bool,
        is_video: bool,
    }
);
lenient!(
    /// A place; it moves for `live_period` seconds.
    Location {
        latitude: f64,
        longitude: f64,
        horizontal_accuracy: f64,
        live_period: u64,
    }
);
lenient!(
    /// A place with a name.
    Venue {
        location: Location,
        title: String,
        address: String,
    }
);
lenient!(
    /// Somebody's card; the sender's own when `user_id` is the sender.
    Contact {
        phone_number: String,
        first_name: String,
        last_name: String,
        user_id: i64,
        vcard: String,
    }
);
lenient!(
    /// The part of a message that is answered.
    Quote {
        text: String,
    }
);
lenient!(
    /// An answer to a message of another chat.
    ExternalReply {
        origin: ForwardOrigin,
    }
);
lenient!(
    /// A story, by who posted it and its number there.
    Story {
        chat: Chat,
        id: i64,
    }
);
lenient!(
    /// Where a message was written first.
    ForwardOrigin {
        sender_user: User,
        sender_user_name: String,
        sender_chat: Chat,
        chat: Chat,
        author_signature: String,
    }
);
lenient!(
    /// A pressed inline button.
    CallbackQuery {
        id: String,
        from: User,
        message: Message,
        data: String,
        game_short_name: String,
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
        is_member: bool,
    }
);
lenient!(
    /// Somebody lets the bot answer for their own account, or no longer.
    BusinessConnection {
        id: String,
        user: User,
        user_chat_id: i64,
        date: i64,
        rights: BusinessRights,
        is_enabled: bool,
    }
);
lenient!(
    /// What the bot may do there.
    BusinessRights {
        can_reply: bool,
    }
);
lenient!(
    /// Messages of a business chat were taken back, by either side.
    DeletedBusinessMessages {
        business_connection_id: String,
        chat: Chat,
        message_ids: Vec<i64>,
    }
);

/// An update taken apart: its id, its one further key, and what stands there.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Update<'a> {
    pub id: Option<i64>,
    pub kind: &'a str,
    pub body: &'a Value,
}

impl<'a> Update<'a> {
    /// `None`: not an object with anything in it.
    pub(in super::super) fn of(value: &'a Value) -> Option<Self> {
        let object = value.as_object()?;
        let (kind, body) = object.iter().find(|(key, _)| *key != "update_id")?;
        Some(Self {
            id: object.get("update_id").and_then(Value::as_i64),
            kind,
            body,
        })
    }
}
