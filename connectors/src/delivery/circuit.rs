//! The circuit of an account: open while its provider is out of order.
//!
//! Several failures in a row without a success open it; it takes more of them while all are of one recipient, and may be
//! about what is sent there. Nothing is sent until a wait that grows from time to time is over. Then one delivery tries;
//! when the provider answers it, the others follow a few at a time, and the circuit is closed once they have got through.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};
use tributary_base::backoff::Backoff;
use tributary_bus::Address;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// The same when they are all of one recipient and may be about what is sent to them.
const FAILURES_OF_ONE: u32 = 10;
/// How long a delivery waits in place while others try.
const WAIT_IN_PLACE: Duration = Duration::from_millis(1200);
/// How soon it asks again after that.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How a provider call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The provider answered, whatever it said.
    Answered,
    /// Surely not reached.
    NotReached,
    /// No answer, or one that says that it is out of order; what is sent may be the cause.
    NoAnswer,
}

/// What a failed call means for the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outage {
    /// Only its recipient waits.
    No,
    /// The account waits for this long.
    Pause(Duration),
    /// It waits as well, but another recipient is to try next: this one has tried in vain again and again.
    OthersFirst(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open {
        until: Instant,
    },
    /// One delivery tries.
    Probing,
    /// So many at once.
    Recovering {
        width: usize,
    },
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Failures in a row.
    failures: u32,
    /// One of those whose deliveries failed, and whether there is another.
    failed: Option<(Address, bool)>,
    /// Who tried last.
    prober: Option<Address>,
    /// Openings since it was closed.
    openings: u32,
    in_flight: usize,
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
    probe: bool,
    ended: bool,
}

impl Circuit {
    pub(super) fn new(backoff: Backoff, width: usize) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Closed,
                failures: 0,
                failed: None,
                prober: None,
                openings: 0,
                in_flight: 0,
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

    /// Lets a call through, waiting a moment for others to try.
    ///
    /// # Errors
    /// The account waits for this long.
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
        let probe = match state.phase {
            Phase::Closed => false,
            Phase::Open { until } if now < until => return Err(Some(until - now)),
            Phase::Open { .. } => {
                state.phase = Phase::Probing;
                true
            }
            Phase::Recovering { width } if state.in_flight < width => false,
            Phase::Probing | Phase::Recovering { .. } => return Err(None),
        };
        if probe {
            let again = state.prober.as_ref() == Some(to);
            state.prober = Some(to.clone());
            if !again {
                state.failed = None;
            }
        }
        state.in_flight += 1;
        Ok(Ticket {
            circuit: self,
            probe,
            ended: false,
        })
    }

    fn answered(&self, probe: bool) {
        let mut state = self.state();
        state.failures = 0;
        state.failed = None;
        state.phase = match state.phase {
            Phase::Probing if probe => Phase::Recovering { width: 1 },
            // Each answer lets one more go: twice as many at every round.
            Phase::Recovering { width } if width < self.width => {
                Phase::Recovering { width: width + 1 }
            }
            Phase::Recovering { .. } | Phase::Closed => {
                state.openings = 0;
                state.prober = None;
                Phase::Closed
            }
            // Of a call that began before; who tries next decides.
            Phase::Open { .. } | Phase::Probing => state.phase,
        };
        drop(state);
        self.changed.notify_waiters();
    }

    fn failed(&self, to: &Address, end: End, probe: bool, now: Instant) -> Outage {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.failed = match state.failed.take() {
            None => Some((to.clone(), false)),
            Some((first, more)) => {
                let more = more || first != *to;
                Some((first, more))
            }
        };
        let several = state.failed.as_ref().is_some_and(|(_, more)| *more);
        let enough = if several || end == End::NotReached {
            FAILURES
        } else {
            FAILURES_OF_ONE
        };
        let outage = match state.phase {
            Phase::Open { until } => Outage::Pause(until.saturating_duration_since(now)),
            Phase::Closed if state.failures < enough => Outage::No,
            Phase::Probing if !probe => Outage::No,
            Phase::Closed | Phase::Probing | Phase::Recovering { .. } => {
                state.openings = state.openings.saturating_add(1);
                // Not less than half, so that it is a pause at all.
                let limit = self.backoff.limit(state.openings);
                let wait = limit / 2 + self.backoff.delay(state.openings) / 2;
                let wait = wait.min(limit);
                state.phase = Phase::Open { until: now + wait };
                let in_vain = probe && end == End::NoAnswer && state.openings > 2 && !several;
                if in_vain {
                    Outage::OthersFirst(wait)
                } else {
                    Outage::Pause(wait)
                }
            }
        };
        drop(state);
        self.changed.notify_waiters();
        outage
    }
}

