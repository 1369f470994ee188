//! Files that people send.

use tributary_bus::message::{Content, Inbound, Media, MessageReceived};
use tributary_simulators::{
    script::Times,
    telegram::{
        CallAction, CallMatch, DownloadAction, Media as Sent, Misbehave, Options, SizeLimits,
        sample,
    },
};

use crate::{
    direct::Direct,
    stage::{Stage, Way},
};

const OLENA: i64 = 5_550_001_111;

/// An update that tells of a file, as it is stored.
fn update(file_id: &str) -> String {
    serde_json::json!({"update_id": 1, "message": {
        "message_id": 5, "date": 1_767_225_600,
        "chat": {"id": OLENA, "type": "private"}, "from": {"id": OLENA},
        "document": {"file_id": file_id, "file_unique_id": "AgAD", "file_name": "x.pdf"},
    }})
    .to_string()
}

fn media_of(events: &[Inbound]) -> Media {
    let Some(Inbound::Received(message)) = events.last() else {
        panic!("no message: {events:?}");
    };
    message.content.media()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_can_be_fetched() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Polling).await;
    let olena = stage.telegram.user(OLENA);
    let files = [
        ("image", sample::jpeg(640, 480, 1)),
        ("video", sample::mp4(200_000, 2)),
        ("video", sample::mp4(90_000, 3)),
        ("video", sample::mp4(80_000, 4)),
        ("audio", sample::mp3(9_000, 5)),
        ("voice", sample::ogg(5_000, 6)),
        ("file", sample::pdf(70_000, 7)),
        ("sticker", sample::webp(8)),
    ];
    let bytes = |index: usize| files[index].1.clone();
    for media in [
        Sent::photo(bytes(0)).caption("Broken screen"),
        Sent::video(bytes(1)),
        Sent::animation(bytes(2)),
        Sent::video_note(bytes(3)),
        Sent::audio(bytes(4)),
        Sent::voice(bytes(5)),
        Sent::document("bill.pdf", "application/pdf", bytes(6)),
        Sent::sticker("😂", bytes(7)),
    ] {
        olena.sends_media(media);
    }
    let messages: Vec<MessageReceived> = stage.messages(files.len()).await;
    let connector = stage.connector().await;
    for (message, (kind, bytes)) in messages.iter().zip(&files) {
        assert_eq!(message.content.kind(), *kind);
        let media = message.content.media()[0];
        let opened = connector.media().expect("media");
        let source = media.source.as_deref().expect("a source");
        let mut stream = opened.open(source).await.expect("it is there");
        let mut got = Vec::new();
        while let Some(chunk) = futures::StreamExt::next(&mut stream.body).await {
            got.extend_from_slice(&chunk.expect("a chunk"));
        }
        assert!(got == bytes.as_ref(), "{kind}: other bytes");
        assert_eq!(stream.size, Some(bytes.len() as u64));
    }
    let Content::Image(image) = &messages[0].content else {
        panic!("no image");
    };
    let caption = image.caption.as_ref().map(|text| text.text.as_str());
    assert_eq!(caption, Some("Broken screen"));
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_album_is_one_message_for_each_item() {
    let stage = Stage::new("").await;
    let worker = stage.worker(Way::Webhook).await;
    let photo = |seed| Sent::photo(sample::jpeg(64, 64, seed));
    let album = [photo(1).caption("Three views"), photo(2), photo(3)];
    stage.telegram.user(OLENA).sends_album(album);
    let messages = stage.messages(3).await;
    let groups: Vec<_> = messages
        .iter()
        .map(|message| message.context.group.clone())
        .collect();
    assert!(groups[0].is_some());
    assert!(groups.iter().all(|group| *group == groups[0]));
    worker.stop().await;
    stage.is_settled().await;
}

#[tokio::test]
async fn a_file_is_fetched_whatever_its_path_is_called() {
    let direct = Direct::plain().await;
    let bot = direct.telegram.first_bot();
    for (seed, name) in ["a#1.pdf", "50%25.pdf", "a?b=c;d.pdf", "звіт 7.pdf"]
        .iter()
        .enumerate()
    {
        let bytes = sample::pdf(500, seed as u64);
        let file = bot.file(Sent::document(name, "application/pdf", bytes.clone()));
        bot.put_file_at(&file, &format!("documents/{name}"));
        let media = media_of(&direct.read(&update(&file)));
        let fetched = direct.fetch(&media).await;
        assert!(fetched.is_ok_and(|fetched| fetched == bytes), "{name}");
    }
    let file = bot.file(Sent::document("x", "application/pdf", sample::pdf(9, 9)));
    bot.put_file_at(&file, "documents/../../getMe");
    let media = media_of(&direct.read(&update(&file)));
    let reason = direct.fetch(&media).await.expect_err("another place");
    assert!(reason.contains("outside"), "{reason}");
}

#[tokio::test]
async fn what_cannot_be_fetched_says_why_without_the_token() {
    let options = Options {
        sizes: SizeLimits {
            download: 1000,
            ..SizeLimits::default()
        },
        ..Options::quick()
    };
    let direct = Direct::new(options, "").await;
    let bot = direct.telegram.first_bot();
    let big = bot.file(Sent::document(
        "b.pdf",
        "application/pdf",
        sample::pdf(2000, 1),
    ));
    let small = bot.file(Sent::document(
        "s.pdf",
        "application/pdf",
        sample::pdf(500, 2),
    ));
    let mut reasons = Vec::new();
    let mut fails = async |file_id: &str, why: &str| {
        let media = media_of(&direct.read(&update(file_id)));
        let reason = direct.fetch(&media).await.expect_err("no bytes");
        assert!(reason.contains(why), "{reason}");
        reasons.push(reason);
    };
    fails(&big, "20 MB").await;
    fails("BQACnobody", "no longer has it").await;
    let failing = |action| Misbehave::on(CallMatch::method("getFile"), Times::Count(1), action);
    direct
        .telegram
        .misbehave(failing(CallAction::TooManyRequests { retry_after: 3 }));
    fails(&small, "unavailable").await;
    direct.telegram.misbehave(failing(CallAction::EmptyBody));
    fails(&small, "unavailable").await;
    for action in [
        DownloadAction::Fail { status: 502 },
        DownloadAction::CutAfter(100),
    ] {
        let rule = Misbehave::downloading(None, Times::Count(1), action);
        direct.telegram.misbehave(rule);
        fails(&small, "").await;
    }
    let media = media_of(&direct.read(&update(&small)));
    let bytes = direct.fetch(&media).await.expect("there it is");
    assert!(bytes == sample::pdf(500, 2));
    direct.telegram.stop().await;
    let reason = direct.fetch(&media).await.expect_err("nobody answers");
    reasons.push(reason);
    direct.keeps_the_token(&reasons);
}
