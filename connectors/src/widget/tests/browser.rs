//! The widget in a real browser (Debian's Chromium), against the real ingress: what an agent sends and does is done here as
//! the owner of the delivery lane does it.

mod page;
mod refused;
mod scene;
mod staying;
#[path = "../../../../tests/e2e/browser/webdriver.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod webdriver;

use std::{fs, time::Duration};

use serde_json::{Value, json};
use tributary_bus::{
    MessageId,
    message::{Content, Inbound},
};

use self::{
    scene::{Scene, eventually, question},
    webdriver::{ENTER, TAB, UP},
};
use super::stage::{PNG, context};
use crate::{Action, Part, SendContext};

/// A browser on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_files_are_sent_and_seen_after_a_reload() {
    let mut scene = Scene::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (picture, text) = (
        folder.path().join("red.png"),
        folder.path().join("notes & <b>.txt"),
    );
    fs::write(&picture, PNG).expect("written");
    fs::write(&text, "what I need").expect("written");
    scene
        .browser
        .choose_files("input[type=file]", &[&picture, &text])
        .await;
    let (first, second) = (scene.stage.written().await, scene.stage.written().await);
    assert_eq!(
        (first.content.kind(), second.content.kind()),
        ("image", "file")
    );
    let name = second.content.media()[0].name.as_deref();
    assert_eq!(name, Some("notes & <b>.txt"));
    scene.count(".visitor.sent", 3).await;
    scene.count(".visitor.sent .chip", 1).await;
    scene.browser.reload().await;
    scene.count(".visitor.sent img", 1).await;
    eventually("the picture is shown", async || {
        let loaded = "return arguments[0].complete && arguments[0].naturalWidth";
        (scene.browser.script_on(".visitor img", loaded).await == 2).then_some(())
    })
    .await;
    scene
        .browser
        .until_texts(".visitor .chip .name", &["notes & <b>.txt"])
        .await;

    // What is not taken is said below it; an empty file and one of another kind.
    let (empty, html) = (
        folder.path().join("empty.png"),
        folder.path().join("page.png"),
    );
    fs::write(&empty, "").expect("written");
    fs::write(&html, "<!doctype html><script>window.hurt=1</script>").expect("written");
    scene
        .browser
        .choose_files("input[type=file]", &[&empty, &html])
        .await;
    let empty = "Not sent: the file is empty";
    let kind = "Not sent: files of this kind are not accepted";
    scene
        .browser
        .until_texts(".failed .state", &[empty, kind])
        .await;

    // Pasted.
    let paste = "const data = new DataTransfer();\
        data.items.add(new File(['plain words'], 'pasted.txt', {type: 'text/plain'}));\
        arguments[0].dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}))";
    scene.browser.script_on(".input", paste).await;
    let pasted = scene.stage.written().await;
    assert_eq!(
        pasted.content.media()[0].name.as_deref(),
        Some("pasted.txt")
    );
    // Dropped.
    let drop = "const data = new DataTransfer();\
        data.items.add(new File(['more words'], 'dropped.txt', {type: 'text/plain'}));\
        for (const kind of ['dragover', 'drop'])\
        arguments[0].dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}))";
    scene.browser.script_on(".log", drop).await;
    let dropped = scene.stage.written().await;
    assert_eq!(
        dropped.content.media()[0].name.as_deref(),
        Some("dropped.txt")
    );
    // And what an agent sends.
    let image = json!({"type": "image", "media": first.content.media()[0], "caption": {"text": "Like this?"}});
    scene.send(image).await;
    scene.count(".agent img", 1).await;
    let refusals = |complaint: &String| !complaint.contains("415");
    let mut complaints = scene.browser.complaints().await;
    complaints.retain(refusals);
    assert_eq!(complaints, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_is_made_with_the_keyboard_and_stays_made() {
    let mut scene = Scene::new().await;
    let (_, question_id) = scene.send(question("buttons")).await;
    scene.count(".option", 3).await;
    // From where one writes, back over the file button and the link to the second button.
    for _ in 0..3 {
        scene.browser.chord(webdriver::SHIFT, TAB).await;
    }
    assert!(
        scene
            .browser
            .has_focus("button.option:nth-of-type(2)")
            .await
    );
    scene.browser.keys(ENTER).await;
    let reply = scene.stage.written().await;
    let Content::ChoiceReply(chosen) = &reply.content else {
        panic!("not a choice: {:?}", reply.content);
    };
    assert_eq!(
        (chosen.id.as_str(), chosen.title.as_deref()),
        ("l", Some("Large"))
    );
    assert_eq!(reply.reply_to, Some(question_id));
    assert!(scene.browser.has_focus(".input").await);
    for _ in 0..2 {
        scene.count(".option:disabled", 2).await;
        scene
            .browser
            .until_texts(".option[aria-pressed=true]", &["Largefor two"])
            .await;
        scene
            .browser
            .until_texts(".visitor.sent .text", &["You: Hello", "You: Large"])
            .await;
        scene.browser.reload().await;
    }
    let (role, name) = scene.browser.role_and_name(".options").await;
    assert_eq!(
        (role.as_str(), name.as_str()),
        ("group", "Which size do you need?")
    );

    // Quick replies are gone after any answer.
    scene.send(question("quick_replies")).await;
    scene.browser.shown(".quick_replies").await;
    scene.browser.click(".quick_replies button.option").await;
    assert_eq!(scene.stage.written().await.content.kind(), "choice_reply");
    eventually("they are gone", async || {
        scene
            .browser
            .find_shown(".quick_replies")
            .await
            .is_none()
            .then_some(())
    })
    .await;
    assert_eq!(scene.browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_reading_editing_and_taking_back_are_shown() {
    let mut scene = Scene::new().await;
    let (id, name) = scene.send(json!({"type": "text", "text": "Helo"})).await;
    scene.act(id, Action::Typing).await;
    scene.browser.shown(".typing").await;
    scene
        .send(json!({"type": "text", "text": "How can we help?"}))
        .await;
    eventually("it ends with the message", async || {
        scene
            .browser
            .find_shown(".typing")
            .await
            .is_none()
            .then_some(())
    })
    .await;
    scene.act(id, Action::Typing).await;
    scene.browser.shown(".typing").await;
    eventually("it ends by itself", async || {
        scene
            .browser
            .find_shown(".typing")
            .await
            .is_none()
            .then_some(())
    })
    .await;

    // The visitor writes: told.
    scene.browser.click(".input").await;
    scene.browser.keys("abc").await;
    eventually("told", async || Some(())).await;
    loop {
        if matches!(scene.stage.event().await.1, Inbound::Typing(_)) {
            break;
        }
    }

    scene
        .browser
        .until_texts(".visitor .state", &["Sent"])
        .await;
    let read = Action::Read {
        provider_id: format!("{}:{}", scene.to.as_str(), scene.client_id().await),
    };
    scene.act(id, read).await;
    scene
        .browser
        .until_texts(".visitor.seen .state", &["Read"])
        .await;

    let content = Content::text("Hello");
    let edit = Action::Edit {
        parts: vec![(name.clone(), Part { index: 0, content })],
    };
    scene.act(id, edit).await;
    for _ in 0..2 {
        scene
            .browser
            .until_texts(".agent.edited .text", &["Support: Hello"])
            .await;
        let meta = scene.browser.texts(".agent.edited .meta").await;
        assert!(meta[0].ends_with(" · edited"), "{meta:?}");
        scene.browser.reload().await;
    }
    let delete = Action::Delete {
        provider_ids: vec![name],
    };
    scene.act(id, delete).await;
    for _ in 0..2 {
        scene
            .browser
            .until_texts(
                ".bubble.deleted .text",
                &["Support: This message was deleted."],
            )
            .await;
        scene.browser.reload().await;
    }
    scene
        .browser
        .until_texts(".visitor.seen .state", &["Read"])
        .await;
    assert_eq!(scene.browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_answered_by_pointer_and_keyboard() {
    let mut scene = Scene::new().await;
    let (_, first) = scene
        .send(json!({"type": "text", "text": "Blue or red?"}))
        .await;
    let (_, second) = scene
        .send(json!({"type": "text", "text": "And when?"}))
        .await;
    scene.count(".agent .back", 2).await;
    scene.browser.hover(".agent.sent .bubble").await;
    scene.browser.click(".agent.sent .back").await;
    scene
        .browser
        .until_texts(".answer span", &["Blue or red?"])
        .await;
    scene.browser.keys("Red").await;
    scene.browser.keys(ENTER).await;
    assert_eq!(scene.stage.written().await.reply_to, Some(first));
    // Up from the log: first one's own, then what was asked.
    scene
        .browser
        .script_on(".log", "arguments[0].focus()")
        .await;
    scene.browser.keys(UP).await;
    scene.browser.keys(UP).await;
    let named = scene.browser.role_and_name(".back:focus").await;
    assert_eq!(
        named,
        ("button".to_owned(), "Reply to: And when?".to_owned())
    );
    scene.browser.keys(ENTER).await;
    scene.browser.keys("Tomorrow").await;
    scene.browser.keys(ENTER).await;
    assert_eq!(scene.stage.written().await.reply_to, Some(second));

    let context = SendContext {
        reply_to: Some(format!("{}:{}", scene.to.as_str(), scene.client_id().await)),
        ..context(&scene.to, MessageId::generate(), 0)
    };
    let sent = scene
        .stage
        .send_with(0, 0, Content::text("Hello to you"), &context)
        .await;
    sent.expect("sent");
    for _ in 0..2 {
        scene
            .browser
            .until_texts(".quote", &["Blue or red?", "And when?", "Hello"])
            .await;
        scene.browser.reload().await;
    }
    scene.browser.click(".quote").await;
    scene.count(".found", 1).await;
    assert_eq!(scene.browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_from_outside_becomes_more_than_text() {
    let scene = Scene::new().await;
    let bad = "<img src=x onerror=window.hurt=1>\"'><script>window.hurt=1</script>";
    let option = |id: &str| json!({"id": id, "title": bad, "description": bad, "section": bad});
    let picture = json!({"url": "https://nowhere.invalid/a.png?\"onerror=\"window.hurt=1", "name": bad, "mime": bad});
    for content in [
        json!({"type": "text", "text": bad}),
        json!({"type": "file", "media": picture, "caption": {"text": bad}}),
        json!({"type": "image", "media": picture}),
        json!({"type": "choices", "style": "list", "text": {"text": bad}, "options": [option("a"), option(bad)]}),
        json!({"type": "carousel", "text": {"text": bad}, "cards": [{"title": bad, "text": {"text": bad}, "media": picture, "options": [option("c")]}]}),
    ] {
        scene.send(content).await;
    }
    scene.count(".card", 1).await;
    scene.count(".log script", 0).await;
    scene.count(".log [onerror]", 0).await;
    let titles = scene.browser.texts(".list.options .option").await;
    assert_eq!(titles, [format!("{bad}{bad}"), format!("{bad}{bad}")]);
    let names = scene.browser.texts(".agent .chip .name").await;
    assert!(
        !names.is_empty() && names.iter().all(|name| name == bad),
        "{names:?}"
    );
    let rels = "return [...arguments[0].querySelectorAll('a')].map((link) => link.rel)";
    let rels = scene.browser.script_on(".log", rels).await;
    let rels = rels.as_array().expect("links").clone();
    assert!(!rels.is_empty());
    assert!(
        rels.iter()
            .all(|rel| rel == "noopener noreferrer nofollow ugc"),
        "{rels:?}"
    );
    let unhurt = scene
        .browser
        .script("return window.hurt === undefined")
        .await;
    assert_eq!(unhurt, true);
}

/// Not a check: pictures for people who look at them.
#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_looked_at() {
    let mut scene = Scene::new().await;
    scene.browser.resize(1000, 800).await;
    let media = picture_of_shoes(&scene).await;
    scene.send(json!({"type": "image", "media": media, "caption": {"text": "These came in today. Shall I keep a pair for you?"}})).await;
    scene.send(question("buttons")).await;
    scene.count(".agent img", 1).await;
    scene.browser.click("button.option:nth-of-type(2)").await;
    scene.stage.written().await;
    let read = Action::Read {
        provider_id: format!("{}:{}", scene.to.as_str(), scene.client_id().await),
    };
    scene.act(MessageId::generate(), read).await;
    scene
        .browser
        .until_texts(".visitor.seen .state", &["Read"])
        .await;
    scene
        .browser
        .script_on(".log", "arguments[0].scrollTop = 70")
        .await;
    scene.browser.picture("widget.png").await;
    scene
        .browser
        .script_on(".log", "arguments[0].scrollTop = 1e6")
        .await;
    let context = SendContext {
        reply_to: Some(format!("{}:{}", scene.to.as_str(), scene.client_id().await)),
        ..context(&scene.to, MessageId::generate(), 0)
    };
    let answer = Content::text("Done. You find our terms at https://shop.example/terms");
    scene
        .stage
        .send_with(0, 0, answer, &context)
        .await
        .expect("sent");
    let file = json!({"type": "file", "media": {"url": "https://shop.example/invoice.pdf", "name": "invoice-2026-11.pdf", "size": 182_400}});
    scene.send(file).await;
    scene.act(MessageId::generate(), Action::Typing).await;
    scene.browser.shown(".typing").await;
    scene.browser.picture("desktop.png").await;
    scene.browser.resize(360, 740).await;
    scene.browser.picture("narrow.png").await;
    let (id, name) = scene
        .send(json!({"type": "text", "text": "A mistake"}))
        .await;
    scene
        .act(
            id,
            Action::Delete {
                provider_ids: vec![name],
            },
        )
        .await;
    let cards = json!([
        {"title": "Runner", "text": {"text": "Light, for the road"}, "media": media, "options": [{"id": "r", "title": "Order"}]},
        {"title": "Hiker", "text": {"text": "Warm and dry"}, "media": media, "options": [{"id": "h", "title": "Order"}]}]);
    scene
        .send(json!({"type": "carousel", "text": {"text": "Also new:"}, "cards": cards}))
        .await;
    scene.send(question("quick_replies")).await;
    scene.browser.shown(".quick_replies").await;
    scene
        .browser
        .script_on(".log", "arguments[0].scrollTop = 1e6")
        .await;
    scene.browser.hover(".visitor .bubble").await;
    scene.browser.click(".visitor .back").await;
    scene.browser.picture("narrow-2.png").await;
    scene.browser.resize(1000, 800).await;
    scene
        .browser
        .script_on(".log", "arguments[0].scrollTop = 1e6")
        .await;
    scene.browser.picture("desktop-2.png").await;
}

/// Drawn in the browser, so that it has the size of a real one, and stored as an upload.
async fn picture_of_shoes(scene: &Scene) -> Value {
    let draw = "const c = document.createElement('canvas'); c.width = 640; c.height = 420; const g = c.getContext('2d');\
        const s = g.createLinearGradient(0, 0, 0, 420); s.addColorStop(0, '#dfe9ea'); s.addColorStop(1, '#b9cfcf');\
        g.fillStyle = s; g.fillRect(0, 0, 640, 420); g.fillStyle = '#b4472f'; g.beginPath(); g.moveTo(120, 280);\
        g.bezierCurveTo(140, 180, 220, 150, 300, 180); g.bezierCurveTo(360, 230, 470, 230, 530, 280); g.closePath(); g.fill();\
        g.fillStyle = '#fff'; g.fillRect(110, 280, 430, 26); g.fillStyle = '#20383a'; g.fillRect(110, 306, 430, 14);\
        return c.toDataURL('image/png').slice(22)";
    let data = scene.browser.script(draw).await;
    let bytes = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        data.as_str().expect("base64"),
    )
    .expect("base64");
    let stream = crate::MediaStream {
        body: Box::pin(futures::stream::iter([Ok(bytes.into())])),
        mime: None,
        size: None,
        name: Some("shoes.png".to_owned()),
    };
    let media = scene.stage.shelf().put(stream, None).await.expect("stored");
    serde_json::to_value(media).expect("JSON")
}
