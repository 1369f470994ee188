//! Owning a lane: an exclusive queue on the consuming connection, and the proofs that it is still there.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use lapin::{
    Channel,
    options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{FieldTable, ShortString},
};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Lines,
    begun::BegunLog,
    held,
    intake::AmqpIntake,
    link::{Link, if_free, if_there},
    session::Session,
    topology::PASSIVE,
};
use crate::{AttemptLog, BusError, Claim, Intake, Lane, Lease};

/// How often to look whether the consumer of the last intake or owner is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long the consumer of an intake that ended waits for the next intake.
const PARKED_FOR: Duration = Duration::from_secs(2);

/// A lane that is owned through one connection, and no longer than that.
pub(super) struct AmqpClaim {
    lease: Lease,
    lines: Arc<Lines>,
    hold: Arc<Hold>,
    released: watch::Receiver<bool>,
    /// Ends the keeper, which gives the lane back.
    give_back: DropGuard,
}

/// What claim, keeper and intake share.
pub(super) struct Hold {
    pub(super) lane: Lane,
    pub(super) queue: ShortString,
    pub(super) link: Arc<Link>,
    /// The AMQP channel of the latest intake, also after its end.
    slot: Mutex<Option<Channel>>,
    /// The consumer of the latest intake, for the next one.
    parked: Mutex<Option<Session>>,
    /// Cancelled when the lane is lost or given back.
    pub(super) over: CancellationToken,
    held: Arc<AtomicUsize>,
    /// The broker ended the intake, which it does when the queue is deleted: the next intake says so, since
    /// somebody who publishes may have made the queue anew meanwhile.
    vanished: AtomicBool,
    owner: ShortString,
    /// Declared the exclusive queue.
    lock: Channel,
}

impl AmqpClaim {
    /// Becomes the owner, or answers `None` when somebody else is.
    pub(super) async fn claim(
        link: Arc<Link>,
        lane: Lane,
        lines: Arc<Lines>,
    ) -> Result<Option<Self>, BusError> {
        let names = lines.names();
        let (queue, owner) = (names.lane(&lane)?, names.owner(&lane)?);
        // The broker lets one connection declare its exclusive queue twice.
        let Some(held) = link.own(&lane) else {
            return Ok(None);
        };
        let asked = Instant::now();
        let lock = match lock(&link, owner.clone()).await {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                link.disown(&lane);
                return Ok(None);
            }
            Err((error, unanswered)) => {
                match unanswered {
                    Some(channel) => drop(tokio::spawn(take_back(link, lane, owner, channel))),
                    None => link.disown(&lane),
                }
                return Err(error);
            }
        };
        let hold = Arc::new(Hold {
            lane,
            queue,
            link,
            slot: Mutex::default(),
            parked: Mutex::default(),
            held,
            vanished: AtomicBool::new(false),
            over: CancellationToken::new(),
            owner,
            lock,
        });
        tokio::spawn(held::answer(
            Arc::clone(&lines),
            hold.lock.clone(),
            hold.owner.clone(),
            Arc::clone(&hold.held),
        ));
        let (proven, proofs) = watch::channel(Some(asked));
        let (done, released) = watch::channel(false);
        let stop = CancellationToken::new();
        let lease = Lease::new(proofs, hold.link.term());
        let keeper = keep(Arc::clone(&hold), proven, stop.clone());
        tokio::spawn(async move {
            keeper.await;
            done.send_replace(true);
        });
        Ok(Some(Self {
            lease,
            lines,
            hold,
            released,
            give_back: stop.drop_guard(),
        }))
    }
}

#[async_trait]
impl Claim for AmqpClaim {
    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    async fn take(&mut self, prefetch: u16) -> Result<Box<dyn Intake>, BusError> {
        let hold = &self.hold;
        if hold.over.is_cancelled() {
            return Err(BusError::Lost(hold.lane.clone()));
        }
        let prefetch = prefetch.max(1);
        let kept = hold.parked().take();
        let session = match kept {
            Some(session) if session.suits(prefetch) => session,
            other => {
                drop(other);
                hold.close_intake().await;
                hold.open(prefetch).await?
            }
        };
        let intake = AmqpIntake::new(Arc::clone(hold), session, prefetch);
        Ok(Box::new(intake))
    }

