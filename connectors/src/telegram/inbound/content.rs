//! What a message says, by its kind. What has no kind here, or cannot be read, is `unsupported` and named.

use serde_json::Map;
use tributary_bus::message::{
    ContactCard, Content, Location, Media, MediaContent, MediaState, Sticker, Text, Unsupported,
};

use super::{
    super::{
        entities,
        files::Source,
        wire::{self, File, Message, Object},
    },
    context::full_name,
    kinds, rich,
};

/// The content of a message; `object` is its JSON.
pub(super) fn of(object: &Object, message: &Message) -> Content {
    known(message).unwrap_or_else(|| {
        let (kind, words) = kinds::describe(object, message);
        let mut extra = Map::new();
        // What a web app says is meant for whoever opened it.
        if kind == "web_app_data"
            && let Some(data) = object.get(&kind).and_then(|data| data.get("data"))
        {
            extra.insert("data".to_owned(), data.clone());
        }
        Content::Unsupported(Unsupported {
            kind,
            description: Some(words),
            extra,
        })
    })
}

/// An animation is a document too, a live photo a photo, a venue a location: the more telling one comes first.
fn known(message: &Message) -> Option<Content> {
    if let Some(text) = &message.text {
        return Some(Content::Text(formatted(text, message.entities.as_deref())));
    }
    if let Some(text) = message.rich_message.as_ref().and_then(rich::text) {
        return Some(Content::Text(text));
    }
    let caption = message
        .caption
        .as_ref()
        .map(|caption| formatted(caption, message.caption_entities.as_deref()));
    let with = |media: Media| MediaContent {
        media,
        caption: caption.clone(),
        extra: Map::new(),
    };
    let largest = message.photo.as_deref().and_then(largest);
    let files = [
        (message.animation.as_ref(), "animation"),
        (largest, "photo"),
        (message.video.as_ref(), "video"),
        (message.video_note.as_ref(), "video_note"),
        (message.audio.as_ref(), "audio"),
        (message.voice.as_ref(), "voice"),
        (message.document.as_ref(), "document"),
        (message.sticker.as_ref(), "sticker"),
    ];
    for (file, kind) in files {
        let Some(file) = file else { continue };
        let Some(media) = media(file, kind) else {
            continue;
        };
        return Some(match kind {
            "photo" => Content::Image(with(media)),
            "audio" => Content::Audio(with(media)),
            "voice" => Content::Voice(with(media)),
            "document" => Content::File(with(media)),
            "sticker" => Content::Sticker(Sticker {
                media,
                emoji: file.emoji.clone(),
                extra: Map::new(),
            }),
            _ => Content::Video(with(media)),
        });
    }
    place(message).or_else(|| card(message))
}

fn formatted(text: &str, entities: Option<&[wire::Entity]>) -> Text {
    Text {
        text: text.to_owned(),
        entities: entities::to_normalized(text, entities.unwrap_or(&[])),
        extra: Map::new(),
    }
}

/// Sizes come from small to large; the area says it for sure.
fn largest(sizes: &[File]) -> Option<&File> {
    sizes.iter().max_by_key(|size| {
        let side = |side: Option<u32>| u64::from(side.unwrap_or(0));
        side(size.width) * side(size.height)
    })
}

/// Its bytes are fetched by the harness; `None` when Telegram does not say from where.
fn media(file: &File, kind: &'static str) -> Option<Media> {
    let source = Source {
        kind: kind.to_owned(),
        unique_id: file.file_unique_id.clone().unwrap_or_default(),
        file_id: file.file_id.clone().filter(|id| !id.is_empty())?,
    };
    Some(Media {
        state: MediaState::Pending,
        source: Some(source.to_string()),
        mime: file.mime_type.clone().or_else(|| default_mime(file, kind)),
        size: file.file_size,
        name: file.file_name.clone(),
        duration_ms: file.duration.map(|seconds| seconds.saturating_mul(1000)),
        width: file.width.or(file.length),
        height: file.height.or(file.length),
        ..Media::default()
    })
}

/// Telegram does not name the type of everything.
fn default_mime(file: &File, kind: &str) -> Option<String> {
    let mime = match kind {
        "photo" => "image/jpeg",
        "video_note" => "video/mp4",
        "sticker" if file.is_animated == Some(true) => "application/x-tgsticker",
        "sticker" if file.is_video == Some(true) => "video/webm",
        "sticker" => "image/webp",
        _ => return None,
    };
    Some(mime.to_owned())
}

fn place(message: &Message) -> Option<Content> {
    let venue = message.venue.as_ref();
    let location = message
        .location
        .as_ref()
        .or_else(|| venue?.location.as_ref())?;
    Some(Content::Location(Location {
        latitude: location.latitude?,
        longitude: location.longitude?,
        accuracy: location.horizontal_accuracy,
        name: venue.and_then(|venue| venue.title.clone()),
        address: venue.and_then(|venue| venue.address.clone()),
        live_seconds: location.live_period,
        extra: Map::new(),
    }))
}

fn card(message: &Message) -> Option<Content> {
    let contact = message.contact.as_ref()?;
    let phone = contact.phone_number.as_deref().map(international);
    let name = full_name(contact.first_name.as_ref(), contact.last_name.as_ref());
    Some(Content::ContactCard(ContactCard {
        name: name.or_else(|| phone.clone())?,
        first_name: contact.first_name.clone(),
        last_name: contact.last_name.clone(),
        phones: phone.into_iter().collect(),
        emails: Vec::new(),
        vcard: contact.vcard.clone(),
        own: is_own(message),
        extra: Map::new(),
    }))
}

/// Telegram vouches for the number only when it is the sender's.
pub(super) fn is_own(message: &Message) -> bool {
    let owner = message.contact.as_ref().and_then(|contact| contact.user_id);
    let sender = message.from.as_ref().and_then(|from| from.id);
    owner.is_some() && owner == sender
}

/// The leading `+` may be missing.
pub(super) fn international(phone: &str) -> String {
    let phone = phone.trim();
    if phone.starts_with('+') || !phone.starts_with(|first: char| first.is_ascii_digit()) {
        phone.to_owned()
    } else {
        format!("+{phone}")
    }
}
