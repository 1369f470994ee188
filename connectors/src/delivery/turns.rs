//! Whose turn it is: the channel's own rate limits, what the provider asked to wait for, and replies before bulk.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tributary_bus::{Address, Outcome, message::Priority};

use crate::{Pace, Scope};

/// How long a send waits in place for its turn; longer waits make room for other recipients.
const WAIT_IN_PLACE: Duration = Duration::from_millis(1200);
/// How often bulk looks whether replies still wait.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A provider may ask for hours of silence; more than this is not believed.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);
/// Bulk that makes room comes back after a wait that doubles up to this. Each time counts as a try, so it is long
/// enough that the tries outlast a campaign.
const LONGEST_YIELD: Duration = Duration::from_secs(120);
/// Shorter waits that the provider asks for are part of sending fast.
const NOTICED: Duration = Duration::from_secs(5);
/// Slots that are taken away at most when a bucket is emptied.
const DRAIN: usize = 10_000;
/// Recipients that were asked to wait are forgotten beyond this many, the earliest first to be free.
const REMEMBERED: usize = 10_000;

/// Until when nothing is sent.
#[derive(Default)]
struct Holds {
    account: Option<Instant>,
    recipients: HashMap<Address, Instant>,
}

/// See the module.
pub(super) struct Turns {
    holds: Mutex<Holds>,
    /// Replies that wait for the account's turn.
    replies: AtomicUsize,
    bulk: AtomicUsize,
    /// Bulk deliveries at once, at most.
    bulk_limit: usize,
}

/// Somebody waits since the provider asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standstill {
    /// How many; `None`: the whole account.
    pub recipients: Option<usize>,
    /// The longest.
    pub wait: Duration,
}

/// A place that is given back.
pub(super) struct Turn<'a>(Option<&'a AtomicUsize>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl<'a> Turn<'a> {
    fn of(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(Some(counter))
    }
}

impl Turns {
    /// Turns of an account that serves `concurrency` recipients at once; bulk takes half of them.
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            holds: Mutex::default(),
            replies: AtomicUsize::new(0),
            bulk: AtomicUsize::new(0),
            bulk_limit: (concurrency / 2).max(1),
        }
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider asked to wait: nothing goes to the account or the recipient until then.
    pub(super) fn hold(&self, to: &Address, scope: Scope, wait: Duration) {
        let until = Instant::now() + wait.min(LONGEST_HOLD);
        let mut holds = self.holds();
        match scope {
            Scope::Account => holds.account = holds.account.max(Some(until)),
            Scope::Recipient => {
                if holds.recipients.len() >= REMEMBERED {
                    let now = Instant::now();
                    holds.recipients.retain(|_, until| *until > now);
                }
                if holds.recipients.len() < REMEMBERED {
                    let held = holds.recipients.entry(to.clone()).or_insert(until);
                    *held = until.max(*held);
                }
            }
        }
    }

    /// What the provider asked to wait for, if it is long enough to be noticed.
    pub(super) fn standstill(&self, now: Instant) -> Option<Standstill> {
        let holds = self.holds();
        let left = |until: &Instant| {
            let left = until.saturating_duration_since(now);
            (left >= NOTICED).then_some(left)
        };
        if let Some(wait) = holds.account.as_ref().and_then(left) {
            let recipients = None;
            return Some(Standstill { recipients, wait });
        }
        let waits = || holds.recipients.values().filter_map(left);
        Some(Standstill {
            wait: waits().max()?,
            recipients: Some(waits().count()),
        })
    }

    /// Whether something that is not worth waiting for may go now.
    pub(super) fn is_free(&self, to: &Address) -> bool {
        let now = Instant::now();
        let holds = self.holds();
        let free = |until: Option<&Instant>| until.is_none_or(|until| *until <= now);
        free(holds.account.as_ref()) && free(holds.recipients.get(to))
    }

    /// Waits for the recipient's and the account's turn.
    ///
    /// # Errors
    /// It will take longer; what the lane is told.
    pub(super) async fn take(
        &self,
        pace: Option<&dyn Pace>,
        to: &Address,
        priority: Priority,
        attempt: u32,
    ) -> Result<Turn<'_>, Outcome> {
        let turn = match priority {
            Priority::Reply => Turn(None),
            Priority::Bulk => self.bulk_turn(attempt)?,
        };
        let freed = self.past_holds(pace, to)?;
        let Some(pace) = pace else {
            return Ok(turn);
        };
        while !freed.recipient
            && let Err(wait) = pace.recipient(to)
        {
            sleep(patient(wait)?).await;
        }
        match priority {
            _ if freed.account => {}
            Priority::Reply => {
                let _waiting = Turn::of(&self.replies);
                while let Err(wait) = pace.account() {
                    sleep(patient(wait)?).await;
                }
            }
            Priority::Bulk => self.bulk_slot(pace, attempt).await?,
        }
        Ok(turn)
    }

    fn bulk_turn(&self, attempt: u32) -> Result<Turn<'_>, Outcome> {
        let turn = Turn::of(&self.bulk);
        if self.bulk.load(Ordering::SeqCst) > self.bulk_limit {
            return Err(make_room(attempt));
        }
        Ok(turn)
    }

    /// A slot that no reply waits for.
    async fn bulk_slot(&self, pace: &dyn Pace, attempt: u32) -> Result<(), Outcome> {
        let patience = Instant::now() + WAIT_IN_PLACE;
        while let Err(wait) = pace.bulk() {
            sleep(patient(wait)?).await;
        }
        loop {
            let wait = if self.replies.load(Ordering::SeqCst) > 0 {
                LOOK_AGAIN
            } else {
                match pace.account() {
                    Ok(()) => return Ok(()),
                    Err(wait) => wait,
                }
            };
            if Instant::now() + wait > patience {
                return Err(make_room(attempt));
            }
            sleep(wait).await;
        }
    }

    /// Refuses what was asked to wait. When that is over, one goes at once and the others find the bucket empty, so that
    /// the account goes on at its rate and not with a burst.
    fn past_holds(&self, pace: Option<&dyn Pace>, to: &Address) -> Result<Freed, Outcome> {
        let now = Instant::now();
        let mut freed = Freed::default();
        let mut holds = self.holds();
        if let Some(until) = holds.account {
            if until > now {
                return Err(Outcome::Pause {
                    after: Some(until - now),
                    reason: "the provider asked the account to wait".to_owned(),
                });
            }
            holds.account = None;
            freed.account = true;
            drain(|| pace.is_some_and(|pace| pace.account().is_ok()));
        }
        if let Some(until) = holds.recipients.get(to).copied() {
            if until > now {
                return Err(Outcome::Retry {
                    after: Some(until - now),
                    reason: "the provider asked to wait for this recipient".to_owned(),
                });
            }
            holds.recipients.remove(to);
            freed.recipient = true;
            drain(|| pace.is_some_and(|pace| pace.recipient(to).is_ok()));
        }
        Ok(freed)
    }
}

