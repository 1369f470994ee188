//! What a contact can choose from, and what was chosen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Media, Text};

/// A question with ready answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Choices {
    pub text: Text,
    #[serde(default)]
    pub style: ChoiceStyle,
    /// In the order in which they are shown. Not empty.
    pub options: Vec<Choice>,
    /// Label of the button that opens a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub button: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How choices are shown where a channel knows both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceStyle {
    /// Below the message.
    #[default]
    Buttons,
    /// Behind a button that opens a list.
    List,
    /// In the place of the contact's keyboard, gone after an answer.
    QuickReplies,
}

/// One answer.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// Comes back as `choice_reply.id`; unique within the message.
    pub id: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Heading of the part of a list it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    #[serde(default)]
    pub action: ChoiceAction,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What choosing does.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ChoiceAction {
    /// Tells us.
    #[default]
    Reply,
    /// Opens a page; nothing comes back.
    Url { url: String },
    /// Calls a number; nothing comes back.
    Call { phone: String },
    /// Asks for the contact's phone number; a `contact_card` comes back.
    RequestContact,
    /// Asks for the contact's position; a `location` comes back.
    RequestLocation,
}

/// A choice was made.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = with_typed)]
pub struct ChoiceReply {
    /// The `id` of the option.
    pub id: String,
    /// As the contact saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What the router adds to a choice that was typed. It is among the fields that no connector sets, and still part of the
/// format.
fn with_typed(schema: &mut schemars::Schema) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        let typed = json!({
            "type": "string",
            "description": "What the contact typed, where the options went as a numbered list or as keys that write their title.",
        });
        properties.insert("typed".to_owned(), typed);
    }
}

/// Cards side by side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Carousel {
    /// Words before the cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Not empty.
    pub cards: Vec<Card>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One card.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Card {
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Choice>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Choice {
    /// An answer that tells us `id`.
    pub fn reply(id: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            description: None,
            section: None,
            action: ChoiceAction::Reply,
            extra: Map::new(),
        }
    }
}

impl Choices {
    /// What a typed answer means where the options were shown as a numbered list: their number (from 1), or a title, in
    /// any case. Numbers count the options in their order, whatever each does.
    pub fn answer(&self, typed: &str) -> Option<ChoiceReply> {
        let typed = typed.trim().trim_end_matches(['.', ')']).trim();
        let by_number = typed
            .parse::<usize>()
            .ok()
            .and_then(|number| self.options.get(number.checked_sub(1)?));
        self.by_title(typed).or(by_number).and_then(Choice::chosen)
    }

    /// What a text means where the options were keys that write their title: the title alone, in any case.
    pub fn answer_by_title(&self, typed: &str) -> Option<ChoiceReply> {
        self.by_title(typed.trim()).and_then(Choice::chosen)
    }

    /// Whether channels may show the options as keys that write their title as the person's own text: quick replies,
    /// and whatever stands beside a key that asks for a number or a position.
    pub fn may_be_typed(&self) -> bool {
        self.style == ChoiceStyle::QuickReplies
            || self.options.iter().any(|option| match option.action {
                ChoiceAction::RequestContact | ChoiceAction::RequestLocation => true,
                ChoiceAction::Reply | ChoiceAction::Url { .. } | ChoiceAction::Call { .. } => false,
            })
    }

    fn by_title(&self, typed: &str) -> Option<&Choice> {
        let lower = typed.to_lowercase();
        let mut titled = self
            .options
            .iter()
            .filter(|option| option.title.trim().to_lowercase() == lower);
        // Two options of the same title: the words do not say which.
        titled.next().filter(|_| titled.next().is_none())
    }
}

impl Choice {
    /// As the answer that it gives; `None` where it does something else.
    fn chosen(&self) -> Option<ChoiceReply> {
        (self.action == ChoiceAction::Reply).then(|| ChoiceReply {
            id: self.id.clone(),
            title: Some(self.title.clone()),
            extra: Map::new(),
        })
    }
}

/// Shows the id, never the words.
impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Choice")
    }
}

impl std::fmt::Debug for ChoiceAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reply => "Reply",
            Self::Url { .. } => "Url",
            Self::Call { .. } => "Call",
            Self::RequestContact => "RequestContact",
            Self::RequestLocation => "RequestLocation",
        })
    }
}

impl std::fmt::Debug for ChoiceReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChoiceReply")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drinks() -> Choices {
        Choices {
            text: Text::plain("What would you like?"),
            options: vec![
                Choice::reply("t", "Tea"),
                Choice::reply("c", "Coffee"),
                Choice {
                    action: ChoiceAction::Url {
                        url: "https://shop.example".to_owned(),
                    },
                    ..Choice::reply("m", "Menu")
                },
                Choice::reply("2", "12"),
            ],
            ..Choices::default()
        }
    }

    #[test]
    fn typed_answers_are_understood() {
        let id = |typed: &str| drinks().answer(typed).map(|reply| reply.id);
        for (typed, wanted) in [
            ("2", Some("c")),
            (" 2. ", Some("c")),
            ("1)", Some("t")),
            ("tea", Some("t")),
            ("COFFEE ", Some("c")),
            ("12", Some("2")),
            ("4", Some("2")),
            ("3", None),
            ("menu", None),
            ("0", None),
            ("5", None),
            ("two", None),
            ("", None),
            ("-1", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(id(typed).as_deref(), wanted, "{typed}");
        }
    }

    #[test]
    fn one_title_twice_is_no_answer() {
        let mut twice = drinks();
        twice.options.push(Choice::reply("x", "tea"));
        assert_eq!(twice.answer("Tea"), None);
    }
}
