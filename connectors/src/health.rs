//! How an account is doing: told when it changes, once.

use std::sync::{Mutex, PoisonError};

use chrono::{SubsecRound, Utc};
use tracing::{error, info, warn};
use tributary_bus::{
    Address, ChannelId,
    message::{ChannelHealth, Inbound, Origin},
};

use crate::InboundSink;

/// What can be told of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ok,
    /// The provider cannot be used right now; it is tried again.
    Down,
    /// A person must act.
    Misconfigured,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Down => "down",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// The state that was told last; `None`: nothing yet.
#[derive(Debug, Default)]
pub(crate) struct Health {
    told: Mutex<Option<State>>,
}

impl Health {
    /// Takes note of a state. A change is logged and published; when publishing fails it is told the next time.
    pub(crate) async fn note(&self, sink: &InboundSink, state: State, reason: &str) {
        let Some(before) = self.change(state) else {
            return;
        };
        let channel_id = sink.channel();
        match (state, before) {
            (State::Ok, None) => {}
            (State::Ok, Some(_)) => info!(%channel_id, "channel works again"),
            (State::Down, _) => warn!(%channel_id, reason, "provider cannot be used; trying again"),
            (State::Misconfigured, _) => {
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
    fn change(&self, state: State) -> Option<Option<State>> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (*told != Some(state)).then(|| told.replace(state))
    }
}

fn event(channel: &ChannelId, state: State, reason: &str) -> Inbound {
    Inbound::Health(ChannelHealth {
        origin: Origin {
            channel_id: channel.clone(),
            address: Address::from(""),
            occurred_at: Utc::now().trunc_subsecs(3),
            raw: None,
        },
        state: state.as_str().to_owned(),
        reason: reason.to_owned(),
        extra: serde_json::Map::new(),
    })
}
