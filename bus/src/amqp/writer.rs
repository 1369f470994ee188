//! The writer of a generation: the one task that puts publications on the wire and reads their confirms.

use std::{
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{Channel, Confirmation, message::BasicReturnMessage, options::BasicPublishOptions};
use metrics::{Counter, Histogram};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    link::Link,
    publisher::{Batch, Kind, Message, Order, Outcome},
};
use crate::PublishError;

type Confirmed = (u64, lapin::Result<Confirmation>);
type Confirms = FuturesUnordered<Pin<Box<dyn Future<Output = Confirmed> + Send>>>;

/// Why a publication failed that the broker answered with a nack.
pub(super) const REFUSED: &str = "the broker refused it";

/// From this age on an AMQP channel is given up after a nack. One that begins while the leader of a queue is dying may hold on
/// to it, and gets nothing but nacks for that queue until the node is back (RabbitMQ 3.10); on the next all is well.
const WORN_AFTER: Duration = Duration::from_secs(2);

/// A publication without confirm.
struct InFlight {
    since: Instant,
    kind: Kind,
    key: String,
    id: Option<String>,
    index: usize,
    batch: Arc<Batch>,
    /// Gives the place in the window back.
    _permit: OwnedSemaphorePermit,
}

pub(super) struct Writer {
    link: Arc<Link>,
    channel: Channel,
    orders: mpsc::Receiver<Order>,
    deadline: Duration,
    since: Instant,
    /// Nothing more is written: what is in flight is waited for, then the generation ends.
    worn: bool,
    next: u64,
    in_flight: BTreeMap<u64, InFlight>,
    /// Keys and ids of messages that came back as unroutable and are not confirmed yet.
    returned: Vec<(String, Option<String>)>,
    meters: Meters,
}

impl Writer {
    pub(super) fn new(
        link: Arc<Link>,
        channel: Channel,
        orders: mpsc::Receiver<Order>,
        deadline: Duration,
    ) -> Self {
        Self {
            link,
            channel,
            orders,
            deadline,
            since: Instant::now(),
            worn: false,
            next: 0,
            in_flight: BTreeMap::new(),
            returned: Vec::new(),
            meters: Meters::default(),
        }
    }

    /// Writes until something goes wrong, then fails what is left.
    pub(super) async fn run(mut self, over: CancellationToken) {
        let mut confirms = Confirms::new();
        let reason = self.work(&mut confirms).await;
        if !self.link.is_blocked() {
            self.link.end(reason.clone());
        }
        over.cancel();
        self.fail_all(&reason);
    }

    async fn work(&mut self, confirms: &mut Confirms) -> String {
        let link = Arc::clone(&self.link);
        let mut clock = tokio::time::interval((self.deadline / 20).max(Duration::from_millis(5)));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.worn && self.in_flight.is_empty() {
                return REFUSED.to_owned();
            }
            tokio::select! {
                () = link.ended() => return link.reason(),
                Some(order) = self.orders.recv(), if !self.worn => {
                    let mut next = Some(order);
                    while let Some(order) = next {
                        if let Err(reason) = self.write(order, confirms).await {
                            return reason;
                        }
                        next = self.orders.try_recv().ok();
                    }
                }
                Some(first) = confirms.next() => {
                    if let Err(reason) = self.take_confirms(first, confirms) {
                        return reason;
                    }
                }
                _ = clock.tick() => {
                    let oldest = self.in_flight.first_key_value();
                    if oldest.is_some_and(|(_, first)| first.since.elapsed() > self.deadline) {
                        return format!("the broker did not confirm within {:?}", self.deadline);
                    }
                }
            }
        }
    }

    /// Puts one message on the wire, behind all earlier ones.
    async fn write(&mut self, order: Order, confirms: &mut Confirms) -> Result<(), String> {
        let Order {
            message,
            index,
            batch,
            permit,
        } = order;
        if batch.has_failed() {
            let reason = "an earlier one of the batch failed".to_owned();
            batch.report(index, Err(PublishError::NotPublished(reason)));
            return Ok(());
        }
        let number = self.next;
        self.next += 1;
        self.in_flight.insert(
            number,
            InFlight {
                since: Instant::now(),
                kind: message.kind,
                key: message.key.to_string(),
                id: message.id().map(str::to_owned),
                index,
                batch,
                _permit: permit,
            },
        );
        let mut confirm = Box::pin(publish(self.channel.clone(), number, message));
        // The first poll queues the frames, so polling in turn is what keeps the order.
        match futures::poll!(&mut confirm) {
            std::task::Poll::Ready((_, Err(error))) => Err(error.to_string()),
            std::task::Poll::Ready(first) => self.take_confirms(first, confirms),
            std::task::Poll::Pending => {
                confirms.push(confirm);
                Ok(())
            }
        }
    }

    /// Reports the confirm and all others that are there.
    fn take_confirms(&mut self, first: Confirmed, confirms: &mut Confirms) -> Result<(), String> {
        let mut confirmed = vec![first];
        drain(confirms, &mut confirmed);
        // One frame may confirm many publications, and lapin hands a returned message to any of them. It does so under a
        // lock which this call takes too: behind it the whole frame has been worked off.
        drop(pin!(self.channel.wait_for_confirms()).now_or_never());
        drain(confirms, &mut confirmed);

        let mut outcomes = Vec::with_capacity(confirmed.len());
        for (number, confirmation) in confirmed {
            let (is_ack, message) = match confirmation.map_err(|error| error.to_string())? {
                Confirmation::Ack(message) => (true, message),
                Confirmation::Nack(message) => (false, message),
                Confirmation::NotRequested => (false, None),
            };
            self.returned.extend(message.as_ref().map(identity));
            outcomes.push((number, is_ack));
        }
        for (number, is_ack) in outcomes {
            let Some(sent) = self.in_flight.remove(&number) else {
                continue;
            };
            let outcome = self.judge(&sent, is_ack);
            self.meters.note(&sent, &outcome);
            sent.batch.report(sent.index, outcome);
        }
        Ok(())
    }

    fn judge(&mut self, sent: &InFlight, is_ack: bool) -> Outcome {
        let returned = self
            .returned
            .iter()
            .position(|(key, id)| *key == sent.key && *id == sent.id);
        if let Some(position) = returned {
            self.returned.swap_remove(position);
            return Err(PublishError::NoLane(sent.key.clone()));
        }
        if is_ack {
            Ok(())
        } else {
            // One of its queues may have it.
            self.worn |= self.since.elapsed() > WORN_AFTER;
            Err(PublishError::Unknown(REFUSED.to_owned()))
        }
    }

    fn fail_all(&mut self, reason: &str) {
        for sent in std::mem::take(&mut self.in_flight).into_values() {
            let outcome = Err(PublishError::Unknown(reason.to_owned()));
            self.meters.note(&sent, &outcome);
            sent.batch.report(sent.index, outcome);
        }
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            let outcome = Err(PublishError::NotPublished(reason.to_owned()));
            order.batch.report(order.index, outcome);
        }
    }
}

