//! What holds for every content on every channel.

use proptest::prelude::*;
use tributary_bus::message::{
    Card, ChoiceAction, Choices, Content, DegradationCode, Media, MediaContent, Text,
};

use super::{any, check};
use crate::{Capabilities, TextLimit, render};

/// Without blank space.
fn bare(text: &str) -> String {
    text.split_whitespace().collect()
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Everything that a content shows, as one text, in order.
fn shown(content: &Content) -> String {
    let mut words: Vec<&str> = Vec::new();
    match content {
        Content::Choices(choices) => {
            words.push(&choices.text.text);
            for option in &choices.options {
                words.push(&option.title);
                words.extend(option.description.as_deref());
                words.extend(option.section.as_deref());
                match &option.action {
                    ChoiceAction::Url { url: address } | ChoiceAction::Call { phone: address } => {
                        words.push(address)
                    }
                    _ => {}
                }
            }
        }
        Content::Carousel(carousel) => {
            words.extend(carousel.text.iter().map(|text| text.text.as_str()));
            for card in &carousel.cards {
                words.push(&card.title);
                words.extend(card.text.iter().map(|text| text.text.as_str()));
                for option in &card.options {
                    words.push(&option.title);
                    words.extend(option.description.as_deref());
                }
            }
        }
        Content::Email(email) => {
            words.extend(email.subject.as_deref());
            words.push(&email.text);
        }
        Content::Location(location) => {
            words.extend(location.name.as_deref());
            words.extend(location.address.as_deref());
        }
        Content::ContactCard(card) => {
            words.push(&card.name);
            words.extend(card.phones.iter().chain(&card.emails).map(String::as_str));
        }
        Content::Template(template) => words.extend(template.text.as_deref()),
        other => words.extend(check::texts(other).iter().map(|text| text.text.as_str())),
    }
    bare(&words.concat())
}

/// The words of a content that a person has to be told, each as one.
fn told(content: &Content) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let plain = check::texts(content)
        .into_iter()
        .map(|text| text.text.clone());
    match content {
        Content::Email(_)
        | Content::Location(_)
        | Content::ContactCard(_)
        | Content::Template(_) => {
            return match content {
                Content::Email(email) => {
                    words.extend(email.subject.clone());
                    words.push(email.text.clone());
                    words
                }
                Content::Location(location) => {
                    words.extend(location.name.clone());
                    words.extend(location.address.clone());
                    words
                }
                Content::ContactCard(card) => {
                    words.push(card.name.clone());
                    words.extend(card.phones.iter().chain(&card.emails).cloned());
                    words
                }
                Content::Template(template) => template.text.iter().cloned().collect(),
                _ => words,
            };
        }
        _ => words.extend(plain),
    }
    words
}

/// The labels of a content, which may be cut short.
fn labels(content: &Content) -> Vec<String> {
    let options = match content {
        Content::Choices(choices) => choices.options.clone(),
        Content::Carousel(carousel) => carousel
            .cards
            .iter()
            .flat_map(|card| card.options.clone())
            .collect(),
        _ => Vec::new(),
    };
    let titles = match content {
        Content::Carousel(carousel) => carousel.cards.iter().map(|c| c.title.clone()).collect(),
        _ => Vec::new(),
    };
    options
        .into_iter()
        .flat_map(|option| [Some(option.title), option.description])
        .flatten()
        .chain(titles)
        .collect()
}

fn is_subsequence(words: &str, of: &str) -> bool {
    let mut left = of.chars();
    words.chars().all(|c| left.any(|found| found == c))
}

/// The content with what says nothing left out: entities outside of their text, blank captions and descriptions.
fn tidy(content: &Content) -> Content {
    let mut content = content.clone();
    match &mut content {
        Content::Text(text) => tidy_text(text),
        Content::Image(content)
        | Content::Video(content)
        | Content::Audio(content)
        | Content::Voice(content)
        | Content::File(content) => {
            tidy_caption(content);
        }
        Content::Choices(choices) => {
            tidy_text(&mut choices.text);
            for option in &mut choices.options {
                option.description = option.description.take().filter(|words| !is_blank(words));
            }
        }
        Content::Carousel(carousel) => {
            carousel.text = carousel.text.take().filter(|text| !is_blank(&text.text));
            let cards = carousel
                .cards
                .iter_mut()
                .filter_map(|card| card.text.as_mut());
            carousel.text.iter_mut().chain(cards).for_each(tidy_text);
        }
        _ => {}
    }
    content
}

fn tidy_caption(content: &mut MediaContent) {
    content.caption = content.caption.take().filter(|text| !is_blank(&text.text));
    content.caption.iter_mut().for_each(tidy_text);
}

fn tidy_text(text: &mut Text) {
    let length = u32::try_from(text.text.chars().count()).expect("short");
    for entity in &mut text.entities {
        entity.length = entity.length.min(length.saturating_sub(entity.offset));
    }
    text.entities.retain(|entity| entity.length > 0);
}

/// The same but for blank space of a text.
fn is_same(one: &Content, other: &Content) -> bool {
    let (mut one, mut other) = (one.clone(), other.clone());
    for content in [&mut one, &mut other] {
        if let Content::Text(text) | Content::Choices(Choices { text, .. }) = content {
            text.text = bare(&text.text);
            text.entities
                .iter_mut()
                .for_each(|entity| (entity.offset, entity.length) = (0, 0));
        }
    }
    one == other
}

fn is_reachable(media: &Media) -> bool {
    media.url.is_some()
}

