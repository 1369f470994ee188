//! Files in both directions.

use reqwest::multipart::{Form, Part};
use sha2::{Digest, Sha256};

use super::*;
use crate::script::Times;

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn part(bytes: &[u8], name: &str, mime: &str) -> Part {
    Part::bytes(bytes.to_vec())
        .file_name(name.to_owned())
        .mime_str(mime)
        .expect("a media type")
}

impl Bench {
    async fn upload(&self, method: &str, form: Form) -> (u16, Value) {
        let request = self.client.post(self.url(method)).multipart(form);
        read(request.send().await.expect("an answer")).await
    }

    async fn download(&self, file_id: &Value) -> reqwest::Result<reqwest::Response> {
        let file = self.result("getFile", json!({"file_id": file_id})).await;
        let path = file["file_path"].as_str().expect("a path");
        let (base, token) = (self.simulator.base_url(), self.simulator.token());
        let url = format!("{base}/file/bot{token}/{path}");
        self.client.get(url).send().await
    }
}

#[tokio::test]
async fn every_kind_can_be_uploaded_and_sent_again_by_its_id() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT).known();
    for (method, field, bytes, mime) in [
        (
            "sendPhoto",
            "photo",
            sample::jpeg(800, 600, 1),
            "image/jpeg",
        ),
        ("sendVideo", "video", sample::mp4(2000, 2), "video/mp4"),
        ("sendAudio", "audio", sample::mp3(2000, 3), "audio/mpeg"),
        ("sendVoice", "voice", sample::ogg(2000, 4), "audio/ogg"),
        (
            "sendDocument",
            "document",
            sample::pdf(2000, 5),
            "application/pdf",
        ),
        (
            "sendAnimation",
            "animation",
            sample::mp4(2000, 6),
            "video/mp4",
        ),
        (
            "sendVideoNote",
            "video_note",
            sample::mp4(2000, 7),
            "video/mp4",
        ),
        ("sendSticker", "sticker", sample::webp(8), "image/webp"),
    ] {
        let form = Form::new()
            .text("chat_id", CHAT.to_string())
            .text("caption", "<b>see</b>")
            .text("parse_mode", "HTML")
            .part(field.to_owned(), part(&bytes, "a file.bin", mime));
        let (status, body) = bench.upload(method, form).await;
        assert_eq!(status, 200, "{method}: {body}");
        let sent = bench.simulator.sent().pop().expect("it was recorded");
        assert_eq!(sent.files[0].sha256, sha256(&bytes), "{method}");
        let captioned = !matches!(field, "video_note" | "sticker");
        assert_eq!(sent.text, if captioned { "see" } else { "" });
        let shown = user.sees();
        let last = shown.messages.last().expect("it is in the chat");
        assert_eq!(last.file.as_ref(), Some(&sent.files[0]));

        let again = json!({"chat_id": CHAT, field: sent.files[0].file_id});
        bench.result(method, again.clone()).await;
        let wrong = if field == "audio" { "voice" } else { "audio" };
        let other_method = if field == "audio" {
            "sendVoice"
        } else {
            "sendAudio"
        };
        let other = json!({"chat_id": CHAT, wrong: sent.files[0].file_id});
        let (status, reason) = bench.failure(other_method, other).await;
        assert!(
            status == 400 && reason.contains("can't use file of type"),
            "{reason}"
        );
    }
    let message = &bench.simulator.sent()[0].message;
    assert_eq!(message["photo"][0]["width"], 800);
    assert_eq!(
        bench
            .failure("sendPhoto", json!({"chat_id": CHAT, "photo": "AgACnobody"}))
            .await,
        (
            400,
            "Bad Request: wrong file identifier/HTTP URL specified".to_owned()
        )
    );
}

