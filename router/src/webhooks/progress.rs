//! How far an endpoint is in its organization's events, and which of them come before others: what a lane that was lost is filled
//! from, and what keeps the order of a conversation while that happens. Does nothing by itself.
//!
//! Lanes hand out events roughly in the order in which they were published, and one that was published a minute before the
//! newest that was handed out has been handed out as well. So an event is settled when this worker settled it, or when it is that
//! old and not in this worker's hands.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use tributary_bus::EventId;

use crate::store::{EventPlace, Unsettled};

/// How far the clocks of two processes and the order of a lane may be apart.
const SKEW: Duration = Duration::from_secs(60);
/// Settled events that are remembered, at most; those that are forgotten may be sent once more after a loss.
const REMEMBERED: usize = 100_000;

/// What is to be done with an event of the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is sent.
    Go,
    /// It was taken by the endpoint, or a copy of it follows.
    Skip,
    /// Events before it follow in the lane: it goes behind them.
    Behind,
    /// Which events are missing is not known yet: all wait.
    Wait,
}

/// How an event left the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Taken,
    Dead,
}

/// How far one endpoint is.
#[derive(Debug, Default)]
pub struct Progress {
    position: i64,
    unsettled: BTreeMap<i64, Unsettled>,
    /// Handed out and not settled.
    held: HashSet<EventId>,
    settled: HashMap<EventId, Settled>,
    /// The same in the order of their settling.
    order: VecDeque<EventId>,
    /// The time of the newest event that was handed out.
    newest: Option<DateTime<Utc>>,
    /// What is missing is being looked for.
    waits: bool,
    /// By conversation: the events that come next, in order. Copies of all of them are in the lane.
    ahead: HashMap<String, VecDeque<EventId>>,
    /// When copies of events were put into the lane.
    resent: HashMap<EventId, Instant>,
    /// How often what is missing was looked for.
    looks: u64,
    /// Something happened since it was written down.
    dirty: bool,
}

impl Progress {
    pub fn new(position: i64, unsettled: Vec<Unsettled>) -> Self {
        Self {
            position,
            unsettled: unsettled.into_iter().map(|u| (u.position, u)).collect(),
            ..Self::default()
        }
    }

    /// Everything up to here is settled, but for what [`Progress::unsettled`] lists.
    pub fn position(&self) -> i64 {
        self.position
    }

    pub fn unsettled(&self) -> Vec<Unsettled> {
        self.unsettled.values().cloned().collect()
    }

    /// Whether there is something new to write down; asking makes it old.
    pub fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// The lane handed out an event.
    pub fn handed_out(&mut self, id: EventId, time: DateTime<Utc>) {
        if !self.settled.contains_key(&id) {
            self.held.insert(id);
        }
        self.newest = self.newest.max(Some(time));
    }

    /// Whether an event may be sent now.
    pub fn turn(&mut self, conversation: &str, id: EventId) -> Turn {
        if self.waits {
            return Turn::Wait;
        }
        let was_taken = self.settled.get(&id) == Some(&Settled::Taken);
        let Some(ahead) = self.ahead.get_mut(conversation) else {
            return if was_taken { Turn::Skip } else { Turn::Go };
        };
        if ahead.front() == Some(&id) {
            return Turn::Go;
        }
        if was_taken || ahead.contains(&id) {
            return Turn::Skip;
        }
        ahead.push_back(id);
        Turn::Behind
    }

    /// It could not be put behind the others after all.
    pub fn stays(&mut self, conversation: &str, id: EventId) {
        if let Some(ahead) = self.ahead.get_mut(conversation) {
            ahead.retain(|other| *other != id);
        }
        self.forget_empty(conversation);
    }

    /// An event has left the lane, and nothing of it follows.
    pub fn settled(&mut self, conversation: &str, id: EventId, how: Settled) {
        self.held.remove(&id);
        self.resent.remove(&id);
        if self.settled.insert(id, how).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.settled.remove(&oldest);
            }
        }
        self.stays(conversation, id);
        self.dirty = true;
    }

    /// A copy of it has left the lane; another is in it, or the event was settled before.
    pub fn skipped(&mut self, id: EventId) {
        self.held.remove(&id);
    }

    /// All events wait from here until [`Progress::found`]. Answers which look it is: it ends every earlier one.
    pub fn look(&mut self) -> u64 {
        self.waits = true;
        self.ahead.clear();
        self.resent.clear();
        self.looks += 1;
        self.looks
    }

    /// The lane was lost, with all that this worker had taken out of it: as [`Progress::look`].
    pub fn look_for_lost(&mut self) -> u64 {
        self.held.clear();
        self.look()
    }

    /// Which look was the last.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Whether the endpoint took an event.
    pub fn was_taken(&self, id: EventId) -> bool {
        self.settled.get(&id) == Some(&Settled::Taken)
    }

    /// An event is missing: a copy goes into the lane, and nothing of its conversation goes before it.
    pub fn missing(&mut self, conversation: String, id: EventId) {
        self.ahead.entry(conversation).or_default().push_back(id);
        self.resent.insert(id, Instant::now());
    }

    /// Whether a copy of the event was put into the lane, and less than `age` ago.
    pub fn was_resent_within(&self, id: EventId, age: Duration) -> bool {
        self.resent.get(&id).is_some_and(|at| at.elapsed() < age)
    }

    /// All that is missing was found and is in the lane. `false`: another look began meanwhile, and nothing changes.
    pub fn found(&mut self, look: u64) -> bool {
        let is_last = look == self.looks;
        self.waits &= !is_last;
        is_last
    }

    /// Whether missing events are still to be sent.
    pub fn is_catching_up(&self) -> bool {
        self.waits || !self.ahead.is_empty()
    }

    fn forget_empty(&mut self, conversation: &str) {
        if self.ahead.get(conversation).is_some_and(VecDeque::is_empty) {
            self.ahead.remove(conversation);
        }
    }

    /// Goes on over events that follow the position, in order, as far as they are settled. What is missing is found from the
    /// position, so it stays while that goes on.
    pub fn advance(&mut self, places: impl IntoIterator<Item = EventPlace>) {
        if self.is_catching_up() {
            return;
        }
        let oldest = self.newest.map(|at| at - skew());
        let is_past = |at: DateTime<Utc>| oldest.is_some_and(|oldest| at < oldest);
        for place in places {
            if place.position <= self.position {
                continue;
            }
            if self.held.contains(&place.id) {
                let EventPlace {
                    position,
                    id,
                    published_at,
                } = place;
                let open = Unsettled {
                    position,
                    id,
                    published_at,
                };
                self.unsettled.insert(position, open);
            } else if !self.settled.contains_key(&place.id) && !is_past(place.published_at) {
                break;
            }
            self.position = place.position;
            self.dirty = true;
        }
        let (settled, held) = (&self.settled, &self.held);
        self.unsettled.retain(|_, open| {
            !settled.contains_key(&open.id)
                && (held.contains(&open.id) || !is_past(open.published_at))
        });
    }
}

