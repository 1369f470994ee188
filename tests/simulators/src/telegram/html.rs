//! `parse_mode=HTML`: markup to plain text and entities, refusing what the provider refuses.

use serde_json::{Map, Value, json};

const TAGS: [&str; 17] = [
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "tg-spoiler",
    "span",
    "a",
    "code",
    "pre",
    "blockquote",
    "tg-emoji",
    "tg-time",
];

struct Open {
    tag: String,
    attributes: Vec<(String, String)>,
    /// UTF-16 units of text before it.
    start: usize,
}

/// Text without markup, and entities with offsets in UTF-16 units. The error is the provider's own sentence after
/// `can't parse entities: `; byte offsets in it count in the given text.
pub(super) fn parse(markup: &str) -> Result<(String, Vec<Value>), String> {
    let mut text = String::with_capacity(markup.len());
    let mut units = 0;
    let mut entities = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(next) = markup[at..].chars().next() {
        if next == '<' && markup[at + 1..].starts_with('/') {
            let (name, end) = end_tag(markup, at)?;
            let started = open
                .pop()
                .ok_or_else(|| format!("Unexpected end tag at byte offset {at}"))?;
            if !name.is_empty() && name != started.tag {
                return Err(format!(
                    "Unmatched end tag at byte offset {at}, expected \"</{}>\", found \"</{name}>\"",
                    started.tag
                ));
            }
            let length = units - started.start;
            entities.extend(entity(&started, length, &text));
            at = end;
        } else if next == '<' {
            let (tag, attributes, end) = start_tag(markup, at)?;
            open.push(Open {
                tag,
                attributes,
                start: units,
            });
            at = end;
        } else {
            let (decoded, length) = if next == '&' {
                reference(&markup[at..])
            } else {
                None
            }
            .unwrap_or((next, next.len_utf8()));
            text.push(decoded);
            units += decoded.len_utf16();
            at += length;
        }
    }
    if let Some(unclosed) = open.pop() {
        return Err(format!(
            "Can't find end tag corresponding to start tag \"{}\"",
            unclosed.tag
        ));
    }
    // Outer before inner, as the provider lists them.
    entities.sort_by_key(|entity| {
        let number = |name: &str| entity[name].as_i64().unwrap_or_default();
        (number("offset"), -number("length"))
    });
    Ok((text, entities))
}

fn end_tag(markup: &str, at: usize) -> Result<(String, usize), String> {
    let length = markup[at..]
        .find('>')
        .ok_or_else(|| format!("Unclosed end tag at byte offset {at}"))?;
    let name = markup[at + 2..at + length].trim_end().to_ascii_lowercase();
    Ok((name, at + length + 1))
}

type Attributes = Vec<(String, String)>;

