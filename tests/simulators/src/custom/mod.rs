//! An integrator's system behind a `custom` channel: it takes deliveries, sends events and statuses, and misbehaves.
//!
//! Written from docs/channels/custom.md. Signatures are checked with the Standard Webhooks crate, so that the channel's own
//! are held against somebody else's reading of the scheme.

mod calls;
mod records;
mod server;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use axum::body::Bytes;
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::{
    TimedOut, lock,
    script::{Rule, Script, Times},
    serve::Server,
    wait::Bell,
};

pub use calls::{Forged, Reply, sign};
pub use records::{CustomRecords, Delivered, Refused};
pub use server::DeliveryAction;

/// A running system. Dropping it stops it.
pub struct CustomSystem {
    shared: Arc<Shared>,
    server: Server,
    http: reqwest::Client,
}

struct Shared {
    secret: RwLock<Secret>,
    records: Mutex<CustomRecords>,
    bell: Bell,
    script: Script<DeliveryMatch, DeliveryAction>,
    file: Mutex<Option<(String, Bytes)>>,
}

struct Secret {
    text: String,
    webhook: Webhook,
}

/// Which deliveries a rule is about; what is `None` fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryMatch {
    /// `send`, `edit`, ...
    pub kind: Option<String>,
    /// The recipient.
    pub to: Option<String>,
}

impl DeliveryMatch {
    /// Every delivery.
    pub fn any() -> Self {
        Self::default()
    }

    /// Messages.
    pub fn send() -> Self {
        Self {
            kind: Some("send".into()),
            to: None,
        }
    }

    /// The same, to one recipient.
    #[must_use]
    pub fn to(self, address: &str) -> Self {
        Self {
            to: Some(address.into()),
            ..self
        }
    }

    fn fits(&self, delivery: &Value) -> bool {
        let is = |wanted: &Option<String>, field: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| delivery[field] == wanted.as_str())
        };
        is(&self.kind, "kind") && is(&self.to, "to")
    }
}

impl CustomSystem {
    /// Starts it on a free port of 127.0.0.1, with a secret of its own.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            secret: RwLock::new(Secret::new(&fresh_secret())?),
            records: Mutex::new(CustomRecords::default()),
            bell: Bell::new(),
            script: Script::new(),
            file: Mutex::new(None),
        });
        let server = Server::start(server::router(Arc::clone(&shared))).await?;
        Ok(Self {
            shared,
            server,
            http: crate::client::build()?,
        })
    }

    /// Where deliveries are to be posted to.
    pub fn url(&self) -> String {
        format!("{}/hook", self.server.base_url())
    }

    /// Where the file of [`CustomSystem::serve_file`] is.
    pub fn file_url(&self, name: &str) -> String {
        format!("{}/files/{name}", self.server.base_url())
    }

    /// What is answered at [`CustomSystem::file_url`] from now on.
    pub fn serve_file(&self, mime: &str, bytes: impl Into<Bytes>) {
        *lock(&self.shared.file) = Some((mime.to_owned(), bytes.into()));
    }

    /// `whsec_<base64>`.
    pub fn secret(&self) -> String {
        self.shared.secret().text.clone()
    }

    /// Another secret from now on, for what it sends and for what it accepts.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn set_secret(&self, secret: &str) -> io::Result<()> {
        let secret = Secret::new(secret)?;
        *self
            .shared
            .secret
            .write()
            .unwrap_or_else(PoisonError::into_inner) = secret;
        Ok(())
    }

    /// Cuts every connection and stops listening. What was recorded can still be read.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Adds a rule; those in force come first.
    pub fn misbehave(&self, matches: DeliveryMatch, times: Times, action: DeliveryAction) {
        self.shared.script.add(Rule::new(matches, times, action));
    }

    /// Takes all rules back.
    pub fn behave(&self) {
        self.shared.script.clear();
    }

    /// What it took, each once, in the order of arrival.
    pub fn delivered(&self) -> Vec<Arc<Delivered>> {
        self.look(|records| records.delivered.iter().map(Arc::clone).collect())
    }

    /// Likewise, of one kind.
    pub fn delivered_of(&self, kind: &str) -> Vec<Arc<Delivered>> {
        let mut delivered = self.delivered();
        delivered.retain(|delivery| delivery.kind() == kind);
        delivered
    }

    /// What somebody sees now: the contents sent to them, as they were edited, without those taken back.
    pub fn shows(&self, to: &str) -> Vec<Value> {
        self.look(|records| records.shown(to))
    }

    /// Looks at what is recorded without copying it.
    pub fn look<T>(&self, view: impl FnOnce(&CustomRecords) -> T) -> T {
        view(&lock(&self.shared.records))
    }

    /// Waits until the records satisfy a predicate, which is asked once and after every change.
    ///
    /// # Errors
    /// They do not within `within`.
    pub async fn wait_until(
        &self,
        within: Duration,
        predicate: impl FnMut(&CustomRecords) -> bool,
    ) -> Result<(), TimedOut> {
        let shared = &self.shared;
        shared
            .bell
            .wait_for(within, &shared.records, predicate)
            .await
    }

    /// Posts `{"events": [...]}` to an account's address (`http://.../channels/<id>`), signed.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn send_events(&self, account: &str, events: &[Value]) -> io::Result<Reply> {
        let body = serde_json::json!({"events": events}).to_string();
        self.post(&format!("{account}/messages"), body, Forged::No)
            .await
    }

    /// The same events twice, and then from last to first, one by one: what a queue without order does.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn send_carelessly(&self, account: &str, events: &[Value]) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        for event in events.iter().chain(events.iter().rev()) {
            for _ in 0..2 {
                replies.push(
                    self.send_events(account, std::slice::from_ref(event))
                        .await?,
                );
            }
        }
        Ok(replies)
    }

    /// Posts `{"statuses": [...]}`, signed.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn send_statuses(&self, account: &str, statuses: &[Value]) -> io::Result<Reply> {
        let body = serde_json::json!({"statuses": statuses}).to_string();
        self.post(&format!("{account}/statuses"), body, Forged::No)
            .await
    }

    /// Posts any body, signed as `forged` says.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn post(
        &self,
        url: &str,
        body: impl Into<Bytes>,
        forged: Forged,
    ) -> io::Result<Reply> {
        calls::post(&self.http, &self.shared, url, body.into(), forged).await
    }
}

impl Shared {
    fn secret(&self) -> std::sync::RwLockReadGuard<'_, Secret> {
        self.secret.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn record<T>(&self, step: impl FnOnce(&mut CustomRecords) -> T) -> T {
        let result = step(&mut lock(&self.records));
        self.bell.ring();
        result
    }
}

impl Secret {
    fn new(text: &str) -> io::Result<Self> {
        Ok(Self {
            text: text.to_owned(),
            webhook: Webhook::new(text).map_err(io::Error::other)?,
        })
    }
}

/// A secret nobody has had before.
pub fn fresh_secret() -> String {
    use base64::Engine;
    let bytes: [u8; 32] = rand::random();
    format!("whsec_{}", base64::prelude::BASE64_STANDARD.encode(bytes))
}
