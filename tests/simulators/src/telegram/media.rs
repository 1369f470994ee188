//! Files that people send.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::account::Account;
use super::detect::detect;
use super::files::{NewFile, Stored};
use super::kind::FileKind;
use super::params::Params;
use super::sample;

/// A file with real bytes, as a person is about to send it. [`sample`] makes bytes.
#[derive(Debug, Clone)]
pub struct Media {
    file: NewFile,
    small: Option<Bytes>,
    caption: Option<String>,
    details: Map<String, Value>,
}

impl Media {
    /// A file of any kind, without a name.
    pub fn new(kind: FileKind, bytes: impl Into<Bytes>) -> Self {
        let file = NewFile {
            kind,
            bytes: bytes.into(),
            name: None,
            mime: None,
            told_size: None,
        };
        Self {
            file,
            small: None,
            caption: None,
            details: Map::new(),
        }
    }

    /// A photo, in two sizes: a small one the simulator makes, and these bytes.
    pub fn photo(bytes: impl Into<Bytes>) -> Self {
        Self {
            small: Some(sample::jpeg(90, 67, 0)),
            ..Self::new(FileKind::Photo, bytes)
        }
    }

    /// A video.
    pub fn video(bytes: impl Into<Bytes>) -> Self {
        Self::new(FileKind::Video, bytes)
    }

    /// A piece of music.
    pub fn audio(bytes: impl Into<Bytes>) -> Self {
        Self::new(FileKind::Audio, bytes)
    }

    /// A voice message.
    pub fn voice(bytes: impl Into<Bytes>) -> Self {
        Self::new(FileKind::Voice, bytes)
    }

    /// A document with a name and a media type.
    pub fn document(name: &str, mime_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self::new(FileKind::Document, bytes)
            .named(name)
            .mime(mime_type)
    }

    /// A GIF, which the provider keeps as a video without sound.
    pub fn animation(bytes: impl Into<Bytes>) -> Self {
        Self::new(FileKind::Animation, bytes)
    }

    /// A round video.
    pub fn video_note(bytes: impl Into<Bytes>) -> Self {
        Self::new(FileKind::VideoNote, bytes)
    }

    /// A sticker with its emoji.
    pub fn sticker(emoji: &str, bytes: impl Into<Bytes>) -> Self {
        Self::new(FileKind::Sticker, bytes)
            .detail("emoji", emoji)
            .detail("set_name", "SetByExample")
    }

    /// The same with a caption.
    #[must_use]
    pub fn caption(mut self, text: &str) -> Self {
        self.caption = Some(text.to_owned());
        self
    }

    /// The same with a file name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.file.name = Some(name.to_owned());
        self
    }

    /// The same with another media type: `video/webm` and `application/x-tgsticker` make a sticker move.
    #[must_use]
    pub fn mime(mut self, mime_type: &str) -> Self {
        self.file.mime = Some(mime_type.to_owned());
        self
    }

    /// The same with another `file_size` than the bytes have.
    #[must_use]
    pub fn claims_size(mut self, bytes: u64) -> Self {
        self.file.told_size = Some(bytes);
        self
    }

    /// The same with one of `width`, `height`, `duration`, `performer`, `title`, `emoji`, `length`.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn kind(&self) -> FileKind {
        self.file.kind
    }

    /// Stores it, and gives the fields of its message.
    pub(super) fn store(self, account: &mut Account) -> Map<String, Value> {
        let file = account.files.add(self.file);
        let small: Option<Arc<Stored>> = self.small.map(|bytes| {
            account.files.add(NewFile {
                kind: FileKind::Photo,
                bytes,
                name: None,
                mime: None,
                told_size: None,
            })
        });
        let details = Params::from_object(self.details.into()).unwrap_or_default();
        let mut fields = file.kind.fields(&file, small.as_deref(), &details);
        if let Some(caption) = self.caption {
            let entities = detect(&caption, &[]);
            if !entities.is_empty() {
                fields.insert("caption_entities".into(), entities.into());
            }
            fields.insert("caption".into(), json!(caption));
        }
        fields
    }
}
