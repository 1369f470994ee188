//! How old messages may become. Waits that a provider or an endpoint asked for are not charged.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, Utc};

use super::item::Item;

/// Pauses that are remembered.
const REMEMBERED: usize = 256;

/// Pauses of the lane that somebody outside asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pauses: VecDeque<(DateTime<Utc>, DateTime<Utc>)>,
}

/// The age at which a message is given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct AgeLimit<'a> {
    asked: &'a Asked,
    max_age: Duration,
}

impl Asked {
    /// Takes note of a pause from now on.
    pub fn pause(&mut self, wait: Duration) {
        let begins = Utc::now();
        let Some(ends) =
            begins.checked_add_signed(chrono::TimeDelta::from_std(wait).unwrap_or_default())
        else {
            return;
        };
        match self.pauses.back_mut() {
            Some((_, end)) if *end >= begins => *end = ends.max(*end),
            Some(_) | None => self.pauses.push_back((begins, ends)),
        }
        if self.pauses.len() > REMEMBERED {
            self.pauses.pop_front();
        }
    }

    pub fn limit(&self, max_age: Duration) -> AgeLimit<'_> {
        AgeLimit {
            asked: self,
            max_age,
        }
    }

    /// How much of the time since then it was paused.
    fn since(&self, time: DateTime<Utc>) -> Duration {
        let now = Utc::now();
        let overlap = |(begins, ends): &(DateTime<Utc>, DateTime<Utc>)| {
            (*ends.min(&now) - *begins.max(&time))
                .to_std()
                .unwrap_or_default()
        };
        self.pauses.iter().map(overlap).sum()
    }
}

impl AgeLimit<'_> {
    /// Gives the message up if it is too old. What is excused is bounded, so that who asks for ever more time does not
    /// keep it for ever.
    pub fn apply(self, item: &mut Item, reason: &str) {
        if item.history.exhausted.is_some() {
            return;
        }
        let excused = item.history.excused + self.asked.since(item.time);
        let charged = age(item.time).saturating_sub(excused.min(self.max_age));
        if charged >= self.max_age {
            item.history.exhausted = Some(format!("too old: {reason}"));
        }
    }
}

/// Time since then; none for a time to come.
pub(super) fn age(time: DateTime<Utc>) -> Duration {
    (Utc::now() - time).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{Tag, lane::item::History};

    fn item(age: i64, excused: u64) -> Item {
        Item {
            tag: Tag(1),
            redeliveries: 0,
            body: bytes::Bytes::new(),
            identity: uuid::Uuid::nil(),
            id: None,
            time: Utc::now() - TimeDelta::seconds(age),
            envelope: None,
            history: History {
                excused: Duration::from_secs(excused),
                ..History::default()
            },
            suspect: false,
            verdict: None,
        }
    }

    #[test]
    fn waits_that_were_asked_for_make_no_message_too_old() {
        let max_age = Duration::from_secs(60);
        for (age, excused, too_old) in [
            (50, 0, false),
            (70, 0, true),
            (100, 50, false),
            (100, 30, true),
            // Not for ever.
            (130, 3_600, true),
        ] {
            let mut item = item(age, excused);
            Asked::default().limit(max_age).apply(&mut item, "busy");
            assert_eq!(item.history.exhausted.is_some(), too_old, "{age} {excused}");
        }
    }

    #[test]
    fn pauses_of_the_lane_excuse_what_waited_through_them() {
        let now = Utc::now();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        let asked = Asked {
            pauses: [(ago(100), ago(40))].into(),
        };
        let limit = asked.limit(Duration::from_secs(60));
        let mut old = item(110, 0);
        limit.apply(&mut old, "busy");
        assert_eq!(old.history.exhausted, None, "60 of 110 s were asked for");
        let mut older = item(130, 0);
        limit.apply(&mut older, "busy");
        assert_eq!(older.history.exhausted.as_deref(), Some("too old: busy"));
        // It came during the pause.
        assert_eq!(asked.since(ago(50)).as_secs(), 10);
    }
}
