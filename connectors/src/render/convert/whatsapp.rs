//! WhatsApp's marks: <https://faq.whatsapp.com/539178204879377>. There is no way to escape one, so formatting that they
//! cannot carry is left out.

use tributary_bus::message::Text;

use super::{
    Dialect,
    runs::{Canvas, Layer, Lines},
    write,
};
use crate::{Markup, render::markup};

const CARRIED: Markup = Markup::BOLD
    .and(Markup::ITALIC)
    .and(Markup::STRIKETHROUGH)
    .and(Markup::CODE)
    .and(Markup::PRE)
    .and(Markup::QUOTE);

/// The text with WhatsApp's marks. Links are written behind their words, items of lists get a bullet. A mark stands
/// beside the words, within one line, and not inside of a word.
pub fn to_whatsapp(text: &Text) -> String {
    let (text, _) = markup::reduce(text, CARRIED);
    let mut canvas = Canvas::new(&text, Lines::Alone);
    // The outermost first, as they are written.
    let marks = [
        Markup::BOLD,
        Markup::ITALIC,
        Markup::STRIKETHROUGH,
        Markup::CODE,
    ];
    for (place, (mark, sign)) in marks.into_iter().zip(['*', '_', '~', '`']).enumerate() {
        canvas.settle(mark, &marks[..place], |before, words, after| {
            let is_of_word = |c: &char| c.is_alphanumeric();
            !words.contains(&sign)
                && !before.last().is_some_and(is_of_word)
                && !after.first().is_some_and(is_of_word)
        });
    }
    write(&canvas.runs(), &WhatsApp)
}

struct WhatsApp;

impl Dialect for WhatsApp {
    fn open(&self, layer: &Layer<'_>, written: &mut String) {
        written.push_str(match layer {
            Layer::Quote(_) => "> ",
            other => mark(other),
        });
    }

    fn close(&self, layer: &Layer<'_>, written: &mut String) {
        written.push_str(match layer {
            Layer::Quote(_) => "",
            other => mark(other),
        });
    }

    fn words(&self, words: &str, _: &[Layer<'_>], written: &mut String) {
        written.push_str(words);
    }
}

fn mark(layer: &Layer<'_>) -> &'static str {
    match layer {
        Layer::Bold => "*",
        Layer::Italic => "_",
        Layer::Strikethrough => "~",
        Layer::Code => "`",
        Layer::Pre { .. } => "```",
        Layer::Quote(_) | Layer::Link { .. } | Layer::Underline | Layer::Spoiler => "",
    }
}
