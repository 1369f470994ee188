//! What happens to messages that are stored: edits, deletions, reactions, media that arrive, changes that are refused.

use chrono::{DateTime, Utc};
use tributary_bus::{
    EnvelopeError, MessageId, OrganizationId,
    message::{
        Content, FailureCode, Media, MediaState, MessageChangeFailed, MessageChangeRefused,
        MessageContentEdited, MessageDeleted, MessageEdited, MessageMedia, MessageReacted,
        MessageReactionsChanged, MessageRemoved, MessageUpdated, Origin,
    },
};

use super::{
    Verdict,
    snapshot::Entry,
    steps::{Decision, plausible},
};
use crate::model::{Early, Message, is_later};

impl Decision<'_> {
    pub fn edited(
        &mut self,
        organization: &OrganizationId,
        event: &MessageEdited,
    ) -> Result<Verdict, EnvelopeError> {
        let at = plausible(event.origin.occurred_at, self.now);
        let id = event.message_id;
        let Some(entry) = self.message_of_channel(id, &event.origin) else {
            if let Some(verdict) = self.not_to_be_changed(id, "edit") {
                return Ok(verdict);
            }
            let early = self.early(organization, &event.origin, id);
            if !is_later(early.edited_at, at) {
                let mut content = event.content.clone();
                if let Some(before) = &early.content {
                    keep_media(before, &mut content);
                }
                early.content = Some(content);
                early.edited_at = Some(at);
            }
            return Ok(Verdict::Taken);
        };
        let mut content = event.content.clone();
        keep_media(&entry.value.view.content, &mut content);
        let edited = edited_in_channel(&mut entry.value, content, at);
        if edited == Edited::Seen || !entry.value.undo.is_empty() {
            // Even what nobody sees settles what a refused edit of ours is taken back to.
            entry.edit();
        }
        if edited == Edited::NotSeen {
            return Ok(Verdict::NoEffect);
        }
        let message = &entry.value;
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
        let id = event.message_id;
        let Some(entry) = self.message_of_channel(id, &event.origin) else {
            if let Some(verdict) = self.not_to_be_changed(id, "deletion") {
                return Ok(verdict);
            }
            let early = self.early(organization, &event.origin, id);
            early.deleted_at = early.deleted_at.or(Some(at));
            return Ok(Verdict::Taken);
        };
        let was_deleted = entry.value.view.deleted_at.is_some();
        if was_deleted && entry.value.undo.is_empty() {
            return Ok(Verdict::NoEffect);
        }
        let message = entry.edit();
        message.deleted_in_channel(at);
        if was_deleted {
            return Ok(Verdict::NoEffect);
        }
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
        if let Some(verdict) = self.not_to_be_changed(event.message_id, "media") {
            return verdict;
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

    pub fn reacted(
        &mut self,
        organization: &OrganizationId,
        event: &MessageReacted,
    ) -> Result<Verdict, EnvelopeError> {
        let origin = &event.origin;
        let Some(id) = self.referenced(&origin.channel_id, &event.provider_id) else {
            // It may be of a message whose status, or which itself, is still on its way.
            let id = MessageId::derived(&origin.channel_id, &event.provider_id);
            let early = self.early(organization, origin, id);
            early.reacted = Some((origin.address.clone(), event.reactions.clone()));
            return Ok(Verdict::Taken);
        };
        let key = (origin.channel_id.clone(), origin.address.clone());
        let contact = self.snapshot.contacts.get(&key);
        let contact = contact.map(|entry| entry.value.view.id);
        let Some(entry) = self.message(id, origin) else {
            return Ok(Verdict::NoEffect);
        };
        let view = &entry.value.view;
        if contact != Some(view.contact_id) || view.reactions == event.reactions {
            return Ok(Verdict::NoEffect);
        }
        let message = entry.edit();
        message.view.reactions = event.reactions.clone();
        let (message, conversation) = (message.shown(), message.view.conversation_id);
        self.in_conversation(conversation, |_| MessageReactionsChanged { message })?;
        Ok(Verdict::Taken)
    }

    /// The channel refused a change: there the message stands as it was, and so it does here again.
    /// Of a change whose outcome nobody knows that cannot be said: it stands as it was asked for,
    /// and integrators are told of the doubt.
    pub fn change_failed(&mut self, event: &MessageChangeFailed) -> Result<Verdict, EnvelopeError> {
        let Some(entry) = self.message(event.message_id, &event.origin) else {
            let reason = format!("refused change of an unknown message {}", event.message_id);
            return Ok(Verdict::Dead(reason));
        };
        let is_certain = event.failure.code != FailureCode::Uncertain;
        if is_certain && !entry.value.take_back(event.change, event.seq) && event.seq.is_some() {
            // It was taken back before.
            return Ok(Verdict::NoEffect);
        }
        let message = entry.edit();
        let (message, conversation) = (message.shown(), message.view.conversation_id);
        self.in_conversation(conversation, |_| MessageChangeRefused {
            message,
            change: event.change,
            failure: event.failure.clone(),
        })?;
        Ok(Verdict::Taken)
    }

    /// What becomes of a change that concerns no message which changes over the channel; `None`
    /// when the message may still come.
    fn not_to_be_changed(&self, id: MessageId, change: &str) -> Option<Verdict> {
        if self.snapshot.echoes.contains_key(&id) {
            // Of one part of several of ours.
            return Some(Verdict::NoEffect);
        }
        let is_stored = self.snapshot.stored.contains_key(&id);
        is_stored.then(|| Verdict::Dead(format!("{change} of {id}, which did not come over it")))
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
                reacted: None,
            })
        };
        self.snapshot
            .early
            .entry(message)
            .or_insert_with(new)
            .edit()
    }
}

/// What an edit in the channel comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edited {
    Seen,
    /// It is what the message says already, or a later edit took its place.
    NotSeen,
}

/// Records what a message says in the channel since a moment.
pub(super) fn edited_in_channel(
    message: &mut Message,
    content: Content,
    at: DateTime<Utc>,
) -> Edited {
    let asks = matches!(
        message.view.content,
        Content::Choices(_) | Content::Carousel(_)
    );
    if asks && !message.came_over_the_channel() {
        // There the options stand in another form; here they must stay, since they are answered.
        return Edited::NotSeen;
    }
    let before = (message.view.content.clone(), message.view.edited_at);
    if !message.edited_in_channel(content, at) {
        return Edited::NotSeen;
    }
    if message.view.content == before.0 {
        // Providers tell of changes that nobody sees, too: a preview, a button.
        message.view.edited_at = before.1;
        return Edited::NotSeen;
    }
    Edited::Seen
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
