//! Contacts, conversations and messages as the router thinks of them: what integrators see of each, and what only
//! the router knows. Values; nothing here reads or writes.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tributary_bus::{
    Envelope, EnvelopeError, EventId, Lane, OrganizationId, Payload,
    message::{ContactView, ConversationState, ConversationView, MessageView},
};

/// `source` of every envelope the router makes.
pub(crate) const SOURCE: &str = "/router";

/// A contact.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contact {
    pub organization: OrganizationId,
    pub view: ContactView,
    pub username: Option<String>,
}

/// A conversation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conversation {
    pub organization: OrganizationId,
    pub view: ConversationView,
    /// Whose outbox its rows go to: the inbound lane of its contact.
    pub shard: u16,
    pub waiting_since: Option<DateTime<Utc>>,
    /// Whether `conversation.queued` was told for this wait.
    pub queued: bool,
    pub closed_at: Option<DateTime<Utc>>,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub organization: OrganizationId,
    pub view: MessageView,
    /// The provider's id: of an inbound message, or of the first part of an outbound one.
    pub provider_id: Option<String>,
    /// The provider's id of the message it answers.
    pub reply_to: Option<String>,
}

/// Something to be published once the transaction that wrote it is committed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outgoing {
    pub shard: u16,
    /// The lane of a delivery; `None` for an event.
    pub lane: Option<Lane>,
    pub envelope: Envelope,
}

impl Conversation {
    /// Takes the next place in the conversation.
    pub fn advance(&mut self, now: DateTime<Utc>) -> i64 {
        self.view.seq += 1;
        self.view.updated_at = now;
        self.view.seq
    }

    /// An event at the place that [`Conversation::advance`] took last. Its id follows from its place.
    ///
    /// # Errors
    /// The payload cannot be written as JSON.
    pub fn event<P: Payload>(
        &self,
        payload: &P,
        now: DateTime<Utc>,
    ) -> Result<Outgoing, EnvelopeError> {
        let id = EventId::derived(&[
            "event",
            &self.view.id.to_string(),
            &self.view.seq.to_string(),
        ]);
        let mut envelope = self.wrap(id, payload)?;
        envelope.time = now;
        Ok(Outgoing {
            shard: self.shard,
            lane: None,
            envelope,
        })
    }

    /// A delivery at the place that [`Conversation::advance`] took last.
    ///
    /// # Errors
    /// The payload cannot be written as JSON.
    pub fn delivery<P: Payload>(
        &self,
        id: EventId,
        payload: &P,
        now: DateTime<Utc>,
    ) -> Result<Outgoing, EnvelopeError> {
        let mut envelope = self.wrap(id, payload)?;
        envelope.time = now;
        Ok(Outgoing {
            shard: self.shard,
            lane: Some(Lane::Delivery(self.view.channel_id.clone())),
            envelope,
        })
    }

    fn wrap<P: Payload>(&self, id: EventId, payload: &P) -> Result<Envelope, EnvelopeError> {
        let envelope = Envelope::wrap(
            id,
            SOURCE.to_owned(),
            self.organization.clone(),
            Some(self.view.id.to_string()),
            payload,
        )?;
        Ok(envelope.with_sequence(self.view.seq))
    }

    /// Makes it wait for an agent, from `now` on.
    pub fn wait(&mut self, now: DateTime<Utc>) {
        self.view.state = ConversationState::Waiting;
        self.view.agent_id = None;
        self.waiting_since = Some(now);
        self.queued = false;
        self.closed_at = None;
    }
}

/// The present, in whole microseconds.
pub(crate) fn now() -> DateTime<Utc> {
    whole_micros(Utc::now())
}

/// A time as PostgreSQL keeps it, so that a value reads back as it was written.
pub(crate) fn whole_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    let micro = TimeDelta::microseconds(1);
    time.duration_trunc(micro).unwrap_or(time)
}
