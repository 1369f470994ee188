//! Whom and what an event is about: the contact, its open conversation, a message.

use tributary_bus::{
    ChannelId, ContactId, ConversationId, Lane, MessageId, OrganizationId,
    message::{ContactView, ConversationState, ConversationView, Origin},
};

use super::{
    snapshot::Entry,
    steps::{Decision, Opened},
};
use crate::model::{Conversation, Message};

impl Decision<'_> {
    /// The contact's open conversation, if there is one.
    pub fn open_now(&self, contact: ContactId) -> Option<ConversationId> {
        let id = self.snapshot.current.get(&contact)?;
        let conversation = &self.snapshot.conversations.get(id)?.value;
        (conversation.view.state != ConversationState::Closed).then_some(*id)
    }

    /// The contact's open conversation: the one there is, the latest again, or a new one.
    pub fn open(
        &mut self,
        organization: &OrganizationId,
        contact: &ContactView,
        origin: &Origin,
    ) -> (ConversationId, Opened) {
        let latest = self.snapshot.current.get(&contact.id);
        let latest = latest.and_then(|id| self.snapshot.conversations.get_mut(id));
        if let Some(entry) = latest {
            let id = entry.value.view.id;
            if entry.value.view.state != ConversationState::Closed {
                return (id, Opened::Already);
            }
            let closed_for = entry.value.closed_at.map(|at| self.now - at);
            if closed_for.is_some_and(|time| time <= self.policy.reopen_window) {
                entry.edit().wait(self.now);
                self.changes.waiting.insert(organization.clone());
                return (id, Opened::Again);
            }
        }
        let mut conversation = self.new_conversation(organization, contact, origin);
        conversation.wait(self.now);
        self.changes.waiting.insert(organization.clone());
        (self.add(conversation), Opened::New)
    }

    /// Where a message of the account's owner belongs: it makes nobody wait for an agent. Without an open conversation that
    /// is the latest, or a new one, which stays closed; an answer of the contact within the window reopens it.
    pub fn home(
        &mut self,
        organization: &OrganizationId,
        contact: &ContactView,
        origin: &Origin,
    ) -> (ConversationId, Opened) {
        let latest = self.snapshot.current.get(&contact.id);
        let latest = latest.and_then(|id| self.snapshot.conversations.get_mut(id));
        if let Some(entry) = latest {
            let id = entry.value.view.id;
            let closed_for = entry.value.closed_at.map(|at| self.now - at);
            if entry.value.view.state != ConversationState::Closed {
                return (id, Opened::Already);
            }
            if closed_for.is_some_and(|time| time <= self.policy.reopen_window) {
                entry.edit().closed_at = Some(self.now);
                return (id, Opened::Already);
            }
        }
        let mut conversation = self.new_conversation(organization, contact, origin);
        conversation.closed_at = Some(self.now);
        (self.add(conversation), Opened::New)
    }

    fn new_conversation(
        &self,
        organization: &OrganizationId,
        contact: &ContactView,
        origin: &Origin,
    ) -> Conversation {
        Conversation {
            organization: organization.clone(),
            shard: self.shard(origin),
            waiting_since: None,
            queued: false,
            closed_at: None,
            assigned_at: None,
            read_up_to: None,
            question: None,
            view: ConversationView {
                id: ConversationId((self.policy.new_id)()),
                channel_id: origin.channel_id.clone(),
                contact_id: contact.id,
                state: ConversationState::Closed,
                agent_id: None,
                seq: 0,
                created_at: self.now,
                updated_at: self.now,
            },
        }
    }

    fn add(&mut self, conversation: Conversation) -> ConversationId {
        let id = conversation.view.id;
        let contact = conversation.view.contact_id;
        self.snapshot.current.insert(contact, id);
        self.snapshot
            .conversations
            .insert(id, Entry::new(conversation));
        id
    }

    /// A message by its id, or by the id of its echo, if it belongs to the channel that names it.
    pub fn message(&mut self, id: MessageId, origin: &Origin) -> Option<&mut Entry<Message>> {
        let id = self.snapshot.echoes.get(&id).copied().unwrap_or(id);
        let entry = self.snapshot.messages.get_mut(&id)?;
        (entry.value.view.channel_id == origin.channel_id).then_some(entry)
    }

    /// A message that changes over the channel: of a contact, of the account's owner, or one of
    /// ours that the owner sees in the provider's app. Of several parts there each is a message of
    /// its own, and none of them is the whole.
    pub fn message_of_channel(
        &mut self,
        id: MessageId,
        origin: &Origin,
    ) -> Option<&mut Entry<Message>> {
        let is_echo = self.snapshot.echoes.contains_key(&id);
        self.message(id, origin).filter(|entry| {
            let is_whole = is_echo && entry.value.provider_ids.len() == 1;
            is_whole || entry.value.came_over_the_channel()
        })
    }

    /// The message that a provider's id names: a part of one of ours, or one that came over the channel.
    pub fn referenced(&self, channel: &ChannelId, provider_id: &str) -> Option<MessageId> {
        let key = (channel.clone(), provider_id.to_owned());
        let part = self.snapshot.parts.get(&key).copied();
        part.or_else(|| {
            let id = MessageId::derived(channel, provider_id);
            self.snapshot.stored.contains_key(&id).then_some(id)
        })
    }

    /// The message of this contact that a provider's id names.
    pub fn referenced_by(
        &self,
        contact: ContactId,
        channel: &ChannelId,
        provider_id: &str,
    ) -> Option<MessageId> {
        let id = self.referenced(channel, provider_id)?;
        (self.snapshot.stored.get(&id) == Some(&contact)).then_some(id)
    }

    pub fn shard(&self, origin: &Origin) -> u16 {
        match Lane::inbound_for(&origin.channel_id, &origin.address, self.policy.lanes) {
            Lane::Inbound(lane) => lane,
            Lane::Delivery(_) | Lane::Endpoint(_) => 0,
        }
    }
}
