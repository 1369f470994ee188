//! The circuit of an account: open while its provider is out of order.
//!
//! It opens on evidence about the account: several failures in a row, of any recipients, without a
//! success in between. A recipient that fails while another one was served meanwhile has troubles
//! of its own: it waits alone, and its failures say nothing about the account until it is served
//! again. While the circuit is open, recipients whose last call failed wait for a time that grows
//! from opening to opening. One that has not failed may try much sooner, one at a time: if it is
//! served, the circuit closes. So recipients that the provider chokes on hold up nobody else,
//! however many they are, and a provider that is really down gets few calls.
//!
//! After the first success calls follow a few at a time, and the circuit is closed once they have
//! got through.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};
use tributary_base::backoff::Backoff;
use tributary_bus::Address;

#[cfg(test)]
mod tests;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// The same when they are all of one recipient and may be about what is sent to them.
const FAILURES_OF_ONE: u32 = 10;
/// Refusals of the account in a row that open it while it has served somebody lately; otherwise one
/// is enough.
const REFUSALS: u32 = 3;
const WORKED_LATELY: Duration = Duration::from_secs(60);
/// Failures in a row that open it again while calls follow a few at a time.
const FAILURES_AGAIN: u32 = 2;
/// A recipient with this many failures in a row, while others are served, is reported.
const LASTING: u32 = 5;
/// For so long after its last failure.
pub(super) const SHOWN: Duration = Duration::from_secs(600);
/// No probe follows another one faster.
const FLOOR: Duration = Duration::from_millis(300);
/// How long a recipient that has not failed waits for its probe: from the first to the longest.
const FRESH_WAIT: Duration = Duration::from_secs(1);
const LONGEST_FRESH_WAIT: Duration = Duration::from_secs(5);
/// How long an account waits for a person before it tries again by itself.
pub(super) const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// How long a delivery waits in place while others try.
const WAIT_IN_PLACE: Duration = Duration::from_millis(1200);
/// How soon it asks again after that.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Recipients that fail are forgotten beyond this many, those that failed longest ago first.
const REMEMBERED: usize = 10_000;

/// How a provider call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The provider answered: it served this recipient, or refused this one call.
    Answered,
    /// The provider answered that it does not serve this account.
    Refused,
    /// Surely not reached.
    NotReached,
    /// No answer, or one that says that it is out of order; what is sent may be the cause.
    NoAnswer,
    /// It failed for a reason that has nothing to do with the provider.
    Ours,
}

/// What a failed call means for its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    /// Nobody knows better yet: it tries again by itself.
    No,
    /// Others were served since it failed first: it tries again by itself.
    Alone,
    /// The account is not served: it waits for this long, and that counts as no try.
    Wait(Duration),
}

/// How the account is served, as far as calls have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Served,
    /// So many recipients fail again and again while others are served; the last reason.
    SomeFail {
        recipients: usize,
        reason: String,
    },
    /// Nobody is served, for this reason.
    Down {
        reason: String,
    },
    /// The provider refuses the account, for this reason.
    Refused {
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        /// When one of those that failed may try.
        until: Instant,
        /// When one that has not failed may try.
        fresh: Instant,
    },
    /// So many at once.
    Recovering {
        width: usize,
    },
}

/// A recipient whose last call failed.
#[derive(Debug)]
struct Failing {
    /// In a row.
    failures: u32,
    /// The number of its first failure among all failures of the account.
    first: u64,
    /// For reasons that have nothing to do with the provider.
    ours: bool,
    reason: String,
    at: Instant,
}

/// Whether the recipient's last call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Fresh,
    Failing,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Failures since the last success, but for those of recipients that fail alone.
    failures: u32,
    /// Whether these are of more than one recipient; of one of them.
    failed: Option<(Address, bool)>,
    failing: HashMap<Address, Failing>,
    /// All failures ever.
    count: u64,
    /// How many of them had happened when the latest call began that was served.
    served: u64,
    /// Openings since it was closed.
    openings: u32,
    /// Why it was opened last.
    cause: Option<(End, String)>,
    /// Probes of recipients that had not failed, in a row without a success.
    fresh_probes: u32,
    /// When a call was served last.
    served_at: Option<Instant>,
    /// Calls under way to recipients of each standing, and which of them probe.
    fresh_calls: Calls,
    failing_calls: Calls,
}

#[derive(Debug, Default)]
struct Calls {
    under_way: usize,
    probing: bool,
}

/// See the module.
pub(super) struct Circuit {
    state: Mutex<State>,
    changed: Notify,
    backoff: Backoff,
    /// Deliveries at once when all is well.
    width: usize,
}

/// The right to make one call. Dropping it without [`Ticket::end`] says nothing about the provider.
pub(super) struct Ticket<'a> {
    circuit: &'a Circuit,
    standing: Standing,
    /// It was let through an open circuit.
    probe: bool,
    /// Failures when it began.
    began: u64,
}

impl State {
    /// Whether somebody else was served by a call that began after this recipient had failed.
    fn fails_alone(&self, to: &Address) -> bool {
        (self.failing.get(to)).is_some_and(|failing| !failing.ours && failing.first <= self.served)
    }

