//! One bot's connector without lanes around it, on a real database, with media that are kept in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tempfile::TempDir;
use tributary_bus::{
    Address, MessageId,
    message::{Content, Inbound, Media, MediaContent, Raw, Text},
};
use tributary_config::load_text;
use tributary_connectors::{
    Action, Call, CallLog, CallSink, Connector, Context, FetchError, MediaAccess, MediaStream,
    Part, Receipt, SendContext, SendError, registry,
};
use tributary_simulators::telegram::{Options, TelegramSimulator};
use url::Url;

use crate::support::{database, lock};

pub struct Direct {
    pub telegram: TelegramSimulator,
    pub connector: Arc<dyn Connector>,
    pub shelf: Arc<Shelf>,
    pub calls: Arc<Calls>,
    _dir: TempDir,
}

/// Media by their URLs, and the handles that the provider gave.
#[derive(Default)]
pub struct Shelf {
    bytes: Mutex<HashMap<String, Bytes>>,
    handles: Mutex<HashMap<(String, String), String>>,
    /// What is not here can be fetched from its URL by the provider.
    pub links: Mutex<bool>,
    /// Where media stops to come.
    pub hangs: Mutex<Option<Hang>>,
}

/// How a host of media hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hang {
    /// It does not answer.
    Opening,
    /// It sends some bytes, and then none.
    Reading,
}

/// The channel log.
#[derive(Default)]
pub struct Calls(pub Mutex<Vec<Call>>);

impl CallSink for Calls {
    fn note(&self, call: Call) {
        lock(&self.0).push(call);
    }
}

impl Shelf {
    /// Keeps bytes; the media that names them.
    pub fn keep(&self, name: &str, mime: &str, bytes: impl Into<Bytes>) -> Media {
        let url = format!("https://media.example/{name}");
        lock(&self.bytes).insert(url.clone(), bytes.into());
        Media {
            url: Some(url),
            mime: Some(mime.to_owned()),
            name: Some(name.to_owned()),
            ..Media::default()
        }
    }

    /// Spoils every handle, as if another bot had made them.
    pub fn spoil(&self) {
        for handle in lock(&self.handles).values_mut() {
            "AgACsomebody-elses".clone_into(handle);
        }
    }

    pub fn handles(&self) -> Vec<String> {
        lock(&self.handles).values().cloned().collect()
    }
}

fn url(media: &Media) -> String {
    media.url.clone().unwrap_or_default()
}

#[async_trait]
impl MediaAccess for Shelf {
    async fn open(&self, media: &Media) -> Result<MediaStream, FetchError> {
        let hangs = *lock(&self.hangs);
        if hangs == Some(Hang::Opening) {
            std::future::pending::<()>().await;
        }
        let bytes = lock(&self.bytes).get(&url(media)).cloned();
        let bytes = bytes.ok_or_else(|| FetchError::Gone {
            reason: "not on the shelf".to_owned(),
        })?;
        let size = bytes.len() as u64;
        // In pieces, as from a store.
        let pieces: Vec<_> = bytes
            .chunks(16 * 1024)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let body = match hangs {
            Some(_) => stream::iter(pieces)
                .take(1)
                .chain(stream::pending())
                .boxed(),
            None => stream::iter(pieces).boxed(),
        };
        Ok(MediaStream {
            body,
            mime: media.mime.clone(),
            size: Some(size),
            name: media.name.clone(),
        })
    }

    fn link(&self, media: &Media) -> Option<Url> {
        let linked = *lock(&self.links);
        linked.then(|| Url::parse(&url(media)).ok())?
    }

    async fn handle(&self, media: &Media, kind: &str) -> Option<String> {
        let key = (url(media), kind.to_owned());
        lock(&self.handles).get(&key).cloned()
    }

    async fn remember(&self, media: &Media, kind: &str, handle: &str) {
        let key = (url(media), kind.to_owned());
        lock(&self.handles).insert(key, handle.to_owned());
    }
}