impl Ticket<'_> {
    /// Says how the call ended; answers what that means for the account.
    pub(super) fn end(mut self, to: &Address, end: End) -> Outage {
        self.ended = true;
        match end {
            End::Answered => {
                self.circuit.answered(self.probe);
                Outage::No
            }
            End::NotReached | End::NoAnswer => {
                self.circuit.failed(to, end, self.probe, Instant::now())
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.circuit.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if self.probe && !self.ended && state.phase == Phase::Probing {
            // It did not try after all.
            state.phase = Phase::Open {
                until: Instant::now(),
            };
        }
        drop(state);
        self.circuit.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> Circuit {
        let backoff = Backoff {
            base: Duration::from_secs(8),
            cap: Duration::from_secs(32),
        };
        Circuit::new(backoff, 4)
    }

    fn to(name: &str) -> Address {
        Address::from(name)
    }

    fn admitted(circuit: &Circuit) -> Ticket<'_> {
        circuit
            .try_admit(&to("probe"), Instant::now())
            .unwrap_or_else(|wait| panic!("not let through: {wait:?}"))
    }

    fn fail(circuit: &Circuit, name: &str, end: End) -> Outage {
        let ticket = circuit
            .try_admit(&to(name), Instant::now())
            .unwrap_or_else(|wait| panic!("not let through: {wait:?}"));
        ticket.end(&to(name), end)
    }

    fn let_time_pass(circuit: &Circuit) {
        let mut state = circuit.state();
        if let Phase::Open { .. } = state.phase {
            state.phase = Phase::Open {
                until: Instant::now(),
            };
        }
    }

    #[test]
    fn failures_of_several_recipients_open_it() {
        let circuit = circuit();
        for name in ["1", "2", "1", "2"] {
            assert_eq!(fail(&circuit, name, End::NoAnswer), Outage::No);
        }
        let Outage::Pause(wait) = fail(&circuit, "3", End::NoAnswer) else {
            panic!("still closed");
        };
        assert!(wait >= Duration::from_secs(4) && wait <= Duration::from_secs(8));
        let refused = circuit.try_admit(&to("1"), Instant::now()).err().flatten();
        assert!(refused.is_some_and(|left| left <= wait));
    }

    #[test]
    fn an_answer_in_between_keeps_it_closed() {
        let circuit = circuit();
        for _ in 0..9 {
            for name in ["1", "2", "3", "4"] {
                assert_eq!(fail(&circuit, name, End::NotReached), Outage::No);
            }
            admitted(&circuit).end(&to("5"), End::Answered);
        }
        assert!(circuit.is_closed());
    }

    #[test]
    fn one_recipient_alone_is_doubted_longer() {
        let circuit = circuit();
        for _ in 0..9 {
            assert_eq!(fail(&circuit, "1", End::NoAnswer), Outage::No);
        }
        assert!(matches!(
            fail(&circuit, "1", End::NoAnswer),
            Outage::Pause(_)
        ));
        let unreached = self::circuit();
        for _ in 0..4 {
            assert_eq!(fail(&unreached, "1", End::NotReached), Outage::No);
        }
        assert!(matches!(
            fail(&unreached, "1", End::NotReached),
            Outage::Pause(_)
        ));
    }

    #[test]
    fn one_tries_and_the_others_follow_a_few_at_a_time() {
        let circuit = circuit();
        for name in ["1", "2", "3", "4", "5"] {
            fail(&circuit, name, End::NotReached);
        }
        let_time_pass(&circuit);
        let probe = admitted(&circuit);
        let beside = circuit.try_admit(&to("2"), Instant::now());
        assert!(matches!(beside, Err(None)), "one at a time");
        probe.end(&to("1"), End::Answered);
        let mut most = 0;
        for round in 1..=4 {
            let mut tickets = Vec::new();
            while let Ok(ticket) = circuit.try_admit(&to("2"), Instant::now()) {
                tickets.push(ticket);
                if circuit.is_closed() {
                    break;
                }
            }
            if !circuit.is_closed() {
                assert!(tickets.len() > most && tickets.len() <= 1 << round);
                most = tickets.len();
            }
            for ticket in tickets {
                ticket.end(&to("2"), End::Answered);
            }
        }
        assert!(circuit.is_closed());
    }

    #[test]
    fn a_failure_while_recovering_opens_it_for_longer() {
        let circuit = circuit();
        for name in ["1", "2", "3", "4", "5"] {
            fail(&circuit, name, End::NotReached);
        }
        let mut waits = Vec::new();
        for _ in 0..4 {
            let_time_pass(&circuit);
            let Outage::Pause(wait) = fail(&circuit, "1", End::NotReached) else {
                panic!("still not open");
            };
            waits.push(wait.as_secs());
        }
        assert!(waits[0] >= 8 && waits[1] >= 16, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 32), "{waits:?}");
    }

    #[test]
    fn a_message_that_fails_for_ever_makes_room_for_others() {
        let circuit = circuit();
        for _ in 0..10 {
            fail(&circuit, "poison", End::NoAnswer);
        }
        let mut last = Outage::No;
        for _ in 0..3 {
            let_time_pass(&circuit);
            last = fail(&circuit, "poison", End::NoAnswer);
        }
        assert!(matches!(last, Outage::OthersFirst(_)), "{last:?}");
        let_time_pass(&circuit);
        admitted(&circuit).end(&to("2"), End::Answered);
        assert!(circuit.try_admit(&to("3"), Instant::now()).is_ok());
    }

    #[test]
    fn a_probe_that_did_not_try_leaves_the_turn_to_another() {
        let circuit = circuit();
        for name in ["1", "2", "3", "4", "5"] {
            fail(&circuit, name, End::NotReached);
        }
        let_time_pass(&circuit);
        drop(admitted(&circuit));
        assert!(circuit.try_admit(&to("2"), Instant::now()).is_ok());
    }
}
