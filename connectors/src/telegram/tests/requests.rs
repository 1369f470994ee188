//! The calls that content becomes.

use serde_json::{Map, Value, json};
use tributary_bus::{
    Address,
    message::{
        Card, Carousel, Choice, ChoiceAction, ChoiceStyle, Choices, ContactCard, Content, Entity,
        EntityKind, Location, Media, MediaContent, Sticker, Template, Text,
    },
};

use super::super::{
    address::Place,
    outbound::{Draft, to_edit},
};

const OLENA: &str = "5550001111";
const GROUP: &str = "-1002000333444/15";
const BUSINESS: &str = "business/bc_AbC123/5550001111";

fn place(to: &str) -> Place {
    Place::parse(&Address::from(to)).expect("an address")
}

fn bold(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        entities: vec![Entity {
            offset: 0,
            length: 4,
            kind: EntityKind::Bold,
        }],
        extra: Map::new(),
    }
}

fn media(mime: &str) -> MediaContent {
    MediaContent {
        media: Media {
            url: Some("https://cdn.example.org/x".to_owned()),
            mime: Some(mime.to_owned()),
            duration_ms: Some(2500),
            width: Some(640),
            height: Some(480),
            ..Media::default()
        },
        caption: Some(bold("Look here")),
        extra: Map::new(),
    }
}

fn option(title: &str, action: ChoiceAction) -> Choice {
    Choice {
        action,
        ..Choice::reply(title.to_lowercase(), title)
    }
}

fn link() -> ChoiceAction {
    ChoiceAction::Url {
        url: "https://shop.example.org/t/991".to_owned(),
    }
}

fn choices(style: ChoiceStyle, options: Vec<Choice>) -> Content {
    Content::Choices(Choices {
        text: bold("Which one?"),
        style,
        options,
        ..Choices::default()
    })
}

fn drinks() -> Vec<Choice> {
    let call = ChoiceAction::Call {
        phone: "+380501112233".to_owned(),
    };
    vec![
        option("Tea", ChoiceAction::Reply),
        option("Coffee", ChoiceAction::Reply),
        option("Something much longer than that", ChoiceAction::Reply),
        option("Track", link()),
        option("Call", call),
    ]
}

fn requests() -> Vec<Choice> {
    vec![
        option("Send number", ChoiceAction::RequestContact),
        option("Send location", ChoiceAction::RequestLocation),
        option("Later", ChoiceAction::Reply),
        option("Help", link()),
    ]
}

/// A content for each row of the table, by name.
fn contents() -> Vec<(&'static str, Content)> {
    let point = Location {
        latitude: 50.4501,
        longitude: 30.5234,
        accuracy: Some(2000.0),
        ..Location::default()
    };
    let card = ContactCard {
        name: "Olena K".to_owned(),
        first_name: Some("Olena".to_owned()),
        last_name: Some("K".to_owned()),
        phones: vec!["+380501112233".to_owned()],
        vcard: Some("x".repeat(3000)),
        ..ContactCard::default()
    };
    vec![
        ("text", Content::Text(bold("Your order"))),
        ("image", Content::Image(media("image/jpeg"))),
        ("gif", Content::Image(media("image/gif"))),
        ("video", Content::Video(media("video/mp4"))),
        ("audio", Content::Audio(media("audio/mpeg"))),
        ("voice", Content::Voice(media("audio/ogg"))),
        ("file", Content::File(media("application/pdf"))),
        (
            "sticker",
            Content::Sticker(Sticker {
                media: media("image/webp").media,
                ..Sticker::default()
            }),
        ),
        ("location", Content::Location(point.clone())),
        (
            "live location",
            Content::Location(Location {
                live_seconds: Some(900),
                ..point.clone()
            }),
        ),
        (
            "venue",
            Content::Location(Location {
                name: Some("Cafe Nine".to_owned()),
                ..point
            }),
        ),
        ("contact card", Content::ContactCard(card.clone())),
        (
            "contact card without a number",
            Content::ContactCard(ContactCard {
                phones: Vec::new(),
                emails: vec!["olena@example.org".to_owned()],
                ..card
            }),
        ),
        ("buttons", choices(ChoiceStyle::Buttons, drinks())),
        ("list", choices(ChoiceStyle::List, drinks())),
        (
            "quick replies",
            choices(ChoiceStyle::QuickReplies, drinks()),
        ),
        ("requests", choices(ChoiceStyle::Buttons, requests())),
        (
            "carousel",
            Content::Carousel(Carousel {
                cards: vec![Card::default(), Card::default()],
                ..Carousel::default()
            }),
        ),
        (
            "choice with a long id",
            choices(
                ChoiceStyle::Buttons,
                vec![Choice::reply("x".repeat(65), "Tea")],
            ),
        ),
        ("template", Content::Template(Template::default())),
        ("unsupported", Content::unsupported("story")),
    ]
}

