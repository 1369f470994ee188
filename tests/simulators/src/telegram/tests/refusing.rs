//! What the provider refuses of files by URL, of keyboards and of places, and what it is told to refuse.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::*;
use crate::script::Times;
use crate::serve::Server;

#[tokio::test]
async fn any_row_of_the_error_table_on_demand() {
    let bench = Bench::start().await;
    let _known = bench.simulator.user(CHAT).known();
    let mut seen = std::collections::BTreeSet::new();
    for refusal in Refusal::ALL {
        let matches = CallMatch::method("sendMessage").to(CHAT);
        bench
            .simulator
            .misbehave(Misbehave::on(matches, Times::Count(1), refusal.into()));
        let (status, body) = bench.says(CHAT, "x").await;
        assert_eq!(status, refusal.code());
        assert_eq!(body["description"], refusal.description());
        assert_eq!(body.get("parameters").cloned(), refusal.parameters());
        assert!(seen.insert(refusal.description()), "{refusal:?} twice");
    }
    assert_eq!(bench.says(CHAT, "x").await.0, 200);
    assert_eq!(bench.simulator.sent().len(), 1);
}

#[tokio::test]
async fn servers_that_fail_without_a_word() {
    let bench = Bench::start().await;
    let _known = bench.simulator.user(CHAT).known();
    for (when, sent) in [(When::BeforeAccepting, 0), (When::AfterAccepting, 1)] {
        let action = CallAction::EmptyError { status: 503, when };
        bench
            .simulator
            .misbehave(Misbehave::on(CallMatch::any(), Times::Count(1), action));
        let arguments = json!({"chat_id": CHAT, "text": "x"});
        let response = bench
            .try_call("sendMessage", arguments)
            .await
            .expect("an answer");
        assert_eq!(response.status(), 503);
        assert!(response.bytes().await.expect("no body").is_empty());
        assert_eq!(bench.simulator.sent().len(), sent);
    }
}

async fn web() -> Server {
    let file = |mime: &'static str, bytes: bytes::Bytes| {
        get(move || async move { ([("content-type", mime)], bytes) })
    };
    let router = Router::new()
        .route("/p.jpg", file("image/jpeg", sample::jpeg(20, 20, 1)))
        .route("/page", file("text/html", "<html>".into()))
        .route("/v.mp4", file("video/mp4", sample::mp4(4_000, 1)))
        .route(
            "/long.ogg",
            file("audio/ogg", sample::ogg((1 << 20) + 1, 1)),
        )
        .route("/a.pdf", file("application/pdf", sample::pdf(500, 1)))
        .route("/a.doc", file("application/msword", sample::pdf(500, 1)))
        .route("/gone", get(|| async { StatusCode::NOT_FOUND }));
    Server::start(router).await.expect("a free port")
}

#[tokio::test]
async fn files_by_url() {
    let options = Options {
        sizes: SizeLimits {
            url: 2 << 20,
            ..SizeLimits::default()
        },
        ..Options::quick()
    };
    let bench = Bench::with(options).await;
    let user = bench.simulator.user(CHAT).known();
    let web = web().await;
    let url = |path: &str| format!("{}{path}", web.base_url());
    let arguments = |field: &str, url: String| json!({"chat_id": CHAT, field: url});
    let photo = bench
        .result("sendPhoto", arguments("photo", url("/p.jpg")))
        .await;
    assert_eq!(photo["photo"][0]["width"], 20);
    let pdf = bench
        .result("sendDocument", arguments("document", url("/a.pdf")))
        .await;
    assert_eq!(pdf["document"]["file_name"], "a.pdf");
    let voice = bench
        .result("sendVoice", arguments("voice", url("/long.ogg")))
        .await;
    assert!(voice.get("voice").is_none() && voice["document"].is_object());
    let shown = user.sees();
    let hashes: Vec<_> = shown
        .messages
        .iter()
        .map(|message| message.file.as_ref().expect("a file").size)
        .collect();
    assert_eq!(hashes[1..], [500, (1 << 20) + 1]);

    let failed = "failed to get HTTP URL content";
    let wrong_type = "wrong type of the web page content";
    for (method, field, url, reason) in [
        ("sendPhoto", "photo", url("/gone"), failed),
        ("sendPhoto", "photo", url("/page"), wrong_type),
        (
            "sendPhoto",
            "photo",
            "https://cdn.example.org/p.jpg".to_owned(),
            failed,
        ),
        ("sendDocument", "document", url("/a.doc"), wrong_type),
        ("sendVideoNote", "video_note", url("/v.mp4"), wrong_type),
    ] {
        let failure = bench.failure(method, arguments(field, url)).await;
        assert_eq!(failure, (400, format!("Bad Request: {reason}")));
    }
    let media = json!([{"type": "photo", "media": url("/p.jpg")}, {"type": "photo", "media": url("/gone")}]);
    let (_, reason) = bench
        .failure("sendMediaGroup", json!({"chat_id": CHAT, "media": media}))
        .await;
    assert_eq!(
        reason,
        "Bad Request: failed to send message #2 with the error message \"Failed to get HTTP URL content\""
    );
    assert_eq!(bench.simulator.sent().len(), 3);
}

