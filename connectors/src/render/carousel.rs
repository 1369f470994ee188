//! Cards side by side, or one after the other where the channel cannot.

use tributary_bus::message::{
    Card, Carousel, Choice, ChoiceAction, ChoiceStyle, Choices, Content, DegradationCode,
    MediaContent, Text,
};

use super::{
    Draft, Unrenderable, append, choices,
    measure::shorten,
    media::{self, Kind},
    words::heading,
};
use crate::{Capabilities, CarouselLimits, Support};

/// Adds cards.
pub(super) fn add(draft: &mut Draft<'_>, carousel: &Carousel) -> Result<(), Unrenderable> {
    if carousel.cards.is_empty() {
        return Err(Unrenderable::new("the carousel has no cards"));
    }
    let text = carousel.text.as_ref().filter(|text| !text.is_blank());
    let text = text.map(|text| draft.formatted(text));
    let able = draft.capabilities;
    let cards = match &able.carousel {
        Some(limits) if carousel.cards.len() <= limits.cards => {
            let cards = carousel.cards.iter();
            cards.map(|card| fit(draft, card, limits)).collect()
        }
        Some(_) | None => None,
    };
    match cards {
        Some(cards) => show(draft, carousel, text, cards),
        None => tell(draft, carousel, text),
    }
}

/// Adds cards that fit; words before them that are too long go before as text.
fn show(
    draft: &mut Draft<'_>,
    carousel: &Carousel,
    text: Option<Text>,
    cards: Vec<Card>,
) -> Result<(), Unrenderable> {
    let (text, before) = match text {
        Some(text) if draft.capabilities.text.holds(&text.text) => (Some(text), None),
        text => (None, text),
    };
    if let Some(before) = before {
        draft.formatted_text(&before)?;
    }
    if cards.iter().zip(&carousel.cards).any(|(card, asked)| {
        let titles = card.options.iter().zip(&asked.options);
        card.title != asked.title || titles.into_iter().any(|(a, b)| a.title != b.title)
    }) {
        draft.note(DegradationCode::LabelShortened, "labels of cards cut short");
    }
    draft.contents.push(Content::Carousel(Carousel {
        text,
        cards,
        extra: carousel.extra.clone(),
    }));
    Ok(())
}

/// The card within the limits, with titles cut short where needed.
fn fit(draft: &mut Draft<'_>, card: &Card, limits: &CarouselLimits) -> Option<Card> {
    let able = draft.capabilities;
    let title = shorten(&card.title, limits.title)?;
    let text = card.text.as_ref().map(|text| draft.formatted(text));
    let text_fits = text
        .as_ref()
        .is_none_or(|text| limits.text.holds(&text.text));
    let media_fits = match (&card.media, &able.media.image) {
        (Some(media), Some(limit)) => media::misfit(media, limit).is_none(),
        (_, None) | (None, _) => true,
    };
    if !text_fits || !media_fits || card.options.len() > limits.buttons {
        return None;
    }
    let options: Option<Vec<Choice>> = card
        .options
        .iter()
        .map(|option| fit_button(option, able))
        .collect();
    Some(Card {
        title,
        text,
        media: card.media.clone(),
        options: options?,
        extra: card.extra.clone(),
    })
}

/// Buttons of cards keep to the limits of buttons elsewhere, where the channel has them.
fn fit_button(option: &Choice, able: &Capabilities) -> Option<Choice> {
    let Some(limits) = &able.choices else {
        return Some(option.clone());
    };
    let support = match option.action {
        ChoiceAction::Reply => Support::Yes,
        ChoiceAction::Url { .. } => limits.url,
        ChoiceAction::Call { .. } => limits.call,
        ChoiceAction::RequestContact | ChoiceAction::RequestLocation => limits.request,
    };
    if support == Support::No || !limits.id.holds(&option.id) {
        return None;
    }
    let described = option
        .description
        .as_deref()
        .is_none_or(|words| limits.description.is_some_and(|limit| limit.holds(words)));
    if !described {
        return None;
    }
    Some(Choice {
        title: shorten(&option.title, limits.title)?,
        ..option.clone()
    })
}

/// Adds each card as a message: its media with its words, or its words with its buttons.
fn tell(
    draft: &mut Draft<'_>,
    carousel: &Carousel,
    text: Option<Text>,
) -> Result<(), Unrenderable> {
    draft.note(
        DegradationCode::PutIntoWords,
        format!("{} cards as messages of their own", carousel.cards.len()),
    );
    if let Some(text) = text {
        draft.formatted_text(&text)?;
    }
    // Numbers go on from card to card, so that each is said once.
    let mut first = 1;
    for card in &carousel.cards {
        let mut words = heading(draft, &card.title);
        if let Some(text) = card.text.as_ref().filter(|text| !text.is_blank()) {
            join(&mut words, text);
        }
        let media = card.media.as_ref().map(|media| MediaContent {
            media: media.clone(),
            caption: card.options.is_empty().then(|| words.clone()),
            ..MediaContent::default()
        });
        if let Some(content) = &media {
            let kind = match content.media.mime {
                Some(_) => Kind::of(&content.media),
                None => Kind::Image,
            };
            media::add(draft, kind, content)?;
        }
        if !card.options.is_empty() {
            let choices = Choices {
                text: words,
                style: ChoiceStyle::Buttons,
                options: card.options.clone(),
                ..Choices::default()
            };
            choices::add_numbered_from(draft, &choices, first)?;
            first += card.options.len();
        } else if media.is_none() {
            draft.text(&words)?;
        }
    }
    Ok(())
}

/// Puts a text with its entities below another.
fn join(above: &mut Text, below: &Text) {
    let below = super::split::whole(below);
    append(above, "\n", "");
    let before = u32::try_from(above.text.chars().count()).unwrap_or(u32::MAX);
    above.text.push_str(&below.text);
    above
        .entities
        .extend(below.entities.into_iter().map(|mut entity| {
            entity.offset = entity.offset.saturating_add(before);
            entity
        }));
}
