//! Membership of a group: an idle consumer on the group's queue, renewed on every new connection.

use std::sync::Arc;

use async_trait::async_trait;
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
    link::Link,
    topology::{PASSIVE, declare_members},
};
use crate::{BusError, Claim, Group, Lane, Membership};

/// The consumer of one connection; dropping it takes the member out of the count.
struct Seat {
    link: Arc<Link>,
    channel: Channel,
}

pub(super) struct AmqpMembership {
    lines: Arc<Lines>,
    queue: ShortString,
    seat: watch::Receiver<Option<Arc<Seat>>>,
    stop: CancellationToken,
    /// A membership that is dropped without leaving ends as well.
    _guard: DropGuard,
}

impl AmqpMembership {
    /// Joins and stays joined.
    pub(super) async fn join(lines: Arc<Lines>, group: &Group) -> Result<Self, BusError> {
        let queue = lines.names().members(group)?;
        declare_members(&*lines.for_declarations()?, queue.clone()).await?;
        let first = sit(&lines, &queue).await?;
        let (seats, seat) = watch::channel(Some(Arc::new(first)));
        let stop = lines.stop().child_token();
        tokio::spawn(stay(Arc::clone(&lines), queue.clone(), seats, stop.clone()));
        Ok(Self {
            lines,
            queue,
            seat,
            _guard: stop.clone().drop_guard(),
            stop,
        })
    }

    /// The connection through which this is a member right now.
    fn link(&self) -> Result<Arc<Link>, BusError> {
        let seat = self.seat.borrow();
        match &*seat {
            Some(seat) if !seat.link.is_over() => Ok(Arc::clone(&seat.link)),
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
        let link = self.link()?;
        let channel = link.channel().await?;
        let question = channel.queue_declare(self.queue.clone(), PASSIVE, FieldTable::default());
        let queue = link.ask(question).await?;
        Ok(usize::try_from(queue.consumer_count())
            .unwrap_or(usize::MAX)
            .max(1))
    }

    async fn claim(&self, lane: &Lane) -> Result<Option<Box<dyn Claim>>, BusError> {
        let link = self.link()?;
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

/// Sits down again whenever the connection is a new one.
async fn stay(
    lines: Arc<Lines>,
    queue: ShortString,
    seats: watch::Sender<Option<Arc<Seat>>>,
    stop: CancellationToken,
) {
    let mut attempt = 0;
    loop {
        let current = seats.borrow().clone();
        if let Some(seat) = current {
            tokio::select! {
                () = stop.cancelled() => break stand_up(&seat, &seats).await,
                () = seat.link.ended() => drop(seats.send_replace(None)),
            }
            attempt = 0;
        }
        let again = async {
            tokio::time::sleep(Backoff::SERVER.delay(attempt)).await;
            lines.consuming_soon().await;
            sit(&lines, &queue).await
        };
        tokio::select! {
            () = stop.cancelled() => break drop(seats.send_replace(None)),
            seat = again => match seat {
                Ok(seat) => drop(seats.send_replace(Some(Arc::new(seat)))),
                Err(reason) => {
                    tracing::debug!(queue = queue.as_str(), %reason, "cannot join yet");
                    attempt += 1;
                }
            },
        }
    }
}

/// Leaves the count before anybody is told.
async fn stand_up(seat: &Seat, seats: &watch::Sender<Option<Arc<Seat>>>) {
    let close = seat.channel.close(200, "OK".into());
    if let Err(reason) = seat.link.ask(close).await {
        tracing::debug!(%reason, "left without goodbye");
    }
    seats.send_replace(None);
}

async fn sit(lines: &Lines, queue: &ShortString) -> Result<Seat, BusError> {
    let link = lines.consuming()?;
    let channel = link.channel().await?;
    let consumer = channel.basic_consume(
        queue.clone(),
        ShortString::default(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let consumer = link.ask(consumer).await?;
    // Nothing is ever published there. As a delegate the consumer needs no one to poll it.
    consumer.set_delegate(|_| async {});
    Ok(Seat { link, channel })
}