impl Direct {
    pub async fn new(options: Options, extra: &str) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let telegram = TelegramSimulator::start(options)
            .await
            .expect("a simulator");
        let text = format!(
            "[demo]\nenabled = false\n[organizations.acme]\nname = 'Acme'\n\
             [channels.shop]\nkind = 'telegram'\ntoken = '{}'\napi_url = '{}'\n{extra}\n",
            telegram.token(),
            telegram.base_url(),
        );
        let settings = Arc::new(load_text("test", &text, &[]).expect("right settings"));
        let dir = tempfile::tempdir().expect("a temporary folder");
        let context = Context {
            channel: settings.channels["shop"].clone(),
            settings,
            database: Some(database(dir.path()).await),
            bus: None,
            public_url: None,
            media: None,
        };
        let built = registry::build(&context).expect("right settings");
        Self {
            telegram,
            connector: built.connector,
            shelf: Arc::default(),
            calls: Arc::default(),
            _dir: dir,
        }
    }

    pub async fn plain() -> Self {
        Self::new(Options::quick(), "").await
    }

    fn context(&self, to: &str, reply_to: Option<&str>) -> SendContext {
        SendContext {
            message_id: MessageId::generate(),
            parts: 1,
            to: Address::from(to),
            seq: 1,
            reply_to: reply_to.map(str::to_owned),
            idempotency_key: "key".to_owned(),
            deadline: match *lock(&self.shelf.hangs) {
                Some(_) => Duration::from_secs(1),
                None => Duration::from_secs(10),
            },
            media: Arc::clone(&self.shelf) as Arc<dyn MediaAccess>,
            log: CallLog::new(Arc::clone(&self.calls) as Arc<dyn CallSink>),
        }
    }

    pub async fn send(&self, to: &str, content: Content) -> Result<Receipt, SendError> {
        let part = Part { index: 0, content };
        self.connector.send(&part, &self.context(to, None)).await
    }

    /// Sends what must arrive; its id.
    pub async fn sent(&self, to: &str, content: Content) -> String {
        self.send(to, content).await.expect("sent").provider_id
    }

    pub async fn act(&self, to: &str, action: Action) -> Result<(), SendError> {
        self.connector.act(&action, &self.context(to, None)).await
    }

    pub async fn edit(&self, to: &str, id: &str, content: Content) -> Result<(), SendError> {
        let part = Part { index: 0, content };
        let parts = vec![(id.to_owned(), part)];
        self.act(to, Action::Edit { parts }).await
    }

    pub async fn delete(&self, to: &str, ids: &[String]) -> Result<(), SendError> {
        let provider_ids = ids.to_vec();
        self.act(to, Action::Delete { provider_ids }).await
    }

    /// What a stored payload says.
    pub fn read(&self, body: &str) -> Vec<Inbound> {
        let raw = Raw {
            media_type: "application/json".to_owned(),
            body: body.to_owned(),
        };
        let replay = self.connector.replay().expect("it can");
        replay.read(&raw).expect("a payload")
    }

    /// The bytes of inbound media, or why there are none.
    pub async fn fetch(&self, media: &Media) -> Result<Bytes, String> {
        let source = media.source.as_deref().expect("a source");
        let source_of = self.connector.media().expect("it has media");
        let opened = source_of.open(source).await;
        let mut stream = opened.map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| error.to_string())?);
        }
        Ok(bytes.into())
    }

    /// Neither the channel log nor these texts may hold the token.
    pub fn keeps_the_token(&self, texts: &[String]) {
        let token = self.telegram.token();
        let (_, half) = token.split_once(':').expect("a token");
        for call in lock(&self.calls.0).iter() {
            for text in [
                Some(&call.what),
                call.request.as_ref(),
                call.reply.as_ref(),
                call.error.as_ref(),
            ] {
                assert!(!text.is_some_and(|text| text.contains(half)), "{call:?}");
            }
        }
        for text in texts {
            assert!(!text.contains(half), "{text}");
        }
    }
}

/// Media with a caption.
pub fn captioned(media: Media, caption: &str) -> MediaContent {
    MediaContent {
        media,
        caption: Some(Text::plain(caption)),
        ..MediaContent::default()
    }
}
