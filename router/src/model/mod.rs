//! Contacts, conversations and messages as the router thinks of them: what integrators see of each, and what only
//! the router knows. Values; nothing here reads or writes.

mod clock;
mod undo;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use tributary_bus::{
    Address, ChannelId, Envelope, EnvelopeError, EventId, Lane, MessageId, OrganizationId, Payload,
    message::{
        Author, ContactView, Content, ConversationState, ConversationView, Direction, HealthState,
        MessageView,
    },
};

pub(crate) use clock::is_later;
pub(crate) use undo::{Before, Undo};

/// `source` of every envelope the router makes.
pub(crate) const SOURCE: &str = "/router";

/// A contact.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contact {
    pub organization: OrganizationId,
    pub view: ContactView,
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
    /// Since when its agent has it.
    pub assigned_at: Option<DateTime<Utc>>,
    /// Up to when the contact has read, by the provider's clock.
    pub read_up_to: Option<DateTime<Utc>>,
    /// What the contact may answer by typing a number or a title.
    pub question: Option<Question>,
}

/// Choices that went as a numbered list and have no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    pub message: MessageId,
    pub asked_at: DateTime<Utc>,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub organization: OrganizationId,
    /// With its content even when it was deleted; what others may see is [`Message::shown`].
    pub view: MessageView,
    /// The provider's ids of its parts, in order; of a message that came over a channel there is one.
    pub provider_ids: Vec<String>,
    /// The provider's id of the message it answers.
    pub reply_to: Option<String>,
    /// When the channel reported that it has it; `None` for one that came over the channel.
    pub sent_at: Option<DateTime<Utc>>,
    /// Changes of ours that the channel may still refuse, the oldest first.
    pub undo: Vec<Undo>,
}

/// How a channel account is doing, by its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub channel: ChannelId,
    pub state: HealthState,
    /// For a person: what happened.
    pub reason: String,
    /// For a person: what to do about it.
    pub action: Option<String>,
    pub since: DateTime<Utc>,
}

/// Changes of a message that came before the message itself, or before the id under which they name
/// it was known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Early {
    /// The id that the message has when it comes over the channel.
    pub message: MessageId,
    pub organization: OrganizationId,
    pub channel: ChannelId,
    /// What the message says now; `None` when it was only deleted.
    pub content: Option<Content>,
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted_at: Option<DateTime<Utc>>,
    /// Who reacted, and all reactions of that contact.
    pub reacted: Option<(Address, Vec<String>)>,
}

/// The provider's id of one part of a message that we sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartId {
    pub channel: ChannelId,
    pub provider_id: String,
    pub organization: OrganizationId,
    pub message: MessageId,
    /// From 0.
    pub part: usize,
}

impl PartId {
    /// The id that a message with this provider id has when it comes over the channel: an echo of
    /// ours.
    pub fn echo(&self) -> MessageId {
        MessageId::derived(&self.channel, &self.provider_id)
    }
}

/// Something to be published once the transaction that wrote it is committed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outgoing {
    pub shard: u16,
    /// The lane of a delivery; `None` for an event.
    pub lane: Option<Lane>,
    pub envelope: Envelope,
}

impl Message {
    /// As people and integrators see it: a message that was deleted says nothing any more.
    pub fn shown(&self) -> MessageView {
        let mut view = self.view.clone();
        if view.deleted_at.is_some() {
            view.content = Content::unsupported("deleted");
        }
        view
    }

    /// It came over a channel; otherwise it was sent by us.
    pub fn came_over_the_channel(&self) -> bool {
        self.view.direction == Direction::Inbound || self.view.author == Author::Account
    }
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
        self.assigned_at = None;
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
