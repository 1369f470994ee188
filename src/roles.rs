//! The composition root: builds the roles of this process out of the rooms, and runs them.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use anyhow::Result;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tributary_base::{
    database::DatabaseHealth,
    media::{self, Home, MediaService},
    telemetry,
};
use tributary_bus::{Attendant, Bus, Group, Lane, LaneSpec, Policy, Workers};
use tributary_config::Settings;
use tributary_connectors::{
    Accounts, ChannelLog, ConnectorAttendant, ConnectorStore, Ledger, server::serve_ingress,
};
use tributary_router::{
    RouterAttendant, WebhookLinks,
    api::{
        ApiState, Extras, Rate,
        operations::{Operations, serve_operations},
        serve_api,
    },
    store::Store,
    webhooks::{self, WebhooksAttendant, watch_endpoints},
};

use crate::{
    cli::Role,
    message_log::ConnectorsLog,
    previews::Previews,
    process::{Needs, Tasks, listen, open_bus, pause, readiness, stop_on_signals, watch_bus},
    stores::Opening,
};

/// Whether roles bring the schema up to date themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// `up`: one process, its own store.
    Migrate,
    /// A fleet: wait until `tributary migrate` was run.
    Wait,
}

/// Where this process listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addresses {
    pub ingress: Option<SocketAddr>,
    pub api: Option<SocketAddr>,
    pub operations: Option<SocketAddr>,
}

/// A process whose roles were started.
pub struct Running {
    pub addresses: Addresses,
    pub store: Option<Store>,
    pub bus: Arc<dyn Bus>,
    pub stop: CancellationToken,
    settings: Arc<Settings>,
    media: Option<MediaService>,
    tasks: Tasks,
    /// Of the router's store, and of the connectors'.
    health: DatabaseHealth,
    connectors_health: DatabaseHealth,
}

/// Runs the roles until a signal ends them.
///
/// # Errors
/// They could not be started.
pub async fn run(settings: Arc<Settings>, roles: &[Role]) -> Result<()> {
    if let Some(running) = start(settings, roles, Schema::Wait).await? {
        let Addresses {
            ingress,
            api,
            operations,
        } = running.addresses;
        for (what, address) in [
            ("ingress", ingress),
            ("api", api),
            ("operations", operations),
        ] {
            if let Some(address) = address {
                println!("{what} http://{address}");
            }
        }
        println!("ready; SIGTERM stops");
        running.wait().await?;
    }
    Ok(())
}

/// Starts the roles: listeners first (so that an address in use shows at once), then operations, bus and stores, which
/// are waited for. `None` when it was stopped before it was ready.
///
/// # Errors
/// An address in use, a kind of channel without accounts, an embedded bus in use.
pub async fn start(
    settings: Arc<Settings>,
    roles: &[Role],
    schema: Schema,
) -> Result<Option<Running>> {
    telemetry::start_logs(&settings.log).map_err(anyhow::Error::msg)?;
    let metrics = telemetry::start_metrics().map_err(anyhow::Error::msg)?;
    let (kinds, with_store) = survey(&settings, roles)?;
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let tasks = Tasks::default();
    let needs = Needs::default();

    let operations = listen("operations.listen", settings.operations.listen).await?;
    let ingress = match kinds.is_empty() {
        true => None,
        false => Some(listen("ingress.listen", settings.ingress.listen).await?),
    };
    let api = match roles.contains(&Role::Api) {
        true => Some(listen("api.listen", settings.api.listen).await?),
        false => None,
    };
    let addresses = Addresses {
        ingress: ingress.as_ref().map(TcpListener::local_addr).transpose()?,
        api: api.as_ref().map(TcpListener::local_addr).transpose()?,
        operations: Some(operations.local_addr()?),
    };

    let bus = open_bus(&settings).await?;
    // The router never touches media: nothing of it can be in its way.
    let with_media = roles.iter().any(|role| *role != Role::Router);
    let media = match with_media {
        true => open_media(&settings, schema, addresses.ingress, roles).await?,
        false => None,
    };
    let ready = readiness(&needs, &bus);
    let upkeep = metrics.clone();
    tasks.spawn(
        "upkeep of metrics",
        &stop,
        keep_metrics(upkeep, stop.clone()),
    );
    let operations = serve_operations(
        operations,
        Operations {
            ready,
            metrics: Arc::new(move || metrics.render()),
        },
        stop.clone(),
    );
    tasks.spawn("operations", &stop, operations);
    tasks.spawn("bus watch", &stop, watch_bus(bus.state(), stop.clone()));

    let mut running = Running {
        addresses,
        store: None,
        bus,
        stop,
        settings: Arc::clone(&settings),
        media,
        tasks,
        health: DatabaseHealth::default(),
        connectors_health: DatabaseHealth::default(),
    };
    running.sweep_media();
    let (stop, tasks) = (running.stop.clone(), running.tasks.clone());
    let health = running.health.clone();
    let connectors_health = running.connectors_health.clone();
    let opening = Opening {
        settings: &settings,
        schema,
        needs: &needs,
        tasks: &tasks,
        stop: &stop,
        health: &health,
    };
    if with_store {
        match opening.router().await {
            Ok(Some(store)) => running.store = Some(store),
            Ok(None) => return running.give_up().await,
            Err(error) => return running.refuse(error).await,
        }
    }
    if !kinds.is_empty() {
        let opening = Opening {
            health: &connectors_health,
            ..opening
        };
        let connectors = match opening.connectors().await {
            Ok(Some(store)) => store.with_media(running.media.clone()),
            Ok(None) => return running.give_up().await,
            Err(error) => return running.refuse(error).await,
        };
        running
            .start_connectors(&kinds, ingress, connectors)
            .await?;
    }
    running.start_roles(roles, api)?;
    Ok(Some(running))
}

