//! The widget in a real browser, on the demo page of `tributary up`: what a customer sees and does.

#[expect(
    dead_code,
    reason = "shared with the widget's own tests, which use the rest"
)]
mod webdriver;

use base64::Engine;
use serde_json::Value;

use self::webdriver::{Browser, ENTER, ESCAPE, SHIFT, TAB};
use crate::support::{Demo, PATIENCE, Spawn, eventually};

const OWN: &str = ".message.visitor .text";
const REPLIES: &str = ".message.agent:not(:first-child) .text";
const TEXTS: &str = ".message:not(:first-child) .text";

/// The only conversation there is.
async fn conversation(demo: &Demo) -> String {
    eventually("a conversation begins", async || {
        let all = demo.api.list("/v1/conversations").await;
        assert!(all.len() < 2, "one visitor, one conversation: {all:#?}");
        Some(all.first()?["id"].as_str()?.to_owned())
    })
    .await
}

async fn messages(demo: &Demo, conversation: &str) -> Vec<Value> {
    demo.api
        .list(&format!("/v1/conversations/{conversation}/messages"))
        .await
}

async fn until_status(demo: &Demo, conversation: &str, message: &str, status: &str) {
    eventually(&format!("a reply is {status}"), async || {
        let all = messages(demo, conversation).await;
        let reply = all.iter().find(|each| each["id"] == message)?;
        (reply["status"] == status).then_some(())
    })
    .await;
}

