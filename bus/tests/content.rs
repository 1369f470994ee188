//! Every type of content survives: what is known is read as its type, what is unknown travels on.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tributary_bus::message::{
    Choice, Choices, Content, MediaState, MessageMedia, MessageReceived, MessageView,
};

/// One of each type, with every field set.
fn complete() -> Vec<Value> {
    let media = json!({
        "state": "ready", "url": "https://files.example.org/a", "media_id": "ab12", "source": "AgAC",
        "mime": "image/png", "size": 7, "name": "a.png", "sha256": "ab12", "duration_ms": 1500,
        "width": 640, "height": 480,
    });
    let pending = json!({ "state": "pending", "source": "AgAC" });
    let text = json!({
        "text": "Hello *you*",
        "entities": [
            { "offset": 0, "length": 5, "kind": "bold" },
            { "offset": 0, "length": 5, "kind": "pre", "language": "rust" },
            { "offset": 6, "length": 5, "kind": "link", "url": "https://example.org" },
            { "offset": 6, "length": 5, "kind": "sparkling", "colour": "gold" },
        ],
    });
    let option = json!({
        "id": "yes", "title": "Yes", "description": "I do", "section": "Answers",
        "action": { "do": "reply" },
    });
    let page = json!({ "id": "page", "title": "Page", "action": { "do": "url", "url": "https://example.org" } });
    let mut all = vec![
        json!({ "type": "text", "text": "Hello", "entities": text["entities"] }),
        json!({ "type": "sticker", "media": media, "emoji": "😂" }),
        json!({
            "type": "location", "latitude": 50.4501, "longitude": 30.5234, "accuracy": 20.5,
            "name": "Cafe Nine", "address": "1 Main St", "live_seconds": 900,
        }),
        json!({
            "type": "contact_card", "name": "Olena K", "first_name": "Olena", "last_name": "K",
            "phones": ["+380501112233"], "emails": ["olena@example.org"], "vcard": "BEGIN:VCARD", "own": true,
        }),
        json!({
            "type": "choices", "text": text, "style": "list", "options": [option, page], "button": "Choose",
        }),
        json!({ "type": "choice_reply", "id": "yes", "title": "Yes" }),
        json!({
            "type": "carousel", "text": text,
            "cards": [{ "title": "One", "text": text, "media": media, "options": [option] }, { "title": "Two" }],
        }),
        json!({ "type": "template", "name": "welcome", "locale": "uk", "parameters": { "1": "Olena" }, "text": "Hi" }),
        json!({
            "type": "email", "subject": "Order", "text": "Hello", "html": "<p>Hello</p>", "quoted": "> Hi",
            "attachments": [media, pending],
        }),
        json!({ "type": "unsupported", "kind": "poll", "description": "sent a poll" }),
    ];
    for kind in ["image", "video", "audio", "voice", "file"] {
        all.push(json!({ "type": kind, "media": media, "caption": text }));
        all.push(json!({ "type": kind, "media": pending }));
    }
    all
}

/// Puts a field that no version has into every object that keeps what it does not know.
fn enrich(value: &mut Value, name: &str, extra: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| enrich(item, name, extra)),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                // An action and an entity say what they are by their fields; parameters are anything.
                if !matches!(key.as_str(), "action" | "entities" | "parameters") {
                    enrich(field, name, extra);
                }
            }
            fields.insert(name.to_owned(), extra.clone());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn read(content: &Value) -> Content {
    serde_json::from_value(content.clone()).expect("content is always read")
}

#[test]
fn every_type_is_known_and_complete() {
    for content in complete() {
        let read = read(&content);
        assert!(!matches!(read, Content::Other(_)), "{content}");
        assert_eq!(read.kind(), content["type"]);
        assert_eq!(serde_json::to_value(&read).expect("JSON"), content);
    }
}