/// Which kinds of channels this process serves, and whether it needs the router's store.
fn survey(settings: &Settings, roles: &[Role]) -> Result<(BTreeSet<String>, bool)> {
    let mut kinds = BTreeSet::new();
    let mut with_store = false;
    for role in roles {
        match role {
            Role::Router | Role::Webhooks | Role::Api => with_store = true,
            Role::Connector { kind } => {
                let configured = settings
                    .channels
                    .values()
                    .any(|channel| channel.kind == *kind);
                anyhow::ensure!(
                    configured,
                    "no channel of kind {kind} is configured; add [channels.<id>] with kind = \"{kind}\""
                );
                kinds.insert(kind.clone());
            }
        }
    }
    Ok((kinds, with_store))
}

impl Running {
    /// Waits for a signal (or a failed part), then stops in order: ways in, work in flight, bus.
    ///
    /// # Errors
    /// A part of the process failed; it should be started again.
    pub async fn wait(self) -> Result<()> {
        self.stop.cancelled().await;
        // The roles drain within the deadline; this one is theirs plus what closing takes.
        let left = self.tasks.finish(self.settings.shutdown.deadline).await;
        if !left.is_empty() {
            tracing::warn!(
                tasks = left.join(", "),
                "still running at the deadline; their work will be done again"
            );
        }
        self.bus.close().await;
        tracing::info!("stopped");
        anyhow::ensure!(
            !self.tasks.failed(),
            "a part of this process failed; see the log above"
        );
        Ok(())
    }

    async fn give_up(self) -> Result<Option<Self>> {
        self.wait().await?;
        Ok(None)
    }

    /// Ends a process that can never do its work as it is configured.
    async fn refuse(self, error: anyhow::Error) -> Result<Option<Self>> {
        tracing::error!(error = format!("{error:#}"), "this process cannot start");
        self.stop.cancel();
        self.wait().await?;
        Err(error)
    }

    /// Deletes what interrupted uploads left, and what is older than `media.retention`.
    fn sweep_media(&self) {
        if let Some(MediaService { store, .. }) = self.media.clone() {
            let sweeping =
                media::keep_swept(store, self.settings.media.retention, self.stop.clone());
            self.tasks.spawn("media sweeper", &self.stop, sweeping);
        }
    }

    async fn start_connectors(
        &self,
        kinds: &BTreeSet<String>,
        ingress: Option<TcpListener>,
        store: ConnectorStore,
    ) -> Result<()> {
        // One kind, or (in `up`) all of them.
        let only = if kinds.len() == 1 {
            kinds.first().map(String::as_str)
        } else {
            None
        };
        let database = store.database().clone();
        let ledger = Ledger::start(database.clone(), &self.settings, self.stop.clone()).await?;
        let ledger = Arc::new(ledger);
        let log = ChannelLog::start(database, &self.settings, self.stop.clone());
        let accounts = Accounts::build(&self.settings, only, &store, &self.bus, &ledger)?;
        let accounts = Arc::new(accounts);
        for (group, lanes) in accounts.groups() {
            let attendant =
                ConnectorAttendant::new(Arc::clone(&accounts), Arc::clone(&ledger), &self.settings)
                    .with_log(log.clone())
                    .with_health(self.connectors_health.clone());
            let lanes = lanes.into_iter().map(plain).collect();
            let policy = ConnectorAttendant::policy(&self.settings);
            self.work(group, lanes, Arc::new(attendant), policy);
        }
        if let Some(listener) = ingress {
            let server = serve_ingress(
                listener,
                accounts,
                Arc::clone(&self.settings),
                self.stop.clone(),
            );
            self.tasks
                .spawn("ingress", &self.stop, report("ingress", server));
        }
        Ok(())
    }

