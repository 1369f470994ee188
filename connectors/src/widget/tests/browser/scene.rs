//! A visitor in a browser, and us at the other end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tributary_bus::{
    Address, MessageId,
    message::{Inbound, MessageReceived},
};

use super::{
    super::stage::Stage,
    PATIENCE,
    webdriver::{Browser, ENTER},
};
use crate::Action;

pub(super) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A visitor in a browser who has said hello.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) browser: Browser,
    pub(super) to: Address,
}

impl Scene {
    pub(super) async fn new() -> Self {
        Self::with("").await
    }

    /// With more settings of the widget.
    pub(super) async fn with(settings: &str) -> Self {
        let mut stage = Stage::new(&format!("demo_page = true\n{settings}")).await;
        let browser = Browser::start().await;
        browser.open(&stage.url("channels/shop/demo")).await;
        browser.click(".launcher").await;
        browser.shown(".attach").await;
        browser.click(".input").await;
        browser.keys("Hello").await;
        browser.keys(ENTER).await;
        let to = stage.written().await.origin.address;
        browser
            .until_texts(".visitor.sent .text", &["You: Hello"])
            .await;
        Self { stage, browser, to }
    }

    pub(super) async fn send(&self, content: Value) -> (MessageId, String) {
        self.stage.offer(&self.to, content).await
    }

    pub(super) async fn act(&self, id: MessageId, action: Action) {
        let done = self.stage.act(&self.to, id, action).await;
        done.expect("done");
    }

    /// The visitor's own name of the first message.
    pub(super) async fn client_id(&self) -> String {
        let id: Option<String> = tributary_base::on!(read &self.stage.database, db =>
            sqlx::query_scalar("SELECT client_id FROM widget_mailbox WHERE seq = 1").fetch_one(db).await)
        .expect("the mailbox");
        id.expect("the visitor wrote it")
    }

    pub(super) async fn count(&self, css: &str, count: usize) {
        eventually(&format!("{count} of {css}"), async || {
            (self.browser.find(css).await.len() == count).then_some(())
        })
        .await;
    }
}

impl Stage {
    /// The next message; that somebody writes, or has read, is passed over.
    pub(super) async fn written(&mut self) -> MessageReceived {
        loop {
            if let Inbound::Received(message) = self.event().await.1 {
                return *message;
            }
        }
    }
}

pub(super) fn question(style: &str) -> Value {
    json!({"type": "choices", "style": style, "text": {"text": "Which size do you need?"}, "options": [
        {"id": "s", "title": "Small"}, {"id": "l", "title": "Large", "description": "for two"},
        {"id": "t", "title": "Size table", "action": {"do": "url", "url": "https://shop.example/sizes"}}]})
}
