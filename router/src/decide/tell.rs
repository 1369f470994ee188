//! Telling integrators: events at their place in a conversation, or without one.

use tributary_bus::{
    ConversationId, Envelope, EnvelopeError, EventId, Payload,
    message::{ContactChanged, ContactCreated, ContactView, ConversationView, Origin},
};

use super::{Arrival, steps::Decision};
use crate::model::{Outgoing, SOURCE};

impl Decision<'_> {
    /// An event at the next place of a conversation.
    pub fn in_conversation<P: Payload>(
        &mut self,
        id: ConversationId,
        payload: impl FnOnce(ConversationView) -> P,
    ) -> Result<(), EnvelopeError> {
        let Some(entry) = self.snapshot.conversations.get_mut(&id) else {
            let reason = format!("conversation {id} is missing from the snapshot");
            return Err(EnvelopeError::Malformed(reason));
        };
        let conversation = entry.edit();
        conversation.advance(self.now);
        let payload = payload(conversation.view.clone());
        let event = conversation.event(&payload, self.now)?;
        self.changes.outgoing.push(event);
        Ok(())
    }

    pub fn contact_created(
        &mut self,
        contact: &ContactView,
        conversation: ConversationId,
        payload: Option<String>,
    ) -> Result<(), EnvelopeError> {
        self.in_conversation(conversation, |_| ContactCreated {
            contact: contact.clone(),
            payload,
        })
    }

    pub fn contact_changed(
        &mut self,
        contact: &ContactView,
        conversation: ConversationId,
        payload: Option<String>,
    ) -> Result<(), EnvelopeError> {
        self.in_conversation(conversation, |_| ContactChanged {
            contact: contact.clone(),
            payload,
        })
    }

    /// An event of a contact without open conversation.
    pub fn about_contact<P: Payload>(
        &mut self,
        arrival: &Arrival,
        contact: &ContactView,
        payload: impl FnOnce(ContactView) -> P,
    ) -> Result<(), EnvelopeError> {
        let origin = arrival.inbound.origin();
        let payload = payload(contact.clone());
        self.without_conversation(arrival, origin, contact.id.to_string(), &payload)
    }

    /// An event that has no place in a conversation. Its id follows from what caused it.
    pub fn without_conversation<P: Payload>(
        &mut self,
        arrival: &Arrival,
        origin: &Origin,
        subject: String,
        payload: &P,
    ) -> Result<(), EnvelopeError> {
        let id = EventId::derived(&["event", &arrival.id.to_string(), P::TYPE]);
        let mut envelope = Envelope::wrap(
            id,
            SOURCE.to_owned(),
            arrival.organization.clone(),
            Some(subject),
            payload,
        )?;
        envelope.time = self.now;
        self.changes.outgoing.push(Outgoing {
            shard: self.shard(origin),
            lane: None,
            envelope,
        });
        Ok(())
    }
}
