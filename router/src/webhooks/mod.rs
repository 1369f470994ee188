//! Delivers events to integrator endpoints: each endpoint is a lane, so one that is dead slows nobody else.

mod classify;
mod deliver;
mod lanes;
mod outage;
mod progress;
mod reasons;
mod refill;
mod sign;
mod tracked;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::Client;
use tokio_util::sync::CancellationToken;
use tributary_base::{backoff::Backoff, database::DatabaseHealth, outgoing::Guard};
use tributary_bus::{Attendant, Bus, EndpointId, Handler, Lane, Lease, Policy};
use tributary_config::{Settings, Webhooks};
use url::Url;

pub use lanes::watch_endpoints;

use crate::{MediaLinks, links::Links, store::Store};
use deliver::{Deliverer, Equipment};
use refill::Refill;
use tracked::{Registry, Tracked};

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
pub struct WebhooksAttendant {
    store: Store,
    guard: Guard,
    client: Client,
    settings: Webhooks,
    links: Links,
    bus: Option<Arc<dyn Bus>>,
    registry: Arc<Registry>,
    health: DatabaseHealth,
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
            bus: None,
            registry: Registry::new(),
            health: DatabaseHealth::default(),
        })
    }

    /// The same, which sends events again that a lost lane held, or that somebody asks for.
    #[must_use]
    pub fn with_bus(mut self, bus: Arc<dyn Bus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// The same, which leaves its lanes to others while the store cannot be used.
    #[must_use]
    pub fn with_health(mut self, health: DatabaseHealth) -> Self {
        self.health = health;
        self
    }

    fn id(lane: &Lane) -> Result<EndpointId, String> {
        match lane {
            Lane::Endpoint(id) => Ok(*id),
            Lane::Inbound(_) | Lane::Delivery(_) => {
                Err(format!("{lane} is not the lane of an endpoint"))
            }
        }
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
        let id = Self::id(lane)?;
        let endpoint = self
            .store
            .endpoint_of_lane(id)
            .await
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("endpoint {id} does not exist"))?;
        let state = self.store.endpoint_state(id).await;
        let state = state.map_err(|error| error.to_string())?;
        let tracked = Arc::new(Tracked::new(
            id,
            endpoint.organization.clone(),
            endpoint.events.clone(),
            state,
        ));
        tracked.set_disabled(endpoint.disabled_at.is_some());
        self.registry.add(&tracked);
        let equipment = Equipment {
            store: self.store.clone(),
            guard: self.guard.clone(),
            client: self.client.clone(),
            backoff: backoff(&self.settings),
            links: self.links.clone(),
            bus: self.bus.clone(),
            max_age: self.settings.max_age,
        };
        Ok(Arc::new(Deliverer::new(equipment, endpoint, tracked)))
    }

    async fn alongside(
        &self,
        lane: &Lane,
        lease: &Lease,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let refill = async {
            let tracked = self.registry.get(Self::id(lane)?);
            let (Some(bus), Some(tracked)) = (&self.bus, tracked) else {
                return Ok(());
            };
            let refill = Refill {
                store: &self.store,
                bus,
                tracked: &tracked,
                lease,
            };
            refill.run(&stop).await;
            Ok(())
        };
        let (refilled, ()) = tokio::join!(refill, self.registry.keep(&self.store, &stop));
        refilled
    }

    /// What was in the lane is sent again from the store. Nothing of it is handled before that.
    async fn redeclared(&self, lane: &Lane) -> Result<(), String> {
        let id = Self::id(lane)?;
        let owned = self.registry.get(id);
        if let Some(tracked) = &owned {
            tracked.progress().look_for_lost();
        }
        let noted = self.store.resend_lost(id).await;
        noted.map_err(|error| error.to_string())?;
        if let Some(tracked) = owned {
            tracked.resend.notify_one();
        }
        Ok(())
    }

    fn is_fit(&self) -> bool {
        self.health.is_fit()
    }
}
