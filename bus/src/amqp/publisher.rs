//! Publishing: many publications in flight on one AMQP channel, each caller waiting for its own confirms.
//!
//! A [`Generation`] is that AMQP channel. The first thing that goes wrong ends it: what is in flight fails as unknown,
//! what comes later is not sent, and the supervisor builds the next. A batch never outlives its generation, which is
//! what makes the failures of a batch a suffix.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use lapin::{BasicProperties, options::ConfirmSelectOptions, types::ShortString};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    link::Link,
    made::Made,
    topology::{Names, declare_lane, event_key, short},
    writer::Writer,
};
use crate::{BusError, DeadLetter, Destination, Lane, LaneSpec, Notice, Publication, PublishError};

/// How long a declared lane is taken for existing. Another process may have removed it: without a watcher on the bus its
/// next publication is returned, but the queue of one who watches the lane takes it and hides that it has gone nowhere else.
const DECLARED_FOR: Duration = Duration::from_secs(30);

/// Bounds of publishing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Unconfirmed publications, at most.
    pub(super) window: usize,
    /// How long a publication may wait for its confirm.
    pub(super) deadline: Duration,
}

/// What kind of publication it is, as metrics tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lane,
    Events,
    Dead,
    Notice,
    Direct,
}

/// A publication as the broker takes it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl Message {
    /// Whether it must reach a queue.
    pub(super) fn mandatory(&self) -> bool {
        match self.kind {
            Kind::Lane | Kind::Dead | Kind::Direct => true,
            Kind::Events | Kind::Notice => false,
        }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.properties
            .message_id()
            .as_ref()
            .map(ShortString::as_str)
    }

    /// A publication into a lane or of an event.
    pub(super) fn of(publication: &Publication, names: &Names) -> Result<Self, BusError> {
        let envelope = &publication.envelope;
        let (kind, exchange, key) = match &publication.to {
            Destination::Lane(lane) => (Kind::Lane, names.lanes(), short(lane.to_string())),
            Destination::Events => (
                Kind::Events,
                names.events(),
                event_key(&envelope.orgid, &envelope.kind),
            ),
        };
        Ok(Self {
            kind,
            exchange: exchange?,
            key: key?,
            properties: durable(&envelope.id.to_string()),
            body: envelope.body.clone(),
        })
    }

    /// Bytes into a lane, as they are.
    pub(super) fn raw(lane: &Lane, body: Bytes, names: &Names) -> Result<Self, BusError> {
        Ok(Self {
            kind: Kind::Lane,
            exchange: names.lanes()?,
            key: short(lane.to_string())?,
            properties: durable(&uuid::Uuid::new_v4().to_string()),
            body,
        })
    }

    pub(super) fn dead(letter: DeadLetter, names: &Names) -> Result<Self, BusError> {
        Ok(Self {
            kind: Kind::Dead,
            exchange: names.dead()?,
            key: ShortString::default(),
            properties: durable(&letter.id.0.to_string())
                .with_headers(super::dead::headers(&letter)),
            body: letter.body,
        })
    }

    /// Straight into a queue.
    pub(super) fn direct(queue: ShortString, body: Bytes) -> Self {
        Self {
            kind: Kind::Direct,
            exchange: ShortString::default(),
            key: queue,
            properties: durable(&uuid::Uuid::new_v4().to_string()),
            body,
        }
    }

    /// With the queue for an answer.
    pub(super) fn reply_to(mut self, queue: ShortString) -> Self {
        self.properties = self.properties.with_reply_to(queue);
        self
    }

    pub(super) fn notice(notice: Notice, names: &Names) -> Result<Self, BusError> {
        Ok(Self {
            kind: Kind::Notice,
            exchange: names.live()?,
            key: short(notice.topic)?,
            properties: BasicProperties::default(),
            body: notice.body,
        })
    }
}

/// Persistent: survives a restart of the broker.
fn durable(id: &str) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_delivery_mode(2);
    match ShortString::try_new(id) {
        Ok(id) => properties.with_message_id(id),
        Err(_) => properties,
    }
}

