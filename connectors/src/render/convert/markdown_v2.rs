//! Telegram's MarkdownV2: <https://core.telegram.org/bots/api#markdownv2-style>

use tributary_bus::message::Text;

use super::{
    Dialect, in_code,
    runs::{Canvas, Layer, Lines},
    write,
};
use crate::{Markup, render::markup};

/// What is formatting somewhere, and has to be escaped in words.
const SPECIAL: &str = "_*[]()~`>#+-=|{}.!\\";

/// The text as MarkdownV2. Items of lists get a bullet; a quote takes whole lines.
pub fn to_markdown_v2(text: &Text) -> String {
    let (text, _) = markup::reduce(text, Markup::ALL.without(Markup::LIST));
    write(&Canvas::new(&text, Lines::Quoted).runs(), &MarkdownV2)
}

struct MarkdownV2;

impl Dialect for MarkdownV2 {
    fn open(&self, layer: &Layer<'_>, written: &mut String) {
        match layer {
            Layer::Quote(_) => written.push('>'),
            Layer::Pre { language, .. } => {
                written.push_str("```");
                let language = language.unwrap_or_default();
                written.extend(language.chars().filter(|c| is_of_a_name(*c)));
                written.push('\n');
            }
            Layer::Link { .. } => written.push('['),
            mark => push_mark(mark, written),
        }
    }

    fn close(&self, layer: &Layer<'_>, written: &mut String) {
        match layer {
            Layer::Quote(_) => {}
            Layer::Pre { .. } => written.push_str("```"),
            Layer::Link { url, .. } => {
                written.push_str("](");
                escape(url, ")\\", written);
                written.push(')');
            }
            mark => push_mark(mark, written),
        }
    }

    fn words(&self, words: &str, layers: &[Layer<'_>], written: &mut String) {
        let special = if in_code(layers) { "`\\" } else { SPECIAL };
        escape(words, special, written);
    }
}

/// `__` is read before `_`, so that an empty bold has to stand between the end of one and the other.
fn push_mark(layer: &Layer<'_>, written: &mut String) {
    let mark = match layer {
        Layer::Bold => "*",
        Layer::Underline => "__",
        Layer::Italic => "_",
        Layer::Strikethrough => "~",
        Layer::Spoiler => "||",
        Layer::Code => "`",
        Layer::Quote(_) | Layer::Pre { .. } | Layer::Link { .. } => "",
    };
    if mark == "__" && ends_with_single(written) {
        written.push_str("**");
    }
    written.push_str(mark);
}

/// Whether a `_` at the end is none of a `__`, read from the left, and no word.
fn ends_with_single(written: &str) -> bool {
    let before = written.trim_end_matches('_');
    let escapes = before.len() - before.trim_end_matches('\\').len();
    let marks = (written.len() - before.len()).saturating_sub(escapes % 2);
    marks % 2 == 1
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '+' | '#' | '.')
}

fn escape(words: &str, special: &str, written: &mut String) {
    for c in words.chars() {
        if special.contains(c) {
            written.push('\\');
        }
        written.push(c);
    }
}
