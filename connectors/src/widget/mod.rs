//! The web widget: a script on any page, a WebSocket, and a mailbox.
//!
//! Supported: text both ways, anonymous visitors recognised by a signed token, several tabs, history, `delivered` and
//! `read`, an allow-list of origins, limits. A channel whose provider is ourselves: what others keep at the provider is
//! in the mailbox here, so sending is idempotent and never uncertain.

mod classify;
mod config;
mod hub;
mod inbound;
mod limits;
mod mailbox;
mod origins;
mod outbound;
mod page;
mod session;
mod token;
mod wire;

#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use tokio::{sync::OnceCell, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use tributary_bus::{ChannelId, OrganizationId};
use tributary_config::{Channel, Problem};

use self::{
    config::{Config, Rules},
    hub::Hub,
    limits::Limits,
    mailbox::{Mailbox, MailboxError},
    token::Signer,
};
use crate::{
    Asset, Capabilities, Connector, Context, Factory, InboundSink, Part, Receipt, ReceiveError,
    Received, SendContext, SendError, Socket, Sockets, TextLimit, Visit, Webhook,
};

/// A reply longer than this goes out in parts.
const REPLY_LIMIT: usize = 10_000;
/// Bytes of a key that is made here.
const KEY_LENGTH: usize = 32;

/// Makes widgets.
pub struct WidgetFactory;

impl Factory for WidgetFactory {
    const KIND: &'static str = "widget";
    type Config = Config;

    fn build(config: Config, context: &Context) -> Result<Arc<dyn Connector>, Vec<Problem>> {
        let channel = &context.channel;
        let rules = config.check(&format!("channels.{}", channel.id))?;
        let (Some(database), Some(bus)) = (&context.database, &context.bus) else {
            return Ok(Arc::new(Checked(capabilities())));
        };
        if rules.origins.is_open() {
            warn!(
                channel_id = channel.id,
                "any page may show this widget; set allowed_origins to those that should"
            );
        }
        let id = ChannelId(channel.id.clone());
        let organization = OrganizationId(channel.organization.clone());
        Ok(Arc::new(Widget {
            capabilities: capabilities(),
            name: Arc::from(channel.id.as_str()),
            limits: Limits::new(&rules),
            hub: Hub::of(bus),
            mailbox: Mailbox::new(database.clone(), organization, id.clone()),
            signer: OnceCell::new(),
            account: channel.clone(),
            channel: id,
            rules,
        }))
    }

    fn assets() -> &'static [Asset] {
        &[Asset {
            path: "/widget.js",
            media_type: "text/javascript; charset=utf-8",
            body: include_str!("assets/widget.js"),
        }]
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        idempotent: true,
        ..Capabilities::text_only(TextLimit::Characters(REPLY_LIMIT))
    }
}

/// One widget.
struct Widget {
    capabilities: Capabilities,
    account: Channel,
    channel: ChannelId,
    /// The same as `channel`, shared with every connection's line.
    name: Arc<str>,
    rules: Rules,
    limits: Limits,
    hub: Arc<Hub>,
    mailbox: Mailbox,
    signer: OnceCell<Signer>,
}

impl Widget {
    /// What signs visitor tokens: with the configured key, or with one that all workers share.
    async fn signer(&self) -> Result<&Signer, MailboxError> {
        self.signer
            .get_or_try_init(|| async {
                let key = match &self.rules.secret {
                    Some(secret) => secret.expose().as_bytes().to_vec(),
                    None => {
                        let proposal: [u8; KEY_LENGTH] = rand::random();
                        Box::pin(self.mailbox.key(&proposal)).await?
                    }
                };
                let lifetime = self.rules.visitor_lifetime;
                Ok(Signer::new(key, self.channel.clone(), lifetime))
            })
            .await
    }

    async fn deliver(&self, part: &Part, context: &SendContext) -> Result<Receipt, SendError> {
        let (visitor, draft) = outbound::to_draft(part, context, Utc::now())?;
        let kept = self.mailbox.keep(visitor, &draft).await?;
        // Also when it was kept before: the first call may have been cut off.
        let channel = self.channel.as_str();
        self.hub.announce(channel, visitor, kept.seq, 0).await;
        Ok(Receipt {
            provider_id: format!("{visitor}/{}", kept.seq),
        })
    }
}

#[async_trait]
impl Connector for Widget {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, part: &Part, context: &SendContext) -> Result<Receipt, SendError> {
        timeout(context.deadline, self.deliver(part, context))
            .await
            .unwrap_or(Err(MailboxError::Deadline.into()))
    }

    fn webhook(&self) -> Option<&dyn Webhook> {
        Some(self)
    }

    fn sockets(&self) -> Option<&dyn Sockets> {
        Some(self)
    }
}

#[async_trait]
impl Webhook for Widget {
    async fn receive(
        &self,
        request: http::Request<Bytes>,
        _peer: IpAddr,
    ) -> Result<Received, ReceiveError> {
        page::answer(&request, &self.account, &self.rules)
    }
}

#[async_trait]
impl Sockets for Widget {
    fn admit(&self, visit: &Visit) -> Result<(), ReceiveError> {
        if self.rules.origins.allow(visit.origin.as_deref()) {
            Ok(())
        } else {
            Err(ReceiveError::Forbidden)
        }
    }

    async fn serve(
        &self,
        visit: Visit,
        socket: Box<dyn Socket>,
        inbound: InboundSink,
        _shutdown: CancellationToken,
    ) {
        // The socket itself ends at shutdown, between two frames.
        session::serve(self, visit, socket, inbound).await;
    }
}

/// A widget whose settings were checked and that is not used.
struct Checked(Capabilities);

#[async_trait]
impl Connector for Checked {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    async fn send(&self, _part: &Part, _context: &SendContext) -> Result<Receipt, SendError> {
        Err(SendError::Unavailable {
            reason: "this widget was built without database and bus".to_owned(),
        })
    }
}
