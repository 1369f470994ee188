//! Names of files, which come from others: cleaned once where they come in ([`clean_name`]), and made
//! fit for a link or a header where they become part of one ([`safe_name`]).

/// Characters of a name that is kept.
const KEPT: usize = 255;
/// Bytes of a name in a link.
const LINKED: usize = 120;
/// Bytes of an ending that is kept when a name is cut.
const ENDING: usize = 12;
const NAMELESS: &str = "file";

/// The name without its path, without control characters and without what makes it read otherwise than
/// it is; at most 255 characters, its ending kept. `None` when nothing is left.
pub fn clean_name(name: &str) -> Option<String> {
    // A separator at the end names no folder to leave out.
    let base = name.trim().trim_end_matches(is_separator);
    let base = base.rsplit(is_separator).next().unwrap_or_default();
    let clean: String = base
        .chars()
        .filter(|c| !c.is_control() && !is_bidirectional(*c) && *c != '\u{fffd}')
        .collect();
    let clean = clean.trim();
    let only_dots = clean.chars().all(|c| c == '.');
    if only_dots {
        return None;
    }
    let characters = clean.chars().count();
    if characters <= KEPT {
        return Some(clean.to_owned());
    }
    let ending = ending(clean);
    let room = KEPT - ending.chars().count();
    let beginning: String = clean.chars().take(room).collect();
    Some(format!("{beginning}{ending}"))
}

/// A name for a link or a header: cleaned, without quotes and the like, not hidden and not too long;
/// its ending is kept.
pub fn safe_name(name: Option<&str>) -> String {
    let clean = name.and_then(clean_name).unwrap_or_default();
    let clean: String = clean
        .chars()
        .filter(|c| !"\"<>|:*?;%".contains(*c))
        .collect();
    let clean = clean.trim().trim_start_matches('.').trim();
    if clean.is_empty() {
        return NAMELESS.to_owned();
    }
    if clean.len() <= LINKED {
        return clean.to_owned();
    }
    let ending = ending(clean);
    let room = clean.floor_char_boundary(LINKED - ending.len());
    format!("{}{ending}", &clean[..room])
}

/// With its dot; empty where there is none, or none that anybody would miss.
fn ending(name: &str) -> &str {
    let dot = name.rfind('.').unwrap_or(name.len());
    let ending = &name[dot..];
    if ending.len() > ENDING { "" } else { ending }
}

fn is_separator(c: char) -> bool {
    matches!(c, '/' | '\\')
}

/// Characters that make a name read otherwise than it is.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_where_they_come_in() {
        let long = format!("{}.jpeg", "щ".repeat(300));
        for (given, clean) in [
            ("", None),
            (" \r\n ", None),
            ("...", None),
            ("/", None),
            ("offer 100%.pdf", Some("offer 100%.pdf")),
            (".profile", Some(".profile")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\x\\photo.jpg", Some("photo.jpg")),
            ("folder/", Some("folder")),
            ("a\r\nSet-Cookie: b", Some("aSet-Cookie: b")),
            ("invoice\u{202e}fdp.exe", Some("invoicefdp.exe")),
            ("звіт.pdf", Some("звіт.pdf")),
        ] {
            assert_eq!(clean_name(given).as_deref(), clean, "{given:?}");
            if let Some(clean) = clean {
                assert_eq!(clean_name(clean).as_deref(), Some(clean), "once is enough");
            }
        }
        let cut = clean_name(&long).expect("a name");
        assert!(
            cut.chars().count() == KEPT && cut.ends_with("щ.jpeg"),
            "{cut}"
        );
    }

    #[test]
    fn names_are_made_harmless() {
        let long = format!("{}.jpeg", "щ".repeat(300));
        for (given, safe) in [
            (None, "file"),
            (Some(""), "file"),
            (Some("../../etc/passwd"), "passwd"),
            (Some("C:\\x\\photo.jpg"), "photo.jpg"),
            (Some("..."), "file"),
            (Some("a\r\nSet-Cookie: b"), "aSet-Cookie b"),
            (Some("invoice\u{202e}fdp.exe"), "invoicefdp.exe"),
            (Some("звіт.pdf"), "звіт.pdf"),
        ] {
            assert_eq!(safe_name(given), safe);
        }
        let short = safe_name(Some(&long));
        assert!(
            short.len() <= LINKED && short.ends_with("щ.jpeg"),
            "{short}"
        );
        assert_eq!(
            safe_name(Some(&short)),
            short,
            "safe names stay as they are"
        );
    }
}
