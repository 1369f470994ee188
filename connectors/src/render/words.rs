//! What a channel cannot show, put into words.

use tributary_bus::message::{
    ContactCard, DegradationCode, Email, Entity, EntityKind, Location, MediaContent, Template, Text,
};

use super::{Draft, Unrenderable, append, media};
use crate::Markup;

/// A place: its name, its address and a map.
pub(super) fn add_location(draft: &mut Draft<'_>, location: &Location) -> Result<(), Unrenderable> {
    draft.note(
        DegradationCode::PutIntoWords,
        "location sent as words with a link to a map",
    );
    let map = format!(
        "https://www.openstreetmap.org/?mlat={}&mlon={}",
        location.latitude, location.longitude
    );
    let lines = [&location.name, &location.address].into_iter().flatten();
    add_lines(draft, lines.chain([&map]))
}

/// Somebody's name, numbers and addresses.
pub(super) fn add_contact_card(
    draft: &mut Draft<'_>,
    card: &ContactCard,
) -> Result<(), Unrenderable> {
    draft.note(DegradationCode::PutIntoWords, "contact card sent as words");
    let parts: Vec<&str> = [&card.first_name, &card.last_name]
        .into_iter()
        .flatten()
        .map(|name| name.trim())
        .collect();
    let name = match card.name.trim() {
        "" => parts.join(" "),
        name => name.to_owned(),
    };
    add_lines(
        draft,
        [&name].into_iter().chain(&card.phones).chain(&card.emails),
    )
}

/// The filled-in text.
pub(super) fn add_template(draft: &mut Draft<'_>, template: &Template) -> Result<(), Unrenderable> {
    let text = template.text.as_deref().unwrap_or_default();
    if text.trim().is_empty() {
        return Err(Unrenderable::new(
            "this channel has no templates, and the template comes without its text",
        ));
    }
    draft.note(DegradationCode::PutIntoWords, "template sent as its text");
    draft.text(&Text::plain(text))
}

/// Subject, text and attachments, without what is quoted below.
pub(super) fn add_email(draft: &mut Draft<'_>, email: &Email) -> Result<(), Unrenderable> {
    draft.note(
        DegradationCode::PutIntoWords,
        match email.quoted {
            Some(_) => "email sent as a message; its quoted part is left out",
            None => "email sent as a message",
        },
    );
    let subject = email.subject.as_deref().unwrap_or_default().trim();
    let mut text = heading(draft, subject);
    if !email.text.trim().is_empty() {
        append(&mut text, "\n\n", &email.text);
    }
    draft.text(&text)?;
    for attachment in &email.attachments {
        let content = MediaContent {
            media: attachment.clone(),
            ..MediaContent::default()
        };
        media::add(draft, media::Kind::of(attachment), &content)?;
    }
    Ok(())
}

/// A line that stands out where the channel lets it.
pub(super) fn heading(draft: &Draft<'_>, words: &str) -> Text {
    let mut text = Text::plain(words);
    let bold = draft.capabilities.markup.has(Markup::BOLD);
    if let Ok(length @ 1..) = u32::try_from(words.chars().count())
        && bold
    {
        text.entities.push(Entity {
            offset: 0,
            length,
            kind: EntityKind::Bold,
        });
    }
    text
}

/// Each line that is not blank.
fn add_lines<'a>(
    draft: &mut Draft<'_>,
    lines: impl Iterator<Item = &'a String>,
) -> Result<(), Unrenderable> {
    let mut text = Text::default();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        append(&mut text, "\n", line);
    }
    draft.text(&text)
}
