//! The settings, one struct per table of `default.toml`, which documents each key.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::Deserialize;
use url::Url;

use crate::{Channel, Secret};

/// A complete, checked configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub data: Data,
    pub demo: Demo,
    pub bus: Bus,
    pub store: Store,
    pub ingress: Ingress,
    pub api: Api,
    pub operations: Operations,
    pub lanes: Lanes,
    pub router: Router,
    pub delivery: Delivery,
    pub webhooks: Webhooks,
    pub media: Media,
    pub shutdown: Shutdown,
    pub log: Log,
    /// Tenants by id.
    pub organizations: BTreeMap<String, Organization>,
    /// Enabled channel accounts by id.
    pub channels: BTreeMap<String, Channel>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Data {
    pub dir: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Demo {
    pub enabled: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Bus {
    /// `embedded`, or AMQP URLs of the nodes of one cluster with spaces between; they hold a password, hence a secret.
    #[serde(deserialize_with = "crate::secret::one_or_many")]
    pub url: Secret,
    #[serde(with = "crate::duration")]
    pub heartbeat: Duration,
    #[serde(with = "crate::duration")]
    pub publish_deadline: Duration,
    #[serde(with = "crate::duration")]
    pub connect_deadline: Duration,
    pub publish_window: usize,
    pub inbound_lanes: u16,
}

impl Bus {
    /// Whether the bus is the SQLite file of this process.
    pub fn is_embedded(&self) -> bool {
        self.url.expose() == "embedded"
    }

    /// The AMQP URLs of the broker's nodes.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.url.expose().split_whitespace()
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Store {
    /// `embedded` or a PostgreSQL URL.
    pub url: Secret,
    /// Empty: the same server as `url`.
    pub connectors_url: Secret,
    pub max_connections: u32,
    #[serde(with = "crate::duration")]
    pub statement_deadline: Duration,
}

impl Store {
    /// Whether the store is a SQLite file.
    pub fn is_embedded(&self) -> bool {
        self.url.expose() == "embedded"
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Ingress {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "optional_url")]
    pub public_url: Option<Url>,
    /// Bytes.
    pub body_limit: usize,
    #[serde(with = "crate::duration")]
    pub request_deadline: Duration,
    /// Of one process.
    pub max_connections: usize,
    /// Of one internet address to one process (IPv6: of one /64 network).
    pub max_connections_per_address: usize,
    pub trusted_proxies: Vec<IpNet>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Api {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "optional_url")]
    pub public_url: Option<Url>,
    /// Bytes.
    pub body_limit: usize,
    #[serde(with = "crate::duration")]
    pub request_deadline: Duration,
    /// Requests of one key per second.
    pub rate_limit: NonZeroU32,
    /// Requests of one key at once.
    pub rate_burst: NonZeroU32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Operations {
    pub listen: SocketAddr,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Lanes {
    #[serde(with = "crate::duration")]
    pub claim_interval: Duration,
    pub prefetch: u16,
    pub concurrency: usize,
    #[serde(with = "crate::duration")]
    pub hold_limit: Duration,
    pub crash_limit: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Router {
    pub batch_size: usize,
    #[serde(with = "crate::duration")]
    pub reopen_window: Duration,
    #[serde(with = "crate::duration")]
    pub raw_retention: Duration,
    #[serde(with = "crate::duration")]
    pub event_retention: Duration,
    pub relay_batch: usize,
    #[serde(with = "crate::duration")]
    pub release_absent_after: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Delivery {
    #[serde(with = "crate::duration")]
    pub retry_base: Duration,
    #[serde(with = "crate::duration")]
    pub retry_cap: Duration,
    #[serde(with = "crate::duration")]
    pub max_age: Duration,
    pub max_attempts: u32,
    #[serde(with = "crate::duration")]
    pub send_deadline: Duration,
    #[serde(with = "crate::duration")]
    pub call_log_retention: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Webhooks {
    #[serde(with = "crate::duration")]
    pub deadline: Duration,
    #[serde(with = "crate::duration")]
    pub retry_base: Duration,
    #[serde(with = "crate::duration")]
    pub retry_cap: Duration,
    #[serde(with = "crate::duration")]
    pub max_age: Duration,
    pub allow_internal: Vec<IpNet>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Media {
    /// Empty, `off`, or a URL: `file:///srv/media`, `s3://bucket/folder`.
    pub url: String,
    /// Empty: made by itself in `data.dir`.
    pub signing_key: Secret,
    #[serde(deserialize_with = "optional_url")]
    pub public_url: Option<Url>,
    #[serde(with = "crate::duration")]
    pub link_lifetime: Duration,
    #[serde(with = "crate::duration")]
    pub webhook_link_lifetime: Duration,
    /// Bytes.
    pub size_limit: u64,
    #[serde(with = "crate::duration")]
    pub fetch_deadline: Duration,
    /// Of one account.
    pub fetch_concurrency: usize,
    pub fetch_attempts: u32,
    #[serde(with = "crate::duration")]
    pub fetch_max_age: Duration,
    #[serde(with = "crate::duration")]
    pub fetch_retry_base: Duration,
    #[serde(with = "crate::duration")]
    pub fetch_retry_cap: Duration,
    pub allow_internal: Vec<IpNet>,
    /// Zero: for ever.
    #[serde(with = "crate::duration")]
    pub retention: Duration,
}

impl Media {
    /// The fewest characters of a signing key.
    pub const KEY_LENGTH: usize = 32;

    /// Whether the bytes are kept at a cloud provider.
    pub fn is_cloud(&self) -> bool {
        !matches!(self.url.as_str(), "" | "off") && !self.url.starts_with("file:")
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Shutdown {
    #[serde(with = "crate::duration")]
    pub deadline: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Organization {
    pub name: String,
}

/// An empty string is no URL.
fn optional_url<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(input)?;
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(&text).map_err(|reason| {
        serde::de::Error::custom(format!(
            "not a URL: {reason}; write for example \"https://chat.example.org\""
        ))
    })?;
    match url.scheme() {
        "http" | "https" => Ok(Some(url)),
        other => Err(serde::de::Error::custom(format!(
            "scheme {other} is not http or https"
        ))),
    }
}
