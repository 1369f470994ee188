//! Telegram bots: text both ways, long polling or webhook, `/start` links, blocks. Everything else that a person can
//! send arrives as `unsupported` with its name.

mod classify;
mod client;
mod config;
mod entities;
mod inbound;
mod kinds;
mod outbound;
mod session;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tributary_bus::{Address, ChannelId};
use tributary_config::{Problem, Secret};

use crate::{
    Bucket, Buckets, Capabilities, Connector, Context, Factory, InboundSink, Markup, Pace, Part,
    Receipt, ReceiveError, Received, SendContext, SendError, Session, TextLimit, Webhook,
};
use client::Client;
use config::Config;

/// Longest text of one message. Counted after parsing of markup; UTF-16 units are the strictest reading.
const TEXT_LIMIT: usize = 4096;

/// One bot.
pub(crate) struct Telegram {
    capabilities: Capabilities,
    client: Arc<Client>,
    memory: outbound::Memory,
    way: session::Way,
    secret: Secret,
    account: Bucket,
    chats: Buckets,
    groups: Buckets,
}

impl Factory for Telegram {
    const KIND: &'static str = "telegram";
    type Config = Config;

    fn build(config: Config, context: &Context) -> Result<Arc<dyn Connector>, Vec<Problem>> {
        let path = format!("channels.{}", context.channel.id);
        let rates = config.check(&path)?;
        let client = Client::new(&config.api_url, config.token.clone())
            .map_err(|reason| vec![Problem::new(path, reason)])?;
        let client = Arc::new(client);
        let secret = config.secret_of(&context.channel.id);
        let webhook = context
            .public_url
            .as_ref()
            .map(|url| session::WantedWebhook {
                url: webhook::address(url, &secret),
                secret: secret.clone(),
                connections: config.webhook_connections,
            });
        Ok(Arc::new(Self {
            capabilities: Capabilities {
                markup: Markup::ALL.without(Markup::LIST),
                ..Capabilities::text_only(TextLimit::Utf16Units(TEXT_LIMIT))
            },
            way: session::Way {
                client: Arc::clone(&client),
                channel: ChannelId(context.channel.id.clone()),
                webhook,
            },
            client,
            memory: outbound::Memory::default(),
            secret,
            account: Bucket::new(rates.account),
            chats: Buckets::new(rates.chat),
            groups: Buckets::new(rates.group),
        }))
    }
}

#[async_trait]
impl Connector for Telegram {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, part: &Part, context: &SendContext) -> Result<Receipt, SendError> {
        outbound::send(&self.client, &self.memory, part, context).await
    }

    fn webhook(&self) -> Option<&dyn Webhook> {
        Some(self)
    }

    fn session(&self) -> Option<&dyn Session> {
        Some(self)
    }

    fn pace(&self) -> Option<&dyn Pace> {
        Some(self)
    }
}

#[async_trait]
impl Webhook for Telegram {
    async fn receive(
        &self,
        request: http::Request<Bytes>,
        _peer: IpAddr,
    ) -> Result<Received, ReceiveError> {
        webhook::receive(&self.way.channel, &self.secret, &request)
    }
}

#[async_trait]
impl Session for Telegram {
    async fn run(
        &self,
        inbound: InboundSink,
        shutdown: CancellationToken,
    ) -> Result<(), ReceiveError> {
        self.way.run(&inbound, &shutdown).await
    }
}

impl Pace for Telegram {
    fn recipient(&self, to: &Address) -> Result<(), Duration> {
        // Groups and channels have negative ids or names.
        if to.as_str().starts_with(['-', '@']) {
            self.groups.take(to)
        } else {
            self.chats.take(to)
        }
    }

    fn account(&self) -> Result<(), Duration> {
        self.account.take()
    }

    fn bulk(&self) -> Result<(), Duration> {
        self.account.take_bulk()
    }
}
