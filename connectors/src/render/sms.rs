//! How many SMS a text takes; 3GPP TS 23.038 (alphabet) and 23.040, section 9.2.3.24.1 (concatenation).

/// Septets of one SMS, and of each of several: a 6-octet header names its place.
const GSM_SINGLE: usize = 160;
const GSM_EACH: usize = 153;
/// The same in UTF-16 units.
const UCS2_SINGLE: usize = 70;
const UCS2_EACH: usize = 67;

/// The basic alphabet, without the escape.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// What takes an escape and a second septet.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// How an SMS spells its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsEncoding {
    /// The default alphabet, in septets.
    Gsm7,
    /// UTF-16.
    Ucs2,
}

/// What a text takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmsSegments {
    pub encoding: SmsEncoding,
    /// 0 for the empty text.
    pub count: usize,
}

/// Counts the SMS that a text takes. Neither an escaped septet nor a surrogate pair is split between two.
pub fn sms_segments(text: &str) -> SmsSegments {
    let mut counter = SmsCounter::default();
    text.chars().for_each(|c| counter.take(c));
    counter.segments()
}

/// Counts a text that grows, both ways at once: one character outside of the alphabet turns all of it into UCS-2.
#[derive(Default)]
pub(super) struct SmsCounter {
    gsm: Fill,
    ucs2: Fill,
    foreign: bool,
}

impl SmsCounter {
    pub(super) fn take(&mut self, c: char) {
        match septets(c) {
            Some(septets) => self.gsm.take(septets, GSM_EACH),
            None => self.foreign = true,
        }
        self.ucs2.take(c.len_utf16(), UCS2_EACH);
    }

    pub(super) fn segments(&self) -> SmsSegments {
        if self.foreign {
            SmsSegments {
                encoding: SmsEncoding::Ucs2,
                count: self.ucs2.count(UCS2_SINGLE),
            }
        } else {
            SmsSegments {
                encoding: SmsEncoding::Gsm7,
                count: self.gsm.count(GSM_SINGLE),
            }
        }
    }
}

/// Segments that are filled in order.
#[derive(Default)]
struct Fill {
    /// Units altogether.
    total: usize,
    /// Segments begun, if there are several.
    segments: usize,
    /// Units left in the last of them.
    left: usize,
}

impl Fill {
    fn take(&mut self, units: usize, each: usize) {
        self.total += units;
        if self.left < units {
            self.segments += 1;
            self.left = each;
        }
        self.left -= units;
    }

    fn count(&self, single: usize) -> usize {
        match self.total {
            0 => 0,
            total if total <= single => 1,
            _ => self.segments,
        }
    }
}

/// Septets of a character; `None` when it is not in the alphabet.
fn septets(c: char) -> Option<usize> {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => Some(1),
        _ if BASIC.contains(c) => Some(1),
        _ if EXTENSION.contains(c) => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_whole() {
        assert_eq!(BASIC.chars().count(), 127);
        assert_eq!(EXTENSION.chars().count(), 10);
    }

    #[test]
    fn segments_are_counted_as_phones_do() {
        use SmsEncoding::{Gsm7, Ucs2};
        for (text, encoding, count) in [
            (String::new(), Gsm7, 0),
            ("a".repeat(160), Gsm7, 1),
            ("a".repeat(161), Gsm7, 2),
            ("a".repeat(306), Gsm7, 2),
            ("a".repeat(307), Gsm7, 3),
            ("€".repeat(80), Gsm7, 1),
            // 76 pairs fill 152 of 153 septets: the last one stays free.
            ("€".repeat(152), Gsm7, 2),
            ("€".repeat(153), Gsm7, 3),
            ("я".repeat(70), Ucs2, 1),
            ("я".repeat(71), Ucs2, 2),
            ("я".repeat(134), Ucs2, 2),
            ("я".repeat(135), Ucs2, 3),
            // 33 pairs fill 66 of 67 units.
            ("😀".repeat(35), Ucs2, 1),
            ("😀".repeat(66), Ucs2, 2),
            ("😀".repeat(67), Ucs2, 3),
            (format!("{}ы", "a".repeat(70)), Ucs2, 2),
            ("`".to_owned(), Ucs2, 1),
        ] {
            let found = sms_segments(&text);
            assert_eq!((found.encoding, found.count), (encoding, count), "{text}");
        }
    }
}
