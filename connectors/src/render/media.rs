//! Pictures, recordings and files: as another kind where the channel lacks theirs, else as a link.

use tributary_bus::message::{Content, DegradationCode, Media, MediaContent, Sticker, Text};

use super::{Draft, Unrenderable, append};
use crate::{MediaLimit, MediaLimits};

/// A kind of media content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Video,
    Audio,
    Voice,
    File,
    Sticker,
}

impl Kind {
    /// What shows media of this MIME type best.
    pub(super) fn of(media: &Media) -> Self {
        match top_type(media).as_deref() {
            Some("image") => Self::Image,
            Some("video") => Self::Video,
            Some("audio") => Self::Audio,
            Some(_) | None => Self::File,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Voice => "voice",
            Self::File => "file",
            Self::Sticker => "sticker",
        }
    }

    fn limit(self, limits: &MediaLimits) -> Option<&MediaLimit> {
        match self {
            Self::Image => limits.image.as_ref(),
            Self::Video => limits.video.as_ref(),
            Self::Audio => limits.audio.as_ref(),
            Self::Voice => limits.voice.as_ref(),
            Self::File => limits.file.as_ref(),
            Self::Sticker => limits.sticker.as_ref(),
        }
    }

    /// The kinds that say the same, the best first: as asked for, then as what it is.
    fn instead(self, media: &Media) -> Vec<Self> {
        let is = match (mime(media), self) {
            (Some(_), _) => Self::of(media),
            (None, Self::Sticker) => Self::Image,
            (None, Self::Voice) => Self::Audio,
            (None, _) => Self::File,
        };
        match (self, is) {
            // As something else only where there are no files.
            (Self::File, is) => vec![Self::File, is],
            (kind, is) if kind == is => vec![kind, Self::File],
            (kind, is) => vec![kind, is, Self::File],
        }
    }

    fn content(self, content: MediaContent) -> Content {
        match self {
            Self::Image => Content::Image(content),
            Self::Video => Content::Video(content),
            Self::Audio => Content::Audio(content),
            Self::Voice => Content::Voice(content),
            Self::File => Content::File(content),
            Self::Sticker => Content::Sticker(Sticker {
                media: content.media,
                emoji: None,
                extra: content.extra,
            }),
        }
    }
}

/// Adds media with its caption.
pub(super) fn add(
    draft: &mut Draft<'_>,
    kind: Kind,
    content: &MediaContent,
) -> Result<(), Unrenderable> {
    let caption = content
        .caption
        .as_ref()
        .filter(|caption| !caption.is_blank())
        .map(|caption| draft.formatted(caption));
    match choose(draft, kind, &content.media) {
        Ok((chosen, limit)) => place(draft, chosen, limit, content, caption),
        Err(why) => add_link(draft, kind, &content.media, caption, why),
    }
}

/// Adds a sticker, or what it stands for.
pub(super) fn add_sticker(draft: &mut Draft<'_>, sticker: &Sticker) -> Result<(), Unrenderable> {
    let media = &sticker.media;
    let why = match choose(draft, Kind::Sticker, media) {
        Ok((Kind::Sticker, _)) => {
            draft.contents.push(Content::Sticker(sticker.clone()));
            return Ok(());
        }
        Ok((chosen, limit)) => {
            let content = MediaContent {
                media: media.clone(),
                caption: None,
                extra: sticker.extra.clone(),
            };
            return place(draft, chosen, limit, &content, None);
        }
        Err(why) => why,
    };
    match sticker
        .emoji
        .as_deref()
        .filter(|emoji| !emoji.trim().is_empty())
    {
        Some(emoji) => {
            draft.note(DegradationCode::PutIntoWords, "sticker sent as its emoji");
            draft.text(&Text::plain(emoji))
        }
        None => add_link(draft, Kind::Sticker, media, None, why),
    }
}

/// The kind that the media goes as; `Err` says why it cannot go as any. Notes when it is another than asked for.
fn choose<'a>(
    draft: &mut Draft<'a>,
    kind: Kind,
    media: &Media,
) -> Result<(Kind, &'a MediaLimit), &'static str> {
    let limits = &draft.capabilities.media;
    let mut why = "the channel does not carry it";
    for candidate in kind.instead(media) {
        let Some(limit) = candidate.limit(limits) else {
            continue;
        };
        match misfit(media, limit) {
            Some(reason) => why = reason,
            None => {
                if candidate != kind {
                    let detail = format!("{} sent as {}: {why}", kind.name(), candidate.name());
                    draft.note(DegradationCode::MediaConverted, detail);
                }
                return Ok((candidate, limit));
            }
        }
    }
    Err(why)
}

/// Why media is not within the limit, as far as its type and size are known.
pub(super) fn misfit(media: &Media, limit: &MediaLimit) -> Option<&'static str> {
    if media.size.is_some_and(|size| size > limit.size) {
        return Some("it is larger than the channel takes");
    }
    let mime = mime(media)?;
    let taken = limit.types.is_empty() || limit.types.iter().any(|wanted| matches(wanted, &mime));
    (!taken).then_some("the channel does not take this type")
}

fn place(
    draft: &mut Draft<'_>,
    kind: Kind,
    limit: &MediaLimit,
    content: &MediaContent,
    caption: Option<Text>,
) -> Result<(), Unrenderable> {
    let (caption, moved) = match (caption, limit.caption) {
        (Some(caption), Some(limit)) if limit.holds(&caption.text) => (Some(caption), None),
        (caption, _) => (None, caption),
    };
    draft.contents.push(kind.content(MediaContent {
        media: content.media.clone(),
        caption,
        extra: content.extra.clone(),
    }));
    let Some(moved) = moved else {
        return Ok(());
    };
    let detail = match limit.caption {
        Some(_) => "caption too long; sent as a text of its own",
        None => "the channel has no captions here; sent as a text of its own",
    };
    draft.note(DegradationCode::CaptionMoved, detail);
    draft.formatted_text(&moved)
}

/// Adds the words and the link instead.
fn add_link(
    draft: &mut Draft<'_>,
    kind: Kind,
    media: &Media,
    caption: Option<Text>,
    why: &str,
) -> Result<(), Unrenderable> {
    let kind = kind.name();
    let url = media.url.as_deref().filter(|url| !url.trim().is_empty());
    let Some(url) = url else {
        let reason = format!("the {kind} cannot be sent: {why}, and there is no link to it");
        return Err(Unrenderable::new(reason));
    };
    draft.note(
        DegradationCode::MediaLinked,
        format!("{kind} sent as a link: {why}"),
    );
    let mut text = caption.unwrap_or_default();
    if let Some(name) = media.name.as_deref().filter(|name| !name.trim().is_empty()) {
        append(&mut text, "\n", name);
    }
    append(&mut text, "\n", url);
    draft.formatted_text(&text)
}

/// Without parameters, in lower case.
fn mime(media: &Media) -> Option<String> {
    let mime = media.mime.as_deref()?;
    let essence = mime.split(';').next().unwrap_or(mime).trim();
    (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
}

fn top_type(media: &Media) -> Option<String> {
    let mime = mime(media)?;
    mime.split_once('/').map(|(top, _)| top.to_owned())
}

/// `image/png` matches itself, `image/*` and `*/*`.
fn matches(wanted: &str, mime: &str) -> bool {
    match wanted.strip_suffix("/*") {
        Some("*") => true,
        Some(top) => mime
            .split_once('/')
            .is_some_and(|(found, _)| found.eq_ignore_ascii_case(top)),
        None => wanted.eq_ignore_ascii_case(mime),
    }
}
