//! The parts that contents share: text, media, links, places, cards.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use tributary_base::text::is_blank;
use tributary_bus::message::{
    ContactCard, Entity, EntityKind, Location, Media, MediaState, Sticker, Text,
};
use url::Url;

use super::limits::{
    ATTACHMENT_LIMIT, CONTACT_LIMIT, ENTITY_LIMIT, FILE_NAME_LIMIT, LINK_LIMIT, TEXT_LIMIT,
};
use crate::api::problem::Problem;

/// Whether a text may have nothing to read in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Blank {
    Allowed,
    Refused,
}

/// A member of what is at `at`.
pub(super) fn within(at: &str, member: &str) -> String {
    format!("{at}.{member}")
}

/// Fields that the type does not know.
pub(super) fn nothing_else(at: &str, extra: &Map<String, Value>) -> Result<(), Problem> {
    match extra.keys().next() {
        Some(unknown) => Err(Problem::field(&within(at, unknown), "unknown field")),
        None => Ok(()),
    }
}

/// A text whose length, in characters, is within bounds.
pub(super) fn short(at: &str, text: &str, length: RangeInclusive<usize>) -> Result<(), Problem> {
    if *length.start() > 0 && is_blank(text) {
        return Err(Problem::field(at, "must not be empty or only spaces"));
    }
    let count = text.chars().count();
    if count < *length.start() {
        let detail = format!("must have at least {} characters", length.start());
        return Err(Problem::field(at, detail));
    }
    if count > *length.end() {
        let detail = format!("must have at most {} characters", length.end());
        return Err(Problem::field(at, detail));
    }
    Ok(())
}

/// Text with formatting. It is written out in `at` itself (`content.text`) or in a member (`content.caption.text`).
pub(super) fn text(at: &str, text: &Text, blank: Blank) -> Result<(), Problem> {
    nothing_else(at, &text.extra)?;
    let least = if blank == Blank::Refused { 1 } else { 0 };
    short(&within(at, "text"), &text.text, least..=TEXT_LIMIT)?;
    let at = within(at, "entities");
    if text.entities.len() > ENTITY_LIMIT {
        let detail = format!("must have at most {ENTITY_LIMIT} items");
        return Err(Problem::field(&at, detail));
    }
    let length = text.text.chars().count() as u64;
    for (n, entity) in text.entities.iter().enumerate() {
        self::entity(&format!("{at}[{n}]"), entity, length)?;
    }
    Ok(())
}

fn entity(at: &str, entity: &Entity, length: u64) -> Result<(), Problem> {
    let end = u64::from(entity.offset) + u64::from(entity.length);
    if entity.length == 0 || end > length {
        let detail = "must cover at least one character, all of them within the text";
        return Err(Problem::field(at, detail));
    }
    match &entity.kind {
        EntityKind::Link { url } => link(&within(at, "url"), url).map(drop),
        EntityKind::Other(_) => Err(Problem::field(&within(at, "kind"), "unknown kind")),
        EntityKind::Bold
        | EntityKind::Italic
        | EntityKind::Underline
        | EntityKind::Strikethrough
        | EntityKind::Spoiler
        | EntityKind::Code
        | EntityKind::Pre { .. }
        | EntityKind::Quote
        | EntityKind::ListItem
        | EntityKind::Url
        | EntityKind::Email
        | EntityKind::Phone
        | EntityKind::Mention
        | EntityKind::Hashtag
        | EntityKind::Command => Ok(()),
    }
}

