//! Formatting between Telegram's UTF-16 offsets and the normalized character offsets. Pure.

use tributary_bus::message::{Entity, EntityKind};

use super::wire;

/// Entities of one message that Telegram looks at (undocumented; about 100).
const MOST: usize = 100;

/// What Telegram found or was given, counted in characters. Kinds without a normalized counterpart (spoiler, custom
/// emoji, dates) are left out; their text stays.
pub(super) fn to_normalized(text: &str, entities: &[wire::Entity]) -> Vec<Entity> {
    let starts = Positions::of(text);
    entities
        .iter()
        .filter_map(|entity| {
            let kind = normalized_kind(entity)?;
            let from = usize::try_from(entity.offset).ok()?;
            let length = usize::try_from(entity.length).ok()?;
            let first = starts.character_at(from);
            let end = starts.character_after(from.saturating_add(length));
            let length = end.checked_sub(first).filter(|length| *length > 0)?;
            Some(Entity {
                offset: u32::try_from(first).ok()?,
                length: u32::try_from(length).ok()?,
                kind,
            })
        })
        .collect()
}

fn normalized_kind(entity: &wire::Entity) -> Option<EntityKind> {
    Some(match entity.kind.as_str() {
        "bold" => EntityKind::Bold,
        "italic" => EntityKind::Italic,
        "underline" => EntityKind::Underline,
        "strikethrough" => EntityKind::Strikethrough,
        "spoiler" => EntityKind::Spoiler,
        "code" => EntityKind::Code,
        "pre" => EntityKind::Pre { language: None },
        "blockquote" | "expandable_blockquote" => EntityKind::Quote,
        "text_link" => EntityKind::Link {
            url: entity.url.clone()?,
        },
        "url" => EntityKind::Url,
        "email" => EntityKind::Email,
        "phone_number" => EntityKind::Phone,
        "mention" | "text_mention" => EntityKind::Mention,
        "hashtag" | "cashtag" => EntityKind::Hashtag,
        "bot_command" => EntityKind::Command,
        _ => return None,
    })
}

/// The formatting that is to be sent, counted in UTF-16 units. What Telegram finds by itself (addresses, hashtags) is
/// left to it.
pub(super) fn to_wire(text: &str, entities: &[Entity]) -> Vec<wire::Entity> {
    // UTF-16 units before each character, and behind the last.
    let mut units = Vec::with_capacity(text.len() + 1);
    let mut before = 0;
    for character in text.chars() {
        units.push(before);
        before += character.len_utf16();
    }
    units.push(before);
    let at = |index: u32| {
        units
            .get(index as usize)
            .or(units.last())
            .copied()
            .unwrap_or(0)
    };
    entities
        .iter()
        .filter_map(|entity| {
            let (kind, url) = wire_kind(&entity.kind)?;
            let from = at(entity.offset);
            let to = at(entity.offset.saturating_add(entity.length));
            (from < to).then(|| wire::Entity {
                kind: kind.to_owned(),
                offset: i64::try_from(from).unwrap_or(i64::MAX),
                length: i64::try_from(to - from).unwrap_or(i64::MAX),
                url,
            })
        })
        .take(MOST)
        .collect()
}

fn wire_kind(kind: &EntityKind) -> Option<(&'static str, Option<String>)> {
    Some(match kind {
        EntityKind::Bold => ("bold", None),
        EntityKind::Italic => ("italic", None),
        EntityKind::Underline => ("underline", None),
        EntityKind::Strikethrough => ("strikethrough", None),
        EntityKind::Spoiler => ("spoiler", None),
        EntityKind::Code => ("code", None),
        EntityKind::Pre { .. } => ("pre", None),
        EntityKind::Quote => ("blockquote", None),
        EntityKind::Link { url } => ("text_link", Some(url.clone())),
        EntityKind::Url
        | EntityKind::Email
        | EntityKind::Phone
        | EntityKind::Mention
        | EntityKind::Hashtag
        | EntityKind::Command
        | EntityKind::ListItem
        | EntityKind::Other(_) => return None,
    })
}

/// Where the characters of a text begin, in UTF-16 units.
struct Positions {
    starts: Vec<usize>,
    units: usize,
}

impl Positions {
    fn of(text: &str) -> Self {
        let mut starts = Vec::with_capacity(text.len());
        let mut units = 0;
        for character in text.chars() {
            starts.push(units);
            units += character.len_utf16();
        }
        Self { starts, units }
    }

    /// The character that the unit belongs to; the number of characters when it lies behind the end.
    fn character_at(&self, unit: usize) -> usize {
        if unit >= self.units {
            return self.starts.len();
        }
        self.starts.partition_point(|start| *start <= unit) - 1
    }

    /// The first character that begins at the unit or later.
    fn character_after(&self, unit: usize) -> usize {
        self.starts.partition_point(|start| *start < unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(kind: &str, offset: i64, length: i64) -> wire::Entity {
        wire::Entity {
            kind: kind.to_owned(),
            offset,
            length,
            url: None,
        }
    }

    #[test]
    fn units_become_characters() {
        // 😀 has two UTF-16 units and is one character.
        let text = "😀ab😀";
        let found = to_normalized(
            text,
            &[
                wire("bold", 0, 3),
                wire("italic", 4, 2),
                wire("unheard_of", 0, 2),
                wire("code", 1, 1),
                wire("code", 9, 4),
                wire("code", -1, 4),
                wire("code", 2, -1),
                wire("text_link", 0, 2),
                wire("code", 2, i64::MAX),
            ],
        );
        let ranges: Vec<(u32, u32)> = found.iter().map(|e| (e.offset, e.length)).collect();
        assert_eq!(ranges, [(0, 2), (3, 1), (0, 1), (1, 3)]);
    }

    proptest! {
        #[test]
        fn there_and_back(text in "(\\PC|😀|👨‍👩‍👧){1,30}", offset in 0_u32..40, length in 1_u32..40) {
            let count = u32::try_from(text.chars().count()).expect("short");
            let entity = Entity { offset, length, kind: EntityKind::Bold };
            let back = to_normalized(&text, &to_wire(&text, &[entity]));
            if offset >= count {
                prop_assert!(back.is_empty());
            } else {
                prop_assert_eq!(back.len(), 1);
                prop_assert_eq!((back[0].offset, back[0].length), (offset, length.min(count - offset)));
            }
        }
    }
}
