//! Keyboards: below a message (`inline_keyboard`), or in the place of the contact's own (`keyboard`). Pure.

use serde_json::{Value, json};
use tributary_bus::message::{Choice, ChoiceAction, ChoiceStyle, Choices, Text};

use super::{
    super::address::Place,
    plan::{Request, Words},
    rejected,
};
use crate::SendError;

/// Buttons side by side, at most, and the characters of their labels together: what a narrow phone shows whole.
const ROW: usize = 3;
const ROW_CHARACTERS: usize = 24;
/// Bytes of `callback_data` (https://core.telegram.org/bots/api#inlinekeyboardbutton).
pub(in super::super) const DATA_BYTES: usize = 64;

/// The message with its keyboard.
pub(super) fn to_request(choices: &Choices, place: &Place) -> Result<Request, SendError> {
    let asks = choices.options.iter().any(is_request);
    let private = place.is_private() && place.business.is_none();
    if asks && !private {
        return Err(rejected(
            "choices",
            "a number or a position can only be asked for in the private chat with the bot",
        ));
    }
    let quick = choices.style == ChoiceStyle::QuickReplies && private;
    let text = |text: &Text| Request::new("sendMessage", json!({})).words(Words::Text, text);
    if asks || quick {
        let markup = keyboard(&choices.options);
        return Ok(text(&with_links(choices)).with("reply_markup", Some(markup)));
    }
    let per_row = match choices.style {
        ChoiceStyle::List => 1,
        ChoiceStyle::Buttons | ChoiceStyle::QuickReplies => ROW,
    };
    let markup = inline(&choices.options, per_row)?;
    Ok(text(&choices.text).with("reply_markup", markup))
}

fn is_request(option: &Choice) -> bool {
    match option.action {
        ChoiceAction::RequestContact | ChoiceAction::RequestLocation => true,
        ChoiceAction::Reply | ChoiceAction::Url { .. } | ChoiceAction::Call { .. } => false,
    }
}

/// Short labels side by side, long ones in rows of their own.
fn rows(buttons: Vec<(usize, Value)>, per_row: usize) -> Vec<Vec<Value>> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let mut used = 0;
    for (characters, button) in buttons {
        match rows.last_mut() {
            Some(row) if row.len() < per_row && used + characters <= ROW_CHARACTERS => {
                used += characters;
                row.push(button);
            }
            _ => {
                used = characters;
                rows.push(vec![button]);
            }
        }
    }
    rows
}

/// `None` without options.
fn inline(options: &[Choice], per_row: usize) -> Result<Option<Value>, SendError> {
    let mut buttons = Vec::with_capacity(options.len());
    for option in options {
        let text = option.title.as_str();
        let button = match &option.action {
            ChoiceAction::Reply if (1..=DATA_BYTES).contains(&option.id.len()) => {
                json!({"text": text, "callback_data": option.id})
            }
            ChoiceAction::Reply => {
                let reason = format!("the id of a choice must have 1 to {DATA_BYTES} bytes");
                return Err(rejected("choices", reason));
            }
            ChoiceAction::Url { url } => json!({"text": text, "url": url}),
            // Telegram opens no numbers.
            ChoiceAction::Call { phone } => json!({"text": text, "copy_text": {"text": phone}}),
            ChoiceAction::RequestContact | ChoiceAction::RequestLocation => {
                return Err(rejected(
                    "choices",
                    "no button below a message can ask for this",
                ));
            }
        };
        buttons.push((text.chars().count(), button));
    }
    let markup = json!({"inline_keyboard": rows(buttons, per_row)});
    Ok((!options.is_empty()).then_some(markup))
}

/// Pressing a button writes its label, which the router reads as the choice.
fn keyboard(options: &[Choice]) -> Value {
    let buttons = options.iter().filter_map(|option| {
        let text = option.title.as_str();
        let button = match &option.action {
            ChoiceAction::Reply => json!({"text": text}),
            ChoiceAction::RequestContact => json!({"text": text, "request_contact": true}),
            ChoiceAction::RequestLocation => json!({"text": text, "request_location": true}),
            ChoiceAction::Url { .. } | ChoiceAction::Call { .. } => return None,
        };
        Some((text.chars().count(), button))
    });
    json!({
        "keyboard": rows(buttons.collect(), ROW),
        "resize_keyboard": true,
        "one_time_keyboard": true,
    })
}

/// What such a keyboard cannot open stands in the text.
fn with_links(choices: &Choices) -> Text {
    let mut text = choices.text.clone();
    for option in &choices.options {
        let target = match &option.action {
            ChoiceAction::Url { url } => url,
            ChoiceAction::Call { phone } => phone,
            ChoiceAction::Reply | ChoiceAction::RequestContact | ChoiceAction::RequestLocation => {
                continue;
            }
        };
        text.text.push_str(&format!("\n{}: {target}", option.title));
    }
    text
}
