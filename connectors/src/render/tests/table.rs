//! What becomes of what, for people to read.

mod choices;

use serde_json::{Value, json};
use tributary_bus::message::{
    Content,
    DegradationCode::{
        self, CaptionMoved, ChoicesNumbered, FormattingLost, LabelShortened, MediaConverted,
        MediaLinked, PutIntoWords, TextSplit,
    },
};

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
        // As what it is, where that is nothing like what was asked for.
        (
            "voice",
            json!({"mime": "image/png"}),
            "image",
            vec![MediaConverted],
        ),
        (
            "image",
            json!({"mime": "application/pdf"}),
            "file",
            vec![MediaConverted],
        ),
        (
            "image",
            json!({"mime": "audio/mpeg"}),
            "audio",
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
