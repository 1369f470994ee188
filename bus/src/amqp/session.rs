//! A consumer on a lane, over one intake or several.
//!
//! What returns to a quorum queue is appended to the other returned messages, and those go first. So messages that
//! return while earlier ones still wait to be taken again come behind them (measured on RabbitMQ 3.10): one crash with
//! 200 messages in hand, then an intake of 1, and the second message comes last. Two rules keep the order:
//! - A consumer has a window of a constant size in the broker, at least as wide as any before it, and thus takes all
//!   returned messages again at once. How many of them are handed out at a time is bounded here.
//! - An intake that is closed and opened again soon keeps its consumer, and hands out again from here. The broker then
//!   counts nothing either: its count is left for crashes and changes of owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use lapin::{Channel, Consumer, message::Delivery, types::AMQPValue};

use crate::{Envelope, Tag, Taken};

/// Messages that a consumer gets ahead. An intake that wants more widens it; after a change to fewer than such an
/// intake had, a crash can reorder what then waits.
const WINDOW: u16 = 500;

/// A session is not kept for another intake when it is older: messages must return before the broker's timeout for
/// acknowledgements (30 minutes), and a runner may hold them for ten.
const KEPT_UNTIL: Duration = Duration::from_secs(60);

pub(super) struct Session {
    channel: Channel,
    pub(super) consumer: Consumer,
    window: u16,
    since: Instant,
    /// How often it was parked; tells whether it still is the same time.
    parked: u64,
    /// What came and was not settled.
    held: BTreeMap<u64, Held>,
    /// What of it is to be handed out, for the first time or again.
    due: BTreeSet<u64>,
    /// How much is held, for those who ask how much waits in the lane: the broker does not count it.
    count: Arc<AtomicUsize>,
}

struct Held {
    since: Instant,
    body: Bytes,
    redeliveries: u32,
}

impl Session {
    pub(super) fn new(
        channel: Channel,
        consumer: Consumer,
        window: u16,
        count: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            channel,
            consumer,
            window,
            since: Instant::now(),
            parked: 0,
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            count,
        }
    }

    /// The window in the broker for an intake of a width.
    pub(super) fn window_for(prefetch: u16) -> u16 {
        prefetch.max(WINDOW)
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether an intake of this width can go on with it.
    pub(super) fn suits(&self, prefetch: u16) -> bool {
        self.channel.status().connected() && Self::window_for(prefetch) <= self.window
    }

    pub(super) fn is_young(&self) -> bool {
        self.since.elapsed() < KEPT_UNTIL
    }

    /// Ends an intake: what is unsettled is handed out again, from the beginning. Answers a mark of this time.
    pub(super) fn park(&mut self) -> u64 {
        let now = Instant::now();
        for (tag, held) in &mut self.held {
            // A session is parked only while it is young, so the broker's clock is hardly older.
            held.since = now;
            if self.due.insert(*tag) {
                held.redeliveries = held.redeliveries.saturating_add(1);
            }
        }
        self.parked += 1;
        self.parked
    }

    pub(super) fn is_parked_since(&self, mark: u64) -> bool {
        self.parked == mark
    }

    /// How many messages are out.
    pub(super) fn out(&self) -> usize {
        self.held.len() - self.due.len()
    }

    /// When the oldest message came that is not settled. Tags rise, so the first is the oldest.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.held.first_key_value().map(|(_, held)| held.since)
    }

    /// Takes in a new message.
    pub(super) fn receive(&mut self, delivery: Delivery) {
        let tag = delivery.delivery_tag;
        let held = Held {
            since: Instant::now(),
            redeliveries: redeliveries(&delivery),
            body: Bytes::from(delivery.data),
        };
        self.held.insert(tag, held);
        self.due.insert(tag);
        self.tell();
    }

    /// Hands out the next message that is here.
    pub(super) fn hand_out(&mut self) -> Option<Taken> {
        let tag = self.due.pop_first()?;
        let held = self.held.get(&tag)?;
        Some(Taken {
            tag: Tag(tag),
            redeliveries: held.redeliveries,
            envelope: Envelope::parse(&held.body),
            body: held.body.clone(),
        })
    }

    /// The fewest acknowledgements that settle some of the messages that are out. Tags that are not (any more) are left
    /// out: the broker would close the AMQP channel.
    pub(super) fn plan(&self, tags: &[Tag]) -> Plan {
        let out = |tag: &u64| self.held.contains_key(tag) && !self.due.contains(tag);
        let settled: BTreeSet<u64> = tags.iter().map(|tag| tag.0).filter(out).collect();
        plan(self.held.keys().copied(), settled)
    }

    /// Notes what was acknowledged.
    pub(super) fn settled(&mut self, plan: &Plan) {
        if let Some(up_to) = plan.up_to {
            self.held = self.held.split_off(&(up_to + 1));
        }
        for tag in &plan.single {
            self.held.remove(tag);
        }
        self.tell();
    }

    fn tell(&self) {
        self.count.store(self.held.len(), Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The close is queued by its first poll. Without it lapin would cancel the consumer first, and a next consumer
        // could come in before this one's messages are back.
        drop(self.channel.close(200, "OK".into()).now_or_never());
        self.count.store(0, Ordering::Relaxed);
    }
}

/// The quorum queue counts deliveries in `x-delivery-count`, missing at first.
fn redeliveries(delivery: &Delivery) -> u32 {
    let counted = delivery
        .properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get("x-delivery-count"))
        .and_then(integer);
    counted.unwrap_or_else(|| u32::from(delivery.redelivered))
}

fn integer(value: &AMQPValue) -> Option<u32> {
    match value {
        AMQPValue::ShortShortInt(n) => u32::try_from(*n).ok(),
        AMQPValue::ShortShortUInt(n) => Some(u32::from(*n)),
        AMQPValue::ShortInt(n) => u32::try_from(*n).ok(),
        AMQPValue::ShortUInt(n) => Some(u32::from(*n)),
        AMQPValue::LongInt(n) => u32::try_from(*n).ok(),
        AMQPValue::LongUInt(n) => Some(*n),
        AMQPValue::LongLongInt(n) => Some(u32::try_from(*n).unwrap_or(u32::MAX)),
        _ => None,
    }
}

/// Acknowledgements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Everything up to here, in one.
    pub(super) up_to: Option<u64>,
    pub(super) single: Vec<u64>,
}

fn plan(unsettled: impl Iterator<Item = u64>, settled: BTreeSet<u64>) -> Plan {
    let prefix = unsettled
        .zip(&settled)
        .take_while(|(one, other)| one == *other)
        .count();
    Plan {
        up_to: settled.iter().take(prefix).next_back().copied(),
        single: settled.into_iter().skip(prefix).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_settled_in_one() {
        for (tags, up_to, single) in [
            (vec![4, 5, 6, 8, 9], Some(9), vec![]),
            (vec![6, 4, 5], Some(6), vec![]),
            (vec![4, 6, 9], Some(4), vec![6, 9]),
            (vec![8], None, vec![8]),
            (vec![5, 5], None, vec![5]),
            (vec![], None, vec![]),
        ] {
            let settled = tags.into_iter().collect();
            let planned = plan([4, 5, 6, 8, 9].into_iter(), settled);
            assert_eq!(planned, Plan { up_to, single });
        }
    }
}
