//! Handling one suspicious message with a durable record of the attempt (see [`super::proof`]).

use std::{
    collections::HashSet,
    sync::{Mutex as Lock, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::proof::{Attempt, Evidence, HEARD_OF_WITHIN, IN_HAND, Step, quiet_time};
use crate::{AttemptLog, BusError, Lane, Lease};

/// How long the bus may take to keep a record.
const RECORD_DEADLINE: Duration = Duration::from_secs(30);

/// Messages that are known to have been in hand when a worker ended are handled one at a time in the whole process, so
/// that none is taken for what another one does.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// The attempts of one owner of a lane.
pub(super) struct Alone {
    lane: Lane,
    /// Deaths before a verdict.
    limit: u32,
    log: Mutex<Box<dyn AttemptLog>>,
    /// What is recorded and not cleared.
    open: Lock<Option<Uuid>>,
    /// Messages of which there are records.
    recorded: Lock<HashSet<Uuid>>,
    /// Told when what is handled alone need not be alone any more.
    pub in_hand_for_long: Notify,
}

/// How a message is to be handled.
pub(super) enum Begun {
    /// Like any other.
    Freely,
    /// By [`Alone::watch`].
    Watched(Option<SemaphorePermit<'static>>),
    /// Not at all: so many workers ended with it.
    Dead(u32),
    /// Not now, since the lane is stopped or lost, or for this reason.
    Not(Option<BusError>),
}

impl Alone {
    pub fn new(lane: Lane, limit: u32, log: Box<dyn AttemptLog>) -> Self {
        Self {
            lane,
            limit,
            log: Mutex::new(log),
            open: Lock::default(),
            recorded: Lock::default(),
            in_hand_for_long: Notify::new(),
        }
    }

    /// What earlier owners left.
    pub async fn evidence(&self) -> Result<Evidence, BusError> {
        let mut log = self.log.lock().await;
        let records = within(log.read()).await?;
        let evidence = Evidence::read(&records, log.instance());
        lock(&self.recorded).extend(evidence.messages());
        Ok(evidence)
    }

    /// These are not in the lane any more.
    pub fn forget(&self, gone: impl IntoIterator<Item = Uuid>) {
        let mut recorded = lock(&self.recorded);
        for message in gone {
            recorded.remove(&message);
        }
    }

    /// Records that the message is about to be handled, after its quiet time.
    pub async fn begin(
        &self,
        message: Uuid,
        deaths: u32,
        lease: &Lease,
        stop: &CancellationToken,
    ) -> Begun {
        tokio::select! {
            begun = self.approach(message, deaths) => begun.unwrap_or_else(|error| Begun::Not(Some(error))),
            () = lease.lost() => Begun::Not(None),
            () = stop.cancelled() => {
                self.take_back().await;
                Begun::Not(None)
            }
        }
    }

    async fn approach(&self, message: Uuid, mut deaths: u32) -> Result<Begun, BusError> {
        if deaths >= self.limit {
            sleep(HEARD_OF_WITHIN).await;
            deaths = self.evidence().await?.deaths(message);
            if deaths >= self.limit {
                return Ok(Begun::Dead(deaths));
            }
        }
        let mut permit = None;
        if deaths > 0 {
            self.record(message, Step::Waiting).await?;
            sleep(quiet_time(deaths, self.limit)).await;
            // It is never closed.
            permit = ONE_AT_A_TIME.acquire().await.ok();
        }
        self.record(message, Step::Begun).await?;
        Ok(Begun::Watched(permit))
    }

    /// Handles what was begun; from [`IN_HAND`] on it is suspected no more.
    pub async fn watch<T>(
        &self,
        message: Uuid,
        permit: Option<SemaphorePermit<'static>>,
        handled: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(handled);
        tokio::select! {
            outcome = &mut handled => {
                self.clear(message).await;
                outcome
            }
            () = sleep(IN_HAND) => {
                let trust = async {
                    self.clear(message).await;
                    drop(permit);
                    self.in_hand_for_long.notify_one();
                };
                tokio::join!(handled, trust).0
            }
        }
    }

    /// The runner ends, and the process goes on: what is still recorded is no evidence.
    pub async fn end(&self, is_owner: bool) {
        if self.opened().is_none() {
            return;
        }
        if is_owner {
            self.take_back().await;
        } else {
            self.withdraw().await;
        }
    }

    async fn record(&self, message: Uuid, step: Step) -> Result<(), BusError> {
        let mut log = self.log.lock().await;
        let attempt = Attempt {
            instance: log.instance(),
            message,
            step,
        };
        // Before it is known to be durable: a record that comes in late has to be taken back as well.
        *lock(&self.open) = Some(message);
        within(log.add(attempt)).await
    }

    /// Forgets the attempts at a message, since there was an outcome.
    pub async fn clear(&self, message: Uuid) {
        let is_last = {
            let mut recorded = lock(&self.recorded);
            recorded.remove(&message);
            recorded.is_empty()
        };
        let cleared = match is_last {
            true => within(self.log.lock().await.clear()).await,
            // What is recorded of others is still evidence.
            false => self.record(message, Step::Ended).await,
        };
        match cleared {
            Ok(()) => self.close(),
            Err(error) => {
                tracing::debug!(lane = %self.lane, %error, "attempts cannot be cleared now");
                self.withdraw().await;
            }
        }
    }

    /// Takes back this process's part; what others recorded stays.
    async fn take_back(&self) {
        let Some(message) = self.opened() else {
            return;
        };
        match self.record(message, Step::Withdrawn).await {
            Ok(()) => self.close(),
            Err(_) => self.withdraw().await,
        }
    }

    /// Takes it back as soon as the bus is there.
    async fn withdraw(&self) {
        let Some(message) = self.opened() else {
            return;
        };
        let mut log = self.log.lock().await;
        let attempt = Attempt {
            instance: log.instance(),
            message,
            step: Step::Withdrawn,
        };
        log.add_later(attempt);
        self.close();
    }

    fn opened(&self) -> Option<Uuid> {
        *lock(&self.open)
    }

    fn close(&self) {
        *lock(&self.open) = None;
    }
}

/// Nothing that holds one of these locks can panic half-way through a change.
fn lock<T>(mutex: &Lock<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn within<T>(request: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
    timeout(RECORD_DEADLINE, request)
        .await
        .unwrap_or(Err(BusError::Deadline(RECORD_DEADLINE)))
}
