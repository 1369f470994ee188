//! What a message says: one tagged union for every channel.

mod choices;
mod email;
mod media;
mod place;
mod text;

pub use choices::{Card, Carousel, Choice, ChoiceAction, ChoiceReply, ChoiceStyle, Choices};
pub use email::{Email, Template};
pub use media::{Media, MediaContent, MediaId, MediaState, Sticker};
pub use place::{ContactCard, Location};
pub use text::{Entity, EntityKind, Text};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One tagged union for every channel. A type that this version does not know is carried whole.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    Text(Text),
    Image(MediaContent),
    Video(MediaContent),
    /// Music and the like; see `voice`.
    Audio(MediaContent),
    /// Recorded for the conversation.
    Voice(MediaContent),
    File(MediaContent),
    Sticker(Sticker),
    Location(Location),
    ContactCard(ContactCard),
    Choices(Choices),
    ChoiceReply(ChoiceReply),
    Carousel(Carousel),
    Template(Template),
    Email(Email),
    Unsupported(Unsupported),
    /// A content type of a later version, or one that does not fit its schema; kept as it came.
    #[serde(untagged)]
    Other(Map<String, Value>),
}

/// Something this version cannot carry yet, named so that it is never lost silently. The raw payload is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unsupported {
    /// The provider's own name of it: `poll`, `story`, `edited_message`.
    pub kind: String,
    /// Words for a person: `sent a poll`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Content {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text::plain(text))
    }

    /// Something named but not understood.
    pub fn unsupported(kind: impl Into<String>) -> Self {
        Self::Unsupported(Unsupported {
            kind: kind.into(),
            description: None,
            extra: Map::new(),
        })
    }

    /// The value of `type`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Text(_) => "text",
            Self::Image(_) => "image",
            Self::Video(_) => "video",
            Self::Audio(_) => "audio",
            Self::Voice(_) => "voice",
            Self::File(_) => "file",
            Self::Sticker(_) => "sticker",
            Self::Location(_) => "location",
            Self::ContactCard(_) => "contact_card",
            Self::Choices(_) => "choices",
            Self::ChoiceReply(_) => "choice_reply",
            Self::Carousel(_) => "carousel",
            Self::Template(_) => "template",
            Self::Email(_) => "email",
            Self::Unsupported(_) => "unsupported",
            Self::Other(fields) => fields
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("other"),
        }
    }

    /// All media of the content, in a fixed order: the place in it is `MessageMedia::index`.
    pub fn media(&self) -> Vec<&Media> {
        match self {
            Self::Image(content)
            | Self::Video(content)
            | Self::Audio(content)
            | Self::Voice(content)
            | Self::File(content) => vec![&content.media],
            Self::Sticker(sticker) => vec![&sticker.media],
            Self::Carousel(carousel) => carousel
                .cards
                .iter()
                .filter_map(|card| card.media.as_ref())
                .collect(),
            Self::Email(email) => email.attachments.iter().collect(),
            Self::Text(_)
            | Self::Location(_)
            | Self::ContactCard(_)
            | Self::Choices(_)
            | Self::ChoiceReply(_)
            | Self::Template(_)
            | Self::Unsupported(_)
            | Self::Other(_) => Vec::new(),
        }
    }

    /// The same, to be changed.
    pub fn media_mut(&mut self) -> Vec<&mut Media> {
        match self {
            Self::Image(content)
            | Self::Video(content)
            | Self::Audio(content)
            | Self::Voice(content)
            | Self::File(content) => vec![&mut content.media],
            Self::Sticker(sticker) => vec![&mut sticker.media],
            Self::Carousel(carousel) => carousel
                .cards
                .iter_mut()
                .filter_map(|card| card.media.as_mut())
                .collect(),
            Self::Email(email) => email.attachments.iter_mut().collect(),
            Self::Text(_)
            | Self::Location(_)
            | Self::ContactCard(_)
            | Self::Choices(_)
            | Self::ChoiceReply(_)
            | Self::Template(_)
            | Self::Unsupported(_)
            | Self::Other(_) => Vec::new(),
        }
    }
}

/// Shows the type, never the words.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({})", self.kind())
    }
}
