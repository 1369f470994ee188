//! Names and shapes of what lives in the broker.
//!
//! | thing | name (after the prefix) | shape |
//! |---|---|---|
//! | lanes | exchange `lane` (direct), queue per lane, e.g. `inbound.3` | routed by the lane's name |
//! | events | exchange `events` (topic) | routed by `<organization>.<event type>` |
//! | dead letters | exchange `dead` (fanout), queue `dead` | |
//! | notices | exchange `live` (fanout) | a transient queue per listener |
//! | attempts | queue `begun.<lane>` | records of messages handled alone, see `lane::proof` |
//! | ownership | queue `owner.<lane>` | exclusive: it lives and dies with the owner's connection |
//! | listening | queue `listener.<id>` | exclusive, bounded |
//! | groups | queues `group.<group>.<n>` | one idle consumer per member, on the first that can be used |

use std::{collections::BTreeSet, time::Duration};

use futures::future::try_join_all;
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};

use tokio::time::timeout;

use super::{
    link::{Link, if_there},
    made::Made,
};
use crate::{
    BusError, EventFilter, Found, Group, Lane, LaneSpec, OrganizationId, message::EVENT_TYPES,
};

/// The names in the broker; every bus with the same prefix on the same virtual host is the same bus.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The exchange in front of all lanes. Direct: with 16 lanes a topic exchange costs the broker
    /// a third more per message.
    pub(super) fn lanes(&self) -> Result<ShortString, BusError> {
        short(format!("{}lane", self.prefix))
    }

    pub(super) fn events(&self) -> Result<ShortString, BusError> {
        short(format!("{}events", self.prefix))
    }

    /// The exchange and the queue of the dead letters.
    pub(super) fn dead(&self) -> Result<ShortString, BusError> {
        short(format!("{}dead", self.prefix))
    }

    pub(super) fn live(&self) -> Result<ShortString, BusError> {
        short(format!("{}live", self.prefix))
    }

    /// A new name for the private queue of a listener.
    pub(super) fn listener(&self) -> Result<ShortString, BusError> {
        let id = uuid::Uuid::new_v4().simple();
        short(format!("{}listener.{id}", self.prefix))
    }

    pub(super) fn lane(&self, lane: &Lane) -> Result<ShortString, BusError> {
        short(format!("{}{lane}", self.prefix))
    }

    pub(super) fn owner(&self, lane: &Lane) -> Result<ShortString, BusError> {
        short(format!("{}owner.{lane}", self.prefix))
    }

    pub(super) fn begun(&self, lane: &Lane) -> Result<ShortString, BusError> {
        short(format!("{}begun.{lane}", self.prefix))
    }

    pub(super) fn members(&self, group: &Group, spot: usize) -> Result<ShortString, BusError> {
        short(format!("{}group.{group}.{spot}", self.prefix))
    }
}

/// A name or routing key of the protocol: at most 255 bytes (AMQP 0-9-1, 4.2.5.3).
pub(super) fn short(text: String) -> Result<ShortString, BusError> {
    let length = text.len();
    ShortString::try_new(text)
        .map_err(|_| BusError::Refused(format!("a name of {length} bytes is longer than 255")))
}

/// The routing key of an event.
pub(super) fn event_key(
    organization: &OrganizationId,
    kind: &str,
) -> Result<ShortString, BusError> {
    short(format!("{organization}.{kind}"))
}

/// The binding key that lets events of one pattern into a lane.
fn binding_key(organization: &OrganizationId, pattern: &str) -> Result<ShortString, BusError> {
    let types = match pattern.strip_suffix('*') {
        Some("") => "#".to_owned(),
        Some(noun) if noun.ends_with('.') => format!("{noun}#"),
        // Without a star it is one type; `#` stands for its version.
        Some(_) | None => format!("{pattern}.#"),
    };
    short(format!("{organization}.{types}"))
}

const DURABLE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: false,
    durable: true,
    auto_delete: false,
    internal: false,
    nowait: false,
};

/// Declares the exchanges, on every connection: whichever comes first makes them.
pub(super) async fn declare_exchanges(link: &Link, names: &Names) -> Result<(), BusError> {
    let channel = link.channel().await?;
    for (name, kind) in [
        (names.lanes()?, ExchangeKind::Direct),
        (names.events()?, ExchangeKind::Topic),
        (names.dead()?, ExchangeKind::Fanout),
        (names.live()?, ExchangeKind::Fanout),
    ] {
        link.ask(channel.exchange_declare(name, kind, DURABLE, FieldTable::default()))
            .await?;
    }
    Ok(())
}

