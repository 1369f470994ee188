//! The webhook: one queue per chat, delivered one at a time and in order, different chats at once, retried for as long as
//! it takes.
//!
//! Not simulated: expiry of updates after 24 h (callback queries do expire), and removal of a webhook that answers 410 for 23 h.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rand::RngExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::account::{Account, Bot, now};
use super::attempt::{self, Failed};
use super::misbehave::DeliveryAction;
use super::updates::{Pending, QueueKey};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub url: Url,
    pub secret: Option<String>,
    pub max_connections: usize,
}

pub(super) struct Webhook {
    pub settings: Settings,
    /// Unix seconds and the provider's words.
    pub last_error: Option<(i64, String)>,
    generation: u64,
    queues: HashMap<QueueKey, VecDeque<Arc<Pending>>>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

/// What a task that empties one queue works with. It outlives its webhook by no more than one step.
#[derive(Clone)]
pub(super) struct Courier {
    pub settings: Settings,
    generation: u64,
    pub permits: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Sets a webhook in place of the one before, and starts on what is waiting.
pub(super) fn start(bot: &Arc<Bot>, account: &mut Account, settings: Settings) {
    stop(account);
    account.webhooks_set += 1;
    account.webhook = Some(Webhook {
        permits: Arc::new(Semaphore::new(settings.max_connections)),
        settings,
        last_error: None,
        generation: account.webhooks_set,
        queues: HashMap::new(),
        stop: bot.shared.open.child_token(),
    });
    let waiting: Vec<_> = account.updates.waiting().map(Arc::clone).collect();
    for pending in waiting {
        enqueue(bot, account, pending);
    }
}

/// Removes the webhook; `false`: there was none.
pub(super) fn stop(account: &mut Account) -> bool {
    match account.webhook.take() {
        Some(webhook) => {
            webhook.stop.cancel();
            true
        }
        None => false,
    }
}

/// Puts an update into its queue, if there is a webhook. A queue that was empty gets a task.
pub(super) fn enqueue(bot: &Arc<Bot>, account: &mut Account, pending: Arc<Pending>) {
    let Some(webhook) = &mut account.webhook else {
        return;
    };
    let key = pending.queue.clone();
    if let Some(queue) = webhook.queues.get_mut(&key) {
        queue.push_back(pending);
        return;
    }
    webhook
        .queues
        .insert(key.clone(), VecDeque::from([pending]));
    let courier = Courier {
        settings: webhook.settings.clone(),
        generation: webhook.generation,
        permits: Arc::clone(&webhook.permits),
        stop: webhook.stop.clone(),
    };
    let bot = Arc::clone(bot);
    bot.shared.tasks.clone().spawn(async move {
        courier
            .stop
            .clone()
            .run_until_cancelled(empty(&bot, &courier, &key))
            .await
    });
}

async fn empty(bot: &Arc<Bot>, courier: &Courier, key: &QueueKey) {
    while let Some(pending) = front(bot, courier, key) {
        deliver(bot, courier, &pending).await;
    }
}

/// The next update of a queue, which stays there. `None`: the queue is empty and gone, or the webhook is.
fn front(bot: &Bot, courier: &Courier, key: &QueueKey) -> Option<Arc<Pending>> {
    in_webhook(bot, courier, |webhook| {
        let next = webhook
            .queues
            .get(key)
            .and_then(VecDeque::front)
            .map(Arc::clone);
        if next.is_none() {
            webhook.queues.remove(key);
        }
        next
    })?
}

fn in_webhook<T>(bot: &Bot, courier: &Courier, step: impl FnOnce(&mut Webhook) -> T) -> Option<T> {
    bot.with(|account| {
        let webhook = account.webhook.as_mut()?;
        (webhook.generation == courier.generation).then(|| step(webhook))
    })
}

/// Delivers one update until it is accepted.
async fn deliver(bot: &Arc<Bot>, courier: &Courier, pending: &Arc<Pending>) {
    let mut attempt = 0;
    loop {
        if is_expired(bot, pending) {
            settle(bot, courier, pending);
            bot.shared
                .record(|records| records.counters.updates_expired += 1);
            return;
        }
        attempt += 1;
        let action = next_action(bot, pending);
        match &action {
            Some(DeliveryAction::Hold(pause)) => tokio::time::sleep(*pause).await,
            Some(DeliveryAction::SwapWithNext) if swap(bot, courier, pending) => return,
            _ => {}
        }
        let twice = action == Some(DeliveryAction::Twice);
        let retry_after = match attempt::once(bot, courier, pending, attempt, action).await {
            Ok(()) => {
                if twice {
                    // Whatever becomes of the second copy, the update has been accepted.
                    attempt::once(bot, courier, pending, attempt + 1, None)
                        .await
                        .unwrap_or_default();
                }
                settle(bot, courier, pending);
                return;
            }
            Err(Failed { retry_after }) => retry_after,
        };
        let seconds = retry_after.unwrap_or_else(|| backoff(attempt));
        tokio::time::sleep(bot.seconds(seconds)).await;
    }
}

/// A callback query nobody can answer any more is not delivered any more. Everything else lives for a day, longer than a test.
fn is_expired(bot: &Bot, pending: &Pending) -> bool {
    pending.queue.is_of("callback_query")
        && pending.made.elapsed() >= bot.shared.options.callback_life
}

fn next_action(bot: &Bot, pending: &Pending) -> Option<DeliveryAction> {
    let token = &bot.profile.token;
    let action = bot
        .shared
        .deliveries
        .next(|matches| matches.fits(token, pending.queue.id, &pending.kind));
    if action.is_some() {
        bot.shared
            .record(|records| records.counters.misbehaved += 1);
    }
    action
}

/// Lets the next one of the queue go first; `false`: there is none.
fn swap(bot: &Bot, courier: &Courier, pending: &Pending) -> bool {
    let swapped = in_webhook(bot, courier, |webhook| {
        match webhook.queues.get_mut(&pending.queue) {
            Some(queue) if queue.len() > 1 => {
                queue.swap(0, 1);
                true
            }
            _ => false,
        }
    });
    swapped.unwrap_or_default()
}

/// Keeps why a delivery failed, for `getWebhookInfo`.
pub(super) fn note_error(bot: &Bot, courier: &Courier, reason: String) {
    in_webhook(bot, courier, |webhook| {
        webhook.last_error = Some((now(), reason))
    });
}

fn settle(bot: &Bot, courier: &Courier, pending: &Pending) {
    in_webhook(bot, courier, |webhook| {
        if let Some(queue) = webhook.queues.get_mut(&pending.queue)
            && queue
                .front()
                .is_some_and(|front| front.update_id == pending.update_id)
        {
            queue.pop_front();
        }
    });
    if bot.with(|account| account.updates.settle(pending.update_id)) {
        bot.shared
            .record(|records| records.counters.updates_settled += 1);
    }
}

/// Seconds before the next attempt: none at first, then 2, 4, 8 ... up to something between 60 and 120.
fn backoff(attempt: u32) -> u32 {
    match attempt {
        0 | 1 => 0,
        2..=6 => 1 << (attempt - 1),
        _ => rand::rng().random_range(60..=120),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_come_at_once_then_ever_later_up_to_two_minutes() {
        let seconds: Vec<_> = (1..=6).map(backoff).collect();
        assert_eq!(seconds, [0, 2, 4, 8, 16, 32]);
        assert!(
            (7..100)
                .map(backoff)
                .all(|seconds| (60..=120).contains(&seconds))
        );
    }
}
