//! The API of two organizations, on a store and a bus of its own.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use chrono::Utc;
use reqwest::{Client, Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tributary_base::{
    database::Database,
    media::{self, Home},
    on,
};
use tributary_bus::{Bus, ContactId, ConversationId, EmbeddedBus, MessageId, OrganizationId};
use tributary_config::Settings;
use tributary_router::{
    MediaLinks,
    api::{ApiState, Extras, MessageLog, ProviderCall, Rate, serve_api},
    store::Store,
};
use uuid::Uuid;

use crate::channels::ShortChannels;

/// How long a test waits for what should take milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const ACME: &str = "acme";
pub const OTHER: &str = "other";
/// A channel of [`ACME`] that is no longer configured.
pub const REMOVED: &str = "acme-gone";

/// Which database carries the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

pub struct World {
    pub base: String,
    pub http: Client,
    pub store: Store,
    /// Connections of the test's own to the store's tables.
    pub database: Database,
    pub bus: Arc<EmbeddedBus>,
    /// What the connectors know of provider calls.
    pub log: Arc<Log>,
    pub settings: Settings,
    pub stop: CancellationToken,
    pub server: JoinHandle<()>,
    /// API keys of [`ACME`] and [`OTHER`].
    pub acme: String,
    pub other: String,
    _dir: TempDir,
}

/// A channel log in memory: the connectors' own is not known here.
#[derive(Default)]
pub struct Log {
    pub calls: Mutex<Vec<(OrganizationId, MessageId, ProviderCall)>>,
    pub away: AtomicBool,
}

#[async_trait]
impl MessageLog for Log {
    async fn calls(
        &self,
        organization: &OrganizationId,
        message: MessageId,
    ) -> Result<Vec<ProviderCall>, String> {
        if self.away.load(Ordering::SeqCst) {
            return Err("connection refused".to_owned());
        }
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let own = calls
            .iter()
            .filter(|(of, about, _)| of == organization && *about == message);
        Ok(own.map(|(_, _, call)| call.clone()).collect())
    }
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl World {
    pub async fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, "", Rate::default()).await
    }

    /// With links to media in the answers.
    pub async fn start_linked(kind: Kind, links: Arc<dyn MediaLinks>) -> Result<Self> {
        let linked = |state: ApiState| state.with_media_links(links);
        Self::begin(kind, "", Rate::default(), linked).await
    }

    /// `config`: settings that differ from the defaults, as TOML.
    pub async fn start_with(kind: Kind, config: &str, rate: Rate) -> Result<Self> {
        Self::begin(kind, config, rate, |state| state).await
    }

    async fn begin(
        kind: Kind,
        config: &str,
        rate: Rate,
        equip: impl FnOnce(ApiState) -> ApiState,
    ) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut settings = tributary_config::load_text("test", config, &[])?;
        dir.path().clone_into(&mut settings.data.dir);
        let (store_database, database) = databases(kind, &dir).await?;
        let store = Store::new(store_database, Duration::from_secs(20));
        store.migrate().await?;
        let bus = EmbeddedBus::open(&dir.path().join("bus.db")).await?;
        for organization in [ACME, OTHER] {
            seed_organization(&database, organization).await?;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let shared: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let address = Some(listener.local_addr()?);
        let log = Arc::new(Log::default());
        let extras = Extras {
            media: media::open(&Arc::new(settings.clone()), Home::Alone, address).await?,
            message_log: Some(Arc::clone(&log) as Arc<dyn MessageLog>),
            preview: Some(Arc::new(ShortChannels)),
        };
        let state = equip(ApiState::new(
            store.clone(),
            shared,
            &settings,
            rate,
            extras,
        ));
        let server = tokio::spawn(serve_api(listener, state, stop.clone()));
        Ok(Self {
            acme: key_of(&store, ACME).await?,
            other: key_of(&store, OTHER).await?,
            base,
            http: client()?,
            store,
            database,
            bus,
            log,
            settings,
            stop,
            server,
            _dir: dir,
        })
    }

    /// A request without a key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .timeout(PATIENCE)
    }

    /// `GET` with the key of [`ACME`].
    pub async fn get(&self, path: &str) -> Result<Answer> {
        send(self.request(Method::GET, path).bearer_auth(&self.acme)).await
    }

    /// A request with a body and the key of [`ACME`].
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        send(
            self.request(method, path)
                .bearer_auth(&self.acme)
                .json(body),
        )
        .await
    }

    /// `POST` without a body, with the key of [`ACME`].
    pub async fn post(&self, path: &str) -> Result<Answer> {
        send(self.request(Method::POST, path).bearer_auth(&self.acme)).await
    }

    /// Somebody who wrote to the channel of an organization, and the conversation with them.
    pub async fn conversation(&self, organization: &str) -> Result<(ContactId, ConversationId)> {
        let (contact, conversation) = (ContactId::generate(), ConversationId::generate());
        let channel = channel_of(organization);
        on!(write &self.database, db => sqlx::query(
            "INSERT INTO contacts (id, organization, channel_id, address, name, blocked, created_at)
             VALUES ($1, $2, $3, $4, 'Visitor', $5, $6)",
        )
        .bind(contact)
        .bind(organization)
        .bind(&channel)
        .bind(contact.to_string())
        .bind(false)
        .bind(Utc::now())
        .execute(db)
        .await
        .map(drop))?;
        on!(write &self.database, db => sqlx::query(
            "INSERT INTO conversations (id, organization, channel_id, contact_id, shard, state, seq, waiting_since,
             queued, created_at, updated_at) VALUES ($1, $2, $3, $4, 3, 'waiting', 0, $5, $6, $5, $5)",
        )
        .bind(conversation)
        .bind(organization)
        .bind(&channel)
        .bind(contact)
        .bind(Utc::now())
        .bind(true)
        .execute(db)
        .await
        .map(drop))?;
        Ok((contact, conversation))
    }

    /// A message of the contact.
    pub async fn inbound(
        &self,
        organization: &str,
        contact: ContactId,
        conversation: ConversationId,
        text: &str,
    ) -> Result<MessageId> {
        let id = MessageId::generate();
        let seq: i64 = on!(write &self.database, db => sqlx::query_scalar(
            "UPDATE conversations SET seq = seq + 1 WHERE id = $1 RETURNING seq",
        )
        .bind(conversation)
        .fetch_one(db)
        .await)?;
        on!(write &self.database, db => sqlx::query(
            "INSERT INTO messages (id, organization, conversation_id, channel_id, contact_id, seq, direction, author,
             content, status, uncertain, provider_id, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, 'inbound', $7, $8, 'received', $9, '17', $10)",
        )
        .bind(id)
        .bind(organization)
        .bind(conversation)
        .bind(channel_of(organization))
        .bind(contact)
        .bind(seq)
        .bind(serde_json::json!({ "kind": "contact", "id": contact }).to_string())
        .bind(serde_json::json!({ "type": "text", "text": text }).to_string())
        .bind(false)
        .bind(Utc::now())
        .execute(db)
        .await
        .map(drop))?;
        Ok(id)
    }

    /// An event that was published.
    pub async fn event(&self, organization: &str, kind: &str) -> Result<Uuid> {
        let data = serde_json::json!({ "big": 12_345_678_901_234_567_890_u64 });
        self.published(organization, kind, data).await
    }

    /// A `message.created` with this data that was published.
    pub async fn event_with(&self, organization: &str, data: Value) -> Result<Uuid> {
        self.published(organization, "message.created.v1", data)
            .await
    }

    async fn published(&self, organization: &str, kind: &str, data: Value) -> Result<Uuid> {
        let id = Uuid::now_v7();
        let envelope = serde_json::json!({
            "specversion": "1.0", "id": id, "source": "/router", "type": kind, "subject": id,
            "time": Utc::now(), "datacontenttype": "application/json", "dataschema": format!("{kind}.json"),
            "orgid": organization, "sequence": "1", "data": data
        });
        on!(write &self.database, db => sqlx::query(
            "INSERT INTO events (id, organization, envelope, published_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(organization)
        .bind(envelope.to_string())
        .bind(Utc::now())
        .execute(db)
        .await
        .map(drop))?;
        Ok(id)
    }

    /// Changes the store behind the program's back; returns how many rows.
    pub async fn execute(&self, statement: &'static str) -> Result<u64> {
        Ok(on!(write &self.database, db => {
            sqlx::query(statement).execute(db).await.map(|done| done.rows_affected())
        })?)
    }

    /// The events that wait in the outbox.
    pub async fn outbox_events(&self) -> Result<Vec<Value>> {
        let rows: Vec<String> = on!(read &self.database, db => {
            sqlx::query_scalar("SELECT envelope FROM outbox WHERE lane IS NULL ORDER BY id")
                .fetch_all(db)
                .await
        })?;
        Ok(rows
            .iter()
            .map(|row| serde_json::from_str(row))
            .collect::<Result<_, _>>()?)
    }

    /// Rows of a table.
    pub async fn count(&self, table: &'static str) -> Result<i64> {
        let statement = format!("SELECT COUNT(*) FROM {table}");
        Ok(
            on!(read &self.database, db => sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(db).await)?,
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Answer {
    /// Checks the status.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(
            self.status.as_u16() == status,
            "expected {status}, got {}: {}",
            self.status,
            self.text
        );
        Ok(self)
    }

    /// Checks that this is a problem in the shape that every problem has.
    pub fn problem(&self, status: u16, code: &str) -> Result<()> {
        let body = &self.body;
        ensure!(
            self.status.as_u16() == status && body["code"] == code && body["status"] == status,
            "expected {status} {code}, got {}: {}",
            self.status,
            self.text
        );
        ensure!(self.headers["content-type"] == "application/problem+json");
        ensure!(body["type"] == format!("urn:tributary:problem:{code}"));
        ensure!(
            body["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        ensure!(
            body["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        ensure!(self.headers.contains_key("x-request-id"));
        Ok(())
    }

    /// A member of the body that is text.
    pub fn text(&self, member: &str) -> Result<&str> {
        self.body[member]
            .as_str()
            .with_context(|| format!("{member} is no text in {}", self.text))
    }

    /// The ids of a page's items.
    pub fn ids(&self) -> Vec<&str> {
        let items = self.body["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item["id"].as_str())
            .collect()
    }
}

pub async fn send(request: RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    Ok(Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or_default(),
        text,
    })
}

/// Asks again and again until the answer is yes.
pub async fn eventually<F: Future<Output = Result<bool>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !ask().await? {
        if tokio::time::Instant::now() > deadline {
            bail!("it did not come to this: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The channel of an organization.
pub fn channel_of(organization: &str) -> String {
    format!("{organization}-bot")
}

/// Two pools to one database: of the store, and of the test.
async fn databases(kind: Kind, dir: &TempDir) -> Result<(Database, Database)> {
    if kind == Kind::Sqlite {
        let path = dir.path().join("store.db");
        return Ok((
            Database::sqlite(&path).await?,
            Database::sqlite(&path).await?,
        ));
    }
    let server = std::env::var("TEST_POSTGRES_URL")
        .context("TEST_POSTGRES_URL is not set; run tests/run")?;
    let name = format!("service_{}", Uuid::new_v4().simple());
    let deadline = Duration::from_secs(10);
    let main = Database::postgres(&server, 1, deadline).await?;
    on!(write &main, db => sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(db).await.map(drop))?;
    main.close().await;
    let mut url = url::Url::parse(&server)?;
    url.set_path(&name);
    Ok((
        Database::postgres(url.as_str(), 5, deadline).await?,
        Database::postgres(url.as_str(), 2, deadline).await?,
    ))
}

async fn seed_organization(database: &Database, organization: &str) -> Result<()> {
    on!(write database, db => sqlx::query("INSERT INTO organizations (id, name, created_at) VALUES ($1, $1, $2)")
        .bind(organization)
        .bind(Utc::now())
        .execute(db)
        .await
        .map(drop))?;
    on!(write database, db => sqlx::query(
        "INSERT INTO channels (id, organization, kind, name, created_at) VALUES ($1, $2, 'telegram', 'Bot', $3)",
    )
    .bind(channel_of(organization))
    .bind(organization)
    .bind(Utc::now())
    .execute(db)
    .await
    .map(drop))?;
    on!(write database, db => sqlx::query("INSERT INTO teams (organization) VALUES ($1)")
        .bind(organization)
        .execute(db)
        .await
        .map(drop))?;
    Ok(())
}

async fn key_of(store: &Store, organization: &str) -> Result<String> {
    let (_, key) = store
        .create_api_key(&OrganizationId::from(organization), "test")
        .await?;
    Ok(key.expose().to_owned())
}

/// A client that follows no redirect. TLS is never used here, and still needs a provider.
pub fn client() -> Result<Client> {
    // An error means that another test of this process was first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let no_redirect = reqwest::redirect::Policy::none();
    Ok(Client::builder().redirect(no_redirect).build()?)
}
