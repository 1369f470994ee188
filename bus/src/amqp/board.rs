//! What is known of the two connections, and what that makes of the bus.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::BusState;

/// Which of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Publishing,
    Consuming,
}

impl Side {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Publishing => "publishing",
            Self::Consuming => "consuming",
        }
    }
}

/// How one connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Connecting,
    Up,
    Down(String),
    Blocked(String),
}

/// Holds the condition of both and tells those who watch.
#[derive(Debug)]
pub(super) struct Board {
    conditions: Mutex<[Condition; 2]>,
    state: watch::Sender<BusState>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self {
            conditions: Mutex::new([Condition::Connecting, Condition::Connecting]),
            state: watch::Sender::new(BusState::Connecting),
        }
    }

    pub(super) fn set(&self, side: Side, condition: Condition) {
        let mut conditions = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        conditions[side as usize] = condition;
        let now = combine(&conditions);
        // Under the lock, so that the last change is also the last that is told.
        self.state.send_if_modified(|state| {
            let changed = *state != now;
            *state = now;
            changed
        });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<BusState> {
        self.state.subscribe()
    }

    /// Why the bus cannot be used; `None` when it can.
    pub(super) fn trouble(&self) -> Option<String> {
        match &*self.state.borrow() {
            BusState::Ready => None,
            BusState::Connecting => Some("not connected yet".to_owned()),
            BusState::Away { reason } => Some(reason.clone()),
            BusState::Blocked { reason } => {
                Some(format!("the broker takes no publications ({reason})"))
            }
        }
    }
}

/// The worst condition is the state of the bus.
fn combine(conditions: &[Condition; 2]) -> BusState {
    let mut state = BusState::Ready;
    for condition in conditions {
        state = match (condition, state) {
            (Condition::Down(reason), _) => {
                return BusState::Away {
                    reason: reason.clone(),
                };
            }
            (Condition::Up, state) => state,
            (Condition::Connecting, _) => BusState::Connecting,
            (Condition::Blocked(_), BusState::Connecting) => BusState::Connecting,
            (Condition::Blocked(reason), _) => BusState::Blocked {
                reason: reason.clone(),
            },
        };
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_condition_counts() {
        use Condition::{Blocked, Connecting, Down, Up};
        let text = || "why".to_owned();
        let away = BusState::Away { reason: text() };
        let blocked = BusState::Blocked { reason: text() };
        for (one, other, state) in [
            (Up, Up, BusState::Ready),
            (Up, Connecting, BusState::Connecting),
            (Blocked(text()), Up, blocked),
            (Blocked(text()), Connecting, BusState::Connecting),
            (Down(text()), Connecting, away.clone()),
            (Down(text()), Blocked(String::new()), away),
        ] {
            let swapped = combine(&[other.clone(), one.clone()]);
            assert_eq!(combine(&[one, other]), state);
            assert_eq!(swapped, state);
        }
    }
}
