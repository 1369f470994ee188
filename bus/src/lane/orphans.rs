//! Lanes that nobody owns. Every member looks at some of those that it does not own itself in each round, so that what it
//! costs does not grow with the number of lanes.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{Group, Lane, measure};
use crate::LaneSpec;

/// For how long a lane may have no owner: a change of owners takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lanes that are asked about in one round, at most.
const ASKED: usize = 16;

pub(super) struct Orphans {
    /// Lanes without owner, since they were first seen so.
    since: HashMap<Lane, Instant>,
    /// Those of them that were reported.
    told: HashSet<Lane>,
    /// Where the next look begins.
    from: usize,
}

impl Orphans {
    pub fn new(from: usize) -> Self {
        Self {
            since: HashMap::new(),
            told: HashSet::new(),
            from,
        }
    }

    /// The lanes to ask about now: those without owner first, then the next of the others. What this worker owns has one.
    pub fn next(&mut self, specs: &[LaneSpec], is_mine: impl Fn(&Lane) -> bool) -> Vec<Lane> {
        let wanted: HashSet<&Lane> = specs.iter().map(|spec| &spec.lane).collect();
        self.since
            .retain(|lane, _| wanted.contains(lane) && !is_mine(lane));
        let mut known: Vec<(&Lane, &Instant)> = self.since.iter().collect();
        known.sort_by_key(|(_, since)| **since);
        // Half of the places are for those that are not known yet.
        let mut asked: Vec<Lane> = known
            .into_iter()
            .take(ASKED / 2)
            .map(|(lane, _)| lane.clone())
            .collect();
        for _ in 0..specs.len() {
            if asked.len() >= ASKED {
                break;
            }
            let lane = &specs[self.from % specs.len()].lane;
            self.from = self.from.wrapping_add(1);
            if !is_mine(lane) && !asked.contains(lane) {
                asked.push(lane.clone());
            }
        }
        asked
    }

    pub fn note(&mut self, lane: Lane, is_owned: bool, now: Instant) {
        if is_owned {
            self.since.remove(&lane);
        } else {
            self.since.entry(lane).or_insert(now);
        }
    }

    /// Reports the lanes that have had no owner for too long, each once.
    pub fn tell(&mut self, group: &Group, now: Instant) {
        let late = |since: &Instant| now.duration_since(*since) >= PATIENCE;
        let long: HashSet<Lane> = self
            .since
            .iter()
            .filter(|(_, since)| late(since))
            .map(|(lane, _)| lane.clone())
            .collect();
        measure::unowned(group, long.len());
        if let Some(lane) = long.difference(&self.told).next() {
            tracing::error!(
                %group,
                %lane,
                lanes = long.len(),
                "nobody has owned the lane for {PATIENCE:?}, and its messages wait; look why the workers of the group \
                 do not claim it, or start more of them"
            );
        } else if long.is_empty() && !self.told.is_empty() {
            tracing::info!(%group, "every lane has an owner again");
        }
        self.told = long;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(count: u16) -> Vec<LaneSpec> {
        let spec = |n| LaneSpec {
            lane: Lane::Inbound(n),
            filter: None,
        };
        (0..count).map(spec).collect()
    }

    #[test]
    fn every_lane_of_others_is_asked_about_in_turn() {
        let specs = specs(100);
        let mut orphans = Orphans::new(7);
        let is_mine = |lane: &Lane| matches!(lane, Lane::Inbound(n) if n % 2 == 0);
        let mut asked = HashSet::new();
        for _ in 0..4 {
            let now = orphans.next(&specs, is_mine);
            assert!(now.len() <= ASKED, "{}", now.len());
            asked.extend(now);
        }
        assert_eq!(asked.len(), 50);
        assert!(!asked.iter().any(is_mine));
        assert!(orphans.next(&[], is_mine).is_empty());
    }

    #[test]
    fn a_lane_is_late_after_a_while_and_never_when_it_was_owned_between() {
        let specs = specs(3);
        let mut orphans = Orphans::new(0);
        let begun = Instant::now();
        let group = Group::Router;
        for (seconds, owned, told) in [
            (0, [true, false, false], 0),
            (20, [true, false, true], 0),
            (31, [false, false, false], 1),
            (40, [false, false, true], 1),
            (62, [true, true, false], 0),
        ] {
            let now = begun + Duration::from_secs(seconds);
            let asked = orphans.next(&specs, |_| false);
            assert_eq!(asked.len(), 3);
            for (n, is_owned) in (0..).zip(owned) {
                orphans.note(Lane::Inbound(n), is_owned, now);
            }
            orphans.tell(&group, now);
            assert_eq!(orphans.told.len(), told, "after {seconds} s");
        }
        // Lanes of its own, and lanes that are gone, are forgotten.
        orphans.note(Lane::Inbound(1), false, begun);
        orphans.next(&specs, |_| true);
        assert!(orphans.since.is_empty());
    }
}