fn skew() -> TimeDelta {
    TimeDelta::from_std(SKEW).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("a time")
    }

    fn places(ids: &[EventId]) -> Vec<EventPlace> {
        let places = (1..).zip(ids);
        places
            .map(|(position, id)| EventPlace {
                position,
                id: *id,
                published_at: at(position),
            })
            .collect()
    }

    fn events<const N: usize>() -> [EventId; N] {
        std::array::from_fn(|_| EventId::generate())
    }

    #[test]
    fn the_position_passes_what_is_settled_and_names_what_is_held() {
        let ids: [EventId; 4] = events();
        let mut progress = Progress::new(0, Vec::new());
        for (second, id) in (1..).zip(&ids[..3]) {
            progress.handed_out(*id, at(second));
        }
        progress.settled("a", ids[0], Settled::Taken);
        progress.settled("c", ids[2], Settled::Dead);
        progress.advance(places(&ids));
        assert_eq!(progress.position(), 3, "the fourth was not handed out");
        let open: Vec<EventId> = progress.unsettled().iter().map(|u| u.id).collect();
        assert_eq!(open, [ids[1]]);
        progress.settled("b", ids[1], Settled::Taken);
        progress.advance(places(&ids));
        assert!(progress.unsettled().is_empty());
        assert_eq!(progress.position(), 3);
    }

    /// What an owner before settled, this one never sees; nor does it see events that the endpoint does not want.
    #[test]
    fn what_is_older_than_what_was_handed_out_is_settled() {
        let ids: [EventId; 3] = events();
        let mut progress = Progress::new(0, Vec::new());
        progress.handed_out(EventId::generate(), at(62));
        progress.advance(places(&ids));
        assert_eq!(progress.position(), 1);
        progress.handed_out(ids[2], at(100));
        progress.advance(places(&ids));
        assert_eq!(progress.position(), 3);
        assert_eq!(progress.unsettled()[0].id, ids[2], "held, however old");
    }

    #[test]
    fn what_is_missing_goes_first_in_its_conversation() {
        let [lost, lost_too, newer, other] = events();
        let mut progress = Progress::new(0, Vec::new());
        let earlier = progress.look();
        let look = progress.look();
        assert!(!progress.found(earlier), "it was begun anew");
        assert_eq!(progress.turn("a", newer), Turn::Wait);
        progress.missing("a".to_owned(), lost);
        progress.missing("a".to_owned(), lost_too);
        assert!(progress.found(look));
        assert_eq!(progress.turn("b", other), Turn::Go);
        assert_eq!(progress.turn("a", newer), Turn::Behind);
        assert_eq!(progress.turn("a", newer), Turn::Skip, "a copy follows");
        assert_eq!(progress.turn("a", lost_too), Turn::Skip, "a copy follows");
        for id in [lost, lost_too, newer] {
            assert!(progress.is_catching_up());
            assert_eq!(progress.turn("a", id), Turn::Go);
            progress.settled("a", id, Settled::Taken);
            assert_eq!(progress.turn("a", id), Turn::Skip, "it was taken");
        }
        assert!(!progress.is_catching_up());
    }

    #[test]
    fn nothing_is_passed_while_something_is_missing() {
        let ids: [EventId; 2] = events();
        let mut progress = Progress::new(0, Vec::new());
        let look = progress.look();
        progress.missing("a".to_owned(), ids[0]);
        assert!(progress.found(look));
        progress.handed_out(ids[1], at(1000));
        progress.settled("b", ids[1], Settled::Taken);
        progress.advance(places(&ids));
        assert_eq!(progress.position(), 0);
        progress.settled("a", ids[0], Settled::Dead);
        progress.advance(places(&ids));
        assert_eq!(progress.position(), 2);
    }

    #[test]
    fn a_dead_letter_that_is_requeued_is_sent() {
        let [dead] = events();
        let mut progress = Progress::new(0, Vec::new());
        progress.settled("a", dead, Settled::Dead);
        assert_eq!(progress.turn("a", dead), Turn::Go);
    }
}
