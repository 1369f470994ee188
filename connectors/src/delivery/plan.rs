//! From content to the parts that a channel can carry. Pure.

use tributary_bus::message::{
    Content, Degradation, DegradationCode, Entity, Failure, FailureCode, Text,
};
use unicode_segmentation::UnicodeSegmentation;

use crate::{Capabilities, Part, TextLimit};

/// What is sent, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Never empty.
    pub parts: Vec<Part>,
    /// What had to be changed, in words for a person.
    pub degraded: Vec<Degradation>,
}

/// Plans the same parts every time: a redelivery goes on where the ledger says.
///
/// # Errors
/// The channel can never carry this content.
pub(super) fn plan(content: &Content, capabilities: &Capabilities) -> Result<Plan, Failure> {
    let text = match content {
        Content::Text(text) => text,
        Content::Unsupported(_) => {
            return Err(rejected("content of type unsupported is never sent"));
        }
        other => {
            return Err(rejected(&format!(
                "this channel cannot carry content of type {}",
                other.kind()
            )));
        }
    };
    let pieces = split(text, capabilities.text);
    if pieces.is_empty() {
        return Err(rejected("the text is empty"));
    }
    let degraded = match pieces.len() {
        1 => Vec::new(),
        count => vec![Degradation {
            code: DegradationCode::TextSplit,
            detail: format!("text split into {count} parts"),
        }],
    };
    let parts = (0..)
        .zip(pieces)
        .map(|(index, text)| Part {
            index,
            content: Content::Text(text),
        })
        .collect();
    Ok(Plan { parts, degraded })
}

fn rejected(reason: &str) -> Failure {
    Failure {
        code: FailureCode::Rejected,
        reason: reason.to_owned(),
    }
}

/// Cuts a text into pieces within the limit, with the entities that lie in each.
fn split(text: &Text, limit: TextLimit) -> Vec<Text> {
    let mut pieces = Vec::new();
    let mut rest = text.text.as_str();
    // Characters before `rest`.
    let mut offset = 0;
    while !rest.trim().is_empty() {
        let end = piece_end(rest, limit);
        let (piece, after) = rest.split_at(end);
        if !piece.trim().is_empty() {
            let body = if after.is_empty() {
                piece
            } else {
                piece.trim_end()
            };
            pieces.push(slice(text, body, offset));
        }
        let next = after.trim_start();
        offset += count(piece) + count(after) - count(next);
        rest = next;
    }
    pieces
}

/// Where the next piece ends, in bytes: everything when it fits, else after the last paragraph, line or word that fits
/// (as long as that does not leave the piece nearly empty), else after the last grapheme, else after one character.
fn piece_end(text: &str, limit: TextLimit) -> usize {
    let room = longest_prefix(text, limit);
    if room == text.len() {
        return room;
    }
    let prefix = &text[..room];
    let enough = room / 4;
    let breaks = [prefix.rfind("\n\n"), prefix.rfind('\n')];
    let soft = prefix.rfind(char::is_whitespace);
    // A word that ends exactly at the limit needs no cut before it.
    let at_limit = text[room..]
        .starts_with(char::is_whitespace)
        .then_some(room);
    breaks
        .into_iter()
        .chain([at_limit, soft])
        .flatten()
        .find(|end| *end > enough)
        .unwrap_or(room)
}

/// Bytes of the longest prefix within the limit that ends between two graphemes; at least one character.
fn longest_prefix(text: &str, limit: TextLimit) -> usize {
    let (most, size): (usize, fn(&str) -> usize) = match limit {
        TextLimit::Characters(most) => (most, count),
        TextLimit::Utf16Units(most) => (most, |text| text.encode_utf16().count()),
        TextLimit::Bytes(most) => (most, str::len),
        TextLimit::SmsSegments(most) => (most * 67, |text| text.encode_utf16().count()),
    };
    let fitting = |pieces: &mut dyn Iterator<Item = (usize, &str)>| {
        let mut used = 0;
        let mut end = 0;
        for (at, piece) in pieces {
            used += size(piece);
            if used > most {
                break;
            }
            end = at + piece.len();
        }
        end
    };
    let end = fitting(&mut text.grapheme_indices(true));
    if end > 0 {
        return end;
    }
    let mut characters = text
        .char_indices()
        .map(|(at, c)| (at, &text[at..at + c.len_utf8()]));
    let first = text.chars().next().map_or(0, char::len_utf8);
    fitting(&mut characters).max(first)
}

