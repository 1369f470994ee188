//! The words of a rich message (<https://core.telegram.org/bots/api#richmessage>), one block below the other. Pure.
//!
//! Blocks and pieces of text are read by the fields that they have, not by their type, so that
//! types of a later version keep their words.

use serde_json::{Map, Value};
use tributary_base::text::is_blank;
use tributary_bus::message::{Entity, EntityKind, Text};

/// Fields of a block that hold words, in the order in which they are read.
const WORDS: &[&str] = &[
    "heading",
    "title",
    "subtitle",
    "summary",
    "text",
    "alternative_text",
    "expression",
    "description",
];
/// Fields of a block that hold what cannot be shown in a text; it is named there.
const MEDIA: &[(&str, &str)] = &[
    ("photo", "[photo]"),
    ("video", "[video]"),
    ("animation", "[animation]"),
    ("audio", "[audio]"),
    ("document", "[file]"),
    ("voice_note", "[voice message]"),
];
/// Between the cells of a row, and between buttons.
const SEPARATOR: &str = " | ";

/// Everything there is to read in a rich message; `None` when there is nothing.
pub(super) fn text(message: &Value) -> Option<Text> {
    let mut writer = Writer::default();
    writer.block(message);
    let Writer {
        text, mut entities, ..
    } = writer;
    if is_blank(&text) {
        return None;
    }
    // What surrounds others comes first.
    entities.sort_by_key(|entity| (entity.offset, u32::MAX - entity.length));
    Some(Text {
        text,
        entities,
        extra: Map::new(),
    })
}

#[derive(Default)]
struct Writer {
    text: String,
    /// Of `text`.
    characters: u32,
    entities: Vec<Entity>,
    /// What is to be written before the next words, if there are any.
    before: &'static str,
}

impl Writer {
    fn push(&mut self, words: &str) {
        if words.is_empty() {
            return;
        }
        for part in [std::mem::take(&mut self.before), words] {
            self.text.push_str(part);
            let characters = u32::try_from(part.chars().count()).unwrap_or(u32::MAX);
            self.characters = self.characters.saturating_add(characters);
        }
    }

    /// What comes next stands behind this, unless nothing has been written yet. A line that has
    /// begun with a label goes on, and an ended line has ended.
    fn separate(&mut self, separator: &'static str) {
        if !self.text.is_empty() && !matches!(self.before, " " | "\n") {
            self.before = separator;
        }
    }

    /// Notes that all words that `write` adds are of this kind.
    fn marked(&mut self, kind: Option<EntityKind>, write: impl FnOnce(&mut Self)) {
        let pending = u32::try_from(self.before.chars().count()).unwrap_or(0);
        let (before, offset) = (self.characters, self.characters.saturating_add(pending));
        write(self);
        let length = self.characters.saturating_sub(offset);
        if let Some(kind) = kind.filter(|_| self.characters > before && length > 0) {
            self.entities.push(Entity {
                offset,
                length,
                kind,
            });
        }
    }

    /// A block of its own lines: an object with any of the known fields, or words alone.
    fn block(&mut self, block: &Value) {
        self.separate("\n");
        let Some(fields) = block.as_object() else {
            return self.inline(block);
        };
        self.marked(kind_of_block(block), |writer| {
            for key in WORDS {
                writer.part(fields.get(*key), Self::inline);
            }
            for (_, name) in MEDIA.iter().filter(|(key, _)| fields.contains_key(*key)) {
                writer.separate("\n");
                writer.push(name);
            }
            writer.part(fields.get("location"), Self::location);
            for inner in list(fields.get("blocks")) {
                writer.block(inner);
            }
            for item in list(fields.get("items")) {
                writer.item(item);
            }
            for row in list(fields.get("cells")) {
                writer.row(row);
            }
            writer.part(fields.get("buttons"), Self::row);
            // A caption is an object like a block, or words.
            if let Some(caption) = fields.get("caption") {
                writer.block(caption);
            }
            writer.part(fields.get("credit"), Self::inline);
        });
        self.separate("\n");
    }

    fn part(&mut self, value: Option<&Value>, write: impl FnOnce(&mut Self, &Value)) {
        if let Some(value) = value {
            self.separate("\n");
            write(self, value);
        }
    }

    /// A block, behind its bullet or number.
    fn item(&mut self, item: &Value) {
        if !self.text.is_empty() {
            self.before = "\n";
        }
        let flag = |key: &str| item.get(key).and_then(Value::as_bool) == Some(true);
        let checkbox = match (flag("has_checkbox"), flag("is_checked")) {
            (true, true) => "[x]",
            (true, false) => "[ ]",
            (false, _) => "",
        };
        for label in [word(item, "label"), checkbox] {
            self.push(label);
            if !label.is_empty() {
                self.before = " ";
            }
        }
        self.block(item);
    }

    fn row(&mut self, row: &Value) {
        self.separate("\n");
        for cell in list(Some(row)) {
            self.inline(cell);
            self.separate(SEPARATOR);
        }
    }

    fn location(&mut self, location: &Value) {
        let number = |key: &str| location.get(key).and_then(Value::as_f64);
        if let (Some(latitude), Some(longitude)) = (number("latitude"), number("longitude")) {
            self.push(&format!("{latitude}, {longitude}"));
        }
    }

