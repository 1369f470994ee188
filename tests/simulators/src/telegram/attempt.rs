//! One attempt to deliver an update to a webhook.

use std::sync::Arc;
use std::time::SystemTime;

use axum::http::{StatusCode, header};
use tokio::time::Instant;

use super::account::Bot;
use super::delivery::{self, Courier};
use super::methods;
use super::misbehave::DeliveryAction;
use super::params::Params;
use super::records::Delivery;
use super::updates::Pending;

const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";
/// Of an answer; a call to the API fits easily.
const MAX_ANSWER: usize = 1 << 20;
/// Seconds that a webhook may ask for.
const MAX_RETRY_AFTER: u32 = 3600;

pub(super) struct Failed {
    /// Seconds the webhook asked for.
    pub retry_after: Option<u32>,
}

/// Delivers an update once, and records how that went.
pub(super) async fn once(
    bot: &Arc<Bot>,
    courier: &Courier,
    pending: &Pending,
    attempt: u32,
    action: Option<DeliveryAction>,
) -> Result<(), Failed> {
    // The semaphore is never closed.
    let _permit = courier
        .permits
        .acquire()
        .await
        .map_err(|_| Failed { retry_after: None })?;
    let began = Instant::now();
    let limit = match action {
        Some(DeliveryAction::HangUp(after)) => after,
        _ => bot.shared.options.webhook_timeout,
    };
    let posted = tokio::time::timeout(limit, post(bot, courier, pending, action.as_ref())).await;
    let mut retry_after = None;
    let outcome = match posted {
        Err(_) => Err("Read timeout expired".to_owned()),
        Ok(Err(error)) if error.is_connect() => Err("Connection refused".to_owned()),
        Ok(Err(_)) => Err("Connection closed".to_owned()),
        Ok(Ok(answer)) => {
            retry_after = answer.retry_after;
            if answer.status.is_success() {
                run_call_in(bot, &answer.body).await;
            }
            Ok(answer.status)
        }
    };
    let failure = match &outcome {
        Ok(status) if status.is_success() => None,
        Ok(status) => Some(format!("Wrong response from the webhook: {status}")),
        Err(reason) => Some(reason.clone()),
    };
    bot.shared.record(|records| {
        records.add_delivery(|order| Delivery {
            order,
            at: SystemTime::now(),
            began,
            ended: Instant::now(),
            bot_id: bot.profile.id(),
            update_id: pending.update_id,
            chat_id: pending.queue.id,
            attempt,
            outcome: outcome.map(|status| status.as_u16()),
            disturbed_by: action,
        });
    });
    match failure {
        None => Ok(()),
        Some(reason) => {
            delivery::note_error(bot, courier, reason);
            Err(Failed { retry_after })
        }
    }
}

struct WebhookAnswer {
    status: StatusCode,
    retry_after: Option<u32>,
    body: Vec<u8>,
}

async fn post(
    bot: &Bot,
    courier: &Courier,
    pending: &Pending,
    action: Option<&DeliveryAction>,
) -> Result<WebhookAnswer, reqwest::Error> {
    let settings = &courier.settings;
    let mut request = bot
        .shared
        .http
        .post(settings.url.as_str())
        .header(header::CONTENT_TYPE.as_str(), "application/json")
        .body(pending.json.clone());
    let secret = match action {
        Some(DeliveryAction::WrongSecret) => Some("not-the-secret-that-was-set"),
        Some(DeliveryAction::NoSecret) => None,
        _ => settings.secret.as_deref(),
    };
    if let Some(secret) = secret {
        request = request.header(SECRET_HEADER, secret);
    }
    let mut response = request.send().await?;
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok())
        .map(|seconds| seconds.min(MAX_RETRY_AFTER));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() <= MAX_ANSWER {
            body.extend_from_slice(&chunk);
        }
    }
    Ok(WebhookAnswer {
        status: response.status(),
        retry_after,
        body,
    })
}

/// The answer to a delivery may be a call to the API, whose result nobody is told.
async fn run_call_in(bot: &Arc<Bot>, body: &[u8]) {
    let Some(params) = serde_json::from_slice(body)
        .ok()
        .and_then(Params::from_object)
    else {
        return;
    };
    let Some(method) = params.get("method") else {
        return;
    };
    let request = methods::Request {
        bot,
        params: &params,
        action: None,
    };
    methods::run(method, &request)
        .await
        .map(drop)
        .unwrap_or_default();
}