pub(super) type Outcome = Result<(), PublishError>;

/// One message on its way to the writer.
pub(super) struct Order {
    pub(super) message: Message,
    /// Its place in the batch.
    pub(super) index: usize,
    pub(super) batch: Arc<Batch>,
    /// Its place in the window.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What the messages of one call share.
pub(super) struct Batch {
    failed: AtomicBool,
    /// Bounded by the window, since every message in flight reports once.
    reports: mpsc::UnboundedSender<(usize, Outcome)>,
}

impl Batch {
    /// Whether one of its messages failed, so that no later one may be sent.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn report(&self, index: usize, outcome: Outcome) {
        if is_failure(&outcome) {
            self.failed.store(true, Ordering::Release);
        }
        // The caller may have stopped waiting.
        drop(self.reports.send((index, outcome)));
    }
}

/// A missing lane says nothing about other messages.
fn is_failure(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Err(PublishError::NotPublished(_) | PublishError::Unknown(_))
    )
}

/// One AMQP channel to publish on, for as long as nothing goes wrong.
pub(super) struct Generation {
    link: Arc<Link>,
    pace: Pace,
    orders: mpsc::Sender<Order>,
    window: Arc<Semaphore>,
    declared: Mutex<HashMap<Lane, Instant>>,
    made: Arc<Made>,
    over: CancellationToken,
}

impl Generation {
    /// Opens the AMQP channel and starts its writer.
    pub(super) async fn begin(
        link: Arc<Link>,
        pace: Pace,
        made: Arc<Made>,
    ) -> Result<Self, BusError> {
        let channel = link.channel().await?;
        link.ask(channel.confirm_select(ConfirmSelectOptions::default()))
            .await?;
        let (orders, taken) = mpsc::channel(pace.window);
        let over = CancellationToken::new();
        let writer = Writer::new(Arc::clone(&link), channel, taken, pace.deadline);
        tokio::spawn(writer.run(over.clone()));
        Ok(Self {
            link,
            pace,
            orders,
            window: Arc::new(Semaphore::new(pace.window)),
            declared: Mutex::default(),
            made,
            over,
        })
    }

    /// Cancelled when the generation has ended.
    pub(super) fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    pub(super) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// Whether publications can succeed.
    pub(super) fn is_open(&self) -> bool {
        !(self.over.is_cancelled() || self.link.is_over() || self.link.is_blocked())
    }

    /// Publishes to lanes and events.
    pub(super) async fn publish_all(&self, batch: &[Publication], names: &Names) -> Vec<Outcome> {
        let lanes = batch
            .iter()
            .filter_map(|publication| match &publication.to {
                Destination::Lane(lane) => Some(lane),
                Destination::Events => None,
            });
        let mut result = self.ensure(lanes.collect(), names).await;
        let mut messages = Vec::with_capacity(batch.len());
        if result.is_ok() {
            for publication in batch {
                match Message::of(publication, names) {
                    Ok(message) => messages.push(message),
                    Err(reason) => {
                        result = Err(reason);
                        break;
                    }
                }
            }
        }
        match result {
            Ok(()) => self.publish(messages).await,
            Err(reason) => batch
                .iter()
                .map(|_| Err(PublishError::NotPublished(reason.to_string())))
                .collect(),
        }
    }

    /// Sends the messages in order and waits for their confirms.
    pub(super) async fn publish(&self, messages: Vec<Message>) -> Vec<Outcome> {
        let keys: Vec<(ShortString, ShortString)> = messages
            .iter()
            .map(|message| (message.exchange.clone(), message.key.clone()))
            .collect();
        let later = || {
            Err(PublishError::NotPublished(
                "an earlier one failed".to_owned(),
            ))
        };
        let mut outcomes: Vec<Outcome> = keys.iter().map(|_| later()).collect();
        let (reports, mut reported) = mpsc::unbounded_channel();
        let batch = Arc::new(Batch {
            failed: AtomicBool::new(false),
            reports,
        });
        for (index, message) in messages.into_iter().enumerate() {
            if batch.has_failed() {
                break;
            }
            let unknown = PublishError::Unknown("the publisher ended".to_owned());
            outcomes[index] = match self.order(message, index, &batch).await {
                Ok(()) => Err(unknown),
                Err(reason) => {
                    batch.report(index, Err(PublishError::NotPublished(reason)));
                    break;
                }
            };
        }
        // From here on only the messages in flight hold it, and each reports before it lets go.
        drop(batch);
        while let Some((index, outcome)) = reported.recv().await {
            outcomes[index] = outcome;
        }
        doubt_later(&mut outcomes, &keys);
        outcomes
    }

