//! How an account is doing: fed by sends, by the session and by the channel itself, and told when it changes.
//!
//! When something is told is decided in [`machine`]; here it is shown, logged and published.

mod machine;

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SubsecRound, Utc};
use metrics::gauge;
use tracing::{error, info, warn};
use tributary_bus::{
    Address,
    message::{ChannelHealth, HealthState, Inbound, Origin},
};

use crate::InboundSink;
use machine::{Machine, View};

/// What a channel says about its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    pub(crate) state: HealthState,
    /// For a person: what happened; no token, no address, no message text.
    pub(crate) reason: String,
    /// For a person: what to do about it.
    pub(crate) action: Option<String>,
    /// When it ends by itself.
    pub(crate) until: Option<DateTime<Utc>>,
}

impl HealthReport {
    /// Nothing ails it (any more).
    pub fn ok() -> Self {
        Self::new(HealthState::Ok, String::new(), None)
    }

    /// It works, and not as it should.
    pub fn degraded(reason: impl Into<String>, action: Option<String>) -> Self {
        Self::new(HealthState::Degraded, reason.into(), action)
    }

    /// The provider cannot be used right now; it is tried again.
    pub fn down(reason: impl Into<String>, action: Option<String>) -> Self {
        Self::new(HealthState::Down, reason.into(), action)
    }

    /// A person must act; `action` says how.
    pub fn misconfigured(reason: impl Into<String>, action: impl Into<String>) -> Self {
        let action = Some(action.into());
        Self::new(HealthState::Misconfigured, reason.into(), action)
    }

    fn new(state: HealthState, reason: String, action: Option<String>) -> Self {
        Self {
            state,
            reason,
            action,
            until: None,
        }
    }

    /// The same, which ends by itself: nobody has to say that it is over.
    #[must_use]
    pub(crate) fn until(self, until: DateTime<Utc>) -> Self {
        Self {
            until: Some(until),
            ..self
        }
    }
}

/// Where something was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Deliveries.
    Sending,
    /// The connection that the account holds, as the harness sees it.
    Session,
    /// The channel's own reports.
    Channel,
}

impl Source {
    const ALL: [Self; 3] = [Self::Sending, Self::Session, Self::Channel];
}

/// The health of one account in one process; published by the worker that owns its lane.
#[derive(Debug)]
pub(crate) struct Health {
    channel: String,
    machine: Mutex<Machine>,
}

/// Ends a telling, also one that was broken off.
struct Telling<'a>(&'a Health);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.machine().telling = false;
    }
}

impl Health {
    pub(crate) fn new(channel: &str) -> Self {
        Self {
            channel: channel.to_owned(),
            machine: Mutex::new(Machine::new(now())),
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew: the account's lane was claimed.
    pub(crate) fn begin(&self) {
        *self.machine() = Machine::new(now());
        self.show(Some(HealthState::Starting));
    }

    /// The lane is another worker's.
    pub(crate) fn end(&self) {
        *self.machine() = Machine::new(now());
        self.show(None);
    }

    /// The gauge: one state is 1, the others are 0.
    fn show(&self, current: Option<HealthState>) {
        for state in HealthState::ALL {
            let value = if current == Some(state) { 1.0 } else { 0.0 };
            gauge!("tributary_channel_observed", "channel" => self.channel.clone(), "state" => state.as_str())
                .set(value);
        }
    }

    fn feed(&self, source: Source, report: HealthReport) {
        let mut machine = self.machine();
        if !machine.feed(source, report, now()) {
            return;
        }
        let view = machine.view.clone();
        drop(machine);
        self.show(Some(view.state));
        self.log(view);
    }

    fn log(&self, View { state, reason, .. }: View) {
        let channel_id = self.channel.as_str();
        match state {
            HealthState::Starting => {}
            HealthState::Ok => info!(channel_id, "channel works"),
            HealthState::Degraded => {
                warn!(channel_id, reason, "channel works, but not as it should");
            }
            HealthState::Down => {
                warn!(channel_id, reason, "provider cannot be used; trying again");
            }
            HealthState::Misconfigured => {
                error!(
                    channel_id,
                    reason, "channel is misconfigured; somebody must act"
                );
            }
        }
    }

    /// Counts a session that broke; the account is down when it does so again and again.
    fn session_broke(&self, reason: &str) {
        let again_and_again = self.machine().session_broke();
        if again_and_again {
            self.feed(Source::Session, HealthReport::down(reason, None));
        }
    }

    fn session_settled(&self) {
        self.machine().session_settled();
        self.feed(Source::Session, HealthReport::ok());
    }
}

impl InboundSink {
    /// Takes note of what a channel says about its account; a change is told. For the session (the worker that owns
    /// the account's lane): a report stands until the next one.
    pub async fn report(&self, report: HealthReport) {
        self.note(Source::Channel, report).await;
    }

    pub(crate) async fn note(&self, source: Source, report: HealthReport) {
        self.health.feed(source, report);
        self.tell_health().await;
    }

    pub(crate) async fn session_broke(&self, reason: &str) {
        self.health.session_broke(reason);
        self.tell_health().await;
    }

    /// The session works: its connection stands, its first call succeeded. May be said again.
    pub async fn settled(&self) {
        self.health.session_settled();
        self.tell_health().await;
    }

    /// Publishes the state if it is to be told; what fails is told the next time that anybody asks.
    pub(crate) async fn tell_health(&self) {
        let over = self.health.machine().over(now());
        for source in over {
            self.health.feed(source, HealthReport::ok());
        }
        loop {
            let Some(view) = self.health.machine().news(now()) else {
                return;
            };
            let telling = Telling(&self.health);
            if let Err(error) = self.publish(vec![self.event(view.clone())]).await {
                warn!(channel_id = %self.channel(), %error, "health of the channel not published");
                return;
            }
            let again = self.health.machine().told(view.clone(), now());
            if again {
                self.health.log(view);
            }
            drop(telling);
        }
    }

    fn event(&self, view: View) -> Inbound {
        Inbound::Health(ChannelHealth {
            origin: Origin {
                channel_id: self.channel().clone(),
                address: Address::from(""),
                occurred_at: view.since,
                event: None,
                raw: None,
            },
            state: view.state,
            reason: view.reason,
            action: view.action,
            reason_since: view.reason_since,
            extra: serde_json::Map::new(),
        })
    }
}

fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}
