//! From any content to the parts that a channel can carry, by nothing but its [`Capabilities`]. Pure: the same content
//! gives the same parts every time, so a redelivery goes on where the ledger says.
//!
//! What cannot be carried as it is becomes the next best thing, and a [`Degradation`] says so. Details of degradations
//! and errors never hold words of the message.

mod carousel;
mod choices;
mod convert;
mod markup;
mod measure;
mod media;
mod sms;
mod split;
#[cfg(test)]
mod tests;
mod words;

use tributary_bus::message::{Content, Degradation, DegradationCode, Failure, FailureCode, Text};

use crate::{Capabilities, Part, Support};
use media::Kind;

pub use convert::{to_html, to_markdown_v2, to_whatsapp};
pub use sms::{SmsEncoding, SmsSegments, sms_segments};

/// What is sent, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Never empty; their indexes count from 0.
    pub parts: Vec<Part>,
    /// What had to be changed, in words for a person.
    pub degraded: Vec<Degradation>,
}

/// The channel can never carry this content; says why, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unrenderable {
    pub reason: String,
}

impl Unrenderable {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

impl From<Unrenderable> for Failure {
    fn from(unrenderable: Unrenderable) -> Self {
        Self {
            code: FailureCode::Rejected,
            reason: unrenderable.reason,
        }
    }
}

/// Renders content for a channel.
///
/// # Errors
/// Nothing that the channel carries would say the same.
pub fn render(content: &Content, capabilities: &Capabilities) -> Result<Rendered, Unrenderable> {
    let mut draft = Draft {
        capabilities,
        contents: Vec::new(),
        degraded: Vec::new(),
    };
    draft.add(content)?;
    if draft.contents.is_empty() {
        return Err(Unrenderable::new("there is nothing to send in it"));
    }
    let parts = (0..)
        .zip(draft.contents)
        .map(|(index, content)| Part { index, content })
        .collect();
    Ok(Rendered {
        parts,
        degraded: draft.degraded,
    })
}

/// Parts in the making.
struct Draft<'a> {
    capabilities: &'a Capabilities,
    contents: Vec<Content>,
    degraded: Vec<Degradation>,
}

impl Draft<'_> {
    fn add(&mut self, content: &Content) -> Result<(), Unrenderable> {
        let able = self.capabilities;
        let as_it_is = match content {
            Content::Location(_) => able.location,
            Content::ContactCard(_) => able.contact_card,
            Content::Template(_) => able.template,
            Content::Email(_) => able.email,
            Content::Text(_)
            | Content::Image(_)
            | Content::Video(_)
            | Content::Audio(_)
            | Content::Voice(_)
            | Content::File(_)
            | Content::Sticker(_)
            | Content::Choices(_)
            | Content::ChoiceReply(_)
            | Content::Carousel(_)
            | Content::Unsupported(_)
            | Content::Other(_) => Support::No,
        };
        if as_it_is == Support::Yes {
            self.contents.push(content.clone());
            return Ok(());
        }
        match content {
            Content::Text(text) if text.is_blank() => Err(Unrenderable::new("the text is empty")),
            Content::Text(text) => self.text(text),
            Content::Image(image) => media::add(self, Kind::Image, image),
            Content::Video(video) => media::add(self, Kind::Video, video),
            Content::Audio(audio) => media::add(self, Kind::Audio, audio),
            Content::Voice(voice) => media::add(self, Kind::Voice, voice),
            Content::File(file) => media::add(self, Kind::File, file),
            Content::Sticker(sticker) => media::add_sticker(self, sticker),
            Content::Location(location) => words::add_location(self, location),
            Content::ContactCard(card) => words::add_contact_card(self, card),
            Content::Choices(choices) => choices::add(self, choices),
            Content::Carousel(carousel) => carousel::add(self, carousel),
            Content::Template(template) => words::add_template(self, template),
            Content::Email(email) => words::add_email(self, email),
            Content::ChoiceReply(_) | Content::Unsupported(_) | Content::Other(_) => {
                Err(Unrenderable::new(match content {
                    Content::Other(_) => "content of an unknown type is never sent".to_owned(),
                    known => format!("content of type {} is never sent", known.kind()),
                }))
            }
        }
    }

    /// Notes a change, once.
    fn note(&mut self, code: DegradationCode, detail: impl Into<String>) {
        let degradation = Degradation {
            code,
            detail: detail.into(),
        };
        if !self.degraded.contains(&degradation) {
            self.degraded.push(degradation);
        }
    }

    /// The text with the formatting that the channel shows.
    fn formatted(&mut self, text: &Text) -> Text {
        let (text, lost) = markup::reduce(text, self.capabilities.markup);
        if lost {
            self.note(
                DegradationCode::FormattingLost,
                "formatting that the channel does not show was left out or written out",
            );
        }
        text
    }

    /// Adds a text in as many parts as it takes; none when it is blank.
    fn text(&mut self, text: &Text) -> Result<(), Unrenderable> {
        let text = self.formatted(text);
        self.formatted_text(&text)
    }

    /// The same for a text that went through `formatted` before.
    fn formatted_text(&mut self, text: &Text) -> Result<(), Unrenderable> {
        let pieces = split::split(text, self.capabilities.text).ok_or_else(|| {
            Unrenderable::new("the channel's longest text has no room for one of the characters")
        })?;
        self.note_split(pieces.len());
        self.contents.extend(pieces.into_iter().map(Content::Text));
        Ok(())
    }

    fn note_split(&mut self, pieces: usize) {
        if pieces > 1 {
            self.note(
                DegradationCode::TextSplit,
                format!("text split into {pieces} parts"),
            );
        }
    }
}

/// Adds plain words to the end of a text.
fn append(text: &mut Text, separator: &str, words: &str) {
    if !text.text.is_empty() {
        text.text.push_str(separator);
    }
    text.text.push_str(words);
}
