//! What a message that is to be sent may say: any content of the bus that makes sense to send, within bounds.
//!
//! The bounds keep requests small and mistakes early; what a channel can carry of it, the channel's connector says
//! (`message.degraded`).

mod choices;
pub mod limits;
mod parts;
mod stored;
mod strict;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tributary_base::{media::clean_name, text::is_blank};
use tributary_bus::message::{Content, Email, MediaContent, Template};

use super::problem::Problem;
use choices::{carousel, choices};
use limits::{EMAIL_LIMIT, NAME_LIMIT, PARAMETER_LIMIT, SUBJECT_LIMIT, TEXT_LIMIT};
use parts::{
    Blank, attachments, card, location, media, nothing_else, short, sticker, text, within,
};
pub use stored::describe;

/// The contents that can be sent.
pub const SENDABLE: [&str; 13] = [
    "text",
    "image",
    "video",
    "audio",
    "voice",
    "file",
    "sticker",
    "location",
    "contact_card",
    "choices",
    "carousel",
    "template",
    "email",
];

/// Reads and checks the `content` of a request.
///
/// # Errors
/// It cannot be sent; the problem names the field.
pub fn sendable(mut fields: Map<String, Value>) -> Result<Content, Problem> {
    let at = "content";
    no_nul(&fields, at)?;
    strict::known_fields(&fields, at)?;
    let kind = match fields.remove("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => return Err(Problem::field("content.type", "must be text")),
        None => return Err(Problem::field("content.type", "is missing")),
    };
    let mut content = match kind.as_str() {
        "text" => Content::Text(read(fields)?),
        "image" => Content::Image(read(fields)?),
        "video" => Content::Video(read(fields)?),
        "audio" => Content::Audio(read(fields)?),
        "voice" => Content::Voice(read(fields)?),
        "file" => Content::File(read(fields)?),
        "sticker" => Content::Sticker(read(fields)?),
        "location" => Content::Location(read(fields)?),
        "contact_card" => Content::ContactCard(read(fields)?),
        "choices" => Content::Choices(read(fields)?),
        "carousel" => Content::Carousel(read(fields)?),
        "template" => Content::Template(read(fields)?),
        "email" => Content::Email(read(fields)?),
        "choice_reply" | "unsupported" | "other" => {
            let detail = format!("{kind} only comes from contacts and cannot be sent");
            return Err(Problem::field("content.type", detail));
        }
        _ => {
            let detail = format!("must be one of {}", SENDABLE.join(", "));
            return Err(Problem::field("content.type", detail));
        }
    };
    check(&content, at)?;
    for media in content.media_mut() {
        media.name = media.name.as_deref().and_then(clean_name);
    }
    Ok(content)
}

fn check(content: &Content, at: &str) -> Result<(), Problem> {
    match content {
        Content::Text(words) => text(at, words, Blank::Refused),
        Content::Image(content)
        | Content::Video(content)
        | Content::Audio(content)
        | Content::Voice(content)
        | Content::File(content) => with_caption(at, content),
        Content::Sticker(content) => sticker(at, content),
        Content::Location(content) => location(at, content),
        Content::ContactCard(content) => card(at, content),
        Content::Choices(content) => choices(at, content),
        Content::Carousel(content) => carousel(at, content),
        Content::Template(content) => template(at, content),
        Content::Email(content) => email(at, content),
        // None of these is read above.
        Content::ChoiceReply(_) | Content::Unsupported(_) | Content::Other(_) => {
            Err(Problem::field("content.type", "cannot be sent"))
        }
    }
}

fn with_caption(at: &str, content: &MediaContent) -> Result<(), Problem> {
    nothing_else(at, &content.extra)?;
    media(&within(at, "media"), &content.media)?;
    match &content.caption {
        Some(caption) => text(&within(at, "caption"), caption, Blank::Allowed),
        None => Ok(()),
    }
}

fn template(at: &str, content: &Template) -> Result<(), Problem> {
    nothing_else(at, &content.extra)?;
    short(&within(at, "name"), &content.name, 1..=NAME_LIMIT)?;
    if let Some(locale) = &content.locale {
        short(&within(at, "locale"), locale, 2..=35)?;
    }
    if content.parameters.len() > PARAMETER_LIMIT {
        let detail = format!("must have at most {PARAMETER_LIMIT} values");
        return Err(Problem::field(&within(at, "parameters"), detail));
    }
    match &content.text {
        Some(text) => short(&within(at, "text"), text, 0..=TEXT_LIMIT),
        None => Ok(()),
    }
}

fn email(at: &str, content: &Email) -> Result<(), Problem> {
    nothing_else(at, &content.extra)?;
    if let Some(subject) = &content.subject {
        let at = within(at, "subject");
        short(&at, subject, 0..=SUBJECT_LIMIT)?;
        if subject.contains(['\r', '\n']) {
            return Err(Problem::field(&at, "must be a single line"));
        }
    }
    let parts = [
        ("text", Some(&content.text)),
        ("html", content.html.as_ref()),
        ("quoted", content.quoted.as_ref()),
    ];
    for (member, part) in parts {
        if let Some(part) = part {
            short(&within(at, member), part, 0..=EMAIL_LIMIT)?;
        }
    }
    let html = content.html.as_deref().unwrap_or_default();
    let is_blank = is_blank(&content.text) && is_blank(html);
    if is_blank && content.attachments.is_empty() {
        let detail = "must not be empty or only spaces, unless there is html or an attachment";
        return Err(Problem::field(&within(at, "text"), detail));
    }
    attachments(&within(at, "attachments"), &content.attachments)
}

fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." {
            "content".to_owned()
        } else {
            within("content", &path)
        };
        Problem::field(&at, error.into_inner().to_string())
    })
}

/// U+0000 is in no text that a person writes, and some databases and providers cannot hold it.
fn no_nul(fields: &Map<String, Value>, at: &str) -> Result<(), Problem> {
    for (key, value) in fields {
        if key.contains('\0') {
            return Err(Problem::field(at, "a name must not contain U+0000"));
        }
        no_nul_in(value, &within(at, key))?;
    }
    Ok(())
}

fn no_nul_in(value: &Value, at: &str) -> Result<(), Problem> {
    match value {
        Value::String(text) if text.contains('\0') => {
            Err(Problem::field(at, "must not contain the character U+0000"))
        }
        Value::Object(fields) => no_nul(fields, at),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(n, item)| no_nul_in(item, &format!("{at}[{n}]"))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
