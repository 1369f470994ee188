//! The way in, kept up by the worker that owns the account's delivery lane: long polling, or the webhook's settings.
//!
//! Either is right to start on whatever the other left behind: polling takes a webhook away without dropping what
//! waits, and setting a webhook ends polling. What an update led to is durable before Telegram is told to forget it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::Utc;
use futures::future::join_all;
use metrics::gauge;
use serde_json::value::RawValue;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tributary_base::backoff::Backoff;
use tributary_bus::{ChannelId, message::Inbound};
use tributary_config::Secret;

use super::{
    client::{CallError, Client, Refusal},
    inbound::{Reader, Translated, to_events},
    moves::Moves,
    outbound::Memory,
    wire::{
        ALLOWED_UPDATES, AnswerCallbackQuery, DeleteWebhook, GetUpdates, Nothing, SetWebhook,
        WebhookInfo,
    },
};
use crate::{CallLog, InboundSink, ReceiveError};

/// How long Telegram holds a poll open, in seconds (at most 50).
const POLL_SECONDS: u64 = 25;
/// How much longer its answer may take.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);
const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// Updates per poll, at most; Telegram's own limit.
const BATCH: u8 = 100;
/// How often the webhook's settings and health are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Between tries while the provider cannot be reached.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};
/// While another poller has the bot.
const CONTEST: Backoff = Backoff {
    base: Duration::from_secs(5),
    cap: Duration::from_secs(60),
};

