//! The way in, kept up by the worker that owns the account's delivery lane: long polling, or the webhook's settings.
//!
//! Either is right to start on whatever the other left behind: polling takes a webhook away without dropping what
//! waits, and setting a webhook ends polling. What an update led to is durable before Telegram is told to forget it.

mod poll;
mod watch;
mod webhook;

use std::{sync::Arc, time::Duration};

use metrics::counter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use tributary_base::backoff::Backoff;
use tributary_bus::{ChannelId, message::Inbound};
use tributary_config::Secret;

use super::{
    address::Place,
    client::{CallError, Client, Refusal},
    inbound::{Ignored, Reader, Translated},
    moves::Moves,
    outbound::Memory,
    topics::Topics,
};
use crate::{CallLog, HealthReport, InboundSink, ReceiveError};

const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// Between tries while the provider cannot be reached.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};

/// Between two calls, at least, when the first brought nothing: whatever the server answers, and however
/// fast.
const FLOOR: Duration = Duration::from_millis(300);

/// Failures in a row; fewer pass by themselves.
const DOWN_AFTER: u32 = 3;
/// What to do when they do not.
const REACHABLE: &str = "it is tried again by itself; look whether this machine reaches api_url (network, DNS, proxy, \
    own Bot API server), and whether Telegram has an outage";

/// What a session works with.
pub(super) struct Way {
    pub client: Arc<Client>,
    pub channel: ChannelId,
    pub reader: Reader,
    pub moves: Arc<Moves>,
    pub topics: Arc<Topics>,
    pub memory: Arc<Memory>,
    /// How often the webhook's settings and health are looked at.
    pub look_every: Duration,
    /// `None`: long polling.
    pub webhook: Option<WantedWebhook>,
}

/// How the webhook is to be set.
pub(super) struct WantedWebhook {
    pub url: String,
    pub secret: Secret,
    pub connections: u32,
}

impl Way {
    /// Works until `shutdown`.
    pub(super) async fn run(
        &self,
        inbound: &InboundSink,
        shutdown: &CancellationToken,
    ) -> Result<(), ReceiveError> {
        match &self.webhook {
            Some(wanted) => self.keep_webhook(inbound, wanted, shutdown).await,
            None => self.poll(inbound, shutdown).await,
        }
    }

    /// Sees to what an update means for this channel's own memory.
    ///
    /// # Errors
    /// The update must come again.
    pub(super) async fn note(&self, translated: &mut Translated) -> Result<(), ReceiveError> {
        self.topics.settle(&mut translated.events).await?;
        self.moves.settle(translated).await?;
        if let Some(ignored) = translated.ignored {
            self.count(ignored);
        }
        for event in &translated.events {
            if let Inbound::Received(message) = event
                && let Some(chat) =
                    Place::parse(&message.origin.address).and_then(|place| place.own_chat())
            {
                self.memory.wrote(chat);
            }
        }
        Ok(())
    }

    /// Nothing that comes vanishes without a trace, and none of its words are in it.
    fn count(&self, ignored: Ignored) {
        let channel_id = &self.channel;
        let kind = ignored.as_str();
        counter!("tributary_ignored_total", "channel" => channel_id.0.clone(), "kind" => kind)
            .increment(1);
        match ignored {
            Ignored::Group | Ignored::Channel | Ignored::Nobody => {
                debug!(%channel_id, kind, "an update is not for this account");
            }
            Ignored::Unreadable => warn!(%channel_id, "what came is no update of Telegram"),
        }
    }

    /// A failure that time or a person mends; the account is down when it goes on.
    async fn troubled(
        &self,
        error: CallError,
        failures: u32,
        inbound: &InboundSink,
    ) -> Result<Duration, ReceiveError> {
        if let CallError::Refused(refusal) = &error
            && matches!(refusal.code, 401 | 403 | 404 | 421)
        {
            return Err(ReceiveError::Misconfigured(format!(
                "Telegram refuses the token: {refusal}; check token and api_url"
            )));
        }
        if failures == 1 {
            warn!(channel_id = %self.channel, %error, "Telegram cannot be used; trying again");
        }
        if failures >= DOWN_AFTER {
            let reason = format!("Telegram cannot be used: {error}");
            let report = HealthReport::down(reason, Some(REACHABLE.to_owned()));
            inbound.report(report).await;
        }
        Ok(match error {
            CallError::Refused(Refusal {
                retry_after: Some(seconds),
                ..
            }) => Duration::from_secs(seconds.min(3600)),
            _ => BACKOFF.delay(failures),
        })
    }

    async fn call<R: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        request: &impl serde::Serialize,
    ) -> Result<R, CallError> {
        let nowhere = CallLog::nowhere();
        self.client
            .call(method, request, CALL_DEADLINE, &nowhere)
            .await
    }
}

/// Waits, and never less than the floor.
async fn pause(wait: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sleep(wait.max(FLOOR)) => {}
    }
}
