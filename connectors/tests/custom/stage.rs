//! A connector process on the embedded bus, a system on the one side and a stand-in for the router on the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::sleep};
use tributary_base::media::{Home, MediaService, open};
use tributary_bus::{
    Address, EventId, MessageId, OrganizationId, Payload,
    message::{Content, Inbound, MessageReceived, MessageStatus, Status},
};
use tributary_config::{Settings, load_text};
use tributary_connectors::{ConnectorStore, LoggedCall, calls_of};
use tributary_simulators::custom::CustomSystem;

use crate::support::{PATIENCE, Process, Router, Running, database, delivery, look};

pub const CONTACT: &str = "client-5550009876";

pub struct Stage {
    pub system: CustomSystem,
    pub router: Router,
    pub media: MediaService,
    /// `http://127.0.0.1:<port>/channels/crm`
    pub account: String,
    store: ConnectorStore,
    process: Running,
    _dir: TempDir,
}

impl Stage {
    /// Starts everything; `extra` are settings of the account.
    pub async fn new(extra: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let router = Router::start(dir.path(), 1).await;
        let system = CustomSystem::start().await.expect("a simulator");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let settings = Arc::new(settings(&dir, &system, &format!("http://{address}"), extra));
        let opened = open(&settings, Home::Alone, Some(address)).await;
        let media = opened.expect("a store").expect("media is kept");
        let store = ConnectorStore::new(database(dir.path()).await).with_media(Some(media.clone()));
        let process = Process::new("custom", settings, &store, router.bus()).await;
        Self {
            account: format!("http://{address}/channels/crm"),
            system,
            router,
            media,
            store,
            process: process.run(listener),
            _dir: dir,
        }
    }

    /// Puts a text into the delivery lane, as the router does.
    pub async fn reply(&self, text: &str) -> MessageId {
        self.reply_with(Content::text(text)).await
    }

    pub async fn reply_with(&self, content: Content) -> MessageId {
        let delivery = delivery("crm", &Address::from(CONTACT), content);
        self.deliver(delivery.message_id.into(), &delivery).await;
        delivery.message_id
    }

    pub async fn deliver<P: Payload>(&self, id: EventId, delivery: &P) {
        self.router.deliver("crm", id, delivery).await;
    }

    /// Looks until there is something to see.
    pub async fn until<T>(&self, what: &str, see: impl FnMut() -> Option<T>) -> T {
        look(see).await.unwrap_or_else(|| {
            panic!(
                "no {what}; events: {:?}, system: {}",
                self.router.events(),
                self.system.look(ToString::to_string)
            )
        })
    }

    /// The last status of a message, when it is this.
    pub async fn status(&self, id: MessageId, wanted: Status) -> MessageStatus {
        self.until(wanted.as_str(), || {
            self.all(|event| match event {
                Inbound::Status(status) if status.message_id == id => Some(status.clone()),
                _ => None,
            })
            .into_iter()
            .find(|status| status.status == wanted)
        })
        .await
    }

    /// What has come so far, as far as it is wanted.
    pub fn all<T>(&self, wanted: impl Fn(&Inbound) -> Option<T>) -> Vec<T> {
        self.router.all(wanted)
    }

    pub fn messages(&self) -> Vec<MessageReceived> {
        self.all(|event| match event {
            Inbound::Received(message) => Some((**message).clone()),
            _ => None,
        })
    }

    /// Exactly so many messages: what was answered with 2xx is durable, and on its way here.
    pub async fn received(&self, count: usize) -> Vec<MessageReceived> {
        let messages = self
            .until("messages", || {
                let messages = self.messages();
                (messages.len() >= count).then_some(messages)
            })
            .await;
        assert_eq!(messages.len(), count);
        messages
    }

    /// The channel log of a message, when it has so many calls.
    pub async fn calls(&self, id: MessageId, count: usize) -> Vec<LoggedCall> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let organization = OrganizationId::from("acme");
            let calls = calls_of(&self.store, &organization, id).await;
            let calls = calls.expect("the log can be read");
            if calls.len() >= count {
                return calls;
            }
            assert!(Instant::now() < deadline, "calls: {calls:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops all; the invariant at the end of each test: nothing is left anywhere.
    pub async fn ends_settled(self) {
        self.router.is_settled("crm").await;
        self.process.stop().await;
    }
}

fn settings(dir: &TempDir, system: &CustomSystem, public_url: &str, extra: &str) -> Settings {
    let text = format!(
        "[demo]\nenabled = false\n[data]\ndir = '{}'\n[bus]\ninbound_lanes = 1\n\
         [ingress]\npublic_url = '{public_url}'\nrequest_deadline = '5s'\n\
         [lanes]\nclaim_interval = '50ms'\n\
         [media]\nfetch_retry_base = '10ms'\nfetch_retry_cap = '50ms'\n\
         [delivery]\nretry_base = '10ms'\nretry_cap = '50ms'\nsend_deadline = '1s'\n\
         [shutdown]\ndeadline = '5s'\n[organizations.acme]\nname = 'Acme'\n\
         [channels.crm]\nkind = 'custom'\nurl = '{}?key=shibboleth'\nsecret = '{}'\n\
         allow_internal = ['127.0.0.0/8']\n{extra}\n",
        dir.path().display(),
        system.url(),
        system.secret(),
    );
    load_text("test", &text, &[]).expect("right settings")
}

/// An event of the contact.
pub fn event(id: &str, kind: &str, more: &Value) -> Value {
    let mut event = json!({
        "id": id, "type": kind, "from": {"address": CONTACT, "name": "Olena"},
        "at": Utc::now().to_rfc3339(),
    });
    if let (Some(event), Some(more)) = (event.as_object_mut(), more.as_object()) {
        event.extend(more.clone());
    }
    event
}

pub fn text(id: &str, text: &str) -> Value {
    event(
        id,
        "message",
        &json!({"content": {"type": "text", "text": text}}),
    )
}
