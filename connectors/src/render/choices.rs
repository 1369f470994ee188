//! Choices: as buttons, list or quick replies where they fit, else as a numbered list.

use std::collections::BTreeSet;

use tributary_bus::message::{
    Choice, ChoiceAction, ChoiceStyle, Choices, Content, DegradationCode, Text,
};

use super::{Draft, Unrenderable, append, measure::shorten, split::split};
use crate::{ChoiceLimits, Support, TextLimit};

/// Choices as the channel shows them.
struct Fitted {
    /// Parts of the text that go before.
    before: Vec<Text>,
    /// With the last part of the text.
    choices: Choices,
    /// A label was cut short.
    shortened: bool,
    /// Something of the options went into the text.
    told: bool,
}

/// Adds a text with choices.
pub(super) fn add(draft: &mut Draft<'_>, choices: &Choices) -> Result<(), Unrenderable> {
    if choices.options.is_empty() {
        return Err(Unrenderable::new("there is nothing to choose from"));
    }
    add_numbered_from(draft, choices, 1)
}

/// The same; where it becomes a numbered list, it counts from `first`.
pub(super) fn add_numbered_from(
    draft: &mut Draft<'_>,
    choices: &Choices,
    first: usize,
) -> Result<(), Unrenderable> {
    let text = draft.formatted(&choices.text);
    let able = draft.capabilities;
    let fitted = able
        .choices
        .as_ref()
        .and_then(|limits| fit(choices, &text, limits, able.text));
    match fitted {
        Some(fitted) => {
            show(draft, choices.style, fitted);
            Ok(())
        }
        None => tell(draft, choices, text, first),
    }
}

fn show(draft: &mut Draft<'_>, asked: ChoiceStyle, fitted: Fitted) {
    let shown = fitted.choices.style;
    if shown != asked {
        let detail = format!("{} shown as {}", name(asked), name(shown));
        draft.note(DegradationCode::ChoicesRestyled, detail);
    }
    if fitted.shortened {
        draft.note(
            DegradationCode::LabelShortened,
            "labels of choices cut short",
        );
    }
    if fitted.told {
        draft.note(
            DegradationCode::PutIntoWords,
            "what the channel cannot show of the choices is written in the text",
        );
    }
    draft.note_split(fitted.before.len() + 1);
    draft
        .contents
        .extend(fitted.before.into_iter().map(Content::Text));
    draft.contents.push(Content::Choices(fitted.choices));
}

/// The choices within the limits; `None` when they do not fit in any style.
fn fit(choices: &Choices, text: &Text, limits: &ChoiceLimits, plain: TextLimit) -> Option<Fitted> {
    let ids_fit = choices
        .options
        .iter()
        .all(|option| limits.id.holds(&option.id));
    if !ids_fit {
        return None;
    }
    let (style, shown) = style_of(choices, limits)?;
    let mut told = Vec::new();
    let mut shortened = false;
    let mut options = Vec::with_capacity(shown.len());
    for option in &choices.options {
        if !can_show(&option.action, style, limits) {
            told.push(line(option));
            continue;
        }
        let title = shorten(&option.title, limits.title)?;
        let full = described(option);
        let description = full.and_then(|full| shorten(full, limits.description?));
        if full.is_some() && description.is_none() {
            told.push(line(option));
        }
        shortened |= title != option.title
            || description
                .as_deref()
                .is_some_and(|short| Some(short) != full);
        options.push(Choice {
            title,
            description,
            ..option.clone()
        });
    }
    // Cut short, two could look the same.
    if shortened && !are_distinct(&options) {
        return None;
    }
    let button = choices
        .button
        .as_deref()
        .and_then(|label| shorten(label, limits.title));
    shortened |= button != choices.button;
    let mut text = text.clone();
    if !told.is_empty() {
        append(&mut text, "\n\n", &told.join("\n"));
    }
    let (before, last) = divide(text, limits.text, plain)?;
    Some(Fitted {
        before,
        choices: Choices {
            text: last,
            style,
            options,
            button,
            extra: choices.extra.clone(),
        },
        shortened,
        told: !told.is_empty(),
    })
}

