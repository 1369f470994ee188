//! An integrator's endpoint: it receives CloudEvents signed by the Standard Webhooks scheme.
//!
//! The signature is checked with the scheme's own crate, so that ours is held against somebody else's reading of it. Until a
//! secret is set, signatures are not checked.

mod misbehave;
mod order;
mod records;
mod server;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use standardwebhooks::Webhook;

use crate::script::{Rule, Script, Times};
use crate::serve::Server;
use crate::wait::Bell;
use crate::{TimedOut, lock};

pub use self::misbehave::{EndpointAction, EventMatch};
pub use self::order::{Ordered, OutOfOrder};
pub use self::records::{EndpointRecords, Received, Refused};

/// How many accepted events, and how many refused requests, are remembered by default.
const MAX_RECORDS: usize = 500_000;

/// A running endpoint. Dropping it stops it.
pub struct Endpoint {
    shared: Arc<Shared>,
    server: Server,
}

struct Shared {
    secrets: RwLock<Vec<Webhook>>,
    records: Mutex<EndpointRecords>,
    bell: Bell,
    script: Script<EventMatch, EndpointAction>,
}

impl Shared {
    fn record<T>(&self, step: impl FnOnce(&mut EndpointRecords) -> T) -> T {
        let result = step(&mut lock(&self.records));
        self.bell.ring();
        result
    }
}

/// A secret that is not `whsec_` and base64.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint's secret cannot be read: {0}")]
pub struct BadSecret(String);

impl Endpoint {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::start_bounded(MAX_RECORDS).await
    }

    /// The same, remembering this many events.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start_bounded(max_records: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            secrets: RwLock::new(Vec::new()),
            records: Mutex::new(EndpointRecords::new(max_records)),
            bell: Bell::new(),
            script: Script::new(),
        });
        let server = Server::start(server::router(Arc::clone(&shared))).await?;
        Ok(Self { shared, server })
    }

    /// Where events are to be posted to.
    pub fn url(&self) -> String {
        format!("{}/hook", self.server.base_url())
    }

    /// Cuts every connection and stops listening. What was recorded can still be read.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// From now on every request must be signed with this secret (`whsec_<base64>`).
    ///
    /// # Errors
    /// The secret cannot be read; the ones before stay in force.
    pub fn set_secret(&self, secret: &str) -> Result<(), BadSecret> {
        self.set_secrets(&[secret])
    }

    /// The same with several secrets, one of which must fit: an integrator in the middle of a rotation. None: not checked.
    ///
    /// # Errors
    /// One cannot be read; the ones before stay in force.
    pub fn set_secrets(&self, secrets: &[&str]) -> Result<(), BadSecret> {
        let read = secrets.iter().map(|secret| Webhook::new(secret));
        let webhooks = read.collect::<Result<Vec<_>, _>>();
        let webhooks = webhooks.map_err(|error| BadSecret(error.to_string()))?;
        *self
            .shared
            .secrets
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = webhooks;
        Ok(())
    }

    /// Adds a rule; those in force come first.
    pub fn misbehave(&self, matches: EventMatch, times: Times, action: EndpointAction) {
        self.add_rule(Rule::new(matches, times, action));
    }

    /// Likewise, with a rule that may skip some first.
    pub fn add_rule(&self, rule: Rule<EventMatch, EndpointAction>) {
        self.shared.script.add(rule);
    }

    /// Takes all rules back.
    pub fn behave(&self) {
        self.shared.script.clear();
    }

    /// Every accepted event in the order of arrival, repetitions included.
    pub fn events(&self) -> Vec<Arc<Received>> {
        self.look(|records| records.events.iter().map(Arc::clone).collect())
    }

    /// Likewise, of one type: `message.created.v1`.
    pub fn events_of_type(&self, event_type: &str) -> Vec<Arc<Received>> {
        let of_type = |received: &&Arc<Received>| received.event_type() == event_type;
        self.look(|records| {
            records
                .events
                .iter()
                .filter(of_type)
                .map(Arc::clone)
                .collect()
        })
    }

    /// Requests that were refused: wrong signature, missing header, not a CloudEvent.
    pub fn refused(&self) -> Vec<Arc<Refused>> {
        self.look(|records| records.refused.iter().map(Arc::clone).collect())
    }

    /// The `webhook-id`s that were accepted more than once, and how often.
    pub fn duplicates(&self) -> Vec<(String, u64)> {
        self.look(EndpointRecords::duplicates)
    }

    /// Checks that per subject `sequence` rises from event to event, repetitions of a `webhook-id` left out.
    ///
    /// # Errors
    /// It does not; the error's text names each place.
    pub fn assert_ordered(&self) -> Result<Ordered, OutOfOrder> {
        self.look(order::check)
    }

    /// Looks at what is recorded without copying it.
    pub fn look<T>(&self, view: impl FnOnce(&EndpointRecords) -> T) -> T {
        view(&lock(&self.shared.records))
    }

    /// Waits until the records satisfy a predicate, which is asked once and after every change.
    ///
    /// # Errors
    /// They do not within `within`.
    pub async fn wait_until(
        &self,
        within: Duration,
        predicate: impl FnMut(&EndpointRecords) -> bool,
    ) -> Result<(), TimedOut> {
        let shared = &self.shared;
        shared
            .bell
            .wait_for(within, &shared.records, predicate)
            .await
    }

    /// Waits until so many different events have been accepted.
    ///
    /// # Errors
    /// Fewer were within `within`.
    pub async fn wait_for_events(&self, count: u64, within: Duration) -> Result<(), TimedOut> {
        self.wait_until(within, |records| records.distinct >= count)
            .await
    }
}
