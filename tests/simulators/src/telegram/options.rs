//! How a simulator is set up: its bots, its patience, its bounds.

use std::time::Duration;

/// One bot, as BotFather would have made it.
#[derive(Debug, Clone)]
pub struct BotProfile {
    /// `<bot id digits>:<secret>`.
    pub token: String,
    /// Shown as `from.first_name`.
    pub first_name: String,
    /// Without the `@`.
    pub username: String,
    /// Privacy mode is off: in groups it sees every message, not only those that are about it.
    pub reads_all_group_messages: bool,
}

impl BotProfile {
    /// A bot with this token and a plain name.
    pub fn new(token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            first_name: "Shop Bot".into(),
            username: "shop_bot".into(),
            reads_all_group_messages: false,
        }
    }

    /// The number before the colon; 0 where there is none.
    pub fn id(&self) -> i64 {
        self.token
            .split(':')
            .next()
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_default()
    }
}

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Of an uploaded photo.
    pub photo_upload: usize,
    /// Of any other upload.
    pub upload: usize,
    /// Of a photo that is fetched from a URL.
    pub photo_url: usize,
    /// Of any other file that is fetched from a URL.
    pub url: usize,
    /// Of a file that `getFile` gives a path to.
    pub download: u64,
}

impl Default for SizeLimits {
    /// Those of the public server.
    fn default() -> Self {
        Self {
            photo_upload: 10 << 20,
            upload: 50 << 20,
            photo_url: 5 << 20,
            url: 20 << 20,
            download: 20 << 20,
        }
    }
}

/// How many messages the provider takes before it answers 429, as buckets that refill steadily. What is refused costs nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimits {
    /// Of a bot to all chats, in a second, and at once.
    pub bot_per_second: u32,
    /// To one private chat, in a minute.
    pub private_per_minute: u32,
    /// To one private chat at once.
    pub private_burst: u32,
    /// To one group or channel, in a minute, and at once.
    pub group_per_minute: u32,
}

impl Default for RateLimits {
    /// The provider's guidance: 30 in a second for a bot, one in a second for a person with short bursts, 20 in a minute for a group.
    fn default() -> Self {
        Self {
            bot_per_second: 30,
            private_per_minute: 60,
            private_burst: 3,
            group_per_minute: 20,
        }
    }
}

/// The settings of a simulator.
#[derive(Debug, Clone)]
pub struct Options {
    /// At least one; the first is the one that [`user`](super::TelegramSimulator::user) talks to.
    pub bots: Vec<BotProfile>,
    /// How long one second of the provider's *own* waiting lasts: webhook retries, the pause between two conflict answers,
    /// the flood limit of `setWebhook`. What a client asks for (`timeout`) and what it is told (`retry_after`) stay seconds.
    pub second: Duration,
    /// The `update_id` of each bot's first update.
    pub first_update_id: i64,
    /// How long a webhook may take to answer. The real server waits about 60 s.
    pub webhook_timeout: Duration,
    /// The updates a bot may have waiting; further ones are lost, as at the provider.
    pub max_pending: usize,
    /// How many calls, sent messages and webhook attempts each are remembered; older ones are forgotten, counters go on.
    pub max_records: usize,
    /// When it answers 429 by itself; `None`: never, only by [`Misbehave`](super::Misbehave).
    pub rates: Option<RateLimits>,
    /// What is refused as too big.
    pub sizes: SizeLimits,
    /// How long a callback query can be answered.
    pub callback_life: Duration,
    /// How old the bot's messages may be for it to delete them.
    pub delete_within: Duration,
    /// The bytes of files that are remembered for each bot; older files become unknown.
    pub max_file_bytes: usize,
}

impl Default for Options {
    /// One bot, and the provider's own numbers.
    fn default() -> Self {
        Self {
            bots: vec![BotProfile::new("123456789:AAExampleToken")],
            second: Duration::from_secs(1),
            first_update_id: 700_100_001,
            webhook_timeout: Duration::from_secs(60),
            max_pending: 100_000,
            max_records: 200_000,
            rates: None,
            sizes: SizeLimits::default(),
            callback_life: Duration::from_secs(150),
            delete_within: Duration::from_secs(48 * 3600),
            max_file_bytes: 256 << 20,
        }
    }
}

impl Options {
    /// The defaults, a hundred times more impatient.
    pub fn quick() -> Self {
        Self {
            second: Duration::from_millis(10),
            ..Self::default()
        }
    }

    /// The same with these bots.
    #[must_use]
    pub fn with_bots(mut self, bots: impl IntoIterator<Item = BotProfile>) -> Self {
        self.bots = bots.into_iter().collect();
        self
    }
}
