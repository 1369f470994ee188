//! Keyboards: what the provider takes below a message, and instead of the ordinary keyboard.

use serde_json::Value;
use url::Url;

use super::super::answer::ApiError;
use super::super::chat::Chat;
use super::super::params::Params;

/// Of an inline button's `callback_data`, in bytes.
const MAX_CALLBACK_DATA: usize = 64;
/// Of an inline button's `copy_text`, in characters.
const MAX_COPY_TEXT: usize = 256;
const MAX_INLINE_BUTTONS: usize = 100;
const MAX_INLINE_IN_ROW: usize = 8;
const MAX_KEYS: usize = 300;
/// In characters.
const MAX_PLACEHOLDER: usize = 64;
/// An inline button does exactly one of these.
const ACTIONS: [&str; 10] = [
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "callback_game",
    "pay",
];

/// What a `reply_markup` says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Markup {
    /// There is none.
    None,
    /// Buttons that become part of the message.
    Inline(Value),
    /// A keyboard in place of the ordinary one.
    Keyboard(Value),
    /// Back to the ordinary keyboard.
    Remove(Value),
    /// The client opens a reply.
    ForceReply(Value),
}

impl Markup {
    pub(super) fn read(params: &Params) -> Result<Self, ApiError> {
        if params.get("reply_markup").is_none() {
            return Ok(Self::None);
        }
        let markup = params
            .json("reply_markup")
            .filter(Value::is_object)
            .ok_or_else(|| ApiError::bad_request("object expected as reply markup"))?;
        if let Some(rows) = markup.get("inline_keyboard") {
            let rows = rows_of(rows)?;
            inline(&rows)?;
            // An empty keyboard is none.
            let empty = rows.iter().all(|row| row.is_empty());
            return Ok(if empty {
                Self::None
            } else {
                Self::Inline(markup)
            });
        }
        if let Some(rows) = markup.get("keyboard") {
            keys(&rows_of(rows)?)?;
            placeholder(&markup)?;
            return Ok(Self::Keyboard(markup));
        }
        if markup["remove_keyboard"] == true {
            return Ok(Self::Remove(markup));
        }
        if markup["force_reply"] == true {
            placeholder(&markup)?;
            return Ok(Self::ForceReply(markup));
        }
        Ok(Self::None)
    }

    /// Buttons that ask for what only a private chat can give.
    pub(super) fn fits(&self, chat: &Chat) -> Result<(), ApiError> {
        let Self::Keyboard(markup) = self else {
            return Ok(());
        };
        if chat.is("private") {
            return Ok(());
        }
        let keys = markup["keyboard"].as_array().into_iter().flatten();
        for key in keys.filter_map(Value::as_array).flatten() {
            for (field, what) in [
                ("request_contact", "phone number"),
                ("request_location", "location"),
            ] {
                if key[field] == true {
                    let reason = format!("{what} can be requested in private chats only");
                    return Err(ApiError::bad_request(&reason));
                }
            }
            if key.get("web_app").is_some() {
                return Err(ApiError::bad_request("BUTTON_TYPE_INVALID"));
            }
        }
        Ok(())
    }

    /// The part of it that is in the message.
    pub(super) fn in_message(&self) -> Option<Value> {
        match self {
            Self::Inline(markup) => Some(markup.clone()),
            Self::None | Self::Keyboard(_) | Self::Remove(_) | Self::ForceReply(_) => None,
        }
    }

    /// All of it, for the records.
    pub(super) fn whole(&self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Inline(markup)
            | Self::Keyboard(markup)
            | Self::Remove(markup)
            | Self::ForceReply(markup) => Some(markup.clone()),
        }
    }

    /// What it does to the keyboard of the chat.
    pub(super) fn apply(&self, chat: &mut Chat) {
        match self {
            Self::Keyboard(markup) => chat.keyboard = Some(markup.clone()),
            Self::Remove(_) => chat.keyboard = None,
            Self::None | Self::Inline(_) | Self::ForceReply(_) => {}
        }
    }
}

