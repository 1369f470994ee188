//! What becomes of what, for people to read.

use serde_json::{Value, json};
use tributary_bus::message::{Content, DegradationCode};

use crate::{
    Capabilities, CarouselLimits, ChoiceLimits, Markup, MediaLimit, MediaLimits, Rendered, Support,
    TextLimit, render,
};

const PLAIN: Capabilities = Capabilities::text_only(TextLimit::Characters(100));

fn content(json: Value) -> Content {
    serde_json::from_value(json).expect("content")
}

fn rendered(json: Value, able: &Capabilities) -> Rendered {
    render(&content(json), able).expect("it can be sent")
}

/// The parts as JSON, and the codes of what was changed.
fn outcome(json: Value, able: &Capabilities) -> (Value, Vec<DegradationCode>) {
    let rendered = rendered(json, able);
    let parts = rendered.parts.iter().map(|part| &part.content);
    let parts = serde_json::to_value(parts.collect::<Vec<_>>()).expect("parts are JSON");
    (parts, rendered.degraded.iter().map(|d| d.code).collect())
}

/// The texts of parts that are nothing else.
fn texts(json: Value, able: &Capabilities) -> (Vec<String>, Vec<DegradationCode>) {
    let (parts, codes) = outcome(json, able);
    let texts = parts.as_array().into_iter().flatten().map(|part| {
        assert_eq!(part["type"], "text", "{part}");
        part["text"].as_str().unwrap_or_default().to_owned()
    });
    (texts.collect(), codes)
}

fn reason(json: Value, able: &Capabilities) -> String {
    render(&content(json), able)
        .expect_err("it cannot be sent")
        .reason
}

fn limit(size: u64, types: &'static [&'static str], caption: Option<usize>) -> MediaLimit {
    MediaLimit {
        size,
        types,
        caption: caption.map(TextLimit::Characters),
    }
}

fn with_media(media: MediaLimits) -> Capabilities {
    Capabilities { media, ..PLAIN }
}

fn buttons(most: usize) -> ChoiceLimits {
    ChoiceLimits {
        buttons: most,
        list_rows: 0,
        quick_replies: 0,
        title: TextLimit::Characters(8),
        description: None,
        id: TextLimit::Bytes(16),
        text: TextLimit::Characters(40),
        url: Support::Yes,
        call: Support::No,
        request: Support::No,
    }
}

fn with_choices(choices: ChoiceLimits) -> Capabilities {
    Capabilities {
        choices: Some(choices),
        ..PLAIN
    }
}

fn drinks(style: &str) -> Value {
    json!({"type": "choices", "text": {"text": "A drink?"}, "style": style, "options": [
        {"id": "t", "title": "Tea"}, {"id": "c", "title": "Coffee"},
    ]})
}

use DegradationCode::{
    CaptionMoved, ChoicesNumbered, ChoicesRestyled, FormattingLost, LabelShortened, MediaConverted,
    MediaLinked, PutIntoWords, TextSplit,
};

#[test]
fn text_is_split_and_its_formatting_written_out() {
    let hello = json!({"type": "text", "text": "Hello"});
    assert_eq!(outcome(hello.clone(), &PLAIN), (json!([hello]), vec![]));
    let short = Capabilities::text_only(TextLimit::Characters(26));
    let text = json!({"type": "text", "text": "Our shop\nis open", "entities": [
        {"offset": 4, "length": 4, "kind": "link", "url": "https://a.example"},
        {"offset": 9, "length": 7, "kind": "bold"},
    ]});
    let (parts, codes) = texts(text, &short);
    assert_eq!(parts, ["Our shop", "(https://a.example)", "is open"]);
    assert_eq!(codes, [FormattingLost, TextSplit]);
    assert_eq!(
        reason(json!({"type": "text", "text": " \n"}), &PLAIN),
        "the text is empty"
    );
    let none = Capabilities::text_only(TextLimit::Bytes(3));
    assert_eq!(
        reason(json!({"type": "text", "text": "a😀"}), &none),
        "the channel's longest text has no room for one of the characters"
    );
}