/// Whether there is a way to say it in words alone.
fn can_be_told(content: &Content) -> bool {
    match content {
        Content::Text(text) => !is_blank(&text.text),
        Content::Image(_)
        | Content::Video(_)
        | Content::Audio(_)
        | Content::Voice(_)
        | Content::File(_)
        | Content::Email(_) => {
            let email_is_blank = match content {
                Content::Email(email) => {
                    is_blank(&email.text)
                        && email.subject.as_deref().is_none_or(is_blank)
                        && email.attachments.is_empty()
                }
                _ => false,
            };
            !email_is_blank && content.media().into_iter().all(is_reachable)
        }
        Content::Sticker(sticker) => sticker.emoji.is_some() || is_reachable(&sticker.media),
        Content::Location(_) => true,
        Content::ContactCard(card) => {
            !is_blank(&card.name) || !card.phones.is_empty() || !card.emails.is_empty()
        }
        Content::Choices(Choices { options, .. }) => !options.is_empty(),
        Content::Carousel(carousel) => {
            let says_something = |card: &Card| {
                !is_blank(&card.title)
                    || card.text.as_ref().is_some_and(|text| !is_blank(&text.text))
                    || card.media.is_some()
                    || !card.options.is_empty()
            };
            !carousel.cards.is_empty()
                && carousel.cards.iter().any(says_something)
                && carousel
                    .cards
                    .iter()
                    .all(|card| card.media.as_ref().is_none_or(is_reachable))
        }
        Content::Template(template) => template.text.as_deref().is_some_and(|t| !is_blank(t)),
        Content::ChoiceReply(_) | Content::Unsupported(_) | Content::Other(_) => false,
    }
}

proptest! {
    #![proptest_config(super::explored())]

    #[test]
    fn parts_are_within_every_limit(content in any::content(), able in any::capabilities()) {
        let Ok(rendered) = render(&content, &able) else {
            return Ok(());
        };
        prop_assert!(!rendered.parts.is_empty());
        for (index, part) in (0_u32..).zip(&rendered.parts) {
            prop_assert_eq!(part.index, index);
            let refusals = check::refusals(&part.content, &able);
            prop_assert!(refusals.is_empty(), "{:?} as {:?}: {:?} on {:?}", content, part.content, refusals, able);
        }
        prop_assert_eq!(render(&content, &able), Ok(rendered));
    }

    #[test]
    fn no_words_are_lost(content in any::content(), able in any::capabilities()) {
        let Ok(rendered) = render(&content, &able) else {
            return Ok(());
        };
        let codes: Vec<DegradationCode> = rendered.degraded.iter().map(|d| d.code).collect();
        let all: String = rendered.parts.iter().map(|part| shown(&part.content)).collect();
        let written_out = codes.contains(&DegradationCode::FormattingLost);
        for words in told(&content) {
            let words = bare(&words);
            if written_out {
                prop_assert!(is_subsequence(&words, &all), "{words:?} not in {all:?}");
            } else {
                prop_assert!(all.contains(&words), "{words:?} not in {all:?}");
            }
        }
        if !codes.contains(&DegradationCode::LabelShortened) {
            for label in labels(&content) {
                prop_assert!(all.contains(&bare(&label)), "{label:?} not in {all:?}");
            }
        }
        // Media goes as media or as a link.
        let carried: Vec<&Media> = rendered.parts.iter().flat_map(|part| part.content.media()).collect();
        if !matches!(content, Content::Sticker(_)) {
            for media in content.media() {
                let linked = media.url.as_deref().is_some_and(|url| all.contains(url));
                prop_assert!(carried.contains(&media) || linked, "{content:?} lost its media");
            }
        }
    }

    #[test]
    fn every_change_is_said_and_nothing_else(content in any::content(), able in any::capabilities()) {
        let Ok(rendered) = render(&content, &able) else {
            return Ok(());
        };
        let codes: Vec<DegradationCode> = rendered.degraded.iter().map(|d| d.code).collect();
        let unchanged = match &rendered.parts[..] {
            [only] => is_same(&only.content, &tidy(&content)),
            _ => false,
        };
        prop_assert_eq!(unchanged, codes.is_empty(), "{:?} {:?}", content, rendered);
        let has = |code| codes.contains(&code);
        let kinds: Vec<&str> = rendered.parts.iter().map(|part| part.content.kind()).collect();
        let split = matches!(content, Content::Text(_)) && kinds.len() > 1;
        prop_assert!(!split || has(DegradationCode::TextSplit));
        if let Content::Choices(asked) = &content {
            match rendered.parts.last().map(|part| &part.content) {
                Some(Content::Choices(shown)) => prop_assert_eq!(
                    shown.style != asked.style, has(DegradationCode::ChoicesRestyled)
                ),
                _ => prop_assert!(has(DegradationCode::ChoicesNumbered) || has(DegradationCode::PutIntoWords)),
            }
        }
        if let Content::Voice(voice) = &content {
            prop_assert_eq!(
                !matches!(kinds[0], "voice" | "text"), has(DegradationCode::MediaConverted)
            );
            prop_assert_eq!(kinds[0] == "text", has(DegradationCode::MediaLinked));
            let captioned = voice.caption.as_ref().is_some_and(|caption| !is_blank(&caption.text));
            let moved = captioned && kinds[0] != "text" && kinds.len() > 1;
            prop_assert_eq!(moved, has(DegradationCode::CaptionMoved));
        }
    }

    #[test]
    fn what_can_be_told_is_sent(content in any::content(), able in any::capabilities()) {
        let able = Capabilities { text: TextLimit::Characters(1000), ..able };
        if can_be_told(&content) {
            let rendered = render(&content, &able);
            prop_assert!(rendered.is_ok(), "{content:?}: {rendered:?}");
        }
    }
}
