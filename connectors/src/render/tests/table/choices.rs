//! Choices: as buttons, a list or quick replies, else as numbered lines.

use serde_json::{Value, json};
use tributary_bus::message::{
    Content,
    DegradationCode::{ChoicesNumbered, ChoicesRestyled, LabelShortened, PutIntoWords, TextSplit},
};

use super::{PLAIN, buttons, content, outcome, reason, texts, with_choices};
use crate::{Capabilities, ChoiceLimits, TextLimit};

fn drinks(style: &str) -> Value {
    json!({"type": "choices", "text": {"text": "A drink?"}, "style": style, "options": [
        {"id": "t", "title": "Tea"}, {"id": "c", "title": "Coffee"},
    ]})
}

#[test]
fn choices_are_numbered_where_they_cannot_be_shown() {
    let menu = json!({"type": "choices", "text": {"text": "A drink?"}, "options": [
        {"id": "t", "title": "Tea", "description": "hot", "section": "Warm"},
        {"id": "m", "title": "Menu", "section": "Warm", "action": {"do": "url", "url": "https://a.example"}},
        {"id": "c", "title": "Call us", "section": "Else", "action": {"do": "call", "phone": "+380441234567"}},
        {"id": "i", "title": "Ice"},
    ]});
    let (parts, codes) = texts(
        menu.clone(),
        &Capabilities::text_only(TextLimit::Characters(200)),
    );
    assert_eq!(
        parts,
        [
            "A drink?\n\nWarm\n1. Tea — hot\n2. Menu: https://a.example\nElse\n3. Call us: +380441234567\n4. Ice"
        ]
    );
    assert_eq!(codes, [ChoicesNumbered]);
    // The number that a contact types is that of the option.
    let Content::Choices(choices) = content(menu) else {
        panic!("these are choices");
    };
    assert_eq!(
        choices.answer("4").map(|reply| reply.id).as_deref(),
        Some("i")
    );
    let links = json!({"type": "choices", "text": {"text": "More"}, "options": [
        {"id": "m", "title": "Menu", "action": {"do": "url", "url": "https://a.example"}},
    ]});
    assert_eq!(
        texts(links, &PLAIN),
        (
            vec!["More\n\nMenu: https://a.example".to_owned()],
            vec![PutIntoWords]
        )
    );
    let none = json!({"type": "choices", "text": {"text": "More"}, "options": []});
    assert_eq!(reason(none, &PLAIN), "there is nothing to choose from");
}

#[test]
fn choices_take_the_style_that_fits() {
    let able = |buttons: usize, list_rows, quick_replies| {
        with_choices(ChoiceLimits {
            list_rows,
            quick_replies,
            ..self::buttons(buttons)
        })
    };
    for (asked, (buttons, rows, replies), wanted) in [
        ("buttons", (2, 0, 0), Some("buttons")),
        ("buttons", (1, 10, 0), Some("list")),
        ("buttons", (1, 10, 10), Some("quick_replies")),
        ("list", (3, 0, 10), Some("buttons")),
        ("list", (3, 2, 0), Some("list")),
        ("quick_replies", (0, 10, 0), Some("list")),
        ("buttons", (1, 1, 1), None),
    ] {
        let (parts, codes) = outcome(drinks(asked), &able(buttons, rows, replies));
        match wanted {
            Some(style) => {
                assert_eq!(parts[0]["style"], style);
                let restyled = if style == asked {
                    vec![]
                } else {
                    vec![ChoicesRestyled]
                };
                assert_eq!(codes, restyled, "{asked}");
            }
            None => assert_eq!(codes, [ChoicesNumbered]),
        }
    }
}

#[test]
fn labels_are_cut_and_ids_never() {
    let able = with_choices(buttons(3));
    let mut asked = drinks("buttons");
    asked["options"][0]["title"] = json!("Black tea with milk");
    let (parts, codes) = outcome(asked.clone(), &able);
    assert_eq!(parts[0]["options"][0]["title"], "Black t…");
    assert_eq!(parts[0]["options"][0]["id"], "t");
    assert_eq!(codes, [LabelShortened]);
    // Two that would look the same are numbered instead, in full.
    asked["options"][1]["title"] = json!("Black tea with lemon");
    let (parts, codes) = texts(asked, &able);
    assert_eq!(
        parts,
        ["A drink?\n\n1. Black tea with milk\n2. Black tea with lemon"]
    );
    assert_eq!(codes, [ChoicesNumbered]);
    let mut asked = drinks("buttons");
    asked["options"][0]["id"] = json!("an id of 20 bytes...");
    assert_eq!(outcome(asked, &able).1, [ChoicesNumbered]);
}

#[test]
fn what_buttons_cannot_show_is_told_in_the_text() {
    let able = with_choices(buttons(2));
    let asked = json!({"type": "choices", "text": {"text": "A drink?"}, "options": [
        {"id": "t", "title": "Tea", "description": "hot"},
        {"id": "c", "title": "Call", "action": {"do": "call", "phone": "+1"}},
        {"id": "m", "title": "Menu", "action": {"do": "url", "url": "https://a.example"}},
    ]});
    let (parts, codes) = outcome(asked, &able);
    assert_eq!(parts[0]["text"]["text"], "A drink?\n\nTea — hot\nCall: +1");
    let titles: Vec<&Value> = parts[0]["options"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|option| &option["title"])
        .collect();
    assert_eq!(titles, ["Tea", "Menu"]);
    assert_eq!(codes, [PutIntoWords]);
}

#[test]
fn choices_come_with_the_end_of_a_long_text() {
    let mut asked = drinks("buttons");
    asked["text"]["text"] = json!(format!(
        "{}\n\n{}",
        "a ".repeat(45),
        "b ".repeat(25).trim_end()
    ));
    let (parts, codes) = outcome(asked, &with_choices(buttons(2)));
    let kinds: Vec<&Value> = parts
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| &p["type"])
        .collect();
    assert_eq!(kinds, ["text", "text", "choices"]);
    assert_eq!(parts[2]["text"]["text"], "b b b b b");
    assert_eq!(codes, [TextSplit]);
}