/// What a session works with.
pub(super) struct Way {
    pub client: Arc<Client>,
    pub channel: ChannelId,
    pub reader: Reader,
    pub moves: Arc<Moves>,
    pub memory: Arc<Memory>,
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
            Some(wanted) => self.keep_webhook(wanted, shutdown).await,
            None => self.poll(inbound, shutdown).await,
        }
    }

    async fn poll(
        &self,
        inbound: &InboundSink,
        shutdown: &CancellationToken,
    ) -> Result<(), ReceiveError> {
        let nowhere = CallLog::nowhere();
        let mut offset = None;
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let request = GetUpdates {
                offset,
                limit: BATCH,
                timeout: POLL_SECONDS,
                allowed_updates: ALLOWED_UPDATES,
            };
            let deadline = Duration::from_secs(POLL_SECONDS) + ANSWER_MARGIN;
            let polled = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                polled = self.client.call::<Vec<Box<RawValue>>>("getUpdates", &request, deadline, &nowhere) => polled,
            };
            match polled {
                Ok(updates) => {
                    if failures > 0 {
                        info!(channel_id = %self.channel, "polling works again");
                    }
                    failures = 0;
                    if let Some(next) = self.take(&updates, inbound, shutdown).await? {
                        offset = Some(next);
                    }
                }
                Err(error) => {
                    failures += 1;
                    let wait = self.mend(error, failures).await?;
                    pause(wait, shutdown).await;
                }
            }
        }
        Ok(())
    }

    /// Publishes what the updates led to; answers the offset that confirms them.
    async fn take(
        &self,
        updates: &[Box<RawValue>],
        inbound: &InboundSink,
        shutdown: &CancellationToken,
    ) -> Result<Option<i64>, ReceiveError> {
        let mut events = Vec::with_capacity(updates.len());
        let mut answers = Vec::new();
        let mut next = None;
        for update in updates {
            let mut translated = to_events(&self.reader, update.get(), Utc::now());
            if self.take_note(&mut translated, shutdown).await.is_none() {
                return Ok(None);
            }
            events.append(&mut translated.events);
            answers.extend(translated.answer);
            next = next.max(update_id(update).map(|id| id.saturating_add(1)));
        }
        if next.is_none() && !updates.is_empty() {
            return Err(ReceiveError::Unavailable(
                "Telegram sent updates without ids".to_owned(),
            ));
        }
        if !self.publish(events, inbound, shutdown).await {
            return Ok(None);
        }
        if !answers.is_empty() {
            tokio::spawn(answer_all(Arc::clone(&self.client), answers));
        }
        Ok(next)
    }

    /// Sees to what an update means for this channel's own memory, until it succeeds; `None` when stopped before.
    async fn take_note(
        &self,
        translated: &mut Translated,
        shutdown: &CancellationToken,
    ) -> Option<()> {
        for attempt in 1.. {
            match self.note(translated).await {
                Ok(()) => return Some(()),
                Err(error) if attempt == 1 => {
                    warn!(channel_id = %self.channel, %error, "updates wait for the database");
                }
                Err(_) => {}
            }
            pause(Backoff::SERVER.delay(attempt), shutdown).await;
            if shutdown.is_cancelled() {
                break;
            }
        }
        None
    }

    /// Sees to what an update means for this channel's own memory.
    ///
    /// # Errors
    /// The update must come again.
    pub(super) async fn note(&self, translated: &mut Translated) -> Result<(), ReceiveError> {
        self.moves.settle(translated).await?;
        for event in &translated.events {
            if let Inbound::Received(message) = event
                && let Ok(chat) = message.origin.address.as_str().parse()
            {
                self.memory.wrote(chat);
            }
        }
        Ok(())
    }

    /// Publishes until it succeeds; `false` when stopped before.
    async fn publish(
        &self,
        events: Vec<Inbound>,
        inbound: &InboundSink,
        shutdown: &CancellationToken,
    ) -> bool {
        for attempt in 1.. {
            match inbound.publish(events.clone()).await {
                Ok(()) => return true,
                Err(error) => {
                    if attempt == 1 {
                        warn!(channel_id = %self.channel, %error, "updates wait for the bus");
                    }
                    pause(Backoff::SERVER.delay(attempt), shutdown).await;
                }
            }
            if shutdown.is_cancelled() {
                return false;
            }
        }
        false
    }

    /// Does what can be done about a failed poll, and says how long to wait before the next.
    async fn mend(&self, error: CallError, failures: u32) -> Result<Duration, ReceiveError> {
        let channel_id = &self.channel;
        match error {
            CallError::Refused(refusal) if is_webhook_conflict(&refusal) => {
                warn!(%channel_id, "taking the bot's webhook away, without loss: this account polls");
                let request = DeleteWebhook {
                    drop_pending_updates: false,
                };
                match self.call::<bool>("deleteWebhook", &request).await {
                    Ok(_) if failures == 1 => Ok(Duration::ZERO),
                    // Somebody sets it again and again.
                    Ok(_) => Ok(CONTEST.delay(failures)),
                    Err(error) => self.troubled(error, failures),
                }
            }
            CallError::Refused(refusal) if refusal.code == 409 => {
                warn!(%channel_id, "another program polls this bot; only one may: stop it or take another token");
                Ok(CONTEST.delay(failures).max(Duration::from_secs(1)))
            }
            error => self.troubled(error, failures),
        }
    }

    /// A failure that time or a person mends.
    fn troubled(&self, error: CallError, failures: u32) -> Result<Duration, ReceiveError> {
        if let CallError::Refused(refusal) = &error {
            if matches!(refusal.code, 401 | 403 | 404 | 421) {
                return Err(ReceiveError::Misconfigured(format!(
                    "Telegram refuses the token: {refusal}; check token and api_url"
                )));
            }
            if let Some(seconds) = refusal.retry_after {
                return Ok(Duration::from_secs(seconds.min(3600)));
            }
        }
        if failures == 1 {
            warn!(channel_id = %self.channel, %error, "Telegram cannot be used; trying again");
        }
        Ok(BACKOFF.delay(failures))
    }

    /// Sets the webhook when it is not as wanted, now and whenever somebody changes it, and watches its health.
    async fn keep_webhook(
        &self,
        wanted: &WantedWebhook,
        shutdown: &CancellationToken,
    ) -> Result<(), ReceiveError> {
        let mut failures = 0;
        let mut last_error = 0;
        while !shutdown.is_cancelled() {
            let looked = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                looked = self.look(wanted, &mut last_error) => looked,
            };
            let wait = match looked {
                Ok(()) => {
                    failures = 0;
                    LOOK
                }
                Err(error) => {
                    failures += 1;
                    self.troubled(error, failures)?
                }
            };
            pause(wait, shutdown).await;
        }
        Ok(())
    }

    async fn look(&self, wanted: &WantedWebhook, last_error: &mut i64) -> Result<(), CallError> {
        let channel_id = &self.channel;
        let info: WebhookInfo = self.call("getWebhookInfo", &Nothing {}).await?;
        // A few thousand are exact in an f64 as well.
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        gauge!("tributary_telegram_pending_updates", "channel" => channel_id.0.clone())
            .set(info.pending_update_count as f64);
        if info.last_error_date > *last_error && *last_error != 0 {
            let reason = info.last_error_message.as_str();
            warn!(%channel_id, reason, pending = info.pending_update_count, "Telegram could not deliver to the webhook");
        }
        *last_error = info.last_error_date.max(1);
        if is_as_wanted(&info, wanted) {
            return Ok(());
        }
        let request = SetWebhook {
            url: &wanted.url,
            secret_token: wanted.secret.expose(),
            max_connections: wanted.connections,
            allowed_updates: ALLOWED_UPDATES,
            drop_pending_updates: false,
        };
        self.call::<bool>("setWebhook", &request).await?;
        info!(%channel_id, "webhook set");
        Ok(())
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

fn is_as_wanted(info: &WebhookInfo, wanted: &WantedWebhook) -> bool {
    let allowed: BTreeSet<&str> = info.allowed_updates.iter().map(String::as_str).collect();
    info.url == wanted.url
        && allowed == BTreeSet::from(ALLOWED_UPDATES)
        && info
            .max_connections
            .is_none_or(|connections| connections == wanted.connections)
}

fn is_webhook_conflict(refusal: &Refusal) -> bool {
    let description = refusal.description.to_lowercase();
    refusal.code == 409
        && description.contains("webhook")
        && !description.contains("terminated by other")
}

fn update_id(update: &RawValue) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Id {
        update_id: i64,
    }
    let id: Id = serde_json::from_str(update.get()).ok()?;
    Some(id.update_id)
}

/// Stops the spinners. Late or lost it does no harm.
async fn answer_all(client: Arc<Client>, answers: Vec<AnswerCallbackQuery>) {
    let nowhere = CallLog::nowhere();
    let calls = answers.iter().map(|answer| {
        let method = "answerCallbackQuery";
        client.call::<serde_json::Value>(method, answer, CALL_DEADLINE, &nowhere)
    });
    join_all(calls).await;
}

async fn pause(wait: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sleep(wait) => {}
    }
}
