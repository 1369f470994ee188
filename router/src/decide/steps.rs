//! What each kind of inbound event changes.

use chrono::{DateTime, Datelike, Utc};
use tributary_bus::{
    ConversationId, EnvelopeError, OrganizationId,
    message::{
        Author, ChannelHealth, ChannelHealthChanged, ContactBlocked, ContactChanged,
        ContactCreated, ContactJoined, ContactView, ConversationCreated, ConversationState,
        ConversationStatusChanged, Direction, Inbound, MessageContentEdited, MessageCreated,
        MessageDeleted, MessageEdited, MessageReceived, MessageRemoved, MessageStatus,
        MessageStatusChanged, MessageView, Origin, Profile, Status,
    },
};

use super::{
    Arrival, Changes, KeepRaw, Policy, RawPayload, Verdict,
    snapshot::{Entry, Snapshot},
};
use crate::model::Message;

/// A batch that is being decided.
pub(super) struct Decision<'a> {
    pub snapshot: &'a mut Snapshot,
    pub policy: &'a Policy,
    pub now: DateTime<Utc>,
    pub changes: Changes,
}

/// How the contact of an event was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    New,
    /// Something that integrators see is different now.
    Changed,
    Same,
}

/// How a conversation came to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    Already,
    Again,
    New,
}