/// Which publications to repeat, in their order, because the broker refused one of them.
pub(super) fn refused(outcomes: &[Outcome]) -> Vec<usize> {
    let is_refusal = |outcome: &Outcome| match outcome {
        Err(PublishError::Unknown(reason) | PublishError::NotPublished(reason)) => {
            reason == REFUSED
        }
        Ok(()) | Err(PublishError::NoLane(_)) => false,
    };
    if !outcomes.iter().any(is_refusal) {
        return Vec::new();
    }
    let failed = |outcome: &Outcome| {
        matches!(
            outcome,
            Err(PublishError::Unknown(_) | PublishError::NotPublished(_))
        )
    };
    let numbered = outcomes.iter().enumerate();
    numbered
        .filter(|(_, outcome)| failed(outcome))
        .map(|(index, _)| index)
        .collect()
}

async fn publish(channel: Channel, number: u64, message: Message) -> Confirmed {
    let options = BasicPublishOptions {
        mandatory: message.mandatory(),
        immediate: false,
    };
    let written = channel
        .basic_publish(
            message.exchange,
            message.key,
            options,
            &message.body,
            message.properties,
        )
        .await;
    match written {
        Ok(confirm) => (number, confirm.await),
        Err(error) => (number, Err(error)),
    }
}

fn drain(confirms: &mut Confirms, into: &mut Vec<Confirmed>) {
    while let Some(Some(confirmed)) = confirms.next().now_or_never() {
        into.push(confirmed);
    }
}

fn identity(message: &BasicReturnMessage) -> (String, Option<String>) {
    let id = message.properties.message_id().as_ref();
    (
        message.routing_key.to_string(),
        id.map(|id| id.as_str().to_owned()),
    )
}

/// Metrics, looked up once.
struct Meters {
    seconds: Histogram,
    counters: [[Counter; 3]; 5],
}

impl Default for Meters {
    fn default() -> Self {
        let kinds = ["lane", "events", "dead", "notice", "direct"];
        let outcomes = ["confirmed", "no_lane", "unknown"];
        Self {
            seconds: metrics::histogram!("tributary_publish_seconds"),
            counters: kinds.map(|to| {
                outcomes.map(|outcome| {
                    metrics::counter!("tributary_published_total", "to" => to, "outcome" => outcome)
                })
            }),
        }
    }
}

impl Meters {
    fn note(&self, sent: &InFlight, outcome: &Outcome) {
        let column = match outcome {
            Ok(()) => {
                self.seconds.record(sent.since.elapsed().as_secs_f64());
                0
            }
            Err(PublishError::NoLane(_)) => 1,
            Err(PublishError::NotPublished(_) | PublishError::Unknown(_)) => 2,
        };
        self.counters[sent.kind as usize][column].increment(1);
    }
}
