//! Long texts in pieces.

use tributary_bus::message::{Entity, Text};
use unicode_segmentation::UnicodeSegmentation;

use super::measure::longest_prefix;
use crate::TextLimit;

/// Cuts a text into pieces within the limit, with the entities that lie in each; blank space at a cut goes. Empty when
/// the text is blank; `None` when the limit has no room for one of its characters.
pub(super) fn split(text: &Text, limit: TextLimit) -> Option<Vec<Text>> {
    let mut pieces = Vec::new();
    let mut rest = text.text.as_str();
    // Characters before `rest`.
    let mut offset = 0;
    while !rest.trim().is_empty() {
        let Some(room) = longest_prefix(rest, limit) else {
            let next = rest.trim_start();
            if next.len() == rest.len() {
                return None;
            }
            offset += count(rest) - count(next);
            rest = next;
            continue;
        };
        let (piece, after) = rest.split_at(piece_end(rest, room));
        if !piece.trim().is_empty() {
            let body = if after.is_empty() {
                piece
            } else {
                piece.trim_end()
            };
            pieces.push(slice(text, body, offset));
        }
        let gap = blank_start(after);
        offset += count(piece) + count(&after[..gap]);
        rest = &after[gap..];
    }
    Some(pieces)
}

/// The same text, with only such entities as lie in it.
pub(super) fn whole(text: &Text) -> Text {
    slice(text, &text.text, 0)
}

/// Where the next piece ends, in bytes: everything when there is room, else before the last paragraph, line or word that
/// begins within `room` (as long as that does not leave the piece nearly empty), else where the room ends.
fn piece_end(text: &str, room: usize) -> usize {
    if room == text.len() {
        return room;
    }
    let (mut paragraph, mut line, mut word) = (0, 0, 0);
    let mut graphemes = text.grapheme_indices(true).peekable();
    // The blank before which one of the same kind stands is no better place than that.
    let (mut after_blank, mut after_line) = (false, false);
    while let Some((at, grapheme)) = graphemes.next_if(|(at, _)| *at <= room) {
        let blank = is_blank(grapheme);
        let new_line = blank && grapheme.contains('\n');
        if blank && !after_blank {
            word = at;
        }
        if new_line && !after_line {
            line = at;
            let next_too = graphemes
                .peek()
                .is_some_and(|(_, next)| next.contains('\n'));
            if next_too {
                paragraph = at;
            }
        }
        after_blank = blank;
        after_line = new_line;
    }
    let enough = room / 4;
    [paragraph, line, word]
        .into_iter()
        .find(|end| *end > enough)
        .unwrap_or(room)
}

/// Bytes of the blank space at the beginning.
fn blank_start(text: &str) -> usize {
    text.graphemes(true)
        .take_while(|grapheme| is_blank(grapheme))
        .map(str::len)
        .sum()
}

/// Whether nothing of the grapheme shows: a blank with a combining mark does.
fn is_blank(grapheme: &str) -> bool {
    grapheme.chars().all(char::is_whitespace)
}

/// The piece with its entities; `offset` counts the characters before it.
fn slice(text: &Text, piece: &str, offset: usize) -> Text {
    let end = offset + count(piece);
    let entities = text.entities.iter().filter_map(|entity| {
        let from = (entity.offset as usize).max(offset);
        let to = (entity.offset as usize)
            .saturating_add(entity.length as usize)
            .min(end);
        let length = to.checked_sub(from).filter(|length| *length > 0)?;
        Some(Entity {
            offset: u32::try_from(from - offset).ok()?,
            length: u32::try_from(length).ok()?,
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
        let pieces = split(&Text::plain(text), limit).expect("there is room");
        pieces.into_iter().map(|t| t.text).collect()
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
        // The paragraph that ends exactly at the limit is better than the line before it.
        assert_eq!(
            pieces("one\ntwo 1234\n\nnext", limit),
            ["one\ntwo 1234", "next"]
        );
        // A break that would leave little is none.
        assert_eq!(
            pieces("a\n\nbcdefghi jklmnop", limit),
            ["a\n\nbcdefghi", "jklmnop"]
        );
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
        // A mark on a blank belongs to it.
        assert_eq!(
            pieces("ab \u{301}cd", TextLimit::Characters(4)),
            ["ab \u{301}", "cd"]
        );
        // One that does not fit at all is cut between characters.
        assert_eq!(pieces(family, TextLimit::Utf16Units(3)).concat(), family);
        // And a character that does not fit cannot be sent.
        assert_eq!(split(&Text::plain("a😀"), TextLimit::Bytes(3)), None);
        assert_eq!(split(&Text::plain("a"), TextLimit::Characters(0)), None);
    }

    #[test]
    fn sms_are_filled_without_splitting_an_escaped_character() {
        let text = format!("{}€{}", "a".repeat(159), "b".repeat(10));
        assert_eq!(
            pieces(&text, TextLimit::SmsSegments(1)),
            ["a".repeat(159), format!("€{}", "b".repeat(10))]
        );
        let long = "word ".repeat(100);
        for piece in pieces(&long, TextLimit::SmsSegments(2)) {
            assert!(piece.chars().count() <= 306);
        }
    }

    #[test]
    fn entities_follow_their_words() {
        let entity = |offset, length, kind| Entity {
            offset,
            length,
            kind,
        };
        let text = Text {
            text: "aaaa bbbb cccc".to_owned(),
            entities: vec![
                entity(0, 4, EntityKind::Bold),
                entity(7, 5, EntityKind::Italic),
                entity(90, 5, EntityKind::Code),
                entity(3, 0, EntityKind::Code),
            ],
            extra: Map::new(),
        };
        let found: Vec<Vec<(u32, u32)>> = split(&text, TextLimit::Characters(9))
            .expect("there is room")
            .iter()
            .map(|t| t.entities.iter().map(|e| (e.offset, e.length)).collect())
            .collect();
        assert_eq!(found, [vec![(0, 4), (7, 2)], vec![(0, 2)]]);
    }

    proptest! {
        #[test]
        fn pieces_fit_and_lose_only_blank_space(text in "(\\PC| |\n|👩‍🚀|e\u{301}|€){0,200}", most in 2_usize..40) {
            for limit in [
                TextLimit::Characters(most), TextLimit::Utf16Units(most), TextLimit::Bytes(most + 4),
                TextLimit::SmsSegments(most),
            ] {
                let found = pieces(&text, limit);
                for piece in &found {
                    prop_assert!(longest_prefix(piece, limit) == Some(piece.len()), "{piece:?} is too long");
                    prop_assert!(!piece.trim().is_empty());
                }
                let bare = |text: &str| text.split_whitespace().collect::<String>();
                prop_assert_eq!(bare(&found.concat()), bare(&text));
            }
        }
    }
}
