//! The updates a bot has not confirmed yet, in the order of their ids.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

/// Update kinds of Bot API 10.1.
const KINDS: [&str; 25] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "guest_message",
    "message_reaction",
    "message_reaction_count",
    "inline_query",
    "chosen_inline_result",
    "callback_query",
    "shipping_query",
    "pre_checkout_query",
    "purchased_paid_media",
    "poll",
    "poll_answer",
    "my_chat_member",
    "chat_member",
    "chat_join_request",
    "chat_boost",
    "removed_chat_boost",
    "managed_bot",
];
/// What is not sent unless asked for by name.
const OPT_IN: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];
/// An offset further past the end than this is taken for a mistake, and reading starts at the oldest update.
const FUTURE_TOLERANCE: i64 = 10;
/// How many confirmed updates are kept for [`RepeatUpdates`](super::CallAction::RepeatUpdates).
const REMEMBERED: usize = 100;

/// Updates of one queue reach a webhook one at a time and in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct QueueKey {
    class: String,
    pub id: i64,
}

impl QueueKey {
    pub(super) fn is_of(&self, class: &str) -> bool {
        self.class == class
    }

    /// Messages, posts and their edits share the queue of their chat; every other kind has its own queues.
    fn of(kind: &str, body: &Value) -> Self {
        let class = match kind {
            "message" | "edited_message" | "channel_post" | "edited_channel_post" => "chat",
            other => other,
        };
        let id_in = |field: &str| body.get(field)?.get("id")?.as_i64();
        let id = id_in("chat")
            .or_else(|| id_in("from"))
            .or_else(|| id_in("user"));
        // What happens in one chat behind a business connection stays in order, edits and deletions included.
        let class = if class.contains("business_message") {
            "business"
        } else {
            class
        };
        Self {
            class: class.into(),
            id: id.unwrap_or_default(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Pending {
    pub update_id: i64,
    pub kind: String,
    pub json: String,
    pub queue: QueueKey,
    pub made: Instant,
}

/// Why an update did not become available.
#[derive(Debug, PartialEq)]
pub(super) enum NotTaken {
    Unwanted,
    NoRoom,
}

pub(super) struct UpdateQueue {
    next_id: i64,
    limit: usize,
    pending: BTreeMap<i64, Arc<Pending>>,
    confirmed: VecDeque<Arc<Pending>>,
    allowed: Option<BTreeSet<String>>,
}

impl UpdateQueue {
    pub(super) fn new(first_id: i64, limit: usize) -> Self {
        Self {
            next_id: first_id,
            limit,
            pending: BTreeMap::new(),
            confirmed: VecDeque::new(),
            allowed: None,
        }
    }

    pub(super) fn push(&mut self, kind: &str, body: &Value) -> Result<Arc<Pending>, NotTaken> {
        if !self.wants(kind) {
            return Err(NotTaken::Unwanted);
        }
        if self.pending.len() >= self.limit {
            return Err(NotTaken::NoRoom);
        }
        let update_id = self.next_id;
        self.next_id += 1;
        let name = Value::from(kind);
        let json = format!(r#"{{"update_id":{update_id},{name}:{body}}}"#);
        let queue = QueueKey::of(kind, body);
        let pending = Arc::new(Pending {
            update_id,
            kind: kind.to_owned(),
            json,
            queue,
            made: Instant::now(),
        });
        self.pending.insert(update_id, Arc::clone(&pending));
        Ok(pending)
    }

    /// Updates from `offset` on, and how many older ones this confirmed.
    pub(super) fn read(&mut self, offset: i64, limit: usize) -> (Vec<Arc<Pending>>, usize) {
        let head = self
            .pending
            .first_key_value()
            .map_or(self.next_id, |(id, _)| *id);
        let from_end = if offset < 0 {
            self.next_id + offset
        } else {
            offset
        };
        let in_future = from_end > self.next_id + FUTURE_TOLERANCE;
        let from = if in_future { head } else { from_end.max(head) };
        let kept = self.pending.split_off(&from);
        let confirmed = std::mem::replace(&mut self.pending, kept);
        let count = confirmed.len();
        for pending in confirmed
            .into_values()
            .skip(count.saturating_sub(REMEMBERED))
        {
            self.remember(pending);
        }
        (
            self.pending.values().take(limit).map(Arc::clone).collect(),
            count,
        )
    }

    /// Takes out one update that a webhook accepted; `false` if it was gone already.
    pub(super) fn settle(&mut self, update_id: i64) -> bool {
        match self.pending.remove(&update_id) {
            Some(pending) => {
                self.remember(pending);
                true
            }
            None => false,
        }
    }

    /// Drops all, and says how many that were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.pending).len()
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Arc<Pending>> {
        self.pending.values()
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The last `count` confirmed ones, oldest first.
    pub(super) fn last_confirmed(&self, count: usize) -> Vec<Arc<Pending>> {
        let skip = self.confirmed.len().saturating_sub(count);
        self.confirmed.iter().skip(skip).map(Arc::clone).collect()
    }

    /// The kinds that were asked for by name.
    pub(super) fn allowed(&self) -> Option<&BTreeSet<String>> {
        self.allowed.as_ref()
    }

    /// Applies an `allowed_updates` argument: absent or unreadable keeps the list, an empty one asks for the default. It is
    /// for updates to come; those already waiting stay. `true`: the list changed.
    pub(super) fn allow(&mut self, argument: Option<&Value>) -> bool {
        let Some(names) = argument.and_then(Value::as_array) else {
            return false;
        };
        let asked: Option<BTreeSet<String>> = names
            .iter()
            .map(|name| name.as_str().map(str::to_ascii_lowercase))
            .collect();
        let Some(asked) = asked else { return false };
        let known: BTreeSet<String> = asked
            .into_iter()
            .filter(|name| KINDS.contains(&name.as_str()))
            .collect();
        let allowed = (!known.is_empty()).then_some(known);
        let changed = allowed != self.allowed;
        self.allowed = allowed;
        changed
    }

    /// A kind newer than this list always passes.
    fn wants(&self, kind: &str) -> bool {
        match &self.allowed {
            Some(allowed) => allowed.contains(kind) || !KINDS.contains(&kind),
            None => !OPT_IN.contains(&kind),
        }
    }

    fn remember(&mut self, pending: Arc<Pending>) {
        if self.confirmed.len() >= REMEMBERED {
            self.confirmed.pop_front();
        }
        self.confirmed.push_back(pending);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn queue_of(count: i64) -> UpdateQueue {
        let mut queue = UpdateQueue::new(100, 1000);
        for n in 0..count {
            queue
                .push("message", &json!({"chat": {"id": n}}))
                .expect("there is room");
        }
        queue
    }

    fn ids(read: (Vec<Arc<Pending>>, usize)) -> Vec<i64> {
        read.0.iter().map(|pending| pending.update_id).collect()
    }

    #[test]
    fn an_offset_confirms_what_is_before_it() {
        let mut queue = queue_of(5);
        assert_eq!(ids(queue.read(0, 2)), [100, 101]);
        assert_eq!(
            ids(queue.read(0, 2)),
            [100, 101],
            "an unconfirmed update comes again"
        );
        let (updates, confirmed) = queue.read(102, 100);
        assert_eq!((updates.len(), confirmed), (3, 2));
        assert_eq!(ids(queue.read(0, 100)), [102, 103, 104]);
        assert_eq!(queue.last_confirmed(1)[0].update_id, 101);
    }

    #[test]
    fn negative_and_far_offsets() {
        let mut queue = queue_of(5);
        assert_eq!(
            ids(queue.read(-1, 100)),
            [104],
            "counted from the end, the rest is forgotten"
        );
        let mut queue = queue_of(5);
        assert_eq!(
            ids(queue.read(100_000, 100)).len(),
            5,
            "a mistaken offset forgets nothing"
        );
        assert_eq!(ids(queue.read(-50, 100)).len(), 5);
    }

    #[test]
    fn allowed_updates_are_for_what_comes_later() {
        let mut queue = queue_of(1);
        let reaction = json!({"chat": {"id": 1}});
        assert_eq!(
            queue.push("message_reaction", &reaction).err(),
            Some(NotTaken::Unwanted)
        );
        assert!(queue.allow(Some(&json!(["message_reaction", "nonsense"]))));
        assert!(!queue.allow(None), "absent keeps the list");
        assert!(queue.push("message_reaction", &reaction).is_ok());
        assert_eq!(
            queue.push("message", &reaction).err(),
            Some(NotTaken::Unwanted)
        );
        assert!(queue.push("kind_of_next_year", &reaction).is_ok());
        assert_eq!(queue.len(), 3);
        assert!(queue.allow(Some(&json!([]))));
        assert!(queue.push("message", &reaction).is_ok());
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let mut queue = UpdateQueue::new(1, 1);
        assert!(queue.push("message", &json!({})).is_ok());
        assert_eq!(
            queue.push("message", &json!({})).err(),
            Some(NotTaken::NoRoom)
        );
    }

    #[test]
    fn kinds_have_their_own_queues() {
        let chat = json!({"chat": {"id": 7}, "from": {"id": 8}});
        assert_eq!(
            QueueKey::of("message", &chat),
            QueueKey::of("edited_message", &chat)
        );
        assert_ne!(
            QueueKey::of("message", &chat),
            QueueKey::of("my_chat_member", &chat)
        );
        assert_eq!(
            QueueKey::of("callback_query", &json!({"from": {"id": 8}})).id,
            8
        );
    }
}