#[tokio::test]
async fn an_album_refers_to_its_parts() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT).known();
    let known = bench
        .simulator
        .first_bot()
        .file(Media::photo(sample::jpeg(20, 20, 9)));
    let media = json!([
        {"type": "photo", "media": "attach://f0", "caption": "two"},
        {"type": "photo", "media": known},
    ]);
    let form = Form::new()
        .text("chat_id", CHAT.to_string())
        .text("media", media.to_string())
        .part("f0", part(&sample::png(30, 20, 1), "p.png", "image/png"));
    let (status, body) = bench.upload("sendMediaGroup", form).await;
    assert_eq!(status, 200, "{body}");
    let result = body["result"].as_array().expect("a list");
    assert_eq!(result.len(), 2);
    assert_eq!(result[0]["media_group_id"], result[1]["media_group_id"]);
    let shown = user.sees();
    assert_eq!(shown.texts(), ["two", ""]);
    assert!(shown.messages[0].album.is_some());

    for (items, reason) in [
        (1, "media group must include 2-10 items"),
        (11, "too many messages to send as an album"),
    ] {
        let items: Vec<_> = (0..items)
            .map(|_| json!({"type": "photo", "media": known}))
            .collect();
        let arguments = json!({"chat_id": CHAT, "media": items});
        let failure = bench.failure("sendMediaGroup", arguments).await;
        assert_eq!(failure, (400, format!("Bad Request: {reason}")));
    }
    let pdf = Media::document("a.pdf", "application/pdf", sample::pdf(99, 1));
    let document = bench.simulator.first_bot().file(pdf);
    let mixed = json!([{"type": "photo", "media": known}, {"type": "document", "media": document}]);
    let (_, reason) = bench
        .failure("sendMediaGroup", json!({"chat_id": CHAT, "media": mixed}))
        .await;
    assert_eq!(
        reason,
        "Bad Request: document can't be mixed with other media types"
    );
    assert_eq!(bench.simulator.sent().len(), 2);
}

#[tokio::test]
async fn what_is_too_big_or_no_picture_is_refused() {
    let options = Options {
        sizes: SizeLimits {
            photo_upload: 1_200,
            upload: 5_000,
            download: 3_000,
            ..SizeLimits::default()
        },
        ..Options::quick()
    };
    let bench = Bench::with(options).await;
    let user = bench.simulator.user(CHAT).known();
    let send = |method: &'static str, field: &'static str, bytes: bytes::Bytes| {
        let form = Form::new()
            .text("chat_id", CHAT.to_string())
            .part(field, part(&bytes, "f", "image/jpeg"));
        bench.upload(method, form)
    };
    let big = sample::pdf(5_001, 1);
    assert_eq!(send("sendDocument", "document", big).await.0, 413);
    let huge = sample::pdf(3 << 20, 1);
    let (status, body) = send("sendDocument", "document", huge).await;
    assert_eq!(
        (status, &body["description"]),
        (413, &json!("Request Entity Too Large"))
    );
    let mut photo = sample::jpeg(10, 10, 1).to_vec();
    photo.resize(1_201, 0);
    let (status, body) = send("sendPhoto", "photo", photo.into()).await;
    assert!(
        status == 400
            && body["description"]
                .as_str()
                .is_some_and(|text| text.contains("too big"))
    );
    for (bytes, reason) in [
        (sample::pdf(100, 1), "IMAGE_PROCESS_FAILED"),
        (sample::jpeg(9_000, 1_001, 1), "PHOTO_INVALID_DIMENSIONS"),
        (sample::jpeg(2_100, 100, 1), "PHOTO_INVALID_DIMENSIONS"),
        (bytes::Bytes::new(), "file must be non-empty"),
    ] {
        let (status, body) = send("sendPhoto", "photo", bytes).await;
        assert_eq!(
            (status, &body["description"]),
            (400, &json!(format!("Bad Request: {reason}")))
        );
    }
    let received = user.sends_media(Media::video(sample::mp4(3_001, 1)));
    let shown = user.sees();
    let video = &shown
        .message(received.message_id)
        .expect("it is there")
        .message["video"];
    let file_id = &video["file_id"];
    assert_eq!(
        bench.failure("getFile", json!({"file_id": file_id})).await,
        (400, "Bad Request: file is too big".to_owned())
    );
    assert!(bench.simulator.sent().is_empty());
}

