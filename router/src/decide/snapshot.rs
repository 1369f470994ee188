//! What the store knows about the contacts of a batch, and what the batch makes of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use tributary_bus::{
    Address, ChannelId, ContactId, ConversationId, EventId, MessageId, OrganizationId,
};

use crate::model::{Contact, Conversation, Early, Health, Message};

/// A value and whether it must be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry<T> {
    pub value: T,
    pub change: Change,
}

/// Whether and how a value must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    New,
    Changed,
}

impl<T> Entry<T> {
    /// As the store has it.
    pub fn stored(value: T) -> Self {
        let change = Change::None;
        Self { value, change }
    }

    /// The store does not have it yet.
    pub fn new(value: T) -> Self {
        let change = Change::New;
        Self { value, change }
    }

    /// The value, to be changed.
    pub fn edit(&mut self) -> &mut T {
        if self.change == Change::None {
            self.change = Change::Changed;
        }
        &mut self.value
    }
}

/// Everything the store knows that matters to a batch. Conversations in it are held until the transaction ends.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// The channel accounts named by the batch that are known, and whose they are.
    pub channels: HashMap<ChannelId, OrganizationId>,
    pub contacts: BTreeMap<(ChannelId, Address), Entry<Contact>>,
    /// The open conversation of each contact, or else the latest one.
    pub current: HashMap<ContactId, ConversationId>,
    pub conversations: BTreeMap<ConversationId, Entry<Conversation>>,
    /// Messages that something is told about (statuses, edits, reactions, what was read), echoes of
    /// ours and answers that came before the status, open questions, and the new ones.
    pub messages: BTreeMap<MessageId, Entry<Message>>,
    /// The messages named by the batch that are stored already, and whose they are.
    pub stored: HashMap<MessageId, ContactId>,
    /// The provider's ids named by the batch that are of a part of a message of ours.
    pub parts: HashMap<(ChannelId, String), MessageId>,
    /// The messages of ours that the ids of the batch name as echoes, by the id of the echo.
    pub echoes: HashMap<MessageId, MessageId>,
    /// Changes that came before the messages of the batch, or are kept until theirs come.
    pub early: BTreeMap<MessageId, Entry<Early>>,
    /// What was known of the channels that report how they are doing.
    pub health: BTreeMap<ChannelId, Entry<Health>>,
    /// Events that took effect already.
    pub seen: HashSet<EventId>,
}

impl Snapshot {
    /// The values of one kind that must be written in one way.
    pub fn changed<K, T>(entries: &BTreeMap<K, Entry<T>>, change: Change) -> Vec<&T> {
        let entries = entries.values().filter(|entry| entry.change == change);
        entries.map(|entry| &entry.value).collect()
    }
}
