//! Settings of a bot.

use std::{path::PathBuf, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tributary_config::{Problem, Secret};
use url::Url;

use crate::Rate;

/// `[channels.<id>]` of a bot.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `<bot id>:<secret>`, from @BotFather.
    pub token: Secret,
    /// The Bot API server.
    pub api_url: Url,
    /// What Telegram sends along with each webhook; empty: derived from the token.
    pub secret_token: Secret,
    /// Taken as well: the one before, while webhooks with it are still on their way.
    pub previous_secret_token: Secret,
    /// Whether what is written in groups makes conversations.
    pub groups: Listen,
    /// Whether what is posted in channels makes conversations.
    pub channels: Listen,
    /// Where the files of an own Bot API server in local mode can be read; `None`: no local mode.
    pub local_files: Option<PathBuf>,
    /// Webhooks at once, 1 to 100.
    pub webhook_connections: u32,
    /// How often the webhook is compared with what is wanted, and its health looked at.
    #[serde(with = "tributary_config::duration")]
    pub webhook_check: Duration,
    /// Messages a second, to all chats together.
    pub rate_per_second: f64,
    /// Messages a second to one person, and how many at once.
    pub chat_rate_per_second: f64,
    pub chat_burst: u32,
    /// Messages a minute to one group or channel.
    pub group_rate_per_minute: f64,
}

impl Default for Config {
    /// The rates are Telegram's guidance (https://core.telegram.org/bots/faq, "My bot is hitting limits").
    fn default() -> Self {
        Self {
            token: Secret::default(),
            api_url: api_url(),
            secret_token: Secret::default(),
            previous_secret_token: Secret::default(),
            groups: Listen::Ignore,
            channels: Listen::Ignore,
            local_files: None,
            webhook_connections: 40,
            webhook_check: Duration::from_secs(60),
            rate_per_second: 30.0,
            chat_rate_per_second: 1.0,
            chat_burst: 3,
            group_rate_per_minute: 20.0,
        }
    }
}

#[expect(clippy::expect_used, reason = "a constant")]
fn api_url() -> Url {
    Url::parse("https://api.telegram.org").expect("a valid URL")
}

/// Whether what is written somewhere makes conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listen {
    /// It is counted (`tributary_ignored_total`), and that is all.
    #[default]
    Ignore,
    On,
}

/// The three rates of a bot.
pub(super) struct Rates {
    pub account: Rate,
    pub chat: Rate,
    pub group: Rate,
}

impl Config {
    /// Everything that is wrong, below the key `path`.
    pub(super) fn check(&self, path: &str) -> Result<Rates, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |key: &str, message: &str| {
            problems.push(Problem::new(format!("{path}.{key}"), message));
        };
        if self.token.is_empty() {
            wrong(
                "token",
                "missing; @BotFather gives one, write for example \"env:TELEGRAM_TOKEN\"",
            );
        } else if !is_token(self.token.expose()) {
            wrong(
                "token",
                "not a bot token; @BotFather gives one like 123456789:AAExample",
            );
        }
        if !matches!(self.api_url.scheme(), "http" | "https") || self.api_url.host().is_none() {
            wrong("api_url", "must start with https:// or http://");
        }
        for (key, secret) in [
            ("secret_token", &self.secret_token),
            ("previous_secret_token", &self.previous_secret_token),
        ] {
            let secret = secret.expose();
            if secret.len() > 256 || !secret.bytes().all(is_secret_byte) {
                wrong(
                    key,
                    "must be 1 to 256 of A-Z, a-z, 0-9, \"_\" and \"-\"; leave it out to have one derived",
                );
            }
        }
        if self
            .local_files
            .as_ref()
            .is_some_and(|path| !path.is_absolute())
        {
            wrong(
                "local_files",
                "must be an absolute path, such as /var/lib/telegram-bot-api",
            );
        }
        if !(1..=100).contains(&self.webhook_connections) {
            wrong("webhook_connections", "must be 1 to 100");
        }
        if self.webhook_check.is_zero() {
            wrong("webhook_check", "must be above 0");
        }
        let second = Duration::from_secs(1);
        // A second's worth at once keeps up with the rate; a group may use up its minute.
        let account = Rate::new(self.rate_per_second, second, burst(self.rate_per_second));
        let chat = Rate::new(self.chat_rate_per_second, second, self.chat_burst);
        let group = Rate::new(
            self.group_rate_per_minute,
            Duration::from_secs(60),
            burst(self.group_rate_per_minute),
        );
        for (key, rate) in [
            ("rate_per_second", account),
            ("chat_rate_per_second", chat),
            ("group_rate_per_minute", group),
        ] {
            if rate.is_none() {
                wrong(key, "must be above 0 (and chat_burst at least 1)");
            }
        }
        match (account, chat, group) {
            (Some(account), Some(chat), Some(group)) if problems.is_empty() => Ok(Rates {
                account,
                chat,
                group,
            }),
            _ => Err(problems),
        }
    }

    /// The bot's own id: the digits of its token.
    pub(super) fn bot_id(&self) -> i64 {
        let digits = self.token.expose().split(':').next();
        digits.and_then(|id| id.parse().ok()).unwrap_or_default()
    }

    /// What every webhook of this account must carry. Derived from the token it is the same at every worker.
    pub(super) fn secret_of(&self, channel: &str) -> Secret {
        if !self.secret_token.is_empty() {
            return self.secret_token.clone();
        }
        Secret::new(keyed_hash(
            self.token.expose(),
            &format!("tributary webhook secret of {channel}"),
        ))
    }
}

/// HMAC-SHA256 in hex, 64 characters.
pub(super) fn keyed_hash(key: &str, text: &str) -> String {
    // HMAC takes keys of every length, so that there is always an answer.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn is_token(text: &str) -> bool {
    text.split_once(':').is_some_and(|(id, secret)| {
        !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_digit())
            && !secret.is_empty()
            && secret.bytes().all(is_secret_byte)
    })
}

fn is_secret_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// As many at once as the rate gives in its period, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before"
)]
fn burst(rate: f64) -> u32 {
    rate.clamp(1.0, 1e6) as u32
}
