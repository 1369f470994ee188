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
}

impl BotProfile {
    /// A bot with this token and a plain name.
    pub fn new(token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            first_name: "Shop Bot".into(),
            username: "shop_bot".into(),
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
