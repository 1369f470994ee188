//! `tributary lanes`: how many inbound lanes the fleet works with, and the change of that number.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tributary_bus::{Bus, EmbeddedBus, Group, Lane};
use tributary_config::Settings;
use tributary_connectors::ConnectorStore;
use tributary_router::store::Store;

use super::visit_bus;
use crate::cli::Lanes;

/// How long the broker may take to count the workers of a group.
const COUNT: Duration = Duration::from_secs(10);

/// Runs one of the subcommands.
///
/// # Errors
/// A store or the bus cannot be reached; something still works or waits.
pub async fn lanes(settings: &Settings, command: &Lanes) -> Result<()> {
    let stores = Stores::open(settings).await?;
    match command {
        Lanes::Show => stores.show(settings).await,
        Lanes::Resize { lanes } => stores.resize(settings, *lanes).await,
    }
}

/// Both stores keep the number, since they may be two databases.
struct Stores {
    router: Store,
    connectors: ConnectorStore,
}

impl Stores {
    async fn open(settings: &Settings) -> Result<Self> {
        let router = Store::open(settings)
            .await
            .context("store; check store.url and that the server runs")?;
        let connectors = ConnectorStore::open(settings)
            .await
            .context("connectors' store; check store.connectors_url and that the server runs")?;
        anyhow::ensure!(
            router.pending().await? == 0 && connectors.pending().await? == 0,
            "the schema is not up to date; run `tributary migrate` first"
        );
        Ok(Self { router, connectors })
    }

    async fn show(&self, settings: &Settings) -> Result<()> {
        let known =
            |lanes: Option<u16>| lanes.map_or_else(|| "not kept yet".to_owned(), |n| n.to_string());
        println!(
            "store              {}",
            known(self.router.inbound_lanes().await?)
        );
        println!(
            "connectors' store  {}",
            known(self.connectors.inbound_lanes().await?)
        );
        println!("bus.inbound_lanes  {}", settings.bus.inbound_lanes);
        Ok(())
    }

    async fn resize(&self, settings: &Settings, lanes: u16) -> Result<()> {
        let router = self.router.inbound_lanes().await?;
        let connectors = self.connectors.inbound_lanes().await?;
        let before = router.max(connectors).unwrap_or(lanes);
        let bus = idle_bus(settings).await?;
        let result = self.resize_on(bus.as_ref(), before, lanes).await;
        bus.close().await;
        result?;
        println!("this fleet works with {lanes} inbound lanes from now on");
        println!(
            "set bus.inbound_lanes = {lanes} in the settings of every process, then start them"
        );
        Ok(())
    }

    async fn resize_on(&self, bus: &dyn Bus, before: u16, lanes: u16) -> Result<()> {
        let mut waiting = 0;
        for lane in (0..before.max(lanes)).map(Lane::Inbound) {
            waiting += bus.depth(&lane).await?;
        }
        anyhow::ensure!(
            waiting == 0,
            "{waiting} message(s) wait in the inbound lanes; start `tributary run router` until they \
             are handled, without connectors"
        );
        let outbox = self.router.outbox_depth().await?;
        anyhow::ensure!(
            outbox == 0,
            "{outbox} row(s) wait in the outbox; start `tributary run router` until they are published"
        );
        // First who publishes into the lanes: after an interruption between the two, no process starts with either number,
        // and the command can be repeated.
        self.connectors.resize_inbound_lanes(lanes).await?;
        self.router.resize_inbound_lanes(lanes).await?;
        for lane in (lanes..before).map(Lane::Inbound) {
            bus.remove(&lane).await?;
        }
        Ok(())
    }
}

/// The bus, when no worker of the fleet uses it.
async fn idle_bus(settings: &Settings) -> Result<Arc<dyn Bus>> {
    if settings.bus.is_embedded() {
        let path = settings.data.dir.join("bus.db");
        return Ok(EmbeddedBus::open(&path).await?);
    }
    let bus = visit_bus(settings).await?;
    let kinds = settings
        .channels
        .values()
        .map(|channel| channel.kind.clone());
    let connectors = kinds.map(Group::Connector);
    for group in [Group::Router].into_iter().chain(connectors) {
        let workers = workers_of(bus.as_ref(), &group).await?;
        anyhow::ensure!(
            workers == 0,
            "{workers} worker(s) of the group {group} run; stop every router and connector first"
        );
    }
    Ok(bus)
}

/// How many workers a group has besides this command.
async fn workers_of(bus: &dyn Bus, group: &Group) -> Result<usize> {
    let counted = tokio::time::timeout(COUNT, async {
        let member = bus.join(group).await?;
        let size = member.size().await;
        member.leave().await;
        size
    });
    let size = counted
        .await
        .context("the broker did not count the workers in time")??;
    Ok(size.saturating_sub(1))
}