/// A link that a person can open.
pub(super) fn link(at: &str, link: &str) -> Result<Url, Problem> {
    short(at, link, 1..=LINK_LIMIT)?;
    let url = Url::parse(link).map_err(|error| Problem::field(at, format!("no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(Problem::field(at, "must be an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Problem::field(
            at,
            "must not contain a user name or password",
        ));
    }
    Ok(url)
}

/// Media that can be sent: by `url` or by `media_id`.
pub(super) fn media(at: &str, media: &Media) -> Result<(), Problem> {
    nothing_else(at, &media.extra)?;
    for (member, set) in [
        ("state", media.state != MediaState::Ready),
        ("source", media.source.is_some()),
        ("failure", media.failure.is_some()),
        ("sha256", media.sha256.is_some()),
    ] {
        if set {
            let detail = "is told by channels and cannot be sent";
            return Err(Problem::field(&within(at, member), detail));
        }
    }
    match (&media.url, &media.media_id) {
        (Some(url), None) => drop(link(&within(at, "url"), url)?),
        (None, Some(id)) => {
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if id.as_str().len() != 64 || !id.as_str().bytes().all(is_digit) {
                let detail = "must be an id that `POST /v1/media` or a message gave";
                return Err(Problem::field(&within(at, "media_id"), detail));
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Problem::field(at, "must have either url or media_id"));
        }
    }
    if let Some(name) = &media.name {
        short(&within(at, "name"), name, 1..=FILE_NAME_LIMIT)?;
    }
    if let Some(mime) = &media.mime {
        let at = within(at, "mime");
        short(&at, mime, 3..=127)?;
        if !mime.contains('/') || !mime.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Problem::field(
                &at,
                "must be a media type such as image/png",
            ));
        }
    }
    Ok(())
}

pub(super) fn attachments(at: &str, all: &[Media]) -> Result<(), Problem> {
    if all.len() > ATTACHMENT_LIMIT {
        let detail = format!("must have at most {ATTACHMENT_LIMIT} items");
        return Err(Problem::field(at, detail));
    }
    let mut all = all.iter().enumerate();
    all.try_for_each(|(n, attachment)| media(&format!("{at}[{n}]"), attachment))
}

pub(super) fn sticker(at: &str, sticker: &Sticker) -> Result<(), Problem> {
    nothing_else(at, &sticker.extra)?;
    if let Some(emoji) = &sticker.emoji {
        short(&within(at, "emoji"), emoji, 1..=32)?;
    }
    media(&within(at, "media"), &sticker.media)
}

pub(super) fn location(at: &str, place: &Location) -> Result<(), Problem> {
    nothing_else(at, &place.extra)?;
    for (member, degrees, most) in [
        ("latitude", place.latitude, 90.0),
        ("longitude", place.longitude, 180.0),
    ] {
        if !(-most..=most).contains(&degrees) {
            let detail = format!("must be from -{most} to {most} degrees");
            return Err(Problem::field(&within(at, member), detail));
        }
    }
    if place.accuracy.is_some_and(|metres| metres < 0.0) {
        return Err(Problem::field(
            &within(at, "accuracy"),
            "must not be negative",
        ));
    }
    if place.live_seconds.is_some() {
        let detail = "a position that moves only comes from contacts";
        return Err(Problem::field(&within(at, "live_seconds"), detail));
    }
    for (member, words) in [("name", &place.name), ("address", &place.address)] {
        if let Some(words) = words {
            short(&within(at, member), words, 1..=256)?;
        }
    }
    Ok(())
}

pub(super) fn card(at: &str, card: &ContactCard) -> Result<(), Problem> {
    nothing_else(at, &card.extra)?;
    if card.own {
        let detail = "only a provider can say so";
        return Err(Problem::field(&within(at, "own"), detail));
    }
    short(&within(at, "name"), &card.name, 1..=256)?;
    for (member, name) in [
        ("first_name", &card.first_name),
        ("last_name", &card.last_name),
    ] {
        if let Some(name) = name {
            short(&within(at, member), name, 0..=256)?;
        }
    }
    for (member, list) in [("phones", &card.phones), ("emails", &card.emails)] {
        let at = within(at, member);
        if list.len() > CONTACT_LIMIT {
            let detail = format!("must have at most {CONTACT_LIMIT} items");
            return Err(Problem::field(&at, detail));
        }
        for (n, one) in list.iter().enumerate() {
            short(&format!("{at}[{n}]"), one, 1..=254)?;
        }
    }
    match &card.vcard {
        Some(vcard) => short(&within(at, "vcard"), vcard, 1..=TEXT_LIMIT),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_no_text() {
        for blank in ["", " \n", "\u{200b}", "\u{2060}\u{feff} \u{3164}"] {
            assert!(short("content.text", blank, 1..=10).is_err(), "{blank:?}");
            assert!(short("content.text", blank, 0..=10).is_ok(), "{blank:?}");
        }
        assert!(short("content.text", "\u{200b}a", 1..=10).is_ok());
    }
}
