//! The widget stays, and stays usable, whatever its page does to itself.

use super::{
    super::stage::Stage,
    page::Page,
    scene::eventually,
    webdriver::{Browser, ENTER, ESCAPE},
};

/// A page that shows the widget, with a script of its own.
async fn visit(stage: &Stage, headers: &str, script: &str) -> (Browser, Page) {
    let widget = stage.url("widget.js");
    let html = format!(
        "<!doctype html><html lang=en><head><title>Shop</title></head><body><h1>Shop</h1>\
         <script>{script}</script><script src=\"{widget}\" data-channel=\"shop\"></script></body></html>"
    );
    let page = Page::serve(headers, &html).await;
    let browser = Browser::start().await;
    browser.open(&page.url).await;
    (browser, page)
}

/// What single pages, frameworks and other scripts do to a document.
const WAYS: [(&str, &str); 9] = [
    (
        "removed",
        "document.querySelector('tributary-widget').remove()",
    ),
    (
        // React 19, `hydrateRoot(document)` after a mismatch: all but scripts and styles goes, then the page is made anew.
        "hydrated anew",
        "const html = document.documentElement;\
         for (const node of [...html.childNodes]) if (!/^(SCRIPT|STYLE)$/.test(node.nodeName)) node.remove();\
         html.append(document.createElement('head'), document.createElement('body'));",
    ),
    ("body emptied", "document.body.innerHTML = ''"),
    (
        "body replaced",
        "document.body = document.createElement('body')",
    ),
    (
        "inside of the page replaced",
        "document.documentElement.innerHTML = '<head></head><body>New</body>'",
    ),
    (
        "page replaced",
        "const html = document.createElement('html');\
         html.append(document.createElement('head'), document.createElement('body'));\
         document.documentElement.replaceWith(html)",
    ),
    (
        "page taken out and put back",
        "const html = document.documentElement; html.remove(); setTimeout(() => document.append(html), 50)",
    ),
    (
        "written anew",
        "document.open(); document.write('<!doctype html><html><body>Written</body></html>'); document.close()",
    ),
    (
        "written anew in pieces",
        "document.open(); setTimeout(() => {\
         document.write('<!doctype html><html><head><title>T</title></head><body>');\
         setTimeout(() => { document.write('Written</body></html>'); document.close() }, 50) }, 50)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_replaces_the_page_the_widget_is_back_with_its_draft() {
    let mut stage = Stage::new("messages_per_10s = 100").await;
    let (browser, _page) = visit(&stage, "", "").await;
    browser.click(".launcher").await;
    browser.shown(".attach").await;
    browser.click(".input").await;
    for (way, change) in WAYS {
        browser.keys("A draft").await;
        browser.script(change).await;
        eventually(&format!("the widget is back: {way}"), async || {
            let draft = browser.script_on(".input", "return arguments[0].value");
            (draft.await == "A draft").then_some(())
        })
        .await;
        browser.click(".input").await;
        browser.keys(&format!(": {way}")).await;
        browser.click(".send").await;
        let said = stage.written().await.content;
        let text = serde_json::to_value(said).expect("JSON")["text"].clone();
        assert_eq!(text, format!("A draft: {way}"));
        // Escape and the launcher are heard as well.
        browser.keys(ESCAPE).await;
        browser.click(".launcher").await;
        assert!(browser.has_focus(".input").await, "{way}");
    }
    let hosts = "return document.querySelectorAll('tributary-widget').length";
    assert_eq!(browser.script(hosts).await, 1);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_stays_in_the_conversation_when_the_page_is_replaced() {
    let stage = Stage::new("").await;
    let (browser, _page) = visit(&stage, "", "").await;
    browser.click(".launcher").await;
    browser.shown(".attach").await;
    browser.click(".input").await;
    browser.keys("one").await;
    browser.script(WAYS[1].1).await;
    browser.keys(" two").await;
    let draft = browser.script_on(".input", "return arguments[0].value");
    assert_eq!(draft.await, "one two");
}

/// A page whose own script takes out whatever it does not know: neither of the two may hang it.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_takes_it_out_each_time_does_not_hang() {
    let guard = "window.taken = 0; window.guard = new MutationObserver(() => {\
        const widget = document.querySelector('tributary-widget');\
        if (widget) { window.taken++; widget.remove() } });";
    let stage = Stage::new("").await;
    let (browser, _page) = visit(&stage, "", guard).await;
    browser.shown(".launcher").await;
    let quarrel = "window.guard.observe(document.documentElement, {childList: true});\
        document.querySelector('tributary-widget').remove()";
    browser.script(quarrel).await;
    let taken = browser.script("return window.taken").await;
    assert!(taken.as_u64().is_some_and(|taken| taken < 40), "{taken}");
    browser.script("window.guard.disconnect()").await;
    browser.shown(".launcher").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_inclusion_of_the_script_changes_nothing() {
    let mut stage = Stage::new("").await;
    let (browser, _page) = visit(&stage, "", "").await;
    browser.click(".launcher").await;
    browser.click(".input").await;
    browser.keys("Kept").await;
    let include = format!(
        "const script = document.createElement('script'); script.src = '{}'; script.dataset.channel = 'shop';\
         script.onload = () => window.included = true; document.body.append(script)",
        stage.url("widget.js")
    );
    browser.script(&include).await;
    eventually("the script ran", async || {
        let included = browser.script("return window.included").await;
        (included == true).then_some(())
    })
    .await;
    browser.keys(ENTER).await;
    assert_eq!(stage.written().await.content.kind(), "text");
    let hosts = "return document.querySelectorAll('tributary-widget').length";
    assert_eq!(browser.script(hosts).await, 1);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// A page that may run scripts and nothing else: no forms, no storage.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_sandbox_without_forms_the_button_sends() {
    let mut stage = Stage::new("").await;
    let sandbox = "content-security-policy: sandbox allow-scripts\r\n";
    let (browser, _page) = visit(&stage, sandbox, "").await;
    browser.click(".launcher").await;
    browser.click(".input").await;
    browser.keys("From the sandbox").await;
    browser.click(".send").await;
    assert_eq!(stage.written().await.content.kind(), "text");
    browser
        .until_texts(".visitor.sent .text", &["You: From the sandbox"])
        .await;
    assert!(browser.has_focus(".input").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_clipboard_of_a_conversation_do_not_reach_the_page() {
    let listening = "window.heard = [];\
        for (const kind of ['keydown', 'keypress', 'keyup', 'copy', 'cut', 'paste'])\
        document.addEventListener(kind, (event) => window.heard.push(kind));";
    let stage = Stage::new("").await;
    let (browser, _page) = visit(&stage, "", listening).await;
    browser.click(".launcher").await;
    browser.click(".input").await;
    browser.keys("abc").await;
    let clipboard = "for (const kind of ['copy', 'cut', 'paste']) arguments[0].dispatchEvent(\
        new ClipboardEvent(kind, {clipboardData: new DataTransfer(), bubbles: true, composed: true}))";
    browser.script_on(".input", clipboard).await;
    // Closing with Escape: the key comes up outside of the conversation.
    browser.keys(ESCAPE).await;
    assert!(browser.find_shown(".panel").await.is_none());
    let heard = "const heard = window.heard; window.heard = []; return heard.join()";
    assert_eq!(browser.script(heard).await, "");
    browser.keys("a").await;
    assert_eq!(browser.script(heard).await, "keydown,keypress,keyup");
}

/// Waits are measured by a clock that nobody sets.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_holds_nothing_up() {
    let mut stage = Stage::new("messages_per_10s = 2").await;
    let (browser, _page) = visit(&stage, "", "").await;
    browser.click(".launcher").await;
    browser.click(".input").await;
    for text in ["1", "2", "3"] {
        browser.keys(text).await;
        browser.keys(ENTER).await;
    }
    browser
        .until_texts(
            ".note",
            &["Many messages at once: the next goes out in a moment."],
        )
        .await;
    let back = "const now = Date.now.bind(Date); Date.now = () => now() - 3600000";
    browser.script(back).await;
    browser.keys("4").await;
    browser.keys(ENTER).await;
    for expected in ["1", "2", "3", "4"] {
        let said = serde_json::to_value(stage.written().await.content).expect("JSON");
        assert_eq!(said["text"], expected);
    }
    browser
        .until_texts(
            ".visitor.sent .text",
            &["You: 1", "You: 2", "You: 3", "You: 4"],
        )
        .await;
}
