//! The channel for systems that we do not know: signed JSON of our own, posted both ways. All content is carried as it
//! is; docs/channels/custom.md is its contract.

mod classify;
mod client;
mod config;
mod inbound;
mod outbound;
#[cfg(test)]
mod tests;
mod verify;
mod webhook;
mod wire;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tributary_bus::{
    ChannelId,
    message::{Inbound, Media, Raw},
};
use tributary_config::Problem;

use crate::{
    Action, Capabilities, Connector, Context, Factory, FetchError, MediaSource, MediaStream, Part,
    Receipt, ReceiveError, Received, Replay, SendContext, SendError, Webhook, media::LinkReader,
};
use client::Client;
use config::{Config, Rules};
use inbound::Reader;
use verify::Keys;

/// One system.
pub(crate) struct Custom {
    capabilities: Capabilities,
    channel: ChannelId,
    client: Client,
    reader: Reader,
    links: LinkReader,
    keys: Keys,
    secrets: Vec<String>,
}

impl Factory for Custom {
    const KIND: &'static str = "custom";
    type Config = Config;

    fn build(config: Config, context: &Context) -> Result<Arc<dyn Connector>, Vec<Problem>> {
        let path = format!("channels.{}", context.channel.id);
        let media = &context.settings.media;
        let rules = config.check(&path, media.size_limit)?;
        // The process installs its provider at its start; without one the clients would panic.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            rustls::crypto::ring::default_provider()
                .install_default()
                .ok();
        }
        let secrets = secrets(&config, &rules);
        let links = LinkReader::new(
            &config.allow_internal,
            media.fetch_deadline,
            rules.media_limit,
        );
        let links = links.map_err(|error| vec![Problem::new(&path, error.to_string())])?;
        let client = Client::new(&rules.guard, rules.url, rules.keys.clone());
        let channel = ChannelId(context.channel.id.clone());
        Ok(Arc::new(Self {
            capabilities: rules.capabilities,
            client: client.map_err(|reason| vec![Problem::new(&path, reason)])?,
            reader: Reader {
                channel: channel.clone(),
                guard: rules.guard,
            },
            channel,
            links,
            keys: rules.keys,
            secrets,
        }))
    }
}

/// The keys, with and without their prefix, and what the address may have of them.
fn secrets(config: &Config, rules: &Rules) -> Vec<String> {
    let keys = [&config.secret, &config.previous_secret].map(|secret| secret.expose());
    let bare = keys.map(|key| key.strip_prefix("whsec_").unwrap_or(key));
    keys.into_iter()
        .chain(bare)
        .chain(rules.url.query())
        .filter(|secret| !secret.is_empty())
        .map(str::to_owned)
        .collect()
}

#[async_trait]
impl Connector for Custom {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, part: &Part, context: &SendContext) -> Result<Receipt, SendError> {
        outbound::send(&self.client, &self.channel, part, context).await
    }

    async fn act(&self, action: &Action, context: &SendContext) -> Result<(), SendError> {
        outbound::act(&self.client, &self.channel, action, context).await
    }

    fn secrets(&self) -> Vec<String> {
        self.secrets.clone()
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(self)
    }

    fn replay(&self) -> Option<&dyn Replay> {
        Some(self)
    }

    fn webhook(&self) -> Option<&dyn Webhook> {
        Some(self)
    }
}

#[async_trait]
impl Webhook for Custom {
    async fn receive(
        &self,
        request: http::Request<Bytes>,
        _peer: IpAddr,
    ) -> Result<Received, ReceiveError> {
        webhook::receive(&self.reader, &self.keys, &request)
    }
}

#[async_trait]
impl MediaSource for Custom {
    async fn open(&self, source: &str) -> Result<MediaStream, FetchError> {
        self.links.open(source, &Media::default()).await
    }
}

#[async_trait]
impl Replay for Custom {
    fn read(&self, raw: &Raw) -> Result<Vec<Inbound>, ReceiveError> {
        let event = self.reader.to_event(&raw.body);
        Ok(vec![event.map_err(ReceiveError::Malformed)?])
    }
}
