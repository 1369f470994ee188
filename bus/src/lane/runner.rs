//! The lane runner: takes the messages of a claimed lane, has them handled, and settles them. One key in order,
//! different keys at once.
//!
//! - A key whose message is to be tried again waits, others go on; a pause stops the lane, what is in flight ends, and
//!   one message goes first when the pause is over.
//! - Nothing is held for longer than [`Policy::hold_limit`]: the intake is closed, which returns everything in order,
//!   and opened anew; tries and waits are remembered by message id.
//! - A message that was handed out suspiciously often is handled with nothing else of its lane, see [`super::proof`].
//! - Whatever the intake has handed out is known to the desk; see [`super::stranded`].

use std::{ops::ControlFlow, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tributary_base::{backoff::Backoff, warn_limited};

use super::{
    Handler, Lane, Policy,
    alone::Alone,
    desk::Desk,
    item::{Report, Waiting},
    job::Bench,
    stranded::{self, Stranded},
};
use crate::{Bus, BusError, Claim, EventId, Intake, Lease, Tag, Taken};

/// How long the bus may take to note what is settled.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// How soon a lease that went stale is asked again.
const STALE: Duration = Duration::from_millis(100);
/// Messages taken in one go before anything else is looked at.
const GULP: usize = 256;

/// What a lane is run with.
pub struct LaneRun {
    pub bus: Arc<dyn Bus>,
    pub lane: Lane,
    pub handler: Arc<dyn Handler>,
    pub policy: Policy,
    /// How long work in flight may take to finish after the stop.
    pub drain_deadline: Duration,
}

/// Why a lane is not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneEnd {
    /// As asked. What was not finished is back in the lane, in its old order.
    Stopped,
    /// Another worker may own it now.
    Lost,
}

/// Why an intake was ended.
enum IntakeEnd {
    Stopped,
    Lost,
    /// Held for long enough: take anew.
    GiveBack,
    Broken(BusError),
}

/// Runs a claimed lane until `stop`, or until the claim is lost.
pub async fn run_lane(claim: &mut dyn Claim, run: LaneRun, stop: CancellationToken) -> LaneEnd {
    let lease = claim.lease();
    let bench = Bench {
        bus: run.bus,
        lane: run.lane.clone(),
        handler: run.handler,
        lease: lease.clone(),
        alone: Alone::new(run.lane.clone(), run.policy.crash_limit, claim.attempts()),
        stop: stop.clone(),
    };
    let runner = Runner {
        desk: Desk::new(run.lane, run.policy.clone(), bench.handler.batch()),
        bench: Arc::new(bench),
        policy: run.policy,
        drain_deadline: run.drain_deadline,
        lease,
        stop,
        jobs: JoinSet::new(),
        considered: false,
        stranded: Stranded::default(),
        failures: 0,
    };
    runner.run(claim).await
}

struct Runner {
    desk: Desk,
    bench: Arc<Bench>,
    policy: Policy,
    drain_deadline: Duration,
    lease: Lease,
    stop: CancellationToken,
    jobs: JoinSet<Report>,
    /// The records of earlier owners were read.
    considered: bool,
    stranded: Stranded,
    /// Failures to take in a row.
    failures: u32,
}

impl Runner {
    async fn run(mut self, claim: &mut dyn Claim) -> LaneEnd {
        loop {
            if let Some(until) = self.desk.paused()
                && let ControlFlow::Break(end) = self.rest(until).await
            {
                return end;
            }
            let end = match self.take(claim).await {
                Ok(intake) => self.work(intake).await,
                Err(error) => IntakeEnd::Broken(error),
            };
            match end {
                IntakeEnd::Stopped => return LaneEnd::Stopped,
                IntakeEnd::Lost | IntakeEnd::Broken(BusError::Lost(_)) => return LaneEnd::Lost,
                IntakeEnd::GiveBack => {}
                IntakeEnd::Broken(error) => {
                    self.failures = self.failures.saturating_add(1);
                    warn_limited!("cannot take", lane = %self.bench.lane, %error, "cannot take from the lane, trying again");
                    let until = Instant::now() + Backoff::SERVER.delay(self.failures);
                    if let ControlFlow::Break(end) = self.rest(until).await {
                        return end;
                    }
                }
            }
        }
    }

    async fn take(&mut self, claim: &mut dyn Claim) -> Result<Box<dyn Intake>, BusError> {
        if !self.considered {
            let evidence = tokio::select! {
                evidence = self.bench.alone.evidence() => evidence?,
                () = self.lease.lost() => return Err(BusError::Lost(self.bench.lane.clone())),
            };
            self.desk.consider(evidence, Instant::now());
            self.considered = true;
        }
        claim.take(self.policy.prefetch).await
    }

