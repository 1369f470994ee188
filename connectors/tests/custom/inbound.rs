//! What the system sends: signed or not, twice, out of order, wrong, with media.

use serde_json::{Value, json};
use tributary_base::media::Slice;
use tributary_bus::message::{Content, Inbound, MediaState};
use tributary_simulators::custom::{Forged, fresh_secret};

use crate::stage::{Stage, event, text};

/// A picture of one pixel.
const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_signed_gets_in() {
    let stage = Stage::new("").await;
    let body = json!({"events": [text("m-1", "hello")]}).to_string();
    let statuses = json!({"statuses": []}).to_string();
    for forged in [
        Forged::Unsigned,
        Forged::WrongSecret,
        Forged::OtherBody,
        Forged::Old(310),
        Forged::Old(-310),
    ] {
        for (path, body) in [("messages", &body), ("statuses", &statuses)] {
            let url = format!("{}/{path}", stage.account);
            let reply = stage.system.post(&url, body.clone(), forged).await;
            let reply = reply.expect("an answer");
            assert_eq!((reply.status, reply.body), (401, Value::Null), "{forged:?}");
        }
    }
    for path in ["", "/", "/other", "/messages/more"] {
        let url = format!("{}{path}", stage.account);
        let reply = stage.system.post(&url, body.clone(), Forged::No).await;
        assert_eq!(reply.expect("an answer").status, 404, "{path}");
    }
    assert!(stage.router.events().is_empty());
    let url = format!("{}/messages", stage.account);
    let reply = stage.system.post(&url, body, Forged::Old(200)).await;
    assert_eq!(reply.expect("an answer").status, 200);
    stage.received(1).await;
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_changed_without_a_gap() {
    let old = fresh_secret();
    let stage = Stage::new(&format!("previous_secret = '{old}'")).await;
    let new = stage.system.secret();
    for (secret, id) in [(&old, "m-1"), (&new, "m-2")] {
        stage.system.set_secret(secret).expect("a secret");
        let reply = stage
            .system
            .send_events(&stage.account, &[text(id, "hello")])
            .await;
        assert_eq!(reply.expect("an answer").status, 200);
        // Whichever of them it knows, it can verify what comes.
        let before = stage.system.delivered().len();
        stage.reply("hello").await;
        stage
            .until("a delivery", || {
                (stage.system.delivered().len() > before).then_some(())
            })
            .await;
    }
    assert_eq!(stage.system.look(|records| records.refused.len()), 0);
    stage.received(2).await;
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_twice_or_late_is_the_same_event() {
    let stage = Stage::new("").await;
    let about = json!({"message": "m-1", "content": {"type": "text", "text": "hello!"}});
    let events = [
        text("m-1", "hello"),
        event("e-1", "edit", &about),
        event(
            "r-1",
            "reaction",
            &json!({"message": "m-1", "reactions": ["👍"]}),
        ),
        event("d-1", "delete", &json!({"message": "m-1"})),
        event("j-1", "joined", &json!({})),
        event("l-1", "left", &json!({"reason": "blocked"})),
        event("t-1", "typing", &json!({})),
        event("s-1", "read", &json!({})),
    ];
    let replies = stage.system.send_carelessly(&stage.account, &events).await;
    let replies = replies.expect("answers");
    assert!(replies.iter().all(|reply| reply.status == 200));
    stage
        .until("all events", || {
            (stage.router.events().len() == events.len() * 4).then_some(())
        })
        .await;
    let told = stage.router.events();
    let ids: std::collections::BTreeSet<_> = told.iter().map(|(envelope, _)| envelope.id).collect();
    assert_eq!(
        ids.len(),
        events.len(),
        "each has one id, however often it comes"
    );
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_event_keeps_its_whole_request_out() {
    let stage = Stage::new("").await;
    let events = [
        text("m-1", "hello"),
        json!({"id": "m-2", "type": "message"}),
        event("m-3", "message", &json!({"content": {"type": "text"}})),
        event("m-4", "telepathy", &json!({})),
    ];
    let reply = stage.system.send_events(&stage.account, &events).await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.status, 400);
    let problems = reply.body["problems"].as_array().cloned();
    let problems = problems.expect("each problem");
    let named: Vec<_> = problems.iter().map(|problem| &problem["id"]).collect();
    assert_eq!(named, ["m-2", "m-3", "m-4"], "{problems:?}");
    let url = format!("{}/messages", stage.account);
    let reply = stage.system.post(&url, "{\"events\":", Forged::No).await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.status, 400);
    assert!(
        reply.body["error"]
            .as_str()
            .is_some_and(|error| error.contains("EOF"))
    );
    assert!(stage.router.events().is_empty());
    let reply = stage.system.send_events(&stage.account, &events[..1]).await;
    assert_eq!(reply.expect("an answer").body, json!({"accepted": 1}));
    stage.received(1).await;
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_fetched_from_its_link() {
    let stage = Stage::new("").await;
    stage.system.serve_file("application/octet-stream", GIF);
    let image = |id: &str, url: String| {
        let media = json!({"url": url, "name": "cat.gif"});
        event(
            id,
            "message",
            &json!({"content": {"type": "image", "media": media}}),
        )
    };
    let events = [
        image("m-1", stage.system.file_url("cat.gif")),
        image("m-2", format!("{}/nothing/here", stage.account)),
    ];
    let reply = stage.system.send_events(&stage.account, &events).await;
    assert_eq!(reply.expect("an answer").status, 200);
    for message in stage.received(2).await {
        let Content::Image(image) = &message.content else {
            panic!("not an image");
        };
        assert_eq!(image.media.state, MediaState::Pending);
    }
    let fetched = stage
        .until("both media", || {
            let media = stage.all(|event| match event {
                Inbound::Media(media) => Some((media.message_id, media.media.clone())),
                _ => None,
            });
            (media.len() == 2).then_some(media)
        })
        .await;
    let of = |id: &str| {
        let message = stage.messages().into_iter().find(|m| m.provider_id == id);
        let message_id = message.expect("the message").message_id;
        let found = fetched.iter().find(|(of, _)| *of == message_id);
        found.expect("its media").1.clone()
    };
    let ready = of("m-1");
    assert_eq!(
        (ready.state, ready.mime.as_deref(), ready.width),
        (MediaState::Ready, Some("image/gif"), Some(1))
    );
    let id = ready.media_id.expect("an id");
    let kept = stage
        .media
        .store
        .read("acme", id.as_str(), Slice::All)
        .await;
    let kept = kept.expect("the store answers").expect("it is there");
    assert_eq!(kept.size, GIF.len() as u64);
    let failed = of("m-2");
    assert_eq!(failed.state, MediaState::Failed);
    assert_eq!(failed.failure.as_deref(), Some("url answers 404"));
    stage.ends_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_into_internal_networks_are_refused() {
    let stage = Stage::new("").await;
    let media = json!({"url": "http://169.254.169.254/latest/meta-data"});
    let content = json!({"content": {"type": "file", "media": media}});
    let reply = stage
        .system
        .send_events(&stage.account, &[event("m-1", "message", &content)])
        .await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.status, 400);
    let problem = reply.body["problems"][0]["problem"].as_str();
    assert!(problem.is_some_and(|problem| problem.contains("internal")));
    stage.ends_settled().await;
}
