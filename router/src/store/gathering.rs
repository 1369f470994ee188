//! Taking in together: the lanes of one process share transactions. A commit costs about the same for one message as for
//! hundreds, and sixteen lanes that each commit for themselves leave a few messages to each.
//!
//! What waits is taken in in the order in which it came, so every lane keeps its own. The lanes stay apart in all but the
//! transaction: each one's lease is asked before the commit, and where the shared transaction fails (or panics) everybody
//! tries again alone, so that only the lane with the cause suffers from it.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tributary_base::{database::Tx, warn_limited};
use tributary_bus::Lease;

use super::{Store, StoreError, desk, receive::take_in};
use crate::decide::{Arrival, Policy, Verdict};

/// Arrivals of one transaction, at most; a single larger batch still goes in one.
const TOGETHER: usize = 500;
/// Tries of a shared transaction, each without the lanes that were lost during the one before.
const ROUNDS: usize = 3;
/// How long a shared transaction waits for one conversation that somebody else holds: a second. After that its lane waits
/// alone, for as long as the statement deadline allows.
const LOCK_PATIENCE: &str = "SET LOCAL lock_timeout = 1000";

/// Where the lanes of this process come together.
pub(super) type Desk = desk::Desk<Batch, Result<Vec<Verdict>, StoreError>>;
type Request = desk::Request<Batch, Result<Vec<Verdict>, StoreError>>;

/// The batch of a lane.
#[derive(Debug)]
pub(super) struct Batch {
    arrivals: Arc<Vec<Arrival>>,
    lease: Lease,
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
        let mut answered = self.gathering.put(Batch {
            arrivals: Arc::clone(arrivals),
            lease: lease.clone(),
        });
        loop {
            match self.gathering.next(&mut answered).await {
                desk::Next::Answer(result) => return result,
                // Not within somebody's turn, where the others would wait for it.
                desk::Next::Alone => {
                    return self.receive(arrivals, policy, || lease.is_fresh()).await;
                }
                desk::Next::Turn(_turn) => {
                    let requests = self.gathering.take(TOGETHER, |batch| batch.arrivals.len());
                    self.take_in_together(requests, policy).await;
                }
            }
        }
    }

    /// Takes in the batches, and answers those whom it can answer. A lease that comes and goes keeps the turn from nobody:
    /// after some rounds everybody goes alone.
    async fn take_in_together(&self, mut requests: Vec<Request>, policy: &Policy) {
        for _ in 0..ROUNDS {
            // Those that were lost are left out, before the work and (having spoilt it) before the next try.
            let (fresh, lost): (Vec<_>, Vec<_>) = requests
                .into_iter()
                .partition(|request| request.wanted.lease.is_fresh());
            for request in lost {
                request.answer(Err(StoreError::NotOwner));
            }
            if fresh.is_empty() {
                return;
            }
            requests = fresh;
            let shared = AssertUnwindSafe(self.take_in_all(&requests, policy)).catch_unwind();
            let lanes = requests.len();
            match shared.await {
                Ok(Ok(verdicts)) => {
                    let mut verdicts = verdicts.into_iter();
                    for request in requests {
                        let size = request.wanted.arrivals.len();
                        request.answer(Ok(verdicts.by_ref().take(size).collect()));
                    }
                    return;
                }
                Ok(Err(StoreError::NotOwner)) => {}
                Ok(Err(error)) => {
                    warn_limited!("not together", lanes, %error, "lanes were not taken in together; each tries alone");
                    return;
                }
                Err(_) => {
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
        let batches = requests.iter().map(|request| &request.wanted);
        let arrivals: Vec<&Arrival> = batches.clone().flat_map(|b| b.arrivals.iter()).collect();
        metrics::histogram!("tributary_router_transaction_size").record(arrivals.len() as f64);
        let leases: Vec<&Lease> = batches.map(|batch| &batch.lease).collect();
        let all_fresh = || leases.iter().all(|lease| lease.is_fresh());
        let work = async {
            let mut tx = self.begin().await?;
            if let Tx::Postgres(tx) = &mut tx {
                sqlx::query(LOCK_PATIENCE).execute(&mut **tx).await?;
            }
            take_in(tx, &arrivals, policy, all_fresh).await
        };
        let changes = self.within(work).await?;
        Ok(self.received(changes).await)
    }
}
