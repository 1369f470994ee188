//! To connectors: what is to be done in a channel.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Content;
use crate::{Address, ChannelId, ConversationId, MessageId};

macro_rules! delivery {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            pub conversation_id: ConversationId,
            pub channel_id: ChannelId,
            /// The recipient in the channel.
            pub to: Address,
            /// The place in the conversation: the truth about order.
            pub seq: i64,
            $($(#[$field_doc])* pub $field: $type,)*
            #[serde(flatten)]
            pub extra: Map<String, Value>,
        }
    };
}

delivery!(
    /// Send a message.
    DeliverySend {
        /// Of the message; the envelope has the same id, and the ledger knows it by this id.
        message_id: MessageId,
        content: Content,
        /// The provider's id of the message this one answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply_to: Option<String>,
        /// When the message was accepted from its author; its age counts from here.
        created_at: DateTime<Utc>,
        #[serde(default, skip_serializing_if = "Priority::is_reply")]
        priority: Priority,
    }
);
delivery!(
    /// Change a message that was sent.
    DeliveryEdit {
        message_id: MessageId,
        /// Of its parts, in order.
        provider_ids: Vec<String>,
        content: Content,
    }
);
delivery!(
    /// Take back a message that was sent.
    DeliveryDelete {
        message_id: MessageId,
        /// Of its parts, in order.
        provider_ids: Vec<String>,
    }
);
delivery!(
    /// React to a message, of the contact or of ours.
    DeliveryReact {
        message_id: MessageId,
        provider_id: String,
        /// All reactions that are to be on it from us; none takes them back.
        reactions: Vec<String>,
    }
);
delivery!(
    /// Show that somebody is writing.
    DeliveryTyping {}
);
delivery!(
    /// Tell the channel that the contact's messages were read up to one of them.
    DeliveryRead { provider_id: String }
);

/// What goes first where a channel is at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits for it.
    #[default]
    Reply,
    /// One of many: a campaign, a notice to everybody.
    Bulk,
}

impl Priority {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_reply(&self) -> bool {
        *self == Self::Reply
    }
}
