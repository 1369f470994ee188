use proptest::prelude::*;
use serde_json::Map;
use tributary_bus::message::{Entity, EntityKind, Text};

use super::*;

fn entity(offset: u32, length: u32, kind: EntityKind) -> Entity {
    Entity {
        offset,
        length,
        kind,
    }
}

fn text(words: &str, entities: Vec<Entity>) -> Text {
    Text {
        text: words.to_owned(),
        entities,
        extra: Map::new(),
    }
}

fn link(offset: u32, length: u32, url: &str) -> Entity {
    let url = url.to_owned();
    entity(offset, length, EntityKind::Link { url })
}

fn rust(offset: u32, length: u32) -> Entity {
    let language = Some("rust".to_owned());
    entity(offset, length, EntityKind::Pre { language })
}

#[test]
fn html_is_escaped_and_nested() {
    for (words, entities, wanted) in [
        ("a < b & \"c\"", vec![], "a &lt; b &amp; &quot;c&quot;"),
        (
            "bold both italic",
            vec![
                entity(0, 9, EntityKind::Bold),
                entity(5, 11, EntityKind::Italic),
            ],
            "<b>bold <i>both</i></b><i> italic</i>",
        ),
        (
            "shop",
            vec![
                link(0, 4, "https://a.example/?q=\"&b"),
                entity(0, 4, EntityKind::Bold),
            ],
            "<a href=\"https://a.example/?q=&quot;&amp;b\"><b>shop</b></a>",
        ),
        (
            "x<y z",
            vec![rust(0, 3), entity(1, 4, EntityKind::Bold)],
            "<pre><code class=\"language-rust\">x&lt;y</code></pre><b> z</b>",
        ),
        (
            "said\nmore",
            vec![
                entity(0, 9, EntityKind::Quote),
                entity(0, 4, EntityKind::Quote),
            ],
            "<blockquote>said\nmore</blockquote>",
        ),
        (
            "tea\nice",
            vec![
                entity(0, 3, EntityKind::ListItem),
                entity(4, 3, EntityKind::ListItem),
            ],
            "• tea\n• ice",
        ),
    ] {
        assert_eq!(to_html(&text(words, entities)), wanted);
    }
}

#[test]
fn markdown_v2_is_escaped_and_nested() {
    for (words, entities, wanted) in [
        ("1. a_b (c)!", vec![], "1\\. a\\_b \\(c\\)\\!"),
        (
            "both",
            vec![
                entity(0, 4, EntityKind::Italic),
                entity(0, 4, EntityKind::Underline),
            ],
            "___both_**__",
        ),
        (
            "shop",
            vec![link(0, 4, "https://a.example/(b)\\")],
            "[shop](https://a.example/(b\\)\\\\)",
        ),
        (
            "a`b\\.",
            vec![entity(0, 5, EntityKind::Code)],
            "`a\\`b\\\\.`",
        ),
        ("fn", vec![rust(0, 2)], "```rust\nfn```"),
        (
            "so said\nmore\nend",
            vec![
                entity(3, 9, EntityKind::Quote),
                entity(0, 16, EntityKind::Bold),
            ],
            ">*so said*\n>*more*\n*end*",
        ),
        // What is escaped before a mark is no part of it.
        (
            "\\x",
            vec![
                entity(0, 1, EntityKind::Italic),
                entity(1, 1, EntityKind::Underline),
            ],
            "_\\\\_**__x__",
        ),
        (
            "_x",
            vec![
                entity(0, 1, EntityKind::Italic),
                entity(1, 1, EntityKind::Underline),
            ],
            "_\\__**__x__",
        ),
    ] {
        assert_eq!(to_markdown_v2(&text(words, entities)), wanted);
    }
}

#[test]
fn whatsapp_marks_stand_beside_words() {
    for (words, entities, wanted) in [
        (
            "bold both italic",
            vec![
                entity(0, 9, EntityKind::Bold),
                entity(5, 11, EntityKind::Italic),
            ],
            "*bold _both_* _italic_",
        ),
        ("a word ", vec![entity(1, 6, EntityKind::Bold)], "a *word* "),
        ("2*3 is", vec![entity(0, 3, EntityKind::Bold)], "2*3 is"),
        (
            "bold both italic",
            vec![
                entity(0, 7, EntityKind::Bold),
                entity(5, 11, EntityKind::Italic),
            ],
            "bold _both italic_",
        ),
        ("inside", vec![entity(2, 2, EntityKind::Italic)], "inside"),
        (
            "one\ntwo",
            vec![entity(0, 7, EntityKind::Strikethrough)],
            "~one~\n~two~",
        ),
        ("ls -l", vec![entity(0, 5, EntityKind::Code)], "`ls -l`"),
        ("a\n b", vec![rust(0, 4)], "```a\n b```"),
        (
            "said\nmore",
            vec![entity(0, 9, EntityKind::Quote)],
            "> said\n> more",
        ),
        (
            "the shop",
            vec![
                link(4, 4, "https://a.example"),
                entity(4, 4, EntityKind::Bold),
            ],
            "the *shop* (https://a.example)",
        ),
        (
            "spoiler",
            vec![entity(0, 7, EntityKind::Spoiler)],
            "spoiler",
        ),
    ] {
        assert_eq!(to_whatsapp(&text(words, entities)), wanted);
    }
}

