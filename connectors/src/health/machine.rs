//! The state of an account, and when it is told: a small state machine, pure.
//!
//! What ails the account is kept by where it was noticed, so that a send which works does not hide a session which
//! does not. Getting worse is told at once; an account that goes up and down is told to be well only when it has been
//! so for a while. Another reason within a state is told too, so that what to do is never stale; not more often than
//! once in a while.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, Utc};
use tributary_bus::message::HealthState;

use super::{HealthReport, Source};

/// So many changes within [`FLAPPING_WINDOW`] make an account one that goes up and down.
const FLAPPING_CHANGES: usize = 4;
const FLAPPING_WINDOW: Duration = Duration::from_secs(600);
/// How long such an account has to be better before that is told, and how long a reason is left to stand.
const CALM: Duration = Duration::from_secs(60);
/// Sessions that broke in a row, without having settled in, before the account counts as down.
const BROKEN_SESSIONS: u32 = 3;

/// The state of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub state: HealthState,
    pub reason: String,
    pub action: Option<String>,
    pub since: DateTime<Utc>,
    /// When the reason took the place of another one of the state.
    pub reason_since: Option<DateTime<Utc>>,
}

/// Takes in reports about one account, and says what is news.
#[derive(Debug)]
pub(super) struct Machine {
    /// By source, in its order.
    reports: [Option<HealthReport>; 3],
    pub(super) view: View,
    /// What was told last, and when.
    told: Option<(View, DateTime<Utc>)>,
    /// Somebody is telling right now.
    pub(super) telling: bool,
    /// When changes were told lately.
    changes: VecDeque<DateTime<Utc>>,
    broken_sessions: u32,
}

impl Machine {
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        Self {
            reports: [None, None, None],
            view: View {
                state: HealthState::Starting,
                reason: String::new(),
                action: None,
                since: now,
                reason_since: None,
            },
            told: None,
            telling: false,
            changes: VecDeque::new(),
            broken_sessions: 0,
        }
    }

    /// Takes in a report; answers whether the state is another one now.
    pub(super) fn feed(
        &mut self,
        source: Source,
        report: HealthReport,
        now: DateTime<Utc>,
    ) -> bool {
        self.reports[source as usize] = Some(report);
        let found = self.judge();
        let another = found.state != self.view.state;
        let same = found.reason == self.view.reason && found.action == self.view.action;
        self.view = View {
            reason_since: match (another, same) {
                (true, _) => None,
                (false, true) => self.view.reason_since,
                (false, false) => Some(now),
            },
            state: found.state,
            reason: found.reason,
            action: found.action,
            since: if another { now } else { self.view.since },
        };
        another
    }

    /// Who reported something that is over by now.
    pub(super) fn over(&self, now: DateTime<Utc>) -> Vec<Source> {
        Source::ALL
            .into_iter()
            .filter(|source| {
                let report = self.reports[*source as usize].as_ref();
                report
                    .and_then(|report| report.until)
                    .is_some_and(|until| until <= now)
            })
            .collect()
    }

    /// All reports together.
    fn judge(&self) -> HealthReport {
        let [sending, session, channel] = &self.reports;
        let all = || [sending, session, channel].into_iter().flatten();
        let any = |state| all().find(|report| report.state == state).cloned();
        let sends = sending
            .as_ref()
            .is_some_and(|sending| sending.state == HealthState::Ok);
        if let Some(misconfigured) = any(HealthState::Misconfigured) {
            return misconfigured;
        }
        if let Some(mut down) = any(HealthState::Down) {
            if sends {
                // One way works.
                down.state = HealthState::Degraded;
            }
            return down;
        }
        any(HealthState::Degraded)
            .or_else(|| any(HealthState::Ok))
            .unwrap_or_else(|| HealthReport::new(HealthState::Starting, String::new(), None))
    }

    /// What is to be told now, if anything. Whoever asks tells it and then says how that went.
    pub(super) fn news(&mut self, now: DateTime<Utc>) -> Option<View> {
        let state = self.view.state;
        if self.telling || state == HealthState::Starting {
            return None;
        }
        if let Some((told, at)) = &self.told
            && told.state == state
        {
            let same = told.reason == self.view.reason && told.action == self.view.action;
            if same || *at + CALM > now {
                return None;
            }
            self.telling = true;
            return Some(self.view.clone());
        }
        while self
            .changes
            .front()
            .is_some_and(|at| *at + FLAPPING_WINDOW <= now)
        {
            self.changes.pop_front();
        }
        let better = self
            .told
            .as_ref()
            .is_some_and(|(told, _)| severity(state) < severity(told.state));
        let flapping = self.changes.len() >= FLAPPING_CHANGES;
        if better && flapping && self.view.since + CALM > now {
            return None;
        }
        self.telling = true;
        Some(self.view.clone())
    }

    /// It was told. Answers whether the state was told before, for another reason.
    pub(super) fn told(&mut self, view: View, now: DateTime<Utc>) -> bool {
        let again = (self.told.as_ref()).is_some_and(|(told, _)| told.state == view.state);
        if !again {
            self.changes.push_back(now);
        }
        self.told = Some((view, now));
        again
    }

    /// Counts a session that broke. Answers whether it does so again and again.
    pub(super) fn session_broke(&mut self) -> bool {
        self.broken_sessions = self.broken_sessions.saturating_add(1);
        self.broken_sessions >= BROKEN_SESSIONS
    }

    pub(super) fn session_settled(&mut self) {
        self.broken_sessions = 0;
    }
}

fn severity(state: HealthState) -> u8 {
    match state {
        HealthState::Starting | HealthState::Ok => 0,
        HealthState::Degraded => 1,
        HealthState::Down => 2,
        HealthState::Misconfigured => 3,
    }
}

