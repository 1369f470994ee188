//! Opens the stores of a process, checks that they fit it, and asks again and again whether they can be used.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tributary_base::{
    database::{DatabaseError, DatabaseHealth},
    fleet::compare_lanes,
};
use tributary_config::Settings;
use tributary_connectors::ConnectorStore;
use tributary_router::store::{Store, StoreError};

use crate::{
    process::{Needs, Tasks, pause, wait_for},
    roles::Schema,
};

/// How often a store is asked whether it can be used.
const PROBE: Duration = Duration::from_secs(3);
const MIGRATE: &str = "check store.url, and that `tributary migrate` was run";

/// What opening a store needs.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    pub settings: &'a Arc<Settings>,
    pub schema: Schema,
    pub needs: &'a Needs,
    pub tasks: &'a Tasks,
    pub stop: &'a CancellationToken,
    /// Told whether the store can be used.
    pub health: &'a DatabaseHealth,
}

/// A store that was opened, or the reason why this process can never use it.
type Opened<T> = Result<T, anyhow::Error>;

impl Opening<'_> {
    /// Opens the router's store as soon as it can be used; `None` when the process is to stop before.
    ///
    /// # Errors
    /// This process does not fit the store: another number of lanes, or a newer schema.
    pub async fn router(self) -> Result<Option<Store>> {
        let opened = wait_for("store", MIGRATE, self.needs, self.stop, || async {
            settle(self.open_router().await)
        });
        let Some(store) = opened.await.transpose()? else {
            return Ok(None);
        };
        let watched = store.clone();
        self.watch("store", move || {
            let store = watched.clone();
            async move { store.probe().await.map_err(|error| error.to_string()) }
        });
        Ok(Some(store))
    }

    /// The same for the connectors' store.
    ///
    /// # Errors
    /// This process does not fit the store: another number of lanes, or a newer schema.
    pub async fn connectors(self) -> Result<Option<ConnectorStore>> {
        let what = "connectors' store";
        let opened = wait_for(what, MIGRATE, self.needs, self.stop, || async {
            settle(self.open_connectors().await)
        });
        let Some(store) = opened.await.transpose()? else {
            return Ok(None);
        };
        let watched = store.clone();
        self.watch(what, move || {
            let store = watched.clone();
            async move { store.probe().await.map_err(|error| error.to_string()) }
        });
        Ok(Some(store))
    }

    async fn open_router(self) -> Result<Store> {
        let store = Store::open(self.settings).await?;
        let configured = self.settings.bus.inbound_lanes;
        let kept = match self.schema {
            Schema::Migrate => {
                store.pending().await?;
                store.migrate().await?;
                Some(store.keep_inbound_lanes(configured).await?)
            }
            Schema::Wait => {
                up_to_date(store.pending().await?)?;
                store.inbound_lanes().await?
            }
        };
        compare_lanes(configured, migrated(kept)?)?;
        store.sync_config(self.settings).await?;
        Ok(store)
    }

    async fn open_connectors(self) -> Result<ConnectorStore> {
        let store = ConnectorStore::open(self.settings).await?;
        let configured = self.settings.bus.inbound_lanes;
        let kept = match self.schema {
            Schema::Migrate => {
                store.pending().await?;
                store.migrate().await?;
                Some(store.keep_inbound_lanes(configured).await?)
            }
            Schema::Wait => {
                up_to_date(store.pending().await?)?;
                store.inbound_lanes().await?
            }
        };
        compare_lanes(configured, migrated(kept)?)?;
        Ok(store)
    }

    /// Asks again and again whether a store can be used.
    fn watch<F>(self, what: &'static str, probe: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send,
    {
        let (needs, stop) = (self.needs.clone(), self.stop.clone());
        let health = self.health.clone();
        let name = format!("watch of the {what}");
        self.tasks.spawn(&name, self.stop, async move {
            while pause(&stop, PROBE).await {
                let probed = tokio::time::timeout(PROBE, probe()).await;
                match probed.unwrap_or_else(|_| Err("no answer".to_owned())) {
                    Ok(()) => {
                        health.works();
                        needs.ready(what);
                    }
                    Err(why) => {
                        health.fails();
                        needs.missing(what, why);
                    }
                }
            }
        });
    }
}

fn up_to_date(pending: usize) -> Result<()> {
    anyhow::ensure!(
        pending == 0,
        "the schema is not up to date; run `tributary migrate`"
    );
    Ok(())
}

fn migrated(kept: Option<u16>) -> Result<u16> {
    kept.ok_or_else(|| {
        anyhow::anyhow!("the number of lanes is not kept yet; run `tributary migrate`")
    })
}

/// What waiting does not help against ends the wait.
fn settle<T>(opened: Result<T>) -> Result<Opened<T>> {
    match opened {
        Ok(store) => Ok(Ok(store)),
        Err(error) if is_final(&error) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

fn is_final(error: &anyhow::Error) -> bool {
    let other_lanes = error.downcast_ref::<tributary_base::fleet::OtherLanes>();
    other_lanes.is_some() || matches!(database_error(error), Some(DatabaseError::Newer(_)))
}

/// Whether a person has to act: the server refuses this process.
pub fn needs_a_person(error: &anyhow::Error) -> bool {
    database_error(error).is_some_and(DatabaseError::needs_a_person)
}

fn database_error(error: &anyhow::Error) -> Option<&DatabaseError> {
    if let Some(StoreError::Database(error)) = error.downcast_ref::<StoreError>() {
        return Some(error);
    }
    error.downcast_ref::<DatabaseError>()
}