/// Who is the first after a wait that the provider asked for.
#[derive(Default)]
struct Freed {
    account: bool,
    recipient: bool,
}

fn drain(mut take: impl FnMut() -> bool) {
    for _ in 0..DRAIN {
        if !take() {
            return;
        }
    }
}

fn patient(wait: Duration) -> Result<Duration, Outcome> {
    (wait <= WAIT_IN_PLACE)
        .then_some(wait)
        .ok_or_else(|| Outcome::Retry {
            after: Some(wait),
            reason: "the channel's own rate limit".to_owned(),
        })
}

/// Others pass.
fn make_room(attempt: u32) -> Outcome {
    let wait = Duration::from_secs(1 << attempt.clamp(1, 7));
    Outcome::Retry {
        after: Some(wait.min(LONGEST_YIELD)),
        reason: "bulk makes room for replies".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(recipient: &str) -> Address {
        Address::from(recipient)
    }

    #[tokio::test]
    async fn bulk_takes_half_of_the_places_and_comes_back_ever_later() {
        let turns = Turns::new(4);
        let bulk = async |attempt| turns.take(None, &to("1"), Priority::Bulk, attempt).await;
        let first = bulk(1).await.map_err(|outcome| format!("{outcome:?}"));
        let second = bulk(1).await.map_err(|outcome| format!("{outcome:?}"));
        assert!(first.is_ok() && second.is_ok());
        let mut waits = Vec::new();
        for attempt in [1, 2, 7, 50] {
            match bulk(attempt).await.err() {
                Some(Outcome::Retry {
                    after: Some(after), ..
                }) => waits.push(after.as_secs()),
                other => panic!("let through: {other:?}"),
            }
        }
        assert_eq!(waits, [2, 4, 120, 120]);
        let reply = turns.take(None, &to("2"), Priority::Reply, 1).await;
        assert!(reply.is_ok(), "replies have the other half for themselves");
        drop(first);
        assert!(bulk(1).await.is_ok(), "a place was given back");
    }

    #[tokio::test]
    async fn a_longer_wait_that_was_asked_for_is_not_shortened() {
        let turns = Turns::new(4);
        let (long, short) = (Duration::from_secs(60), Duration::from_secs(1));
        for scope in [Scope::Recipient, Scope::Account] {
            turns.hold(&to("1"), scope, long);
            turns.hold(&to("1"), scope, short);
            let held = turns.take(None, &to("1"), Priority::Reply, 1).await.err();
            let after = match held {
                Some(Outcome::Retry { after, .. } | Outcome::Pause { after, .. }) => after,
                other => panic!("let through: {other:?}"),
            };
            assert!(after.is_some_and(|after| after > Duration::from_secs(50)));
            assert!(!turns.is_free(&to("1")));
            assert_eq!(turns.is_free(&to("2")), scope == Scope::Recipient);
        }
    }
}
