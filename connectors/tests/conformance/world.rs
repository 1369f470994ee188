//! A connector process as it runs in a fleet: ingress, lane runner, ledger on SQLite, embedded bus. On the one side a
//! [`Stand`], on the other what the router would have got.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tributary_base::media::{self, Home};
use tributary_bus::{
    Address, Envelope, EventId, MessageId, Payload,
    message::{Content, Inbound, Media, MessageStatus, Status},
};
use tributary_config::{Settings, load_text};
use tributary_connectors::{Account, Accounts, ConnectorStore, MediaShelf, MediaStream, registry};

use crate::{
    stands::Stand,
    support::{Process, Router, Running, database, delivery, look},
    watch,
};

/// How long one provider call may take.
pub const SEND_DEADLINE: Duration = Duration::from_secs(1);
const LANES: u16 = 2;
/// Signs links to media.
pub const MEDIA_KEY: &str = "unmistakable-media-key-0123456789abcdef";

pub struct World<S> {
    pub stand: S,
    pub store: ConnectorStore,
    shelf: MediaShelf,
    router: Router,
    accounts: Arc<Accounts>,
    process: Running,
    dir: TempDir,
}

/// The whole config; `extra` are further settings of the account.
pub fn settings<S: Stand>(stand: &S, public_url: &str, extra: &str) -> Settings {
    let text = format!(
        "[demo]\nenabled = false\n[bus]\ninbound_lanes = {LANES}\n\
         [ingress]\npublic_url = '{public_url}'\nbody_limit = 100000\nrequest_deadline = '5s'\n\
         [lanes]\nclaim_interval = '50ms'\n\
         [delivery]\nretry_base = '10ms'\nretry_cap = '50ms'\nsend_deadline = '1s'\n\
         [media]\nsigning_key = '{MEDIA_KEY}'\n\
         [shutdown]\ndeadline = '5s'\n\
         [organizations.acme]\nname = 'Acme'\n\
         [channels.shop]\nkind = '{}'\n{}{extra}\n",
        S::KIND,
        stand.settings(),
    );
    load_text("test", &text, &[]).expect("right settings")
}

impl<S: Stand> World<S> {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// `extra` are further settings of the account.
    pub async fn with(extra: &str) -> Self {
        watch::count_panics();
        // Somebody else may have installed it.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let stand = S::start().await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut settings = settings(&stand, &format!("http://{address}"), extra);
        settings.data.dir = dir.path().to_owned();
        let settings = Arc::new(settings);
        let media = media::open(&settings, Home::Alone, Some(address)).await;
        let media = media.expect("a media store").expect("it is a folder");
        let shelf = MediaShelf::new(media.clone(), "acme", &settings);
        let router = Router::start(dir.path(), LANES).await;
        let store = ConnectorStore::new(database(dir.path()).await).with_media(Some(media));
        let process = Process::new(S::KIND, settings, &store, router.bus()).await;
        let accounts = Arc::clone(&process.accounts);
        let process = process.run(listener);
        stand.opened(address).await;
        Self {
            stand,
            store,
            shelf,
            router,
            accounts,
            process,
            dir,
        }
    }

    pub fn account(&self) -> &Account {
        self.accounts.get("shop").expect("it is configured")
    }

    /// Puts bytes into the media store, as an upload over the API does.
    pub async fn keep(&self, name: &str, bytes: Bytes) -> Media {
        let stream = MediaStream {
            size: Some(bytes.len() as u64),
            body: stream::iter([Ok(bytes)]).boxed(),
            mime: None,
            name: Some(name.to_owned()),
        };
        self.shelf.put(stream, None).await.expect("it is stored")
    }

    /// Where the databases are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a reply into the delivery lane, as the router does.
    pub async fn send(&self, to: &Address, content: Content) -> MessageId {
        let delivery = delivery("shop", to, content);
        self.deliver(delivery.message_id.into(), &delivery).await;
        delivery.message_id
    }

    /// Puts any delivery into the lane.
    pub async fn deliver<P: Payload>(&self, id: EventId, delivery: &P) {
        self.router.deliver("shop", id, delivery).await;
    }

    /// Everything that has come so far.
    pub fn events(&self) -> Vec<(Envelope, Inbound)> {
        self.router.events()
    }

    /// What has come so far, as far as it is wanted.
    pub fn all<T>(&self, wanted: impl Fn(&Inbound) -> Option<T>) -> Vec<T> {
        self.router.all(wanted)
    }

    /// Looks until there is something to see.
    pub async fn until<T>(&self, what: &str, see: impl FnMut() -> Option<T>) -> T {
        look(see)
            .await
            .unwrap_or_else(|| panic!("{}: no {what}; events: {:?}", S::KIND, self.events()))
    }

    /// What became of a message in the end, as far as the provider's answer tells.
    pub async fn outcome(&self, id: MessageId) -> MessageStatus {
        self.until("outcome", || {
            let statuses = self.all(|event| match event {
                Inbound::Status(status) if status.message_id == id => Some(status.clone()),
                _ => None,
            });
            statuses
                .into_iter()
                .find(|status| !matches!(status.status, Status::Received | Status::Queued))
        })
        .await
    }

    /// The invariant at the end: nothing is left in the lane, nothing is dead, no task has panicked. Then it stops.
    pub async fn ends_well(self) {
        self.is_settled().await;
        self.process.stop().await;
        assert_eq!(watch::panics(), 0, "{}: a task has panicked", S::KIND);
    }

    pub async fn is_settled(&self) {
        self.router.is_settled("shop").await;
    }
}

/// The kinds there are, for the test that none is forgotten.
pub fn kinds() -> Vec<&'static str> {
    registry::kinds().collect()
}
