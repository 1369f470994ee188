//! What a batch names: channels, contacts, messages.

use std::collections::BTreeSet;

use tributary_bus::{
    Address, ChannelId, MessageId,
    message::{Content, Inbound, MessageReceived, MessageStatus, Origin, SentBy},
};
use uuid::Uuid;

use crate::decide::Arrival;

/// What a batch names.
#[derive(Default)]
pub(super) struct Named {
    pub channels: BTreeSet<ChannelId>,
    pub contacts: BTreeSet<(ChannelId, Address)>,
    /// Messages that came.
    pub received: BTreeSet<Uuid>,
    /// Messages that something is told about.
    pub told_about: BTreeSet<Uuid>,
    /// Events that take effect once.
    pub once: Vec<Uuid>,
    /// The provider's ids of messages that are answered or were sent by somebody else.
    pub mentioned: BTreeSet<(ChannelId, String)>,
    /// The provider's ids of messages that something is told about.
    pub referenced: BTreeSet<(ChannelId, String)>,
    /// The provider's ids that statuses give to messages of ours.
    pub given: BTreeSet<(ChannelId, String)>,
    /// Contacts who read.
    pub readers: BTreeSet<(ChannelId, Address)>,
    /// Channels that report how they are doing.
    pub reporting: BTreeSet<ChannelId>,
    /// Somebody may have answered, or been asked, a question.
    pub questions: bool,
}

impl Named {
    pub fn by(arrivals: &[&Arrival]) -> Self {
        let mut named = Self::default();
        for arrival in arrivals {
            let origin = arrival.inbound.origin();
            named.channels.insert(origin.channel_id.clone());
            let contact = || (origin.channel_id.clone(), origin.address.clone());
            match &arrival.inbound {
                Inbound::Received(event) => {
                    named.contacts.insert(contact());
                    named.received(origin, event);
                }
                Inbound::Status(event) => named.status(origin, event),
                Inbound::Media(event) => {
                    named.told_about.insert(event.message_id.0);
                }
                Inbound::Edited(event) => {
                    named.once.push(arrival.id.0);
                    named.told_about.insert(event.message_id.0);
                }
                Inbound::Deleted(event) => {
                    named.once.push(arrival.id.0);
                    named.told_about.insert(event.message_id.0);
                }
                Inbound::ChangeFailed(event) => {
                    named.once.push(arrival.id.0);
                    named.told_about.insert(event.message_id.0);
                }
                Inbound::Reacted(event) => {
                    named.once.push(arrival.id.0);
                    named.contacts.insert(contact());
                    let id = event.provider_id.clone();
                    named.referenced.insert((origin.channel_id.clone(), id));
                }
                Inbound::Joined(_) | Inbound::Left(_) => {
                    named.once.push(arrival.id.0);
                    named.contacts.insert(contact());
                }
                Inbound::Read(_) => {
                    named.contacts.insert(contact());
                    named.readers.insert(contact());
                }
                Inbound::Health(_) => {
                    named.once.push(arrival.id.0);
                    named.reporting.insert(origin.channel_id.clone());
                }
                Inbound::Typing(_) => {}
            }
        }
        named
    }

    fn received(&mut self, origin: &Origin, event: &MessageReceived) {
        self.received.insert(event.message_id.0);
        self.questions = true;
        if event.replayed {
            self.told_about.insert(event.message_id.0);
        }
        let sent_elsewhere = event.sent_by == SentBy::Account;
        let own_id = sent_elsewhere.then_some(&event.provider_id);
        let mentioned = event.reply_to.iter().chain(own_id);
        let mentioned = mentioned.map(|id| (origin.channel_id.clone(), id.clone()));
        self.mentioned.extend(mentioned);
        // The title of the choice stands in the message that offered it.
        if let Content::ChoiceReply(reply) = &event.content
            && reply.title.is_none()
        {
            let offered = event.reply_to.iter();
            let offered = offered.map(|id| (origin.channel_id.clone(), id.clone()));
            self.referenced.extend(offered);
        }
    }

    fn status(&mut self, origin: &Origin, event: &MessageStatus) {
        self.told_about.insert(event.message_id.0);
        self.questions = true;
        for id in event.provider_ids.iter().filter(|id| !id.is_empty()) {
            let echo = MessageId::derived(&origin.channel_id, id);
            self.told_about.insert(echo.0);
            self.given.insert((origin.channel_id.clone(), id.clone()));
        }
    }
}