#[test]
fn media_goes_as_the_next_best_kind() {
    let all = with_media(MediaLimits {
        image: Some(limit(1000, &["image/jpeg", "image/png"], Some(10))),
        audio: Some(limit(1000, &["audio/*"], None)),
        file: Some(limit(5000, &[], Some(10))),
        ..MediaLimits::default()
    });
    for (kind, media, wanted, codes) in [
        (
            "image",
            json!({"mime": "image/png", "size": 1000}),
            "image",
            vec![],
        ),
        ("image", json!({"mime": "IMAGE/PNG; q=1"}), "image", vec![]),
        ("image", json!({}), "image", vec![]),
        (
            "image",
            json!({"mime": "image/png", "size": 1001}),
            "file",
            vec![MediaConverted],
        ),
        (
            "image",
            json!({"mime": "image/tiff"}),
            "file",
            vec![MediaConverted],
        ),
        (
            "voice",
            json!({"mime": "audio/ogg; codecs=opus"}),
            "audio",
            vec![MediaConverted],
        ),
        (
            "voice",
            json!({"mime": "video/mp4"}),
            "file",
            vec![MediaConverted],
        ),
        ("video", json!({}), "file", vec![MediaConverted]),
        (
            "sticker",
            json!({"mime": "image/png"}),
            "image",
            vec![MediaConverted],
        ),
        (
            "sticker",
            json!({"mime": "image/webp"}),
            "file",
            vec![MediaConverted],
        ),
        ("file", json!({"mime": "image/png"}), "file", vec![]),
        (
            "file",
            json!({"size": 6000, "url": "https://a.example/f"}),
            "text",
            vec![MediaLinked],
        ),
    ] {
        let asked = json!({"type": kind, "media": media});
        let (parts, found) = outcome(asked.clone(), &all);
        assert_eq!(parts[0]["type"], wanted, "{asked}");
        assert_eq!(found, codes, "{asked}");
    }
}

#[test]
fn captions_that_do_not_fit_follow_the_media() {
    let able = with_media(MediaLimits {
        image: Some(limit(1000, &[], Some(10))),
        voice: Some(limit(1000, &[], None)),
        ..MediaLimits::default()
    });
    let image = |caption: &str| json!({"type": "image", "media": {"state": "ready", "url": "u"}, "caption": {"text": caption}});
    assert_eq!(
        outcome(image("ten chars!"), &able),
        (json!([image("ten chars!")]), vec![])
    );
    assert_eq!(
        outcome(image("eleven char"), &able),
        (
            json!([
                {"type": "image", "media": {"state": "ready", "url": "u"}},
                {"type": "text", "text": "eleven char"},
            ]),
            vec![CaptionMoved]
        )
    );
    let voice = json!({"type": "voice", "media": {"url": "u"}, "caption": {"text": "hi"}});
    let (parts, codes) = outcome(voice, &able);
    assert_eq!(parts[0]["type"], "voice");
    assert_eq!(parts[1]["text"], "hi");
    assert_eq!(codes, [CaptionMoved]);
}

