//! Files that visitors bring, and files they are sent.

use serde_json::{Value, json};
use tributary_bus::message::{Content, Media, MediaState};

use super::{
    stage::{File, PICTURE, PNG, Stage},
    visitor::Visitor,
};
use crate::testing::Kind;

fn send(client_id: &str, upload: &Value) -> Value {
    json!({"t": "send", "client_id": client_id, "body": {"type": "upload", "upload": upload}})
}

async fn refused(visitor: &mut Visitor, frame: Value) -> Value {
    visitor.frame(frame).await;
    let complaint = visitor.next().await;
    assert_eq!(complaint["t"], "err", "{complaint}");
    complaint["code"].clone()
}

async fn fetch(stage: &Stage, path: &Value) -> (u16, Vec<u8>) {
    let path = path.as_str().expect("a link");
    let response = reqwest::get(stage.url(path)).await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.bytes().await.expect("a body").to_vec())
}

fn media(content: &Content) -> (&str, &Media) {
    (content.kind(), content.media()[0])
}

#[tokio::test]
async fn a_picture_is_brought_sent_and_seen_again() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let mut stage = Stage::on(kind, "").await;
        let mut visitor = stage.visitor().await;
        assert_eq!(visitor.welcome["uploads"]["limit"], 10 * 1024 * 1024);
        let (status, answer) = stage.upload(&visitor.token(), PICTURE).await;
        assert_eq!(
            (status, &answer["type"]),
            (200, &json!("image")),
            "{answer}"
        );
        assert_eq!(
            (&answer["mime"], &answer["size"], &answer["name"]),
            (&json!("image/png"), &json!(PNG.len()), &json!("red.png"))
        );
        let frame = json!({"t": "send", "client_id": "c1",
            "body": {"type": "upload", "upload": answer["upload"], "caption": "<i>Broken</i>"}});
        visitor.frame(frame.clone()).await;
        let ack = visitor.next().await;
        assert_eq!(ack["t"], "ack", "{ack}");
        let message = stage.message().await;
        let (kind, sent) = media(&message.content);
        assert_eq!(
            (kind, sent.state, sent.mime.as_deref()),
            ("image", MediaState::Ready, Some("image/png"))
        );
        assert_eq!(
            (sent.width, sent.height, sent.name.as_deref()),
            (Some(2), Some(3), Some("red.png"))
        );
        assert!(sent.media_id.is_some() && sent.url.is_none());
        // The same frame again is the same message.
        visitor.frame(frame).await;
        assert_eq!(visitor.next().await, ack);
        assert_eq!(stage.message().await.message_id, message.message_id);

        let mut back = stage.visitor_at(0, json!({"token": visitor.token()})).await;
        let body = &back.welcome["events"][0]["body"];
        assert_eq!(
            (&body["type"], &body["caption"]),
            (&json!("image"), &json!("<i>Broken</i>"))
        );
        assert!(body["media"].get("id").is_none(), "{body}");
        assert_eq!(
            fetch(&stage, &body["media"]["url"]).await,
            (200, PNG.to_vec())
        );
        back.frame(json!({"t": "again", "seq": 1})).await;
        let again = back.until("changed").await;
        let link = &again["events"][0]["body"]["media"]["url"];
        assert_eq!(fetch(&stage, link).await.0, 200);
    }
}

#[tokio::test]
async fn a_link_is_signed_for_each_frame_and_never_kept() {
    let mut stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.said("c1", "Hi").await;
    stage.message().await;
    let (_, answer) = stage.upload(&visitor.token(), PICTURE).await;
    visitor.frame(send("c2", &answer["upload"])).await;
    visitor.until("ack").await;
    let message = stage.message().await;
    let (_, sent) = media(&message.content);
    // An agent sends it back, as the API gives it: with a link that will expire.
    let media = json!({"media_id": sent.media_id, "url": "https://chat.example/media/x?s=old", "name": "a.png"});
    let file = json!({"type": "file", "media": media});
    stage.offer(&visitor.address(), file).await;
    let pushed = visitor.next().await;
    let link = &pushed["body"]["media"]["url"];
    assert_eq!(fetch(&stage, link).await, (200, PNG.to_vec()));
    let bodies: Vec<String> = tributary_base::on!(read &stage.database, db =>
        sqlx::query_scalar("SELECT body FROM widget_mailbox ORDER BY seq").fetch_all(db).await)
    .expect("the mailbox");
    assert_eq!(bodies.len(), 3);
    assert!(
        bodies
            .iter()
            .all(|body| !body.contains("s=") && !body.contains("url"))
    );
    // Changed, it opens nothing.
    let forged = json!(link.as_str().expect("a link").replace("s=", "s=0"));
    assert_ne!(fetch(&stage, &forged).await.0, 200);
}

