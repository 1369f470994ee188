//! What can be sent, and which field is named where something cannot.

use serde_json::{Value, json};
use tributary_bus::message::Content;

use super::{SENDABLE, sendable};

const ID: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// One content of every type that can be sent, with every field that can be set.
fn samples() -> Vec<Value> {
    let by_url = json!({"url": "https://shop.example/a.png", "mime": "image/png", "name": "a.png",
        "size": 10, "width": 3, "height": 4, "duration_ms": 5});
    let by_id = json!({"media_id": ID});
    let caption =
        json!({"text": "so so", "entities": [{"offset": 0, "length": 2, "kind": "bold"}]});
    let option = |id: &str, action: Value| json!({"id": id, "title": id, "action": action});
    let options = json!([
        option("a", json!({"do": "reply"})),
        option("b", json!({"do": "url", "url": "http://shop.example"})),
        option("c", json!({"do": "call", "phone": "+380 (50) 111-22-33"})),
        option("d", json!({"do": "request_contact"})),
        option("e", json!({"do": "request_location"})),
        {"id": "f", "title": "F", "description": "the last", "section": "rest"}
    ]);
    let mut all = vec![
        json!({"type": "text", "text": "hello 🙂", "entities": [
            {"offset": 0, "length": 7, "kind": "link", "url": "https://shop.example/x?y=1"}]}),
        json!({"type": "sticker", "media": by_id, "emoji": "🙂"}),
        json!({"type": "location", "latitude": -90, "longitude": 180.0, "accuracy": 3, "name": "Cafe"}),
        json!({"type": "contact_card", "name": "Ada", "phones": ["+1"], "emails": ["a@b.example"]}),
        json!({"type": "choices", "text": {"text": "Which?"}, "style": "list", "button": "Open",
            "options": options}),
        json!({"type": "carousel", "cards": [
            {"title": "One", "media": by_url, "options": [{"id": "1", "title": "Buy"}]},
            {"title": "Two", "text": {"text": "more"}, "options": [{"id": "2", "title": "Buy"}]}]}),
        json!({"type": "template", "name": "shipped", "locale": "uk", "parameters": {"1": "A-7"},
            "text": "A-7 is on its way"}),
        json!({"type": "email", "subject": "Order", "text": "hello", "html": "<p>hello</p>",
            "attachments": [by_url, by_id]}),
    ];
    for kind in ["image", "video", "audio", "voice", "file"] {
        all.push(json!({"type": kind, "media": by_url, "caption": caption}));
    }
    all
}

fn read(content: &Value) -> Result<Content, Value> {
    let fields = content.as_object().cloned().expect("an object");
    sendable(fields).map_err(|problem| serde_json::to_value(problem).expect("a problem is JSON"))
}

#[test]
fn every_type_can_be_sent() {
    let mut kinds: Vec<String> = Vec::new();
    for sample in samples() {
        let content = read(&sample).unwrap_or_else(|problem| panic!("{sample}: {problem}"));
        assert_eq!(content.kind(), sample["type"]);
        kinds.push(content.kind().to_owned());
    }
    kinds.sort();
    let mut sendable: Vec<&str> = SENDABLE.to_vec();
    sendable.sort_unstable();
    assert_eq!(kinds, sendable);
}

#[test]
fn no_type_takes_unknown_fields_or_nul() {
    for sample in samples() {
        let mut unknown = sample.clone();
        unknown["colour"] = json!("red");
        let problem = read(&unknown).expect_err("an unknown field");
        assert_eq!(problem["errors"][0]["at"], "content.colour", "{sample}");
        for at in strings(&sample, String::new()) {
            let mut nul = sample.clone();
            *nul.pointer_mut(&at).expect("found above") = json!("a\0b");
            let problem = read(&nul).expect_err("U+0000");
            assert_eq!(problem["code"], "invalid_body", "{at} of {sample}");
        }
    }
}