    /// Hands one message to the writer when the window has room.
    async fn order(
        &self,
        message: Message,
        index: usize,
        batch: &Arc<Batch>,
    ) -> Result<(), String> {
        let room = timeout(self.pace.deadline, Arc::clone(&self.window).acquire_owned());
        let permit = tokio::select! {
            biased;
            () = self.over.cancelled() => return Err(self.link.reason()),
            permit = room => permit
                .map_err(|_| format!("no room to publish within {:?}", self.pace.deadline))?
                .map_err(|_| self.link.reason())?,
        };
        let order = Order {
            message,
            index,
            batch: Arc::clone(batch),
            permit,
        };
        // Never waits: the window has as many places as the queue.
        self.orders
            .send(order)
            .await
            .map_err(|_| self.link.reason())
    }

    /// Makes sure that lanes exist. An endpoint's lane has a filter that only its declaration knows.
    pub(super) async fn ensure(
        &self,
        lanes: HashSet<&Lane>,
        names: &Names,
    ) -> Result<(), BusError> {
        let missing = {
            let declared = self.declared();
            let is_new = |lane: &&Lane| {
                let at = declared.get(lane);
                matches!(lane, Lane::Inbound(_) | Lane::Delivery(_))
                    && at.is_none_or(|at| at.elapsed() > DECLARED_FOR)
            };
            lanes.into_iter().filter(is_new).collect::<Vec<_>>()
        };
        for lane in missing {
            let spec = LaneSpec {
                lane: lane.clone(),
                filter: None,
            };
            let found = declare_lane(&self.link, names, &spec, None, &self.made).await?;
            self.made.answer(lane, found);
            self.note_declared(lane.clone());
        }
        Ok(())
    }

    pub(super) fn note_declared(&self, lane: Lane) {
        self.declared().insert(lane, Instant::now());
    }

    pub(super) fn note_missing(&self, lane: &Lane) {
        self.declared().remove(lane);
    }

    fn declared(&self) -> std::sync::MutexGuard<'_, HashMap<Lane, Instant>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After a failure nothing later to the same destination counts as published, whatever the broker said of it: whoever
/// repeats from the failure repeats these as well.
fn doubt_later(outcomes: &mut [Outcome], keys: &[(ShortString, ShortString)]) {
    let mut broken = HashSet::new();
    for (outcome, key) in outcomes.iter_mut().zip(keys) {
        if is_failure(outcome) {
            broken.insert(key);
        } else if outcome.is_ok() && broken.contains(key) {
            let reason = "an earlier one failed".to_owned();
            *outcome = Err(PublishError::Unknown(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_behind_a_failure_is_doubted() {
        let lane = |name: &str| (ShortString::from("lanes"), ShortString::from(name));
        let keys = [lane("a"), lane("b"), lane("a"), lane("a"), lane("b")];
        let mut outcomes = [
            Err(PublishError::NoLane("a".to_owned())),
            Ok(()),
            Err(PublishError::Unknown("nack".to_owned())),
            Ok(()),
            Ok(()),
        ];
        doubt_later(&mut outcomes, &keys);
        assert!(matches!(outcomes[0], Err(PublishError::NoLane(_))));
        assert!(outcomes[1].is_ok());
        assert!(matches!(outcomes[3], Err(PublishError::Unknown(_))));
        assert!(outcomes[4].is_ok(), "another lane is not concerned");
    }
}
