//! What was taken and is not settled yet, and when it is time to settle.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{EventId, Tag};

/// How long what is finished may wait for its neighbours before it is settled with them.
pub(super) const SETTLE_AFTER: Duration = Duration::from_millis(10);
/// How long it may wait for an earlier message that is still worked on. A crash meanwhile has it handled again.
pub(super) const SETTLE_ALONE_AFTER: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Settling {
    /// When each unsettled message was taken. Tags rise, so the first is the oldest.
    unsettled: BTreeMap<Tag, Instant>,
    /// To be settled, with the moment at which they were finished.
    finished: BTreeMap<Tag, (Option<EventId>, Instant)>,
    /// When to look again at what is finished.
    look_at: Option<Instant>,
}

impl Settling {
    pub fn taken(&mut self, tag: Tag, now: Instant) {
        self.unsettled.insert(tag, now);
    }

    pub fn finish(&mut self, tag: Tag, id: Option<EventId>, now: Instant) {
        self.finished.insert(tag, (id, now));
        self.look_at.get_or_insert(now + SETTLE_AFTER);
    }

    /// When the oldest unsettled message was taken.
    pub fn oldest(&self) -> Option<Instant> {
        self.unsettled.first_key_value().map(|(_, taken)| *taken)
    }

    /// How many messages are not settled.
    pub fn held(&self) -> usize {
        self.unsettled.len()
    }

    /// How many are finished and not settled.
    pub fn finished(&self) -> usize {
        self.finished.len()
    }

    /// When to look again although nothing happened.
    pub fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// What is finished and has to be settled while there is work. It waits a little for what came before it, unless it is
    /// `many`: one acknowledgement for many costs the bus as much as one for each.
    pub fn take_due(&mut self, many: usize, now: Instant) -> Vec<(Tag, Option<EventId>)> {
        if self.finished.len() < many && self.look_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let in_order = self.unsettled.keys().zip(self.finished.keys());
        let first = in_order.take_while(|(one, other)| one == other).count();
        let is_due = |place: usize, at: Instant| place < first || at + SETTLE_ALONE_AFTER <= now;
        let mut due = Vec::new();
        let mut place = 0;
        self.finished.retain(|tag, (id, at)| {
            let stays = !is_due(place, *at);
            place += 1;
            if !stays {
                due.push((*tag, *id));
            }
            stays
        });
        self.look_at = (!self.finished.is_empty()).then_some(now + SETTLE_AFTER);
        due
    }

    /// All that is finished.
    pub fn take_finished(&mut self) -> Vec<(Tag, Option<EventId>)> {
        self.look_at = None;
        let finished = std::mem::take(&mut self.finished).into_iter();
        finished.map(|(tag, (id, _))| (tag, id)).collect()
    }

    pub fn settled(&mut self, tags: &[(Tag, Option<EventId>)]) {
        for (tag, _) in tags {
            self.unsettled.remove(tag);
        }
    }

    /// Everything goes back to the lane.
    pub fn forget(&mut self) {
        self.unsettled.clear();
    }
}