/// Pointers to every text of a document.
fn strings(value: &Value, at: String) -> Vec<String> {
    match value {
        Value::String(_) => vec![at],
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| strings(value, format!("{at}/{key}")))
            .collect(),
        Value::Array(items) => (0..)
            .zip(items)
            .flat_map(|(n, value)| strings(value, format!("{at}/{n}")))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

fn image(media: Value) -> Value {
    json!({"type": "image", "media": media})
}

fn choices(options: Value) -> Value {
    json!({"type": "choices", "text": {"text": "Which?"}, "options": options})
}

#[test]
fn names_of_files_are_cleaned() {
    for (name, clean) in [
        ("../../etc/a.pdf", Some("a.pdf")),
        ("a\r\nSet-Cookie: b.pdf", Some("aSet-Cookie: b.pdf")),
        ("50% off.pdf", Some("50% off.pdf")),
        ("..", None),
    ] {
        let media = json!({"url": "https://a.example/x", "name": name});
        let Value::Object(fields) = image(media) else {
            panic!("an object");
        };
        let content = sendable(fields).expect("it can be sent");
        assert_eq!(content.media()[0].name.as_deref(), clean, "{name:?}");
    }
}

#[test]
fn refusals_of_text_and_media_name_the_field() {
    let entity = |entity: Value| json!({"type": "text", "text": "hi", "entities": [entity]});
    let url = |url: &str| image(json!({"url": url}));
    let long = "я".repeat(10_001);
    for (content, at) in [
        (json!({"text": "hi"}), "content.type"),
        (json!({"type": 7}), "content.type"),
        (json!({"type": "hologram"}), "content.type"),
        (
            json!({"type": "unsupported", "kind": "poll"}),
            "content.type",
        ),
        (json!({"type": "choice_reply", "id": "a"}), "content.type"),
        (json!({"type": "other"}), "content.type"),
        (json!({"type": "text"}), "content"),
        (json!({"type": "text", "text": 7}), "content.text"),
        (json!({"type": "text", "text": " \n"}), "content.text"),
        (json!({"type": "text", "text": long}), "content.text"),
        (json!({"type": "text", "text": "a\0"}), "content.text"),
        (
            entity(json!({"offset": 1, "length": 2, "kind": "bold"})),
            "content.entities[0]",
        ),
        (
            entity(json!({"offset": 0, "length": 0, "kind": "bold"})),
            "content.entities[0]",
        ),
        (
            entity(json!({"offset": 0, "length": 1, "kind": "glow"})),
            "content.entities[0].kind",
        ),
        (
            entity(json!({"offset": 0, "length": 1, "kind": "link", "url": "javascript:alert(1)"})),
            "content.entities[0].url",
        ),
        (
            entity(json!({"offset": 0, "length": 1, "kind": "bold", "url": "https://a.example"})),
            "content.entities[0].url",
        ),
        (
            json!({"type": "image", "media": {"url": "https://a.example"}, "caption": {"text": "a", "entities": [
                {"offset": 0, "length": 1, "kind": "pre", "colour": "red"}]}}),
            "content.caption.entities[0].colour",
        ),
        (json!({"type": "image"}), "content"),
        (image(json!({})), "content.media"),
        (
            image(json!({"url": "https://a.example", "media_id": ID})),
            "content.media",
        ),
        (
            image(json!({"media_id": "../../etc/passwd"})),
            "content.media.media_id",
        ),
        (
            image(json!({"media_id": ID.to_uppercase()})),
            "content.media.media_id",
        ),
        (
            image(json!({"url": "https://a.example", "source": "x"})),
            "content.media.source",
        ),
        (
            image(json!({"url": "https://a.example", "state": "pending"})),
            "content.media.state",
        ),
        (
            image(json!({"url": "https://a.example", "mime": "png"})),
            "content.media.mime",
        ),
        (url("ftp://a.example/x"), "content.media.url"),
        (url("file:///etc/passwd"), "content.media.url"),
        (url("data:text/html,x"), "content.media.url"),
        (url("https://user:password@a.example/"), "content.media.url"),
        (url("a.png"), "content.media.url"),
        (
            url(&format!("https://a.example/{}", "x".repeat(2048))),
            "content.media.url",
        ),
        (
            json!({"type": "image", "media": {"media_id": ID}, "caption": {"text": long}}),
            "content.caption.text",
        ),
    ] {
        let problem = read(&content).expect_err("must be refused");
        assert_eq!(problem["errors"][0]["at"], at, "{problem}");
    }
}

#[test]
fn refusals_of_the_others_name_the_field() {
    let option = |id: &str| json!({"id": id, "title": "x"});
    let with = |action: Value| choices(json!([{"id": "a", "title": "x", "action": action}]));
    let many: Vec<Value> = (0..51).map(|n| option(&n.to_string())).collect();
    let card = |id: &str| json!({"title": "x", "options": [option(id)]});
    let cards: Vec<Value> = (0..21).map(|n| card(&n.to_string())).collect();
    let email = |member: &str, value: Value| {
        let mut email = json!({"type": "email", "text": "hello"});
        email[member] = value;
        email
    };
    let place = |latitude: f64, longitude: f64| json!({"type": "location", "latitude": latitude, "longitude": longitude});
    for (content, at) in [
        (
            with(json!({"do": "reply", "url": "https://a.example"})),
            "content.options[0].action.url",
        ),
        (choices(json!([])), "content.options"),
        (choices(json!(many)), "content.options"),
        (
            choices(json!([option("a"), option("a")])),
            "content.options[1].id",
        ),
        (choices(json!([option("")])), "content.options[0].id"),
        (
            choices(json!([{"id": "a", "title": " "}])),
            "content.options[0].title",
        ),
        (
            choices(json!([{"id": "a", "title": "x", "colour": 1}])),
            "content.options[0].colour",
        ),
        (with(json!({"do": "dance"})), "content.options[0].action.do"),
        (
            with(json!({"do": "url", "url": "tel:+1"})),
            "content.options[0].action.url",
        ),
        (
            with(json!({"do": "call", "phone": "call me"})),
            "content.options[0].action.phone",
        ),
        (
            json!({"type": "choices", "text": {"text": ""}, "options": [option("a")]}),
            "content.text.text",
        ),
        (json!({"type": "carousel", "cards": []}), "content.cards"),
        (json!({"type": "carousel", "cards": cards}), "content.cards"),
        (
            json!({"type": "carousel", "cards": [card("a"), card("a")]}),
            "content.cards[1].options[0].id",
        ),
        (
            json!({"type": "carousel", "cards": [{"title": ""}]}),
            "content.cards[0].title",
        ),
        (place(90.5, 0.0), "content.latitude"),
        (place(0.0, -180.5), "content.longitude"),
        (json!({"type": "contact_card", "name": ""}), "content.name"),
        (
            json!({"type": "contact_card", "name": "Ada", "own": true}),
            "content.own",
        ),
        (json!({"type": "template", "name": ""}), "content.name"),
        (email("text", json!(" ")), "content.text"),
        (
            email("subject", json!("a\r\nBcc: b@c.example")),
            "content.subject",
        ),
        (
            email("attachments", json!(vec![json!({"media_id": ID}); 21])),
            "content.attachments",
        ),
        (
            email("attachments", json!([{"url": "x"}])),
            "content.attachments[0].url",
        ),
        (
            json!({"type": "sticker", "media": {"url": "x"}}),
            "content.media.url",
        ),
    ] {
        let problem = read(&content).expect_err("must be refused");
        assert_eq!(problem["errors"][0]["at"], at, "{problem}");
    }
}
