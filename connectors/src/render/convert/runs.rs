//! Text cut where its formatting changes.

use std::ops::Range;

use tributary_bus::message::{Entity, EntityKind, Text};

use crate::Markup;

/// One kind of formatting around words. Two of the same kind side by side differ by their number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layer<'a> {
    Quote(usize),
    Pre {
        number: usize,
        language: Option<&'a str>,
    },
    Link {
        number: usize,
        url: &'a str,
    },
    Bold,
    Underline,
    Italic,
    Strikethrough,
    Spoiler,
    Code,
}

/// Words with the same formatting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run<'a> {
    pub words: &'a str,
    /// The outermost first, always in the same order.
    pub layers: Vec<Layer<'a>>,
}

/// How a provider reads lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// A line break is a character like any other.
    Plain,
    /// Quotes are whole lines.
    Quoted,
    /// The same, and no other formatting goes on behind the end of a line.
    Alone,
}

/// The formatting of one character.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Paint {
    quote: Option<usize>,
    pre: Option<usize>,
    link: Option<usize>,
    marks: Markup,
}

/// A text whose characters are painted one by one.
pub(super) struct Canvas<'a> {
    text: &'a Text,
    characters: Vec<char>,
    paint: Vec<Paint>,
}

impl<'a> Canvas<'a> {
    /// Paints the entities. In code there is no other formatting, and links and quotes do not nest: the first one stays.
    pub(super) fn new(text: &'a Text, lines: Lines) -> Self {
        let characters: Vec<char> = text.text.chars().collect();
        let mut canvas = Self {
            paint: vec![Paint::default(); characters.len()],
            text,
            characters,
        };
        for (number, entity) in text.entities.iter().enumerate() {
            canvas.paint_entity(number, entity, lines);
        }
        for paint in &mut canvas.paint {
            if paint.pre.is_some() {
                paint.link = None;
                paint.marks = Markup::NONE;
                if lines != Lines::Plain {
                    paint.quote = None;
                }
            } else if paint.marks.has(Markup::CODE) {
                paint.link = None;
                paint.marks = Markup::CODE;
            }
        }
        if lines != Lines::Plain {
            canvas.quote_whole_lines();
            canvas.end_lines(lines);
        }
        canvas
    }

    fn paint_entity(&mut self, number: usize, entity: &Entity, lines: Lines) {
        let length = self.paint.len();
        let from = (entity.offset as usize).min(length);
        let to = from.saturating_add(entity.length as usize).min(length);
        match &entity.kind {
            EntityKind::Quote if lines == Lines::Plain => {
                for paint in &mut self.paint[from..to] {
                    paint.quote.get_or_insert(number);
                }
            }
            EntityKind::Quote => self.quote_lines(from..to),
            EntityKind::Pre { .. } => {
                for paint in &mut self.paint[from..to] {
                    paint.pre.get_or_insert(number);
                }
            }
            EntityKind::Link { .. } => {
                for paint in &mut self.paint[from..to] {
                    paint.link.get_or_insert(number);
                }
            }
            EntityKind::Bold
            | EntityKind::Italic
            | EntityKind::Underline
            | EntityKind::Strikethrough
            | EntityKind::Spoiler
            | EntityKind::Code
            | EntityKind::ListItem
            | EntityKind::Url
            | EntityKind::Email
            | EntityKind::Phone
            | EntityKind::Mention
            | EntityKind::Hashtag
            | EntityKind::Command
            | EntityKind::Other(_) => {
                let mark = Markup::of(&entity.kind).unwrap_or_default();
                for paint in &mut self.paint[from..to] {
                    paint.marks = paint.marks.and(mark);
                }
            }
        }
    }

    /// Quotes every line that has a character in the range; the number of a quote is where its line begins.
    fn quote_lines(&mut self, range: Range<usize>) {
        let is_break = |at: &usize| self.characters[*at] == '\n';
        let begin = (0..range.start).rfind(is_break).map_or(0, |at| at + 1);
        let end = (range.end.max(begin)..self.characters.len())
            .find(is_break)
            .unwrap_or(self.characters.len());
        let mut line = begin;
        for at in begin..end {
            if self.characters[at] == '\n' {
                line = at + 1;
            } else {
                self.paint[at].quote = Some(line);
            }
        }
    }

