//! What a text is to somebody who looks at it.

/// Whether there is nothing to see: white space, control characters, and what has no width or no ink (the property
/// `Default_Ignorable_Code_Point` of Unicode 16, and the empty Braille pattern).
pub fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_whitespace() || c.is_control() || is_invisible(c))
}

fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_blank() {
        for text in [
            "",
            " \t\r\n\u{a0}\u{3000}\u{2028}",
            "\u{200b}",
            "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}",
            "\u{ad} \u{34f}",
            "\u{202e}\u{2066}",
            "\u{2800}\u{3164}\u{115f}",
            "\u{fe0f}\u{e0100}",
            "\0\u{7}\u{85}",
        ] {
            assert!(is_blank(text), "{text:?}");
        }
    }

    #[test]
    fn what_can_be_seen_is_not() {
        for text in [
            ".",
            "\u{200b}a",
            "\u{2764}\u{fe0f}",
            "\u{1f468}\u{200d}\u{1f469}",
            "\u{646}\u{200c}",
            "\u{301}",
            "\u{fffd}",
            "\u{3042}",
        ] {
            assert!(!is_blank(text), "{text:?}");
        }
    }
}