/// Any text with any entities over it.
fn any_text() -> impl Strategy<Value = Text> {
    let kind = |number| match number {
        0 => EntityKind::Bold,
        1 => EntityKind::Italic,
        2 => EntityKind::Underline,
        3 => EntityKind::Strikethrough,
        4 => EntityKind::Spoiler,
        5 => EntityKind::Code,
        6 => EntityKind::Quote,
        7 => EntityKind::Pre { language: None },
        8 => EntityKind::Link {
            url: "https://a.example/(\")&<>\\".to_owned(),
        },
        _ => EntityKind::Mention,
    };
    let entities = proptest::collection::vec((0_u32..30, 0_u32..30, 0..10), 0..8);
    let words = "[a-c_*`<>&\\[\\])~|.\\\\ \n😀]{0,24}";
    (words, entities).prop_map(move |(words, entities): (String, Vec<_>)| {
        let entities = entities
            .into_iter()
            .map(|(offset, length, number)| entity(offset, length, kind(number)));
        text(&words, entities.collect())
    })
}

/// Reads the HTML back: its words and, for each character, the tags around it. Panics when it is not well formed.
fn read_html(html: &str) -> (String, Vec<Vec<String>>) {
    let (mut words, mut around, mut open) = (String::new(), Vec::new(), Vec::<String>::new());
    let mut rest = html;
    while let Some(c) = rest.chars().next() {
        if let Some(tag) = rest.strip_prefix('<') {
            let (tag, after) = tag.split_once('>').expect("a tag ends");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "{html}"),
                None => open.push(tag.split(' ').next().unwrap_or_default().to_owned()),
            }
            rest = after;
            continue;
        }
        let (shown, length) = if c == '&' {
            let (name, _) = rest.split_once(';').expect("a named character ends");
            let shown = match name {
                "&lt" => '<',
                "&gt" => '>',
                "&amp" => '&',
                "&quot" => '"',
                other => panic!("{other} in {html}"),
            };
            (shown, name.len() + 1)
        } else {
            (c, c.len_utf8())
        };
        words.push(shown);
        around.push(open.clone());
        rest = &rest[length..];
    }
    assert!(open.is_empty(), "{html}");
    (words, around)
}

/// Reads MarkdownV2 as Telegram does, and answers its words. Panics where Telegram would refuse it.
fn read_markdown_v2(written: &str) -> String {
    let (mut words, mut open) = (String::new(), Vec::<&str>::new());
    let mut rest = written;
    let marks = ["```", "__", "||", "*", "_", "~", "`", "["];
    while let Some(c) = rest.chars().next() {
        let code = matches!(open.last(), Some(&"`" | &"```"));
        if c == '\\' {
            let next = rest[1..].chars().next().expect("something is escaped");
            words.push(next);
            rest = &rest[1 + next.len_utf8()..];
        } else if let Some(mark) = marks
            .iter()
            .find(|mark| rest.starts_with(**mark) && (!code || open.last() == Some(mark)))
        {
            if open.last() == Some(mark) {
                open.pop();
            } else {
                assert!(
                    !open.contains(mark) || *mark == "*",
                    "{mark} crosses another in {written}"
                );
                open.push(mark);
            }
            rest = &rest[mark.len()..];
            if *mark == "```" && open.last() == Some(mark) {
                rest = rest.split_once('\n').expect("the language ends").1;
            }
        } else if let Some(after) = rest.strip_prefix("](").filter(|_| !code) {
            assert_eq!(open.pop(), Some("["), "{written}");
            let mut escaped = false;
            let end = after.find(|c| match c {
                '\\' if !escaped => {
                    escaped = true;
                    false
                }
                c => !std::mem::take(&mut escaped) && c == ')',
            });
            rest = &after[end.expect("an address ends") + 1..];
        } else {
            let line_begins = words.is_empty() || words.ends_with('\n');
            if c == '>' && line_begins && open.is_empty() {
                rest = &rest[1..];
                continue;
            }
            assert!(
                code || !"_*[]()~`>#+-=|{}.!".contains(c),
                "{c} is not escaped in {written}"
            );
            words.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    assert!(open.is_empty(), "{open:?} in {written}");
    words
}

proptest! {
    #![proptest_config(crate::render::tests::explored())]

    #[test]
    fn html_is_well_formed_and_says_the_same(text in any_text()) {
        let (words, around) = read_html(&to_html(&text));
        prop_assert_eq!(&words, &text.text);
        for (at, tags) in (0_u32..).zip(&around) {
            let covering = |kind: &EntityKind| {
                text.entities.iter().any(|e| e.kind == *kind && e.offset <= at && at < e.offset + e.length)
            };
            let has = |tag: &str| tags.iter().any(|found| found == tag);
            let code = covering(&EntityKind::Code) || covering(&EntityKind::Pre { language: None });
            for (tag, kind) in [
                ("b", EntityKind::Bold), ("i", EntityKind::Italic), ("u", EntityKind::Underline),
                ("s", EntityKind::Strikethrough), ("tg-spoiler", EntityKind::Spoiler),
            ] {
                prop_assert_eq!(has(tag), covering(&kind) && !code, "{} at {}", tag, at);
            }
            prop_assert_eq!(has("blockquote"), covering(&EntityKind::Quote));
            prop_assert_eq!(has("pre"), covering(&EntityKind::Pre { language: None }));
        }
    }

    #[test]
    fn markdown_v2_is_well_formed_and_says_the_same(text in any_text()) {
        prop_assert_eq!(&read_markdown_v2(&to_markdown_v2(&text)), &text.text);
    }

    #[test]
    fn whatsapp_loses_no_words(text in any_text()) {
        let written = to_whatsapp(&text);
        let mut left = written.chars();
        for c in text.text.chars() {
            prop_assert!(left.any(|found| found == c), "{c:?} of {:?} is not in {written:?}", text.text);
        }
    }
}
