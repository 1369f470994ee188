//! The bus on RabbitMQ. The only place that knows AMQP.
//!
//! Two connections: one publishes, the other consumes and holds locks and memberships, because a broker in distress
//! stops reading from those who publish, and acknowledgements must still get through. Neither is ever repaired: on any
//! error a supervisor closes it and builds the next. What belongs to a connection knows that connection (`Link`) and
//! fails for good when it ends.

mod begun;
mod board;
mod claim;
mod connection;
mod dead;
mod held;
mod intake;
mod link;
mod listen;
mod made;
mod membership;
mod publisher;
mod session;
mod topology;
mod writer;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use lapin::{options::QueueDeleteOptions, types::FieldTable};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use tributary_config::Secret;

use board::Board;
use connection::{Line, Plan, supervise};
use link::{Dial, Link, if_there};
use made::Made;
use membership::AmqpMembership;
use publisher::{Generation, Message, Pace};
pub use topology::DELIVERY_LIMIT;
use topology::{Names, PASSIVE, declare_lane};
use writer::refused;

use crate::{
    Bus, BusError, BusState, DeadId, DeadLetter, Destination, Found, Group, Lane, LaneSpec,
    Membership, Moved, Notice, OrganizationId, Publication, PublishError,
};

/// Before every name in the broker.
pub const PREFIX: &str = "tributary.";

/// How often a declaration is tried when the connection fails under it.
const DECLARE_ATTEMPTS: u32 = 4;

/// How long to wait before a publication that the broker refused is repeated, at first.
const REFUSED_WAIT: Duration = Duration::from_millis(50);

/// The bus on RabbitMQ (3.10 or newer).
pub struct AmqpBus {
    lines: Arc<Lines>,
    supervisors: TaskTracker,
    /// A bus that is dropped ends like one that is closed.
    _stop: DropGuard,
}

/// What everything on this bus needs: the current connections.
struct Lines {
    plan: Arc<Plan>,
    publishing: watch::Receiver<Option<Arc<Generation>>>,
    consuming: watch::Receiver<Option<Arc<Link>>>,
    /// Whose events flow into lanes that were declared here.
    organizations: Mutex<HashMap<Lane, OrganizationId>>,
}

impl AmqpBus {
    /// Begins to connect, in the background, and keeps at it: [`Bus::state`] tells how it goes.
    pub fn connect(settings: &tributary_config::Bus) -> Arc<Self> {
        Self::connect_with_prefix(settings, PREFIX)
    }

    /// The same with another prefix than `tributary.` before every name in the broker: another bus on the same broker.
    pub fn connect_with_prefix(settings: &tributary_config::Bus, prefix: &str) -> Arc<Self> {
        let stop = CancellationToken::new();
        let plan = Arc::new(Plan {
            dial: Dial {
                urls: settings.addresses().map(Secret::new).collect(),
                heartbeat: settings.heartbeat,
                connect_deadline: settings.connect_deadline,
                request_deadline: settings.connect_deadline,
            },
            names: Names::new(prefix),
            instance: uuid::Uuid::now_v7(),
            pace: Pace {
                window: settings.publish_window.max(1),
                deadline: settings.publish_deadline,
            },
            board: Board::new(),
            made: Arc::new(Made::new()),
            stop: stop.clone(),
        });
        let (publisher, publishing) = watch::channel(None);
        let (consumer, consuming) = watch::channel(None);
        let supervisors = TaskTracker::new();
        for line in [Line::Publishing(publisher), Line::Consuming(consumer)] {
            supervisors.spawn(supervise(Arc::clone(&plan), line));
        }
        supervisors.close();
        Arc::new(Self {
            lines: Arc::new(Lines {
                plan,
                publishing,
                consuming,
                organizations: Mutex::default(),
            }),
            supervisors,
            _stop: stop.drop_guard(),
        })
    }
}

impl Lines {
    fn names(&self) -> &Names {
        &self.plan.names
    }