    /// Waits without holding anything.
    async fn rest(&self, until: Instant) -> ControlFlow<LaneEnd> {
        tokio::select! {
            () = self.stop.cancelled() => ControlFlow::Break(LaneEnd::Stopped),
            () = self.lease.lost() => ControlFlow::Break(LaneEnd::Lost),
            () = sleep_until(until) => ControlFlow::Continue(()),
        }
    }

    /// Works on what one intake brings, until it ends for whatever reason; nothing is in flight afterwards.
    async fn work(&mut self, mut intake: Box<dyn Intake>) -> IntakeEnd {
        let end = self.take_and_settle(&mut intake).await;
        let end = self.wind_up(&mut intake, end).await;
        if self.desk.held() > 0 && matches!(end, IntakeEnd::Stopped | IntakeEnd::GiveBack) {
            let count = self.desk.held();
            tracing::debug!(lane = %self.bench.lane, count, "giving messages back");
        }
        self.desk.give_back();
        self.stranded.end(&self.bench.lane);
        let is_owner = matches!(end, IntakeEnd::Stopped | IntakeEnd::GiveBack);
        self.bench.alone.end(is_owner).await;
        match end {
            // Nothing may be settled any more, and the bus knows.
            IntakeEnd::Lost | IntakeEnd::Broken(_) => drop(intake),
            IntakeEnd::Stopped | IntakeEnd::GiveBack => intake.close().await,
        }
        end
    }