#[test]
fn media_without_a_place_is_a_link_or_words() {
    let file = json!({"type": "file", "media": {"url": "https://a.example/i", "name": "invoice.pdf"}, "caption": {"text": "Yours"}});
    assert_eq!(
        texts(file, &PLAIN),
        (
            vec!["Yours\ninvoice.pdf\nhttps://a.example/i".to_owned()],
            vec![MediaLinked]
        )
    );
    assert_eq!(
        reason(
            json!({"type": "image", "media": {"media_id": "ab"}}),
            &PLAIN
        ),
        "the image cannot be sent: the channel does not carry it, and there is no link to it"
    );
    assert_eq!(
        texts(
            json!({"type": "sticker", "media": {}, "emoji": "😀"}),
            &PLAIN
        ),
        (vec!["😀".to_owned()], vec![PutIntoWords])
    );
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

#[test]
fn cards_become_messages() {
    let cards = json!({"type": "carousel", "text": {"text": "Look"}, "cards": [
        {"title": "Red", "text": {"text": "A hat"}, "media": {"url": "u", "state": "ready"}, "options": []},
        {"title": "Blue", "media": {"url": "v", "state": "ready"}, "options": [{"id": "b", "title": "Buy"}]},
        {"title": "Green", "options": [{"id": "g", "title": "Buy"}, {"id": "h", "title": "More"}]},
    ]});
    let able = Capabilities {
        markup: Markup::BOLD,
        media: MediaLimits {
            image: Some(limit(10, &[], Some(50))),
            ..MediaLimits::default()
        },
        ..PLAIN
    };
    let bold = |length| json!([{"offset": 0, "length": length, "kind": "bold"}]);
    assert_eq!(
        outcome(cards.clone(), &able),
        (
            json!([
                {"type": "text", "text": "Look"},
                {"type": "image", "media": {"url": "u", "state": "ready"}, "caption": {"text": "Red\nA hat", "entities": bold(3)}},
                {"type": "image", "media": {"url": "v", "state": "ready"}},
                {"type": "text", "text": "Blue\n\n1. Buy", "entities": bold(4)},
                {"type": "text", "text": "Green\n\n2. Buy\n3. More", "entities": bold(5)},
            ]),
            vec![PutIntoWords, ChoicesNumbered]
        )
    );
    let able = Capabilities {
        carousel: Some(CarouselLimits {
            cards: 3,
            title: TextLimit::Characters(4),
            text: TextLimit::Characters(10),
            buttons: 2,
        }),
        ..able
    };
    let (parts, codes) = outcome(cards, &able);
    assert_eq!(parts[0]["type"], "carousel");
    assert_eq!(parts[0]["cards"][2]["title"], "Gre…");
    assert_eq!(codes, [LabelShortened]);
}

#[test]
fn places_cards_templates_and_emails_are_put_into_words() {
    for (asked, wanted) in [
        (
            json!({"type": "location", "latitude": 50.45, "longitude": 30.5234, "name": "Cafe", "address": "Main St 1"}),
            "Cafe\nMain St 1\nhttps://www.openstreetmap.org/?mlat=50.45&mlon=30.5234",
        ),
        (
            json!({"type": "contact_card", "name": "", "first_name": "Ann", "last_name": "Lee", "phones": ["+1", "+2"], "emails": ["a@b.example"]}),
            "Ann Lee\n+1\n+2\na@b.example",
        ),
        (
            json!({"type": "template", "name": "welcome", "text": "Hello Ann"}),
            "Hello Ann",
        ),
        (
            json!({"type": "email", "subject": "Order 7", "text": "It is here.", "quoted": "> when?"}),
            "Order 7\n\nIt is here.",
        ),
    ] {
        assert_eq!(
            texts(asked, &PLAIN),
            (vec![wanted.to_owned()], vec![PutIntoWords])
        );
    }
    let email = json!({"type": "email", "text": "See", "attachments": [{"url": "https://a.example/f", "mime": "image/png"}]});
    let (parts, codes) = texts(email, &PLAIN);
    assert_eq!(parts, ["See", "https://a.example/f"]);
    assert_eq!(codes, [PutIntoWords, MediaLinked]);
    assert_eq!(
        reason(json!({"type": "template", "name": "welcome"}), &PLAIN),
        "this channel has no templates, and the template comes without its text"
    );
}

#[test]
fn what_is_carried_goes_as_it_is() {
    let able = Capabilities {
        location: Support::Yes,
        contact_card: Support::Yes,
        template: Support::Yes,
        email: Support::Yes,
        ..PLAIN
    };
    for asked in [
        json!({"type": "location", "latitude": 1.0, "longitude": 2.0}),
        json!({"type": "contact_card", "name": "Ann"}),
        json!({"type": "template", "name": "welcome"}),
        json!({"type": "email", "text": "hi"}),
    ] {
        assert_eq!(outcome(asked.clone(), &able), (json!([asked]), vec![]));
    }
}

#[test]
fn some_content_is_never_sent() {
    for (asked, why) in [
        (
            json!({"type": "unsupported", "kind": "poll"}),
            "content of type unsupported is never sent",
        ),
        (
            json!({"type": "choice_reply", "id": "a"}),
            "content of type choice_reply is never sent",
        ),
        (
            json!({"type": "hologram", "SECRET": 1}),
            "content of an unknown type is never sent",
        ),
        (
            json!({"type": "carousel", "cards": []}),
            "the carousel has no cards",
        ),
        (
            json!({"type": "contact_card", "name": " "}),
            "there is nothing to send in it",
        ),
    ] {
        assert_eq!(reason(asked, &PLAIN), why);
    }
}

#[test]
fn nothing_that_is_said_of_changes_holds_words_of_the_message() {
    let secret = "SECRET ".repeat(30);
    let able = Capabilities {
        media: MediaLimits {
            file: Some(limit(10, &["application/pdf"], Some(5))),
            ..MediaLimits::default()
        },
        ..with_choices(buttons(1))
    };
    for asked in [
        json!({"type": "text", "text": secret, "entities": [{"offset": 0, "length": 3, "kind": "bold"}]}),
        json!({"type": "image", "media": {"url": "https://SECRET", "name": "SECRET", "mime": "SECRET/x"}, "caption": {"text": secret}}),
        json!({"type": "video", "media": {"media_id": "SECRET", "mime": "application/pdf"}, "caption": {"text": secret}}),
        json!({"type": "video", "media": {"media_id": "SECRET", "mime": "SECRET/x"}}),
        json!({"type": "choices", "text": {"text": secret}, "options": [{"id": "SECRET", "title": secret, "section": "SECRET"}]}),
        json!({"type": "choices", "text": {"text": secret}, "options": [{"id": "SECRET", "title": "SECRET"}, {"id": "S", "title": "SECRET"}]}),
        json!({"type": "template", "name": "SECRET"}),
        json!({"type": "template", "name": "SECRET", "text": "SECRET"}),
        json!({"type": "email", "subject": "SECRET", "text": "SECRET", "quoted": "SECRET"}),
        json!({"type": "location", "latitude": 1.0, "longitude": 2.0, "name": "SECRET"}),
        json!({"type": "contact_card", "name": "SECRET"}),
        json!({"type": "unsupported", "kind": "poll", "description": "SECRET"}),
    ] {
        let said = match render(&content(asked.clone()), &able) {
            Ok(rendered) => format!("{:?}", rendered.degraded),
            Err(unrenderable) => unrenderable.to_string(),
        };
        assert!(!said.contains("SECRET"), "{said}");
        assert!(said.len() > 2, "nothing is said of {asked}");
    }
}