proptest! {
    #[test]
    fn unknown_fields_survive_everywhere(
        which in any::<prop::sample::Index>(),
        name in "x_[a-z]{1,8}",
        extra in prop_oneof![Just(json!(null)), Just(json!([1, "a"])), Just(json!({"deep": {"er": true}}))],
    ) {
        let all = complete();
        let mut content = which.get(&all).clone();
        enrich(&mut content, &name, &extra);
        let read = read(&content);
        prop_assert!(!matches!(read, Content::Other(_)), "{}", content);
        prop_assert_eq!(serde_json::to_value(&read).expect("JSON"), content);
    }

    #[test]
    fn what_does_not_fit_is_kept_whole(which in any::<prop::sample::Index>(), field in any::<prop::sample::Index>()) {
        let all = complete();
        let mut content = which.get(&all).clone();
        let names: Vec<String> = content.as_object().expect("an object").keys().filter(|key| *key != "type").cloned().collect();
        // No field is a list of lists.
        content[field.get(&names)] = json!([["of a later version"]]);
        let read = read(&content);
        prop_assert_eq!(serde_json::to_value(&read).expect("JSON"), content);
    }

    #[test]
    fn words_never_print(secret in "secret[a-z]{8}") {
        for mut content in complete() {
            replace_strings(&mut content, &secret);
            let printed = format!("{:?}", read(&content));
            prop_assert!(!printed.contains("secret"), "{}", printed);
        }
    }

    #[test]
    fn a_numbered_list_is_answered_by_number_or_title(titles in prop::collection::btree_set("[a-z]{2,8}", 1..12)) {
        let options: Vec<Choice> = titles.iter().enumerate().map(|(n, title)| Choice::reply(format!("id{n}"), title.clone())).collect();
        let choices = Choices { options, ..Choices::default() };
        for (n, title) in titles.iter().enumerate() {
            let wanted = Some(format!("id{n}"));
            prop_assert_eq!(choices.answer(&(n + 1).to_string()).map(|reply| reply.id), wanted.clone());
            prop_assert_eq!(choices.answer(&title.to_uppercase()).map(|reply| reply.id), wanted);
        }
        prop_assert_eq!(choices.answer(&(titles.len() + 1).to_string()), None);
    }
}

/// Every text but the type becomes `with`.
fn replace_strings(value: &mut Value, with: &str) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| replace_strings(item, with)),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                // What tells one type from another, and what an operator may see.
                let kept = ["type", "state", "style", "do", "kind"].contains(&key.as_str())
                    || (key == "name" && field == "welcome");
                if !kept {
                    replace_strings(field, with);
                }
            }
        }
        Value::String(text) => with.clone_into(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn media_have_places() {
    let email = read(&json!({
        "type": "email", "text": "two", "attachments": [{ "source": "a" }, { "source": "b", "state": "pending" }],
    }));
    let sources: Vec<_> = email
        .media()
        .iter()
        .map(|media| media.source.clone())
        .collect();
    assert_eq!(sources, [Some("a".to_owned()), Some("b".to_owned())]);
    assert_eq!(email.media()[1].state, MediaState::Pending);
    let mut changed = email.clone();
    changed.media_mut()[1].state = MediaState::Ready;
    assert_ne!(changed, email);
    for content in complete() {
        let mut content = read(&content);
        let (there, changeable) = (content.media().len(), content.media_mut().len());
        assert_eq!(there, changeable);
    }
}

#[test]
fn the_short_forms_are_short() {
    let received: MessageReceived = serde_json::from_value(json!({
        "origin": { "channel_id": "shop", "address": "7", "occurred_at": "2026-01-02T03:04:05Z" },
        "message_id": "0190b5a0-0000-7000-8000-000000000001",
        "provider_id": "51",
        "contact": {},
        "content": { "type": "text", "text": "Hi" },
    }))
    .expect("fits");
    let again = serde_json::to_value(&received).expect("JSON");
    let names: Vec<&str> = again
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        ["contact", "content", "message_id", "origin", "provider_id"]
    );
    let media: MessageMedia = serde_json::from_value(json!({
        "origin": { "channel_id": "shop", "address": "7", "occurred_at": "2026-01-02T03:04:05Z" },
        "message_id": "0190b5a0-0000-7000-8000-000000000001",
        "index": 0,
        "media": { "state": "failed", "failure": "expired" },
        "later": Map::new(),
    }))
    .expect("fits");
    assert!(media.extra.contains_key("later"));
}

#[test]
fn a_view_reads_back() {
    let view = json!({
        "id": "0190b5a0-0000-7000-8000-000000000001", "conversation_id": "0190b5a0-0000-7000-8000-000000000002",
        "channel_id": "shop", "contact_id": "0190b5a0-0000-7000-8000-000000000003", "direction": "outbound",
        "author": { "kind": "account" }, "content": { "type": "text", "text": "Hi" }, "status": "sent",
        "uncertain": false, "failure": null,
        "degraded": [{ "code": "text_split", "detail": "2 parts" }], "reply_to": null,
        "context": { "group": "g", "x_later": 1 }, "reactions": ["👍"], "our_reactions": ["🎉"],
        "edited_at": null, "deleted_at": null, "seq": 4, "created_at": "2026-01-02T03:04:05Z",
    });
    let read: MessageView = serde_json::from_value(view.clone()).expect("fits");
    assert_eq!(serde_json::to_value(&read).expect("JSON"), view);
    // As an earlier version wrote it.
    let mut earlier = view;
    if let Some(fields) = earlier.as_object_mut() {
        fields.remove("our_reactions");
    }
    let read: MessageView = serde_json::from_value(earlier).expect("fits");
    assert_eq!(read.our_reactions, [""; 0]);
}