/// The piece with its entities; `offset` counts the characters before it.
fn slice(text: &Text, piece: &str, offset: usize) -> Text {
    let end = offset + count(piece);
    let entities = text.entities.iter().filter_map(|entity| {
        let from = (entity.offset as usize).max(offset);
        let to = (entity.offset as usize)
            .saturating_add(entity.length as usize)
            .min(end);
        (from < to).then(|| Entity {
            offset: u32::try_from(from - offset).unwrap_or(u32::MAX),
            length: u32::try_from(to - from).unwrap_or(u32::MAX),
            kind: entity.kind.clone(),
        })
    });
    Text {
        text: piece.to_owned(),
        entities: entities.collect(),
        extra: text.extra.clone(),
    }
}

fn count(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;
    use tributary_bus::message::EntityKind;

    use super::*;

    fn pieces(text: &str, limit: TextLimit) -> Vec<String> {
        let Content::Text(text) = Content::text(text) else {
            return Vec::new();
        };
        split(&text, limit).into_iter().map(|t| t.text).collect()
    }

    #[test]
    fn cuts_at_paragraph_then_line_then_word() {
        let limit = TextLimit::Characters(12);
        assert_eq!(pieces("short", limit), ["short"]);
        assert_eq!(
            pieces("one two\n\nthree four", limit),
            ["one two", "three four"]
        );
        assert_eq!(
            pieces("one two\nthree four", limit),
            ["one two", "three four"]
        );
        assert_eq!(
            pieces("one two three four", limit),
            ["one two", "three four"]
        );
        assert_eq!(pieces("exactly-12ch next", limit), ["exactly-12ch", "next"]);
        assert_eq!(pieces("abcdefghijklmnop", limit), ["abcdefghijkl", "mnop"]);
        assert!(pieces(" \n ", limit).is_empty());
    }

    #[test]
    fn never_cuts_a_grapheme() {
        let family = "👨‍👩‍👧‍👦";
        let text = family.repeat(3);
        assert_eq!(pieces(&text, TextLimit::Utf16Units(12)), [family; 3]);
        assert_eq!(
            pieces("e\u{301}e\u{301}", TextLimit::Characters(3)).len(),
            2
        );
        // One that does not fit at all is cut between characters.
        assert_eq!(pieces(family, TextLimit::Utf16Units(3)).concat(), family);
    }

    #[test]
    fn entities_follow_their_words() {
        let text = Text {
            text: "aaaa bbbb cccc".to_owned(),
            entities: vec![
                Entity {
                    offset: 0,
                    length: 4,
                    kind: EntityKind::Bold,
                },
                Entity {
                    offset: 7,
                    length: 5,
                    kind: EntityKind::Italic,
                },
                Entity {
                    offset: 90,
                    length: 5,
                    kind: EntityKind::Code,
                },
            ],
            extra: Map::new(),
        };
        let found: Vec<Vec<(u32, u32)>> = split(&text, TextLimit::Characters(9))
            .iter()
            .map(|t| t.entities.iter().map(|e| (e.offset, e.length)).collect())
            .collect();
        assert_eq!(found, [vec![(0, 4), (7, 2)], vec![(0, 2)]]);
    }

    #[test]
    fn what_cannot_be_carried_is_rejected() {
        let capabilities = Capabilities::text_only(TextLimit::Characters(10));
        for content in [Content::unsupported("sticker"), Content::text("  ")] {
            let failure = plan(&content, &capabilities).expect_err("not sendable");
            assert_eq!(failure.code, FailureCode::Rejected);
        }
    }

    proptest! {
        #[test]
        fn pieces_fit_and_lose_only_blank_space(text in "(\\PC| |\n|👩‍🚀|e\u{301}){0,200}", most in 2_usize..40) {
            for limit in [TextLimit::Characters(most), TextLimit::Utf16Units(most), TextLimit::Bytes(most + 4)] {
                let found = pieces(&text, limit);
                for piece in &found {
                    prop_assert!(longest_prefix(piece, limit) == piece.len(), "{piece:?} is too long");
                    prop_assert!(!piece.trim().is_empty());
                }
                let bare = |text: &str| text.split_whitespace().collect::<String>();
                prop_assert_eq!(bare(&found.concat()), bare(&text));
            }
        }
    }
}
