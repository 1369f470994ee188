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
