//! What bytes are, told from the bytes. What their sender says of them is only a hint.

/// How many bytes from the beginning are looked at.
pub(super) const WINDOW: usize = 8 * 1024;

/// For bytes nobody can name.
const OCTETS: &str = "application/octet-stream";
const TEXT: &str = "text/plain";

/// Types that browsers show by themselves and that carry no script. Everything else is only offered for download.
const INLINE: [&str; 16] = [
    "audio/aac",
    "audio/amr",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/wav",
    "audio/x-flac",
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/mp4",
    "video/quicktime",
    "video/webm",
];

/// Types that can run something where they are opened. No declaration leads to them; only the bytes do.
const ACTIVE: [&str; 9] = [
    "application/ecmascript",
    "application/javascript",
    "application/x-javascript",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
    "text/html",
    "text/javascript",
    "text/xml",
];

/// Whether a browser may show it in place. Asked with the sniffed type.
pub(super) fn is_inline(mime: &str) -> bool {
    INLINE.contains(&mime)
}

/// The type of the bytes that begin so; `None` when they show nothing.
pub(super) fn sniff(head: &[u8]) -> Option<&'static str> {
    let head = &head[..head.len().min(WINDOW)];
    if let Some(markup) = markup(head) {
        return Some(markup);
    }
    infer::get(head).map(|found| match found.mime_type() {
        "audio/m4a" => "audio/mp4",
        "audio/opus" => "audio/ogg",
        "audio/x-wav" => "audio/wav",
        "video/x-m4v" => "video/mp4",
        other => other,
    })
}

/// The type to serve bytes with: of itself safe, since nothing declared comes into it.
pub(super) fn served(head: &[u8]) -> &'static str {
    sniff(head).unwrap_or(if is_text(head) { TEXT } else { OCTETS })
}

/// The type to tell of: what was sniffed wins; what sniffing cannot tell apart may be told more precisely by the sender.
pub fn settle(head: &[u8], declared: Option<&str>) -> String {
    let declared = declared.and_then(plain);
    let declared = declared.as_deref();
    match sniff(head) {
        // Office documents and the like are archives.
        Some("application/zip") => declared
            .filter(|mime| is_archive(mime))
            .unwrap_or("application/zip"),
        Some("application/x-ole-storage") => declared
            .filter(|mime| mime.starts_with("application/vnd.ms-") || *mime == "application/msword")
            .unwrap_or("application/x-ole-storage"),
        // An animated sticker is a zipped drawing.
        Some("application/gzip") => declared
            .filter(|mime| *mime == "application/x-tgsticker")
            .unwrap_or("application/gzip"),
        Some(sniffed) => sniffed,
        None if is_text(head) => declared
            .filter(|mime| !is_sniffable(mime) && !ACTIVE.contains(mime))
            .unwrap_or(TEXT),
        None => declared
            .filter(|mime| {
                !is_sniffable(mime) && !ACTIVE.contains(mime) && !mime.starts_with("text/")
            })
            .unwrap_or(OCTETS),
    }
    .to_owned()
}

/// As `settle`, and what was declared where the bytes show nothing at all.
pub(super) fn named(head: &[u8], declared: Option<&str>) -> String {
    let settled = settle(head, declared);
    match declared.and_then(plain) {
        Some(declared) if settled == OCTETS => declared,
        Some(_) | None => settled,
    }
}

