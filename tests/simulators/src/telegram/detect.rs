//! What the provider finds in text by itself: commands, links, mentions and the like.

use serde_json::{Value, json};

/// Around an entity, not part of it.
const AROUND: [char; 13] = [
    '.', ',', '!', '?', ':', ';', '(', ')', '"', '\'', '«', '»', '…',
];

/// The entities that are found in `text`, without those that overlap `known` ones.
pub(super) fn detect(text: &str, known: &[Value]) -> Vec<Value> {
    let mut found = Vec::new();
    for word in text.split_whitespace() {
        // The word is a slice of the text.
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        let start = at + word.len() - word.trim_start_matches(AROUND).len();
        let word = word.trim_matches(AROUND);
        let Some((kind, length)) = kind_of(word) else {
            continue;
        };
        let offset = text[..start].encode_utf16().count();
        let length = word[..length].encode_utf16().count();
        if !known.iter().any(|other| overlaps(other, offset, length)) {
            found.push(json!({"offset": offset, "length": length, "type": kind}));
        }
    }
    found
}

fn overlaps(entity: &Value, offset: usize, length: usize) -> bool {
    let number = |name: &str| {
        entity[name]
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or_default()
    };
    // Bold and its like may lie around a link.
    let covers = [
        "code",
        "pre",
        "text_link",
        "text_mention",
        "custom_emoji",
        "date_time",
    ];
    covers.contains(&entity["type"].as_str().unwrap_or_default())
        && offset < number("offset") + number("length")
        && number("offset") < offset + length
}

/// What a word is, and how many of its bytes are it.
fn kind_of(word: &str) -> Option<(&'static str, usize)> {
    let rest = word.get(1..).unwrap_or_default();
    let name_length = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    match word.chars().next()? {
        '/' if name_length > 0 && rest[..name_length].is_ascii() => {
            let after = &rest[name_length..];
            let to_bot = after.strip_prefix('@').unwrap_or_default();
            let bot_length = to_bot
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(to_bot.len());
            let named = if bot_length > 0 { bot_length + 1 } else { 0 };
            return Some(("bot_command", 1 + name_length + named));
        }
        '@' if name_length > 4 && rest[..name_length].is_ascii() => {
            return Some(("mention", 1 + name_length));
        }
        '#' if name_length > 0 => return Some(("hashtag", 1 + name_length)),
        '+' if rest.len() >= 7 && rest.chars().all(|c| c.is_ascii_digit()) => {
            return Some(("phone_number", word.len()));
        }
        _ => {}
    }
    let lower = word.to_ascii_lowercase();
    let link = ["http://", "https://", "www."].iter().any(|start| {
        lower
            .strip_prefix(start)
            .is_some_and(|rest| rest.contains('.'))
    });
    if link {
        return Some(("url", word.len()));
    }
    let (local, domain) = word.split_once('@')?;
    let is_mail = !local.is_empty() && domain.contains('.') && word.is_ascii();
    is_mail.then_some(("email", word.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_would_underline() {
        let text = "😂 /start@shop_bot see (https://shop.example.org/a?b=1), @olena_k #sale ol@ex.org +380501112233 a@b 1/2";
        let found: Vec<_> = detect(text, &[])
            .iter()
            .map(|entity| {
                let number = |name: &str| {
                    usize::try_from(entity[name].as_u64().expect("a number")).expect("it fits")
                };
                let units: Vec<u16> = text
                    .encode_utf16()
                    .skip(number("offset"))
                    .take(number("length"))
                    .collect();
                (
                    entity["type"].as_str().expect("a type").to_owned(),
                    String::from_utf16(&units).expect("whole characters"),
                )
            })
            .collect();
        let expected = [
            ("bot_command", "/start@shop_bot"),
            ("url", "https://shop.example.org/a?b=1"),
            ("mention", "@olena_k"),
            ("hashtag", "#sale"),
            ("email", "ol@ex.org"),
            ("phone_number", "+380501112233"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        let code = json!({"type": "code", "offset": 0, "length": 100});
        assert!(detect(text, &[code]).is_empty() || text.len() > 100);
    }
}
