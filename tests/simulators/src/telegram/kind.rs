//! The kinds of files, and how each looks to a bot.

use serde_json::{Map, Value, json};

use super::files::Stored;
use super::params::Params;

/// What a file is to the provider: a `file_id` is good only for its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// An image, shown at once.
    Photo,
    /// MPEG-4.
    Video,
    /// MP3 or M4A, shown in the music player.
    Audio,
    /// OGG with OPUS.
    Voice,
    /// Any file.
    Document,
    /// A GIF, or a video without sound.
    Animation,
    /// A round video.
    VideoNote,
    /// WEBP, TGS or WEBM.
    Sticker,
    /// The small picture of another file.
    Thumbnail,
}

impl FileKind {
    /// The field of `Message`, and the argument of the send method.
    pub fn field(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Voice => "voice",
            Self::Document => "document",
            Self::Animation => "animation",
            Self::VideoNote => "video_note",
            Self::Sticker => "sticker",
            Self::Thumbnail => "thumbnail",
        }
    }

    /// The kind whose [`field`](Self::field) this is.
    pub(super) fn of(field: &str) -> Option<Self> {
        let kinds = [
            Self::Photo,
            Self::Video,
            Self::Audio,
            Self::Voice,
            Self::Document,
            Self::Animation,
            Self::VideoNote,
            Self::Sticker,
        ];
        kinds.into_iter().find(|kind| kind.field() == field)
    }

    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Photo => "sendPhoto",
            Self::Video => "sendVideo",
            Self::Audio => "sendAudio",
            Self::Voice => "sendVoice",
            Self::Document | Self::Thumbnail => "sendDocument",
            Self::Animation => "sendAnimation",
            Self::VideoNote => "sendVideoNote",
            Self::Sticker => "sendSticker",
        }
    }

    /// The word the provider uses in its error texts.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Photo => "Photo",
            Self::Video => "Video",
            Self::Audio => "Audio",
            Self::Voice => "VoiceNote",
            Self::Document => "Document",
            Self::Animation => "Animation",
            Self::VideoNote => "VideoNote",
            Self::Sticker => "Sticker",
            Self::Thumbnail => "Thumbnail",
        }
    }

    /// How its `file_id` begins.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Photo => "AgAC",
            Self::Video => "BAAC",
            Self::Audio => "CQAC",
            Self::Voice => "AwAC",
            Self::Document => "BQAC",
            Self::Animation => "CgAC",
            Self::VideoNote => "DQAC",
            Self::Sticker => "CAAC",
            Self::Thumbnail => "AAMC",
        }
    }

    /// The folder in its `file_path`.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Photo => "photos",
            Self::Video => "videos",
            Self::Audio => "music",
            Self::Voice => "voice",
            Self::Document => "documents",
            Self::Animation => "animations",
            Self::VideoNote => "video_notes",
            Self::Sticker => "stickers",
            Self::Thumbnail => "thumbnails",
        }
    }

    /// The file type that is assumed where nothing says another.
    pub(super) fn mime(self) -> &'static str {
        match self {
            Self::Photo | Self::Thumbnail => "image/jpeg",
            Self::Video | Self::Animation | Self::VideoNote => "video/mp4",
            Self::Audio => "audio/mpeg",
            Self::Voice => "audio/ogg",
            Self::Document => "application/octet-stream",
            Self::Sticker => "image/webp",
        }
    }

    /// The ending of its `file_path` where it has no name of its own.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Photo | Self::Thumbnail => "jpg",
            Self::Video | Self::Animation | Self::VideoNote => "mp4",
            Self::Audio => "mp3",
            Self::Voice => "oga",
            Self::Document => "bin",
            Self::Sticker => "webp",
        }
    }

    /// The types a sent URL may answer with.
    pub(super) fn takes_from_url(self, mime: &str) -> bool {
        match self {
            Self::Photo => mime.starts_with("image/"),
            Self::Video => mime == "video/mp4",
            Self::Audio => matches!(mime, "audio/mpeg" | "audio/mp4" | "audio/x-m4a"),
            Self::Voice => mime == "audio/ogg",
            Self::Document => matches!(mime, "application/pdf" | "application/zip" | "image/gif"),
            Self::Animation => matches!(mime, "image/gif" | "video/mp4"),
            Self::Sticker => mime == "image/webp",
            Self::VideoNote | Self::Thumbnail => false,
        }
    }

    pub(super) fn takes_caption(self) -> bool {
        !matches!(self, Self::VideoNote | Self::Sticker | Self::Thumbnail)
    }

    /// Which kinds an album may hold together; `None`: it cannot be in one.
    pub(super) fn album(self) -> Option<u8> {
        match self {
            Self::Photo | Self::Video => Some(0),
            Self::Audio => Some(1),
            Self::Document => Some(2),
            Self::Voice | Self::Animation | Self::VideoNote | Self::Sticker | Self::Thumbnail => {
                None
            }
        }
    }

    /// The fields of `Message` for this file. `details` may hold `width`, `height`, `duration`, `performer`, `title`, `emoji`.
    pub(super) fn fields(
        self,
        file: &Stored,
        thumbnail: Option<&Stored>,
        details: &Params,
    ) -> Map<String, Value> {
        let mut object = base(file);
        let number = |name: &str, default: i64| json!(details.integer(name).unwrap_or(default));
        let (width, height) = file.dimensions.unwrap_or((320, 240));
        match self {
            Self::Photo | Self::Thumbnail => {
                object["width"] = json!(width);
                object["height"] = json!(height);
                return Map::from_iter([("photo".to_owned(), photo_sizes(object, thumbnail))]);
            }
            Self::Video | Self::Animation => {
                object["width"] = number("width", width);
                object["height"] = number("height", height);
                object["duration"] = number("duration", 3);
            }
            Self::Audio => {
                object["duration"] = number("duration", 3);
                for name in ["performer", "title"] {
                    if let Some(text) = details.get(name) {
                        object[name] = json!(text);
                    }
                }
            }
            Self::Voice => object["duration"] = number("duration", 3),
            Self::VideoNote => {
                object["length"] = number("length", width);
                object["duration"] = number("duration", 3);
            }
            Self::Sticker => sticker(&mut object, file, details),
            Self::Document => {}
        }
        if self != Self::VideoNote && self != Self::Sticker {
            object["mime_type"] = json!(file.mime);
        }
        if matches!(
            self,
            Self::Video | Self::Audio | Self::Document | Self::Animation
        ) && let Some(name) = &file.name
        {
            object["file_name"] = json!(name);
        }
        if let Some(small) = thumbnail {
            let (width, height) = small.dimensions.unwrap_or((180, 320));
            let mut size = base(small);
            size["width"] = json!(width);
            size["height"] = json!(height);
            object["thumbnail"] = size;
        }
        let mut fields = Map::new();
        if self == Self::Animation {
            // For clients older than animations.
            let mut document = base(file);
            document["mime_type"] = json!(file.mime);
            document["file_name"] = json!(file.name);
            fields.insert("document".into(), document);
        }
        fields.insert(self.field().into(), object);
        fields
    }
}

fn base(file: &Stored) -> Value {
    json!({
        "file_id": file.id,
        "file_unique_id": file.unique_id,
        "file_size": file.told_size,
    })
}

fn photo_sizes(full: Value, thumbnail: Option<&Stored>) -> Value {
    let mut sizes = Vec::new();
    if let Some(small) = thumbnail {
        let mut size = base(small);
        let (width, height) = small.dimensions.unwrap_or((90, 67));
        size["width"] = json!(width);
        size["height"] = json!(height);
        sizes.push(size);
    }
    sizes.push(full);
    sizes.into()
}

fn sticker(object: &mut Value, file: &Stored, details: &Params) {
    object["type"] = json!("regular");
    object["width"] = json!(512);
    object["height"] = json!(512);
    object["is_animated"] = json!(file.mime == "application/x-tgsticker");
    object["is_video"] = json!(file.mime == "video/webm");
    for name in ["emoji", "set_name"] {
        if let Some(text) = details.get(name) {
            object[name] = json!(text);
        }
    }
}