    fn organizations(&self) -> MutexGuard<'_, HashMap<Lane, OrganizationId>> {
        let organizations = self.organizations.lock();
        organizations.unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) -> &CancellationToken {
        &self.plan.stop
    }

    /// Why nothing can be done right now.
    fn away(&self) -> BusError {
        let trouble = self.plan.board.trouble();
        BusError::Away(trouble.unwrap_or_else(|| "the connection has just failed".to_owned()))
    }

    /// The connection to consume on, if it is there.
    fn consuming(&self) -> Result<Arc<Link>, BusError> {
        match &*self.consuming.borrow() {
            Some(link) if !link.is_over() => Ok(Arc::clone(link)),
            Some(_) | None => Err(self.away()),
        }
    }

    /// The connection to consume on, as soon as it is there.
    async fn consuming_soon(&self) -> Arc<Link> {
        let mut consuming = self.consuming.clone();
        let there = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| !link.is_over());
        let link = match consuming.wait_for(there).await.as_deref() {
            Ok(Some(link)) => Some(Arc::clone(link)),
            Ok(None) | Err(_) => None,
        };
        match link {
            Some(link) => link,
            // The supervisor has ended, and with it whoever waits here.
            None => std::future::pending().await,
        }
    }

    /// What publishes, if publications are taken at all right now.
    fn publishing(&self) -> Result<Arc<Generation>, BusError> {
        match &*self.publishing.borrow() {
            Some(generation) if generation.is_open() => Ok(Arc::clone(generation)),
            Some(_) | None => Err(self.away()),
        }
    }

    /// Where to declare: if that fails, the connection that publishes is the smaller loss.
    fn for_declarations(&self) -> Result<Arc<Link>, BusError> {
        match self.publishing() {
            Ok(generation) => Ok(generation.link()),
            Err(_) => self.consuming(),
        }
    }

    /// Publishes, and again what the broker refused and what came behind it, for as long as a publication may take: the
    /// leader of a queue may have just died with its node, and another takes over within a second.
    async fn publish(&self, batch: &[Publication]) -> Vec<Result<(), PublishError>> {
        let begun = Instant::now();
        let mut outcomes = self.publish_once(batch).await;
        for attempt in 0.. {
            let again = refused(&outcomes);
            let left = self.plan.pace.deadline.saturating_sub(begun.elapsed());
            let wait = REFUSED_WAIT * 2_u32.pow(attempt.min(3));
            if again.is_empty() || left < wait {
                break;
            }
            tokio::time::sleep(wait).await;
            if timeout(left, self.publishing_soon()).await.is_err() {
                break;
            }
            let repeated: Vec<Publication> =
                again.iter().map(|index| batch[*index].clone()).collect();
            let results = self.publish_once(&repeated).await;
            for (index, result) in again.into_iter().zip(results) {
                outcomes[index] = match (&outcomes[index], result) {
                    // It may have been published before.
                    (Err(PublishError::Unknown(_)), Err(PublishError::NotPublished(reason))) => {
                        Err(PublishError::Unknown(reason))
                    }
                    (_, result) => result,
                };
            }
        }
        outcomes
    }

    async fn publish_once(&self, batch: &[Publication]) -> Vec<Result<(), PublishError>> {
        match self.publishing() {
            Ok(generation) => generation.publish_all(batch, self.names()).await,
            Err(away) => none_of(batch, &away),
        }
    }

    /// Until publications are taken.
    async fn publishing_soon(&self) {
        let mut publishing = self.publishing.clone();
        let open = |generation: &Option<Arc<Generation>>| {
            generation
                .as_ref()
                .is_some_and(|generation| generation.is_open())
        };
        if publishing.wait_for(open).await.is_err() {
            // The supervisor has ended.
            std::future::pending::<()>().await;
        }
    }

    fn note_declared(&self, lane: &Lane) {
        if let Ok(generation) = self.publishing() {
            generation.note_declared(lane.clone());
        }
    }

    async fn declare(&self, spec: &LaneSpec) -> Result<Found, BusError> {
        let mut attempt = 1;
        loop {
            let result = match self.for_declarations() {
                Ok(link) => {
                    let former = self.organizations().get(&spec.lane).cloned();
                    let made = &self.plan.made;
                    declare_lane(&link, self.names(), spec, former.as_ref(), made).await
                }
                Err(away) => Err(away),
            };
            match result {
                Err(BusError::Away(reason)) if attempt < DECLARE_ATTEMPTS => {
                    tracing::debug!(lane = %spec.lane, reason, attempt, "declaring again");
                    // For the supervisor to reconnect.
                    let wait = tributary_base::backoff::Backoff::SERVER.limit(attempt);
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                Ok(found) => {
                    self.note_declared(&spec.lane);
                    if let Some(filter) = &spec.filter {
                        let organization = filter.organization.clone();
                        self.organizations().insert(spec.lane.clone(), organization);
                    }
                    return Ok(self.plan.made.answer(&spec.lane, found));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl Bus for AmqpBus {
    async fn declare(&self, lanes: &[LaneSpec]) -> Result<(), BusError> {
        for spec in lanes {
            self.lines.declare(spec).await?;
        }
        Ok(())
    }

    async fn ensure(&self, spec: &LaneSpec) -> Result<Found, BusError> {
        self.lines.declare(spec).await
    }

    fn redeclared(&self) -> BoxStream<'static, Lane> {
        let renewed = self.lines.plan.made.listen();
        let next = |mut renewed: broadcast::Receiver<Lane>| async move {
            loop {
                match renewed.recv().await {
                    Ok(lane) => return Some((lane, renewed)),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "a slow listener missed lanes that were made anew");
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        stream::unfold(renewed, next).boxed()
    }

    async fn remove(&self, lane: &Lane) -> Result<(), BusError> {
        let link = self.lines.for_declarations()?;
        self.lines.organizations().remove(lane);
        if let Ok(generation) = self.lines.publishing() {
            generation.note_missing(lane);
        }
        let channel = link.channel().await?;
        let names = self.lines.names();
        for queue in [names.begun(lane)?, names.lane(lane)?] {
            link.ask(channel.queue_delete(queue, QueueDeleteOptions::default()))
                .await?;
        }
        self.lines.plan.made.forget(lane);
        Ok(())
    }

    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        let lines = &self.lines;
        let outcomes = lines.publish(&batch).await;
        for (outcome, publication) in outcomes.iter().zip(&batch) {
            match (outcome, &publication.to) {
                (Err(PublishError::NotPublished(_)), Destination::Lane(_)) => unsent("lane"),
                (Err(PublishError::NotPublished(_)), Destination::Events) => unsent("events"),
                (Err(PublishError::NoLane(_)), Destination::Lane(lane)) => {
                    if let Ok(generation) = lines.publishing() {
                        generation.note_missing(lane);
                    }
                }
                (Ok(()) | Err(_), _) => {}
            }
        }
        outcomes
    }

    async fn join(&self, group: &Group) -> Result<Arc<dyn Membership>, BusError> {
        let membership = AmqpMembership::join(Arc::clone(&self.lines), group).await?;
        Ok(Arc::new(membership))
    }

    async fn depth(&self, lane: &Lane) -> Result<u64, BusError> {
        let link = self.lines.consuming()?;
        let channel = link.channel().await?;
        let queue = self.lines.names().lane(lane)?;
        let question = channel.queue_declare(queue, PASSIVE, FieldTable::default());
        // It comes into being with its first message.
        let Some(queue) = link.ask(if_there(question)).await? else {
            return Ok(0);
        };
        // The broker does not count what a consumer has; of our own we know, others are asked.
        let held = match link.held(lane) {
            Some(held) => held as u64,
            None if queue.consumer_count() == 0 => 0,
            None => held::ask(&self.lines, &link, lane).await?.unwrap_or(0),
        };
        Ok(u64::from(queue.message_count()) + held)
    }

    async fn announce(&self, notice: Notice) -> Result<(), BusError> {
        let message = Message::notice(notice, self.lines.names())?;
        let outcomes = self.lines.publishing()?.publish(vec![message]).await;
        outcomes.into_iter().try_for_each(dead::published)
    }

    async fn notices(&self) -> Result<BoxStream<'static, Notice>, BusError> {
        listen::notices(Arc::clone(&self.lines)).await
    }

    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<(), BusError> {
        dead::bury(&self.lines, letters).await
    }

    async fn dead(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        dead::list(&self.lines, limit).await
    }

    async fn replay(&self, id: DeadId) -> Result<bool, BusError> {
        dead::replay(&self.lines, id).await
    }

    async fn tail(&self, lanes: &[Lane]) -> Result<BoxStream<'static, Moved>, BusError> {
        listen::tail(Arc::clone(&self.lines), lanes).await
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.lines.plan.board.subscribe()
    }

    async fn close(&self) {
        self.lines.stop().cancel();
        self.supervisors.wait().await;
    }
}

/// The writer counts all others.
fn unsent(to: &'static str) {
    metrics::counter!("tributary_published_total", "to" => to, "outcome" => "not_published")
        .increment(1);
}

fn none_of(batch: &[Publication], reason: &BusError) -> Vec<Result<(), PublishError>> {
    let outcome = || Err(PublishError::NotPublished(reason.to_string()));
    batch.iter().map(|_| outcome()).collect()
}