    async fn take_and_settle(&mut self, intake: &mut Box<dyn Intake>) -> IntakeEnd {
        loop {
            let now = Instant::now();
            let fresh = self.lease.is_fresh();
            if fresh {
                self.begin_jobs(now);
                let due = self.desk.take_due(now);
                if let Err(error) = self.settle(intake, due).await {
                    return IntakeEnd::Broken(error);
                }
            }
            let stranded = self.desk.stranded(intake.out());
            self.stranded.look(&self.bench.lane, stranded, now);
            let give_back = self.give_back_at(&**intake);
            if give_back.is_some_and(|at| at <= now) {
                return IntakeEnd::GiveBack;
            }
            let wake = self.wake_at(now, fresh, give_back, stranded);
            let bench = Arc::clone(&self.bench);
            tokio::select! {
                () = self.stop.cancelled() => return IntakeEnd::Stopped,
                () = self.lease.lost() => return IntakeEnd::Lost,
                Some(joined) = self.jobs.join_next() => {
                    if let Err(end) = self.note(joined) {
                        return end;
                    }
                }
                taken = intake.next() => {
                    if let Err(error) = self.accept_all(taken, intake) {
                        return IntakeEnd::Broken(error);
                    }
                }
                () = bench.alone.in_hand_for_long.notified() => self.desk.end_alone(),
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Accepts a message and others that are there already. Nothing is asked for that is not accepted in the same breath.
    fn accept_all(
        &mut self,
        taken: Result<Taken, BusError>,
        intake: &mut Box<dyn Intake>,
    ) -> Result<(), BusError> {
        self.accept(taken?);
        for _ in 1..GULP {
            match intake.next().now_or_never() {
                Some(taken) => self.accept(taken?),
                None => break,
            }
        }
        Ok(())
    }

    fn accept(&mut self, taken: Taken) {
        let handler = &self.bench.handler;
        let key = match &taken.envelope {
            Ok(envelope) => {
                std::panic::catch_unwind(AssertUnwindSafe(|| handler.key(envelope))).ok()
            }
            Err(_) => None,
        };
        let gone = self.desk.accept(taken, key, Instant::now());
        self.bench.alone.forget(gone);
    }

    fn begin_jobs(&mut self, now: Instant) {
        while let Some(job) = self.desk.next_job(now) {
            let bench = Arc::clone(&self.bench);
            self.jobs.spawn(async move { bench.work(job).await });
        }
    }

    /// Takes note of a job that ended, and of all others that ended meanwhile.
    fn note(&mut self, joined: Result<Report, JoinError>) -> Result<(), IntakeEnd> {
        let mut next = Some(joined);
        while let Some(joined) = next {
            let Ok(report) = joined else {
                // What the handler does is caught elsewhere: its messages are gone with the job, so all come anew.
                let reason = "a job of the lane runner broke off".to_owned();
                return Err(IntakeEnd::Broken(BusError::Refused(reason)));
            };
            if let Some(waiting) = self.desk.complete(report, Instant::now()) {
                self.tell(&waiting);
            }
            next = self.jobs.try_join_next();
        }
        Ok(())
    }

    fn tell(&self, waiting: &Waiting) {
        let lane = &self.bench.lane;
        match waiting {
            Waiting::Lane { wait, reason } => {
                warn_limited!(&format!("paused {reason}"), %lane, reason, ?wait, "lane is paused");
            }
            // Ever more rarely for the same message.
            Waiting::Key {
                id,
                attempt,
                wait,
                reason,
            } if attempt.is_power_of_two() => {
                let message_id = id.map(|id| id.to_string());
                warn_limited!(&format!("again {reason}"), %lane, message_id, attempt, reason, ?wait, "message is tried again");
            }
            Waiting::Key { .. } => {}
        }
    }

    async fn settle(
        &mut self,
        intake: &mut Box<dyn Intake>,
        finished: Vec<(Tag, Option<EventId>)>,
    ) -> Result<(), BusError> {
        if finished.is_empty() {
            return Ok(());
        }
        let tags: Vec<_> = finished.iter().map(|(tag, _)| *tag).collect();
        let result = tokio::select! {
            result = timeout(SETTLE_DEADLINE, intake.settle(&tags)) => {
                result.unwrap_or(Err(BusError::Deadline(SETTLE_DEADLINE)))
            }
            () = self.lease.lost() => Err(BusError::Lost(self.bench.lane.clone())),
        };
        match result {
            Ok(()) => {
                self.desk.settled(&finished);
                self.failures = 0;
                Ok(())
            }
            Err(error) => {
                self.desk.unsure(finished);
                Err(error)
            }
        }
    }

    /// When everything is to be given back: the bus waits for what it has not handed out yet as well.
    fn give_back_at(&self, intake: &dyn Intake) -> Option<Instant> {
        let received = intake.waiting_since().map(Instant::from_std);
        let limit = received.map(|at| at + self.policy.hold_limit);
        [self.desk.give_back_at(), limit]
            .into_iter()
            .flatten()
            .min()
    }

    /// When to look at the desk again although nothing happened.
    fn wake_at(
        &self,
        now: Instant,
        fresh: bool,
        give_back: Option<Instant>,
        stranded: usize,
    ) -> Instant {
        if !fresh {
            return now + STALE;
        }
        let due = self.desk.next_due();
        let settle = self.desk.settle_at();
        let look = (stranded > 0).then_some(now + stranded::LOOK);
        let next = [due, give_back, settle, look].into_iter().flatten().min();
        next.unwrap_or(now + self.policy.hold_limit)
    }

    /// Waits for what is in flight and settles what it finishes, where that is still allowed.
    async fn wind_up(&mut self, intake: &mut Box<dyn Intake>, end: IntakeEnd) -> IntakeEnd {
        let mut end = end;
        let mut deadline = None;
        loop {
            if matches!(end, IntakeEnd::Stopped | IntakeEnd::GiveBack) {
                let finished = self.desk.take_finished();
                if let Err(error) = self.settle(intake, finished).await {
                    end = match end {
                        IntakeEnd::Stopped => IntakeEnd::Stopped,
                        IntakeEnd::GiveBack | IntakeEnd::Lost | IntakeEnd::Broken(_) => {
                            IntakeEnd::Broken(error)
                        }
                    };
                }
            }
            if self.jobs.is_empty() {
                return end;
            }
            let ending = matches!(end, IntakeEnd::Stopped | IntakeEnd::Lost);
            if deadline.is_none() && (ending || self.stop.is_cancelled()) {
                deadline = Some(Instant::now() + self.drain_deadline);
            }
            let forever = Instant::now() + self.policy.hold_limit;
            tokio::select! {
                Some(joined) = self.jobs.join_next() => {
                    if let Err(broken) = self.note(joined)
                        && matches!(end, IntakeEnd::GiveBack)
                    {
                        end = broken;
                    }
                }
                () = self.stop.cancelled(), if deadline.is_none() => {}
                () = self.lease.lost(), if !matches!(end, IntakeEnd::Lost) => end = IntakeEnd::Lost,
                () = sleep_until(deadline.unwrap_or(forever)) => {
                    if deadline.is_some() {
                        let jobs = self.jobs.len();
                        tracing::warn!(lane = %self.bench.lane, jobs, "still running at the deadline, breaking off");
                        self.jobs.shutdown().await;
                    }
                }
            }
        }
    }
}
