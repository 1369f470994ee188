//! Limits of rate that are the provider's own: one bucket for the bot, one for each chat.

use std::collections::HashMap;

use tokio::time::Instant;

use super::answer::ApiError;
use super::options::RateLimits;

/// Chats whose buckets are kept; a full one can be forgotten.
const MAX_CHATS: usize = 10_000;

pub(super) struct Rates {
    limits: Option<RateLimits>,
    bot: Bucket,
    chats: HashMap<i64, Bucket>,
}

/// What is left, when it was counted, and how it refills.
#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
    size: f64,
    per_second: f64,
}

impl Bucket {
    fn new(size: u32, per_second: f64) -> Self {
        Self {
            left: f64::from(size),
            at: Instant::now(),
            size: f64::from(size),
            per_second,
        }
    }

    fn refill(&mut self, now: Instant) {
        let since = now.duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.size);
        self.at = now;
    }

    /// Whole seconds until there is one; `None`: there is.
    fn wait(&self) -> Option<u32> {
        if self.left >= 1.0 {
            return None;
        }
        let seconds = ((1.0 - self.left) / self.per_second).ceil();
        Some((seconds.clamp(1.0, 3600.0)) as u32)
    }
}

impl Rates {
    pub(super) fn new(limits: Option<RateLimits>) -> Self {
        let bot = limits.unwrap_or_default().bot_per_second;
        Self {
            limits,
            bot: Bucket::new(bot, f64::from(bot)),
            chats: HashMap::new(),
        }
    }

    /// Takes messages to this chat, or says when to come again. Where there is room for one, an album goes as a whole and
    /// leaves a debt.
    pub(super) fn take(
        &mut self,
        chat_id: i64,
        private: bool,
        count: usize,
    ) -> Result<(), ApiError> {
        let Some(limits) = self.limits else {
            return Ok(());
        };
        let now = Instant::now();
        if self.chats.len() >= MAX_CHATS {
            self.chats.retain(|_, bucket| {
                bucket.refill(now);
                bucket.left < bucket.size
            });
        }
        let chat = self.chats.entry(chat_id).or_insert_with(|| {
            let (size, per_minute) = if private {
                (limits.private_burst, limits.private_per_minute)
            } else {
                (limits.group_per_minute, limits.group_per_minute)
            };
            Bucket::new(size, f64::from(per_minute) / 60.0)
        });
        chat.refill(now);
        self.bot.refill(now);
        if let Some(seconds) = chat.wait().max(self.bot.wait()) {
            return Err(ApiError::too_many_requests(seconds));
        }
        let count = count as f64;
        chat.left -= count;
        self.bot.left -= count;
        Ok(())
    }
}