    fn attempts(&self) -> Box<dyn AttemptLog> {
        let log = BegunLog::new(Arc::clone(&self.lines), self.hold.lane.clone());
        Box::new(log)
    }

    async fn release(self: Box<Self>) -> Result<(), BusError> {
        let Self {
            mut released,
            give_back,
            ..
        } = *self;
        drop(give_back);
        // An error means that the keeper has ended.
        drop(released.wait_for(|done| *done).await);
        Ok(())
    }
}

impl Hold {
    /// Begins to consume the lane.
    async fn open(&self, prefetch: u16) -> Result<Session, BusError> {
        let channel = self.link.channel().await?;
        self.wait_for_silence(&channel).await?;
        let window = Session::window_for(prefetch);
        let qos = channel.basic_qos(window, BasicQosOptions::default());
        self.link.ask(qos).await?;
        if self.vanished.swap(false, Ordering::Relaxed) {
            return Err(BusError::Missing(self.lane.clone()));
        }
        *self.slot() = Some(channel.clone());
        let consume = channel.basic_consume(
            self.queue.clone(),
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        match self.link.ask(if_there(consume)).await {
            Ok(None) => {
                self.close_intake().await;
                Err(BusError::Missing(self.lane.clone()))
            }
            Ok(Some(consumer)) => Ok(Session::new(
                channel,
                consumer,
                window,
                Arc::clone(&self.held),
            )),
            Err(error) => {
                self.close_intake().await;
                Err(error)
            }
        }
    }

    /// Keeps the consumer of an intake that ended, in case another one begins soon.
    pub(super) fn park(self: &Arc<Self>, mut session: Session) {
        let mark = session.park();
        *self.parked() = Some(session);
        let hold = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = hold.over.cancelled() => {}
                () = tokio::time::sleep(PARKED_FOR) => {}
            }
            let is_it = |session: &mut Session| session.is_parked_since(mark);
            let session = hold.parked().take_if(is_it);
            if let Some(session) = session {
                hold.end(session).await;
            }
        });
    }

    /// Notes that the broker ended an intake by itself.
    pub(super) fn note_vanished(&self) {
        self.vanished.store(true, Ordering::Relaxed);
    }

    /// Ends a consumer, which returns what is unsettled.
    pub(super) async fn end(&self, session: Session) {
        let close = session.channel().close(200, "OK".into());
        if let Err(reason) = self.link.ask(close).await {
            tracing::debug!(lane = %self.lane, %reason, "intake was closed already");
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Channel>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parked(&self) -> MutexGuard<'_, Option<Session>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the AMQP channel of the present intake, which returns what is unsettled.
    async fn close_intake(&self) {
        let channel = self.slot().take();
        let Some(channel) = channel else {
            return;
        };
        if let Err(reason) = self.link.ask(channel.close(200, "OK".into())).await {
            tracing::debug!(lane = %self.lane, %reason, "intake was closed already");
        }
    }

    /// Waits until no consumer is attached to the lane. The broker answers a close before the queue has taken the
    /// messages back; a consumer that came in between would see later messages first.
    async fn wait_for_silence(&self, channel: &Channel) -> Result<(), BusError> {
        let begun = Instant::now();
        loop {
            let question =
                channel.queue_declare(self.queue.clone(), PASSIVE, FieldTable::default());
            let Some(queue) = self.link.ask(if_there(question)).await? else {
                return Err(BusError::Missing(self.lane.clone()));
            };
            if queue.consumer_count() == 0 {
                return Ok(());
            }
            if begun.elapsed() > self.link.term() {
                let reason = format!("somebody else consumes lane {}", self.lane);
                return Err(BusError::Refused(reason));
            }
            tokio::select! {
                () = self.over.cancelled() => return Err(BusError::Lost(self.lane.clone())),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Returns what is unsettled, and only then lets the next owner in.
    async fn give_back(&self) -> Result<(), BusError> {
        self.close_intake().await;
        let channel = self.link.channel().await?;
        match self.wait_for_silence(&channel).await {
            // A lane that was removed has no consumer either.
            Ok(()) | Err(BusError::Missing(_) | BusError::Refused(_) | BusError::Lost(_)) => {}
            Err(error) => return Err(error),
        }
        // Another AMQP channel than that of the lock, which is closed when the lock has vanished. Deleting a queue that is
        // not there is no error, and one that is somebody else's is refused.
        let channel = self.link.channel().await?;
        let delete = channel.queue_delete(self.owner.clone(), QueueDeleteOptions::default());
        self.link.ask(if_free(delete)).await.map(drop)
    }
}

/// Declares the exclusive queue; `None` when another connection has it. With an error comes the AMQP channel on which the
/// broker may still do it.
async fn lock(
    link: &Link,
    owner: ShortString,
) -> Result<Option<Channel>, (BusError, Option<Channel>)> {
    let channel = link.channel().await.map_err(|error| (error, None))?;
    let declare = channel.queue_declare(
        owner,
        QueueDeclareOptions::exclusive(),
        FieldTable::default(),
    );
    match link.ask(if_free(declare)).await {
        Ok(free) => Ok(free.map(|_| channel)),
        Err(error @ BusError::Deadline(_)) => Err((error, Some(channel))),
        Err(error) => Err((error, None)),
    }
}

/// Takes back a lock whose declaration was not answered in time: the broker may make it any time later, and nobody would
/// ever give the lane back. What is said on one AMQP channel is done in its order, so this comes after the declaration.
/// Until it is known to be gone, this process does not try again: it would find the queue its own.
async fn take_back(link: Arc<Link>, lane: Lane, owner: ShortString, channel: Channel) {
    let delete = channel.queue_delete(owner, QueueDeleteOptions::default());
    let answer = tokio::select! {
        () = link.ended() => return,
        answer = delete => answer,
    };
    match answer {
        Ok(_) => tracing::debug!(%lane, "a lock that was answered late was taken back"),
        // Somebody else has the lane: the refusal of the declaration has closed the AMQP channel.
        Err(reason) if !channel.status().connected() => {
            tracing::debug!(%lane, %reason, "a lock that was refused late");
        }
        Err(reason) => link.end(format!("the lock of lane {lane} is in doubt: {reason}")),
    }
    link.disown(&lane);
}

/// Proves the ownership until it ends, then gives the lane back.
async fn keep(hold: Arc<Hold>, proven: watch::Sender<Option<Instant>>, stop: CancellationToken) {
    let lost = tokio::select! {
        () = stop.cancelled() => None,
        () = hold.link.ended() => Some(hold.link.reason()),
        reason = prove(&hold, &proven) => Some(reason),
    };
    // First nobody may act on it any more, then it goes back.
    proven.send_replace(None);
    if let Some(reason) = lost {
        hold.over.cancel();
        // Who owns it tells it once, after the last effect.
        tracing::debug!(lane = %hold.lane, reason, "lane lost");
    }
    if !hold.link.is_over()
        && let Err(reason) = hold.give_back().await
        && !hold.link.is_over()
    {
        // The lock would outlive the owner.
        hold.link.end(format!(
            "lane {} could not be given back: {reason}",
            hold.lane
        ));
    }
    hold.over.cancel();
    hold.link.disown(&hold.lane);
}

/// Asks for the exclusive queue again and again, four times in the lease's term. Answers why it is no longer there.
async fn prove(hold: &Hold, proven: &watch::Sender<Option<Instant>>) -> String {
    let mut clock = tokio::time::interval(hold.link.term() / 4);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        // What counts is when the question was sent: at that moment the lock was ours, or the answer is a refusal.
        let asked = Instant::now();
        let question = hold
            .lock
            .queue_declare(hold.owner.clone(), PASSIVE, FieldTable::default());
        match hold.link.ask(question).await {
            Ok(_) => drop(proven.send_replace(Some(asked))),
            Err(reason) => return reason.to_string(),
        }
    }
}