    fn start_roles(&self, roles: &[Role], api: Option<TcpListener>) -> Result<()> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let settings = &self.settings;
        if roles.contains(&Role::Router) {
            let attendant = RouterAttendant::new(store.clone(), Arc::clone(&self.bus), settings)
                .with_health(self.health.clone());
            let lanes = tributary_router::lanes(settings)
                .into_iter()
                .map(plain)
                .collect();
            self.work(
                Group::Router,
                lanes,
                Arc::new(attendant),
                tributary_router::lane_policy(settings),
            );
        }
        if roles.contains(&Role::Webhooks) {
            let mut attendant = WebhooksAttendant::new(store.clone(), &settings.webhooks)?
                .with_bus(Arc::clone(&self.bus))
                .with_health(self.health.clone())
                .with_public_url(settings.api.public_url.as_ref());
            if let Some(media) = &self.media {
                let links = WebhookLinks(media.links.clone());
                attendant = attendant.with_media_links(Arc::new(links));
            }
            let (sender, lanes) = watch::channel(Vec::new());
            let (store, bus, stop) = (store.clone(), Arc::clone(&self.bus), self.stop.clone());
            self.tasks.spawn("endpoint watch", &self.stop, async move {
                watch_endpoints(store, bus.as_ref(), sender, stop).await;
            });
            self.work_on(
                Group::Webhooks,
                lanes,
                Arc::new(attendant),
                webhooks::policy(settings),
            );
        }
        if let Some(listener) = api {
            let state = ApiState::new(
                store.clone(),
                Arc::clone(&self.bus),
                settings,
                Rate::of(&settings.api),
                Extras {
                    message_log: Some(Arc::new(ConnectorsLog::new(settings))),
                    preview: Some(Arc::new(Previews::build(settings))),
                    media: self.media.clone(),
                },
            );
            self.tasks.spawn(
                "api",
                &self.stop,
                serve_api(listener, state, self.stop.clone()),
            );
        }
        Ok(())
    }

    /// Workers on lanes that do not change while this process runs.
    fn work(
        &self,
        group: Group,
        lanes: Vec<LaneSpec>,
        attendant: Arc<dyn Attendant>,
        policy: Policy,
    ) {
        let (sender, lanes) = watch::channel(lanes);
        let stop = self.stop.clone();
        // Workers take the end of the sender for the end of the list.
        self.tasks.spawn("lane list", &self.stop, async move {
            stop.cancelled().await;
            drop(sender);
        });
        self.work_on(group, lanes, attendant, policy);
    }

    fn work_on(
        &self,
        group: Group,
        lanes: watch::Receiver<Vec<LaneSpec>>,
        attendant: Arc<dyn Attendant>,
        policy: Policy,
    ) {
        let name = format!("{group} workers");
        let workers = Workers {
            bus: Arc::clone(&self.bus),
            group,
            lanes,
            attendant,
            policy,
            claim_interval: self.settings.lanes.claim_interval,
            drain_deadline: self.settings.shutdown.deadline.mul_f64(0.8),
        };
        self.tasks
            .spawn(&name, &self.stop, workers.run(self.stop.clone()));
    }
}

/// The media store; `None` (and a word in the log) where the settings name no place that all processes share.
async fn open_media(
    settings: &Arc<Settings>,
    schema: Schema,
    ingress: Option<SocketAddr>,
    roles: &[Role],
) -> Result<Option<MediaService>> {
    let home = match schema == Schema::Migrate || settings.bus.is_embedded() {
        true => Home::Alone,
        false => Home::Fleet,
    };
    let media = media::open(settings, home, ingress).await?;
    // Webhook workers only make links to what others keep.
    let keeps = |role: &Role| matches!(role, Role::Connector { .. } | Role::Api);
    if media.is_none() && settings.media.url != "off" && roles.iter().any(keeps) {
        tracing::warn!(
            "no media is kept: set media.url to a folder or bucket that the fleet shares"
        );
    }
    Ok(media)
}

/// Between two rounds of upkeep of the metrics.
const UPKEEP: std::time::Duration = std::time::Duration::from_secs(3);

async fn keep_metrics(handle: telemetry::MetricsHandle, stop: CancellationToken) {
    while pause(&stop, UPKEEP).await {
        handle.run_upkeep();
    }
}

async fn report<E: std::fmt::Display>(
    name: &'static str,
    server: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = server.await {
        tracing::error!(server = name, %error, "a server of this process failed");
    }
}

fn plain(lane: Lane) -> LaneSpec {
    LaneSpec { lane, filter: None }
}
