//! The subset of HTML that Telegram and its like read: no `<br>`, no `<p>`, and only four named entities.

use tributary_bus::message::Text;

use super::{
    Dialect,
    runs::{Canvas, Layer, Lines},
    write,
};
use crate::{Markup, render::markup};

/// The text as HTML: `b`, `i`, `u`, `s`, `tg-spoiler`, `code`, `pre`, `blockquote`, `a`. Items of lists get a bullet.
pub fn to_html(text: &Text) -> String {
    let (text, _) = markup::reduce(text, Markup::ALL.without(Markup::LIST));
    write(&Canvas::new(&text, Lines::Plain).runs(), &Html)
}

struct Html;

impl Dialect for Html {
    fn open(&self, layer: &Layer<'_>, written: &mut String) {
        match layer {
            Layer::Pre {
                language: Some(language),
                ..
            } => {
                written.push_str("<pre><code class=\"language-");
                escape(language, written);
                written.push_str("\">");
            }
            Layer::Link { url, .. } => {
                written.push_str("<a href=\"");
                escape(url, written);
                written.push_str("\">");
            }
            Layer::Quote(_)
            | Layer::Pre { .. }
            | Layer::Bold
            | Layer::Underline
            | Layer::Italic
            | Layer::Strikethrough
            | Layer::Spoiler
            | Layer::Code => {
                written.push('<');
                written.push_str(tag(layer));
                written.push('>');
            }
        }
    }

    fn close(&self, layer: &Layer<'_>, written: &mut String) {
        if let Layer::Pre {
            language: Some(_), ..
        } = layer
        {
            written.push_str("</code>");
        }
        written.push_str("</");
        written.push_str(tag(layer));
        written.push('>');
    }

    fn words(&self, words: &str, _: &[Layer<'_>], written: &mut String) {
        escape(words, written);
    }
}

fn tag(layer: &Layer<'_>) -> &'static str {
    match layer {
        Layer::Quote(_) => "blockquote",
        Layer::Pre { .. } => "pre",
        Layer::Link { .. } => "a",
        Layer::Bold => "b",
        Layer::Underline => "u",
        Layer::Italic => "i",
        Layer::Strikethrough => "s",
        Layer::Spoiler => "tg-spoiler",
        Layer::Code => "code",
    }
}

fn escape(words: &str, written: &mut String) {
    for c in words.chars() {
        match c {
            '<' => written.push_str("&lt;"),
            '>' => written.push_str("&gt;"),
            '&' => written.push_str("&amp;"),
            '"' => written.push_str("&quot;"),
            c => written.push(c),
        }
    }
}