    fn calls(&mut self, standing: Standing) -> &mut Calls {
        match standing {
            Standing::Fresh => &mut self.fresh_calls,
            Standing::Failing => &mut self.failing_calls,
        }
    }

    fn note(&mut self, to: &Address, end: End, reason: &str, now: Instant) {
        self.count += 1;
        if self.failing.len() >= REMEMBERED && !self.failing.contains_key(to) {
            let oldest = self.failing.iter().min_by_key(|(_, failing)| failing.at);
            if let Some(oldest) = oldest.map(|(address, _)| address.clone()) {
                self.failing.remove(&oldest);
            }
        }
        let count = self.count;
        let failing = self.failing.entry(to.clone()).or_insert(Failing {
            failures: 0,
            first: count,
            ours: true,
            reason: String::new(),
            at: now,
        });
        if failing.ours && end != End::Ours {
            failing.ours = false;
            (failing.failures, failing.first) = (0, count);
        }
        failing.failures = failing.failures.saturating_add(1);
        reason.clone_into(&mut failing.reason);
        failing.at = now;
    }

    /// Counts a failure that may be about the account; whether that is enough to open the circuit.
    fn is_enough(&mut self, to: &Address, end: End, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failed = match self.failed.take() {
            None => Some((to.clone(), false)),
            Some((first, more)) => {
                let more = more || first != *to;
                Some((first, more))
            }
        };
        let several = self.failed.as_ref().is_some_and(|(_, more)| *more);
        let lately = (self.served_at).is_some_and(|at| now < at + WORKED_LATELY);
        let enough = match (end, self.phase) {
            (End::Refused, _) if lately => REFUSALS,
            (End::Refused, _) => 1,
            (_, Phase::Recovering { .. }) => FAILURES_AGAIN,
            (End::NoAnswer, _) if !several => FAILURES_OF_ONE,
            _ => FAILURES,
        };
        self.failures >= enough
    }
}