/// `type/subtype` in lower case, without parameters; `None` for anything else.
fn plain(declared: &str) -> Option<String> {
    let mime = declared.split(';').next()?.trim().to_ascii_lowercase();
    let (kind, subtype) = mime.split_once('/')?;
    let token = |text: &str| {
        (1..=100).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    (token(kind) && token(subtype)).then_some(mime)
}

/// Bytes of these kinds show what they are, so a declaration that the bytes do not bear out is wrong.
fn is_sniffable(mime: &str) -> bool {
    ["image/", "video/", "audio/"]
        .iter()
        .any(|kind| mime.starts_with(kind))
        || matches!(mime, "application/pdf" | "application/zip")
}

fn is_archive(mime: &str) -> bool {
    [
        "application/vnd.openxmlformats-officedocument.",
        "application/vnd.oasis.opendocument.",
        "application/epub+zip",
        "application/java-archive",
        "application/vnd.android.package-archive",
    ]
    .iter()
    .any(|kind| mime.starts_with(kind))
}

/// HTML, SVG and XML, found by what a browser would look for (WHATWG MIME Sniffing, section 7.1), and SVG behind a preamble.
fn markup(head: &[u8]) -> Option<&'static str> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    if text.first() != Some(&b'<') {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let holds = |needle: &[u8]| lower.windows(needle.len()).any(|window| window == needle);
    if holds(b"<svg") {
        return Some("image/svg+xml");
    }
    let html: [&[u8]; 17] = [
        b"<!doctype html",
        b"<html",
        b"<head",
        b"<script",
        b"<iframe",
        b"<h1",
        b"<div",
        b"<font",
        b"<table",
        b"<a",
        b"<style",
        b"<title",
        b"<b",
        b"<body",
        b"<br",
        b"<p",
        b"<!--",
    ];
    let opens = |tag: &[u8]| {
        lower.strip_prefix(tag).is_some_and(|rest| {
            rest.first().is_none_or(|next| {
                matches!(next, b' ' | b'>' | b'/' | b'\t' | b'\n' | b'\r' | 0x0c)
            })
        })
    };
    if html.iter().any(|tag| opens(tag)) || holds(b"<script") || holds(b"<html") {
        return Some("text/html");
    }
    lower.starts_with(b"<?xml").then_some("text/xml")
}

/// UTF-8 without control characters, as far as can be seen.
fn is_text(head: &[u8]) -> bool {
    let head = &head[..head.len().min(WINDOW)];
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The window may end within a character.
        Err(error) => error.error_len().is_none() && head.len() - error.valid_up_to() < 4,
    };
    valid
        && !head
            .iter()
            .any(|byte| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0";

    #[test]
    fn the_bytes_win_over_what_is_said_of_them() {
        for (bytes, declared, told, inline) in [
            (PNG, Some("image/png"), "image/png", true),
            (PNG, Some("text/html"), "image/png", true),
            (JPEG, Some("application/pdf"), "image/jpeg", true),
            (
                b"<html><script>alert(1)</script>",
                Some("image/png"),
                "text/html",
                false,
            ),
            (
                b"  \n<!DOCTYPE HTML>\n",
                Some("image/gif"),
                "text/html",
                false,
            ),
            (b"\xef\xbb\xbf<script src=x>", None, "text/html", false),
            (
                b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>",
                Some("image/png"),
                "image/svg+xml",
                false,
            ),
            (
                b"<?xml version='1.0'?><!-- c --><svg/>",
                None,
                "image/svg+xml",
                false,
            ),
            (
                b"<?xml version='1.0'?><feed/>",
                Some("text/plain"),
                "text/xml",
                false,
            ),
            (
                b"<foo><script>alert(1)</script></foo>",
                None,
                "text/html",
                false,
            ),
            (b"alert(1)", Some("text/javascript"), "text/plain", false),
            (b"alert(1)", Some("image/png"), "text/plain", false),
            (
                b"a,b\n1,2\n",
                Some("text/csv; charset=utf-8"),
                "text/csv",
                false,
            ),
            (b"a,b\n1,2\n", Some("text/html"), "text/plain", false),
            (b"%PDF-1.7\n", Some("text/plain"), "application/pdf", false),
            (
                b"\0\x01\x02\x03",
                Some("image/png"),
                "application/octet-stream",
                false,
            ),
            (
                b"\0\x01\x02\x03",
                Some("text/plain"),
                "application/octet-stream",
                false,
            ),
            (
                b"\0\x01\x02\x03",
                Some("application/x-custom"),
                "application/x-custom",
                false,
            ),
            (
                b"\0\x01\x02\x03",
                Some("nonsense\r\nX: y"),
                "application/octet-stream",
                false,
            ),
            (
                b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead",
                Some("audio/ogg"),
                "audio/ogg",
                true,
            ),
            (b"", None, "text/plain", false),
        ] {
            let name = String::from_utf8_lossy(bytes);
            assert_eq!(
                settle(bytes, declared),
                told,
                "{name:?} declared {declared:?}"
            );
            assert_eq!(is_inline(served(bytes)), inline, "{name:?}");
        }
    }

    #[test]
    fn an_archive_may_be_a_document() {
        let zip = b"PK\x03\x04\x14\0\0\0\0\0";
        let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        assert_eq!(settle(zip, Some(docx)), docx);
        assert_eq!(settle(zip, Some("image/png")), "application/zip");
        assert_eq!(served(zip), "application/zip");
    }

    #[test]
    fn nothing_active_is_ever_shown_in_place() {
        assert!(ACTIVE.iter().all(|mime| !is_inline(mime)));
    }
}
