//! Delivers events to integrator endpoints: each endpoint is a lane, so one that is dead slows nobody else.

mod classify;
mod deliver;
mod lanes;
mod outage;
mod reasons;
mod sign;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::Client;
use tributary_base::{backoff::Backoff, outgoing::Guard};
use tributary_bus::{Attendant, Handler, Lane, Policy};
use tributary_config::{Settings, Webhooks};
use url::Url;

pub use lanes::watch_endpoints;

use crate::{MediaLinks, links::Links, store::Store};
use deliver::Deliverer;

/// A `Retry-After` is clamped to this.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Bounds and delays of endpoint lanes. Attempts are unbounded: age decides.
pub fn policy(settings: &Settings) -> Policy {
    Policy {
        backoff: backoff(&settings.webhooks),
        longest_wait: LONGEST_WAIT,
        max_attempts: u32::MAX,
        max_age: settings.webhooks.max_age,
        prefetch: settings.lanes.prefetch,
        concurrency: settings.lanes.concurrency,
        hold_limit: settings.lanes.hold_limit,
        crash_limit: settings.lanes.crash_limit,
    }
}

fn backoff(settings: &Webhooks) -> Backoff {
    Backoff {
        base: settings.retry_base,
        cap: settings.retry_cap,
    }
}

/// Equips the owners of endpoint lanes.
#[derive(Debug)]
pub struct WebhooksAttendant {
    store: Store,
    guard: Guard,
    client: Client,
    settings: Webhooks,
    links: Links,
}

impl WebhooksAttendant {
    /// An attendant that reads endpoints from the store. Its HTTP client follows no redirect and reaches no internal
    /// address but those the settings allow.
    ///
    /// # Errors
    /// The HTTP client could not be set up.
    pub fn new(store: Store, settings: &Webhooks) -> Result<Self, reqwest::Error> {
        let guard = Guard::new(&settings.allow_internal);
        Ok(Self {
            client: guard.client(settings.deadline, 0)?,
            guard,
            store,
            settings: settings.clone(),
            links: Links::default(),
        })
    }

    /// The same, with links to the media of the store in what it sends; each try gets fresh ones.
    #[must_use]
    pub fn with_media_links(mut self, links: Arc<dyn MediaLinks>) -> Self {
        self.links = self.links.with_media(links);
        self
    }

    /// The same, for an API that integrators reach at `url`: sources of events are below it.
    #[must_use]
    pub fn with_public_url(mut self, url: Option<&Url>) -> Self {
        self.links = self.links.with_public_url(url);
        self
    }
}

#[async_trait]
impl Attendant for WebhooksAttendant {
    async fn attend(&self, lane: &Lane) -> Result<Arc<dyn Handler>, String> {
        let Lane::Endpoint(id) = lane else {
            return Err(format!("{lane} is not the lane of an endpoint"));
        };
        let endpoint = self
            .store
            .endpoint_of_lane(*id)
            .await
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("endpoint {id} does not exist"))?;
        Ok(Arc::new(Deliverer::new(
            self.store.clone(),
            self.guard.clone(),
            self.client.clone(),
            endpoint,
            backoff(&self.settings),
            self.links.clone(),
        )))
    }
}
