//! What happens to messages that are stored: edits, deletions, reactions, media that arrive, changes that are refused.

use tributary_bus::{
    EnvelopeError, MessageId, OrganizationId,
    message::{
        Content, Media, MediaState, MessageChangeFailed, MessageChangeRefused,
        MessageContentEdited, MessageDeleted, MessageEdited, MessageMedia, MessageReacted,
        MessageReactionsChanged, MessageRemoved, MessageUpdated, Origin,
    },
};

use super::{
    Verdict,
    snapshot::Entry,
    steps::{Decision, plausible},
};
use crate::model::Early;

impl Decision<'_> {
    pub fn edited(
        &mut self,
        organization: &OrganizationId,
        event: &MessageEdited,
    ) -> Result<Verdict, EnvelopeError> {
        let at = plausible(event.origin.occurred_at, self.now);
        let Some(entry) = self.message_of_channel(event.message_id, &event.origin) else {
            if self.is_stored(event.message_id) {
                let reason = format!("edit of {}, which did not come over it", event.message_id);
                return Ok(Verdict::Dead(reason));
            }
            let early = self.early(organization, &event.origin, event.message_id);
            if early.edited_at.is_none_or(|before| before <= at) {
                let mut content = event.content.clone();
                if let Some(before) = &early.content {
                    keep_media(before, &mut content);
                }
                early.content = Some(content);
                early.edited_at = Some(at);
            }
            return Ok(Verdict::Taken);
        };
        if entry.value.view.edited_at.is_some_and(|before| before > at) {
            // A later edit took its place already.
            return Ok(Verdict::NoEffect);
        }
        let mut content = event.content.clone();
        keep_media(&entry.value.view.content, &mut content);
        if content == entry.value.view.content {
            // Providers tell of changes that nobody sees, too: a preview, a button.
            return Ok(Verdict::NoEffect);
        }
        let message = entry.edit();
        message.view.content = content;
        message.view.edited_at = Some(at);
        let (message, conversation) = (message.shown(), message.view.conversation_id);
        if message.deleted_at.is_none() {
            self.in_conversation(conversation, |_| MessageContentEdited { message })?;
        }
        Ok(Verdict::Taken)
    }

    pub fn deleted(
        &mut self,
        organization: &OrganizationId,
        event: &MessageDeleted,
    ) -> Result<Verdict, EnvelopeError> {
        let at = plausible(event.origin.occurred_at, self.now);
        let Some(entry) = self.message_of_channel(event.message_id, &event.origin) else {
            if self.is_stored(event.message_id) {
                let reason = format!(
                    "deletion of {}, which did not come over it",
                    event.message_id
                );
                return Ok(Verdict::Dead(reason));
            }
            let early = self.early(organization, &event.origin, event.message_id);
            early.deleted_at = early.deleted_at.or(Some(at));
            return Ok(Verdict::Taken);
        };
        if entry.value.view.deleted_at.is_some() {
            return Ok(Verdict::NoEffect);
        }
        let message = entry.edit();
        message.view.deleted_at = Some(at);
        let (message, conversation) = (message.shown(), message.view.conversation_id);
        self.in_conversation(conversation, |_| MessageRemoved { message })?;
        Ok(Verdict::Taken)
    }

    pub fn media(&mut self, event: &MessageMedia) -> Result<Verdict, EnvelopeError> {
        let Some(entry) = self.message_of_channel(event.message_id, &event.origin) else {
            return Ok(self.media_before_message(event));
        };
        if !is_completed(&entry.value.view.content, event) {
            return Ok(Verdict::NoEffect);
        }
        let message = entry.edit();
        complete(&mut message.view.content, event);
        let (message, conversation) = (message.shown(), message.view.conversation_id);
        if message.deleted_at.is_none() {
            self.in_conversation(conversation, |_| MessageUpdated { message })?;
        }
        Ok(Verdict::Taken)
    }

    /// Media of an edit that waits for its message is completed there. Media of nothing is let go: its message brings it
    /// again, since it is still pending there.
    fn media_before_message(&mut self, event: &MessageMedia) -> Verdict {
        if self.is_stored(event.message_id) {
            let reason = format!("media of {}, which did not come over it", event.message_id);
            return Verdict::Dead(reason);
        }
        let channel = &event.origin.channel_id;
        let early = self.snapshot.early.get_mut(&event.message_id);
        let early = early.filter(|entry| entry.value.channel == *channel);
        let Some(entry) = early.filter(|entry| entry.value.content.is_some()) else {
            self.changes.unknown_media.push(event.message_id);
            return Verdict::NoEffect;
        };
        let content = &entry.value.content;
        if !content
            .as_ref()
            .is_some_and(|content| is_completed(content, event))
        {
            return Verdict::NoEffect;
        }
        if let Some(content) = &mut entry.edit().content {
            complete(content, event);
        }
        Verdict::Taken
    }

    pub fn reacted(&mut self, event: &MessageReacted) -> Result<Verdict, EnvelopeError> {
        let origin = &event.origin;
        let key = (origin.channel_id.clone(), origin.address.clone());
        let contact = self.snapshot.contacts.get(&key);
        let contact = contact.map(|entry| entry.value.view.id);
        let named = contact.and_then(|contact| {
            self.referenced_by(contact, &origin.channel_id, &event.provider_id)
        });
        let Some(entry) = named.and_then(|id| self.message(id, origin)) else {
            return Ok(Verdict::NoEffect);
        };
        if entry.value.view.reactions == event.reactions {
            return Ok(Verdict::NoEffect);
        }
        let message = entry.edit();
        message.view.reactions = event.reactions.clone();
        let (message, conversation) = (message.shown(), message.view.conversation_id);
        self.in_conversation(conversation, |_| MessageReactionsChanged { message })?;
        Ok(Verdict::Taken)
    }

    /// The channel refused a change: there the message stands as it was, and so it does here again.
    pub fn change_failed(&mut self, event: &MessageChangeFailed) -> Result<Verdict, EnvelopeError> {
        let Some(entry) = self.message(event.message_id, &event.origin) else {
            let reason = format!("refused change of an unknown message {}", event.message_id);
            return Ok(Verdict::Dead(reason));
        };
        let message = entry.edit();
        if !message.take_back(event.change, event.seq) && event.seq.is_some() {
            // It was taken back before.
            return Ok(Verdict::NoEffect);
        }
        let (message, conversation) = (message.shown(), message.view.conversation_id);
        self.in_conversation(conversation, |_| MessageChangeRefused {
            message,
            change: event.change,
            failure: event.failure.clone(),
        })?;
        Ok(Verdict::Taken)
    }

    fn is_stored(&self, id: MessageId) -> bool {
        self.snapshot.stored.contains_key(&id)
    }

    /// What is kept for a message that has not come yet.
    fn early(
        &mut self,
        organization: &OrganizationId,
        origin: &Origin,
        message: MessageId,
    ) -> &mut Early {
        let new = || {
            Entry::new(Early {
                message,
                organization: organization.clone(),
                channel: origin.channel_id.clone(),
                content: None,
                edited_at: None,
                deleted_at: None,
            })
        };
        self.snapshot
            .early
            .entry(message)
            .or_insert_with(new)
            .edit()
    }
}

