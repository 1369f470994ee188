//! Formatting that a channel does not show: written out where it means something, left out otherwise.

use std::collections::BTreeSet;

use tributary_bus::message::{Entity, EntityKind, Text};

use super::split::whole;
use crate::Markup;

/// Words that are put into a text, before the character at a place. Of several at one place the end of a link comes
/// before the beginning of a line.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Insertion {
    at: usize,
    words: Words,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Words {
    /// ` (url)`
    Address(String),
    Quote,
    Bullet,
}

impl Words {
    fn text(&self) -> &str {
        match self {
            Self::Address(address) => address,
            Self::Quote => "> ",
            Self::Bullet => "• ",
        }
    }
}

/// The text with only such formatting as `markup` has, and whether any was lost: a link behind words becomes
/// `words (url)`, an item of a list gets `• `, quoted lines get `> `, a block of code becomes code in a line, the rest is
/// left out. Entities that reach out of the text are cut.
pub(super) fn reduce(text: &Text, markup: Markup) -> (Text, bool) {
    let text = whole(text);
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    for entity in text.entities {
        match Markup::of(&entity.kind) {
            Some(kind) if !markup.has(kind) => lost.push(entity),
            _ => kept.push(entity),
        }
    }
    if lost.is_empty() {
        let text = Text {
            entities: kept,
            ..text
        };
        return (text, false);
    }
    let characters: Vec<char> = text.text.chars().collect();
    let insertions = insertions(&characters, &lost);
    if markup.has(Markup::CODE) {
        let blocks = lost.iter().filter_map(|entity| match entity.kind {
            EntityKind::Pre { .. } => Some(Entity {
                kind: EntityKind::Code,
                ..entity.clone()
            }),
            _ => None,
        });
        kept.extend(blocks);
    }
    let reduced = Text {
        text: written(&characters, &insertions),
        entities: kept
            .into_iter()
            .filter_map(|entity| moved(entity, &insertions))
            .collect(),
        extra: text.extra,
    };
    (reduced, true)
}

/// In the order in which they come.
fn insertions(characters: &[char], lost: &[Entity]) -> Vec<Insertion> {
    let mut found = BTreeSet::new();
    for entity in lost {
        let from = entity.offset as usize;
        let to = from + entity.length as usize;
        let words = &characters[from..to];
        match &entity.kind {
            EntityKind::Link { url } => {
                let shown: String = words.iter().collect();
                if !says_the_same(&shown, url) {
                    let blank = words.iter().rev().take_while(|c| c.is_whitespace()).count();
                    found.insert(Insertion {
                        at: if blank == words.len() { to } else { to - blank },
                        words: Words::Address(format!(" ({url})")),
                    });
                }
            }
            EntityKind::Quote => {
                let lines = (from..to).filter(|at| *at == from || characters[at - 1] == '\n');
                found.extend(lines.map(|at| Insertion {
                    at,
                    words: Words::Quote,
                }));
            }
            EntityKind::ListItem => {
                found.insert(Insertion {
                    at: from,
                    words: Words::Bullet,
                });
            }
            EntityKind::Bold
            | EntityKind::Italic
            | EntityKind::Underline
            | EntityKind::Strikethrough
            | EntityKind::Spoiler
            | EntityKind::Code
            | EntityKind::Pre { .. }
            | EntityKind::Url
            | EntityKind::Email
            | EntityKind::Phone
            | EntityKind::Mention
            | EntityKind::Hashtag
            | EntityKind::Command
            | EntityKind::Other(_) => {}
        }
    }
    found.into_iter().collect()
}

/// Whether the words behind which a link lies name its address themselves.
fn says_the_same(words: &str, url: &str) -> bool {
    let bare = |text: &str| {
        let text = text.trim();
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let text = text.strip_prefix("mailto:").unwrap_or(text);
        let text = text.strip_prefix("tel:").unwrap_or(text);
        text.trim_end_matches('/').to_owned()
    };
    bare(words) == bare(url)
}

fn written(characters: &[char], insertions: &[Insertion]) -> String {
    let mut written = String::new();
    let mut next = insertions.iter().peekable();
    for at in 0..=characters.len() {
        while let Some(insertion) = next.next_if(|insertion| insertion.at <= at) {
            written.push_str(insertion.words.text());
        }
        written.extend(characters.get(at));
    }
    written
}