#[test]
fn every_content_has_its_call() {
    let mut text = String::new();
    for (name, content) in contents() {
        for to in [OLENA, GROUP, BUSINESS] {
            // Elsewhere only what differs by the chat.
            if to != OLENA && !matches!(name, "text" | "quick replies" | "requests") {
                continue;
            }
            text.push_str(&format!("## {name} -> {to}\n"));
            match Draft::of(&content, place(to), None) {
                Ok(draft) => {
                    let fields = serde_json::to_string_pretty(&draft.fields()).expect("JSON");
                    text.push_str(&format!("{} {fields}\n", draft.request.method));
                    if let Some(file) = draft.request.attachment {
                        text.push_str(&format!("with a {}\n", file.kind.name()));
                    }
                }
                Err(error) => text.push_str(&format!("{error}\n")),
            }
        }
    }
    insta::assert_snapshot!("requests", text);
}

#[test]
fn every_content_has_its_change() {
    let mut text = String::new();
    for (name, content) in contents() {
        let change = match to_edit(&content, &place(OLENA)) {
            Ok(request) => {
                let fields = serde_json::to_string(&request.fields).expect("JSON");
                let file = request.attachment.map(|file| file.kind.name());
                format!("{} {fields} {file:?}", request.method)
            }
            Err(error) => error.to_string(),
        };
        text.push_str(&format!("{name}: {change}\n"));
    }
    insta::assert_snapshot!("changes", text);
}

fn request(to: &str, reply_to: Option<&str>, text: &str, entities: Vec<Entity>) -> Value {
    let content = Content::Text(Text {
        text: text.to_owned(),
        entities,
        extra: Map::new(),
    });
    let draft = Draft::of(&content, place(to), reply_to).expect("text can be sent");
    Value::Object(draft.fields())
}

#[test]
fn requests_are_what_telegram_takes() {
    let link = Entity {
        offset: 2,
        length: 4,
        kind: EntityKind::Link {
            url: "https://shop.example.org".to_owned(),
        },
    };
    assert_eq!(
        request("5550001111", Some("5550001111:66"), "😀 here", vec![link]),
        json!({
            "chat_id": 5_550_001_111_i64,
            "text": "😀 here",
            "entities": [{"type": "text_link", "offset": 3, "length": 4, "url": "https://shop.example.org"}],
            "reply_parameters": {"message_id": 66, "allow_sending_without_reply": true},
        })
    );
    // Ids of another chat, or none of ours, are not answered to.
    for other in ["5550001112:66", "callback:5", "66", "5550001111:x"] {
        assert_eq!(
            request("5550001111", Some(other), "hi", Vec::new()),
            json!({"chat_id": 5_550_001_111_i64, "text": "hi"})
        );
    }
    assert_eq!(
        request("@news_ex", None, "hi", Vec::new()),
        json!({"chat_id": "@news_ex", "text": "hi"})
    );
}

#[test]
fn answers_stay_in_their_chat() {
    let replies = |to: &str, id: &str| {
        request(to, Some(id), "hi", Vec::new())
            .pointer("/reply_parameters/message_id")
            .and_then(Value::as_i64)
    };
    assert_eq!(replies(GROUP, "-1002000333444:7"), Some(7));
    assert_eq!(replies(BUSINESS, "bc_AbC123:5550001111:900"), Some(900));
    // The same person's chat with the bot is another chat.
    assert_eq!(replies(BUSINESS, "5550001111:900"), None);
    assert_eq!(replies(OLENA, "bc_AbC123:5550001111:900"), None);
}
