//! `parse_mode=MarkdownV2`: markup to plain text and entities, refusing what the provider refuses.

use serde_json::{Value, json};

/// They mean something, or will one day, so they must be escaped where they should be shown.
const RESERVED: &str = "_*[]()~`>#+-=|{}.!";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bold,
    Italic,
    Underline,
    Strikethrough,
    Spoiler,
    Link,
    CustomEmoji,
    Code,
    Pre,
    Blockquote,
}

impl Kind {
    /// The entity this mark begins and ends, and the mark.
    fn at(rest: &str) -> Option<(Self, &'static str)> {
        let marks = [
            ("__", Self::Underline),
            ("_", Self::Italic),
            ("*", Self::Bold),
            ("~", Self::Strikethrough),
            ("||", Self::Spoiler),
            ("```", Self::Pre),
            ("`", Self::Code),
            ("![", Self::CustomEmoji),
            ("[", Self::Link),
        ];
        let found = marks.into_iter().find(|(mark, _)| rest.starts_with(mark));
        found.map(|(mark, kind)| (kind, mark))
    }

    fn entity(self) -> &'static str {
        match self {
            Self::Bold => "bold",
            Self::Italic => "italic",
            Self::Underline => "underline",
            Self::Strikethrough => "strikethrough",
            Self::Spoiler => "spoiler",
            Self::Link => "text_link",
            Self::CustomEmoji => "custom_emoji",
            Self::Code => "code",
            Self::Pre => "pre",
            Self::Blockquote => "blockquote",
        }
    }
}

struct Open {
    kind: Kind,
    /// UTF-16 units of text before it.
    start: usize,
    /// Bytes of markup before it.
    at: usize,
    language: String,
}

struct Parser<'a> {
    markup: &'a str,
    at: usize,
    text: String,
    units: usize,
    open: Vec<Open>,
    entities: Vec<Value>,
}

/// Text without markup, and entities with offsets in UTF-16 units. The error is the provider's own sentence after
/// `can't parse entities: `; byte offsets in it count in the given text.
pub(super) fn parse(markup: &str) -> Result<(String, Vec<Value>), String> {
    let mut parser = Parser {
        markup,
        at: 0,
        text: String::with_capacity(markup.len()),
        units: 0,
        open: Vec::new(),
        entities: Vec::new(),
    };
    while parser.at < markup.len() {
        parser.step()?;
    }
    parser.end_quote()?;
    if let Some(open) = parser.open.pop() {
        return Err(format!(
            "Can't find end of {:?} entity at byte offset {}",
            open.kind, open.at
        ));
    }
    Ok((parser.text, parser.entities))
}