/// The style that shows the most, the one asked for first, and the options that it shows.
fn style_of<'a>(
    choices: &'a Choices,
    limits: &ChoiceLimits,
) -> Option<(ChoiceStyle, Vec<&'a Choice>)> {
    let styles = match choices.style {
        ChoiceStyle::Buttons => [
            ChoiceStyle::Buttons,
            ChoiceStyle::QuickReplies,
            ChoiceStyle::List,
        ],
        ChoiceStyle::List => [
            ChoiceStyle::List,
            ChoiceStyle::Buttons,
            ChoiceStyle::QuickReplies,
        ],
        ChoiceStyle::QuickReplies => [
            ChoiceStyle::QuickReplies,
            ChoiceStyle::Buttons,
            ChoiceStyle::List,
        ],
    };
    let fitting = styles.into_iter().filter_map(|style| {
        let most = match style {
            ChoiceStyle::Buttons => limits.buttons,
            ChoiceStyle::List => limits.list_rows,
            ChoiceStyle::QuickReplies => limits.quick_replies,
        };
        let shown: Vec<&Choice> = choices
            .options
            .iter()
            .filter(|option| can_show(&option.action, style, limits))
            .collect();
        (!shown.is_empty() && shown.len() <= most).then_some((style, shown))
    });
    // Of those that show as much the first.
    fitting.reduce(|best, next| {
        if next.1.len() > best.1.len() {
            next
        } else {
            best
        }
    })
}

/// Whether an option can do this. Quick replies open no page in any channel: they are things to say.
fn can_show(action: &ChoiceAction, style: ChoiceStyle, limits: &ChoiceLimits) -> bool {
    let quick = style == ChoiceStyle::QuickReplies;
    match action {
        ChoiceAction::Reply => true,
        ChoiceAction::Url { .. } => !quick && limits.url == Support::Yes,
        ChoiceAction::Call { .. } => !quick && limits.call == Support::Yes,
        ChoiceAction::RequestContact | ChoiceAction::RequestLocation => {
            limits.request == Support::Yes
        }
    }
}

fn are_distinct(options: &[Choice]) -> bool {
    let titles: BTreeSet<&str> = options.iter().map(|option| option.title.as_str()).collect();
    titles.len() == options.len()
}

/// The parts of the text that go before as plain text, and the last, which goes with the choices. `None` when there is
/// no room for one of its characters.
fn divide(text: Text, limit: TextLimit, plain: TextLimit) -> Option<(Vec<Text>, Text)> {
    if limit.holds(&text.text) {
        return Some((Vec::new(), text));
    }
    let mut before = split(&text, plain)?;
    let last = before.pop().unwrap_or_default();
    before.extend(split(&last, limit)?);
    let last = before.pop().unwrap_or_default();
    Some((before, last))
}

/// Adds a numbered list. The numbers count all options, as [`Choices::answer`] does.
fn tell(
    draft: &mut Draft<'_>,
    choices: &Choices,
    mut text: Text,
    first: usize,
) -> Result<(), Unrenderable> {
    let numbered = choices
        .options
        .iter()
        .any(|option| option.action == ChoiceAction::Reply);
    if numbered {
        draft.note(
            DegradationCode::ChoicesNumbered,
            "choices sent as a numbered list",
        );
    } else {
        draft.note(DegradationCode::PutIntoWords, "choices written in the text");
    }
    let mut section = None;
    let mut lines = Vec::new();
    for (number, option) in (first..).zip(&choices.options) {
        if option.section != section {
            section.clone_from(&option.section);
            lines.extend(section.clone().filter(|heading| !heading.trim().is_empty()));
        }
        let line = line(option);
        lines.push(if numbered {
            format!("{number}. {line}")
        } else {
            line
        });
    }
    append(&mut text, "\n\n", &lines.join("\n"));
    draft.formatted_text(&text)
}

/// `Title — description: address`
fn line(option: &Choice) -> String {
    let mut line = option.title.clone();
    if let Some(description) = described(option) {
        line.push_str(" — ");
        line.push_str(description);
    }
    match &option.action {
        ChoiceAction::Url { url: address } | ChoiceAction::Call { phone: address } => {
            line.push_str(": ");
            line.push_str(address);
        }
        ChoiceAction::Reply | ChoiceAction::RequestContact | ChoiceAction::RequestLocation => {}
    }
    line
}

/// The description, if it says anything.
fn described(option: &Choice) -> Option<&str> {
    let description = option.description.as_deref()?;
    (!description.trim().is_empty()).then_some(description)
}

fn name(style: ChoiceStyle) -> &'static str {
    match style {
        ChoiceStyle::Buttons => "buttons",
        ChoiceStyle::List => "list",
        ChoiceStyle::QuickReplies => "quick replies",
    }
}
