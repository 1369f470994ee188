//! Pictures, recordings and files: a message refers to them, it never holds their bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Text;

/// A reference to bytes that are kept elsewhere.
///
/// Inbound media begins as `pending`, with the provider's `source`; a connector fetches it at once and a
/// `message.media.v1` event completes it. Outbound media names a `url` of the integrator's, or the `media_id` that
/// `POST /v1/media` (or an inbound message) gave.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Media {
    #[serde(default)]
    pub state: MediaState,
    /// Where it can be read. Of what the store of ours holds it is a signed link that expires, made anew each time the
    /// message is shown and never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its name in the store of ours; set as soon as it is `ready` there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_id: Option<MediaId>,
    /// The provider's handle of it (never a link with a secret in it); only the connector that made it parses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// MIME type, sniffed from the bytes once they are here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// File name as its sender gave it; untrusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Milliseconds, of what is played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Why it is not here, for a person; set when `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Whether the bytes can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MediaState {
    #[default]
    Ready,
    /// Being fetched from the provider; an event completes it.
    Pending,
    /// They could not be fetched; `failure` says why.
    Failed,
}

/// The name of bytes in the media store: SHA-256 in lower-case hex. Stored once per organization, so it means nothing
/// without one.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct MediaId(pub String);

impl MediaId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Media with optional words. The type of the content says what it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MediaContent {
    pub media: Media,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<Text>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A sticker.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Sticker {
    pub media: Media,
    /// What it stands for where it cannot be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Shows state and size; names and links can tell who somebody is.
impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Media({:?}, {:?} bytes)", self.state, self.size)
    }
}