/// The entity at its new place: it grows over what is put into its middle, not over what is put before or behind it.
fn moved(entity: Entity, insertions: &[Insertion]) -> Option<Entity> {
    let before = |place: usize| -> usize {
        insertions
            .iter()
            .take_while(|insertion| insertion.at < place)
            .map(|insertion| insertion.words.text().chars().count())
            .sum()
    };
    let from = entity.offset as usize;
    let to = from + entity.length as usize;
    let offset = from + before(from + 1);
    let end = to + before(to);
    Some(Entity {
        offset: u32::try_from(offset).ok()?,
        length: u32::try_from(end.checked_sub(offset)?).ok()?,
        kind: entity.kind,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn entity(offset: u32, length: u32, kind: EntityKind) -> Entity {
        Entity {
            offset,
            length,
            kind,
        }
    }

    fn reduced(text: &str, entities: Vec<Entity>, markup: Markup) -> (String, Vec<(u32, u32)>) {
        let text = Text {
            text: text.to_owned(),
            entities,
            extra: Map::new(),
        };
        let (text, _) = reduce(&text, markup);
        let places = text.entities.iter().map(|e| (e.offset, e.length)).collect();
        (text.text, places)
    }

    fn link(offset: u32, length: u32, url: &str) -> Entity {
        let url = url.to_owned();
        entity(offset, length, EntityKind::Link { url })
    }

    #[test]
    fn what_the_channel_shows_stays() {
        let text = Text {
            text: "bold".to_owned(),
            entities: vec![
                entity(0, 4, EntityKind::Bold),
                entity(0, 4, EntityKind::Url),
            ],
            extra: Map::new(),
        };
        assert_eq!(reduce(&text, Markup::BOLD), (text.clone(), false));
        let (plain, lost) = reduce(&text, Markup::NONE);
        assert!(lost);
        assert_eq!(plain.text, "bold");
        assert!(matches!(
            plain.entities[..],
            [Entity {
                kind: EntityKind::Url,
                ..
            }]
        ));
    }

    #[test]
    fn links_are_written_behind_their_words() {
        let url = "https://shop.example/a";
        assert_eq!(
            reduced("see the shop now", vec![link(4, 9, url)], Markup::NONE).0,
            "see the shop (https://shop.example/a) now"
        );
        for words in [url, "shop.example/a", "https://shop.example/a/"] {
            let length = u32::try_from(words.len()).expect("short");
            assert_eq!(
                reduced(words, vec![link(0, length, url)], Markup::NONE).0,
                words
            );
        }
    }

    #[test]
    fn lists_and_quotes_are_written_at_the_beginning_of_lines() {
        let items = vec![
            entity(0, 3, EntityKind::ListItem),
            entity(4, 3, EntityKind::ListItem),
        ];
        assert_eq!(reduced("tea\nice", items, Markup::NONE).0, "• tea\n• ice");
        let quotes = vec![
            entity(0, 7, EntityKind::Quote),
            entity(0, 3, EntityKind::Quote),
        ];
        assert_eq!(
            reduced("one\ntwo\nthree", quotes, Markup::NONE).0,
            "> one\n> two\nthree"
        );
    }

    #[test]
    fn other_formatting_keeps_its_words() {
        let entities = vec![
            entity(0, 3, EntityKind::ListItem),
            entity(0, 3, EntityKind::Bold),
            link(0, 3, "https://a.example"),
            entity(3, 4, EntityKind::Italic),
            entity(0, 7, EntityKind::Underline),
        ];
        let kept = Markup::ALL.without(Markup::LIST).without(Markup::LINK);
        let (text, places) = reduced("tea\nice", entities, kept);
        assert_eq!(text, "• tea (https://a.example)\nice");
        assert_eq!(places, [(2, 3), (25, 4), (2, 27)]);
    }

    #[test]
    fn a_block_of_code_becomes_code() {
        let block = vec![entity(0, 2, EntityKind::Pre { language: None })];
        assert_eq!(reduced("ls", block.clone(), Markup::CODE).1, [(0, 2)]);
        assert_eq!(reduced("ls", block, Markup::BOLD).1, []);
    }
}