/// Whether the event completes media of this content. An edit can have put other media in its place, or none.
fn is_completed(content: &Content, event: &MessageMedia) -> bool {
    let known = content.media().get(place(event)).copied();
    known.is_some_and(|known| completes(&event.media, known))
}

fn complete(content: &mut Content, event: &MessageMedia) {
    if let Some(known) = content.media_mut().get_mut(place(event)) {
        **known = event.media.clone();
    }
}

fn place(event: &MessageMedia) -> usize {
    usize::try_from(event.index).unwrap_or(usize::MAX)
}

/// Media that came, or cannot be had, takes the place of the same media that had not.
fn completes(told: &Media, known: &Media) -> bool {
    let other = told.source.is_some() && known.source.is_some() && told.source != known.source;
    let waits = match known.state {
        MediaState::Pending | MediaState::Failed => true,
        MediaState::Ready => false,
    };
    waits && !other && told.state != MediaState::Pending && told != known
}

/// An edit repeats the media of its message as not fetched yet: what was fetched stays.
fn keep_media(before: &Content, after: &mut Content) {
    let before = before.media();
    for media in after.media_mut() {
        let fetched = before.iter().find(|old| {
            old.state != MediaState::Pending && old.source.is_some() && old.source == media.source
        });
        if let (MediaState::Pending, Some(fetched)) = (media.state, fetched) {
            *media = (*fetched).clone();
        }
    }
}