impl Circuit {
    pub(super) fn new(backoff: Backoff, width: usize) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Closed,
                failures: 0,
                failed: None,
                failing: HashMap::new(),
                count: 0,
                served: 0,
                openings: 0,
                cause: None,
                fresh_probes: 0,
                served_at: None,
                fresh_calls: Calls::default(),
                failing_calls: Calls::default(),
            }),
            changed: Notify::new(),
            backoff,
            width: width.max(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls go through without waiting.
    pub(super) fn is_closed(&self) -> bool {
        self.state().phase == Phase::Closed
    }

    /// Whether nothing but tries goes through.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state().phase, Phase::Open { .. })
    }

    /// How the account is served.
    pub(super) fn condition(&self, now: Instant) -> Condition {
        let state = self.state();
        if let (Phase::Open { .. }, Some((end, reason))) = (state.phase, &state.cause) {
            let reason = reason.clone();
            return match end {
                End::Refused => Condition::Refused { reason },
                End::Answered | End::NotReached | End::NoAnswer | End::Ours => {
                    Condition::Down { reason }
                }
            };
        }
        let lasting = || {
            (state.failing.values())
                .filter(|failing| failing.failures >= LASTING && !failing.ours)
                .filter(|failing| failing.first <= state.served)
                // Its messages may have been given up since.
                .filter(|failing| now < failing.at + SHOWN)
        };
        match lasting().max_by_key(|failing| failing.at) {
            None => Condition::Served,
            Some(last) => Condition::SomeFail {
                recipients: lasting().count(),
                reason: last.reason.clone(),
            },
        }
    }

    /// Lets a call through, waiting a moment for others to try.
    ///
    /// # Errors
    /// The recipient waits for this long.
    pub(super) async fn admit(&self, to: &Address) -> Result<Ticket<'_>, Duration> {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                match self.try_admit(to, Instant::now()) {
                    Err(None) => changed.await,
                    Err(Some(wait)) => return Err(wait),
                    Ok(ticket) => return Ok(ticket),
                }
            }
        };
        timeout(WAIT_IN_PLACE, waiting)
            .await
            .unwrap_or(Err(ASK_AGAIN))
    }

    /// `Err(None)`: wait for a change.
    fn try_admit(&self, to: &Address, now: Instant) -> Result<Ticket<'_>, Option<Duration>> {
        let mut state = self.state();
        let standing = match state.failing.contains_key(to) {
            true => Standing::Failing,
            false => Standing::Fresh,
        };
        let calls = state.calls(standing);
        let (under_way, probing) = (calls.under_way, calls.probing);
        // Those that fail take long, as a rule: they never get all the places.
        let half = (self.width / 2).max(1);
        let places = match (state.phase, standing) {
            (Phase::Open { until, .. }, Standing::Failing) if now < until => {
                return Err(Some(until - now));
            }
            (Phase::Open { fresh, .. }, Standing::Fresh) if now < fresh => {
                return Err(Some(fresh - now));
            }
            (Phase::Open { .. }, _) if probing => 0,
            (Phase::Open { .. }, _) | (Phase::Closed, Standing::Fresh) => usize::MAX,
            (Phase::Closed, Standing::Failing) => half,
            (Phase::Recovering { width }, Standing::Fresh) => width,
            (Phase::Recovering { width }, Standing::Failing) => width.min(half),
        };
        if under_way >= places {
            return Err(match standing {
                Standing::Fresh => None,
                // It does not even wait in a place that others could have.
                Standing::Failing => Some(ASK_AGAIN),
            });
        }
        let probe = matches!(state.phase, Phase::Open { .. });
        let began = state.count;
        let calls = state.calls(standing);
        calls.under_way += 1;
        calls.probing |= probe;
        Ok(Ticket {
            circuit: self,
            standing,
            probe,
            began,
        })
    }

    fn answered(&self, to: &Address, ticket: &Ticket<'_>, now: Instant) {
        let mut state = self.state();
        state.failing.remove(to);
        state.failures = 0;
        state.failed = None;
        state.fresh_probes = 0;
        state.served = state.served.max(ticket.began);
        state.served_at = Some(now);
        state.phase = match state.phase {
            Phase::Open { .. } if ticket.probe => Phase::Recovering { width: 1 },
            // Of a call that began before; who tries next decides.
            Phase::Open { .. } => state.phase,
            // Each answer lets one more go: twice as many at every round.
            Phase::Recovering { width } if width < self.width => {
                Phase::Recovering { width: width + 1 }
            }
            Phase::Recovering { .. } | Phase::Closed => {
                state.openings = 0;
                state.cause = None;
                Phase::Closed
            }
        };
    }

    fn failed(
        &self,
        to: &Address,
        (end, reason): (End, &str),
        ticket: &Ticket<'_>,
        now: Instant,
    ) -> Outage {
        let mut state = self.state();
        let alone = state.fails_alone(to);
        state.note(to, end, reason, now);
        match (state.phase, ticket.standing) {
            // One more that is not served; the others still wait for theirs.
            (Phase::Open { until, .. }, Standing::Fresh) if ticket.probe => {
                state.fresh_probes = state.fresh_probes.saturating_add(1);
                let fresh = now + fresh_wait(state.fresh_probes);
                state.phase = Phase::Open { until, fresh };
                Outage::Wait(until.saturating_duration_since(now).max(FLOOR))
            }
            (Phase::Open { fresh, .. }, Standing::Failing) if ticket.probe => {
                let wait = self.open(&mut state, (end, reason), now);
                let until = now + wait;
                state.phase = Phase::Open { until, fresh };
                Outage::Wait(wait)
            }
            (Phase::Open { until, .. }, _) if !alone => {
                Outage::Wait(until.saturating_duration_since(now).max(FLOOR))
            }
            (Phase::Closed | Phase::Recovering { .. }, _)
                if !alone && state.is_enough(to, end, now) =>
            {
                Outage::Wait(self.open(&mut state, (end, reason), now))
            }
            _ if alone => Outage::Alone,
            _ => Outage::No,
        }
    }

    /// Opens it; answers for how long.
    fn open(&self, state: &mut State, (end, reason): (End, &str), now: Instant) -> Duration {
        state.openings = state.openings.saturating_add(1);
        state.cause = Some((end, reason.to_owned()));
        let wait = match end {
            End::Refused => REFUSED_WAIT,
            End::Answered | End::NotReached | End::NoAnswer | End::Ours => {
                // Not less than half, so that it is a pause at all.
                let limit = self.backoff.limit(state.openings);
                (limit / 2 + self.backoff.delay(state.openings) / 2).min(limit)
            }
        };
        let wait = wait.max(FLOOR);
        let fresh = fresh_wait(state.openings).min(wait / 2).max(FLOOR);
        state.phase = Phase::Open {
            until: now + wait,
            fresh: now + fresh,
        };
        wait
    }
}

/// How long the next recipient that has not failed waits for its probe.
fn fresh_wait(before: u32) -> Duration {
    let doublings = before.saturating_sub(1).min(8);
    (FRESH_WAIT * (1 << doublings)).min(LONGEST_FRESH_WAIT)
}

impl Ticket<'_> {
    /// Says how the call ended, and why where it failed; answers what that means for its recipient.
    pub(super) fn end(self, to: &Address, end: End, reason: &str) -> Outage {
        self.end_at(to, end, reason, Instant::now())
    }

    fn end_at(self, to: &Address, end: End, reason: &str, now: Instant) -> Outage {
        match end {
            End::Answered => {
                self.circuit.answered(to, &self, now);
                Outage::No
            }
            // It takes a place like any other that fails, and says nothing about anybody else.
            End::Ours => {
                self.circuit.state().note(to, end, reason, now);
                Outage::No
            }
            End::Refused | End::NotReached | End::NoAnswer => {
                self.circuit.failed(to, (end, reason), &self, now)
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.circuit.state();
        let calls = state.calls(self.standing);
        calls.under_way = calls.under_way.saturating_sub(1);
        if self.probe {
            calls.probing = false;
        }
        drop(state);
        self.circuit.changed.notify_waiters();
    }
}