/// Declares the queue of the dead letters.
pub(super) async fn declare_dead(link: &Link, names: &Names) -> Result<(), BusError> {
    let name = names.dead()?;
    let (channel, _) = ensure_quorum(link, name.clone(), limitless(), || {}).await?;
    bind(link, &channel, name.clone(), name, ShortString::default())
        .await
        .map(drop)
}

/// Declares a lane with what flows into it; notes in `made` when its queue was missing, whatever fails later. `former` is the organization whose events did so far, where that is known: the
/// broker does not tell bindings.
pub(super) async fn declare_lane(
    link: &Link,
    names: &Names,
    LaneSpec { lane, filter }: &LaneSpec,
    former: Option<&OrganizationId>,
    made: &Made,
) -> Result<Found, BusError> {
    let queue = names.lane(lane)?;
    let mut arguments = limitless();
    arguments.insert("x-single-active-consumer".into(), true.into());
    let missing = || made.note(lane);
    let (channel, found) = ensure_quorum(link, queue.clone(), arguments, missing).await?;
    let mut wanted = vec![(names.lanes()?, short(lane.to_string())?)];
    let patterns = filter.iter().flat_map(|filter| {
        let key = |pattern| binding_key(&filter.organization, pattern);
        filter.patterns.iter().map(move |pattern| key(pattern))
    });
    for key in patterns {
        wanted.push((names.events()?, key?));
    }
    let channel = bind_all(link, names, channel, &queue, wanted).await?;
    if let Some(filter) = filter
        && found == Found::Before
    {
        unbind_others(link, &channel, queue, names, filter, former).await?;
    }
    Ok(found)
}

/// Binds a queue to exchanges by keys, and answers an open AMQP channel. Somebody may have deleted an exchange.
async fn bind_all(
    link: &Link,
    names: &Names,
    mut channel: Channel,
    queue: &ShortString,
    wanted: Vec<(ShortString, ShortString)>,
) -> Result<Channel, BusError> {
    for (exchange, key) in wanted {
        let bound = bind(link, &channel, queue.clone(), exchange.clone(), key.clone()).await?;
        if bound.is_none() {
            declare_exchanges(link, names).await?;
            // The refusal has closed the other.
            channel = link.channel().await?;
            let bound = bind(link, &channel, queue.clone(), exchange, key).await?;
            bound.ok_or_else(|| BusError::Refused(format!("queue {queue} vanishes")))?;
        }
    }
    Ok(channel)
}

/// Takes away what an earlier filter let in. The broker does not tell bindings, but there are only so many.
async fn unbind_others(
    link: &Link,
    channel: &Channel,
    queue: ShortString,
    names: &Names,
    filter: &EventFilter,
    former: Option<&OrganizationId>,
) -> Result<(), BusError> {
    let nouns = EVENT_TYPES
        .iter()
        .filter_map(|kind| Some(format!("{}.*", kind.split_once('.')?.0)));
    let types = EVENT_TYPES.iter().copied().map(str::to_owned);
    let possible: BTreeSet<String> = nouns.chain(types).chain(["*".to_owned()]).collect();
    let exchange = names.events()?;
    let unbind = |key| {
        let (queue, exchange) = (queue.clone(), exchange.clone());
        channel.queue_unbind(queue, exchange, key, FieldTable::default())
    };
    let of_others = possible
        .iter()
        .filter(|pattern| !filter.patterns.contains(pattern))
        .map(|pattern| binding_key(&filter.organization, pattern));
    let former = former.filter(|former| **former != filter.organization);
    let of_former = former.into_iter().flat_map(|former| {
        let key = |pattern| binding_key(former, pattern);
        possible.iter().map(move |pattern| key(pattern))
    });
    let keys: Result<Vec<ShortString>, BusError> = of_others.chain(of_former).collect();
    link.ask(try_join_all(keys?.into_iter().map(unbind)))
        .await
        .map(drop)
}

/// Places where a group can count its members. In a cluster a node that is down takes those with it that live there.
const SPOTS: usize = 5;

/// How long to wait for one of them. RabbitMQ 4 does not answer for as long as ten seconds when its node is down, where 3.10
/// answers 404 at once.
const SPOT_DEADLINE: Duration = Duration::from_secs(2);

