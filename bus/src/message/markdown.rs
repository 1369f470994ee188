//! A safe subset of Markdown, for those who write messages by hand or by a model. Pure.

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

use super::{Entity, EntityKind, Text};

/// Reads Markdown (CommonMark, and `~~strikethrough~~`) into text with entities: bold, italic, strikethrough, code,
/// blocks of code, links, lists, quotes; headings become bold lines. Everything else stays as its words: HTML is text,
/// pictures are links, and a link to anything but `http`, `https`, `mailto` and `tel` is no link. A line break is a line
/// break. Never fails: every text is Markdown.
pub fn from_markdown(markdown: &str) -> Text {
    let mut reader = Reader::default();
    for event in Parser::new_ext(markdown, Options::ENABLE_STRIKETHROUGH) {
        reader.read(event);
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    text: String,
    /// Characters of `text`.
    length: u32,
    /// Line breaks that come before the next words.
    breaks: usize,
    /// What is open: where it began, and what it becomes.
    open: Vec<(u32, Option<EntityKind>)>,
    /// The number of the next item of each open list; `None` in one without numbers.
    lists: Vec<Option<u64>>,
    entities: Vec<Entity>,
}

impl Reader {
    fn read(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(words) | Event::InlineHtml(words) | Event::Html(words) => {
                self.push(&words);
            }
            Event::Code(words) => {
                self.enter(Some(EntityKind::Code));
                self.push(&words);
                self.leave();
            }
            Event::SoftBreak | Event::HardBreak => self.push("\n"),
            Event::Rule => {
                self.separate(2);
                self.push("———");
                self.separate(2);
            }
            // Not enabled.
            Event::InlineMath(words)
            | Event::DisplayMath(words)
            | Event::FootnoteReference(words) => self.push(&words),
            Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Emphasis => self.enter(Some(EntityKind::Italic)),
            Tag::Strong => self.enter(Some(EntityKind::Bold)),
            Tag::Strikethrough => self.enter(Some(EntityKind::Strikethrough)),
            Tag::Link {
                link_type,
                dest_url,
                ..
            } => self.enter(match link_type {
                LinkType::Autolink => Some(EntityKind::Url),
                LinkType::Email => Some(EntityKind::Email),
                _ => link(&dest_url),
            }),
            Tag::Image { dest_url, .. } => self.enter(link(&dest_url)),
            Tag::Heading { .. } => {
                self.separate(2);
                self.enter(Some(EntityKind::Bold));
            }
            Tag::BlockQuote(_) => {
                self.separate(2);
                self.enter(Some(EntityKind::Quote));
            }
            Tag::CodeBlock(kind) => {
                self.separate(2);
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info
                        .split([' ', ','])
                        .next()
                        .filter(|name| !name.is_empty())
                        .map(str::to_owned),
                    CodeBlockKind::Indented => None,
                };
                self.enter(Some(EntityKind::Pre { language }));
            }
            Tag::List(first) => {
                self.separate(1);
                self.lists.push(first);
            }
            Tag::Item => match self.lists.last_mut() {
                Some(Some(number)) => {
                    let label = format!("{number}. ");
                    *number = number.saturating_add(1);
                    self.enter(None);
                    self.push(&label);
                }
                Some(None) | None => self.enter(Some(EntityKind::ListItem)),
            },
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Emphasis
            | TagEnd::Strong
            | TagEnd::Strikethrough
            | TagEnd::Link
            | TagEnd::Image => self.leave(),
            TagEnd::Heading(_) | TagEnd::BlockQuote(_) => {
                self.leave();
                self.separate(2);
            }
            TagEnd::CodeBlock => {
                let begin = self.open.last().map_or(0, |(begin, _)| *begin);
                self.end_line(begin);
                self.leave();
                self.separate(2);
            }
            TagEnd::HtmlBlock => {
                self.end_line(0);
                self.separate(2);
            }
            TagEnd::Item => {
                self.leave();
                self.breaks = 0;
                self.separate(1);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.breaks = 0;
                self.separate(if self.lists.is_empty() { 2 } else { 1 });
            }
            TagEnd::Paragraph => self.separate(2),
            _ => {}
        }
    }

    /// Takes the line break off the end of what began at a character.
    fn end_line(&mut self, begin: u32) {
        if self.length > begin && self.text.ends_with('\n') {
            self.text.pop();
            self.length -= 1;
        }
    }

    /// What comes next begins after at least so many line breaks.
    fn separate(&mut self, breaks: usize) {
        self.breaks = self.breaks.max(breaks);
    }

    fn enter(&mut self, kind: Option<EntityKind>) {
        self.push("");
        self.open.push((self.length, kind));
    }

    fn leave(&mut self) {
        if let Some((offset, Some(kind))) = self.open.pop()
            && let Some(length @ 1..) = self.length.checked_sub(offset)
        {
            self.entities.push(Entity {
                offset,
                length,
                kind,
            });
        }
    }

    fn push(&mut self, words: &str) {
        let breaks = std::mem::take(&mut self.breaks);
        if !self.text.is_empty() {
            self.add(&"\n".repeat(breaks));
        }
        self.add(words);
    }

    fn add(&mut self, words: &str) {
        self.text.push_str(words);
        let length = u32::try_from(words.chars().count()).unwrap_or(u32::MAX);
        self.length = self.length.saturating_add(length);
    }

    fn finish(mut self) -> Text {
        // The outer ones first.
        self.entities
            .sort_by_key(|entity| (entity.offset, std::cmp::Reverse(entity.length)));
        Text {
            text: self.text,
            entities: self.entities,
            ..Text::default()
        }
    }
}

