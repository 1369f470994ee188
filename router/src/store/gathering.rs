//! Taking in together: the lanes of one process share transactions. A commit costs about the same for one message as for
//! hundreds, and sixteen lanes that each commit for themselves leave a few messages to each.
//!
//! Whoever has the turn takes in what waits, in the order in which it came, so every lane keeps its own. The lanes stay apart
//! in all but the transaction: each one's lease is asked before the commit, and where the shared transaction fails (or panics)
//! everybody tries again alone, so that only the lane with the cause suffers from it.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use tokio::sync::{Semaphore, oneshot};
use tributary_base::database::Tx;
use tributary_bus::Lease;

use super::{Store, StoreError, receive::take_in};
use crate::decide::{Arrival, Policy, Verdict};

/// Arrivals of one transaction, at most; a single larger batch still goes in one.
const TOGETHER: usize = 500;
/// How long a shared transaction waits for one conversation that somebody else holds, in milliseconds. After that its lane
/// waits alone, as long as the statement deadline allows.
const LOCK_PATIENCE: &str = "SET LOCAL lock_timeout = 1000";

/// What the lanes of this process want taken in.
#[derive(Debug)]
pub(super) struct Desk {
    waiting: Mutex<Vec<Request>>,
    turn: Semaphore,
}

/// The batch of a lane.
#[derive(Debug)]
struct Request {
    arrivals: Arc<Vec<Arrival>>,
    lease: Lease,
    /// Dropped without an answer: the lane is to try alone.
    answer: oneshot::Sender<Result<Vec<Verdict>, StoreError>>,
}

impl Desk {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            turn: Semaphore::new(1),
        })
    }

    /// A list is whole after every statement, so a panic elsewhere leaves nothing half done in it.
    fn waiting(&self) -> MutexGuard<'_, Vec<Request>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be taken in now: those who came first, and only as many as fit.
    fn next(&self) -> Vec<Request> {
        let mut waiting = self.waiting();
        waiting.retain(|request| !request.answer.is_closed());
        let mut arrivals = 0;
        let fit = waiting.iter().take_while(|request| {
            let first = arrivals == 0;
            arrivals += request.arrivals.len();
            first || arrivals <= TOGETHER
        });
        let fit = fit.count();
        waiting.drain(..fit).collect()
    }
}

impl Store {
    /// Takes in a batch together with those of other lanes of this process; answers what became of each arrival once that
    /// is durable. All lanes of a process have the same policy.
    ///
    /// # Errors
    /// Those of [`Store::receive`], about this batch alone.
    pub(crate) async fn receive_together(
        &self,
        arrivals: &Arc<Vec<Arrival>>,
        policy: &Policy,
        lease: &Lease,
    ) -> Result<Vec<Verdict>, StoreError> {
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, mut answered) = oneshot::channel();
        self.gathering.waiting().push(Request {
            arrivals: Arc::clone(arrivals),
            lease: lease.clone(),
            answer,
        });
        loop {
            let turn = tokio::select! {
                biased;
                answer = &mut answered => {
                    return match answer {
                        Ok(result) => result,
                        Err(_) => self.receive(arrivals, policy, || lease.is_fresh()).await,
                    };
                }
                turn = self.gathering.turn.acquire() => turn,
            };
            self.take_in_next(policy).await;
            drop(turn);
        }
    }

    /// Takes in what waits, and answers whom it can answer. Whoever gets no answer tries alone: not here, where the others
    /// would wait for it.
    async fn take_in_next(&self, policy: &Policy) {
        let mut requests = self.gathering.next();
        loop {
            // Those that were lost meanwhile are left out, before the work and (having spoilt it) before the next try.
            let (fresh, lost): (Vec<_>, Vec<_>) = requests
                .into_iter()
                .partition(|request| request.lease.is_fresh());
            for request in lost {
                // A lane that went away needs no answer, here and below.
                request.answer.send(Err(StoreError::NotOwner)).ok();
            }
            if fresh.is_empty() {
                return;
            }
            requests = fresh;
            let shared = AssertUnwindSafe(self.take_in_all(&requests, policy)).catch_unwind();
            match shared.await {
                Ok(Ok(verdicts)) => {
                    let mut verdicts = verdicts.into_iter();
                    for request in requests {
                        let own = verdicts.by_ref().take(request.arrivals.len()).collect();
                        request.answer.send(Ok(own)).ok();
                    }
                    return;
                }
                Ok(Err(StoreError::NotOwner)) => {}
                Ok(Err(error)) => {
                    let lanes = requests.len();
                    tracing::warn!(lanes, %error, "lanes were not taken in together; each tries alone");
                    return;
                }
                Err(_) => {
                    let lanes = requests.len();
                    tracing::error!(lanes, "taking in together panicked; each lane tries alone");
                    return;
                }
            }
        }
    }

    async fn take_in_all(
        &self,
        requests: &[Request],
        policy: &Policy,
    ) -> Result<Vec<Verdict>, StoreError> {
        let arrivals: Vec<&Arrival> = requests.iter().flat_map(|r| r.arrivals.iter()).collect();
        metrics::histogram!("tributary_router_transaction_size").record(arrivals.len() as f64);
        let all_fresh = || requests.iter().all(|request| request.lease.is_fresh());
        let work = async {
            let mut tx = self.begin().await?;
            if let (Tx::Postgres(tx), 2..) = (&mut tx, requests.len()) {
                sqlx::query(LOCK_PATIENCE).execute(&mut **tx).await?;
            }
            take_in(tx, &arrivals, policy, all_fresh).await
        };
        let changes = self.within(work).await?;
        Ok(self.received(changes).await)
    }
}
