//! Which endpoint lanes there are: follows the endpoints in the store.

use std::{collections::HashSet, time::Duration};

use chrono::{TimeDelta, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_bus::{Bus, BusError, EndpointId, Lane, LaneSpec};

use crate::store::{Endpoint, Store, StoreError};

/// How often the endpoints are read.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long after a deletion the lane is removed, so that its owner has let go of it.
const GRACE: TimeDelta = TimeDelta::seconds(5);

/// Keeps `lanes` equal to the lanes of the endpoints in the store, and removes those of deleted endpoints, first from
/// the bus and then from the store. Several processes may do so at once. Runs until `stop`.
pub async fn watch_endpoints(
    store: Store,
    bus: &dyn Bus,
    lanes: watch::Sender<Vec<LaneSpec>>,
    stop: CancellationToken,
) {
    let mut listed = HashSet::new();
    let mut failing = false;
    loop {
        let result = match stop
            .run_until_cancelled(follow(&store, bus, &lanes, &mut listed))
            .await
        {
            Some(result) => result,
            None => return,
        };
        match result {
            Err(error) if !failing => {
                tracing::warn!(%error, "the lanes of endpoints cannot be followed; trying again");
                failing = true;
            }
            Ok(()) if failing => {
                tracing::info!("the lanes of endpoints can be followed again");
                failing = false;
            }
            Ok(()) | Err(_) => {}
        }
        let pause = tokio::time::sleep(POLL_INTERVAL);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
}

async fn follow(
    store: &Store,
    bus: &dyn Bus,
    lanes: &watch::Sender<Vec<LaneSpec>>,
    listed: &mut HashSet<EndpointId>,
) -> Result<(), FollowError> {
    let (live, deleted): (Vec<Endpoint>, Vec<Endpoint>) = store
        .endpoints_of_all()
        .await?
        .into_iter()
        .partition(|endpoint| endpoint.deleted_at.is_none());
    let wanted: Vec<LaneSpec> = live.iter().map(Endpoint::lane).collect();
    lanes.send_if_modified(|current| {
        let changes = *current != wanted;
        if changes {
            *current = wanted;
        }
        changes
    });
    // One that cannot be removed holds up no other.
    let mut failed = None;
    let released_before = Utc::now() - GRACE;
    for endpoint in &deleted {
        if endpoint.deleted_at.is_some_and(|at| at < released_before) {
            match forget(store, bus, endpoint.id).await {
                Ok(()) => {
                    tracing::info!(endpoint = %endpoint.id, "the lane of a deleted endpoint was removed");
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
    }
    let known: HashSet<EndpointId> = live
        .iter()
        .chain(&deleted)
        .map(|endpoint| endpoint.id)
        .collect();
    // Another process removed these while this one could not read the store, and may have made the lane anew since.
    for gone in listed.difference(&known) {
        bus.remove(&Lane::Endpoint(*gone)).await?;
    }
    *listed = known;
    failed.map_or(Ok(()), Err)
}

async fn forget(store: &Store, bus: &dyn Bus, id: EndpointId) -> Result<(), FollowError> {
    bus.remove(&Lane::Endpoint(id)).await?;
    Ok(store.forget_endpoint(id).await?)
}