fn start_tag(markup: &str, at: usize) -> Result<(String, Attributes, usize), String> {
    let unclosed = || format!("Unclosed start tag at byte offset {at}");
    let inside = &markup[at + 1..];
    let name_length = inside
        .find(|c: char| c.is_ascii_whitespace() || c == '>')
        .ok_or_else(unclosed)?;
    let tag = inside[..name_length].to_ascii_lowercase();
    if !TAGS.contains(&tag.as_str()) {
        return Err(format!(
            "Unsupported start tag \"{tag}\" at byte offset {at}"
        ));
    }
    let mut attributes = Vec::new();
    let mut rest = inside[name_length..].trim_ascii_start();
    while !rest.starts_with('>') {
        if rest.is_empty() {
            return Err(unclosed());
        }
        let (attribute, after) = attribute(rest).ok_or_else(unclosed)?;
        attributes.push(attribute);
        rest = after.trim_ascii_start();
    }
    let value = |name: &str| {
        attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    if tag == "span" && value("class") != Some("tg-spoiler") {
        return Err(format!(
            "Tag \"span\" must have class \"tg-spoiler\" at byte offset {at}"
        ));
    }
    Ok((tag, attributes, markup.len() - rest.len() + 1))
}

/// `name`, `name=value`, `name="value"` or `name='value'` at the start, and what follows it.
fn attribute(rest: &str) -> Option<((String, String), &str)> {
    let name_length = rest.find(|c: char| c.is_ascii_whitespace() || c == '=' || c == '>')?;
    let name = rest[..name_length].to_ascii_lowercase();
    let after_name = rest[name_length..].trim_ascii_start();
    let Some(value) = after_name.strip_prefix('=') else {
        return Some(((name, String::new()), after_name));
    };
    let value = value.trim_ascii_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (raw, after) = match quote {
        Some(quote) => value[1..].split_once(quote)?,
        None => value.split_at(value.find(|c: char| c.is_ascii_whitespace() || c == '>')?),
    };
    Some(((name, decode(raw)), after))
}

fn decode(raw: &str) -> String {
    let mut decoded = String::new();
    let mut rest = raw;
    while let Some(next) = rest.chars().next() {
        let (c, length) =
            if next == '&' { reference(rest) } else { None }.unwrap_or((next, next.len_utf8()));
        decoded.push(c);
        rest = &rest[length..];
    }
    decoded
}

/// The character a reference at the start stands for, and its length in bytes. Only four names exist.
fn reference(rest: &str) -> Option<(char, usize)> {
    let body = rest.strip_prefix('&')?;
    let (c, length) = match body.strip_prefix('#') {
        Some(number) => {
            let (digits, radix, prefix) = match number.strip_prefix(['x', 'X']) {
                Some(digits) => (digits, 16, 2),
                None => (number, 10, 1),
            };
            let count = digits
                .find(|c: char| !c.is_digit(radix))
                .unwrap_or(digits.len());
            let code = u32::from_str_radix(&digits[..count], radix).ok()?;
            (char::from_u32(code).filter(|c| *c != '\0')?, prefix + count)
        }
        None => {
            let count = body
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(body.len());
            let c = match &body[..count] {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                _ => return None,
            };
            (c, count)
        }
    };
    let semicolon = usize::from(body[length..].starts_with(';'));
    Some((c, 1 + length + semicolon))
}

/// The entity a closed tag makes; none for an empty one and for a link without an address.
fn entity(open: &Open, length: usize, text: &str) -> Option<Value> {
    if length == 0 {
        return None;
    }
    let value = |name: &str| {
        open.attributes
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
    };
    let mut extra = Map::new();
    let kind = match open.tag.as_str() {
        "b" | "strong" => "bold",
        "i" | "em" => "italic",
        "u" | "ins" => "underline",
        "s" | "strike" | "del" => "strikethrough",
        "tg-spoiler" | "span" => "spoiler",
        "blockquote" if value("expandable").is_some() => "expandable_blockquote",
        "blockquote" => "blockquote",
        "code" => "code",
        "pre" => "pre",
        "a" => {
            let inside = || -> String { from_unit(text, open.start).into() };
            let url = value("href")
                .filter(|url| !url.is_empty())
                .unwrap_or_else(inside);
            if !url.contains('.') && !url.contains("://") && !url.starts_with("tg:") {
                return None;
            }
            extra.insert("url".into(), url.into());
            "text_link"
        }
        "tg-emoji" => {
            extra.insert("custom_emoji_id".into(), value("emoji-id")?.into());
            "custom_emoji"
        }
        "tg-time" => {
            extra.insert(
                "unix_time".into(),
                value("unix")?.parse::<i64>().ok()?.into(),
            );
            "date_time"
        }
        _ => return None,
    };
    let mut entity = json!({"offset": open.start, "length": length, "type": kind});
    if let Some(fields) = entity.as_object_mut() {
        fields.extend(extra);
    }
    Some(entity)
}

/// The text from a UTF-16 offset on.
fn from_unit(text: &str, start: usize) -> &str {
    let mut units = 0;
    for (index, c) in text.char_indices() {
        if units >= start {
            return &text[index..];
        }
        units += c.len_utf16();
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text_and_entities_in_utf16_units() {
        let (text, entities) =
            parse("Your 😂 order <b>991 <i>now</i></b> &lt;ok&gt; &#9731;&nbsp; <a href=\"https://a.example/?x=1&amp;y=2\">go</a>")
                .expect("it is well formed");
        assert_eq!(text, "Your 😂 order 991 now <ok> \u{2603}&nbsp; go");
        assert_eq!(
            entities,
            [
                json!({"offset": 14, "length": 7, "type": "bold"}),
                json!({"offset": 18, "length": 3, "type": "italic"}),
                json!({"offset": 35, "length": 2, "type": "text_link", "url": "https://a.example/?x=1&y=2"}),
            ]
        );
    }

    #[test]
    fn tags_are_read_in_any_case_and_empty_ones_make_no_entity() {
        let (text, entities) =
            parse("<B></B><SPAN class='tg-spoiler'>x</span><blockquote expandable>y</blockquote>")
                .expect("it is well formed");
        assert_eq!(text, "xy");
        let kinds: Vec<_> = entities
            .iter()
            .map(|entity| entity["type"].clone())
            .collect();
        assert_eq!(kinds, ["spoiler", "expandable_blockquote"]);
    }

    #[test]
    fn what_the_provider_refuses_is_refused_in_its_words() {
        for (markup, reason) in [
            ("<x>", "Unsupported start tag \"x\" at byte offset 0"),
            ("a<br/>", "Unsupported start tag \"br/\" at byte offset 1"),
            ("1 < 2 >", "Unsupported start tag \"\" at byte offset 2"),
            ("1 <2", "Unclosed start tag at byte offset 2"),
            ("<b", "Unclosed start tag at byte offset 0"),
            (
                "<b>a",
                "Can't find end tag corresponding to start tag \"b\"",
            ),
            ("a</b>", "Unexpected end tag at byte offset 1"),
            (
                "<b>a</i>",
                "Unmatched end tag at byte offset 4, expected \"</b>\", found \"</i>\"",
            ),
            ("<b>a</b", "Unclosed end tag at byte offset 4"),
            (
                "<span>a</span>",
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0",
            ),
        ] {
            assert_eq!(parse(markup).err().as_deref(), Some(reason), "{markup}");
        }
    }
}
