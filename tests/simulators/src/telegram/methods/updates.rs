//! `getUpdates`: reading and confirming updates, and waiting for them.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::account::{Account, Bot, Wake};
use super::super::answer::{Answer, ApiError};
use super::super::misbehave::CallAction;
use super::super::updates::Pending;
use super::Request;

const MAX_LIMIT: i64 = 100;
/// Seconds.
const MAX_TIMEOUT: i64 = 50;
/// After the first update the real server waits this long for more before it answers.
const GATHER: Duration = Duration::from_millis(1);

const BY_WEBHOOK: &str = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";
const BY_SETTING: &str = "Conflict: terminated by setWebhook request";
const BY_OTHER: &str = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";

#[derive(Clone, Copy)]
struct Read {
    offset: i64,
    limit: usize,
    timeout: Duration,
}

enum Step {
    Ready(Vec<Arc<Pending>>),
    Wait(oneshot::Receiver<Wake>, Duration),
    Conflict(&'static str),
}

pub(super) async fn get_updates(request: &Request<'_>) -> Result<Answer, ApiError> {
    let (bot, params) = (request.bot, request.params);
    let seconds = params.integer("timeout").unwrap_or(0).clamp(0, MAX_TIMEOUT);
    let limit = params
        .integer("limit")
        .unwrap_or(MAX_LIMIT)
        .clamp(1, MAX_LIMIT);
    let read = Read {
        offset: params.integer("offset").unwrap_or(0),
        limit: usize::try_from(limit).unwrap_or(1),
        timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    };
    let allowed = params.json("allowed_updates");
    let step = bot.with(|account| {
        if account.webhook.is_some() {
            return Step::Conflict(BY_WEBHOOK);
        }
        account.updates.allow(allowed.as_ref());
        begin(bot, account, read)
    });
    let updates = match step {
        Step::Ready(updates) => updates,
        Step::Conflict(reason) => return Err(conflict(bot, reason).await),
        Step::Wait(woken, timeout) => match wait(bot, woken, timeout).await {
            None => take(bot, read),
            Some(Wake::Updates) => {
                tokio::time::sleep(GATHER).await;
                take(bot, read)
            }
            Some(Wake::OtherPoll) => return Err(conflict(bot, BY_OTHER).await),
            Some(Wake::Webhook) => return Err(conflict(bot, BY_SETTING).await),
        },
    };
    Ok(answer(&disturb(bot, updates, request.action)))
}

/// Confirms, reads, and where there is nothing takes the place of the poll that waits.
fn begin(bot: &Bot, account: &mut Account, read: Read) -> Step {
    let now = Instant::now();
    let mut timeout = read.timeout;
    // The real server slows down a client that asks the same again and again.
    if let Some((offset, began)) = account.last_poll
        && offset == read.offset
        && now < began + bot.seconds(3)
    {
        timeout = timeout.max(bot.seconds(3));
    }
    account.last_poll = Some((read.offset, now));
    let updates = read_and_confirm(bot, account, read);
    if !updates.is_empty() || timeout.is_zero() {
        return Step::Ready(updates);
    }
    account.wake(Wake::OtherPoll);
    let (waker, woken) = oneshot::channel();
    account.poll = Some(waker);
    Step::Wait(woken, timeout)
}

fn read_and_confirm(bot: &Bot, account: &mut Account, read: Read) -> Vec<Arc<Pending>> {
    let (updates, confirmed) = account.updates.read(read.offset, read.limit);
    if confirmed > 0 {
        bot.shared
            .record(|records| records.counters.updates_settled += confirmed as u64);
    }
    updates
}

fn take(bot: &Bot, read: Read) -> Vec<Arc<Pending>> {
    bot.with(|account| read_and_confirm(bot, account, read))
}

/// Counts a poll as waiting for as long as it lives, which ends early when its client hangs up.
struct Waiting<'a>(&'a Bot);

impl<'a> Waiting<'a> {
    fn new(bot: &'a Bot) -> Self {
        bot.shared
            .record(|records| records.counters.polls_waiting += 1);
        Self(bot)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0
            .shared
            .record(|records| records.counters.polls_waiting -= 1);
    }
}

/// Why it ended; `None`: its time is over.
async fn wait(bot: &Bot, woken: oneshot::Receiver<Wake>, timeout: Duration) -> Option<Wake> {
    let _waiting = Waiting::new(bot);
    tokio::time::timeout(timeout, woken).await.ok()?.ok()
}

/// The first conflict is told at once, further ones within three seconds only after three seconds.
async fn conflict(bot: &Bot, reason: &'static str) -> ApiError {
    let pause = bot.seconds(3);
    let delayed = bot.with(|account| {
        let now = Instant::now();
        let delayed = account.next_conflict_at.is_some_and(|at| now < at);
        if !delayed {
            account.next_conflict_at = Some(now + pause);
        }
        delayed
    });
    if delayed {
        tokio::time::sleep(pause).await;
    }
    ApiError::new(409, reason)
}

fn answer(updates: &[Arc<Pending>]) -> Answer {
    let texts: Vec<&str> = updates
        .iter()
        .map(|pending| pending.json.as_str())
        .collect();
    Answer {
        result: format!("[{}]", texts.join(",")),
        description: None,
    }
}

/// What a rule does to the list.
fn disturb(
    bot: &Bot,
    mut updates: Vec<Arc<Pending>>,
    action: Option<&CallAction>,
) -> Vec<Arc<Pending>> {
    match action {
        Some(CallAction::RepeatUpdates(count)) => {
            let mut all = bot.with(|account| account.updates.last_confirmed(*count));
            all.append(&mut updates);
            all
        }
        Some(CallAction::ShuffleAll { seed }) => {
            updates.shuffle(&mut StdRng::seed_from_u64(*seed));
            updates
        }
        Some(CallAction::ShuffleChats { seed }) => shuffle_chats(&updates, *seed),
        _ => updates,
    }
}

/// Shuffles which chat comes when, then gives each place to the chat's next update.
fn shuffle_chats(updates: &[Arc<Pending>], seed: u64) -> Vec<Arc<Pending>> {
    let mut places: Vec<_> = updates.iter().map(|pending| &pending.queue).collect();
    places.shuffle(&mut StdRng::seed_from_u64(seed));
    let mut left: Vec<&Arc<Pending>> = updates.iter().collect();
    let mut shuffled = Vec::with_capacity(updates.len());
    for place in places {
        if let Some(index) = left.iter().position(|pending| pending.queue == *place) {
            shuffled.push(Arc::clone(left.remove(index)));
        }
    }
    shuffled
}
