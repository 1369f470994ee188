//! What stands where the router would be, on the embedded bus.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use chrono::Utc;
use serde_json::Map;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_bus::{
    Address, Bus, ChannelId, ConversationId, Destination, EmbeddedBus, Envelope, EventId, Group,
    Lane, LaneSpec, MessageId, OrganizationId, Payload, Publication,
    message::{Content, DeliverySend, Inbound, Priority},
};

use super::{PATIENCE, lock};

type Events = Arc<Mutex<Vec<(Envelope, Inbound)>>>;

/// Keeps what a channel tells, and puts deliveries into its lane.
pub struct Router {
    bus: Arc<EmbeddedBus>,
    events: Events,
    _stop: DropGuard,
}

impl Router {
    /// Opens a bus in a folder, and takes everything out of so many inbound lanes.
    pub async fn start(dir: &Path, lanes: u16) -> Self {
        let bus = EmbeddedBus::open(&dir.join("bus.db")).await.expect("a bus");
        let stop = CancellationToken::new();
        let events = Events::default();
        for lane in 0..lanes {
            keep(&bus, Lane::Inbound(lane), Arc::clone(&events), stop.clone()).await;
        }
        Self {
            bus,
            events,
            _stop: stop.drop_guard(),
        }
    }

    pub fn bus(&self) -> Arc<dyn Bus> {
        Arc::clone(&self.bus) as Arc<dyn Bus>
    }

    /// Puts anything into the delivery lane of a channel.
    pub async fn deliver<P: Payload>(&self, channel: &str, id: EventId, delivery: &P) {
        let lane = Lane::Delivery(ChannelId::from(channel));
        declare(&self.bus, &lane).await;
        let organization = OrganizationId::from("acme");
        let envelope = Envelope::wrap(id, "/router".to_owned(), organization, None, delivery);
        let publication = Publication {
            to: Destination::Lane(lane),
            envelope: envelope.and_then(|e| e.seal()).expect("an envelope"),
        };
        for result in self.bus.publish(vec![publication]).await {
            result.expect("published");
        }
    }

    /// Everything that has come so far.
    pub fn events(&self) -> Vec<(Envelope, Inbound)> {
        lock(&self.events).clone()
    }

    /// What has come so far, as far as it is wanted.
    pub fn all<T>(&self, wanted: impl Fn(&Inbound) -> Option<T>) -> Vec<T> {
        lock(&self.events)
            .iter()
            .filter_map(|(_, event)| wanted(event))
            .collect()
    }

    /// The invariant at the end of each test: nothing is left in the lane, and nothing is dead.
    pub async fn is_settled(&self, channel: &str) {
        let lane = Lane::Delivery(ChannelId::from(channel));
        let since = Instant::now();
        loop {
            let waiting = self.bus.depth(&lane).await.expect("a depth");
            if waiting == 0 {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{waiting} deliveries are left");
            sleep(Duration::from_millis(10)).await;
        }
        let dead = self.bus.dead(10).await.expect("the dead letters");
        assert!(dead.is_empty(), "{dead:?}");
    }
}

/// A new message for somebody, as the router makes one.
pub fn delivery(channel: &str, to: &Address, content: Content) -> DeliverySend {
    DeliverySend {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from(channel),
        to: to.clone(),
        seq: 1,
        message_id: MessageId::generate(),
        content,
        reply_to: None,
        created_at: Utc::now(),
        priority: Priority::default(),
        extra: Map::new(),
    }
}

async fn declare(bus: &Arc<EmbeddedBus>, lane: &Lane) {
    let spec = LaneSpec {
        lane: lane.clone(),
        filter: None,
    };
    bus.declare(&[spec]).await.expect("a lane");
}

/// Takes everything out of an inbound lane, until `stop`.
async fn keep(bus: &Arc<EmbeddedBus>, lane: Lane, events: Events, stop: CancellationToken) {
    declare(bus, &lane).await;
    let member = bus.join(&Group::Router).await.expect("a member");
    let claim = member.claim(&lane).await.expect("a claim");
    let mut claim = claim.expect("nobody else claims it");
    let mut intake = claim.take(1000).await.expect("an intake");
    tokio::spawn(async move {
        loop {
            let taken = tokio::select! {
                () = stop.cancelled() => break,
                taken = intake.next() => taken,
            };
            let Ok(taken) = taken else { break };
            let envelope = taken.envelope.expect("an envelope");
            let event = Inbound::from_envelope(&envelope).expect("a known event");
            lock(&events).push((envelope, event));
            intake.settle(&[taken.tag]).await.expect("settled");
        }
        drop((member, claim));
    });
}
