//! Whom and what an event is about: the contact, its open conversation, a message.

use tributary_bus::{
    ContactId, ConversationId, Lane, MessageId, OrganizationId,
    message::{ContactView, ConversationState, ConversationView, Direction, Origin, Profile},
};

use super::{
    snapshot::Entry,
    steps::{Decision, Found, Opened},
};
use crate::model::{Contact, Conversation, Message};

impl Decision<'_> {
    /// The contact of an origin, known or new, with what is told about it now.
    pub fn contact(
        &mut self,
        organization: &OrganizationId,
        origin: &Origin,
        profile: &Profile,
        blocked: bool,
    ) -> (ContactView, Found) {
        let key = (origin.channel_id.clone(), origin.address.clone());
        let Some(entry) = self.snapshot.contacts.get_mut(&key) else {
            let contact = Contact {
                organization: organization.clone(),
                username: profile.username.clone(),
                view: ContactView {
                    id: ContactId((self.policy.new_id)()),
                    channel_id: origin.channel_id.clone(),
                    address: origin.address.clone(),
                    name: profile.name.clone(),
                    locale: profile.locale.clone(),
                    username: None,
                    avatar: None,
                    identifiers: Vec::new(),
                    first_touch: None,
                    last_touch: None,
                    blocked,
                    created_at: self.now,
                },
            };
            let view = contact.view.clone();
            self.snapshot.contacts.insert(key, Entry::new(contact));
            return (view, Found::New);
        };
        let mut told = entry.value.clone();
        told.view.blocked = blocked;
        // What a channel does not tell this time stays as it was.
        told.view.name = profile.name.clone().or(told.view.name);
        told.view.locale = profile.locale.clone().or(told.view.locale);
        told.username = profile.username.clone().or(told.username);
        let found = if told.view == entry.value.view {
            Found::Same
        } else {
            Found::Changed
        };
        if told != entry.value {
            *entry.edit() = told;
        }
        (entry.value.view.clone(), found)
    }

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
        let conversation = Conversation {
            organization: organization.clone(),
            shard: self.shard(origin),
            waiting_since: Some(self.now),
            queued: false,
            closed_at: None,
            view: ConversationView {
                id: ConversationId((self.policy.new_id)()),
                channel_id: origin.channel_id.clone(),
                contact_id: contact.id,
                state: ConversationState::Waiting,
                agent_id: None,
                seq: 0,
                created_at: self.now,
                updated_at: self.now,
            },
        };
        let id = conversation.view.id;
        self.snapshot.current.insert(contact.id, id);
        self.snapshot
            .conversations
            .insert(id, Entry::new(conversation));
        self.changes.waiting.insert(organization.clone());
        (id, Opened::New)
    }

    /// A message by its id, if it belongs to the channel that names it.
    pub fn message(&mut self, id: MessageId, origin: &Origin) -> Option<&mut Entry<Message>> {
        let entry = self.snapshot.messages.get_mut(&id)?;
        (entry.value.view.channel_id == origin.channel_id).then_some(entry)
    }

    pub fn inbound_message(
        &mut self,
        id: MessageId,
        origin: &Origin,
    ) -> Option<&mut Entry<Message>> {
        self.message(id, origin)
            .filter(|entry| entry.value.view.direction == Direction::Inbound)
    }

    pub fn shard(&self, origin: &Origin) -> u16 {
        match Lane::inbound_for(&origin.channel_id, &origin.address, self.policy.lanes) {
            Lane::Inbound(lane) => lane,
            Lane::Delivery(_) | Lane::Endpoint(_) => 0,
        }
    }
}
