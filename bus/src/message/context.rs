//! What surrounds a message, and what a channel made of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Attribution, Profile};

/// What surrounds a message; empty for most.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MessageContext {
    /// The part of the answered message that the answer is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Messages of one album have the same, the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// From whom it was forwarded, in words for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_from: Option<String>,
    /// Who wrote in a group, where the contact is the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Profile>,
    /// What led to this message, when the channel tells.
    #[serde(default, skip_serializing_if = "Attribution::is_empty")]
    pub attribution: Attribution,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl MessageContext {
    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Debug for MessageContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageContext")
    }
}

/// Something that had to be changed to fit a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Degradation {
    pub code: DegradationCode,
    /// For a person; never message text.
    pub detail: String,
}

/// The stable kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DegradationCode {
    /// The text went in several parts.
    TextSplit,
    /// The caption was too long and went as a text of its own.
    CaptionMoved,
    /// Formatting was left out or written out.
    FormattingLost,
    /// The choices went as a numbered list; a number or a title that is typed counts as the choice.
    ChoicesNumbered,
    /// The choices were shown another way: a list as buttons, say.
    ChoicesRestyled,
    /// A title, label or description was cut short.
    LabelShortened,
    /// Media went as another kind: a voice message as a file, a sticker as a picture.
    MediaConverted,
    /// Media went as a link.
    MediaLinked,
    /// What cannot be shown was put into words: a place, a card, a carousel.
    PutIntoWords,
    /// It does not refer to the message that it answers.
    ReplyLost,
}
