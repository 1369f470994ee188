//! How far messages of ours have come.

use chrono::{DateTime, TimeDelta, Utc};
use tributary_bus::{
    ConversationId, EnvelopeError,
    message::{
        ContactRead, Direction, MessageStatus, MessageStatusChanged, MessageUpdated, Status,
    },
};

use super::{
    Verdict,
    answers::asks,
    echoes::TakenUp,
    steps::{Decision, plausible},
};
use crate::model::{Message, is_later, whole_micros};

/// How long a call that sends a message takes, at most (`delivery.send_deadline` by default).
const LONGEST_CALL: TimeDelta = TimeDelta::seconds(30);

impl Decision<'_> {
    pub fn status(&mut self, event: &MessageStatus) -> Result<Verdict, EnvelopeError> {
        let at = plausible(event.origin.occurred_at, self.now);
        let Some(entry) = self.message(event.message_id, &event.origin) else {
            // Deliveries come from messages that are stored: there is nothing to wait for.
            let reason = format!("status of an unknown message {}", event.message_id);
            return Ok(Verdict::Dead(reason));
        };
        if entry.value.view.direction == Direction::Inbound {
            return Ok(Verdict::NoEffect);
        }
        let before = entry.value.clone();
        let mut message = before.clone();
        advance(&mut message, event, at);
        let parts = self.name_parts(&message, before.provider_ids.len());
        let taken = self.take_up(&mut message, &parts, &event.origin.address);
        self.read_already(&mut message);
        if message == before {
            return Ok(Verdict::NoEffect);
        }
        if let Some(entry) = self.snapshot.messages.get_mut(&message.view.id) {
            *entry.edit() = message.clone();
        }
        if !asks(&before) {
            self.ask(&message);
        }
        self.tell_progress(&before, &message, taken)?;
        self.find_answers(&message, &parts)?;
        Ok(Verdict::Taken)
    }

    fn tell_progress(
        &mut self,
        before: &Message,
        message: &Message,
        taken: TakenUp,
    ) -> Result<(), EnvelopeError> {
        let conversation = message.view.conversation_id;
        let (previous, shown) = (before.view.status, message.shown());
        if message.view.status != previous || message.view.uncertain != before.view.uncertain {
            self.in_conversation(conversation, |_| MessageStatusChanged {
                message: shown,
                previous,
            })?;
        } else if message.view.degraded != before.view.degraded {
            self.in_conversation(conversation, |_| MessageUpdated { message: shown })?;
        }
        self.tell_taken_up(message, taken)
    }

    /// The contact may have read a message before its status came.
    pub fn read_already(&self, message: &mut Message) {
        let conversation = &message.view.conversation_id;
        let conversation = self.snapshot.conversations.get(conversation);
        let up_to = conversation.and_then(|entry| entry.value.read_up_to);
        if up_to.is_some_and(|up_to| reads(message, up_to)) {
            message.view.status = Status::Read;
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
        let up_to = whole_micros(event.up_to.min(self.now));
        let is_new = self.read_up_to(conversation, up_to);
        let messages = self.snapshot.messages.values();
        let read = messages.filter(|entry| {
            entry.value.view.conversation_id == conversation && reads(&entry.value, up_to)
        });
        let mut read: Vec<_> = read
            .map(|entry| (entry.value.view.seq, entry.value.view.id))
            .collect();
        if read.is_empty() && !is_new {
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

    /// Keeps up to when the contact has read, for messages that become `sent` later. `false`: it
    /// was known.
    fn read_up_to(&mut self, conversation: ConversationId, up_to: DateTime<Utc>) -> bool {
        let Some(entry) = self.snapshot.conversations.get_mut(&conversation) else {
            return false;
        };
        let known = entry.value.read_up_to;
        let is_new = known.is_none_or(|known| known < up_to);
        if is_new {
            entry.edit().read_up_to = Some(up_to);
        }
        is_new
    }
}

/// What a status says about a message.
fn advance(message: &mut Message, event: &MessageStatus, at: DateTime<Utc>) {
    let known = message.provider_ids.len();
    let new_ids = event.provider_ids.iter().skip(known).cloned();
    message.provider_ids.extend(new_ids);
    if !event.degraded.is_empty() {
        message.view.degraded = event.degraded.clone();
    }
    message.view.uncertain |= event.uncertain;
    let previous = message.view.status;
    let status = previous.advance(event.status);
    message.view.status = status;
    let is_there = match status {
        Status::Sent | Status::Delivered | Status::Read => true,
        Status::Received | Status::Queued | Status::Failed | Status::Expired => false,
    };
    if is_there && (message.sent_at.is_some() || status != previous) {
        // Reports come in any order; the first to be made is the nearest to the call.
        message.sent_at = message.sent_at.min(Some(at)).or(Some(at));
    }
    if status != previous {
        message.view.failure = match status {
            Status::Failed | Status::Expired => event.failure.clone(),
            Status::Received | Status::Queued | Status::Sent | Status::Delivered | Status::Read => {
                None
            }
        };
    }
}

/// Whether a contact who has read up to a moment has read this message. The channel had it between
/// the start of the call that sent it and the report of it; accepting it says nothing, since it may
/// have waited.
fn reads(message: &Message, up_to: DateTime<Utc>) -> bool {
    let view = &message.view;
    let there = match view.status {
        Status::Sent | Status::Delivered => view.direction == Direction::Outbound,
        Status::Received | Status::Queued | Status::Read | Status::Failed | Status::Expired => {
            false
        }
    };
    let called = message.sent_at.map(|at| at - LONGEST_CALL);
    let earliest = called.map_or(view.created_at, |called| called.max(view.created_at));
    there && !is_later(Some(earliest), up_to)
}
