//! What came under the provider's id of a message of ours before that id was known: its echo, which
//! was taken for a message of the account's owner; edits, deletions and reactions; answers. It is
//! taken up when the status names the id.

use tributary_bus::{
    Address, EnvelopeError, MessageId,
    message::{
        Author, Content, Direction, MessageContentEdited, MessageMerged, MessageReactionsChanged,
        MessageRemoved, MessageUpdated,
    },
};

use super::{
    changes::{Edited, edited_in_channel},
    snapshot::Change,
    steps::Decision,
};
use crate::model::{Early, Message, PartId};

/// Bytes of a provider's id, at most: no provider's comes near, and an index could not hold it.
const LONGEST_PROVIDER_ID: usize = 1024;

/// What a message of ours took up.
#[derive(Debug, Default)]
pub(super) struct TakenUp {
    merged: Vec<MessageId>,
    is_edited: bool,
    is_deleted: bool,
    is_reacted_to: bool,
}

impl Decision<'_> {
    /// Writes down the provider's ids of the parts from `first` on; returns those that no other
    /// message has.
    pub fn name_parts(&mut self, message: &Message, first: usize) -> Vec<PartId> {
        let mut named = Vec::new();
        for (part, provider_id) in message.provider_ids.iter().enumerate().skip(first) {
            if provider_id.is_empty() || provider_id.len() > LONGEST_PROVIDER_ID {
                continue;
            }
            let channel = message.view.channel_id.clone();
            let key = (channel.clone(), provider_id.clone());
            let owner = *self.snapshot.parts.entry(key).or_insert(message.view.id);
            if owner == message.view.id {
                named.push(PartId {
                    channel,
                    provider_id: provider_id.clone(),
                    organization: message.organization.clone(),
                    message: message.view.id,
                    part,
                });
            }
        }
        self.changes.parts.extend(named.iter().cloned());
        named
    }

    /// Takes up into a message of ours what came under the ids of its parts. `address` is that of
    /// its contact.
    pub fn take_up(
        &mut self,
        message: &mut Message,
        parts: &[PartId],
        address: &Address,
    ) -> TakenUp {
        let mut taken = TakenUp::default();
        for part in parts {
            let echo = part.echo();
            self.snapshot.echoes.insert(echo, message.view.id);
            if let Some(echo) = self.remove_echo(echo, message) {
                merge(message, echo);
                taken.merged.push(part.echo());
            }
            if let Some(entry) = self.snapshot.early.remove(&echo) {
                self.changes.caught_up.push(echo);
                taken.add(message, entry.value, address);
            }
        }
        taken
    }

    /// The message of the account's owner that is the echo of a message of ours. It exists no
    /// longer.
    fn remove_echo(&mut self, echo: MessageId, ours: &Message) -> Option<Message> {
        let entry = self.snapshot.messages.get(&echo)?;
        let view = &entry.value.view;
        if view.author != Author::Account || view.contact_id != ours.view.contact_id {
            return None;
        }
        let entry = self.snapshot.messages.remove(&echo)?;
        self.snapshot.stored.remove(&echo);
        if entry.change != Change::New {
            self.changes.merged.push(echo);
        }
        Some(entry.value)
    }

    /// Tells what a message took up, as it is now.
    pub fn tell_taken_up(
        &mut self,
        message: &Message,
        taken: TakenUp,
    ) -> Result<(), EnvelopeError> {
        let (shown, conversation) = (message.shown(), message.view.conversation_id);
        for merged_id in taken.merged {
            self.in_conversation(conversation, |_| MessageMerged {
                message: shown.clone(),
                merged_id,
            })?;
        }
        if taken.is_edited && shown.deleted_at.is_none() {
            let message = shown.clone();
            self.in_conversation(conversation, |_| MessageContentEdited { message })?;
        }
        if taken.is_deleted {
            let message = shown.clone();
            self.in_conversation(conversation, |_| MessageRemoved { message })?;
        }
        if taken.is_reacted_to {
            self.in_conversation(conversation, |_| MessageReactionsChanged { message: shown })?;
        }
        Ok(())
    }

    /// Answers that came before the message they answer had an id now have it; one to an open
    /// question is the choice.
    pub fn find_answers(
        &mut self,
        answered: &Message,
        parts: &[PartId],
    ) -> Result<(), EnvelopeError> {
        let answers = |message: &Message| {
            let by_id = |part: &PartId| {
                message.reply_to.as_ref() == Some(&part.provider_id)
                    && message.view.reply_to.is_none_or(|id| id == part.echo())
            };
            message.view.contact_id == answered.view.contact_id
                && message.view.channel_id == answered.view.channel_id
                && message.view.id != answered.view.id
                && parts.iter().any(by_id)
        };
        let waiting = self.snapshot.messages.values();
        let waiting = waiting.filter(|entry| answers(&entry.value));
        let mut waiting: Vec<_> = waiting
            .map(|entry| (entry.value.view.seq, entry.value.view.id))
            .collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            let Some(entry) = self.snapshot.messages.get(&id) else {
                continue;
            };
            let mut message = entry.value.clone();
            message.view.reply_to = Some(answered.view.id);
            if message.view.direction == Direction::Inbound {
                self.name_choice(&mut message);
                self.take_answer(&mut message);
            }
            let (shown, conversation) = (message.shown(), message.view.conversation_id);
            if let Some(entry) = self.snapshot.messages.get_mut(&id) {
                *entry.edit() = message;
            }
            self.in_conversation(conversation, |_| MessageUpdated { message: shown })?;
        }
        Ok(())
    }
}

impl TakenUp {
    fn add(&mut self, message: &mut Message, early: Early, address: &Address) {
        // Of several parts none is the whole message.
        if message.provider_ids.len() == 1 {
            if let Some((content, at)) = early.content.zip(early.edited_at) {
                self.is_edited |= edited_in_channel(message, content, at) == Edited::Seen;
            }
            if let Some(at) = early.deleted_at {
                self.is_deleted |= message.view.deleted_at.is_none();
                message.deleted_in_channel(at);
            }
        }
        if let Some((by, reactions)) = early.reacted
            && by == *address
            && reactions != message.view.reactions
        {
            message.view.reactions = reactions;
            self.is_reacted_to = true;
        }
    }
}

/// What happened to the echo happened to the message.
fn merge(message: &mut Message, echo: Message) {
    let view = echo.view;
    if message.provider_ids.len() == 1 {
        if let Some(at) = view.edited_at {
            let content: Content = view.content;
            edited_in_channel(message, content, at);
        }
        if let Some(at) = view.deleted_at {
            message.deleted_in_channel(at);
        }
        message.undo.extend(echo.undo);
    }
    if !view.reactions.is_empty() {
        message.view.reactions = view.reactions;
    }
    if !view.our_reactions.is_empty() {
        message.view.our_reactions = view.our_reactions;
    }
}
