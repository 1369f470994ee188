//! How many lanes a worker should own.

/// The most that one of `members` workers owns of `lanes`. All together can own at least every lane.
pub(super) fn ceiling(lanes: usize, members: usize) -> usize {
    lanes.div_ceil(members.max(1))
}

/// What every worker owns at least once all is balanced.
pub(super) fn floor(lanes: usize, members: usize) -> usize {
    lanes / members.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_cover_all_lanes_and_differ_by_one(lanes in 0_usize..2_000, members in 0_usize..50) {
            let (most, least) = (ceiling(lanes, members), floor(lanes, members));
            prop_assert!(most * members.max(1) >= lanes);
            prop_assert!(most - least <= 1);
        }
    }
}
