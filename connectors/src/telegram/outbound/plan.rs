//! From content to calls. Pure: where it goes and which bytes go along is added by `send`.

use serde_json::{Value, json};
use tributary_bus::message::{ContactCard, Content, Location, Media, MediaContent, Sticker, Text};

use super::{
    super::{address::Place, entities, wire::Object},
    choices, rejected,
};
use crate::SendError;

/// A call without its destination.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Request {
    pub method: &'static str,
    pub fields: Object,
    /// The bytes that go along.
    pub attachment: Option<Attachment>,
}

/// Bytes that go along with a call: by their handle, as an upload, or by a link.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Attachment {
    pub kind: FileKind,
    pub media: Media,
    pub slot: Slot,
}

/// Where a file is named in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Slot {
    /// In the field of its kind.
    Own,
    /// In the object `media` of `editMessageMedia`.
    InputMedia,
}

/// Files of one kind share their handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum FileKind {
    Photo,
    Animation,
    Video,
    Audio,
    Voice,
    Document,
    Sticker,
}

impl FileKind {
    /// Telegram's name of it: a field of calls and of messages.
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Animation => "animation",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Voice => "voice",
            Self::Document => "document",
            Self::Sticker => "sticker",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Photo => "sendPhoto",
            Self::Animation => "sendAnimation",
            Self::Video => "sendVideo",
            Self::Audio => "sendAudio",
            Self::Voice => "sendVoice",
            Self::Document => "sendDocument",
            Self::Sticker => "sendSticker",
        }
    }

    /// What an unnamed file is called; Telegram looks at the ending.
    pub(in super::super) fn default_name(self, mime: Option<&str>) -> &'static str {
        match (self, mime) {
            (Self::Photo, Some("image/png")) => "photo.png",
            (Self::Photo, Some("image/webp")) => "photo.webp",
            (Self::Photo, _) => "photo.jpg",
            (Self::Animation, Some("image/gif")) => "animation.gif",
            (Self::Animation, _) => "animation.mp4",
            (Self::Video, _) => "video.mp4",
            (Self::Audio, Some("audio/mp4" | "audio/x-m4a" | "audio/m4a")) => "audio.m4a",
            (Self::Audio, _) => "audio.mp3",
            (Self::Voice, _) => "voice.ogg",
            (Self::Document, Some("application/pdf")) => "file.pdf",
            (Self::Document, _) => "file",
            (Self::Sticker, Some("application/x-tgsticker" | "application/gzip")) => "sticker.tgs",
            (Self::Sticker, Some("video/webm")) => "sticker.webm",
            (Self::Sticker, _) => "sticker.webp",
        }
    }
}

impl Request {
    pub(super) fn new(method: &'static str, fields: Value) -> Self {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Object::new(),
        };
        Self {
            method,
            fields,
            attachment: None,
        }
    }

    pub(super) fn with(mut self, key: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.fields.insert(key.to_owned(), value);
        }
        self
    }

    /// The text and its formatting, below the keys `text` or `caption`.
    pub(super) fn words(self, words: Words, text: &Text) -> Self {
        let (key, formatting) = words.keys();
        let entities = entities::to_wire(&text.text, &text.entities);
        self.with(key, Some(Value::from(text.text.as_str())))
            .with(formatting, (!entities.is_empty()).then(|| json!(entities)))
    }

    /// Takes all formatting out; `false`: there was none.
    pub(super) fn strip(&mut self) -> bool {
        let mut stripped = self.fields.remove("entities").is_some();
        stripped |= self.fields.remove("caption_entities").is_some();
        if let Some(Value::Object(media)) = self.fields.get_mut("media") {
            stripped |= media.remove("caption_entities").is_some();
        }
        stripped
    }
}

/// Which words of a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words {
    Text,
    Caption,
}

impl Words {
    fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("text", "entities"),
            Self::Caption => ("caption", "caption_entities"),
        }
    }
}

/// The call that sends a part. `render` has made it fit; what it cannot make fit is refused here.
///
/// # Errors
/// The part can never be sent.
pub(in super::super) fn to_request(content: &Content, place: &Place) -> Result<Request, SendError> {
    match content {
        Content::Text(text) => Ok(message(text)),
        Content::Choices(choices) => choices::to_request(choices, place),
        Content::Location(location) => Ok(place_request(location)),
        Content::ContactCard(card) => Ok(card_request(card)),
        Content::Sticker(Sticker { media, .. }) => Ok(file(FileKind::Sticker, media, None)),
        content => match with_media(content) {
            Some((kind, content)) => Ok(file(kind, &content.media, content.caption.as_ref())),
            None => Err(cannot("sent", content)),
        },
    }
}

/// The call that changes a message of ours to this.
///
/// # Errors
/// Telegram cannot change it to this.
pub(in super::super) fn to_edit(content: &Content, place: &Place) -> Result<Request, SendError> {
    match content {
        Content::Text(text) => Ok(Request {
            method: "editMessageText",
            ..message(text)
        }),
        Content::Choices(choices) => {
            let request = choices::to_request(choices, place)?;
            // Only inline keyboards hang on a message.
            let markup = request.fields.get("reply_markup");
            if markup.is_some_and(|markup| markup.get("inline_keyboard").is_none()) {
                return Err(cannot("changed", content));
            }
            Ok(Request {
                method: "editMessageText",
                ..request
            })
        }
        // It moves, if it was sent as one that does.
        Content::Location(location) if location.name.is_none() => Ok(Request::new(
            "editMessageLiveLocation",
            json!({"latitude": location.latitude, "longitude": location.longitude}),
        )),
        content => match with_media(content) {
            // A voice message can get other words, and no other voice.
            Some((FileKind::Voice, content)) => {
                let caption = content.caption.clone().unwrap_or_default();
                Ok(Request::new("editMessageCaption", json!({})).words(Words::Caption, &caption))
            }
            Some((kind, content)) => Ok(edit_media(kind, content)),
            None => Err(cannot("changed", content)),
        },
    }
}