    /// Takes the quote off lines that are not in it whole, for a block of code.
    fn quote_whole_lines(&mut self) {
        let mut begin = 0;
        for line in self.characters.split(|c| *c == '\n') {
            let end = begin + line.len();
            let paint = &mut self.paint[begin..end];
            if paint.iter().any(|paint| paint.quote.is_none()) {
                paint.iter_mut().for_each(|paint| paint.quote = None);
            }
            begin = end + 1;
        }
    }

    /// Takes the formatting off line breaks behind which it has to begin anew.
    fn end_lines(&mut self, lines: Lines) {
        for at in 0..self.characters.len() {
            let beside_quote = at
                .checked_sub(1)
                .is_some_and(|at| self.paint[at].quote.is_some())
                || self
                    .paint
                    .get(at + 1)
                    .is_some_and(|paint| paint.quote.is_some());
            if self.characters[at] == '\n'
                && self.paint[at].pre.is_none()
                && (lines == Lines::Alone || beside_quote)
            {
                self.paint[at] = Paint::default();
            }
        }
    }

    /// Keeps a mark only where `fits` says so. It is asked for each stretch that is unbroken, by the marks of `outer` too,
    /// without the blank space around it, and sees what comes before, the stretch, and what comes after.
    pub(super) fn settle(
        &mut self,
        mark: Markup,
        outer: &[Markup],
        fits: impl Fn(&[char], &[char], &[char]) -> bool,
    ) {
        let mut at = 0;
        while at < self.paint.len() {
            let first = self.paint[at];
            if !first.marks.has(mark) {
                at += 1;
                continue;
            }
            let goes_on = |paint: &&Paint| {
                let same = |outer: &Markup| paint.marks.has(*outer) == first.marks.has(*outer);
                paint.marks.has(mark) && outer.iter().all(same)
            };
            let end = at + self.paint[at..].iter().take_while(goes_on).count();
            let stretch = &self.characters[at..end];
            let blank = |c: &&char| c.is_whitespace();
            let from = at + stretch.iter().take_while(blank).count();
            let to = end - stretch.iter().rev().take_while(blank).count();
            let keep = from < to
                && fits(
                    &self.characters[..from],
                    &self.characters[from..to],
                    &self.characters[to..],
                );
            for place in at..end {
                if !keep || place < from || place >= to {
                    self.paint[place].marks = self.paint[place].marks.without(mark);
                }
            }
            at = end;
        }
    }

    /// Cuts the text where the paint changes.
    pub(super) fn runs(&self) -> Vec<Run<'a>> {
        let mut runs = Vec::new();
        let mut begin = 0;
        let mut last: Option<Paint> = None;
        for ((at, _), paint) in self.text.text.char_indices().zip(&self.paint) {
            if let Some(last) = last.filter(|last| last != paint) {
                runs.push(self.run(begin..at, last));
                begin = at;
            }
            last = Some(*paint);
        }
        if let Some(last) = last {
            runs.push(self.run(begin..self.text.text.len(), last));
        }
        runs
    }

    fn run(&self, bytes: Range<usize>, paint: Paint) -> Run<'a> {
        let mut layers = Vec::new();
        layers.extend(paint.quote.map(Layer::Quote));
        layers.extend(paint.pre.map(|number| Layer::Pre {
            number,
            language: match &self.text.entities[number].kind {
                EntityKind::Pre { language } => language.as_deref(),
                _ => None,
            },
        }));
        layers.extend(
            paint
                .link
                .and_then(|number| match &self.text.entities[number].kind {
                    EntityKind::Link { url } => Some(Layer::Link { number, url }),
                    _ => None,
                }),
        );
        let marks = [
            (Markup::BOLD, Layer::Bold),
            (Markup::UNDERLINE, Layer::Underline),
            (Markup::ITALIC, Layer::Italic),
            (Markup::STRIKETHROUGH, Layer::Strikethrough),
            (Markup::SPOILER, Layer::Spoiler),
            (Markup::CODE, Layer::Code),
        ];
        let marked = marks.into_iter().filter(|(mark, _)| paint.marks.has(*mark));
        layers.extend(marked.map(|(_, layer)| layer));
        Run {
            words: &self.text.text[bytes],
            layers,
        }
    }
}
