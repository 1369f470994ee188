//! One chat, as everybody in it sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::ApiError;

/// Messages of one chat that are remembered by content; older ones only by having an id.
const REMEMBERED_MESSAGES: usize = 1_000;

/// How a chat takes what the bot sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It arrives.
    Open,
    /// 403, the user blocked the bot.
    Blocked,
    /// 403, the account is gone.
    Deactivated,
    /// 403, the user has never started the bot.
    NotStarted,
    /// 403, the bot was removed from the group.
    Kicked,
    /// 400 with `migrate_to_chat_id`: the group has become this supergroup.
    Migrated {
        /// Its new id.
        to: i64,
    },
}

pub(super) struct Chat {
    /// The `Chat` object.
    pub info: Value,
    pub standing: Standing,
    /// The reply keyboard that is shown instead of the ordinary one.
    pub keyboard: Option<Value>,
    /// Forum topics that are open (`true`) or closed; empty: no forum.
    pub topics: BTreeMap<i64, bool>,
    /// The bot is an administrator, so privacy mode hides nothing from it.
    pub sees_all: bool,
    last_message_id: i64,
    messages: BTreeMap<i64, Arc<Value>>,
    /// Messages up to here are remembered only by having an id.
    forgotten_to: i64,
    /// By message, then by who reacted (a user or a bot).
    reactions: BTreeMap<i64, BTreeMap<i64, Value>>,
}

impl Chat {
    pub(super) fn new(info: Value) -> Self {
        Self {
            info,
            standing: Standing::Open,
            keyboard: None,
            topics: BTreeMap::new(),
            sees_all: false,
            last_message_id: 0,
            messages: BTreeMap::new(),
            forgotten_to: 0,
            reactions: BTreeMap::new(),
        }
    }

    pub(super) fn id(&self) -> i64 {
        self.info["id"].as_i64().unwrap_or_default()
    }

    pub(super) fn is(&self, kind: &str) -> bool {
        self.info["type"] == kind
    }

    pub(super) fn next_message_id(&mut self) -> i64 {
        self.last_message_id += 1;
        self.last_message_id
    }

    pub(super) fn keep(&mut self, message_id: i64, message: Arc<Value>) {
        self.last_message_id = self.last_message_id.max(message_id);
        self.messages.insert(message_id, message);
        if self.messages.len() > REMEMBERED_MESSAGES
            && let Some((oldest, _)) = self.messages.pop_first()
        {
            self.forgotten_to = self.forgotten_to.max(oldest);
            self.reactions.remove(&oldest);
        }
    }

    pub(super) fn message(&self, message_id: i64) -> Option<&Arc<Value>> {
        self.messages.get(&message_id)
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = (i64, &Arc<Value>)> {
        self.messages.iter().map(|(id, message)| (*id, message))
    }

    /// Takes a message out of the sight of everybody.
    pub(super) fn remove(&mut self, message_id: i64) -> Option<Arc<Value>> {
        self.reactions.remove(&message_id);
        self.messages.remove(&message_id)
    }

    /// Whether there is such a message, or was one too old to be remembered.
    pub(super) fn has(&self, message_id: i64) -> bool {
        self.messages.contains_key(&message_id)
            || (message_id > 0 && message_id <= self.forgotten_to)
    }

    /// A copy of a message to be put into another, without what it replied to itself; inaccessible where it is gone.
    pub(super) fn quoted(&self, message_id: i64) -> Value {
        let mut copy = self.messages.get(&message_id).map_or_else(
            || json!({"message_id": message_id, "chat": self.info, "date": 0}),
            |message| Value::clone(message),
        );
        if let Value::Object(fields) = &mut copy {
            fields.remove("reply_to_message");
        }
        copy
    }

    /// Puts these in place of the reactions somebody had; returns those.
    pub(super) fn react(&mut self, message_id: i64, who: i64, reactions: Value) -> Value {
        self.reactions
            .entry(message_id)
            .or_default()
            .insert(who, reactions)
            .unwrap_or_else(|| json!([]))
    }

    /// Every reaction to a message: who, and which.
    pub(super) fn all_reactions(&self, message_id: i64) -> impl Iterator<Item = (i64, &Value)> {
        self.reactions
            .get(&message_id)
            .into_iter()
            .flat_map(|by| by.iter().map(|(who, list)| (*who, list)))
    }

    /// Whether the bot may write here.
    pub(super) fn open(&self) -> Result<(), ApiError> {
        match self.standing {
            Standing::Open => Ok(()),
            Standing::Blocked => Err(ApiError::forbidden("bot was blocked by the user")),
            Standing::Deactivated => Err(ApiError::forbidden("user is deactivated")),
            Standing::NotStarted => Err(ApiError::forbidden(
                "bot can't initiate conversation with a user",
            )),
            Standing::Kicked => Err(ApiError::forbidden("bot was kicked from the group chat")),
            Standing::Migrated { to } => Err(ApiError {
                parameters: Some(json!({ "migrate_to_chat_id": to })),
                ..ApiError::bad_request("group chat was upgraded to a supergroup chat")
            }),
        }
    }

    /// Whether the bot may write into this topic.
    pub(super) fn topic(&self, thread: i64) -> Result<(), ApiError> {
        match self.topics.get(&thread) {
            Some(true) => Ok(()),
            Some(false) => Err(ApiError::bad_request("TOPIC_CLOSED")),
            None => Err(ApiError::bad_request("message thread not found")),
        }
    }
}
