//! Telegram bots: every kind of message both ways, long polling or webhook, private chats, business chats, and groups and
//! channels where an account wants them.

mod address;
mod carries;
mod classify;
mod client;
mod config;
mod entities;
mod files;
mod inbound;
mod moves;
mod outbound;
mod session;
#[cfg(test)]
mod tests;
mod topics;
mod webhook;
mod wire;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tributary_bus::{
    Address, ChannelId,
    message::{Inbound, Raw},
};
use tributary_config::{Problem, Secret};

use crate::{
    Action, Bucket, Buckets, Capabilities, Connector, Context, Factory, FetchError, InboundSink,
    MediaSource, MediaStream, Pace, Part, Receipt, ReceiveError, Received, Replay, SendContext,
    SendError, Session, Webhook,
};
use address::Place;
use client::Client;
use config::Config;
use inbound::{Reader, to_events};
use moves::Moves;
use outbound::{Limits, Memory, Sender};
use topics::Topics;
pub(crate) use topics::remove_topics;

/// One bot.
pub(crate) struct Telegram {
    capabilities: Capabilities,
    client: Arc<Client>,
    memory: Arc<Memory>,
    moves: Arc<Moves>,
    topics: Arc<Topics>,
    limits: Limits,
    local_files: Option<PathBuf>,
    way: session::Way,
    /// What webhooks carry: the wanted one, and perhaps the one before.
    secrets: Vec<Secret>,
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
        let channel = ChannelId(context.channel.id.clone());
        let secret = config.secret_of(&context.channel.id);
        let webhook = context
            .public_url
            .as_ref()
            .map(|url| session::WantedWebhook {
                url: webhook::address(url, &secret),
                secret: secret.clone(),
                connections: config.webhook_connections,
            });
        let limits = match config.local_files {
            Some(_) => Limits::LOCAL,
            None => Limits::CLOUD,
        };
        let moves = Arc::new(Moves::new(
            context.channel.organization.as_str().into(),
            channel.clone(),
            context.database.clone(),
        ));
        let topics = Arc::new(Topics::new(
            context.channel.organization.as_str().into(),
            channel.clone(),
            context.database.clone(),
        ));
        let memory = Arc::new(Memory::default());
        Ok(Arc::new(Self {
            capabilities: carries::capabilities(limits),
            way: session::Way {
                client: Arc::clone(&client),
                reader: Reader {
                    channel: channel.clone(),
                    bot: config.bot_id(),
                    groups: config.groups,
                    channels: config.channels,
                },
                moves: Arc::clone(&moves),
                topics: Arc::clone(&topics),
                memory: Arc::clone(&memory),
                channel,
                look_every: config.webhook_check,
                webhook,
            },
            client,
            memory,
            moves,
            topics,
            limits,
            secrets: vec![secret, config.previous_secret_token],
            local_files: config.local_files,
            account: Bucket::new(rates.account),
            chats: Buckets::new(rates.chat),
            groups: Buckets::new(rates.group),
        }))
    }
}

impl Telegram {
    fn sender<'a>(&'a self, context: &'a SendContext) -> Sender<'a> {
        Sender {
            client: &self.client,
            memory: &self.memory,
            moves: &self.moves,
            topics: &self.topics,
            limits: self.limits,
            context,
            deadline: Instant::now() + context.deadline,
        }
    }
}

#[async_trait]
impl Connector for Telegram {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, part: &Part, context: &SendContext) -> Result<Receipt, SendError> {
        self.sender(context).send(part).await
    }

    async fn act(&self, action: &Action, context: &SendContext) -> Result<(), SendError> {
        outbound::act(&self.sender(context), action).await
    }

    fn calls_for(&self, action: &Action) -> bool {
        outbound::calls_for(action)
    }

    fn secrets(&self) -> Vec<String> {
        let webhook = self.secrets.iter().map(Secret::expose);
        let all = std::iter::once(self.client.token()).chain(webhook);
        all.filter(|secret| !secret.is_empty())
            .map(str::to_owned)
            .collect()
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
        let mut translated = webhook::receive(&self.way.reader, &self.secrets, &request)?;
        self.way.note(&mut translated).await?;
        Ok(webhook::received(translated))
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

#[async_trait]
impl MediaSource for Telegram {
    async fn open(&self, source: &str) -> Result<MediaStream, FetchError> {
        files::open(&self.client, self.local_files.as_deref(), source).await
    }
}

#[async_trait]
impl Replay for Telegram {
    fn read(&self, raw: &Raw) -> Result<Vec<Inbound>, ReceiveError> {
        if raw.media_type != "application/json" {
            return Err(ReceiveError::Malformed(format!(
                "a payload of Telegram is JSON, not {}",
                raw.media_type
            )));
        }
        Ok(to_events(&self.way.reader, &raw.body, Utc::now()).events)
    }

    async fn settle(&self, events: &mut [Inbound]) -> Result<(), ReceiveError> {
        self.topics.readdress_all(events).await?;
        self.moves.readdress_all(events).await
    }
}

impl Pace for Telegram {
    fn recipient(&self, to: &Address) -> Result<(), Duration> {
        let Some(place) = Place::parse(to) else {
            return self.chats.take(to);
        };
        // Topics of a chat share its limit.
        let chat = Place {
            thread: None,
            direct: None,
            ..place
        };
        match chat.is_private() {
            true => self.chats.take(&chat.address()),
            false => self.groups.take(&chat.address()),
        }
    }

    fn account(&self) -> Result<(), Duration> {
        self.account.take()
    }

    fn bulk(&self) -> Result<(), Duration> {
        self.account.take_bulk()
    }
}