fn cannot(what: &str, content: &Content) -> SendError {
    rejected(
        "content",
        format!("{} cannot be {what} in Telegram", content.kind()),
    )
}

fn message(text: &Text) -> Request {
    Request::new("sendMessage", json!({})).words(Words::Text, text)
}

/// Media with a caption, and as what it goes.
fn with_media(content: &Content) -> Option<(FileKind, &MediaContent)> {
    Some(match content {
        // As a photo a GIF would stand still.
        Content::Image(content) if content.media.mime.as_deref() == Some("image/gif") => {
            (FileKind::Animation, content)
        }
        Content::Image(content) => (FileKind::Photo, content),
        Content::Video(content) => (FileKind::Video, content),
        Content::Audio(content) => (FileKind::Audio, content),
        Content::Voice(content) => (FileKind::Voice, content),
        Content::File(content) => (FileKind::Document, content),
        Content::Text(_)
        | Content::Sticker(_)
        | Content::Location(_)
        | Content::ContactCard(_)
        | Content::Choices(_)
        | Content::ChoiceReply(_)
        | Content::Carousel(_)
        | Content::Template(_)
        | Content::Email(_)
        | Content::Unsupported(_)
        | Content::Other(_) => return None,
    })
}

fn file(kind: FileKind, media: &Media, caption: Option<&Text>) -> Request {
    let mut request = Request::new(kind.method(), json!({}));
    request.fields = details(kind, media);
    if let Some(caption) = caption.filter(|caption| !caption.is_blank()) {
        request = request.words(Words::Caption, caption);
    }
    request.attachment = Some(Attachment {
        kind,
        media: media.clone(),
        slot: Slot::Own,
    });
    request
}

/// What Telegram wants to know of a file besides its bytes.
fn details(kind: FileKind, media: &Media) -> Object {
    let seconds = media.duration_ms.map(|ms| ms.div_ceil(1000));
    let mut details = Object::new();
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            details.insert(key.to_owned(), value);
        }
    };
    match kind {
        FileKind::Video | FileKind::Animation => {
            add("duration", seconds.map(Value::from));
            add("width", media.width.map(Value::from));
            add("height", media.height.map(Value::from));
            if kind == FileKind::Video {
                add("supports_streaming", Some(Value::from(true)));
            }
        }
        FileKind::Audio | FileKind::Voice => add("duration", seconds.map(Value::from)),
        // It stays the file it is, also when it looks like a video.
        FileKind::Document => add("disable_content_type_detection", Some(Value::from(true))),
        FileKind::Photo | FileKind::Sticker => {}
    }
    details
}

fn edit_media(kind: FileKind, content: &MediaContent) -> Request {
    let mut input = Request::new("editMessageMedia", json!({}));
    input.fields = details(kind, &content.media);
    let caption = content.caption.clone().unwrap_or_default();
    let mut input = input.words(Words::Caption, &caption);
    input
        .fields
        .insert("type".to_owned(), Value::from(kind.name()));
    Request {
        method: input.method,
        fields: Object::from_iter([("media".to_owned(), Value::Object(input.fields))]),
        attachment: Some(Attachment {
            kind,
            media: content.media.clone(),
            slot: Slot::InputMedia,
        }),
    }
}

/// Seconds: Telegram takes positions that move for a minute to a day, or without end.
fn live_period(seconds: u64) -> u64 {
    const ENDLESS: u64 = 0x7FFF_FFFF;
    match seconds {
        0..=86_400 => seconds.max(60),
        _ => ENDLESS,
    }
}

fn place_request(location: &Location) -> Request {
    let (latitude, longitude) = (location.latitude, location.longitude);
    let point = json!({"latitude": latitude, "longitude": longitude});
    match (&location.name, &location.address) {
        (None, None) => {
            // At most 1,500 metres.
            let accuracy = location.accuracy.map(|metres| metres.clamp(0.0, 1500.0));
            let live = location.live_seconds.map(live_period);
            Request::new("sendLocation", point)
                .with("horizontal_accuracy", accuracy.map(Value::from))
                .with("live_period", live.map(Value::from))
        }
        (name, address) => {
            // Both are needed.
            let title = name.as_ref().or(address.as_ref());
            let address = address.as_ref().or(name.as_ref());
            Request::new("sendVenue", point)
                .with("title", title.map(|text| Value::from(text.as_str())))
                .with("address", address.map(|text| Value::from(text.as_str())))
        }
    }
}

fn card_request(card: &ContactCard) -> Request {
    /// Bytes.
    const VCARD: usize = 2048;
    let Some(phone) = card.phones.first() else {
        // Telegram knows no card without a number.
        let lines: Vec<&str> = std::iter::once(&card.name)
            .chain(&card.emails)
            .map(String::as_str)
            .collect();
        return message(&Text::plain(lines.join("\n")));
    };
    let first = card.first_name.as_deref().filter(|name| !name.is_empty());
    let last = card.last_name.as_deref().filter(|_| first.is_some());
    let vcard = card.vcard.as_deref().filter(|vcard| vcard.len() <= VCARD);
    Request::new(
        "sendContact",
        json!({"phone_number": phone, "first_name": first.unwrap_or(&card.name)}),
    )
    .with("last_name", last.map(Value::from))
    .with("vcard", vcard.map(Value::from))
}