#[cfg(test)]
mod tests {
    use HealthState::{Degraded, Down, Misconfigured, Ok, Starting};
    use Source::{Channel, Sending, Session};

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn report(state: HealthState) -> HealthReport {
        HealthReport::new(state, format!("{state:?}"), None)
    }

    #[test]
    fn what_ails_one_part_shows_in_the_whole() {
        for (reports, expected) in [
            (vec![], Starting),
            (vec![(Sending, Ok)], Ok),
            (vec![(Session, Ok)], Ok),
            (vec![(Sending, Ok), (Channel, Degraded)], Degraded),
            (vec![(Channel, Degraded), (Channel, Ok)], Ok),
            (vec![(Session, Down)], Down),
            // One way works.
            (vec![(Session, Down), (Sending, Ok)], Degraded),
            (vec![(Session, Ok), (Sending, Down)], Down),
            (vec![(Session, Misconfigured), (Sending, Ok)], Misconfigured),
            (
                vec![(Sending, Misconfigured), (Session, Ok), (Sending, Ok)],
                Ok,
            ),
            (vec![(Sending, Down), (Channel, Degraded)], Down),
        ] {
            let mut machine = Machine::new(at(0));
            for (source, state) in &reports {
                machine.feed(*source, report(*state), at(1));
            }
            assert_eq!(machine.view.state, expected, "{reports:?}");
        }
    }

    #[test]
    fn a_state_has_the_time_of_its_beginning_and_the_latest_reason() {
        let mut machine = Machine::new(at(0));
        assert!(machine.feed(Sending, report(Down), at(5)));
        assert!(!machine.feed(Sending, HealthReport::down("later", None), at(9)));
        assert_eq!(machine.view.since, at(5));
        assert_eq!(machine.view.reason, "later");
    }

    #[test]
    fn another_reason_in_the_same_state_is_told_once_in_a_while() {
        let because = |reason: &str| HealthReport::misconfigured(reason, format!("mend {reason}"));
        let mut machine = Machine::new(at(0));
        let mut begun = Vec::new();
        for (second, reason, expected) in [
            (1, "token", Some("token")),
            (2, "token", None),
            // The first is left to stand for a while; then the one that holds by then is told.
            (3, "permission", None),
            (4, "address", None),
            (60, "address", None),
            (61, "address", Some("address")),
            (62, "token", None),
            (63, "address", None),
            (300, "address", None),
            (301, "permission", Some("permission")),
            (400, "address", Some("address")),
        ] {
            machine.feed(Session, because(reason), at(second));
            let news = machine.news(at(second));
            if let Some(view) = &news {
                assert_eq!(view.since, at(1));
                assert_eq!(view.action, Some(format!("mend {}", view.reason)));
                begun.push(view.reason_since);
                machine.telling = false;
                machine.told(view.clone(), at(second));
            }
            let told = news.map(|view| view.reason);
            assert_eq!(told.as_deref(), expected, "at {second}");
        }
        assert_eq!(machine.changes.len(), 1, "it does not go up and down");
        // A reason that comes back is told apart from its first time.
        assert_eq!(begun, [None, Some(at(4)), Some(at(301)), Some(at(400))]);
        // Another state is told at once all the same.
        machine.feed(Session, HealthReport::ok(), at(402));
        assert_eq!(tell(&mut machine, 402), Some(Ok));
    }

    /// Feeds a state at a second and answers what is told there.
    fn step(machine: &mut Machine, second: i64, state: HealthState) -> Option<HealthState> {
        machine.feed(Sending, report(state), at(second));
        tell(machine, second)
    }

    fn tell(machine: &mut Machine, second: i64) -> Option<HealthState> {
        let view = machine.news(at(second))?;
        machine.telling = false;
        let state = view.state;
        machine.told(view, at(second));
        Some(state)
    }

    #[test]
    fn flapping_is_damped_and_worse_is_told_at_once() {
        let mut machine = Machine::new(at(0));
        assert_eq!(tell(&mut machine, 0), None, "starting is no news");
        let script = [
            (1, Ok, Some(Ok)),
            (2, Ok, None),
            (3, Down, Some(Down)),
            (4, Ok, Some(Ok)),
            (5, Down, Some(Down)),
            // It goes up and down: the good news waits.
            (6, Ok, None),
            (7, Down, None),
            (8, Misconfigured, Some(Misconfigured)),
            (10, Ok, None),
            (69, Ok, None),
            (70, Ok, Some(Ok)),
            // After a quiet time it is believed again.
            (700, Down, Some(Down)),
            (701, Ok, Some(Ok)),
        ];
        for (second, state, expected) in script {
            assert_eq!(step(&mut machine, second, state), expected, "at {second}");
        }
    }

    #[test]
    fn what_ends_by_itself_is_over_when_it_ends() {
        let mut machine = Machine::new(at(0));
        machine.feed(Session, report(Ok), at(1));
        let limited = HealthReport::degraded("limited", None).until(at(60));
        machine.feed(Sending, limited, at(2));
        assert_eq!(machine.view.state, Degraded);
        assert_eq!(machine.over(at(59)), []);
        assert_eq!(machine.over(at(60)), [Sending]);
    }

    #[test]
    fn what_was_not_published_is_told_again() {
        let mut machine = Machine::new(at(0));
        machine.feed(Sending, report(Down), at(1));
        let first = machine.news(at(1)).expect("news");
        assert_eq!(machine.news(at(1)), None, "one tells at a time");
        machine.telling = false;
        assert_eq!(machine.news(at(9)), Some(first), "as it was, with its time");
    }
}
