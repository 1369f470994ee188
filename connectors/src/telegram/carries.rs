//! What Telegram carries. Numbers from https://core.telegram.org/bots/api; what it does not document is what its open
//! server does.

use super::outbound::{DATA_BYTES, Limits};
use crate::{
    Capabilities, ChoiceLimits, Markup, MediaLimit, MediaLimits, Receipts, Support, TextLimit,
};

/// Longest text of one message. Counted after parsing of markup; UTF-16 units are the strictest reading.
const TEXT: TextLimit = TextLimit::Utf16Units(4096);
const CAPTION: TextLimit = TextLimit::Utf16Units(1024);
/// Undocumented; longer labels are cut on every screen.
const LABEL: TextLimit = TextLimit::Characters(64);
/// Inline buttons of one message; undocumented.
const BUTTONS: usize = 100;
/// Buttons of a keyboard; undocumented.
const QUICK_REPLIES: usize = 300;

/// What a bot carries; uploads as large as `limits` say.
pub(super) fn capabilities(limits: Limits) -> Capabilities {
    let media = |size, types| {
        Some(MediaLimit {
            size,
            types,
            caption: Some(CAPTION),
        })
    };
    let audio: &'static [&'static str] = &[
        "audio/mpeg",
        "audio/mp3",
        "audio/mp4",
        "audio/m4a",
        "audio/x-m4a",
    ];
    let voice: &'static [&'static str] = &[
        "audio/ogg",
        "audio/opus",
        "audio/mpeg",
        "audio/mp3",
        "audio/mp4",
        "audio/m4a",
        "audio/x-m4a",
    ];
    Capabilities {
        text: TEXT,
        // Lists are written out.
        markup: Markup::ALL.without(Markup::LIST),
        media: MediaLimits {
            image: media(
                limits.photo,
                &["image/jpeg", "image/png", "image/webp", "image/gif"],
            ),
            video: media(limits.other, &["video/mp4"]),
            audio: media(limits.other, audio),
            voice: media(limits.other, voice),
            file: media(limits.other, &[]),
            sticker: Some(MediaLimit {
                size: limits.other,
                types: &[
                    "image/webp",
                    "application/x-tgsticker",
                    // What the bytes of an animated sticker show.
                    "application/gzip",
                    "video/webm",
                ],
                caption: None,
            }),
        },
        choices: Some(ChoiceLimits {
            buttons: BUTTONS,
            list_rows: BUTTONS,
            quick_replies: QUICK_REPLIES,
            title: LABEL,
            description: None,
            id: TextLimit::Bytes(DATA_BYTES),
            text: TEXT,
            url: Support::Yes,
            call: Support::No,
            request: Support::Yes,
        }),
        carousel: None,
        location: Support::Yes,
        contact_card: Support::Yes,
        template: Support::No,
        email: Support::No,
        reply_to: Support::Yes,
        edit: Support::Yes,
        delete: Support::Yes,
        react: Support::Yes,
        typing: Support::Yes,
        // In business chats; elsewhere there is nothing to tell.
        read: Support::Yes,
        receipts: Receipts::None,
        idempotent: false,
        session_window: None,
    }
}
