//! Any content and any capabilities.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, json};
use tributary_bus::message::{
    Card, Carousel, Choice, ChoiceAction, ChoiceReply, ChoiceStyle, Choices, ContactCard, Content,
    Email, Entity, EntityKind, Location, Media, MediaContent, Sticker, Template, Text,
};

use crate::{
    Capabilities, CarouselLimits, ChoiceLimits, Markup, MediaLimit, MediaLimits, Support, TextLimit,
};

const WORDS: &str =
    "(\\PC|[a-zA-Z0-9 ,.]|\n\n|\n| |👨‍👩‍👧‍👦|👩‍🚀|e\u{301}|€|\\[|مرحبا |שלום |\u{301}|\u{200d}){0,60}";
const LABEL: &str = "(\\PC|[a-zA-Z ]|👩‍🚀|e\u{301}|€){1,20}";

fn words() -> impl Strategy<Value = String> {
    WORDS
}

fn kind_of(number: u8, url: &str) -> EntityKind {
    match number {
        0 => EntityKind::Bold,
        1 => EntityKind::Italic,
        2 => EntityKind::Underline,
        3 => EntityKind::Strikethrough,
        4 => EntityKind::Spoiler,
        5 => EntityKind::Code,
        6 => EntityKind::Pre { language: None },
        7 => EntityKind::Quote,
        8 => EntityKind::ListItem,
        9 | 10 => EntityKind::Link {
            url: url.to_owned(),
        },
        11 => EntityKind::Mention,
        12 => EntityKind::Other(Map::from_iter([("kind".to_owned(), json!("sparkle"))])),
        _ => EntityKind::Url,
    }
}

pub fn text() -> impl Strategy<Value = Text> {
    let entities = vec((0_u32..80, 0_u32..40, 0_u8..14), 0..6);
    (words(), entities).prop_map(|(text, entities)| Text {
        text,
        entities: entities
            .into_iter()
            .map(|(offset, length, kind)| Entity {
                offset,
                length,
                kind: kind_of(kind, "https://a.example/x"),
            })
            .collect(),
        extra: Map::new(),
    })
}

fn media() -> impl Strategy<Value = Media> {
    let mime = option::of(select(vec![
        "image/png",
        "IMAGE/JPEG",
        "image/webp",
        "video/mp4",
        "audio/ogg; codecs=opus",
        "application/pdf",
        "nonsense",
    ]));
    let size = option::of(0_u64..3000);
    let url = option::weighted(0.8, Just("https://files.example/f?sig=1"));
    let name = option::of("[a-z]{1,9}\\.pdf");
    (mime, size, url, name).prop_map(|(mime, size, url, name)| Media {
        mime: mime.map(str::to_owned),
        size,
        url: url.map(str::to_owned),
        name,
        ..Media::default()
    })
}

fn media_content() -> impl Strategy<Value = MediaContent> {
    (media(), option::of(text())).prop_map(|(media, caption)| MediaContent {
        media,
        caption,
        extra: Map::new(),
    })
}

fn choice() -> impl Strategy<Value = Choice> {
    let action = (0_u8..8).prop_map(|number| match number {
        0 => ChoiceAction::Url {
            url: "https://shop.example/menu".to_owned(),
        },
        1 => ChoiceAction::Call {
            phone: "+380441234567".to_owned(),
        },
        2 => ChoiceAction::RequestContact,
        3 => ChoiceAction::RequestLocation,
        _ => ChoiceAction::Reply,
    });
    let description = option::of(words());
    let section = option::of("[A-Z]{1,8}");
    ("[a-z]{1,8}", LABEL, description, section, action).prop_map(
        |(id, title, description, section, action)| Choice {
            description,
            section,
            action,
            ..Choice::reply(id, title)
        },
    )
}

fn style() -> impl Strategy<Value = ChoiceStyle> {
    select(vec![
        ChoiceStyle::Buttons,
        ChoiceStyle::List,
        ChoiceStyle::QuickReplies,
    ])
}

fn choices() -> impl Strategy<Value = Choices> {
    let options = vec(choice(), 0..7);
    (text(), style(), options, option::of(LABEL)).prop_map(|(text, style, options, button)| {
        Choices {
            text,
            style,
            options,
            button,
            extra: Map::new(),
        }
    })
}

fn carousel() -> impl Strategy<Value = Carousel> {
    let card = (
        LABEL,
        option::of(text()),
        option::of(media()),
        vec(choice(), 0..4),
    )
        .prop_map(|(title, text, media, options)| Card {
            title,
            text,
            media,
            options,
            extra: Map::new(),
        });
    (option::of(text()), vec(card, 0..4)).prop_map(|(text, cards)| Carousel {
        text,
        cards,
        extra: Map::new(),
    })
}

fn email() -> impl Strategy<Value = Email> {
    (
        option::of(words()),
        words(),
        option::of(words()),
        vec(media(), 0..3),
    )
        .prop_map(|(subject, text, quoted, attachments)| Email {
            subject,
            text,
            html: None,
            quoted,
            attachments,
            extra: Map::new(),
        })
}

