//! Times of providers beside times of ours. Many providers report whole seconds or milliseconds;
//! ours have microseconds. A time that a provider reports stands for all of its unit.

use chrono::{DateTime, TimeDelta, Utc};

/// The first moment after the one that was reported, by the unit in which it was reported.
fn end_of(reported: DateTime<Utc>) -> DateTime<Utc> {
    let nanoseconds = reported.timestamp_subsec_nanos();
    let unit = if nanoseconds == 0 {
        TimeDelta::seconds(1)
    } else if nanoseconds.is_multiple_of(1_000_000) {
        TimeDelta::milliseconds(1)
    } else {
        TimeDelta::microseconds(1)
    };
    reported.checked_add_signed(unit).unwrap_or(reported)
}

/// Whether something is certain to have happened after what was reported. Within the same unit it
/// is not, and what arrives later counts as later.
pub(crate) fn is_later(time: Option<DateTime<Utc>>, reported: DateTime<Utc>) -> bool {
    time.is_some_and(|time| time >= end_of(reported))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_time_stands_for_its_unit() {
        let second = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
        let micros = |micros| second + TimeDelta::microseconds(micros);
        for (reported, end) in [
            (0, 1_000_000),
            (500_000, 501_000),
            (500_250, 500_251),
            (1_000_000, 2_000_000),
        ] {
            assert_eq!(end_of(micros(reported)), micros(end));
            assert!(!is_later(Some(micros(end - 1)), micros(reported)));
            assert!(is_later(Some(micros(end)), micros(reported)));
        }
        assert!(!is_later(None, second));
    }
}
