//! How long a text is, in the unit of its limit.

use unicode_segmentation::UnicodeSegmentation;

use super::sms::SmsCounter;
use crate::TextLimit;

/// Measures a text that grows.
pub(super) struct Meter {
    limit: TextLimit,
    used: usize,
    sms: SmsCounter,
}

impl Meter {
    pub(super) fn new(limit: TextLimit) -> Self {
        Self {
            limit,
            used: 0,
            sms: SmsCounter::default(),
        }
    }

    /// Takes more of the text; whether all of it so far is within the limit.
    pub(super) fn take(&mut self, more: &str) -> bool {
        let most = match self.limit {
            TextLimit::Characters(most) => {
                self.used += more.chars().count();
                most
            }
            TextLimit::Utf16Units(most) => {
                self.used += more.encode_utf16().count();
                most
            }
            TextLimit::Bytes(most) => {
                self.used += more.len();
                most
            }
            TextLimit::SmsSegments(most) => {
                more.chars().for_each(|c| self.sms.take(c));
                self.used = self.sms.segments().count;
                most
            }
        };
        self.used <= most
    }
}

impl TextLimit {
    /// Whether the text is within the limit.
    pub fn holds(self, text: &str) -> bool {
        Meter::new(self).take(text)
    }
}

/// Bytes of the longest prefix within the limit that ends between two graphemes, or, when not even one grapheme fits,
/// between two characters; `None` when no character fits.
pub(super) fn longest_prefix(text: &str, limit: TextLimit) -> Option<usize> {
    let fitting = |pieces: &mut dyn Iterator<Item = &str>| {
        let mut meter = Meter::new(limit);
        let mut end = 0;
        for piece in pieces {
            if !meter.take(piece) {
                break;
            }
            end += piece.len();
        }
        (end > 0).then_some(end)
    };
    fitting(&mut text.graphemes(true)).or_else(|| {
        let mut characters = text
            .char_indices()
            .map(|(at, c)| &text[at..at + c.len_utf8()]);
        fitting(&mut characters)
    })
}

/// A label within the limit, cut between graphemes and ended with `…` where it is too long; `None` when nothing of it
/// would be left.
pub(super) fn shorten(label: &str, limit: TextLimit) -> Option<String> {
    const ELLIPSIS: &str = "…";
    if limit.holds(label) {
        return Some(label.to_owned());
    }
    let mut meter = Meter::new(limit);
    let mut end = 0;
    if meter.take(ELLIPSIS) {
        for piece in label.graphemes(true) {
            if !meter.take(piece) {
                break;
            }
            end += piece.len();
        }
    }
    let kept = label[..end].trim_end();
    let short = format!("{kept}{ELLIPSIS}");
    (!kept.trim().is_empty() && limit.holds(&short)).then_some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_counts_its_own_way() {
        // One grapheme of 7 characters, 11 UTF-16 units and 25 bytes.
        let family = "👨‍👩‍👧‍👦";
        for (limit, holds) in [
            (TextLimit::Characters(7), true),
            (TextLimit::Characters(6), false),
            (TextLimit::Utf16Units(11), true),
            (TextLimit::Utf16Units(10), false),
            (TextLimit::Bytes(25), true),
            (TextLimit::Bytes(24), false),
            (TextLimit::SmsSegments(1), true),
            (TextLimit::SmsSegments(0), false),
        ] {
            assert_eq!(limit.holds(family), holds, "{limit:?}");
        }
    }

    #[test]
    fn prefixes_end_between_graphemes_where_they_can() {
        let text = "ae\u{301}o";
        let prefix = |most| longest_prefix(text, TextLimit::Characters(most)).map(|at| &text[..at]);
        assert_eq!(prefix(4), Some(text));
        assert_eq!(prefix(2), Some("a"));
        assert_eq!(prefix(0), None);
        assert_eq!(
            longest_prefix("e\u{301}", TextLimit::Characters(1)),
            Some(1)
        );
        assert_eq!(longest_prefix("😀", TextLimit::Utf16Units(1)), None);
    }

    #[test]
    fn labels_are_shortened_between_graphemes() {
        for (label, most, wanted) in [
            ("Coffee", 6, Some("Coffee")),
            ("Coffee", 5, Some("Coff…")),
            ("A cup of tea", 6, Some("A cup…")),
            ("ae\u{301}oo", 3, Some("a…")),
            ("Coffee", 1, None),
            ("Coffee", 0, None),
        ] {
            let short = shorten(label, TextLimit::Characters(most));
            assert_eq!(short.as_deref(), wanted, "{label} in {most}");
        }
        assert_eq!(
            shorten("Coffee", TextLimit::Bytes(5)).as_deref(),
            Some("Co…")
        );
    }
}
