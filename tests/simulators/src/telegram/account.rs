//! All that the provider knows of one bot: its chats, its updates, its webhook, its poller.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::answer::ApiError;
use super::chat::Chat;
use super::delivery::{self, Webhook};
use super::files::Files;
use super::options::BotProfile;
use super::params::Params;
use super::rates::Rates;
use super::updates::{NotTaken, UpdateQueue};
use crate::lock;

/// Callback queries that can still be answered.
const REMEMBERED_CALLBACKS: usize = 10_000;

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
    pub business: HashMap<String, Business>,
    pub files: Files,
    pub albums_made: u64,
    pub rates: Rates,
    callbacks: VecDeque<Callback>,
    callbacks_made: u64,
}

/// Why a long poll ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Updates,
    OtherPoll,
    Webhook,
}

/// A person's own account that lets the bot answer for it.
pub(super) struct Business {
    /// The `BusinessConnection` object.
    pub connection: Value,
    /// The person's chats, which are not the bot's own with the same people.
    pub chats: HashMap<i64, Chat>,
}

impl Business {
    pub(super) fn new(connection: Value) -> Self {
        Self {
            connection,
            chats: HashMap::new(),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.connection["is_enabled"] == true
    }

    pub(super) fn has_right(&self, name: &str) -> bool {
        self.connection["rights"][name] == true
    }
}

struct Callback {
    id: String,
    made: Instant,
}

impl Account {
    /// The chat that `chat_id` names, by number or by `@username`: one of the bot, or of the account it answers for.
    pub(super) fn find_chat(&mut self, params: &Params) -> Result<&mut Chat, ApiError> {
        let named = params
            .get("chat_id")
            .ok_or_else(|| ApiError::bad_request("chat_id is empty"))?;
        let chats = match params.get("business_connection_id") {
            Some(id) => {
                let business = self.business_connection(id)?;
                if !business.is_enabled() || !business.has_right("can_reply") {
                    return Err(ApiError::bad_request("BUSINESS_PEER_INVALID"));
                }
                &mut business.chats
            }
            None => &mut self.chats,
        };
        let found = match named.strip_prefix('@') {
            Some(username) => chats
                .values_mut()
                .find(|chat| chat.info["username"] == username),
            None => named
                .trim()
                .parse()
                .ok()
                .and_then(|id: i64| chats.get_mut(&id)),
        };
        found.ok_or_else(|| ApiError::bad_request("chat not found"))
    }

    pub(super) fn business_connection(&mut self, id: &str) -> Result<&mut Business, ApiError> {
        self.business
            .get_mut(id)
            .ok_or_else(|| ApiError::bad_request("business connection not found"))
    }

    pub(super) fn new_callback(&mut self) -> String {
        self.callbacks_made += 1;
        let id = format!("23830000{:011}", self.callbacks_made);
        self.keep_callback(&id);
        id
    }

    pub(super) fn keep_callback(&mut self, id: &str) {
        if self.callbacks.len() >= REMEMBERED_CALLBACKS {
            self.callbacks.pop_front();
        }
        self.callbacks.push_back(Callback {
            id: id.to_owned(),
            made: Instant::now(),
        });
    }

    /// Whether this query can still be answered, `life` being how long one can.
    pub(super) fn knows_callback(&self, id: &str, life: Duration) -> bool {
        let known = self.callbacks.iter().rev().find(|known| known.id == id);
        known.is_some_and(|known| known.made.elapsed() < life)
    }

    /// From now on no query made so far can be answered.
    pub(super) fn expire_callbacks(&mut self) {
        self.callbacks.clear();
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
            business: HashMap::new(),
            files: Files::new(profile.id(), options.max_file_bytes),
            albums_made: 0,
            rates: Rates::new(options.rates),
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

    /// Whether this message is the bot's, sent for itself or for the account it answers for. In a channel every post is.
    pub(super) fn has_sent(&self, chat: &Chat, message: &Value) -> bool {
        let me = self.profile.id();
        message["from"]["id"] == me
            || message["sender_business_bot"]["id"] == me
            || (chat.is("channel") && message.get("from").is_none())
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
