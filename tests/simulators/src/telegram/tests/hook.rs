//! A bot's webhook.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::*;
use crate::serve::Server;

/// It keeps what comes, and answers what it was told to.
pub(super) struct Hook {
    server: Server,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Log {
    requests: Vec<(Option<String>, Value)>,
    answers: HashMap<i64, Vec<Response>>,
    waiting: usize,
    most_waiting: usize,
}

struct Seen {
    log: Mutex<Log>,
    bell: Bell,
    /// Deliveries are answered only while it is open.
    open: watch::Sender<bool>,
}

impl Hook {
    pub(super) async fn start() -> Self {
        let open = watch::Sender::new(true);
        let seen = Arc::new(Seen {
            log: Mutex::default(),
            bell: Bell::new(),
            open,
        });
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&seen));
        Self {
            server: Server::start(router).await.expect("a free port"),
            seen,
        }
    }

    pub(super) async fn stop(&self) {
        self.server.stop().await;
    }

    pub(super) fn url(&self) -> String {
        format!("{}/telegram", self.server.base_url())
    }

    /// From now on deliveries wait for their answer.
    pub(super) fn close(&self) {
        self.seen.open.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.seen.open.send_replace(true);
    }

    /// The next answers to one chat, before 200.
    pub(super) fn will_answer(&self, chat_id: i64, answers: Vec<Response>) {
        lock(&self.seen.log)
            .answers
            .insert(chat_id, answers.into_iter().rev().collect());
    }

    pub(super) async fn until_seen(&self, count: usize) {
        let enough = || lock(&self.seen.log).requests.len() >= count;
        assert!(
            self.seen.bell.wait_until(WITHIN, enough).await,
            "fewer than {count} came"
        );
    }

    pub(super) fn texts(&self) -> Vec<String> {
        let text = |update: &Value| update["message"]["text"].as_str().map(str::to_owned);
        self.each(|_, update| text(update).expect("a message"))
    }

    pub(super) fn chats(&self) -> Vec<i64> {
        self.each(|_, update| update["message"]["chat"]["id"].as_i64().expect("a message"))
    }

    pub(super) fn secrets(&self) -> Vec<Option<String>> {
        self.each(|secret, _| secret.clone())
    }

    /// How many deliveries there were at the same time.
    pub(super) fn most_at_once(&self) -> usize {
        lock(&self.seen.log).most_waiting
    }

    fn each<T>(&self, view: impl Fn(&Option<String>, &Value) -> T) -> Vec<T> {
        let log = lock(&self.seen.log);
        log.requests
            .iter()
            .map(|(secret, update)| view(secret, update))
            .collect()
    }
}

async fn receive(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> Response {
    let update: Value = serde_json::from_slice(&body).expect("an update");
    let secret = headers.get("X-Telegram-Bot-Api-Secret-Token");
    let secret = secret.map(|value| value.to_str().expect("plain text").to_owned());
    let chat_id = update["message"]["chat"]["id"].as_i64().unwrap_or_default();
    let answer = {
        let mut log = lock(&seen.log);
        log.requests.push((secret, update));
        log.waiting += 1;
        log.most_waiting = log.most_waiting.max(log.waiting);
        log.answers.get_mut(&chat_id).and_then(Vec::pop)
    };
    seen.bell.ring();
    seen.open
        .subscribe()
        .wait_for(|open| *open)
        .await
        .expect("it lives as long as the hook");
    lock(&seen.log).waiting -= 1;
    answer.unwrap_or_else(|| StatusCode::OK.into_response())
}

pub(super) fn status(code: u16) -> Response {
    StatusCode::from_u16(code)
        .expect("a status")
        .into_response()
}
