//! How far messages of ours have come.

use tributary_bus::{
    EnvelopeError,
    message::{
        ContactRead, Direction, MessageStatus, MessageStatusChanged, MessageUpdated, Status,
    },
};

use super::{Verdict, answers::asks, steps::Decision};
use crate::model::{Message, PartId};

/// Bytes of a provider's id, at most: no provider's comes near, and an index could not hold it.
const LONGEST_PROVIDER_ID: usize = 1024;

impl Decision<'_> {
    pub fn status(&mut self, event: &MessageStatus) -> Result<Verdict, EnvelopeError> {
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
        let known = message.provider_ids.len();
        let named = event.provider_ids.len() > known;
        let degraded = !event.degraded.is_empty() && event.degraded != message.view.degraded;
        let changed = status != previous || uncertain != message.view.uncertain;
        if !changed && !named && !degraded {
            return Ok(Verdict::NoEffect);
        }
        let asked = asks(message);
        let message = entry.edit();
        let new_ids = event.provider_ids.iter().skip(known).cloned();
        message.provider_ids.extend(new_ids);
        if degraded {
            message.view.degraded = event.degraded.clone();
        }
        message.view.status = status;
        message.view.uncertain = uncertain;
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
        let message = message.clone();
        if named {
            self.name_parts(&message, known);
        }
        if !asked {
            self.ask(&message);
        }
        let conversation = message.view.conversation_id;
        if changed {
            self.in_conversation(conversation, |_| MessageStatusChanged {
                message: message.shown(),
                previous,
            })?;
        } else if degraded {
            self.in_conversation(conversation, |_| MessageUpdated {
                message: message.shown(),
            })?;
        }
        Ok(Verdict::Taken)
    }

    /// Writes down the provider's ids of the parts from `first` on.
    fn name_parts(&mut self, message: &Message, first: usize) {
        for (part, provider_id) in message.provider_ids.iter().enumerate().skip(first) {
            if provider_id.is_empty() || provider_id.len() > LONGEST_PROVIDER_ID {
                continue;
            }
            let channel = message.view.channel_id.clone();
            let key = (channel.clone(), provider_id.clone());
            self.snapshot.parts.entry(key).or_insert(message.view.id);
            self.changes.parts.push(PartId {
                channel,
                provider_id: provider_id.clone(),
                organization: message.organization.clone(),
                message: message.view.id,
                part,
            });
        }
    }

    /// The contact has read everything up to a moment.
    pub fn read(&mut self, event: &ContactRead) -> Result<Verdict, EnvelopeError> {
        let key = (
            event.origin.channel_id.clone(),
            event.origin.address.clone(),
        );
        let contact = self.snapshot.contacts.get(&key);
        let contact = contact.map(|entry| entry.value.view.id);
        let Some(conversation) = contact
            .and_then(|id| self.snapshot.current.get(&id))
            .copied()
        else {
            return Ok(Verdict::NoEffect);
        };
        let is_read = |message: &Message| {
            let view = &message.view;
            let waits = matches!(view.status, Status::Sent | Status::Delivered);
            view.conversation_id == conversation
                && view.direction == Direction::Outbound
                && waits
                && view.created_at <= event.up_to
        };
        let messages = self.snapshot.messages.values();
        let read = messages.filter(|entry| is_read(&entry.value));
        let mut read: Vec<_> = read
            .map(|entry| (entry.value.view.seq, entry.value.view.id))
            .collect();
        if read.is_empty() {
            return Ok(Verdict::NoEffect);
        }
        read.sort_unstable();
        for (_, id) in read {
            let Some(entry) = self.snapshot.messages.get_mut(&id) else {
                continue;
            };
            let previous = entry.value.view.status;
            entry.edit().view.status = Status::Read;
            let message = entry.value.shown();
            self.in_conversation(conversation, |_| MessageStatusChanged { message, previous })?;
        }
        Ok(Verdict::Taken)
    }
}
