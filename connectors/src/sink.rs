//! The way in to the bus: wraps what happened in a channel and publishes it, in order, with ids that repeat.

use std::sync::Arc;

use metrics::counter;
use tributary_base::media::clean_name;
use tributary_bus::{
    Bus, BusError, BusState, ChannelId, Destination, Envelope, EnvelopeError, EventId, Lane,
    Notice, OrganizationId, Payload, Publication, message::Inbound,
};
use tributary_config::{Channel, Settings};

use crate::{
    FetchQueue, Ledger, Receipted, delivery::progress_events, event_id::event_id, health::Health,
};

/// Publishes inbound events of one account; answers after the bus confirmed them all. Cheap to clone.
#[derive(Clone)]
pub struct InboundSink {
    bus: Arc<dyn Bus>,
    organization: OrganizationId,
    channel: ChannelId,
    lanes: u16,
    ledger: Option<Arc<Ledger>>,
    pub(crate) health: Arc<Health>,
    fetches: Option<FetchQueue>,
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
            ledger: None,
            health: Arc::new(Health::new(&channel.id)),
            fetches: None,
        }
    }

    /// The same sink, which can take receipts as well.
    #[must_use]
    pub fn with_ledger(mut self, ledger: &Arc<Ledger>) -> Self {
        self.ledger = Some(Arc::clone(ledger));
        self
    }

    /// The same sink, which notes the media of messages that is still to be fetched, before it publishes them.
    #[must_use]
    pub fn with_fetches(self, fetches: Option<FetchQueue>) -> Self {
        Self { fetches, ..self }
    }

    /// Notes what the provider told about what it took, and tells how far the messages have come; `Ok` means that both
    /// are durable. A receipt of something that was never sent is no error.
    ///
    /// # Errors
    /// They are not (all) noted and told; noting them again is safe.
    pub async fn receipts(&self, receipts: Vec<Receipted>) -> Result<(), SinkError> {
        if receipts.is_empty() {
            return Ok(());
        }
        let Some(ledger) = &self.ledger else {
            return Err(SinkError("there is no ledger".to_owned()));
        };
        let progress = ledger
            .receipts(&self.organization, &self.channel, receipts)
            .await
            .map_err(|error| SinkError(error.to_string()))?;
        let events = progress
            .into_iter()
            .flat_map(|progress| {
                progress_events(
                    &self.channel,
                    &progress.to,
                    progress.message_id,
                    progress.told,
                )
            })
            .collect();
        self.publish(events).await
    }

    /// The account whose events go in here.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// Tells the routers that the account's delivery lane was declared anew.
    pub(crate) async fn announce_renewed(&self, lane: &Lane) -> Result<(), BusError> {
        let notice = Notice {
            topic: "delivery.redeclared".to_owned(),
            body: lane.to_string().into(),
        };
        self.bus.announce(notice).await
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
    pub async fn publish(&self, mut events: Vec<Inbound>) -> Result<(), SinkError> {
        if events.is_empty() {
            return Ok(());
        }
        clean_names(&mut events);
        let messages = events
            .iter()
            .filter(|event| matches!(event, Inbound::Received(_)))
            .count() as u64;
        let result = self.note_and_publish(&events).await;
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

    /// Media first: what is published can be acknowledged, and then nobody would bring the media again. It
    /// may be fetched only when the message is durable; not knowing so is no success, since the provider can bring it again.
    async fn note_and_publish(&self, events: &[Inbound]) -> Result<(), SinkError> {
        let Some(fetches) = &self.fetches else {
            return self.publish_all(events).await;
        };
        let added = fetches.add(events).await;
        let added = added.map_err(|error| SinkError(error.to_string()))?;
        self.publish_all(events).await?;
        if !added.is_empty() {
            let released = fetches.release(added).await;
            released.map_err(|error| SinkError(error.to_string()))?;
        }
        Ok(())
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
            Inbound::Media(payload) => self.wrap(id, event, payload.as_ref()),
            Inbound::ChangeFailed(payload) => self.wrap(id, event, payload),
            Inbound::Joined(payload) => self.wrap(id, event, payload.as_ref()),
            Inbound::Left(payload) => self.wrap(id, event, payload),
            Inbound::Typing(payload) => self.wrap(id, event, payload),
            Inbound::Read(payload) => self.wrap(id, event, payload),
            Inbound::Health(payload) => self.wrap(id, event, payload),
        }?;
        Ok(Publication {
            to: Destination::Lane(Lane::inbound_for(&self.channel, address, self.lanes)),
            envelope: envelope.seal()?,
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

/// Names of files are the sender's: every channel's are cleaned here.
fn clean_names(events: &mut [Inbound]) {
    for event in events {
        let media = match event {
            Inbound::Received(message) => message.content.media_mut(),
            Inbound::Edited(edit) => edit.content.media_mut(),
            Inbound::Media(news) => vec![&mut news.media],
            Inbound::Deleted(_)
            | Inbound::Reacted(_)
            | Inbound::Status(_)
            | Inbound::ChangeFailed(_)
            | Inbound::Joined(_)
            | Inbound::Left(_)
            | Inbound::Typing(_)
            | Inbound::Read(_)
            | Inbound::Health(_) => Vec::new(),
        };
        for media in media {
            media.name = media.name.as_deref().and_then(clean_name);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::Map;
    use tributary_bus::{
        Address, MessageId,
        message::{Content, Media, MediaContent, MessageEdited, MessageMedia, Origin},
    };

    use super::*;

    #[test]
    fn names_of_files_are_cleaned_whichever_event_brings_them() {
        let origin = Origin {
            channel_id: ChannelId::from("shop"),
            address: Address::from("7"),
            occurred_at: Utc::now(),
            event: None,
            raw: None,
        };
        let media = |name: &str| Media {
            name: Some(name.to_owned()),
            ..Media::default()
        };
        let message_id = MessageId::generate();
        let mut events = [
            Inbound::Edited(MessageEdited {
                origin: origin.clone(),
                message_id,
                content: Content::File(MediaContent {
                    media: media("../a\r\nb.pdf"),
                    ..MediaContent::default()
                }),
                extra: Map::new(),
            }),
            Inbound::Media(Box::new(MessageMedia {
                origin,
                message_id,
                index: 0,
                media: media(" /\n "),
                extra: Map::new(),
            })),
        ];
        clean_names(&mut events);
        let [Inbound::Edited(edit), Inbound::Media(news)] = &events else {
            panic!("other events");
        };
        assert_eq!(edit.content.media()[0].name.as_deref(), Some("ab.pdf"));
        assert_eq!(news.media.name, None);
    }
}
