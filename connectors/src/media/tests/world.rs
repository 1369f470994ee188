//! A channel whose provider is the file server, and what fetches from it.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use serde_json::Map;
use tempfile::TempDir;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tributary_base::{
    database::Database,
    media::{Home, MediaService, open},
    on,
};
use tributary_bus::{
    Address, Bus, ChannelId, EmbeddedBus, EventId, MessageId,
    message::{
        Content, Inbound, Media, MediaContent, MediaState, MessageContext, MessageMedia,
        MessageReceived, Origin, Profile, SentBy,
    },
};
use tributary_config::{Settings, load_text};

use super::{
    super::{FetchError, FetchPolicy, FetchQueue, Fetcher, MediaShelf, MediaSource, MediaStream},
    provider::FileServer,
};
use crate::{
    Capabilities, Connector, InboundSink, Part, Receipt, SendContext, SendError, TextLimit,
    testing::{Inbox, Kind, PATIENCE, database},
};

const SECRET: &str = "123:AAsecret";

/// A channel whose provider is the file server.
struct Files {
    server: FileServer,
    client: reqwest::Client,
    capabilities: Capabilities,
}

#[async_trait]
impl Connector for Files {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, _: &Part, _: &SendContext) -> Result<Receipt, SendError> {
        Err(SendError::Misconfigured {
            reason: "it only reads".to_owned(),
        })
    }

    fn secrets(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(self)
    }
}

#[async_trait]
impl MediaSource for Files {
    async fn open(&self, source: &str) -> Result<MediaStream, FetchError> {
        let unavailable = |reason: String| FetchError::Unavailable {
            retry_after: None,
            reason,
        };
        let request = self.client.get(format!("{}/{source}", self.server.base));
        let response = request
            .send()
            .await
            .map_err(|_| unavailable("no answer".to_owned()))?;
        match response.status().as_u16() {
            404 => {
                let reason = format!("file of {SECRET} is too old");
                return Err(FetchError::Gone { reason });
            }
            503 => return Err(unavailable("the provider is busy".to_owned())),
            _ => {}
        }
        Ok(MediaStream {
            mime: Some("application/x-whatever".to_owned()),
            size: match source {
                "short" => Some(5000),
                _ => response.content_length(),
            },
            name: Some("from-provider.gif".to_owned()),
            body: response.bytes_stream().map_err(io::Error::other).boxed(),
        })
    }
}

pub(super) struct World {
    pub(super) server: FileServer,
    pub(super) sink: InboundSink,
    pub(super) fetcher: Fetcher,
    pub(super) database: Database,
    pub(super) service: MediaService,
    pub(super) settings: Arc<Settings>,
    pub(super) bus: Arc<EmbeddedBus>,
    pub(super) inbox: Inbox,
    _dir: TempDir,
}

impl World {
    pub(super) async fn new(kind: Kind) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = tempfile::tempdir().expect("a temporary folder");
        let settings = Arc::new(settings(&dir));
        let bus = EmbeddedBus::open(&dir.path().join("bus.db"))
            .await
            .expect("a bus");
        let inbox = Inbox::open(&bus).await;
        let database = database(kind, &dir).await;
        let opened = open(&settings, Home::Alone, None).await.expect("a store");
        let service = opened.expect("media is kept");
        let channel = &settings.channels["shop"];
        let queue = FetchQueue::new(database.clone(), channel);
        let anybody: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let sink = InboundSink::new(anybody, channel, &settings).with_fetches(Some(queue.clone()));
        let server = FileServer::start().await;
        let connector = Files {
            server: server.clone(),
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            capabilities: Capabilities::text_only(TextLimit::Characters(20)),
        };
        let fetcher = Fetcher {
            connector: Arc::new(connector),
            sink: sink.clone(),
            queue,
            shelf: Some(MediaShelf::new(service.clone(), "acme", &settings)),
            policy: FetchPolicy::new(&settings),
            turn: Arc::new(Semaphore::new(1)),
        };
        Self {
            server,
            sink,
            fetcher,
            database,
            service,
            settings,
            bus,
            inbox,
            _dir: dir,
        }
    }

    /// A worker as it is after a restart.
    pub(super) fn restarted(&self) -> Fetcher {
        Fetcher {
            turn: Arc::new(Semaphore::new(1)),
            ..self.fetcher.clone()
        }
    }

    pub(super) async fn event(&mut self) -> (EventId, Inbound) {
        let (envelope, event) = self.inbox.event().await;
        (envelope.id, event)
    }

    pub(super) async fn media(&mut self) -> (EventId, MessageMedia) {
        match self.event().await {
            (id, Inbound::Media(event)) => (id, *event),
            (_, other) => panic!("not media: {other:?}"),
        }
    }

    pub(super) async fn rows(&self) -> i64 {
        on!(read &self.database, db => sqlx::query_scalar("SELECT count(*) FROM media_fetches")
            .fetch_one(db).await)
        .expect("counted")
    }

    pub(super) async fn until_empty(&self) {
        let empty = async {
            while self.rows().await > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, empty)
            .await
            .expect("the list is worked off");
    }
}

fn settings(dir: &TempDir) -> Settings {
    let text = format!(
        "[demo]\nenabled = false\n[data]\ndir = '{}'\n[bus]\ninbound_lanes = 1\n\
         [media]\nsize_limit = 1048576\nfetch_deadline = '1s'\nfetch_attempts = 3\n\
         fetch_retry_base = '5ms'\nfetch_retry_cap = '20ms'\nfetch_concurrency = 8\nallow_internal = ['127.0.0.2/32']\n\
         [ingress]\npublic_url = 'https://chat.example.org'\n\
         [organizations.acme]\nname = 'Acme'\n[channels.shop]\nkind = 'widget'\n",
        dir.path().display()
    );
    load_text("test", &text, &[]).expect("right settings")
}

pub(super) fn message(source: &str) -> Inbound {
    let channel_id = ChannelId::from("shop");
    Inbound::Received(Box::new(MessageReceived {
        origin: Origin {
            channel_id: channel_id.clone(),
            address: Address::from("7"),
            occurred_at: DateTime::<Utc>::from_timestamp(1, 0).expect("a time"),
            event: None,
            raw: None,
        },
        message_id: MessageId::derived(&channel_id, source),
        provider_id: source.to_owned(),
        contact: Profile::default(),
        content: Content::Image(MediaContent {
            media: pending(source),
            ..MediaContent::default()
        }),
        reply_to: None,
        sent_by: SentBy::Contact,
        context: MessageContext::default(),
        replayed: false,
        extra: Map::new(),
    }))
}

pub(super) fn pending(source: &str) -> Media {
    Media {
        state: MediaState::Pending,
        source: Some(source.to_owned()),
        duration_ms: Some(7),
        ..Media::default()
    }
}