#[tokio::test]
async fn nobody_sends_what_others_brought() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    let mut thief = stage.visitor().await;
    let (_, answer) = stage.upload(&visitor.token(), PICTURE).await;
    let upload = &answer["upload"];
    assert_eq!(refused(&mut thief, send("c1", upload)).await, "bad_upload");
    let media_id = "ab".repeat(32);
    for made_up in [
        json!(""),
        json!("u1.e30.AAAA"),
        json!(media_id),
        json!(thief.token()),
    ] {
        assert_eq!(
            refused(&mut thief, send("c1", &made_up)).await,
            "bad_upload"
        );
    }
    assert_eq!(
        refused(&mut thief, send("c1", &json!(7))).await,
        "bad_frame"
    );
    assert!(stage.is_quiet().await);
    visitor.frame(send("c1", upload)).await;
    assert_eq!(visitor.next().await["t"], "ack");
}

#[tokio::test]
async fn a_file_is_what_its_bytes_say() {
    let stage = Stage::new("").await;
    let visitor = stage.visitor().await;
    let html: &[u8] = b"<!doctype html><script>alert(1)</script>";
    let svg: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>";
    let elf: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
    for (bytes, mime, expected) in [
        (html, "image/png", (415, "unsupported_type")),
        (svg, "image/png", (415, "unsupported_type")),
        (elf, "application/pdf", (415, "unsupported_type")),
        (b"\0\x01\x02\x03", "image/png", (415, "unsupported_type")),
        (b"", "image/png", (400, "empty")),
    ] {
        let file = File {
            mime,
            bytes,
            ..PICTURE
        };
        let (status, answer) = stage.upload(&visitor.token(), file).await;
        assert_eq!(
            (status, answer["error"].as_str().unwrap_or_default()),
            expected
        );
    }
    // A picture that calls itself a text is a picture, and a text a text.
    let lying = File {
        mime: "text/plain",
        ..PICTURE
    };
    let (_, answer) = stage.upload(&visitor.token(), lying).await;
    assert_eq!(
        (&answer["type"], &answer["mime"]),
        (&json!("image"), &json!("image/png"))
    );
    let text = File {
        bytes: b"just words",
        mime: "image/png",
        ..PICTURE
    };
    let (_, answer) = stage.upload(&visitor.token(), text).await;
    assert_eq!(
        (&answer["type"], &answer["mime"]),
        (&json!("file"), &json!("text/plain"))
    );
}

#[tokio::test]
async fn only_known_visitors_of_listed_pages_bring_files() {
    let stage = Stage::new("allowed_origins = ['https://shop.example']").await;
    let mut known = stage
        .knock(0, Some("https://shop.example"))
        .await
        .expect("open");
    known.hello(json!({})).await;
    known.welcome = known.next().await;
    let token = known.token();
    let from = |origin| File { origin, ..PICTURE };
    let shop = Some("https://shop.example");
    assert_eq!(stage.upload(&token, from(shop)).await.0, 200);
    for origin in [Some("https://evil.example"), Some("null"), None] {
        assert_eq!(
            stage.upload(&token, from(origin)).await.0,
            403,
            "{origin:?}"
        );
    }
    for token in ["", "v1.AAAA.BBBB", "u1.e30.AAAA"] {
        let (status, answer) = stage.upload(token, from(shop)).await;
        assert_eq!((status, &answer["error"]), (401, &json!("bad_token")));
    }
    let client = reqwest::Client::new();
    for (origin, status) in [("https://shop.example", 204), ("https://evil.example", 403)] {
        let asked = client
            .request(reqwest::Method::OPTIONS, stage.url("channels/shop/uploads"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type,x-file-name",
            );
        let response = asked.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), status);
        if status == 204 {
            let headers = response.headers();
            assert_eq!(headers["access-control-allow-origin"], origin);
            assert_eq!(
                headers["access-control-allow-headers"],
                "authorization, content-type, x-file-name"
            );
        }
    }
}

#[tokio::test]
async fn too_large_and_too_many_are_refused() {
    let stage = Stage::new("upload_limit = 20000\nuploads_per_hour = 3").await;
    let visitor = stage.visitor().await;
    let mut large = PNG.to_vec();
    large.resize(20_001, 0);
    let file = File {
        bytes: &large,
        ..PICTURE
    };
    let (status, answer) = stage.upload(&visitor.token(), file).await;
    assert_eq!((status, &answer["error"]), (413, &json!("too_large")));
    let fits = File {
        bytes: &large[..20_000],
        ..PICTURE
    };
    assert_eq!(stage.upload(&visitor.token(), fits).await.0, 200);
    assert_eq!(stage.upload(&visitor.token(), PICTURE).await.0, 200);
    let (status, answer) = stage.upload(&visitor.token(), PICTURE).await;
    assert_eq!((status, &answer["error"]), (429, &json!("rate_limited")));
    // One address is more than one visitor, and not any number of them.
    let mut taken = 0;
    for _ in 0..10 {
        let other = stage.visitor().await;
        for _ in 0..3 {
            taken += u32::from(stage.upload(&other.token(), PICTURE).await.0 == 200);
        }
    }
    assert_eq!(
        taken, 27,
        "ten visitors' worth for one address, three of them before"
    );
}

#[tokio::test]
async fn a_widget_without_files_has_no_door() {
    let stage = Stage::new("uploads = false").await;
    let visitor = stage.visitor().await;
    assert!(visitor.welcome.get("uploads").is_none());
    assert_eq!(stage.upload(&visitor.token(), PICTURE).await.0, 404);
}