impl Parser<'_> {
    fn step(&mut self) -> Result<(), String> {
        let rest = &self.markup[self.at..];
        let Some(next) = rest.chars().next() else {
            return Ok(());
        };
        if next == '\\'
            && let Some(escaped) = rest[1..].chars().next().filter(char::is_ascii)
        {
            self.at += 1;
            self.push(escaped);
            return Ok(());
        }
        let top = self.open.last().map(|open| open.kind);
        if let Some(Kind::Code | Kind::Pre) = top {
            return self.inside_code(next);
        }
        let line_begins = self.at == 0 || self.markup[..self.at].ends_with('\n');
        if line_begins && (rest.starts_with('>') || rest.starts_with("**>")) {
            self.quote();
            return Ok(());
        }
        if next == '\n' && !rest[1..].starts_with('>') {
            self.end_quote()?;
        }
        if next == ']' && matches!(top, Some(Kind::Link | Kind::CustomEmoji)) {
            return self.end_link();
        }
        if let Some((kind, mark)) = Kind::at(rest) {
            if top == Some(kind) {
                self.at += mark.len();
                self.close(&Value::Null);
            } else {
                self.begin(kind, mark);
            }
            return Ok(());
        }
        if RESERVED.contains(next) {
            return Err(format!(
                "Character '{next}' is reserved and must be escaped with the preceding '\\'"
            ));
        }
        self.push(next);
        Ok(())
    }

    fn push(&mut self, c: char) {
        self.text.push(c);
        self.units += c.len_utf16();
        self.at += c.len_utf8();
    }

    fn begin(&mut self, kind: Kind, mark: &str) {
        let at = self.at;
        self.at += mark.len();
        let mut language = String::new();
        if kind == Kind::Pre {
            let line = self.markup[self.at..].lines().next().unwrap_or_default();
            let is_name = !line.is_empty() && !line.contains([' ', '`']);
            if is_name && self.markup[self.at + line.len()..].starts_with('\n') {
                language = line.to_owned();
                self.at += line.len();
            }
            if self.markup[self.at..].starts_with('\n') {
                self.at += 1;
            }
        }
        self.open.push(Open {
            kind,
            start: self.units,
            at,
            language,
        });
    }

    /// Nothing but its own end means anything in code.
    fn inside_code(&mut self, next: char) -> Result<(), String> {
        let in_pre = self.open.last().is_some_and(|open| open.kind == Kind::Pre);
        let mark = if in_pre { "```" } else { "`" };
        if self.markup[self.at..].starts_with(mark) {
            self.at += mark.len();
            self.close(&Value::Null);
        } else if next == '`' {
            return Err(
                "Character '`' is reserved and must be escaped with the preceding '\\'".into(),
            );
        } else {
            self.push(next);
        }
        Ok(())
    }

    /// An empty bold entity in front separates a quote from the one before.
    fn quote(&mut self) {
        if self.markup[self.at..].starts_with("**>") {
            self.at += 2;
        }
        if !self.open.iter().any(|open| open.kind == Kind::Blockquote) {
            self.begin(Kind::Blockquote, ">");
        } else {
            self.at += 1;
        }
    }

    /// A quote ends with its last line; `||` before that makes it expandable.
    fn end_quote(&mut self) -> Result<(), String> {
        let Some(index) = self
            .open
            .iter()
            .position(|open| open.kind == Kind::Blockquote)
        else {
            return Ok(());
        };
        let inner = self.open.split_off(index + 1);
        let unclosed = inner
            .iter()
            .find(|open| open.kind != Kind::Spoiler || open.start != self.units);
        if let Some(open) = unclosed {
            return Err(format!(
                "Can't find end of {:?} entity at byte offset {}",
                open.kind, open.at
            ));
        }
        let expandable = !inner.is_empty();
        self.close(&Value::Null);
        if expandable && let Some(entity) = self.entities.last_mut() {
            entity["type"] = json!("expandable_blockquote");
        }
        Ok(())
    }

    fn end_link(&mut self) -> Result<(), String> {
        self.at += 1;
        if !self.markup[self.at..].starts_with('(') {
            // Without an address the text would have to be one.
            self.close(&json!(""));
            return Ok(());
        }
        let began = self.at;
        self.at += 1;
        let mut url = String::new();
        let mut letters = self.markup[self.at..].chars();
        while let Some(letter) = letters.next() {
            match letter {
                ')' => {
                    self.at = self.markup.len() - letters.as_str().len();
                    self.close(&json!(url));
                    return Ok(());
                }
                '\\' => url.extend(letters.next()),
                other => url.push(other),
            }
        }
        Err(format!("Can't find end of a URL at byte offset {began}"))
    }

    fn close(&mut self, url: &Value) {
        let Some(open) = self.open.pop() else { return };
        let length = self.units - open.start;
        if length == 0 {
            return;
        }
        let mut entity =
            json!({"offset": open.start, "length": length, "type": open.kind.entity()});
        let address = url.as_str().unwrap_or_default();
        match open.kind {
            Kind::Link if !address.contains(['.', ':']) => return,
            Kind::Link => entity["url"] = url.clone(),
            Kind::CustomEmoji => {
                let Some(id) = address.strip_prefix("tg://emoji?id=") else {
                    return;
                };
                entity["custom_emoji_id"] = json!(id);
            }
            Kind::Pre if !open.language.is_empty() => entity["language"] = json!(open.language),
            _ => {}
        }
        self.entities.push(entity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(markup: &str) -> (String, Vec<(String, u64, u64)>) {
        let (text, entities) = parse(markup).expect("it is well formed");
        let entities = entities.iter().map(|entity| {
            let number = |name: &str| entity[name].as_u64().expect("a number");
            (
                entity["type"].as_str().expect("a type").to_owned(),
                number("offset"),
                number("length"),
            )
        });
        (text, entities.collect())
    }

    #[test]
    fn marks_become_entities() {
        for (markup, text, entities) in [
            (
                "😂 *b _i_*",
                "😂 b i",
                vec![("italic", 5, 1), ("bold", 3, 3)],
            ),
            (
                "__u__ ~s~ ||h||",
                "u s h",
                vec![
                    ("underline", 0, 1),
                    ("strikethrough", 2, 1),
                    ("spoiler", 4, 1),
                ],
            ),
            ("1\\. \\*a\\* `x*y`", "1. *a* x*y", vec![("code", 7, 3)]),
            ("```rust\nlet a;```", "let a;", vec![("pre", 0, 6)]),
            (
                "[see](https://a.example.org/\\)b)",
                "see",
                vec![("text_link", 0, 3)],
            ),
            (
                ">one\n>two\nthree",
                "one\ntwo\nthree",
                vec![("blockquote", 0, 7)],
            ),
            (
                ">one\n>two||",
                "one\ntwo",
                vec![("expandable_blockquote", 0, 7)],
            ),
        ] {
            let entities: Vec<_> = entities
                .into_iter()
                .map(|(kind, offset, length)| (kind.to_owned(), offset, length))
                .collect();
            assert_eq!(shown(markup), (text.to_owned(), entities), "{markup}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (markup, reason) in [
            (
                "a.b",
                "Character '.' is reserved and must be escaped with the preceding '\\'",
            ),
            ("a *b", "Can't find end of Bold entity at byte offset 2"),
            ("[a](b", "Can't find end of a URL at byte offset 3"),
            (">a *b\nc", "Can't find end of Bold entity at byte offset 3"),
        ] {
            assert_eq!(parse(markup).err().as_deref(), Some(reason), "{markup}");
        }
    }
}