/// Says something in the open panel and waits until it is sent.
async fn say(browser: &Browser, text: &str) {
    browser.click(".input").await;
    browser.keys(text).await;
    browser.keys(ENTER).await;
    eventually("a message is sent", async || {
        let texts = browser.texts(OWN).await;
        let states = browser.find(".message.visitor.sent").await.len();
        (texts.last().is_some_and(|last| last.ends_with(text)) && states == texts.len())
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_conversation_lives_through_reload_and_crash() {
    let mut demo = Demo::start(Spawn::default()).await;
    let browser = Browser::start().await;
    browser.open(&demo.page()).await;

    // A customer writes; it is sent, and assigned to the demo agent.
    browser.click(".launcher").await;
    say(&browser, "Where is my order?").await;
    let state = browser.texts(".message.visitor .state").await;
    assert_eq!(state, ["Sent"]);
    let id = conversation(&demo).await;
    let seen = eventually("it is assigned", async || {
        let one = demo.api.get(&format!("/v1/conversations/{id}")).await;
        (one["state"] == "assigned").then_some(one)
    })
    .await;
    assert!(seen["agent_id"].is_string(), "{seen:#?}");

    // An answer appears without a reload, and is read at once in the open panel.
    let first = demo.api.reply(&id, "It is on its way").await;
    browser
        .until_texts(REPLIES, &["Support: It is on its way"])
        .await;
    until_status(&demo, &id, &first, "read").await;

    // Nobody there: sent. There, but closed: delivered, and counted. Opened: read.
    browser.click(".close").await;
    browser.open("about:blank").await;
    let second = demo.api.reply(&id, "It arrives tomorrow").await;
    until_status(&demo, &id, &second, "sent").await;
    browser.open(&demo.page()).await;
    until_status(&demo, &id, &second, "delivered").await;
    browser.shown(".badge").await;
    browser.until_texts(".badge", &["1"]).await;
    browser.click(".launcher").await;
    until_status(&demo, &id, &second, "read").await;
    assert!(browser.find_shown(".badge").await.is_none());

    let history = [
        "You: Where is my order?",
        "Support: It is on its way",
        "Support: It arrives tomorrow",
    ];
    browser.reload().await;
    browser.until_texts(TEXTS, &history).await;

    survives_a_crash(&mut demo, &browser, &id, &history).await;
    assert_eq!(
        browser.complaints_but_of_the_network().await,
        Vec::<String>::new()
    );
}

/// The server dies while the customer goes on writing.
async fn survives_a_crash(demo: &mut Demo, browser: &Browser, id: &str, history: &[&str]) {
    demo.kill();
    browser
        .until_texts(".note", &["No connection. Trying again…"])
        .await;
    for text in ["Are you there?", "Hello?"] {
        browser.click(".input").await;
        browser.keys(text).await;
        browser.keys(ENTER).await;
    }
    browser
        .until_texts(
            ".message.visitor.sending .text",
            &["You: Are you there?", "You: Hello?"],
        )
        .await;
    demo.restart().await;
    demo.api.reply(id, "We are back").await;

    // It comes back by itself: what was written goes out, what was missed comes in.
    browser
        .until_texts(".message.visitor.sending .text", &[])
        .await;
    eventually("what was missed is shown", async || {
        browser
            .texts(REPLIES)
            .await
            .contains(&"Support: We are back".to_owned())
            .then_some(())
    })
    .await;
    assert!(browser.find_shown(".note").await.is_none());
    let shown = browser.texts(TEXTS).await;
    assert_eq!(shown[..history.len()], *history);
    assert_eq!(shown.len(), history.len() + 3, "{shown:#?}");

    // Everything that was seen as sent is there, once, in this order.
    let own = ["Where is my order?", "Are you there?", "Hello?"];
    eventually("every message arrives", async || {
        let all = messages(demo, id).await;
        let inbound = all
            .iter()
            .filter(|each| each["direction"] == "inbound")
            .count();
        (inbound >= own.len()).then_some(())
    })
    .await;
    let all = messages(demo, id).await;
    let texts: Vec<&str> = all
        .iter()
        .filter(|each| each["direction"] == "inbound")
        .filter_map(|each| each["content"]["text"].as_str())
        .collect();
    assert_eq!(texts, own);
    browser.reload().await;
    eventually("the history is whole", async || {
        let again = browser.texts(TEXTS).await;
        (again.len() == shown.len()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn text_stays_text() {
    let demo = Demo::start(Spawn::default()).await;
    let browser = Browser::start().await;
    browser.open(&demo.page()).await;
    browser.click(".launcher").await;
    let corpus = [
        "<img src=x onerror=window.hurt=1>",
        "<script>window.hurt=1</script>",
        "\"><svg onload=window.hurt=1>",
        "javascript:window.hurt=1",
        "{{7*7}} ${7*7} &lt;b&gt;",
    ];
    for text in corpus {
        say(&browser, text).await;
    }
    let id = conversation(&demo).await;
    let link = "https://shop.example/a?b=1&c=<i> javascript:window.hurt=1 https://x.example\" onclick=\"window.hurt=1";
    for text in corpus.iter().chain([&link]) {
        demo.api.reply(&id, text).await;
    }
    let mut expected: Vec<String> = corpus
        .iter()
        .map(|text| format!("Support: {text}"))
        .collect();
    expected.push(format!("Support: {link}"));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    browser.until_texts(REPLIES, &expected).await;
    // The widget's own icons are hidden from screen readers; the corpus has none that is.
    // Its dots of the typing line are the only `i`.
    let foreign = [".log svg:not([aria-hidden])", ".log :not(.typing) > i"];
    for forbidden in [".log img", ".log script", ".log b"]
        .into_iter()
        .chain(foreign)
    {
        assert!(browser.find(forbidden).await.is_empty(), "{forbidden}");
    }
    let links = browser.find(".log a").await;
    assert_eq!(links.len(), 2);
    let href = browser.property(&links[0], "attribute/href").await;
    assert_eq!(href, "https://shop.example/a?b=1&c=");
    let rel = browser.property(&links[0], "attribute/rel").await;
    assert_eq!(rel, "noopener noreferrer nofollow ugc");
    assert!(browser.find(".log a[onclick]").await.is_empty());
    assert_eq!(
        browser.script("return window.hurt === undefined").await,
        true
    );
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_keyboard_is_enough_and_everything_has_a_name() {
    let demo = Demo::start(Spawn::default()).await;
    let browser = Browser::start().await;
    browser.open(&demo.page()).await;
    browser.shown(".launcher").await;
    let named = |role: &str, name: &str| (role.to_owned(), name.to_owned());
    assert_eq!(
        browser.role_and_name(".launcher").await,
        named("button", "Open chat")
    );

    browser.keys(TAB).await;
    let stop = browser.script("return document.activeElement.getAttribute('aria-label')");
    assert_eq!(
        stop.await,
        "The line for your pages",
        "what scrolls is reached by keyboard"
    );
    browser.keys(TAB).await;
    assert!(
        browser.has_focus(".launcher").await,
        "the launcher is the next stop of this page, and the last"
    );
    browser.keys(ENTER).await;
    browser.shown(".panel").await;
    browser.shown(".attach").await;
    assert!(
        browser.has_focus(".input").await,
        "opening leads to where one writes"
    );
    for (css, role, name) in [
        (".panel", "dialog", "Chat with us"),
        (".close", "button", "Close chat"),
        (".log", "log", "Conversation"),
        (
            ".input",
            "textbox",
            "Message. Enter sends, Shift and Enter begins a new line.",
        ),
        (".attach", "button", "Attach a file"),
        (".send", "button", "Send"),
        (".launcher", "button", "Close chat"),
    ] {
        assert_eq!(browser.role_and_name(css).await, named(role, name), "{css}");
    }

    browser.keys("one").await;
    browser.chord(SHIFT, ENTER).await;
    browser.keys("two").await;
    browser.keys(ENTER).await;
    browser
        .until_texts(".message.visitor.sent .text", &["You: one\ntwo"])
        .await;
    assert!(browser.has_focus(".input").await);

    // Around: writing, sending, the launcher, and back over history and close.
    browser.keys(TAB).await;
    assert!(browser.has_focus(".send").await);
    browser.keys(TAB).await;
    assert!(browser.has_focus(".launcher").await);
    for css in [".send", ".input", ".attach", ".log", ".close"] {
        browser.chord(SHIFT, TAB).await;
        assert!(browser.has_focus(css).await, "{css}");
    }

    browser.keys(ESCAPE).await;
    assert!(browser.find_shown(".panel").await.is_none());
    assert!(browser.has_focus(".launcher").await, "closing leads back");
    let id = conversation(&demo).await;
    demo.api.reply(&id, "Hello").await;
    browser.until_texts(".badge", &["1"]).await;
    let launcher = browser.role_and_name(".launcher").await;
    assert_eq!(launcher, named("button", "Open chat, 1 new message"));
}

/// A picture of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[tokio::test]
async fn a_picture_is_in_the_store_and_there_after_a_reload() {
    let demo = Demo::start(Spawn::default()).await;
    let browser = Browser::start().await;
    browser.open(&demo.page()).await;
    browser.click(".launcher").await;
    browser.shown(".attach").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pixel <b>.png");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(PIXEL)
        .expect("base64");
    std::fs::write(&path, bytes).expect("written");
    browser.choose_files("input[type=file]", &[&path]).await;
    let id = conversation(&demo).await;
    let message = eventually("the picture arrives", async || {
        messages(&demo, &id).await.into_iter().next()
    })
    .await;
    let content = &message["content"];
    assert_eq!(content["type"], "image", "{message:#}");
    let media = &content["media"];
    assert_eq!(
        (&media["mime"], &media["width"]),
        (&"image/png".into(), &1.into())
    );
    assert_eq!(media["name"], "pixel <b>.png");
    browser.reload().await;
    let loaded = "return arguments[0].complete && arguments[0].naturalWidth";
    eventually("the picture is shown", async || {
        (browser.script_on(".visitor img", loaded).await == 1).then_some(())
    })
    .await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn tabs_show_the_same_conversation() {
    let demo = Demo::start(Spawn::default()).await;
    let browser = Browser::start().await;
    browser.open(&demo.page()).await;
    browser.click(".launcher").await;
    say(&browser, "From the first tab").await;
    let first = browser.another_tab().await;
    browser.open(&demo.page()).await;
    browser.click(".launcher").await;
    browser
        .until_texts(TEXTS, &["You: From the first tab"])
        .await;
    say(&browser, "From the second").await;
    let id = conversation(&demo).await;
    let both = [
        "You: From the first tab",
        "You: From the second",
        "Support: Hello to both",
    ];
    demo.api.reply(&id, "Hello to both").await;
    browser.until_texts(TEXTS, &both).await;
    browser.to_tab(&first).await;
    browser.until_texts(TEXTS, &both).await;
    assert_eq!(messages(&demo, &id).await.len(), 3);
}

#[tokio::test]
async fn a_page_that_is_not_listed_is_told_so() {
    let config = "[channels.demo]\nallowed_origins = ['https://shop.example']\n";
    let demo = Demo::start(Spawn::default().config(config)).await;
    let browser = Browser::start().await;
    browser.open(&demo.page()).await;
    browser.click(".launcher").await;
    browser
        .until_texts(".note", &["Chat is not available on this page."])
        .await;
}
