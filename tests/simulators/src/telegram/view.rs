//! What somebody who looks at a chat sees.

use std::sync::Arc;

use serde_json::Value;

use super::account::Bot;
use super::chat::Chat;
use super::kind::FileKind;
use super::records::FileSeen;

/// A chat as it looks now: edits are applied, deleted messages are gone.
#[derive(Debug, Clone, Default)]
pub struct ChatView {
    /// In the order of their ids. Only the last 1,000 are remembered.
    pub messages: Vec<MessageView>,
    /// The labels on the keyboard the bot gave, by row; empty: the ordinary one is shown.
    pub keyboard: Vec<Vec<String>>,
}

/// A message as it looks now.
#[derive(Debug, Clone)]
pub struct MessageView {
    /// Within the chat.
    pub message_id: i64,
    /// The bot sent it. In a channel, where nobody is named, every post counts as its own.
    pub from_bot: bool,
    /// Text or caption, without markup.
    pub text: String,
    /// Formatting of that, as `MessageEntity` objects.
    pub entities: Vec<Value>,
    /// Its file, where it has one that is still remembered.
    pub file: Option<FileSeen>,
    /// The labels of its inline buttons, by row.
    pub buttons: Vec<Vec<String>>,
    /// It is marked as edited.
    pub edited: bool,
    /// The message it answers.
    pub reply_to: Option<i64>,
    /// The album it belongs to.
    pub album: Option<String>,
    /// Who (a user or a bot) reacted how: an emoji, or the type of another reaction.
    pub reactions: Vec<(i64, String)>,
    /// All of it, as a `Message`.
    pub message: Arc<Value>,
}

impl ChatView {
    pub(super) fn of(bot: &Bot, chat: &Chat, files: &super::files::Files) -> Self {
        let keyboard = chat.keyboard.as_ref().map(|markup| &markup["keyboard"]);
        Self {
            messages: chat
                .messages()
                .map(|(id, message)| view(bot, chat, files, id, message))
                .collect(),
            keyboard: labels(keyboard.unwrap_or(&Value::Null)),
        }
    }

    /// The message with this id, if it is there.
    pub fn message(&self, message_id: i64) -> Option<&MessageView> {
        self.messages
            .iter()
            .find(|message| message.message_id == message_id)
    }

    /// What the bot sent and what is still there.
    pub fn from_bot(&self) -> impl Iterator<Item = &MessageView> {
        self.messages.iter().filter(|message| message.from_bot)
    }

    /// The texts and captions of all messages, in order.
    pub fn texts(&self) -> Vec<&str> {
        let texts = self.messages.iter().map(|message| message.text.as_str());
        texts.collect()
    }
}

fn view(
    bot: &Bot,
    chat: &Chat,
    files: &super::files::Files,
    message_id: i64,
    message: &Arc<Value>,
) -> MessageView {
    let captioned = message.get("text").is_none();
    let (text, entities) = if captioned {
        ("caption", "caption_entities")
    } else {
        ("text", "entities")
    };
    let reactions = chat.all_reactions(message_id).flat_map(|(who, list)| {
        let each = list.as_array().into_iter().flatten();
        each.map(move |reaction| {
            let shown = reaction["emoji"]
                .as_str()
                .or_else(|| reaction["type"].as_str());
            (who, shown.unwrap_or_default().to_owned())
        })
    });
    MessageView {
        message_id,
        from_bot: bot.has_sent(chat, message),
        text: message[text].as_str().unwrap_or_default().to_owned(),
        entities: message[entities].as_array().cloned().unwrap_or_default(),
        file: file_id(message)
            .and_then(|id| files.get(id))
            .map(|file| FileSeen::of(file)),
        buttons: labels(&message["reply_markup"]["inline_keyboard"]),
        edited: message.get("edit_date").is_some(),
        reply_to: message["reply_to_message"]["message_id"].as_i64(),
        album: message["media_group_id"].as_str().map(str::to_owned),
        reactions: reactions.collect(),
        message: Arc::clone(message),
    }
}

/// An animation is a document as well, so it comes first.
fn file_id(message: &Value) -> Option<&str> {
    let kinds = [
        FileKind::Photo,
        FileKind::Video,
        FileKind::Audio,
        FileKind::Voice,
        FileKind::Animation,
        FileKind::Document,
        FileKind::VideoNote,
        FileKind::Sticker,
    ];
    let file = kinds
        .into_iter()
        .find_map(|kind| message.get(kind.field()))?;
    let largest = file.as_array().and_then(|sizes| sizes.last());
    largest.unwrap_or(file)["file_id"].as_str()
}

fn labels(rows: &Value) -> Vec<Vec<String>> {
    let label = |button: &Value| {
        let text = button.as_str().or_else(|| button["text"].as_str());
        text.unwrap_or_default().to_owned()
    };
    let rows = rows.as_array().into_iter().flatten();
    rows.filter_map(Value::as_array)
        .map(|row| row.iter().map(label).collect())
        .collect()
}
