//! What a visitor reads when something is refused.

use tributary_bus::BusState;

use super::{
    super::stage::Stage,
    page::Page,
    scene::Scene,
    webdriver::{Browser, ENTER},
};

const CROWDED: &str = "Too many new visitors from your network right now. Trying again…";
const SLOW: &str = "Many messages at once: the next goes out in a moment.";
const BUSY: &str = "The chat cannot take messages right now. Trying again…";

/// As on a telephone and as on a desk, for people who look at the pictures.
async fn pictures(browser: &Browser, name: &str) {
    for (width, height) in [(390, 844), (1280, 800)] {
        browser.resize(width, height).await;
        browser.picture(&format!("{name}-{width}.png")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_limit_of_an_address() {
    let stage = Stage::with_visitors("demo_page = true", 1).await;
    let known = stage.visitor().await;
    let browser = Browser::start().await;
    browser.open(&stage.url("channels/shop/demo")).await;
    browser.click(".launcher").await;
    browser.until_texts(".note", &[CROWDED]).await;
    pictures(&browser, "crowded").await;
    drop(known);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_does_not_exist() {
    let stage = Stage::new("").await;
    let widget = stage.url("widget.js");
    let html = format!(
        "<!doctype html><html lang=uk><title>Shop</title><script src=\"{widget}\" data-channel=\"nobody\"></script></html>"
    );
    let page = Page::serve("", &html).await;
    let browser = Browser::start().await;
    browser.open(&page.url).await;
    browser.click(".launcher").await;
    browser.until_texts(".note", &["Такого чату немає."]).await;
    pictures(&browser, "unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_taken_in() {
    let mut scene = Scene::new().await;
    scene.stage.bus.set_state(BusState::Away {
        reason: "test".to_owned(),
    });
    scene.browser.keys("Are you there?").await;
    scene.browser.keys(ENTER).await;
    scene.browser.until_texts(".note", &[BUSY]).await;
    pictures(&scene.browser, "busy").await;
    scene.stage.bus.set_state(BusState::Ready);
    scene.stage.written().await;
    scene
        .browser
        .until_texts(
            ".visitor.sent .text",
            &["You: Hello", "You: Are you there?"],
        )
        .await;
    assert_eq!(scene.browser.texts(".note").await, [""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_messages_at_once() {
    let mut scene = Scene::with("messages_per_10s = 2").await;
    for text in ["One", "Two"] {
        scene.browser.keys(text).await;
        scene.browser.keys(ENTER).await;
    }
    scene.browser.until_texts(".note", &[SLOW]).await;
    pictures(&scene.browser, "slow").await;
    for _ in 0..2 {
        scene.stage.written().await;
    }
    // Back after the page took it out.
    scene.browser.keys("A draft").await;
    let anew =
        "document.querySelector('tributary-widget').remove(); document.body.replaceChildren()";
    scene.browser.script(anew).await;
    let draft = scene
        .browser
        .script_on(".input", "return arguments[0].value");
    assert_eq!(draft.await, "A draft");
    pictures(&scene.browser, "back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_seen_is_not_sent() {
    let mut scene = Scene::new().await;
    let nothing = "arguments[0].value = '\\u200b\\u2060 \\ufeff'";
    scene.browser.script_on(".input", nothing).await;
    scene.browser.keys(ENTER).await;
    scene
        .browser
        .script_on(".input", "arguments[0].value = ''")
        .await;
    scene.browser.keys("Something").await;
    scene.browser.keys(ENTER).await;
    let said = serde_json::to_value(scene.stage.written().await.content).expect("JSON");
    assert_eq!(said["text"], "Something");
    scene.count(".visitor", 2).await;
}
