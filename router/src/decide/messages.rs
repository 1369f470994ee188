//! Messages that come over a channel.

use tributary_bus::{
    Address, ContactId, ConversationId, EnvelopeError, MessageId, OrganizationId,
    message::{
        Attribution, Author, ContactView, Content, ConversationCreated, ConversationState,
        ConversationStatusChanged, Direction, MessageCreated, MessageReceived, MessageUpdated,
        MessageView, SentBy, StateReason, Status,
    },
};

use super::{
    Verdict,
    contacts::{Reach, Told},
    snapshot::Entry,
    steps::{Decision, Found, Opened, plausible},
};
use crate::model::Message;

/// Where a message goes.
struct Place<'a> {
    organization: &'a OrganizationId,
    contact: ContactView,
    conversation: ConversationId,
}

impl Decision<'_> {
    pub fn received(
        &mut self,
        organization: &OrganizationId,
        event: &MessageReceived,
    ) -> Result<Verdict, EnvelopeError> {
        if self.snapshot.stored.contains_key(&event.message_id) {
            return self.repeated(event);
        }
        let named = (event.origin.channel_id.clone(), event.provider_id.clone());
        if event.sent_by == SentBy::Account && self.snapshot.parts.contains_key(&named) {
            // The echo of a message that we sent.
            return Ok(Verdict::Duplicate);
        }
        let nothing = Attribution::default();
        let told = Told {
            profile: &event.contact,
            // Whoever writes can be written to.
            reach: match event.sent_by {
                SentBy::Contact => Reach::Open,
                SentBy::Account => Reach::AsBefore,
            },
            attribution: match event.sent_by {
                SentBy::Contact => &event.context.attribution,
                SentBy::Account => &nothing,
            },
        };
        let (contact, found) = self.contact(organization, &event.origin, told);
        let (conversation, opened) = match event.sent_by {
            SentBy::Contact => self.open(organization, &contact, &event.origin),
            SentBy::Account => self.home(organization, &contact, &event.origin),
        };
        self.snapshot.stored.insert(event.message_id, contact.id);
        match found {
            Found::New => {
                let payload = event.context.attribution.payload.clone();
                self.contact_created(&contact, conversation, payload)?;
            }
            Found::Changed => self.contact_changed(&contact, conversation, None)?,
            Found::Same => {}
        }
        self.tell_opened(conversation, opened, &contact)?;
        let place = Place {
            organization,
            contact,
            conversation,
        };
        self.message_created(event, place)?;
        Ok(Verdict::Taken)
    }

    fn tell_opened(
        &mut self,
        conversation: ConversationId,
        opened: Opened,
        contact: &ContactView,
    ) -> Result<(), EnvelopeError> {
        match opened {
            Opened::New => self.in_conversation(conversation, |view| ConversationCreated {
                conversation: view,
                contact: contact.clone(),
            }),
            Opened::Again => self.in_conversation(conversation, |view| {
                let previous = ConversationState::Closed;
                ConversationStatusChanged {
                    conversation: view,
                    previous,
                    reason: StateReason::ContactWrote,
                }
            }),
            Opened::Already => Ok(()),
        }
    }

    fn message_created(
        &mut self,
        event: &MessageReceived,
        place: Place<'_>,
    ) -> Result<(), EnvelopeError> {
        let mut message = self.message_of(event, &place);
        if event.sent_by == SentBy::Contact {
            self.name_choice(&mut message);
            self.take_answer(&mut message);
        }
        self.catch_up(&mut message, &event.origin.address);
        self.read_already(&mut message);
        self.in_conversation(place.conversation, |view| {
            message.view.seq = view.seq;
            MessageCreated {
                message: message.shown(),
                contact: place.contact,
            }
        })?;
        self.snapshot
            .messages
            .insert(message.view.id, Entry::new(message));
        Ok(())
    }

    fn message_of(&self, event: &MessageReceived, place: &Place<'_>) -> Message {
        let contact = place.contact.id;
        let (direction, author, status) = match event.sent_by {
            SentBy::Contact => (
                Direction::Inbound,
                Author::Contact { id: contact },
                Status::Received,
            ),
            // It reached the contact already.
            SentBy::Account => (Direction::Outbound, Author::Account, Status::Sent),
        };
        Message {
            organization: place.organization.clone(),
            provider_ids: vec![event.provider_id.clone()],
            reply_to: event.reply_to.clone(),
            sent_at: None,
            undo: Vec::new(),
            view: MessageView {
                id: event.message_id,
                conversation_id: place.conversation,
                channel_id: event.origin.channel_id.clone(),
                contact_id: contact,
                direction,
                author,
                content: event.content.clone(),
                status,
                uncertain: false,
                failure: None,
                degraded: Vec::new(),
                reply_to: self.answered(event, contact),
                context: event.context.clone(),
                reactions: Vec::new(),
                our_reactions: Vec::new(),
                edited_at: None,
                deleted_at: None,
                seq: 0,
                created_at: plausible(event.origin.occurred_at, self.now),
            },
        }
    }

    /// The message that it answers, when it is known.
    fn answered(&self, event: &MessageReceived, contact: ContactId) -> Option<MessageId> {
        let provider_id = event.reply_to.as_deref()?;
        self.referenced_by(contact, &event.origin.channel_id, provider_id)
    }

    /// Changes that came before their message.
    fn catch_up(&mut self, message: &mut Message, address: &Address) {
        let Some(entry) = self.snapshot.early.remove(&message.view.id) else {
            return;
        };
        let early = entry.value;
        self.changes.caught_up.push(message.view.id);
        if let Some(content) = early.content {
            message.view.content = content;
        }
        message.view.edited_at = early.edited_at;
        message.view.deleted_at = early.deleted_at;
        if let Some((by, reactions)) = early.reacted
            && by == *address
        {
            message.view.reactions = reactions;
        }
    }

    /// A message that is stored came again. Read by a later parser it may tell more.
    fn repeated(&mut self, event: &MessageReceived) -> Result<Verdict, EnvelopeError> {
        let unread = |content: &Content| match content {
            Content::Unsupported(_) | Content::Other(_) => true,
            Content::Text(_)
            | Content::Image(_)
            | Content::Video(_)
            | Content::Audio(_)
            | Content::Voice(_)
            | Content::File(_)
            | Content::Sticker(_)
            | Content::Location(_)
            | Content::ContactCard(_)
            | Content::Choices(_)
            | Content::ChoiceReply(_)
            | Content::Carousel(_)
            | Content::Template(_)
            | Content::Email(_) => false,
        };
        if !event.replayed || unread(&event.content) {
            return Ok(Verdict::Duplicate);
        }
        let stored = self.snapshot.stored.get(&event.message_id).copied();
        let answered = stored.and_then(|contact| self.answered(event, contact));
        let Some(entry) = self.message_of_channel(event.message_id, &event.origin) else {
            return Ok(Verdict::Duplicate);
        };
        if !unread(&entry.value.view.content) {
            return Ok(Verdict::Duplicate);
        }
        let message = entry.edit();
        message.view.content = event.content.clone();
        if message.view.context.is_empty() {
            message.view.context = event.context.clone();
        }
        if message.reply_to.is_none() {
            message.reply_to = event.reply_to.clone();
        }
        message.view.reply_to = message.view.reply_to.or(answered);
        let (message, conversation) = (message.shown(), message.view.conversation_id);
        if message.deleted_at.is_none() {
            self.in_conversation(conversation, |_| MessageUpdated { message })?;
        }
        Ok(Verdict::Taken)
    }
}
