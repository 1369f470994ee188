//! How an account is doing: told when it changes, once.

use std::sync::{Mutex, PoisonError};

use chrono::{SubsecRound, Utc};
use tracing::{error, info, warn};
use tributary_bus::{
    Address, ChannelId,
    message::{ChannelHealth, HealthState, Inbound, Origin},
};

use crate::InboundSink;

/// The state that was told last; `None`: nothing yet.
#[derive(Debug, Default)]
pub(crate) struct Health {
    told: Mutex<Option<HealthState>>,
}

impl Health {
    /// Takes note of a state. A change is logged and published; when publishing fails it is told the next time.
    pub(crate) async fn note(&self, sink: &InboundSink, state: HealthState, reason: &str) {
        let Some(before) = self.change(state) else {
            return;
        };
        let channel_id = sink.channel();
        match (state, before) {
            (HealthState::Ok, None) => {}
            (HealthState::Ok, Some(_)) => info!(%channel_id, "channel works again"),
            (HealthState::Starting, _) => {}
            (HealthState::Degraded, _) => {
                warn!(%channel_id, reason, "channel works, but not as it should")
            }
            (HealthState::Down, _) => {
                warn!(%channel_id, reason, "provider cannot be used; trying again")
            }
            (HealthState::Misconfigured, _) => {
                error!(%channel_id, reason, "channel is misconfigured; somebody must act");
            }
        }
        let event = event(channel_id, state, reason);
        if let Err(error) = sink.publish(vec![event]).await {
            warn!(%channel_id, %error, "health of the channel not published");
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = before;
        }
    }

    /// The state before, when this is another one.
    fn change(&self, state: HealthState) -> Option<Option<HealthState>> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (*told != Some(state)).then(|| told.replace(state))
    }
}

fn event(channel: &ChannelId, state: HealthState, reason: &str) -> Inbound {
    Inbound::Health(ChannelHealth {
        origin: Origin {
            channel_id: channel.clone(),
            address: Address::from(""),
            occurred_at: Utc::now().trunc_subsecs(3),
            raw: None,
        },
        state,
        reason: reason.to_owned(),
        action: None,
        extra: serde_json::Map::new(),
    })
}
