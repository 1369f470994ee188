//! Setting, removing and describing the webhook.

use serde_json::json;
use tokio::time::Instant;
use url::Url;

use super::super::account::{Account, Bot, Wake};
use super::super::answer::{Answer, ApiError};
use super::super::delivery::{self, Settings};
use super::super::params::Params;
use super::Request;

const MAX_SECRET: usize = 256;
const DEFAULT_CONNECTIONS: i64 = 40;
const MAX_CONNECTIONS: i64 = 100;

/// `setWebhook`. As the self-hosted server in local mode: plain `http`, any port and any address are taken.
pub(super) fn set(request: &Request<'_>) -> Result<Answer, ApiError> {
    let (bot, params) = (request.bot, request.params);
    let Some(url) = params.get("url") else {
        return Ok(delete(request));
    };
    let settings = settings(url, params)?;
    let allowed = params.json("allowed_updates");
    let drop_pending = params.flag("drop_pending_updates");
    bot.with(|account| {
        let now = Instant::now();
        if account.setting_allowed_from.is_some_and(|from| now < from) {
            return Err(ApiError::too_many_requests(1));
        }
        account.setting_allowed_from = Some(now + bot.seconds(1));
        let list_changed = account.updates.allow(allowed.as_ref());
        let same = account
            .webhook
            .as_ref()
            .is_some_and(|webhook| webhook.settings == settings);
        if same && !list_changed && !drop_pending {
            return Ok(Answer::done_because("Webhook is already set"));
        }
        if drop_pending {
            drop_updates(bot, account);
        }
        account.wake(Wake::Webhook);
        delivery::start(bot, account, settings);
        Ok(Answer::done_because("Webhook was set"))
    })
}

/// `deleteWebhook`, and `setWebhook` without an address.
pub(super) fn delete(request: &Request<'_>) -> Answer {
    let bot = request.bot;
    let drop_pending = request.params.flag("drop_pending_updates");
    let removed = bot.with(|account| {
        if drop_pending {
            drop_updates(bot, account);
        }
        delivery::stop(account)
    });
    Answer::done_because(if removed {
        "Webhook was deleted"
    } else {
        "Webhook is already deleted"
    })
}

/// `getWebhookInfo`.
pub(super) fn info(request: &Request<'_>) -> Answer {
    let info = request.bot.with(|account| {
        let mut info = json!({
            "url": "",
            "has_custom_certificate": false,
            "pending_update_count": account.updates.len(),
        });
        if let Some(webhook) = &account.webhook {
            info["url"] = json!(webhook.settings.url.as_str());
            info["max_connections"] = json!(webhook.settings.max_connections);
            info["ip_address"] = json!("127.0.0.1");
            if let Some((date, message)) = &webhook.last_error {
                info["last_error_date"] = json!(date);
                info["last_error_message"] = json!(message);
            }
        }
        if let Some(allowed) = account.updates.allowed() {
            info["allowed_updates"] = json!(allowed);
        }
        info
    });
    Answer::new(&info)
}

fn settings(url: &str, params: &Params) -> Result<Settings, ApiError> {
    let invalid = || ApiError::bad_request("invalid webhook URL specified");
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    let url = Url::parse(&with_scheme).map_err(|_| invalid())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(invalid());
    }
    let secret = params.get("secret_token").map(str::to_owned);
    if let Some(secret) = &secret {
        if secret.len() > MAX_SECRET {
            return Err(ApiError::bad_request("secret token is too long"));
        }
        if !secret
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        {
            return Err(ApiError::bad_request(
                "secret token contains unallowed characters",
            ));
        }
    }
    let connections = params
        .integer("max_connections")
        .unwrap_or(DEFAULT_CONNECTIONS);
    let max_connections = usize::try_from(connections.clamp(1, MAX_CONNECTIONS)).unwrap_or(1);
    Ok(Settings {
        url,
        secret,
        max_connections,
    })
}

fn drop_updates(bot: &Bot, account: &mut Account) {
    let dropped = account.updates.clear() as u64;
    bot.shared
        .record(|records| records.counters.updates_settled += dropped);
}
