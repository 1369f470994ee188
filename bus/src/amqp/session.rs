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
    /// What was handed out and not settled.
    held: BTreeMap<u64, Held>,
    /// What of it is to be handed out again.
    again: BTreeSet<u64>,
}

struct Held {
    body: Bytes,
    redeliveries: u32,
}

impl Session {
    pub(super) fn new(channel: Channel, consumer: Consumer, window: u16) -> Self {
        Self {
            channel,
            consumer,
            window,
            since: Instant::now(),
            parked: 0,
            held: BTreeMap::new(),
            again: BTreeSet::new(),
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
        for held in self.held.values_mut() {
            held.redeliveries = held.redeliveries.saturating_add(1);
        }
        self.again = self.held.keys().copied().collect();
        self.parked += 1;
        self.parked
    }

    pub(super) fn is_parked_since(&self, mark: u64) -> bool {
        self.parked == mark
    }

    /// How many messages are out.
    pub(super) fn out(&self) -> usize {
        self.held.len() - self.again.len()
    }

    /// The next message that was handed out by an earlier intake.
    pub(super) fn hand_again(&mut self) -> Option<Taken> {
        let tag = self.again.pop_first()?;
        let held = self.held.get(&tag)?;
        Some(taken(tag, held.redeliveries, held.body.clone()))
    }

    /// A new message.
    pub(super) fn hand(&mut self, delivery: Delivery) -> Taken {
        let redeliveries = redeliveries(&delivery);
        let body = Bytes::from(delivery.data);
        let held = Held {
            body: body.clone(),
            redeliveries,
        };
        self.held.insert(delivery.delivery_tag, held);
        taken(delivery.delivery_tag, redeliveries, body)
    }

    /// The fewest acknowledgements that settle some of the messages that are out. Tags that are not (any more) are left
    /// out: the broker would close the AMQP channel.
    pub(super) fn plan(&self, tags: &[Tag]) -> Plan {
        let out = |tag: &u64| self.held.contains_key(tag) && !self.again.contains(tag);
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
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The close is queued by its first poll. Without it lapin would cancel the consumer first, and a next consumer
        // could come in before this one's messages are back.
        drop(self.channel.close(200, "OK".into()).now_or_never());
    }
}

fn taken(tag: u64, redeliveries: u32, body: Bytes) -> Taken {
    Taken {
        tag: Tag(tag),
        redeliveries,
        envelope: Envelope::parse(&body),
        body,
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