fn location() -> impl Strategy<Value = Location> {
    let degrees = (-90.0..90.0_f64, -180.0..180.0_f64);
    (degrees, option::of(words()), option::of(words())).prop_map(
        |((latitude, longitude), name, address)| Location {
            latitude,
            longitude,
            name,
            address,
            ..Location::default()
        },
    )
}

fn contact_card() -> impl Strategy<Value = ContactCard> {
    (
        words(),
        vec("\\+[0-9]{5,12}", 0..3),
        vec("[a-z]{1,5}@a\\.example", 0..3),
    )
        .prop_map(|(name, phones, emails)| ContactCard {
            name,
            phones,
            emails,
            ..ContactCard::default()
        })
}

/// Content of every type.
pub fn content() -> impl Strategy<Value = Content> {
    let sticker = (media(), option::of("😀|👍🏽")).prop_map(|(media, emoji)| Sticker {
        media,
        emoji,
        extra: Map::new(),
    });
    let template = option::of(words()).prop_map(|text| Template {
        name: "welcome".to_owned(),
        text,
        ..Template::default()
    });
    prop_oneof![
        4 => text().prop_map(Content::Text),
        1 => media_content().prop_map(Content::Image),
        1 => media_content().prop_map(Content::Video),
        1 => media_content().prop_map(Content::Audio),
        1 => media_content().prop_map(Content::Voice),
        1 => media_content().prop_map(Content::File),
        1 => sticker.prop_map(Content::Sticker),
        1 => location().prop_map(Content::Location),
        1 => contact_card().prop_map(Content::ContactCard),
        4 => choices().prop_map(Content::Choices),
        3 => carousel().prop_map(Content::Carousel),
        1 => template.prop_map(Content::Template),
        2 => email().prop_map(Content::Email),
        1 => select(vec![
            Content::unsupported("poll"),
            Content::ChoiceReply(ChoiceReply { id: "a".to_owned(), title: None, extra: Map::new() }),
            Content::Other(Map::from_iter([("type".to_owned(), json!("hologram"))])),
        ]),
    ]
}

fn limit() -> impl Strategy<Value = TextLimit> {
    let most = prop_oneof![0_usize..4, 4_usize..40, 100_usize..4000];
    (most, 0_u8..7).prop_map(|(most, unit)| match unit {
        0 | 1 => TextLimit::Characters(most),
        2 | 3 => TextLimit::Utf16Units(most),
        4 | 5 => TextLimit::Bytes(most),
        _ => TextLimit::SmsSegments(most % 5),
    })
}

fn support() -> impl Strategy<Value = Support> {
    select(vec![Support::No, Support::Yes])
}

fn markup() -> impl Strategy<Value = Markup> {
    let kinds = [
        Markup::BOLD,
        Markup::ITALIC,
        Markup::UNDERLINE,
        Markup::STRIKETHROUGH,
        Markup::SPOILER,
        Markup::CODE,
        Markup::PRE,
        Markup::QUOTE,
        Markup::LIST,
        Markup::LINK,
    ];
    vec(select(kinds.to_vec()), 0..14).prop_map(|kinds| {
        kinds
            .into_iter()
            .fold(Markup::NONE, |all, kind| all.and(kind))
    })
}

fn media_limits() -> impl Strategy<Value = MediaLimits> {
    let types = select(vec![
        &[][..],
        &["image/*"][..],
        &["image/png", "image/jpeg"][..],
        &["video/mp4", "audio/*", "application/pdf"][..],
        &["*/*"][..],
    ]);
    let limit =
        (0_u64..4000, types, option::of(limit())).prop_map(|(size, types, caption)| MediaLimit {
            size,
            types,
            caption,
        });
    vec(option::of(limit), 6).prop_map(|mut limits| MediaLimits {
        image: limits.pop().flatten(),
        video: limits.pop().flatten(),
        audio: limits.pop().flatten(),
        voice: limits.pop().flatten(),
        file: limits.pop().flatten(),
        sticker: limits.pop().flatten(),
    })
}

fn choice_limits() -> impl Strategy<Value = ChoiceLimits> {
    let counts = (0_usize..8, 0_usize..12, 0_usize..14);
    let texts = (limit(), option::of(limit()), limit(), limit());
    (counts, texts, support(), support(), support()).prop_map(
        |(
            (buttons, list_rows, quick_replies),
            (title, description, id, text),
            url,
            call,
            request,
        )| ChoiceLimits {
            buttons,
            list_rows,
            quick_replies,
            title,
            description,
            id,
            text,
            url,
            call,
            request,
        },
    )
}

/// Any channel there could be.
pub fn capabilities() -> impl Strategy<Value = Capabilities> {
    let carousel =
        (1_usize..5, limit(), limit(), 0_usize..4).prop_map(|(cards, title, text, buttons)| {
            CarouselLimits {
                cards,
                title,
                text,
                buttons,
            }
        });
    (
        limit(),
        markup(),
        media_limits(),
        option::of(choice_limits()),
        option::of(carousel),
        (support(), support(), support(), support()),
    )
        .prop_map(|(text, markup, media, choices, carousel, supports)| {
            let (location, contact_card, template, email) = supports;
            Capabilities {
                markup,
                media,
                choices,
                carousel,
                location,
                contact_card,
                template,
                email,
                ..Capabilities::text_only(text)
            }
        })
}
