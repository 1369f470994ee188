//! The webhook's settings, kept as wanted, and how it fares at Telegram.

use std::collections::BTreeSet;

use chrono::Utc;
use metrics::gauge;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    super::{
        client::{CallError, Refusal},
        wire::{ALLOWED_UPDATES, Nothing, SetWebhook, WebhookInfo},
    },
    WantedWebhook, Way, pause,
    watch::Watch,
};
use crate::{HealthReport, InboundSink, ReceiveError};

impl Way {
    /// Sets the webhook when it is not as wanted, now and whenever somebody changes it, and watches its health.
    pub(super) async fn keep_webhook(
        &self,
        inbound: &InboundSink,
        wanted: &WantedWebhook,
        shutdown: &CancellationToken,
    ) -> Result<(), ReceiveError> {
        let mut failures = 0;
        let mut watch = Watch::default();
        while !shutdown.is_cancelled() {
            let looked = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                looked = self.look(wanted, &mut watch) => looked,
            };
            let wait = match looked {
                Ok(report) => {
                    failures = 0;
                    inbound.report(report).await;
                    inbound.settled().await;
                    self.look_every
                }
                Err(Trouble::Call(error)) => {
                    failures += 1;
                    self.troubled(error, failures, inbound).await?
                }
                Err(Trouble::Webhook(refusal)) => {
                    return Err(ReceiveError::Misconfigured(format!(
                        "Telegram refuses the webhook: {refusal}; ingress.public_url must be https, on port 443, 80, 88 \
                         or 8443, and reachable from the internet"
                    )));
                }
            };
            pause(wait, shutdown).await;
        }
        Ok(())
    }

    async fn look(
        &self,
        wanted: &WantedWebhook,
        watch: &mut Watch,
    ) -> Result<HealthReport, Trouble> {
        let channel_id = &self.channel;
        let info: WebhookInfo = self.call("getWebhookInfo", &Nothing {}).await?;
        // A few thousand are exact in an f64 as well.
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        gauge!("tributary_telegram_pending_updates", "channel" => channel_id.0.clone())
            .set(info.pending_update_count as f64);
        if is_as_wanted(&info, wanted) {
            return Ok(watch.look(&info, Utc::now().timestamp()));
        }
        let request = SetWebhook {
            url: &wanted.url,
            secret_token: wanted.secret.expose(),
            max_connections: wanted.connections,
            allowed_updates: ALLOWED_UPDATES,
            drop_pending_updates: false,
        };
        match self.call::<bool>("setWebhook", &request).await {
            Ok(_) => info!(%channel_id, "webhook set"),
            Err(CallError::Refused(refusal)) if refusal.code == 400 => {
                return Err(Trouble::Webhook(refusal));
            }
            Err(error) => return Err(error.into()),
        }
        // What went wrong before was another webhook's trouble.
        *watch = Watch::after(&info);
        Ok(HealthReport::ok())
    }
}

/// Why the webhook could not be looked after.
enum Trouble {
    Call(CallError),
    /// Telegram does not want this address.
    Webhook(Refusal),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
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