#[tokio::test]
async fn keyboards_of_the_wrong_form() {
    let bench = Bench::start().await;
    let _known = bench.simulator.user(CHAT).known();
    let button = |fields: Value| json!({"inline_keyboard": [[fields]]});
    let many = |rows: usize, each: usize| {
        let row: Vec<_> = (0..each)
            .map(|_| json!({"text": "t", "callback_data": "d"}))
            .collect();
        json!({"inline_keyboard": vec![row; rows]})
    };
    let text_only =
        "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard";
    for (markup, reason) in [
        (button(json!({"text": "t"})), text_only),
        (
            button(json!({"text": "t", "callback_data": "a", "url": "https://a.example.org"})),
            "can't parse inline keyboard button: Exactly one of the optional fields must be used",
        ),
        (
            button(json!({"text": "t", "callback_data": "й".repeat(33)})),
            "BUTTON_DATA_INVALID",
        ),
        (
            button(json!({"text": "t", "url": "nonsense"})),
            "BUTTON_URL_INVALID",
        ),
        (
            button(json!({"text": "t", "url": "ftp://a.example.org"})),
            "BUTTON_URL_INVALID",
        ),
        (
            button(json!({"text": "t", "copy_text": {"text": "x".repeat(257)}})),
            "BUTTON_COPY_TEXT_INVALID",
        ),
        (many(13, 8), "reply markup is too long"),
        (many(1, 9), "reply markup is too long"),
        (json!("none"), "object expected as reply markup"),
        (
            json!({"keyboard": [["a"]], "input_field_placeholder": "x".repeat(65)}),
            "REPLY_MARKUP_PLACEHOLDER_INVALID",
        ),
    ] {
        let arguments = json!({"chat_id": CHAT, "text": "x", "reply_markup": markup});
        let failure = bench.failure("sendMessage", arguments).await;
        assert_eq!(failure, (400, format!("Bad Request: {reason}")));
    }
    let most = json!({"chat_id": CHAT, "text": "x", "reply_markup": many(12, 8)});
    bench.result("sendMessage", most).await;
}

#[tokio::test]
async fn places_and_people() {
    let bench = Bench::start().await;
    let _known = bench.simulator.user(CHAT).known();
    let place = |more: Value| {
        let mut arguments = json!({"chat_id": CHAT, "latitude": 50.45, "longitude": "30.52"});
        if let (Value::Object(all), Value::Object(more)) = (&mut arguments, more) {
            all.extend(more);
        }
        arguments
    };
    let location = bench.result("sendLocation", place(json!({}))).await;
    assert_eq!(
        location["location"],
        json!({"latitude": 50.45, "longitude": 30.52})
    );
    let cafe = place(json!({"title": "Cafe Nine", "address": "1 Main St"}));
    let venue = bench.result("sendVenue", cafe).await;
    assert_eq!(venue["venue"]["location"], venue["location"]);
    let contact = json!({"chat_id": CHAT, "phone_number": "+380501112233", "first_name": "Olena"});
    let contact = bench.result("sendContact", contact).await;
    assert_eq!(contact["contact"]["first_name"], "Olena");
    for (method, arguments, reason) in [
        (
            "sendLocation",
            place(json!({"latitude": 91})),
            "wrong location coordinates specified",
        ),
        (
            "sendLocation",
            place(json!({"live_period": 59})),
            "wrong live location period specified",
        ),
        ("sendVenue", place(json!({})), "title must be non-empty"),
        (
            "sendContact",
            json!({"chat_id": CHAT}),
            "phone number must be non-empty",
        ),
    ] {
        let failure = bench.failure(method, arguments).await;
        assert_eq!(failure, (400, format!("Bad Request: {reason}")));
    }
}

#[tokio::test]
async fn messages_are_passed_on() {
    let bench = Bench::start().await;
    let (user, _other) = (bench.simulator.user(CHAT), bench.simulator.user(7).known());
    let photo = user.sends_photo(Some("look")).message_id;
    let relay =
        |message_id: i64| json!({"chat_id": 7, "from_chat_id": CHAT, "message_id": message_id});
    let copied = bench.result("copyMessage", relay(photo)).await;
    assert_eq!(copied, json!({"message_id": 1}));
    let forwarded = bench.result("forwardMessage", relay(photo)).await;
    assert_eq!(forwarded["forward_origin"]["sender_user"]["id"], CHAT);
    assert_eq!(forwarded["caption"], "look");
    let shown = bench.simulator.user(7).sees();
    assert_eq!(shown.texts(), ["look", "look"]);
    assert!(shown.messages[0].message.get("forward_origin").is_none());
    let (_, reason) = bench.failure("copyMessage", relay(99)).await;
    assert_eq!(reason, "Bad Request: message to copy not found");
}
