//! `tributary migrate`: brings the schema of both stores up to date.

use anyhow::{Context as _, Result};
use tributary_base::fleet::compare_lanes;
use tributary_config::Settings;
use tributary_connectors::ConnectorStore;
use tributary_router::store::Store;

/// Runs the migrations that are missing.
///
/// # Errors
/// A store cannot be reached, or belongs to a newer version.
pub async fn migrate(settings: &Settings) -> Result<()> {
    if settings.store.is_embedded() {
        std::fs::create_dir_all(&settings.data.dir)
            .with_context(|| format!("cannot create data.dir {}", settings.data.dir.display()))?;
    }
    let store = Store::open(settings)
        .await
        .context("store; check store.url and that the server runs")?;
    let missing = store.pending().await?;
    store.migrate().await?;
    let lanes = settings.bus.inbound_lanes;
    compare_lanes(lanes, store.keep_inbound_lanes(lanes).await?)?;
    store.sync_config(settings).await?;
    println!("store: {missing} migration(s) applied, up to date");

    let connectors = ConnectorStore::open(settings)
        .await
        .context("connectors' store; check store.connectors_url and that the server runs")?;
    let missing = connectors.pending().await?;
    connectors.migrate().await?;
    compare_lanes(lanes, connectors.keep_inbound_lanes(lanes).await?)?;
    println!("connectors' store: {missing} migration(s) applied, up to date");
    Ok(())
}
