//! Long polling: what came is durable before its offset confirms it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use futures::future::join_all;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tributary_base::backoff::Backoff;
use tributary_bus::message::Inbound;

use super::{
    super::{
        client::{CallError, Client, Refusal},
        inbound::{Translated, to_events},
        wire::{ALLOWED_UPDATES, AnswerCallbackQuery, DeleteWebhook, GetUpdates},
    },
    CALL_DEADLINE, Way, pause,
};
use crate::{CallLog, HealthReport, InboundSink, ReceiveError};

/// How long Telegram holds a poll open, in seconds (at most 50).
const POLL_SECONDS: u64 = 25;
/// An answer without anything new that comes sooner is early: this server holds no poll open.
const EARLY: Duration = Duration::from_secs(1);
/// How much longer its answer may take.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);
/// Updates per poll, at most; Telegram's own limit.
const BATCH: u8 = 100;
/// While another poller has the bot.
const CONTEST: Backoff = Backoff {
    base: Duration::from_secs(5),
    cap: Duration::from_secs(60),
};
/// A poll of the worker that had the account before may still be open; whoever is there longer is another program.
const HANDOVER: u32 = 2;

impl Way {
    pub(super) async fn poll(
        &self,
        inbound: &InboundSink,
        shutdown: &CancellationToken,
    ) -> Result<(), ReceiveError> {
        let nowhere = CallLog::nowhere();
        let mut offset = None;
        let mut failures = 0;
        let mut works = false;
        while !shutdown.is_cancelled() {
            let request = GetUpdates {
                offset,
                limit: BATCH,
                // An answer at once tells whether polling works.
                timeout: if works { POLL_SECONDS } else { 0 },
                allowed_updates: ALLOWED_UPDATES,
            };
            let deadline = Duration::from_secs(POLL_SECONDS) + ANSWER_MARGIN;
            let began = Instant::now();
            let polled = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                polled = self.client.call::<Vec<Box<RawValue>>>("getUpdates", &request, deadline, &nowhere) => polled,
            };
            match polled {
                Ok(updates) => {
                    if failures > 0 {
                        info!(channel_id = %self.channel, "polling works again");
                    }
                    if !works {
                        inbound.report(HealthReport::ok()).await;
                        inbound.settled().await;
                    }
                    (works, failures) = (true, 0);
                    let early = began.elapsed() < EARLY;
                    let next = self.take(&updates, inbound, shutdown).await?;
                    // The same updates again are nothing new either.
                    let is_new = next.is_some() && next > offset;
                    offset = next.or(offset);
                    if early && !is_new {
                        pause(Duration::ZERO, shutdown).await;
                    }
                }
                Err(error) => {
                    works = false;
                    failures += 1;
                    let wait = self.mend(error, failures, inbound).await?;
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
    async fn mend(
        &self,
        error: CallError,
        failures: u32,
        inbound: &InboundSink,
    ) -> Result<Duration, ReceiveError> {
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
                    Err(error) => self.troubled(error, failures, inbound).await,
                }
            }
            CallError::Refused(refusal) if refusal.code == 409 => {
                let (reason, action) = (
                    "another program polls this bot",
                    "stop it, or make a bot of its own for it: only one may use a token",
                );
                warn!(%channel_id, reason, action);
                if failures > HANDOVER {
                    let report = HealthReport::degraded(reason, Some(action.to_owned()));
                    inbound.report(report).await;
                }
                Ok(CONTEST.delay(failures).max(Duration::from_secs(1)))
            }
            error => self.troubled(error, failures, inbound).await,
        }
    }
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
