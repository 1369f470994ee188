//! Who gets whom: those who wait, oldest first, to the agents in turn, none beyond capacity.

use tributary_bus::{AgentId, ConversationId};

/// An agent who takes new conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub agent: AgentId,
    /// Open conversations at once, at most.
    pub capacity: u32,
    /// Open conversations now; can be above capacity, since a person may assign beyond it.
    pub load: u32,
}

impl Candidate {
    fn has_room(&self) -> bool {
        self.load < self.capacity
    }
}

/// How many conversations the agents have room for.
pub(crate) fn room(candidates: &[Candidate]) -> u64 {
    let rooms = candidates.iter().map(|c| c.capacity.saturating_sub(c.load));
    rooms.map(u64::from).sum()
}

/// Gives the conversations, in the given order, to the agents in the order of their ids, beginning after `last` (who got
/// the latest one). Ends when nobody waits or nobody has room.
pub(crate) fn round_robin(
    waiting: &[ConversationId],
    candidates: &[Candidate],
    last: Option<AgentId>,
) -> Vec<(ConversationId, AgentId)> {
    let mut round: Vec<Candidate> = candidates.to_vec();
    round.sort_by_key(|candidate| candidate.agent);
    let start = last.map_or(0, |last| round.partition_point(|c| c.agent <= last));
    round.rotate_left(start);
    let mut round: std::collections::VecDeque<Candidate> =
        round.into_iter().filter(Candidate::has_room).collect();
    let mut pairs = Vec::new();
    for conversation in waiting {
        let Some(mut next) = round.pop_front() else {
            break;
        };
        pairs.push((*conversation, next.agent));
        next.load += 1;
        if next.has_room() {
            round.push_back(next);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn agent(n: u128) -> AgentId {
        AgentId(Uuid::from_u128(n))
    }

    fn conversations(count: usize) -> Vec<ConversationId> {
        (0..count as u128)
            .map(|n| ConversationId(Uuid::from_u128(n)))
            .collect()
    }

    fn candidate(n: u128, capacity: u32, load: u32) -> Candidate {
        Candidate {
            agent: agent(n),
            capacity,
            load,
        }
    }

    fn agents_of(pairs: &[(ConversationId, AgentId)]) -> Vec<AgentId> {
        pairs.iter().map(|(_, agent)| *agent).collect()
    }

    #[test]
    fn goes_round_after_the_last() {
        let three = [candidate(1, 9, 0), candidate(2, 9, 0), candidate(3, 9, 0)];
        let four = conversations(4);
        let round = |last| agents_of(&round_robin(&four, &three, last));
        assert_eq!(round(None), [agent(1), agent(2), agent(3), agent(1)]);
        assert_eq!(
            round(Some(agent(1))),
            [agent(2), agent(3), agent(1), agent(2)]
        );
        assert_eq!(
            round(Some(agent(3))),
            [agent(1), agent(2), agent(3), agent(1)]
        );
        // The last one left: the round goes on where he would have been.
        let gone = [three[0], three[2]];
        let pairs = round_robin(&four, &gone, Some(agent(2)));
        assert_eq!(agents_of(&pairs), [agent(3), agent(1), agent(3), agent(1)]);
    }

    #[test]
    fn skips_the_full() {
        let agents = [candidate(1, 1, 1), candidate(2, 2, 5), candidate(3, 2, 1)];
        let pairs = round_robin(&conversations(3), &agents, None);
        assert_eq!(agents_of(&pairs), [agent(3)]);
        assert_eq!(pairs[0].0, conversations(1)[0]);
    }

    proptest! {
        #[test]
        fn nobody_is_overloaded_and_nobody_waits_in_vain(
            waiting in 0_usize..40,
            agents in prop::collection::btree_map(0_u128..50, (0_u32..6, 0_u32..8), 0..8),
            last in prop::option::of(0_u128..50),
        ) {
            let candidates: Vec<Candidate> = agents
                .iter()
                .map(|(n, (capacity, load))| candidate(*n, *capacity, *load))
                .collect();
            let queue = conversations(waiting);
            let pairs = round_robin(&queue, &candidates, last.map(agent));

            let expected = room(&candidates).min(waiting as u64);
            prop_assert_eq!(pairs.len() as u64, expected);
            let served: Vec<_> = pairs.iter().map(|(id, _)| *id).collect();
            prop_assert_eq!(&served[..], &queue[..pairs.len()]);
            let mut given: HashMap<AgentId, u32> = HashMap::new();
            for (_, agent) in pairs {
                *given.entry(agent).or_default() += 1;
            }
            for c in &candidates {
                let new = given.get(&c.agent).copied().unwrap_or_default();
                prop_assert!(new == 0 || c.load + new <= c.capacity);
            }
        }
    }
}
