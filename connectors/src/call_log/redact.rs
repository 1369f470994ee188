//! Takes secrets out of text, in every form in which they travel, and cuts what is too long.

use std::{fmt::Write as _, sync::Arc};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// What stands in the place of a secret.
const HIDDEN: &str = "[secret]";
/// What follows where text was cut.
const CUT: &str = "…";
/// Shorter ones are found in ordinary words.
const SHORTEST: usize = 4;
/// Bytes of a text that are looked at.
const WINDOW: usize = 64 * 1024;

/// The forms of an account's secrets. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor {
    /// The longest first, so that no part of one is taken for another.
    forms: Arc<[String]>,
    longest: usize,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} forms)", self.forms.len())
    }
}

impl Redactor {
    pub fn new(secrets: &[String]) -> Self {
        let mut forms: Vec<String> = secrets
            .iter()
            .filter(|secret| secret.len() >= SHORTEST)
            .flat_map(|secret| forms_of(secret))
            .filter(|form| form.len() >= SHORTEST)
            .collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self {
            longest: forms.first().map_or(0, String::len),
            forms: forms.into(),
        }
    }

    /// The text without secrets, at most `limit` bytes of it (and what stands for secrets and for the rest). NUL, which
    /// PostgreSQL refuses, is replaced.
    pub fn redact(&self, text: &str, limit: usize) -> String {
        let window = floor(text, WINDOW);
        let seen = &text[..window];
        // A secret that begins before this place is seen whole.
        let safe = if window < text.len() {
            floor(text, window.saturating_sub(self.longest))
        } else {
            window
        };
        let mut clean = String::with_capacity(seen.len().min(limit));
        let mut at = 0;
        while at < safe && clean.len() < limit {
            let found = self
                .forms
                .iter()
                .filter_map(|form| Some((at + seen[at..].find(form.as_str())?, form.len())))
                .min_by_key(|(place, length)| (*place, usize::MAX - length));
            let end = found.map_or(safe, |(place, _)| place.min(safe));
            let room = limit - clean.len();
            let piece = &seen[at..end];
            let fits = floor(piece, room);
            clean.push_str(&piece[..fits]);
            if fits < piece.len() {
                at += fits;
                break;
            }
            at = end;
            if let Some((place, length)) = found
                && place < safe
            {
                clean.push_str(HIDDEN);
                at = place + length;
            }
        }
        if at < text.len() {
            clean.push_str(CUT);
        }
        if clean.contains('\0') {
            clean = clean.replace('\0', "\u{fffd}");
        }
        clean
    }
}

/// The largest place up to `most` that lies between two characters.
fn floor(text: &str, most: usize) -> usize {
    if most >= text.len() {
        return text.len();
    }
    (0..=most)
        .rev()
        .find(|place| text.is_char_boundary(*place))
        .unwrap_or_default()
}

/// A secret as it is; percent-encoded (RFC 3986) and as in a form; in JSON; and in base64, wherever it lies within what
/// was encoded (`user:secret`).
fn forms_of(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    // What is kept as it is differs from encoder to encoder.
    for kept in ["-._~", "-._~:", "-._~:/", "-._~!*'()", "-._~:/@!$&'()*+,;="] {
        let upper = percent(secret, kept, |byte| format!("%{byte:02X}"));
        let lower = percent(secret, kept, |byte| format!("%{byte:02x}"));
        forms.push(upper.replace("%20", "+"));
        forms.extend([upper, lower]);
    }
    let json = serde_json::Value::from(secret).to_string();
    let json = json.trim_matches('"').to_owned();
    forms.push(json.replace('/', "\\/"));
    forms.push(json);
    for shift in 0..3 {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(secret.as_bytes());
        // Characters that only bits of the secret decide.
        let (first, last) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&bytes);
            forms.extend(encoded.get(first..last).map(str::to_owned));
        }
    }
    forms
}

fn percent(secret: &str, kept: &str, encode: impl Fn(u8) -> String) -> String {
    let mut text = String::new();
    for byte in secret.bytes() {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || (byte.is_ascii() && kept.contains(character)) {
            text.push(character);
        } else {
            // Writing to a String cannot fail.
            write!(text, "{}", encode(byte)).ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "123456:AA-Ex_ample/Tok+en";

    fn redact(text: &str) -> String {
        Redactor::new(&[TOKEN.to_owned()]).redact(text, 1000)
    }

    #[test]
    fn a_secret_is_hidden_in_every_form() {
        let basic = STANDARD_NO_PAD.encode(format!("bot:{TOKEN}:x"));
        for (text, expected) in [
            (format!("/bot{TOKEN}/send"), "/bot[secret]/send"),
            (
                "/bot123456%3AAA-Ex_ample%2FTok%2Ben/send".to_owned(),
                "/bot[secret]/send",
            ),
            (
                "/bot123456%3aAA-Ex_ample%2fTok%2ben".to_owned(),
                "/bot[secret]",
            ),
            ("bot123456:AA-Ex_ample%2FTok%2Ben".to_owned(), "bot[secret]"),
            (
                r#"{"token":"123456:AA-Ex_ample\/Tok+en"}"#.to_owned(),
                r#"{"token":"[secret]"}"#,
            ),
            ("nothing".to_owned(), "nothing"),
        ] {
            assert_eq!(redact(&text), expected);
        }
        for text in [STANDARD_NO_PAD.encode(TOKEN), basic] {
            let clean = redact(&format!("Authorization: Basic {text}"));
            assert!(clean.contains(HIDDEN), "{clean}");
        }
    }

    #[test]
    fn short_or_no_secrets_hide_nothing() {
        let redactor = Redactor::new(&["a".to_owned(), String::new()]);
        assert_eq!(redactor.redact("a banana", 100), "a banana");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let redactor = Redactor::default();
        assert_eq!(redactor.redact("ґґґ", 5), "ґґ…");
        assert_eq!(redactor.redact("ґґґ", 6), "ґґґ");
        assert_eq!(redactor.redact("a\0b", 6), "a\u{fffd}b");
    }

    proptest! {
        /// Wherever the secret lies, also across the cut: no eight characters of it are left.
        #[test]
        fn no_part_of_a_secret_is_left(before in 0_usize..70_000, count in 1_usize..40, limit in 1_usize..9000) {
            let text = format!("{}{}", "x".repeat(before), format!("{TOKEN} ").repeat(count * 90));
            let clean = Redactor::new(&[TOKEN.to_owned()]).redact(&text, limit);
            for piece in TOKEN.as_bytes().windows(8) {
                let piece = std::str::from_utf8(piece).expect("ASCII");
                prop_assert!(!clean.contains(piece));
            }
            prop_assert!(clean.len() <= limit + HIDDEN.len() + CUT.len());
        }
    }
}
