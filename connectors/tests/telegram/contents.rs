//! Every content, as the person sees it; and what is done to it later.

use serde_json::{Value, json};
use tributary_bus::message::{
    Choice, ChoiceAction, ChoiceStyle, Choices, ContactCard, Content, Inbound, Location, Sticker,
    Text,
};
use tributary_connectors::{Action, SendError};
use tributary_simulators::{
    script::Times,
    telegram::{CallAction, CallMatch, ChangeKind, FileKind, Misbehave, Options, Told, sample},
};

use crate::{
    direct::{Direct, captioned},
    support::lock,
};

const OLENA: i64 = 5_550_001_111;
const TO: &str = "5550001111";

fn number(provider_id: &str) -> i64 {
    let (_, message) = provider_id.rsplit_once(':').expect("an id");
    message.parse().expect("a number")
}

#[tokio::test]
async fn a_place_that_moves_is_moved() {
    let direct = Direct::plain().await;
    let _olena = direct.telegram.user(OLENA).known();
    let at = |latitude, live_seconds| {
        Content::Location(Location {
            latitude,
            longitude: 30.5,
            live_seconds,
            ..Location::default()
        })
    };
    let id = direct.sent(TO, at(50.0, Some(900))).await;
    direct.edit(TO, &id, at(50.1, None)).await.expect("moved");
    let moved = direct.telegram.changes_of(ChangeKind::Edited).remove(0);
    let after = moved.after.as_ref().expect("a message");
    assert_eq!(after["location"]["latitude"], json!(50.1));
    assert_eq!(after["location"]["live_period"], json!(900));
    let id = direct.sent(TO, at(50.0, None)).await;
    let refused = direct.edit(TO, &id, at(50.1, None)).await;
    assert!(
        matches!(refused, Err(SendError::Rejected { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn every_kind_of_file_arrives_whole() {
    let direct = Direct::plain().await;
    let olena = direct.telegram.user(OLENA).known();
    let keep = |name: &str, mime: &str, bytes| direct.shelf.keep(name, mime, bytes);
    let contents = [
        (
            FileKind::Photo,
            Content::Image(captioned(
                keep("p.jpg", "image/jpeg", sample::jpeg(640, 480, 1)),
                "Front",
            )),
        ),
        (
            FileKind::Video,
            Content::Video(captioned(
                keep("v.mp4", "video/mp4", sample::mp4(200_000, 2)),
                "Film",
            )),
        ),
        (
            FileKind::Audio,
            Content::Audio(captioned(
                keep("a.mp3", "audio/mpeg", sample::mp3(9_000, 3)),
                "Song",
            )),
        ),
        (
            FileKind::Voice,
            Content::Voice(captioned(
                keep("o.ogg", "audio/ogg", sample::ogg(5_000, 4)),
                "Said",
            )),
        ),
        (
            FileKind::Document,
            Content::File(captioned(
                keep("рахунок 7.pdf", "application/pdf", sample::pdf(70_000, 5)),
                "Bill",
            )),
        ),
    ];
    for (kind, content) in contents {
        let media = content.media()[0].clone();
        let id = direct.sent(TO, content).await;
        let seen = olena.sees();
        let seen = seen.message(number(&id)).expect("it is there");
        let file = seen.file.as_ref().expect("a file");
        assert_eq!(file.kind, kind);
        if kind == FileKind::Document {
            assert_eq!(file.file_name, media.name);
        }
        assert!(["Front", "Film", "Song", "Said", "Bill"].contains(&seen.text.as_str()));
    }
    let sticker = Content::Sticker(Sticker {
        media: keep("s.webp", "image/webp", sample::webp(6)),
        ..Sticker::default()
    });
    let id = direct.sent(TO, sticker).await;
    let seen = olena.sees();
    let file = seen.message(number(&id)).and_then(|seen| seen.file.clone());
    assert_eq!(file.map(|file| file.kind), Some(FileKind::Sticker));
    direct.keeps_the_token(&[]);
}

#[tokio::test]
async fn bytes_are_uploaded_once() {
    let direct = Direct::plain().await;
    let olena = direct.telegram.user(OLENA).known();
    let media = direct
        .shelf
        .keep("p.jpg", "image/jpeg", sample::jpeg(640, 480, 1));
    let image = |caption: &str| Content::Image(captioned(media.clone(), caption));
    for caption in ["one", "two", "three"] {
        direct.sent(TO, image(caption)).await;
    }
    let uploads = || {
        let calls = direct.telegram.calls_of("sendPhoto");
        calls
            .iter()
            .filter(|call| call.content_type.starts_with("multipart/"))
            .count()
    };
    assert_eq!(uploads(), 1);
    let first = olena.sees().messages[0].file.clone().expect("a file");
    // A handle that this bot cannot use: uploaded anew, once, and remembered.
    direct.shelf.spoil();
    direct.sent(TO, image("four")).await;
    assert_eq!(uploads(), 2);
    direct.sent(TO, image("five")).await;
    assert_eq!(uploads(), 2);
    let seen = olena.sees();
    assert_eq!(seen.texts(), ["one", "two", "three", "four", "five"]);
    assert!(seen.messages.iter().all(|message| {
        message
            .file
            .as_ref()
            .is_some_and(|file| file.sha256 == first.sha256)
    }));
    assert_eq!(direct.shelf.handles().len(), 1);
}

#[tokio::test]
async fn what_is_too_large_or_gone_is_refused_before_anything_is_sent() {
    let direct = Direct::plain().await;
    drop(direct.telegram.user(OLENA).known());
    let big = direct
        .shelf
        .keep("p.jpg", "image/jpeg", vec![0_u8; 11 * 1024 * 1024]);
    let gone = tributary_bus::message::Media {
        url: Some("https://media.example/none.jpg".to_owned()),
        ..tributary_bus::message::Media::default()
    };
    for (media, why) in [
        (big, "larger than the 10 MB"),
        (gone.clone(), "not on the shelf"),
    ] {
        let error = direct
            .send(TO, Content::Image(captioned(media, "")))
            .await
            .expect_err("refused");
        assert!(matches!(error, SendError::Rejected { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert!(direct.telegram.calls().is_empty());
    // Where there is a link, Telegram may fetch what we cannot.
    *lock(&direct.shelf.links) = true;
    let error = direct
        .send(TO, Content::Image(captioned(gone, "")))
        .await
        .expect_err("the simulator fetches nothing from there");
    assert!(matches!(error, SendError::Rejected { .. }), "{error}");
    let call = direct.telegram.calls_of("sendPhoto").remove(0);
    assert_eq!(
        call.parameters.get("photo"),
        Some("https://media.example/none.jpg")
    );
}

#[tokio::test]
async fn places_and_cards_arrive() {
    let direct = Direct::plain().await;
    let olena = direct.telegram.user(OLENA).known();
    let point = Location {
        latitude: 50.4501,
        longitude: 30.5234,
        ..Location::default()
    };
    let venue = Location {
        name: Some("Cafe Nine".to_owned()),
        address: Some("1 Main St".to_owned()),
        ..point.clone()
    };
    let card = ContactCard {
        name: "Olena K".to_owned(),
        phones: vec!["+380501112233".to_owned()],
        ..ContactCard::default()
    };
    for (content, field) in [
        (Content::Location(point), "location"),
        (Content::Location(venue), "venue"),
        (Content::ContactCard(card), "contact"),
    ] {
        let id = direct.sent(TO, content).await;
        let seen = olena.sees();
        let seen = seen.message(number(&id)).expect("it is there");
        assert!(seen.message.get(field).is_some(), "{field}");
    }
}

fn choices(style: ChoiceStyle, options: Vec<Choice>) -> Content {
    Content::Choices(Choices {
        text: Text::plain("Which one?"),
        style,
        options,
        ..Choices::default()
    })
}

fn ask_number() -> Content {
    let ask = Choice {
        action: ChoiceAction::RequestContact,
        ..Choice::reply("number", "Send number")
    };
    choices(
        ChoiceStyle::Buttons,
        vec![ask, Choice::reply("later", "Later")],
    )
}

#[tokio::test]
async fn buttons_come_back_as_choices() {
    let direct = Direct::plain().await;
    let olena = direct.telegram.user(OLENA).known();
    let options = vec![Choice::reply("t", "Tea"), Choice::reply("c", "Coffee")];
    let id = direct
        .sent(TO, choices(ChoiceStyle::Buttons, options))
        .await;
    let seen = olena.sees();
    let buttons = &seen.message(number(&id)).expect("it is there").buttons;
    assert_eq!(*buttons, [["Tea", "Coffee"]]);
    let received = async |told: Told| {
        let update = told.update_id.expect("the bot is told");
        let (base, token) = (direct.telegram.base_url(), direct.telegram.token());
        let answer = reqwest::Client::new()
            .post(format!("{base}/bot{token}/getUpdates"))
            .json(&json!({"offset": update}))
            .send()
            .await
            .expect("an answer");
        let answer = answer.text().await.expect("a body");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        match direct.read(&answer["result"][0].to_string()).pop() {
            Some(Inbound::Received(message)) => *message,
            other => panic!("not a message: {other:?}"),
        }
    };
    let pressed = olena
        .presses_button(number(&id), "Coffee")
        .expect("the button is there");
    let pressed = received(pressed).await;
    let Content::ChoiceReply(reply) = &pressed.content else {
        panic!("{:?}", pressed.content);
    };
    assert_eq!(
        (reply.id.as_str(), reply.title.as_deref()),
        ("c", Some("Coffee"))
    );
    assert_eq!(pressed.reply_to.as_deref(), Some(id.as_str()));
    // A keyboard in the place of the person's own: its keys write their label, which the router takes as the choice.
    let options = vec![Choice::reply("t", "Tea"), Choice::reply("c", "Coffee")];
    direct
        .sent(TO, choices(ChoiceStyle::QuickReplies, options))
        .await;
    assert_eq!(olena.sees().keyboard, [["Tea", "Coffee"]]);
    let typed = received(olena.presses_key("Tea").expect("the key is there")).await;
    assert_eq!(typed.content, Content::text("Tea"));
    direct.sent(TO, ask_number()).await;
    assert_eq!(olena.sees().keyboard, [["Send number", "Later"]]);
    let shared = received(olena.presses_key("Send number").expect("the key is there")).await;
    assert_eq!(shared.content.kind(), "contact_card");
}

#[tokio::test]
async fn words_and_buttons_and_media_can_be_changed() {
    let direct = Direct::plain().await;
    let olena = direct.telegram.user(OLENA).known();
    let look = |id: &str| {
        let seen = olena.sees();
        seen.message(number(id)).expect("it is there").clone()
    };
    let id = direct.sent(TO, Content::text("Your order is ready")).await;
    let edited = direct.edit(TO, &id, Content::text("Your order is sent"));
    edited.await.expect("changed");
    assert_eq!(look(&id).text, "Your order is sent");
    // The same again is no error.
    let again = direct.edit(TO, &id, Content::text("Your order is sent"));
    again.await.expect("nothing to change");
    let options = vec![Choice::reply("t", "Track")];
    let with_button = choices(ChoiceStyle::Buttons, options);
    direct.edit(TO, &id, with_button).await.expect("changed");
    assert_eq!(look(&id).buttons, [["Track"]]);

    let front = direct
        .shelf
        .keep("f.jpg", "image/jpeg", sample::jpeg(640, 480, 1));
    let back = direct
        .shelf
        .keep("b.jpg", "image/jpeg", sample::jpeg(640, 480, 2));
    let id = direct
        .sent(TO, Content::Image(captioned(front, "Front")))
        .await;
    let before = look(&id).file.expect("a file").sha256;
    let other = Content::Image(captioned(back, "Back"));
    direct.edit(TO, &id, other).await.expect("changed");
    let after = look(&id);
    assert_eq!(after.text, "Back");
    assert_ne!(after.file.expect("a file").sha256, before);

    let voice = direct
        .shelf
        .keep("o.ogg", "audio/ogg", sample::ogg(5_000, 4));
    let id = direct
        .sent(TO, Content::Voice(captioned(voice.clone(), "Sad")))
        .await;
    let fixed = Content::Voice(captioned(voice, "Said"));
    direct.edit(TO, &id, fixed).await.expect("changed");
    assert_eq!(look(&id).text, "Said");

    let nowhere = format!("{TO}:9999");
    let gone = direct.edit(TO, &nowhere, Content::text("x")).await;
    let gone = gone.expect_err("there is no such message");
    assert!(matches!(gone, SendError::Rejected { .. }), "{gone}");
}

#[tokio::test]
async fn deleted_is_gone_and_gone_is_deleted() {
    let direct = Direct::plain().await;
    let olena = direct.telegram.user(OLENA).known();
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        ids.push(direct.sent(TO, Content::text(text)).await);
    }
    direct.delete(TO, &ids[..1]).await.expect("deleted");
    direct.delete(TO, &ids[..1]).await.expect("deleted before");
    assert_eq!(olena.sees().texts(), ["two", "three"]);
    direct.delete(TO, &ids).await.expect("deleted");
    assert!(olena.sees().messages.is_empty());
}

#[tokio::test]
async fn what_is_too_old_cannot_be_deleted() {
    let options = Options {
        delete_within: std::time::Duration::ZERO,
        ..Options::quick()
    };
    let direct = Direct::new(options, "").await;
    drop(direct.telegram.user(OLENA).known());
    let id = direct.sent(TO, Content::text("one")).await;
    // Dates are whole seconds.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let again = direct.sent(TO, Content::text("one")).await;
        match direct.delete(TO, std::slice::from_ref(&id)).await {
            Err(error) => {
                assert!(matches!(error, SendError::Rejected { .. }), "{error}");
                break;
            }
            Ok(()) => assert!(std::time::Instant::now() < deadline, "{again} was deleted"),
        }
    }
}

#[tokio::test]
async fn reactions_typing_and_reading() {
    let direct = Direct::plain().await;
    let olena = direct.telegram.user(OLENA).known();
    let asked = olena.says("Is it ready?").message_id;
    let provider_id = format!("{TO}:{asked}");
    let react = |reactions: &[&str]| Action::React {
        provider_id: provider_id.clone(),
        reactions: reactions.iter().map(ToString::to_string).collect(),
    };
    let reactions = || {
        let seen = olena.sees();
        let seen = seen.message(asked).expect("it is there").reactions.clone();
        seen.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    direct.act(TO, react(&["👍"])).await.expect("done");
    assert_eq!(reactions(), ["👍"]);
    // A bot has one at most.
    direct.act(TO, react(&["👍", "🔥"])).await.expect("done");
    assert_eq!(reactions(), ["🔥"]);
    direct.act(TO, react(&[])).await.expect("done");
    assert!(reactions().is_empty());
    let unknown = direct.act(TO, react(&["🦖"])).await;
    assert!(
        matches!(unknown, Err(SendError::Rejected { .. })),
        "{unknown:?}"
    );

    direct.act(TO, Action::Typing).await.expect("done");
    let acted = direct.telegram.changes_of(ChangeKind::Acted);
    assert_eq!(acted[0].after.as_deref(), Some(&json!("typing")));
    // In an ordinary chat nobody sees that we have read.
    let read = Action::Read { provider_id };
    direct.act(TO, read).await.expect("nothing to do");
    assert!(direct.telegram.calls_of("readBusinessMessage").is_empty());
}

#[tokio::test]
async fn the_channel_log_has_every_call_and_no_token() {
    let direct = Direct::plain().await;
    drop(direct.telegram.user(OLENA).known());
    let token = direct.telegram.token().to_owned();
    let on = |action| Misbehave::on(CallMatch::method("sendMessage"), Times::Count(1), action);
    direct.telegram.misbehave(
        on(CallAction::Refuse {
            code: 400,
            description: format!("Bad Request: /bot{token}/sendMessage is odd"),
            parameters: None,
        })
        .and(on(CallAction::EmptyBody))
        .and(on(CallAction::TooManyRequests { retry_after: 3 })),
    );
    let mut errors = Vec::new();
    for _ in 0..3 {
        let error = direct.send(TO, Content::text("hello")).await;
        errors.push(error.expect_err("not sent").to_string());
    }
    direct.sent(TO, Content::text("hello")).await;
    let calls = lock(&direct.calls.0).clone();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.what == "POST sendMessage"));
    let statuses: Vec<_> = calls.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(400), Some(200), Some(429), Some(200)]);
    assert!(
        calls[3]
            .request
            .as_ref()
            .is_some_and(|body| body.contains("hello"))
    );
    assert!(calls[3].error.is_none() && calls[3].reply.is_some());
    direct.telegram.stop().await;
    let error = direct.send(TO, Content::text("hello")).await;
    errors.push(error.expect_err("nobody answers").to_string());
    direct.keeps_the_token(&errors);
    let secrets = direct.connector.secrets();
    assert!(
        secrets.contains(&token) && secrets.len() == 2,
        "token and webhook secret"
    );
}

#[tokio::test]
async fn a_file_that_telegram_cannot_read_now_waits() {
    let direct = Direct::plain().await;
    drop(direct.telegram.user(OLENA).known());
    direct.telegram.misbehave(Misbehave::on(
        CallMatch::method("sendMessage"),
        Times::Count(1),
        CallAction::Refuse {
            code: 400,
            description: "Bad Request: file is temporarily unavailable".to_owned(),
            parameters: None,
        },
    ));
    let error = direct.send(TO, Content::text("hello")).await;
    // The file's trouble: only this recipient waits, and the account is as well as before.
    assert!(
        matches!(error, Err(SendError::NotReady { .. })),
        "{error:?}"
    );
}