/// A link that may be shown to anybody.
fn link(address: &str) -> Option<EntityKind> {
    let (scheme, _) = address.split_once(':')?;
    let safe = ["http", "https", "mailto", "tel"]
        .iter()
        .any(|safe| scheme.eq_ignore_ascii_case(safe));
    safe.then(|| EntityKind::Link {
        url: address.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(markdown: &str) -> (String, Value) {
        let text = from_markdown(markdown);
        let entities = serde_json::to_value(&text.entities).expect("entities are JSON");
        (text.text, entities)
    }

    #[test]
    fn inline_formatting_becomes_entities() {
        let (text, entities) =
            read("Hi **bold _both_** ~~no~~ `a*b` [shop](https://a.example) \\*");
        assert_eq!(text, "Hi bold both no a*b shop *");
        assert_eq!(
            entities,
            json!([
                {"offset": 3, "length": 9, "kind": "bold"},
                {"offset": 8, "length": 4, "kind": "italic"},
                {"offset": 13, "length": 2, "kind": "strikethrough"},
                {"offset": 16, "length": 3, "kind": "code"},
                {"offset": 20, "length": 4, "kind": "link", "url": "https://a.example"},
            ])
        );
    }

    #[test]
    fn blocks_become_lines() {
        let (text, entities) = read(
            "# Menu\n\nfirst\nsecond\n\n- tea\n- ice\n  - cold\n\n3. three\n4. four\n\n> said\n> more\n\n```rust\nfn a() {}\n\nb\n```\n",
        );
        assert_eq!(
            text,
            "Menu\n\nfirst\nsecond\n\ntea\nice\ncold\n\n3. three\n4. four\n\nsaid\nmore\n\nfn a() {}\n\nb"
        );
        assert_eq!(
            entities,
            json!([
                {"offset": 0, "length": 4, "kind": "bold"},
                {"offset": 20, "length": 3, "kind": "list_item"},
                {"offset": 24, "length": 8, "kind": "list_item"},
                {"offset": 28, "length": 4, "kind": "list_item"},
                {"offset": 52, "length": 9, "kind": "quote"},
                {"offset": 63, "length": 12, "kind": "pre", "language": "rust"},
            ])
        );
    }

    #[test]
    fn nothing_dangerous_becomes_a_link_or_html() {
        let (text, entities) =
            read("[x](javascript:alert(1)) <b>y</b> ![cat](https://a.example/c.png) [r](/a)");
        assert_eq!(text, "x <b>y</b> cat r");
        assert_eq!(
            entities,
            json!([{"offset": 11, "length": 3, "kind": "link", "url": "https://a.example/c.png"}])
        );
        let (text, entities) = read("<https://a.example> <a@b.example>\n\n<div>\nhi\n</div>");
        assert_eq!(text, "https://a.example a@b.example\n\n<div>\nhi\n</div>");
        assert_eq!(entities[0]["kind"], "url");
        assert_eq!(entities[1]["kind"], "email");
    }

    #[test]
    fn plain_words_stay() {
        for words in ["", "hello", "2 * 3 * 4 = 24", "snake_case_name", "a\nb"] {
            assert_eq!(read(words), (words.to_owned(), json!([])), "{words}");
        }
    }

    proptest! {
        #[test]
        fn entities_lie_in_the_text(markdown in "([a-c*_`~>#\\-+\\[\\]()!<1.) \n\t]|😀|\\PC|https://a ){0,60}") {
            let text = from_markdown(&markdown);
            let length = u32::try_from(text.text.chars().count()).expect("short");
            for entity in &text.entities {
                prop_assert!(entity.length > 0 && entity.offset + entity.length <= length);
            }
        }
    }
}