    /// Words of a line: text, pieces of text, or one piece with its formatting.
    fn inline(&mut self, piece: &Value) {
        match piece {
            Value::String(words) => self.push(words),
            Value::Array(pieces) => pieces.iter().for_each(|piece| self.inline(piece)),
            Value::Object(fields) => self.marked(kind_of_piece(piece), |writer| {
                for key in WORDS.iter().chain(&["caption", "button"]) {
                    if let Some(words) = fields.get(*key) {
                        writer.inline(words);
                    }
                }
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn kind_of_block(block: &Value) -> Option<EntityKind> {
    match word(block, "type") {
        "pre" => Some(EntityKind::Pre {
            language: Some(word(block, "language").to_owned()).filter(|name| !name.is_empty()),
        }),
        "blockquote" | "expandable_blockquote" | "pullquote" => Some(EntityKind::Quote),
        _ => None,
    }
}

fn kind_of_piece(piece: &Value) -> Option<EntityKind> {
    Some(match word(piece, "type") {
        "bold" => EntityKind::Bold,
        "italic" => EntityKind::Italic,
        "underline" => EntityKind::Underline,
        "strikethrough" => EntityKind::Strikethrough,
        "spoiler" => EntityKind::Spoiler,
        "code" => EntityKind::Code,
        "url" => match word(piece, "url") {
            "" => return None,
            url if word(piece, "text") == url => EntityKind::Url,
            url => EntityKind::Link {
                url: url.to_owned(),
            },
        },
        "email_address" => EntityKind::Email,
        "phone_number" => EntityKind::Phone,
        "mention" | "text_mention" => EntityKind::Mention,
        "hashtag" | "cashtag" => EntityKind::Hashtag,
        "bot_command" => EntityKind::Command,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(blocks: Value) -> (String, Vec<(u32, u32, Value)>) {
        let text = text(&json!({ "blocks": blocks })).expect("words");
        let entities = text.entities.into_iter();
        let entities = entities.map(|e| (e.offset, e.length, json!(e.kind)));
        (text.text, entities.collect())
    }

    #[test]
    fn headings_and_paragraphs_are_lines() {
        let (text, entities) = read(json!([
            {"type": "heading", "size": 2, "text": "Order 4711"},
            {"type": "paragraph", "text": ["the ", {"type": "bold", "text": "oak leg"}, " is broken"]},
        ]));
        assert_eq!(text, "Order 4711\nthe oak leg is broken");
        assert_eq!(entities, [(15, 7, json!(EntityKind::Bold))]);
    }

    #[test]
    fn every_block_keeps_its_words() {
        let photo = json!([{"file_id": "a"}]);
        let (text, entities) = read(json!([
            {"type": "list", "items": [
                {"label": "1.", "blocks": [{"type": "paragraph", "text": "one"}, {"type": "paragraph", "text": "more"}]},
                {"label": "•", "has_checkbox": true, "is_checked": true, "blocks": [{"type": "paragraph", "text": "two"}]},
            ]},
            {"type": "divider"},
            {"type": "anchor", "name": "hidden"},
            {"type": "blockquote", "blocks": [{"type": "paragraph", "text": "said"}], "credit": "Ivan"},
            {"type": "pre", "language": "rust", "text": "fn main() {}"},
            {"type": "table", "cells": [[{"text": "a", "align": "left"}, {"text": {"type": "code", "text": "b"}}], [{"text": "c"}, {}]],
             "caption": "numbers"},
            {"type": "details", "summary": "More", "blocks": [{"type": "photo", "photo": photo, "caption": {"text": "leg", "credit": "me"}}]},
            {"type": "map", "location": {"latitude": 50.5, "longitude": 30.25}, "caption": {"text": "here"}},
            {"type": "mathematical_expression", "expression": "a^2"},
            {"type": "buttons", "buttons": [{"text": "Yes", "callback_data": "y"}, {"text": "No"}]},
            {"type": "paragraph", "text": [{"type": "button", "button": {"text": "Press"}}, " ",
                {"type": "custom_emoji", "custom_emoji_id": "5", "alternative_text": "😀"},
                {"type": "url", "url": "https://example.org", "text": ["our ", {"type": "italic", "text": "shop"}]}]},
            {"type": "a_later_one", "text": {"type": "a_later_style", "text": "kept"}},
            "bare",
        ]));
        assert_eq!(
            text,
            "1. one\nmore\n• [x] two\nsaid\nIvan\nfn main() {}\na | b\nc\nnumbers\nMore\n[photo]\nleg\nme\n\
             50.5, 30.25\nhere\na^2\nYes | No\nPress 😀our shop\nkept\nbare"
        );
        let part = |offset: u32, length: u32| -> String {
            let characters = text.chars().skip(offset as usize);
            characters.take(length as usize).collect()
        };
        let entities: Vec<(String, Value)> = entities
            .into_iter()
            .map(|(offset, length, kind)| (part(offset, length), kind))
            .collect();
        let language = Some("rust".to_owned());
        let url = "https://example.org".to_owned();
        let expected = [
            ("said\nIvan", EntityKind::Quote),
            ("fn main() {}", EntityKind::Pre { language }),
            ("b", EntityKind::Code),
            ("our shop", EntityKind::Link { url }),
            ("shop", EntityKind::Italic),
        ];
        assert_eq!(
            entities,
            expected.map(|(text, kind)| (text.to_owned(), json!(kind)))
        );
    }

    #[test]
    fn nothing_to_read_is_no_text() {
        for message in [
            json!({}),
            json!([]),
            json!({"blocks": [{"type": "divider"}, {"type": "paragraph", "text": " "}]}),
            json!({"blocks": 7}),
        ] {
            assert_eq!(text(&message), None, "{message}");
        }
    }
}
