//! Whether a channel would take a part. Counts and decides by itself: nothing of the code under test is called.

use tributary_bus::message::{
    Card, Choice, ChoiceAction, ChoiceStyle, Choices, Content, Entity, EntityKind, Media,
    MediaContent, Text,
};

use crate::{Capabilities, Markup, MediaLimit, Support, TextLimit};

/// Why the channel would refuse the part; empty when it would not.
pub fn refusals(content: &Content, able: &Capabilities) -> Vec<String> {
    let mut found = Vec::new();
    let mut refuse = |wrong: bool, why: &str| {
        if wrong {
            found.push(why.to_owned());
        }
    };
    let media = &able.media;
    match content {
        Content::Text(text) => {
            refuse(text.text.trim().is_empty(), "blank text");
            refuse(!fits(&text.text, able.text), "text too long");
        }
        Content::Image(image) => found.extend(media_refusals(image, media.image.as_ref())),
        Content::Video(video) => found.extend(media_refusals(video, media.video.as_ref())),
        Content::Audio(audio) => found.extend(media_refusals(audio, media.audio.as_ref())),
        Content::Voice(voice) => found.extend(media_refusals(voice, media.voice.as_ref())),
        Content::File(file) => found.extend(media_refusals(file, media.file.as_ref())),
        Content::Sticker(sticker) => {
            found.extend(reference_refusals(&sticker.media, media.sticker.as_ref()));
        }
        Content::Location(_) => refuse(able.location == Support::No, "location"),
        Content::ContactCard(_) => refuse(able.contact_card == Support::No, "contact card"),
        Content::Template(_) => refuse(able.template == Support::No, "template"),
        Content::Email(_) => refuse(able.email == Support::No, "email"),
        Content::Choices(choices) => found.extend(choices_refusals(choices, able)),
        Content::Carousel(carousel) => {
            let limits = able.carousel.as_ref();
            refuse(
                limits.is_none_or(|limits| carousel.cards.len() > limits.cards),
                "too many cards",
            );
            let text = carousel.text.as_ref();
            refuse(
                text.is_some_and(|text| !fits(&text.text, able.text)),
                "text of carousel too long",
            );
            for card in &carousel.cards {
                found.extend(card_refusals(card, able));
            }
        }
        Content::ChoiceReply(_) | Content::Unsupported(_) | Content::Other(_) => {
            refuse(true, "never sent");
        }
    }
    for text in texts(content) {
        found.extend(entity_refusals(text, able.markup));
    }
    found
}

fn media_refusals(content: &MediaContent, limit: Option<&MediaLimit>) -> Vec<String> {
    let mut found = reference_refusals(&content.media, limit);
    if let Some(caption) = &content.caption {
        let most = limit.and_then(|limit| limit.caption);
        if most.is_none_or(|most| !fits(&caption.text, most)) {
            found.push("caption too long".to_owned());
        }
    }
    found
}

fn reference_refusals(media: &Media, limit: Option<&MediaLimit>) -> Vec<String> {
    let Some(limit) = limit else {
        return vec!["kind of media".to_owned()];
    };
    let mut found = Vec::new();
    if media.size.unwrap_or(0) > limit.size {
        found.push("media too large".to_owned());
    }
    if let Some(mime) = &media.mime {
        let mime = mime.to_lowercase();
        let taken = limit.types.iter().any(|wanted| match *wanted {
            "*/*" => true,
            wanted if wanted.ends_with('*') => mime.starts_with(wanted.trim_end_matches('*')),
            wanted => mime.split(';').next() == Some(wanted),
        });
        if !limit.types.is_empty() && !taken {
            found.push("type of media".to_owned());
        }
    }
    found
}

fn choices_refusals(choices: &Choices, able: &Capabilities) -> Vec<String> {
    let Some(limits) = &able.choices else {
        return vec!["choices".to_owned()];
    };
    let mut found = Vec::new();
    let most = match choices.style {
        ChoiceStyle::Buttons => limits.buttons,
        ChoiceStyle::List => limits.list_rows,
        ChoiceStyle::QuickReplies => limits.quick_replies,
    };
    if choices.options.is_empty() || choices.options.len() > most {
        found.push("number of options".to_owned());
    }
    if !fits(&choices.text.text, limits.text) {
        found.push("text of choices too long".to_owned());
    }
    if let Some(label) = &choices.button
        && !fits(label, limits.title)
    {
        found.push("label of list too long".to_owned());
    }
    for option in &choices.options {
        found.extend(option_refusals(option, able));
        let opens = matches!(
            option.action,
            ChoiceAction::Url { .. } | ChoiceAction::Call { .. }
        );
        if opens && choices.style == ChoiceStyle::QuickReplies {
            found.push("quick reply that opens something".to_owned());
        }
    }
    found
}

