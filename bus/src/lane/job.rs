//! Working on one job: the messages of one key, handled, told to the dead letters where they are dead.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use chrono::Utc;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tributary_base::{backoff::Backoff, log_limit, warn_limited};
use uuid::Uuid;

use super::{
    Handler, Lane, Outcome, Work,
    age::age,
    alone::{Alone, Begun},
    item::{Item, Job, JobKind, Key, Report, Wait},
    measure,
};
use crate::{Bus, BusError, DeadId, DeadLetter, Envelope, Lease};

/// What a job needs besides its messages.
pub(super) struct Bench {
    pub bus: Arc<dyn Bus>,
    pub lane: Lane,
    pub handler: Arc<dyn Handler>,
    pub lease: Lease,
    pub alone: Alone,
    pub stop: CancellationToken,
}

impl Bench {
    /// Works on the job to its end. Dead letters are durable when it returns; only then may their messages be settled.
    pub async fn work(&self, job: Job) -> Report {
        let Job {
            key,
            kind,
            mut items,
            alone,
        } = job;
        let message = items.first().map_or(Uuid::nil(), |item| item.identity);
        let begun = match alone {
            None => Begun::Freely,
            Some(deaths) => {
                let begun = self.alone.begin(message, deaths, &self.lease, &self.stop);
                begun.await
            }
        };
        let mut is_proven = false;
        let since = Instant::now();
        let outcomes = match begun {
            Begun::Freely => self.outcomes(kind, &mut items).await,
            Begun::Watched(permit) => {
                let outcomes = self.outcomes(kind, &mut items);
                self.alone.watch(message, permit, outcomes).await
            }
            Begun::Dead(deaths) => {
                is_proven = true;
                let reason = format!("it ended its worker {deaths} times, handled alone each time");
                Some(vec![Outcome::Dead { reason }])
            }
            Begun::Not(reason) => return not_begun(key, items, reason),
        };
        measure::handled(&self.lane, since.elapsed());
        let (finished, wait, letters) = self.judge(&items, outcomes);
        let mut left = items.split_off(finished);
        for item in &mut left {
            if item.envelope.is_none() && item.id.is_some() {
                item.envelope = Envelope::parse(&item.body).ok();
            }
        }
        self.bury(letters).await;
        if is_proven && self.lease.is_fresh() {
            self.alone.clear(message).await;
        }
        Report {
            key,
            finished: items,
            left,
            wait,
        }
    }

    /// `None`: it panicked.
    async fn outcomes(&self, kind: JobKind, items: &mut [Item]) -> Option<Vec<Outcome>> {
        match kind {
            JobKind::Handle => self.handle(items).await,
            JobKind::Exhausted => self.exhausted(items).await,
            JobKind::Dead => Some(vec![Outcome::Dead {
                reason: verdict(items),
            }]),
        }
    }

    async fn handle(&self, items: &mut [Item]) -> Option<Vec<Outcome>> {
        let batch = items.iter_mut().filter_map(work).collect();
        AssertUnwindSafe(self.handler.handle(batch, &self.lease))
            .catch_unwind()
            .await
            .ok()
    }

    async fn exhausted(&self, items: &mut [Item]) -> Option<Vec<Outcome>> {
        let item = items.first_mut()?;
        let reason = item.history.exhausted.clone().unwrap_or_default();
        let work = work(item)?;
        AssertUnwindSafe(self.handler.exhausted(work, reason, &self.lease))
            .catch_unwind()
            .await
            .ok()
            .map(|outcome| vec![outcome])
    }

