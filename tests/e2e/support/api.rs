//! A client of the REST API.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// The API as one key sees it.
#[derive(Clone)]
pub struct Api {
    pub base: String,
    key: String,
    client: reqwest::Client,
}

impl Api {
    pub fn new(base: &str, key: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()
            .expect("client");
        Self {
            base: base.to_owned(),
            key: key.to_owned(),
            client,
        }
    }

    /// One call: status and JSON body (null when there is none). `None` when nobody answered.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Option<(StatusCode, Value)> {
        self.call_with(method, path, body, None).await
    }

    /// [`Api::call`] with an `Idempotency-Key`.
    pub async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        idempotency_key: Option<&str>,
    ) -> Option<(StatusCode, Value)> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.ok()?;
        let status = response.status();
        let body = response.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// Uploads a file; status and answer.
    pub async fn upload(&self, path: &str, mime: &str, body: &'static [u8]) -> (u16, Value) {
        let request = self
            .client
            .post(format!("{}{path}", self.base))
            .bearer_auth(&self.key)
            .header("content-type", mime)
            .body(body);
        let response = request.send().await.expect("the API answers");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    /// A call that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self
            .call(Method::GET, path, None)
            .await
            .expect("the API answers");
        assert!(status.is_success(), "GET {path}: {status} {body}");
        body
    }

    /// A call that must succeed.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self
            .call(Method::POST, path, Some(body))
            .await
            .expect("the API answers");
        assert!(status.is_success(), "POST {path}: {status} {answer}");
        answer
    }

    /// Sends a text to a conversation that must take it; answers the message's id.
    pub async fn reply(&self, conversation: &str, text: &str) -> String {
        let path = format!("/v1/conversations/{conversation}/messages");
        let answer = self
            .post(&path, json!({"content": {"type": "text", "text": text}}))
            .await;
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// The items of a list, following its cursor to the end.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = match &after {
                Some(cursor) => format!("{path}{separator}after={cursor}"),
                None => path.to_owned(),
            };
            let body = self.get(&page).await;
            items.extend(body["items"].as_array().cloned().unwrap_or_default());
            match body["next"].as_str() {
                Some(next) if after.as_deref() != Some(next) => after = Some(next.to_owned()),
                _ => return items,
            }
        }
    }
}
