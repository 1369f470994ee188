//! The web widget: a script on any page, a WebSocket, and a mailbox.
//!
//! Supported: text and media both ways, choices and cards, answers to a message, edits and deletions of ours, typing,
//! `delivered` and `read`; anonymous visitors recognised by a signed token, several tabs, history, an allow-list of
//! origins, limits. A channel whose provider is ourselves: what others keep at the provider is in the mailbox here, so
//! sending is idempotent and never uncertain.

mod actions;
mod body;
mod classify;
mod config;
mod hub;
mod inbound;
mod limits;
mod mailbox;
mod names;
mod origins;
mod outbound;
mod page;
mod session;
mod token;
mod uploads;
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
    hub::{Call, Hub},
    limits::Limits,
    mailbox::{Mailbox, MailboxError},
    names::Name,
    token::Signer,
    wire::Accepted,
};
use crate::{
    Action, Asset, Capabilities, CarouselLimits, ChoiceLimits, Connector, Context, Factory,
    InboundSink, MediaLimit, MediaLimits, MediaShelf, Part, Receipt, Receipts, ReceiveError,
    Received, SendContext, SendError, Socket, Sockets, Support, TextLimit, Uploads, Visit, Webhook,
    refusals::{self, Way},
};

/// A reply longer than this goes out in parts.
const REPLY_LIMIT: usize = 10_000;
/// Titles, descriptions and ids of buttons; titles of cards.
const LABEL_LIMIT: usize = 200;
/// Buttons of one message or card, and cards of one carousel.
const OPTIONS: usize = 20;
const CARDS: usize = 10;
/// Bytes of media in a reply: visitors download it, it does not pass through here.
const MEDIA_SIZE: u64 = 1 << 30;
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
            shelf: context.media.clone(),
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
            // Joined from `assets/widget/` by the build script.
            body: include_str!(concat!(env!("OUT_DIR"), "/widget.js")),
        }]
    }
}

fn capabilities() -> Capabilities {
    let text = TextLimit::Characters(REPLY_LIMIT);
    let label = TextLimit::Characters(LABEL_LIMIT);
    let media = |types| {
        Some(MediaLimit {
            size: MEDIA_SIZE,
            types,
            caption: Some(text),
        })
    };
    Capabilities {
        media: MediaLimits {
            image: media(&[
                "image/png",
                "image/jpeg",
                "image/gif",
                "image/webp",
                "image/avif",
            ]),
            video: media(&["video/mp4", "video/webm"]),
            audio: media(&["audio/*"]),
            voice: media(&["audio/*"]),
            file: media(&[]),
            sticker: None,
        },
        choices: Some(ChoiceLimits {
            buttons: OPTIONS,
            list_rows: OPTIONS,
            quick_replies: OPTIONS,
            title: label,
            description: Some(label),
            id: label,
            text,
            url: Support::Yes,
            call: Support::Yes,
            request: Support::No,
        }),
        carousel: Some(CarouselLimits {
            cards: CARDS,
            title: label,
            text,
            buttons: OPTIONS,
        }),
        reply_to: Support::Yes,
        edit: Support::Yes,
        delete: Support::Yes,
        typing: Support::Yes,
        read: Support::Yes,
        receipts: Receipts::Read,
        idempotent: true,
        ..Capabilities::text_only(text)
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
    /// Where files are kept; without it none are taken.
    shelf: Option<MediaShelf>,
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

    /// Which files visitors may send.
    fn accepted(&self) -> Option<Accepted> {
        let (rules, _) = self.rules.uploads.as_ref().zip(self.shelf.as_ref())?;
        Some(Accepted {
            limit: rules.limit,
            types: rules.types.clone(),
        })
    }

    /// Counts what a visitor was refused.
    fn refuse(&self, way: Way, reason: &'static str, detail: &str) {
        refusals::refuse(self.channel.as_str(), way, reason, detail);
    }

    async fn deliver(&self, part: &Part, context: &SendContext) -> Result<Receipt, SendError> {
        let (visitor, mut draft) = outbound::to_draft(part, context, Utc::now())?;
        if let Some(answered) = &context.reply_to {
            // Of a message that is not there any more, only the reference is left out.
            draft.reply_to = actions::place_of(&self.mailbox, visitor, answered).await?;
        }
        let kept = self.mailbox.keep(visitor, &draft).await?;
        // Also when it was kept before: the first call may have been cut off.
        let channel = self.channel.as_str();
        let call = Call {
            seq: kept.seq,
            ..Call::default()
        };
        self.hub.announce(channel, visitor, call).await;
        Ok(Receipt {
            provider_id: Name::Ours(kept.seq).write(visitor),
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

    async fn act(&self, action: &Action, context: &SendContext) -> Result<(), SendError> {
        timeout(context.deadline, self.perform(action, context))
            .await
            .unwrap_or(Err(MailboxError::Deadline.into()))
    }

    fn webhook(&self) -> Option<&dyn Webhook> {
        Some(self)
    }

    fn uploads(&self) -> Option<&dyn Uploads> {
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
