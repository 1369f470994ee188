//! Who a contact is, as far as channels tell.

use tributary_bus::{
    ContactId, EnvelopeError, OrganizationId,
    message::{
        Attribution, ContactBlocked, ContactChanged, ContactCreated, ContactJoined, ContactView,
        Identifier, Media, MediaState, Origin, Profile, Touch,
    },
};

use super::{
    Arrival, Verdict,
    snapshot::Entry,
    steps::{Decision, Found, plausible},
};
use crate::model::Contact;

/// Identifiers of one contact, at most.
const IDENTIFIERS: usize = 50;

/// Whether the contact can be written to, by what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Open,
    Blocked,
    /// It says nothing about that.
    AsBefore,
}

/// What an event tells about a contact.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub profile: &'a Profile,
    pub reach: Reach,
    pub attribution: &'a Attribution,
}

impl Decision<'_> {
    /// The contact of an origin, known or new, with what is told about it now.
    pub fn contact(
        &mut self,
        organization: &OrganizationId,
        origin: &Origin,
        told: Told<'_>,
    ) -> (ContactView, Found) {
        let key = (origin.channel_id.clone(), origin.address.clone());
        let touch = (!told.attribution.is_empty()).then(|| Touch {
            at: plausible(origin.occurred_at, self.now),
            attribution: told.attribution.clone(),
        });
        let Some(entry) = self.snapshot.contacts.get_mut(&key) else {
            let mut view = ContactView {
                id: ContactId((self.policy.new_id)()),
                channel_id: origin.channel_id.clone(),
                address: origin.address.clone(),
                name: None,
                locale: None,
                username: None,
                avatar: None,
                identifiers: Vec::new(),
                first_touch: None,
                last_touch: None,
                blocked: false,
                created_at: self.now,
            };
            complete(&mut view, told);
            touched(&mut view, touch);
            let contact = Contact {
                organization: organization.clone(),
                view: view.clone(),
            };
            self.snapshot.contacts.insert(key, Entry::new(contact));
            return (view, Found::New);
        };
        let mut view = entry.value.view.clone();
        complete(&mut view, told);
        let found = if view == entry.value.view {
            Found::Same
        } else {
            Found::Changed
        };
        // Told with the message or the joining that it came with, not by itself.
        touched(&mut view, touch);
        if view != entry.value.view {
            entry.edit().view = view.clone();
        }
        (view, found)
    }

    pub fn joined(
        &mut self,
        arrival: &Arrival,
        event: &ContactJoined,
    ) -> Result<Verdict, EnvelopeError> {
        let payload = event.payload.clone();
        let mut attribution = event.attribution.clone();
        attribution.payload = attribution.payload.or_else(|| payload.clone());
        let told = Told {
            profile: &event.contact,
            reach: Reach::Open,
            attribution: &attribution,
        };
        let (contact, found) = self.contact(&arrival.organization, &event.origin, told);
        match (found, self.open_now(contact.id)) {
            (Found::New, _) => self.about_contact(arrival, &contact, |contact| ContactCreated {
                contact,
                payload,
            })?,
            (Found::Changed | Found::Same, Some(conversation)) => {
                self.contact_changed(&contact, conversation, payload)?;
            }
            (Found::Changed | Found::Same, None) => {
                self.about_contact(arrival, &contact, |contact| ContactChanged {
                    contact,
                    payload,
                })?;
            }
        }
        Ok(Verdict::Taken)
    }

    pub fn left(&mut self, arrival: &Arrival, origin: &Origin) -> Result<Verdict, EnvelopeError> {
        let told = Told {
            profile: &Profile::default(),
            reach: Reach::Blocked,
            attribution: &Attribution::default(),
        };
        let (contact, found) = self.contact(&arrival.organization, origin, told);
        match found {
            Found::New => self.about_contact(arrival, &contact, |contact| ContactCreated {
                contact,
                payload: None,
            })?,
            Found::Changed => {}
            Found::Same => return Ok(Verdict::NoEffect),
        }
        match self.open_now(contact.id) {
            Some(conversation) => {
                self.in_conversation(conversation, |_| ContactBlocked { contact })?;
            }
            None => {
                self.about_contact(arrival, &contact, |contact| ContactBlocked { contact })?;
            }
        }
        Ok(Verdict::Taken)
    }
}

/// What a channel does not tell this time stays as it was.
fn complete(view: &mut ContactView, told: Told<'_>) {
    let profile = told.profile;
    let newer = |told: &Option<String>, known: Option<String>| told.clone().or(known);
    view.name = newer(&profile.name, view.name.take());
    view.locale = newer(&profile.locale, view.locale.take());
    view.username = newer(&profile.username, view.username.take());
    if let Some(avatar) = &profile.avatar
        && view
            .avatar
            .as_ref()
            .is_none_or(|known| is_newer(avatar, known))
    {
        view.avatar = Some(avatar.clone());
    }
    for identifier in &profile.identifiers {
        identified(&mut view.identifiers, identifier);
    }
    view.blocked = match told.reach {
        Reach::Open => false,
        Reach::Blocked => true,
        Reach::AsBefore => view.blocked,
    };
}

/// The same picture, told again as not fetched yet, is no news.
fn is_newer(told: &Media, known: &Media) -> bool {
    let same_source = told.source.is_some() && told.source == known.source;
    !same_source || (told.state == MediaState::Ready && known.state != MediaState::Ready)
}

fn identified(known: &mut Vec<Identifier>, told: &Identifier) {
    let same = |one: &Identifier| {
        (&one.kind, &one.scope, &one.value) == (&told.kind, &told.scope, &told.value)
    };
    if let Some(at) = known.iter().position(same) {
        // What was vouched for once stays so.
        known[at].verified |= told.verified;
    } else if known.len() < IDENTIFIERS {
        known.push(told.clone());
    }
}

/// The first touch never changes; the same touch again is none.
fn touched(view: &mut ContactView, touch: Option<Touch>) {
    let Some(touch) = touch else {
        return;
    };
    if view.first_touch.is_none() {
        view.first_touch = Some(touch.clone());
    }
    let news = view
        .last_touch
        .as_ref()
        .is_none_or(|last| last.attribution != touch.attribution && last.at <= touch.at);
    if news {
        view.last_touch = Some(touch);
    }
}
