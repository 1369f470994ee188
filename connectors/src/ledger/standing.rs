//! How far a message has come, from what is told about its parts. Pure.

use chrono::{DateTime, Utc};
use tributary_bus::message::{Failure, Status};

/// A part that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub provider_id: String,
    /// The furthest that the provider has told; `None`: nothing since it took the part.
    pub told: Option<Told>,
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub status: Status,
    pub at: DateTime<Utc>,
    pub failure: Option<Failure>,
}

/// The place of a status in the order in which they follow each other; as [`Status::advance`] has it. 0 is no news
/// about something that was sent.
pub(super) fn step(status: Status) -> i32 {
    match status {
        Status::Received | Status::Queued | Status::Sent => 0,
        Status::Failed | Status::Expired => 1,
        Status::Delivered => 2,
        Status::Read => 3,
    }
}

/// How far a message has come of which every part was sent: as far as the least advanced part; a part that failed
/// fails the message. `None`: no further than sent.
pub(super) fn standing(parts: &[Part]) -> Option<Told> {
    let failed = parts
        .iter()
        .filter_map(|part| part.told.as_ref())
        .find(|told| step(told.status) == 1);
    if let Some(failed) = failed {
        return Some(failed.clone());
    }
    let told: Vec<&Told> = parts
        .iter()
        .map(|part| part.told.as_ref())
        .collect::<Option<_>>()?;
    let least = told.iter().min_by_key(|told| step(told.status))?;
    // The message got there with the last of its parts.
    let at = told.iter().map(|told| told.at).max()?;
    Some(Told {
        at,
        ..(*least).clone()
    })
}

/// What is to be told after receipts were noted: `noted` holds what was known before of each part they were about,
/// and what they said. `None` where it was told before, for certain.
pub(super) fn news(parts: &[Part], noted: &[(&str, Option<Status>, Status)]) -> Option<Told> {
    let now = standing(parts)?;
    let mut repeated = false;
    let before: Vec<Part> = parts
        .iter()
        .cloned()
        .map(|mut part| {
            let about = noted.iter().find(|(id, ..)| *id == part.provider_id);
            if let Some((_, before, reported)) = about {
                // Nothing new: whoever reports it again may not have got through the first time.
                repeated |= before.is_some_and(|before| step(before) >= step(*reported));
                part.told = match (before, part.told) {
                    (Some(before), Some(told)) => Some(Told {
                        status: *before,
                        ..told
                    }),
                    _ => None,
                };
            }
            part
        })
        .collect();
    let unchanged = standing(&before).is_some_and(|before| before.status == now.status);
    (repeated || !unchanged).then_some(now)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn part(number: usize, told: Option<(Status, i64)>) -> Part {
        Part {
            provider_id: format!("id-{number}"),
            told: told.map(|(status, second)| Told {
                status,
                at: at(second),
                failure: None,
            }),
        }
    }

    #[test]
    fn the_least_advanced_part_counts() {
        use Status::{Delivered, Expired, Failed, Read};
        for (told, expected) in [
            (vec![None], None),
            (vec![Some((Delivered, 1))], Some((Delivered, 1))),
            (vec![Some((Delivered, 1)), None], None),
            (
                vec![Some((Read, 9)), Some((Delivered, 3))],
                Some((Delivered, 9)),
            ),
            (vec![Some((Read, 2)), Some((Read, 5))], Some((Read, 5))),
            (vec![None, Some((Failed, 4))], Some((Failed, 4))),
            (
                vec![Some((Read, 9)), Some((Expired, 4))],
                Some((Expired, 4)),
            ),
        ] {
            let parts: Vec<Part> = told
                .iter()
                .enumerate()
                .map(|(number, told)| part(number, *told))
                .collect();
            let found = standing(&parts).map(|told| (told.status, told.at.timestamp()));
            assert_eq!(found, expected, "{told:?}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_statuses() {
        let all = [
            Status::Delivered,
            Status::Read,
            Status::Failed,
            Status::Expired,
        ];
        for one in all {
            for other in all {
                let further = step(other) > step(one);
                assert_eq!(one.advance(other) != one, further, "{one:?} {other:?}");
            }
        }
    }

    fn any_status() -> impl Strategy<Value = Status> {
        prop_oneof![
            Just(Status::Delivered),
            Just(Status::Read),
            Just(Status::Failed)
        ]
    }

    proptest! {
        /// Any order, repetitions, in groups of any size: what was told last is where the message stands, each step is
        /// told when it is reached, and statuses only move forward.
        #[test]
        fn every_step_is_told(count in 1_usize..4, reports in prop::collection::vec(
            prop::collection::vec((0_usize..5, any_status()), 1..4), 0..12)) {
            let mut parts: Vec<Part> = (0..count).map(|number| part(number, None)).collect();
            let mut last: Option<Status> = None;
            for (second, group) in (0..).zip(reports) {
                let mut before: BTreeMap<String, (Option<Status>, Status)> = BTreeMap::new();
                for (number, status) in group {
                    let Some(part) = parts.get_mut(number) else { continue };
                    let known = part.told.as_ref().map(|told| told.status);
                    let entry = before.entry(part.provider_id.clone()).or_insert((known, status));
                    if step(status) > step(entry.1) { entry.1 = status; }
                    if known.is_none_or(|known| step(status) > step(known)) {
                        part.told = Some(Told { status, at: at(second), failure: None });
                    }
                }
                let noted: Vec<(&str, Option<Status>, Status)> =
                    before.iter().map(|(id, (known, said))| (id.as_str(), *known, *said)).collect();
                let stands = standing(&parts).map(|told| told.status);
                match news(&parts, &noted) {
                    Some(told) => {
                        prop_assert_eq!(Some(told.status), stands);
                        last = Some(told.status);
                    }
                    None => prop_assert!(stands.is_none() || last == stands, "{stands:?} was not told"),
                }
            }
        }
    }
}
