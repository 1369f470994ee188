//! All that the provider knows of one bot: its chats, its updates, its webhook, its poller.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::answer::ApiError;
use super::delivery::{self, Webhook};
use super::options::BotProfile;
use super::updates::{NotTaken, UpdateQueue};
use crate::lock;

/// Messages of one chat that are remembered by content; older ones only by having an id.
const REMEMBERED_MESSAGES: usize = 1_000;
/// Callback queries that can still be answered.
const REMEMBERED_CALLBACKS: usize = 10_000;

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

pub(super) struct Bot {
    pub profile: BotProfile,
    pub shared: Arc<Shared>,
    revoked: AtomicBool,
    account: Mutex<Account>,
}

pub(super) struct Account {
    pub updates: UpdateQueue,
    pub chats: HashMap<i64, Chat>,
    pub webhook: Option<Webhook>,
    pub webhooks_set: u64,
    pub setting_allowed_from: Option<Instant>,
    /// The long poll that waits now, and how to wake it.
    pub poll: Option<oneshot::Sender<Wake>>,
    pub last_poll: Option<(i64, Instant)>,
    pub next_conflict_at: Option<Instant>,
    callbacks: VecDeque<String>,
    callbacks_made: u64,
}

/// Why a long poll ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Updates,
    OtherPoll,
    Webhook,
}

pub(super) struct Chat {
    /// The `Chat` object.
    pub info: Value,
    pub standing: Standing,
    last_message_id: i64,
    messages: BTreeMap<i64, Arc<Value>>,
}

impl Chat {
    fn new(info: Value) -> Self {
        Self {
            info,
            standing: Standing::Open,
            last_message_id: 0,
            messages: BTreeMap::new(),
        }
    }

    pub(super) fn next_message_id(&mut self) -> i64 {
        self.last_message_id += 1;
        self.last_message_id
    }

    pub(super) fn keep(&mut self, message_id: i64, message: Arc<Value>) {
        self.last_message_id = self.last_message_id.max(message_id);
        self.messages.insert(message_id, message);
        if self.messages.len() > REMEMBERED_MESSAGES {
            self.messages.pop_first();
        }
    }

    pub(super) fn message(&self, message_id: i64) -> Option<&Arc<Value>> {
        self.messages.get(&message_id)
    }

    /// Whether there is, or was, such a message.
    pub(super) fn has(&self, message_id: i64) -> bool {
        let forgotten = self
            .messages
            .first_key_value()
            .is_some_and(|(oldest, _)| message_id < *oldest);
        self.messages.contains_key(&message_id) || (message_id > 0 && forgotten)
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
}

impl Account {
    /// The chat with this id; it becomes known if it was not.
    pub(super) fn chat(&mut self, chat_id: i64, info: impl FnOnce() -> Value) -> &mut Chat {
        self.chats
            .entry(chat_id)
            .or_insert_with(|| Chat::new(info()))
    }

    /// The chat a `chat_id` argument names, by number or by `@username`.
    pub(super) fn find_chat(&mut self, argument: Option<&str>) -> Result<&mut Chat, ApiError> {
        let named = argument.ok_or_else(|| ApiError::bad_request("chat_id is empty"))?;
        let found = match named.strip_prefix('@') {
            Some(username) => self
                .chats
                .values_mut()
                .find(|chat| chat.info["username"] == username),
            None => named
                .trim()
                .parse()
                .ok()
                .and_then(|id: i64| self.chats.get_mut(&id)),
        };
        found.ok_or_else(|| ApiError::bad_request("chat not found"))
    }

    pub(super) fn new_callback(&mut self) -> String {
        self.callbacks_made += 1;
        let id = format!("23830000{:011}", self.callbacks_made);
        if self.callbacks.len() >= REMEMBERED_CALLBACKS {
            self.callbacks.pop_front();
        }
        self.callbacks.push_back(id.clone());
        id
    }

    pub(super) fn keep_callback(&mut self, id: &str) {
        self.callbacks.push_back(id.to_owned());
    }

    pub(super) fn knows_callback(&self, id: &str) -> bool {
        self.callbacks.iter().rev().any(|known| known == id)
    }

    /// Ends the long poll that waits, if one does.
    pub(super) fn wake(&mut self, reason: Wake) {
        if let Some(poll) = self.poll.take() {
            // A poller that has hung up has nothing to be told.
            poll.send(reason).unwrap_or_default();
        }
    }
}

impl Bot {
    pub(super) fn new(profile: BotProfile, shared: Arc<Shared>) -> Self {
        let options = &shared.options;
        let account = Account {
            updates: UpdateQueue::new(options.first_update_id, options.max_pending),
            chats: HashMap::new(),
            webhook: None,
            webhooks_set: 0,
            setting_allowed_from: None,
            poll: None,
            last_poll: None,
            next_conflict_at: None,
            callbacks: VecDeque::new(),
            callbacks_made: 0,
        };
        Self {
            profile,
            shared,
            revoked: AtomicBool::new(false),
            account: Mutex::new(account),
        }
    }

    /// Runs a short step on the account. Nothing can wait inside.
    pub(super) fn with<T>(&self, step: impl FnOnce(&mut Account) -> T) -> T {
        step(&mut lock(&self.account))
    }

    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    /// The bot as a `User`, without what only `getMe` tells.
    pub(super) fn user(&self) -> Value {
        json!({
            "id": self.profile.id(),
            "is_bot": true,
            "first_name": self.profile.first_name,
            "username": self.profile.username,
        })
    }

    /// So many of the provider's seconds.
    pub(super) fn seconds(&self, count: u32) -> Duration {
        self.shared.options.second * count
    }

    /// Makes an update available: to the poller that waits, or to the webhook. `None`: it was not wanted or had no room.
    pub(super) fn publish(
        self: &Arc<Self>,
        account: &mut Account,
        kind: &str,
        body: &Value,
    ) -> Option<i64> {
        let pushed = account.updates.push(kind, body);
        self.shared.record(|records| match &pushed {
            Ok(_) => records.counters.updates_created += 1,
            Err(NotTaken::NoRoom) => records.counters.updates_lost += 1,
            Err(NotTaken::Unwanted) => records.counters.updates_unwanted += 1,
        });
        let pending = pushed.ok()?;
        let update_id = pending.update_id;
        account.wake(Wake::Updates);
        delivery::enqueue(self, account, pending);
        Some(update_id)
    }
}

/// Unix seconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}