#[tokio::test]
async fn received_files_can_be_downloaded() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT);
    let pdf = sample::pdf(70_000, 1);
    user.sends_media(
        Media::document("invoice 7.pdf", "application/pdf", pdf.clone()).caption("Here it is"),
    );
    user.sends_photo(None);
    user.sends_media(Media::animation(sample::mp4(500, 1)).named("fun.mp4"));
    let updates = bench.result("getUpdates", json!({})).await;
    let document = &updates[0]["message"]["document"];
    assert_eq!(document["file_name"], "invoice 7.pdf");
    assert_eq!(document["file_size"], 70_000);
    let response = bench
        .download(&document["file_id"])
        .await
        .expect("an answer");
    assert_eq!(response.content_length(), Some(70_000));
    assert_eq!(response.bytes().await.expect("all of it"), pdf);
    assert_eq!(bench.simulator.counters().downloads, 1);

    let photo = updates[1]["message"]["photo"].as_array().expect("sizes");
    assert_eq!(
        (&photo[0]["width"], &photo[1]["width"]),
        (&json!(90), &json!(1280))
    );
    let animated = &updates[2]["message"];
    assert_eq!(
        animated["animation"]["file_id"],
        animated["document"]["file_id"]
    );

    let bot = bench.simulator.first_bot();
    let file = bench
        .result("getFile", json!({"file_id": document["file_id"]}))
        .await;
    let path = file["file_path"].as_str().expect("a path");
    assert!(
        path.starts_with("documents/file_") && path.ends_with(".pdf"),
        "{path}"
    );
    bot.expire_links();
    let url = format!(
        "{}/file/bot{}/{path}",
        bench.simulator.base_url(),
        bot.token()
    );
    assert_eq!(
        bench
            .client
            .get(url)
            .send()
            .await
            .expect("an answer")
            .status(),
        404
    );
    assert_eq!(
        bench
            .download(&document["file_id"])
            .await
            .expect("an answer")
            .status(),
        200
    );
    assert!(bot.expire_file(document["file_id"].as_str().expect("an id")));
    let (status, reason) = bench
        .failure("getFile", json!({"file_id": document["file_id"]}))
        .await;
    assert!(
        status == 400 && reason.contains("temporarily unavailable"),
        "{reason}"
    );
}

#[tokio::test]
async fn downloads_that_go_wrong() {
    let bench = Bench::start().await;
    let user = bench.simulator.user(CHAT);
    let video = sample::mp4(50_000, 1);
    let told = user.sends_media(Media::video(video.clone()).claims_size(49_000));
    let shown = user.sees();
    let message = &shown.message(told.message_id).expect("it is there").message;
    assert_eq!(message["video"]["file_size"], 49_000);
    let file_id = &message["video"]["file_id"];
    let once = |action| Misbehave::downloading(Some(FileKind::Video), Times::Count(1), action);
    let script = once(DownloadAction::CutAfter(10_000))
        .and(once(DownloadAction::Endless { extra: 70_000 }))
        .and(once(DownloadAction::Fail { status: 502 }))
        .and(once(DownloadAction::Trickle {
            piece: 10_000,
            pause: Duration::from_millis(5),
        }));
    bench.simulator.misbehave(script);
    let cut = bench.download(file_id).await.expect("an answer begins");
    assert_eq!(cut.content_length(), Some(50_000));
    cut.bytes().await.expect_err("it was cut");
    let endless = bench.download(file_id).await.expect("an answer");
    assert_eq!(endless.content_length(), None);
    assert_eq!(endless.bytes().await.expect("all of it").len(), 120_000);
    assert_eq!(
        bench.download(file_id).await.expect("an answer").status(),
        502
    );
    let slow = bench.download(file_id).await.expect("an answer");
    assert_eq!(slow.bytes().await.expect("all of it"), video);
    assert_eq!(bench.simulator.counters().misbehaved, 4);
}