fn option_refusals(option: &Choice, able: &Capabilities) -> Vec<String> {
    let Some(limits) = &able.choices else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if !fits(&option.id, limits.id) {
        found.push("id too long".to_owned());
    }
    if !fits(&option.title, limits.title) {
        found.push("title too long".to_owned());
    }
    if let Some(words) = &option.description
        && limits.description.is_none_or(|most| !fits(words, most))
    {
        found.push("description too long".to_owned());
    }
    let support = match &option.action {
        ChoiceAction::Reply => Support::Yes,
        ChoiceAction::Url { .. } => limits.url,
        ChoiceAction::Call { .. } => limits.call,
        ChoiceAction::RequestContact | ChoiceAction::RequestLocation => limits.request,
    };
    if support == Support::No {
        found.push("action".to_owned());
    }
    found
}

fn card_refusals(card: &Card, able: &Capabilities) -> Vec<String> {
    let Some(limits) = &able.carousel else {
        return vec!["carousel".to_owned()];
    };
    let mut found: Vec<String> = card
        .options
        .iter()
        .flat_map(|option| option_refusals(option, able))
        .collect();
    if !fits(&card.title, limits.title) {
        found.push("title of card too long".to_owned());
    }
    if let Some(text) = &card.text
        && !fits(&text.text, limits.text)
    {
        found.push("text of card too long".to_owned());
    }
    if card.options.len() > limits.buttons {
        found.push("buttons of card".to_owned());
    }
    found
}

/// The texts with entities in a part.
pub fn texts(content: &Content) -> Vec<&Text> {
    match content {
        Content::Text(text) => vec![text],
        Content::Image(content)
        | Content::Video(content)
        | Content::Audio(content)
        | Content::Voice(content)
        | Content::File(content) => content.caption.iter().collect(),
        Content::Choices(choices) => vec![&choices.text],
        Content::Carousel(carousel) => {
            let cards = carousel.cards.iter().filter_map(|card| card.text.as_ref());
            carousel.text.iter().chain(cards).collect()
        }
        _ => Vec::new(),
    }
}

fn entity_refusals(text: &Text, markup: Markup) -> Vec<String> {
    let length = text.text.chars().count();
    let mut found = Vec::new();
    for entity in &text.entities {
        let end = entity.offset as usize + entity.length as usize;
        if entity.length == 0 || end > length {
            found.push("entity out of its text".to_owned());
        }
        if !is_shown(entity, markup) {
            found.push("formatting".to_owned());
        }
    }
    found
}

fn is_shown(entity: &Entity, markup: Markup) -> bool {
    let kind = match &entity.kind {
        EntityKind::Bold => Markup::BOLD,
        EntityKind::Italic => Markup::ITALIC,
        EntityKind::Underline => Markup::UNDERLINE,
        EntityKind::Strikethrough => Markup::STRIKETHROUGH,
        EntityKind::Spoiler => Markup::SPOILER,
        EntityKind::Code => Markup::CODE,
        EntityKind::Pre { .. } => Markup::PRE,
        EntityKind::Quote => Markup::QUOTE,
        EntityKind::ListItem => Markup::LIST,
        EntityKind::Link { .. } => Markup::LINK,
        _ => Markup::NONE,
    };
    markup.has(kind)
}

fn fits(text: &str, limit: TextLimit) -> bool {
    match limit {
        TextLimit::Characters(most) => text.chars().count() <= most,
        TextLimit::Utf16Units(most) => text.chars().map(char::len_utf16).sum::<usize>() <= most,
        TextLimit::Bytes(most) => text.len() <= most,
        TextLimit::SmsSegments(most) => segments(text) <= most,
    }
}

/// Fills segments one after the other.
fn segments(text: &str) -> usize {
    let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
    let (widths, single, each) = match septets {
        Some(widths) => (widths, 160, 153),
        None => (text.chars().map(char::len_utf16).collect(), 70, 67),
    };
    if widths.iter().sum::<usize>() <= single {
        return usize::from(!widths.is_empty());
    }
    let mut filled = vec![0];
    for width in widths {
        match filled.last_mut() {
            Some(last) if *last + width <= each => *last += width,
            _ => filled.push(width),
        }
    }
    filled.len()
}

fn septets(c: char) -> Option<usize> {
    match c {
        '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' | '\u{c}' => Some(2),
        '`' => None,
        ' '..='z' | '\n' | '\r' => Some(1),
        '¡' | '£' | '¤' | '¥' | '§' | '¿' | 'Ä' | 'Å' | 'Æ' | 'Ç' | 'É' | 'Ñ' | 'Ö' | 'Ø' | 'Ü'
        | 'ß' | 'à' | 'ä' | 'å' | 'æ' | 'è' | 'é' | 'ì' | 'ñ' | 'ò' | 'ö' | 'ø' | 'ù' | 'ü'
        | 'Γ' | 'Δ' | 'Θ' | 'Λ' | 'Ξ' | 'Π' | 'Σ' | 'Φ' | 'Ψ' | 'Ω' => Some(1),
        _ => None,
    }
}
