//! The way in to the bus: wraps what happened in a channel and publishes it, in order, with ids that repeat.

use std::sync::Arc;

use metrics::counter;
use sha2::{Digest, Sha256};
use tributary_bus::{
    Bus, BusState, ChannelId, Destination, Envelope, EnvelopeError, EventId, Lane, OrganizationId,
    Payload, Publication,
    message::{
        ChannelHealth, ContactJoined, ContactLeft, ContactRead, ContactTyping, Inbound,
        MessageDeleted, MessageEdited, MessageReacted, MessageStatus,
    },
};
use tributary_config::{Channel, Settings};

/// Publishes inbound events of one account; answers after the bus confirmed them all. Cheap to clone.
#[derive(Clone)]
pub struct InboundSink {
    bus: Arc<dyn Bus>,
    organization: OrganizationId,
    channel: ChannelId,
    lanes: u16,
}

/// The events are not (all) durable; publishing them again is safe, since their ids are derived.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not published: {0}")]
pub struct SinkError(pub String);

impl InboundSink {
    /// The sink of an account.
    pub fn new(bus: Arc<dyn Bus>, channel: &Channel, settings: &Settings) -> Self {
        Self {
            bus,
            organization: OrganizationId(channel.organization.clone()),
            channel: ChannelId(channel.id.clone()),
            lanes: settings.bus.inbound_lanes,
        }
    }

    /// The account whose events go in here.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// Whether publishing has a chance right now.
    ///
    /// # Errors
    /// Says what is the matter with the bus.
    pub fn ready(&self) -> Result<(), SinkError> {
        match &*self.bus.state().borrow() {
            BusState::Ready => Ok(()),
            BusState::Connecting => Err(SinkError("bus is not connected yet".to_owned())),
            BusState::Away { reason } => Err(SinkError(format!("bus is away: {reason}"))),
            BusState::Blocked { reason } => Err(SinkError(format!("bus is blocked: {reason}"))),
        }
    }

    /// Publishes in the given order; `Ok` means that every event is durable.
    ///
    /// # Errors
    /// Not all of them are. The caller may publish the same events again: their ids repeat, so nothing is doubled.
    pub async fn publish(&self, events: Vec<Inbound>) -> Result<(), SinkError> {
        if events.is_empty() {
            return Ok(());
        }
        let messages = events
            .iter()
            .filter(|event| matches!(event, Inbound::Received(_)))
            .count() as u64;
        let result = self.publish_all(&events).await;
        let outcome = if result.is_ok() {
            "received"
        } else {
            "not_published"
        };
        if messages > 0 {
            counter!("tributary_messages_total", "channel" => self.channel.0.clone(), "direction" => "inbound", "outcome" => outcome)
                .increment(messages);
        }
        result
    }

    async fn publish_all(&self, events: &[Inbound]) -> Result<(), SinkError> {
        let batch = events
            .iter()
            .map(|event| self.publication(event))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| SinkError(error.to_string()))?;
        for result in self.bus.publish(batch).await {
            result.map_err(|error| SinkError(error.to_string()))?;
        }
        Ok(())
    }

    fn publication(&self, event: &Inbound) -> Result<Publication, EnvelopeError> {
        let address = &event.origin().address;
        let id = event_id(&self.channel, event);
        let envelope = match event {
            Inbound::Received(payload) => self.wrap(id, event, payload.as_ref()),
            Inbound::Edited(payload) => self.wrap(id, event, payload),
            Inbound::Deleted(payload) => self.wrap(id, event, payload),
            Inbound::Reacted(payload) => self.wrap(id, event, payload),
            Inbound::Status(payload) => self.wrap(id, event, payload),
            Inbound::Joined(payload) => self.wrap(id, event, payload),
            Inbound::Left(payload) => self.wrap(id, event, payload),
            Inbound::Typing(payload) => self.wrap(id, event, payload),
            Inbound::Read(payload) => self.wrap(id, event, payload),
            Inbound::Health(payload) => self.wrap(id, event, payload),
        }?;
        Ok(Publication {
            to: Destination::Lane(Lane::inbound_for(&self.channel, address, self.lanes)),
            envelope,
        })
    }

    fn wrap<P: Payload>(
        &self,
        id: EventId,
        event: &Inbound,
        payload: &P,
    ) -> Result<Envelope, EnvelopeError> {
        let source = format!("/channels/{}", self.channel);
        let subject = format!("{}/{}", self.channel, event.origin().address.as_str());
        Envelope::wrap(
            id,
            source,
            self.organization.clone(),
            Some(subject),
            payload,
        )
    }
}

/// The id of an event: the same for the same thing however often it is reported, another for anything else.
///
/// Messages have the id of the message. Everything else is named by what it says and when it happened; only statuses
/// leave the time out, since a repeated report of the same status is the same news.
fn event_id(channel: &ChannelId, event: &Inbound) -> EventId {
    let channel = channel.as_str();
    let origin = event.origin();
    let address = origin.address.as_str();
    let at = origin.occurred_at.timestamp_millis().to_string();
    match event {
        Inbound::Received(message) => message.message_id.into(),
        Inbound::Edited(edit) => {
            let (message, content) = (edit.message_id.to_string(), digest(&edit.content));
            EventId::derived(&[channel, MessageEdited::TYPE, &message, &at, &content])
        }
        Inbound::Deleted(deletion) => {
            let message = deletion.message_id.to_string();
            EventId::derived(&[channel, MessageDeleted::TYPE, &message])
        }
        Inbound::Reacted(reaction) => {
            let reactions = digest(&reaction.reactions);
            let id = reaction.provider_id.as_str();
            EventId::derived(&[channel, MessageReacted::TYPE, address, id, &at, &reactions])
        }
        Inbound::Status(status) => {
            let message = status.message_id.to_string();
            let news = digest(&(
                status.status,
                &status.provider_ids,
                &status.failure,
                status.uncertain,
            ));
            EventId::derived(&[channel, MessageStatus::TYPE, &message, &news])
        }
        Inbound::Joined(joined) => {
            let how = digest(&(joined.reason, &joined.payload));
            EventId::derived(&[channel, ContactJoined::TYPE, address, &at, &how])
        }
        Inbound::Left(left) => {
            let how = digest(&left.reason);
            EventId::derived(&[channel, ContactLeft::TYPE, address, &at, &how])
        }
        Inbound::Typing(_) => EventId::derived(&[channel, ContactTyping::TYPE, address, &at]),
        Inbound::Read(read) => {
            let up_to = read.up_to.timestamp_millis().to_string();
            EventId::derived(&[channel, ContactRead::TYPE, address, &up_to])
        }
        Inbound::Health(health) => {
            EventId::derived(&[channel, ChannelHealth::TYPE, &at, &health.state])
        }
    }
}

/// SHA-256 of the value as JSON, in hex.
fn digest(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    hex::encode(Sha256::digest(json))
}