fn rows_of(rows: &Value) -> Result<Vec<&Vec<Value>>, ApiError> {
    let wrong = || {
        ApiError::bad_request(
            "can't parse reply keyboard markup JSON object: Field \"keyboard\" must be of type Array",
        )
    };
    let rows = rows.as_array().ok_or_else(wrong)?;
    rows.iter()
        .map(|row| row.as_array().ok_or_else(wrong))
        .collect()
}

fn inline(rows: &[&Vec<Value>]) -> Result<(), ApiError> {
    let count: usize = rows.iter().map(|row| row.len()).sum();
    if count > MAX_INLINE_BUTTONS || rows.iter().any(|row| row.len() > MAX_INLINE_IN_ROW) {
        return Err(ApiError::bad_request("reply markup is too long"));
    }
    rows.iter().copied().flatten().try_for_each(inline_button)
}

fn inline_button(button: &Value) -> Result<(), ApiError> {
    let wrong = |reason: &str| {
        ApiError::bad_request(&format!("can't parse inline keyboard button: {reason}"))
    };
    if !button["text"].is_string() {
        return Err(wrong("Field \"text\" must be of type String"));
    }
    if button["text"]
        .as_str()
        .is_none_or(|text| text.trim().is_empty())
    {
        return Err(ApiError::bad_request("BUTTON_TEXT_EMPTY"));
    }
    let actions = ACTIONS
        .iter()
        .filter(|action| button.get(**action).is_some());
    match actions.count() {
        0 => return Err(wrong("Text buttons are unallowed in the inline keyboard")),
        1 => {}
        _ => return Err(wrong("Exactly one of the optional fields must be used")),
    }
    let data = button
        .get("callback_data")
        .map(|data| data.as_str().unwrap_or_default());
    if data.is_some_and(|data| data.is_empty() || data.len() > MAX_CALLBACK_DATA) {
        return Err(ApiError::bad_request("BUTTON_DATA_INVALID"));
    }
    let url = button
        .get("url")
        .map(|url| url.as_str().unwrap_or_default());
    if url.is_some_and(|url| !is_link(url)) {
        return Err(ApiError::bad_request("BUTTON_URL_INVALID"));
    }
    let copied = button
        .get("copy_text")
        .map(|copy| copy["text"].as_str().unwrap_or_default());
    if copied.is_some_and(|text| !(1..=MAX_COPY_TEXT).contains(&text.chars().count())) {
        return Err(ApiError::bad_request("BUTTON_COPY_TEXT_INVALID"));
    }
    Ok(())
}

/// `http`, `https` and `tg` links, also without a scheme; what has no dot in its host is none.
fn is_link(text: &str) -> bool {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    Url::parse(&whole).is_ok_and(|url| match url.scheme() {
        "tg" | "ton" => true,
        "http" | "https" => url.host_str().is_some_and(|host| host.contains('.')),
        _ => false,
    })
}

fn keys(rows: &[&Vec<Value>]) -> Result<(), ApiError> {
    if rows.iter().map(|row| row.len()).sum::<usize>() > MAX_KEYS {
        return Err(ApiError::bad_request("reply markup is too long"));
    }
    for key in rows.iter().copied().flatten() {
        let text = key.as_str().or_else(|| key["text"].as_str());
        if text.is_none_or(|text| text.trim().is_empty()) {
            return Err(ApiError::bad_request(
                "can't parse keyboard button: Field \"text\" must be of type String",
            ));
        }
    }
    Ok(())
}

fn placeholder(markup: &Value) -> Result<(), ApiError> {
    let placeholder = markup
        .get("input_field_placeholder")
        .and_then(Value::as_str);
    if placeholder.is_some_and(|text| !(1..=MAX_PLACEHOLDER).contains(&text.chars().count())) {
        return Err(ApiError::bad_request("REPLY_MARKUP_PLACEHOLDER_INVALID"));
    }
    Ok(())
}