/// Finds the queue in which a group counts its members, and makes it if there is none: the same for all who look. Answers
/// its place and how many consumers it has.
///
/// A classic queue: it forgets the consumers of a node that dies at once. A quorum queue goes on to count them until the node
/// is back, or for ever. A classic queue cannot be used while its own node is down; then the next one is.
pub(super) async fn meeting_place(
    link: &Link,
    names: &Names,
    group: &Group,
) -> Result<(ShortString, u32), BusError> {
    for spot in 0..SPOTS {
        let queue = names.members(group, spot)?;
        for options in [PASSIVE, QueueDeclareOptions::durable()] {
            let channel = link.channel().await?;
            let question = channel.queue_declare(queue.clone(), options, classic());
            match timeout(SPOT_DEADLINE, link.ask(if_there(question))).await {
                Ok(Ok(Some(found))) => return Ok((queue, found.consumer_count())),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => return Err(error),
                // Its node is down, and the broker waits for it. An answer that comes late does no harm.
                Err(_) => break,
            }
        }
    }
    let reason = format!("the nodes of all queues that count the members of {group} are down");
    Err(BusError::Refused(reason))
}

fn classic() -> FieldTable {
    let mut arguments = FieldTable::default();
    let kind = lapin::types::AMQPValue::LongString("classic".into());
    arguments.insert("x-queue-type".into(), kind);
    arguments
}

/// Declares the queue of records about messages that are handled alone.
pub(super) async fn declare_begun(link: &Link, queue: ShortString) -> Result<(), BusError> {
    ensure_quorum(link, queue, limitless(), || {})
        .await
        .map(drop)
}

/// How often a message may be delivered before the broker drops it. RabbitMQ 4 says 20 unless told otherwise, and
/// understands -1 as never; 3.10 takes -1 as well, and then drops every message at its first return (measured).
pub const DELIVERY_LIMIT: i32 = 2_000_000_000;

fn limitless() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-delivery-limit".into(), DELIVERY_LIMIT.into());
    arguments
}

/// Makes sure that a quorum queue is there, and answers an open AMQP channel. Calls `missing` before it makes one.
///
/// Declares only what is missing: declaring a quorum queue while another connection begins to consume it can close
/// the whole connection with 541 INTERNAL_ERROR (seen on RabbitMQ 3.10).
async fn ensure_quorum(
    link: &Link,
    queue: ShortString,
    mut arguments: FieldTable,
    missing: impl FnOnce(),
) -> Result<(Channel, Found), BusError> {
    let channel = link.channel().await?;
    let question = channel.queue_declare(queue.clone(), PASSIVE, FieldTable::default());
    if link.ask(if_there(question)).await?.is_some() {
        return Ok((channel, Found::Before));
    }
    missing();
    // The failed question has closed the AMQP channel.
    arguments.insert(
        "x-queue-type".into(),
        lapin::types::AMQPValue::LongString("quorum".into()),
    );
    let channel = link.channel().await?;
    link.ask(channel.queue_declare(queue, QueueDeclareOptions::durable(), arguments))
        .await?;
    Ok((channel, Found::Now))
}

/// Asks whether a queue exists, how many messages wait in it and how many consumers it has.
pub(super) const PASSIVE: QueueDeclareOptions = QueueDeclareOptions {
    passive: true,
    durable: false,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

/// `None`: the exchange or the queue is not there.
async fn bind(
    link: &Link,
    channel: &Channel,
    queue: ShortString,
    exchange: ShortString,
    key: ShortString,
) -> Result<Option<()>, BusError> {
    let options = QueueBindOptions::default();
    let bind = channel.queue_bind(queue, exchange, key, options, FieldTable::default());
    link.ask(if_there(bind)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_binding_keys() {
        let acme = OrganizationId::from("acme");
        for (pattern, key) in [
            ("*", "acme.#"),
            ("message.*", "acme.message.#"),
            ("message.created", "acme.message.created.#"),
        ] {
            let bound = binding_key(&acme, pattern).expect("short");
            assert_eq!(bound.as_str(), key);
        }
    }

    #[test]
    fn long_names_are_refused() {
        let lane = Lane::Delivery(crate::ChannelId("x".repeat(300)));
        assert!(matches!(
            Names::new("tributary.").lane(&lane),
            Err(BusError::Refused(_))
        ));
    }
}
