//! Messages that an intake handed out and nobody will handle. There must be none: the bus takes them for being worked
//! on, so they would come again only after the hold limit, behind later ones.

use std::time::Duration;

use tokio::time::Instant;

use super::{Lane, measure};

/// How long messages may be unaccounted for before that is reported: some are, for moments, between two hands.
const TOLERATED: Duration = Duration::from_secs(30);
/// How often to look again while some are.
pub(super) const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Stranded {
    since: Option<Instant>,
    reported: usize,
}

impl Stranded {
    /// Takes note of how many are unaccounted for, and reports those that stay.
    pub fn look(&mut self, lane: &Lane, count: usize, now: Instant) {
        if count == 0 {
            return self.end(lane);
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= TOLERATED && count != self.reported {
            self.reported = count;
            measure::stranded(lane, count);
            tracing::error!(
                %lane,
                count,
                "messages are held and nobody handles them: restart this worker and report it"
            );
        }
    }

    /// They go back to the lane, or there are none.
    pub fn end(&mut self, lane: &Lane) {
        self.since = None;
        if std::mem::take(&mut self.reported) > 0 {
            measure::stranded(lane, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_is_reported() {
        let lane = Lane::Inbound(0);
        let begun = Instant::now();
        let mut stranded = Stranded::default();
        stranded.look(&lane, 2, begun);
        stranded.look(&lane, 0, begun + TOLERATED);
        stranded.look(&lane, 1, begun + TOLERATED);
        assert_eq!(stranded.reported, 0, "others, and for moments");
        stranded.look(&lane, 1, begun + 2 * TOLERATED);
        assert_eq!(stranded.reported, 1);
        stranded.look(&lane, 0, begun + 3 * TOLERATED);
        assert_eq!(stranded.reported, 0);
    }
}
