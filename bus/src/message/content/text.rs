//! Text with formatting.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Plain text with optional formatting.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Text {
    pub text: String,
    /// Formatting and links; empty when plain. May nest and overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Entity>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A stretch of text with a meaning. `offset` and `length` count Unicode scalar values (characters), not bytes
/// and not UTF-16 units; connectors convert.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entity {
    pub offset: u32,
    pub length: u32,
    #[serde(flatten)]
    pub kind: EntityKind,
}

/// What a stretch of text is.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EntityKind {
    Bold,
    Italic,
    Underline,
    Strikethrough,
    Spoiler,
    Code,
    /// A block of code.
    Pre {
        /// `rust`, `python`, ...
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
    },
    Quote,
    /// An item of a list, without its bullet.
    ListItem,
    /// A link behind the text.
    Link {
        url: String,
    },
    Url,
    Email,
    Phone,
    Mention,
    Hashtag,
    Command,
    /// A kind of a later version; kept as it came.
    #[serde(untagged)]
    Other(Map<String, Value>),
}

impl Text {
    /// Without formatting.
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Nothing to read in it.
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::plain(text)
    }
}

/// Shows its length, never the words.
impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} bytes)", self.text.len())
    }
}
