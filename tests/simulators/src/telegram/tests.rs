//! The simulator as a client sees it.

mod changing;
mod hook;
mod media;
mod misbehaving;
mod people;
mod polling;
mod refusing;
mod sending;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::*;

const WITHIN: Duration = Duration::from_secs(5);
const CHAT: i64 = 5_550_001_111;

/// A simulator and a client of its first bot.
struct Bench {
    simulator: Arc<TelegramSimulator>,
    client: Client,
}

impl Bench {
    async fn start() -> Self {
        Self::with(Options::quick()).await
    }

    async fn with(options: Options) -> Self {
        let simulator = TelegramSimulator::start(options)
            .await
            .expect("a free port");
        let client = client::build().expect("a client without settings");
        Self {
            simulator: Arc::new(simulator),
            client,
        }
    }

    fn url(&self, method: &str) -> String {
        format!(
            "{}/bot{}/{method}",
            self.simulator.base_url(),
            self.simulator.token()
        )
    }

    async fn try_call(&self, method: &str, arguments: Value) -> reqwest::Result<Response> {
        let body = arguments.to_string();
        let request = self
            .client
            .post(self.url(method))
            .header("content-type", "application/json");
        request.body(body).send().await
    }

    /// The status and the body of a call.
    async fn call(&self, method: &str, arguments: Value) -> (u16, Value) {
        let response = self.try_call(method, arguments).await.expect("an answer");
        read(response).await
    }

    /// The result of a call that works.
    async fn result(&self, method: &str, arguments: Value) -> Value {
        let (status, mut body) = self.call(method, arguments).await;
        assert_eq!(status, 200, "{method}: {body}");
        body["result"].take()
    }

    /// The code and description of a call that fails.
    async fn failure(&self, method: &str, arguments: Value) -> (u16, String) {
        let (status, body) = self.call(method, arguments).await;
        assert_eq!(
            (body["ok"].as_bool(), body["error_code"].as_u64()),
            (Some(false), Some(status.into()))
        );
        (
            status,
            body["description"]
                .as_str()
                .expect("a description")
                .to_owned(),
        )
    }

    async fn says(&self, chat_id: i64, text: &str) -> (u16, Value) {
        self.call("sendMessage", json!({"chat_id": chat_id, "text": text}))
            .await
    }

    /// A call under way in a task of its own.
    fn in_background(
        &self,
        method: &'static str,
        arguments: Value,
    ) -> tokio::task::JoinHandle<(u16, Value)> {
        let bench = Self {
            simulator: Arc::clone(&self.simulator),
            client: self.client.clone(),
        };
        tokio::spawn(async move { bench.call(method, arguments).await })
    }

    async fn until_polls_wait(&self, count: u64) {
        self.simulator
            .wait_until(WITHIN, |records| records.counters.polls_waiting == count)
            .await
            .expect("the poll began to wait");
    }
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("a whole body");
    (status, serde_json::from_slice(&body).expect("a JSON body"))
}

fn ids(updates: &Value) -> Vec<i64> {
    let updates = updates.as_array().expect("a list of updates");
    updates
        .iter()
        .map(|update| update["update_id"].as_i64().expect("an id"))
        .collect()
}
