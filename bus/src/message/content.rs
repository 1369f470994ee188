//! What a message says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One tagged union for every channel. A type that this version does not know is carried whole.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    Text(Text),
    Unsupported(Unsupported),
    /// A content type of a later version; kept as it came.
    #[serde(untagged)]
    Other(Map<String, Value>),
}

/// Plain text with optional formatting.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Text {
    pub text: String,
    /// Formatting and links; empty when plain.
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
    Code,
    Pre,
    Quote,
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
}

/// Something this version cannot carry yet, named so that it is never lost silently. The raw payload is stored.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unsupported {
    /// The provider's own name of it: `sticker`, `poll`, `edited_message`.
    pub kind: String,
    /// Words for a person: `sent a sticker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Content {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Text {
            text: text.into(),
            entities: Vec::new(),
            extra: Map::new(),
        })
    }

    /// Something named but not understood.
    pub fn unsupported(kind: impl Into<String>) -> Self {
        Self::Unsupported(Unsupported {
            kind: kind.into(),
            description: None,
            extra: Map::new(),
        })
    }
}

/// Shows the type, never the words.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Content(text)",
            Self::Unsupported(_) => "Content(unsupported)",
            Self::Other(_) => "Content(other)",
        })
    }
}