    /// How many messages are finished, what the next one waits for, and who is dead.
    fn judge(
        &self,
        items: &[Item],
        outcomes: Option<Vec<Outcome>>,
    ) -> (usize, Option<Wait>, Vec<DeadLetter>) {
        let Some(outcomes) = outcomes else {
            measure::outcome(&self.lane, "panic", 1);
            return (0, Some(Wait::Panicked), Vec::new());
        };
        let mut letters = Vec::new();
        let mut outcomes = outcomes.into_iter();
        for (n, item) in items.iter().enumerate() {
            let outcome = outcomes.next().unwrap_or_else(|| Outcome::Retry {
                after: None,
                reason: "the handler gave no outcome".to_owned(),
            });
            let wait = match outcome {
                Outcome::Done => None,
                Outcome::Dead { reason } => {
                    letters.push(self.letter(item, reason));
                    None
                }
                Outcome::Retry { after, reason } => Some(Wait::Retry { after, reason }),
                Outcome::Defer { after, reason } => Some(Wait::Defer { after, reason }),
                Outcome::Pause { after, reason } => Some(Wait::Pause { after, reason }),
            };
            if let Some(wait) = wait {
                let name = match wait {
                    Wait::Pause { .. } => "pause",
                    Wait::Defer { .. } => "defer",
                    Wait::Retry { .. } | Wait::Panicked | Wait::Unrecorded { .. } => "retry",
                };
                measure::outcome(&self.lane, "done", n - letters.len());
                measure::outcome(&self.lane, "dead", letters.len());
                measure::outcome(&self.lane, name, 1);
                return (n, Some(wait), letters);
            }
        }
        measure::outcome(&self.lane, "done", items.len() - letters.len());
        measure::outcome(&self.lane, "dead", letters.len());
        (items.len(), None, letters)
    }

    fn letter(&self, item: &Item, reason: String) -> DeadLetter {
        let message_id = item.id.map(|id| id.to_string());
        if let Some(suppressed) = log_limit::allow(&format!("dead {} {reason}", self.lane)) {
            tracing::error!(
                lane = %self.lane, message_id, reason, suppressed,
                "message goes to the dead letters; see `tributary dead list`"
            );
        }
        DeadLetter {
            // The same whoever buries it, so that it is there once.
            id: DeadId(item.identity),
            lane: self.lane.clone(),
            reason,
            at: Utc::now(),
            body: item.body.clone(),
        }
    }

    /// Tries until it is durable, or the lane is lost and with it the right to settle.
    async fn bury(&self, letters: Vec<DeadLetter>) {
        if letters.is_empty() {
            return;
        }
        let until_durable = async {
            for attempt in 1_u32.. {
                if self.lease.is_fresh() {
                    match self.report_and_bury(&letters).await {
                        Ok(()) => return,
                        Err(error) => {
                            warn_limited!("dead letters", lane = %self.lane, %error, "dead letters cannot be kept yet");
                        }
                    }
                }
                tokio::time::sleep(Backoff::SERVER.delay(attempt)).await;
            }
        };
        tokio::select! {
            () = until_durable => {}
            () = self.lease.lost() => {}
        }
    }
}

impl Bench {
    /// First what can be repeated without a trace: a crash in between reports again.
    async fn report_and_bury(&self, letters: &[DeadLetter]) -> Result<(), BusError> {
        for letter in letters {
            AssertUnwindSafe(self.handler.buried(letter, &self.lease))
                .catch_unwind()
                .await
                .unwrap_or(Ok(()))
                .map_err(BusError::Refused)?;
        }
        self.bus.bury(letters.to_vec()).await
    }
}

/// All stays as it was.
fn not_begun(key: Key, left: Vec<Item>, reason: Option<BusError>) -> Report {
    let wait = reason.map(|error| Wait::Unrecorded {
        reason: error.to_string(),
    });
    Report {
        key,
        finished: Vec::new(),
        left,
        wait,
    }
}

fn work(item: &mut Item) -> Option<Work> {
    let envelope = item.envelope.take()?;
    Some(Work {
        attempt: item.history.attempts.saturating_add(1),
        age: age(envelope.time),
        redeliveries: item.redeliveries,
        envelope,
    })
}

fn verdict(items: &[Item]) -> String {
    let found = items.first().and_then(|item| item.verdict.clone());
    found.unwrap_or_default()
}
