//! Questions with ready answers.

use std::collections::HashSet;

use tributary_bus::message::{Card, Carousel, Choice, ChoiceAction, Choices};

use super::limits::{CARD_LIMIT, CARD_OPTION_LIMIT, ID_LIMIT, OPTION_LIMIT, TITLE_LIMIT};
use super::parts::{Blank, link, media, nothing_else, short, text, within};
use crate::api::problem::Problem;

pub(super) fn choices(at: &str, choices: &Choices) -> Result<(), Problem> {
    nothing_else(at, &choices.extra)?;
    text(&within(at, "text"), &choices.text, Blank::Refused)?;
    if let Some(button) = &choices.button {
        short(&within(at, "button"), button, 1..=TITLE_LIMIT)?;
    }
    let at = within(at, "options");
    count(&at, choices.options.len(), 1, OPTION_LIMIT)?;
    options(&at, &choices.options, &mut HashSet::new())
}

pub(super) fn carousel(at: &str, carousel: &Carousel) -> Result<(), Problem> {
    nothing_else(at, &carousel.extra)?;
    if let Some(words) = &carousel.text {
        text(&within(at, "text"), words, Blank::Allowed)?;
    }
    let at = within(at, "cards");
    count(&at, carousel.cards.len(), 1, CARD_LIMIT)?;
    let mut ids = HashSet::new();
    for (n, one) in carousel.cards.iter().enumerate() {
        card(&format!("{at}[{n}]"), one, &mut ids)?;
    }
    Ok(())
}

fn card<'c>(at: &str, card: &'c Card, ids: &mut HashSet<&'c str>) -> Result<(), Problem> {
    nothing_else(at, &card.extra)?;
    short(&within(at, "title"), &card.title, 1..=TITLE_LIMIT)?;
    if let Some(words) = &card.text {
        text(&within(at, "text"), words, Blank::Allowed)?;
    }
    if let Some(picture) = &card.media {
        media(&within(at, "media"), picture)?;
    }
    let at = within(at, "options");
    count(&at, card.options.len(), 0, CARD_OPTION_LIMIT)?;
    options(&at, &card.options, ids)
}

fn count(at: &str, items: usize, least: usize, most: usize) -> Result<(), Problem> {
    if (least..=most).contains(&items) {
        return Ok(());
    }
    let detail = format!("must have from {least} to {most} items");
    Err(Problem::field(at, detail))
}

/// The ids are how a choice comes back, so each means one option of the message.
fn options<'c>(at: &str, options: &'c [Choice], ids: &mut HashSet<&'c str>) -> Result<(), Problem> {
    for (n, option) in options.iter().enumerate() {
        let at = format!("{at}[{n}]");
        nothing_else(&at, &option.extra)?;
        short(&within(&at, "id"), &option.id, 1..=ID_LIMIT)?;
        if !ids.insert(&option.id) {
            let detail = "must be unique within the message";
            return Err(Problem::field(&within(&at, "id"), detail));
        }
        short(&within(&at, "title"), &option.title, 1..=TITLE_LIMIT)?;
        if let Some(description) = &option.description {
            short(&within(&at, "description"), description, 0..=1000)?;
        }
        if let Some(section) = &option.section {
            short(&within(&at, "section"), section, 1..=TITLE_LIMIT)?;
        }
        action(&within(&at, "action"), &option.action)?;
    }
    Ok(())
}

fn action(at: &str, action: &ChoiceAction) -> Result<(), Problem> {
    match action {
        ChoiceAction::Url { url } => link(&within(at, "url"), url).map(drop),
        ChoiceAction::Call { phone } => {
            let at = within(at, "phone");
            short(&at, phone, 3..=32)?;
            let allowed = |c: char| c.is_ascii_digit() || "+-() ".contains(c);
            if phone.chars().all(allowed) {
                return Ok(());
            }
            Err(Problem::field(&at, "must be a phone number"))
        }
        ChoiceAction::Reply | ChoiceAction::RequestContact | ChoiceAction::RequestLocation => {
            Ok(())
        }
    }
}
