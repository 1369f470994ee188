//! Membership of a group: an idle consumer on the group's queue, renewed on every new connection and when the queue is lost.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use lapin::{
    Channel,
    options::BasicConsumeOptions,
    types::{FieldTable, ShortString},
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::backoff::Backoff;

use super::{
    Lines,
    claim::AmqpClaim,
    link::{Link, if_free, if_there},
    topology::{PASSIVE, meeting_place},
};
use crate::{BusError, Claim, Group, Lane, Membership};

/// The consumer of one connection; dropping it takes the member out of the count.
struct Seat {
    link: Arc<Link>,
    channel: Channel,
    queue: ShortString,
    /// The member does not count there any more: the queue was deleted or its node died, or the others meet elsewhere.
    gone: CancellationToken,
    /// Cancelled with it.
    over: CancellationToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.over.cancel();
        // As in the module `session`: the close is queued by its first poll, behind a request that may still be answered.
        drop(self.channel.close(200, "OK".into()).now_or_never());
    }
}

pub(super) struct AmqpMembership {
    lines: Arc<Lines>,
    group: Group,
    seat: watch::Receiver<Option<Arc<Seat>>>,
    stop: CancellationToken,
    /// A membership that is dropped without leaving ends as well.
    _guard: DropGuard,
}

impl AmqpMembership {
    /// Joins and stays joined.
    pub(super) async fn join(lines: Arc<Lines>, group: &Group) -> Result<Self, BusError> {
        let first = sit(&lines, group).await?;
        let (seats, seat) = watch::channel(Some(Arc::new(first)));
        let stop = lines.stop().child_token();
        tokio::spawn(stay(Arc::clone(&lines), group.clone(), seats, stop.clone()));
        Ok(Self {
            lines,
            group: group.clone(),
            seat,
            _guard: stop.clone().drop_guard(),
            stop,
        })
    }

    /// The seat of a member right now.
    fn seat(&self) -> Result<Arc<Seat>, BusError> {
        let seat = self.seat.borrow();
        match &*seat {
            Some(seat) if !seat.link.is_over() => Ok(Arc::clone(seat)),
            _ if self.stop.is_cancelled() => {
                Err(BusError::Refused("the group was left".to_owned()))
            }
            _ => Err(self.lines.away()),
        }
    }
}

#[async_trait]
impl Membership for AmqpMembership {
    async fn size(&self) -> Result<usize, BusError> {
        if self.stop.is_cancelled() {
            let link = self.lines.consuming()?;
            let (_, count) = meeting_place(&link, self.lines.names(), &self.group).await?;
            return Ok(usize::try_from(count).unwrap_or(usize::MAX));
        }
        let seat = self.seat()?;
        let (queue, count) = meeting_place(&seat.link, self.lines.names(), &self.group).await?;
        if queue != seat.queue {
            seat.gone.cancel();
        }
        Ok(usize::try_from(count).unwrap_or(usize::MAX).max(1))
    }

    async fn is_owned(&self, lane: &Lane) -> Result<bool, BusError> {
        let link = Arc::clone(&self.seat()?.link);
        let names = self.lines.names();
        // Only an owner consumes. An owner that rests does not; but the broker logs each refused question about a lock.
        let channel = link.channel().await?;
        let question = channel.queue_declare(names.lane(lane)?, PASSIVE, FieldTable::default());
        let queue = link.ask(if_there(question)).await?;
        if queue.is_some_and(|queue| queue.consumer_count() > 0) {
            return Ok(true);
        }
        let channel = link.channel().await?;
        let question = channel.queue_declare(names.owner(lane)?, PASSIVE, FieldTable::default());
        // Refused: it is there, and another connection's.
        let free = link.ask(if_free(if_there(question))).await?;
        Ok(free.is_none_or(|queue| queue.is_some()))
    }

    async fn claim(&self, lane: &Lane) -> Result<Option<Box<dyn Claim>>, BusError> {
        let link = Arc::clone(&self.seat()?.link);
        // A task of its own, so that a caller who stops waiting leaves no lock behind.
        let claiming = AmqpClaim::claim(link, lane.clone(), Arc::clone(&self.lines));
        let claim = tokio::spawn(claiming)
            .await
            .map_err(|reason| BusError::Refused(reason.to_string()))??;
        Ok(claim.map(|claim| Box::new(claim) as Box<dyn Claim>))
    }

    async fn leave(&self) {
        self.stop.cancel();
        // Its end has closed the AMQP channel of the consumer.
        let mut seat = self.seat.clone();
        drop(seat.wait_for(Option::is_none).await);
    }
}

/// Sits down again whenever the connection is a new one, or the seat is gone.
async fn stay(
    lines: Arc<Lines>,
    group: Group,
    seats: watch::Sender<Option<Arc<Seat>>>,
    stop: CancellationToken,
) {
    let mut attempt = 0;
    loop {
        let current = seats.borrow().clone();
        if let Some(seat) = current {
            tokio::select! {
                () = stop.cancelled() => break stand_up(&seat, &seats).await,
                () = seat.link.ended() => {
                    attempt = 0;
                    seats.send_replace(None);
                }
                () = seat.gone.cancelled() => seat.close().await,
            }
        }
        let again = async {
            tokio::time::sleep(Backoff::SERVER.delay(attempt)).await;
            lines.consuming_soon().await;
            sit(&lines, &group).await
        };
        tokio::select! {
            () = stop.cancelled() => break drop(seats.send_replace(None)),
            seat = again => match seat {
                Ok(seat) => {
                    attempt = 0;
                    seats.send_replace(Some(Arc::new(seat)));
                }
                Err(reason) => {
                    tracing::debug!(%group, %reason, "cannot join yet");
                    attempt += 1;
                }
            },
        }
    }
}

/// Leaves the count before anybody is told.
async fn stand_up(seat: &Seat, seats: &watch::Sender<Option<Arc<Seat>>>) {
    seat.close().await;
    seats.send_replace(None);
}

impl Seat {
    async fn close(&self) {
        let close = self.channel.close(200, "OK".into());
        if let Err(reason) = self.link.ask(close).await {
            tracing::debug!(%reason, "left without goodbye");
        }
    }
}

async fn sit(lines: &Lines, group: &Group) -> Result<Seat, BusError> {
    let link = lines.consuming()?;
    let (queue, _) = meeting_place(&link, lines.names(), group).await?;
    let channel = link.channel().await?;
    // From here on it ends with the seat, also where this is broken off: it must not count twice.
    let seat = Seat {
        link,
        channel,
        queue,
        gone: CancellationToken::new(),
        over: CancellationToken::new(),
    };
    let consumer = seat.channel.basic_consume(
        seat.queue.clone(),
        ShortString::default(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let mut consumer = seat.link.ask(consumer).await?;
    let watched = seat.gone.clone().drop_guard();
    let over = seat.over.clone();
    // Nothing is ever published there: it ends when the consumer does.
    tokio::spawn(async move {
        let ended = async { while let Some(Ok(_)) = consumer.next().await {} };
        over.run_until_cancelled(ended).await;
        drop(watched);
    });
    Ok(seat)
}