impl Decision<'_> {
    /// Decides one arrival.
    pub fn take(&mut self, arrival: &Arrival) -> Result<Verdict, EnvelopeError> {
        let origin = arrival.inbound.origin();
        match self.snapshot.channels.get(&origin.channel_id) {
            Some(owner) if *owner == arrival.organization => {}
            Some(_) => {
                let (channel, organization) = (&origin.channel_id, &arrival.organization);
                let reason =
                    format!("channel {channel} does not belong to organization {organization}");
                return Ok(Verdict::Dead(reason));
            }
            None => {
                let reason = format!("channel {} is not configured", origin.channel_id);
                return Ok(Verdict::Dead(reason));
            }
        }
        match &arrival.inbound {
            Inbound::Received(event) => self.received(&arrival.organization, event),
            // A repeated status changes nothing by itself: it needs no memory of its id.
            Inbound::Status(event) => self.status(event),
            Inbound::Reacted(_)
            | Inbound::Media(_)
            | Inbound::ChangeFailed(_)
            | Inbound::Typing(_)
            | Inbound::Read(_) => Ok(Verdict::NoEffect),
            Inbound::Edited(_)
            | Inbound::Deleted(_)
            | Inbound::Joined(_)
            | Inbound::Left(_)
            | Inbound::Health(_) => self.once(arrival),
        }
    }

    /// Keeps the provider's payload of an arrival, if it has one.
    pub fn keep_raw(&mut self, arrival: &Arrival) {
        let origin = arrival.inbound.origin();
        if let (KeepRaw::Yes, Some(raw)) = (self.policy.raw, &origin.raw) {
            self.changes.raw.push(RawPayload {
                event: arrival.id,
                organization: arrival.organization.clone(),
                channel: origin.channel_id.clone(),
                raw: raw.clone(),
            });
        }
    }

    /// Events that would take effect again if they were taken again.
    fn once(&mut self, arrival: &Arrival) -> Result<Verdict, EnvelopeError> {
        if self.snapshot.seen.contains(&arrival.id) {
            return Ok(Verdict::Duplicate);
        }
        let verdict = match &arrival.inbound {
            Inbound::Edited(event) => self.edited(event)?,
            Inbound::Deleted(event) => self.deleted(event)?,
            Inbound::Joined(event) => self.joined(arrival, event)?,
            Inbound::Left(event) => self.left(arrival, &event.origin)?,
            Inbound::Health(event) => self.health(arrival, event)?,
            Inbound::Received(_)
            | Inbound::Status(_)
            | Inbound::Reacted(_)
            | Inbound::Media(_)
            | Inbound::ChangeFailed(_)
            | Inbound::Typing(_)
            | Inbound::Read(_) => Verdict::NoEffect,
        };
        if verdict == Verdict::Taken {
            self.snapshot.seen.insert(arrival.id);
            let seen = (arrival.id.0, arrival.organization.clone());
            self.changes.seen.push(seen);
        }
        Ok(verdict)
    }

    fn received(
        &mut self,
        organization: &OrganizationId,
        event: &MessageReceived,
    ) -> Result<Verdict, EnvelopeError> {
        if !self.snapshot.stored.insert(event.message_id) {
            return Ok(Verdict::Duplicate);
        }
        // Whoever writes can be written to.
        let (contact, found) = self.contact(organization, &event.origin, &event.contact, false);
        let (conversation, opened) = self.open(organization, &contact, &event.origin);
        match found {
            Found::New => self.contact_created(&contact, conversation, None)?,
            Found::Changed => self.contact_changed(&contact, conversation, None)?,
            Found::Same => {}
        }
        match opened {
            Opened::New => self.in_conversation(conversation, |view| ConversationCreated {
                conversation: view,
                contact: contact.clone(),
            })?,
            Opened::Again => self.in_conversation(conversation, |view| {
                let previous = ConversationState::Closed;
                ConversationStatusChanged {
                    conversation: view,
                    previous,
                }
            })?,
            Opened::Already => {}
        }
        self.message_created(organization, event, contact, conversation)?;
        Ok(Verdict::Taken)
    }

    fn message_created(
        &mut self,
        organization: &OrganizationId,
        event: &MessageReceived,
        contact: ContactView,
        conversation: ConversationId,
    ) -> Result<(), EnvelopeError> {
        let mut message = Message {
            organization: organization.clone(),
            provider_id: Some(event.provider_id.clone()),
            reply_to: event.reply_to.clone(),
            view: MessageView {
                id: event.message_id,
                conversation_id: conversation,
                channel_id: event.origin.channel_id.clone(),
                contact_id: contact.id,
                direction: Direction::Inbound,
                author: Author::Contact { id: contact.id },
                content: event.content.clone(),
                status: Status::Received,
                uncertain: false,
                failure: None,
                degraded: Vec::new(),
                reply_to: None,
                context: event.context.clone(),
                reactions: Vec::new(),
                edited_at: None,
                deleted_at: None,
                seq: 0,
                created_at: plausible(event.origin.occurred_at, self.now),
            },
        };
        self.in_conversation(conversation, |view| {
            message.view.seq = view.seq;
            MessageCreated {
                message: message.view.clone(),
                contact,
            }
        })?;
        self.snapshot
            .messages
            .insert(message.view.id, Entry::new(message));
        Ok(())
    }

    fn status(&mut self, event: &MessageStatus) -> Result<Verdict, EnvelopeError> {
        let Some(entry) = self.message(event.message_id, &event.origin) else {
            // Deliveries come from messages that are stored: there is nothing to wait for.
            let reason = format!("status of an unknown message {}", event.message_id);
            return Ok(Verdict::Dead(reason));
        };
        let message = &entry.value;
        if message.view.direction == Direction::Inbound {
            return Ok(Verdict::NoEffect);
        }
        let previous = message.view.status;
        let status = previous.advance(event.status);
        let uncertain = message.view.uncertain || event.uncertain;
        let provider_id = event.provider_ids.first();
        let named = message.provider_id.is_none() && provider_id.is_some();
        let changed = status != previous || uncertain != message.view.uncertain;
        if !changed && !named {
            return Ok(Verdict::NoEffect);
        }
        let message = entry.edit();
        if named {
            message.provider_id = provider_id.cloned();
        }
        if changed {
            message.view.status = status;
            message.view.uncertain = uncertain;
        }
        if status != previous {
            message.view.failure = match status {
                Status::Failed | Status::Expired => event.failure.clone(),
                Status::Received
                | Status::Queued
                | Status::Sent
                | Status::Delivered
                | Status::Read => None,
            };
        }
        let view = message.view.clone();
        if changed {
            self.in_conversation(view.conversation_id, |_| MessageStatusChanged {
                message: view,
                previous,
            })?;
        }
        Ok(Verdict::Taken)
    }

    fn edited(&mut self, event: &MessageEdited) -> Result<Verdict, EnvelopeError> {
        let Some(entry) = self.inbound_message(event.message_id, &event.origin) else {
            let reason = format!("edit of an unknown message {}", event.message_id);
            return Ok(Verdict::Dead(reason));
        };
        let message = entry.edit();
        message.view.content = event.content.clone();
        let message = message.view.clone();
        self.in_conversation(message.conversation_id, |_| MessageContentEdited {
            message,
        })?;
        Ok(Verdict::Taken)
    }

    fn deleted(&mut self, event: &MessageDeleted) -> Result<Verdict, EnvelopeError> {
        let Some(entry) = self.inbound_message(event.message_id, &event.origin) else {
            let reason = format!("deletion of an unknown message {}", event.message_id);
            return Ok(Verdict::Dead(reason));
        };
        let message = entry.value.view.clone();
        self.in_conversation(message.conversation_id, |_| MessageRemoved { message })?;
        Ok(Verdict::Taken)
    }

    fn joined(
        &mut self,
        arrival: &Arrival,
        event: &ContactJoined,
    ) -> Result<Verdict, EnvelopeError> {
        let (contact, found) =
            self.contact(&arrival.organization, &event.origin, &event.contact, false);
        let payload = event.payload.clone();
        match (found, self.open_now(contact.id)) {
            (Found::New, _) => self.about_contact(arrival, &contact, |contact| ContactCreated {
                contact,
                payload,
            })?,
            (Found::Changed | Found::Same, Some(conversation)) => {
                self.contact_changed(&contact, conversation, payload)?;
            }
            (Found::Changed | Found::Same, None) => {
                self.about_contact(arrival, &contact, |contact| ContactChanged {
                    contact,
                    payload,
                })?;
            }
        }
        Ok(Verdict::Taken)
    }

    fn left(&mut self, arrival: &Arrival, origin: &Origin) -> Result<Verdict, EnvelopeError> {
        let nothing_told = Profile::default();
        let (contact, found) = self.contact(&arrival.organization, origin, &nothing_told, true);
        match found {
            Found::New => self.about_contact(arrival, &contact, |contact| ContactCreated {
                contact,
                payload: None,
            })?,
            Found::Changed => {}
            Found::Same => return Ok(Verdict::NoEffect),
        }
        match self.open_now(contact.id) {
            Some(conversation) => {
                self.in_conversation(conversation, |_| ContactBlocked { contact })?;
            }
            None => {
                self.about_contact(arrival, &contact, |contact| ContactBlocked { contact })?;
            }
        }
        Ok(Verdict::Taken)
    }

    fn health(
        &mut self,
        arrival: &Arrival,
        event: &ChannelHealth,
    ) -> Result<Verdict, EnvelopeError> {
        let changed = ChannelHealthChanged {
            channel_id: event.origin.channel_id.clone(),
            state: event.state,
            reason: event.reason.clone(),
            action: event.action.clone(),
            since: event.origin.occurred_at,
        };
        let subject = event.origin.channel_id.to_string();
        self.without_conversation(arrival, &event.origin, subject, &changed)?;
        Ok(Verdict::Taken)
    }
}

/// When something happened, unless the provider's clock cannot be right.
fn plausible(occurred_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    if occurred_at > now || occurred_at.year() < 2000 {
        return now;
    }
    crate::model::whole_micros(occurred_at)
}
