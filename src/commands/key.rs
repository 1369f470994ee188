//! `tributary key`: API keys from the command line.

use anyhow::{Context as _, Result};
use tributary_bus::OrganizationId;
use tributary_config::Settings;
use tributary_router::store::{ApiKeyId, Store};

use crate::cli::Key;

/// Keys shown by one `list`.
const MOST: i64 = 1_000;

/// Runs one of the subcommands.
///
/// # Errors
/// The store cannot be reached or was not migrated; the organization or key is not there.
pub async fn key(settings: &Settings, command: &Key) -> Result<()> {
    let store = Store::open(settings)
        .await
        .context("store; check store.url and that the server runs")?;
    anyhow::ensure!(
        store.pending().await? == 0,
        "the schema is not up to date; run `tributary migrate` first"
    );
    store.sync_config(settings).await?;
    match command {
        Key::Create { organization, name } => {
            known(settings, organization)?;
            let (key, plain) = store
                .create_api_key(&OrganizationId::from(organization.as_str()), name)
                .await?;
            println!("{}", plain.expose());
            eprintln!("this is the only time that the key {} is shown", key.id);
        }
        Key::List { organization } => {
            known(settings, organization)?;
            println!(
                "{:<36}  {:<20}  {:<10}  NAME",
                "ID", "CREATED (UTC)", "STATE"
            );
            for key in store
                .api_keys(&OrganizationId::from(organization.as_str()), None, MOST)
                .await?
            {
                let state = if key.revoked_at.is_some() {
                    "revoked"
                } else {
                    "active"
                };
                let created = key.created_at.format("%Y-%m-%d %H:%M:%S");
                println!("{}  {created:<20}  {state:<10}  {}", key.id, key.name);
            }
        }
        Key::Revoke { organization, id } => {
            let organization_id = OrganizationId::from(organization.as_str());
            let revoked = store
                .revoke_api_key(&organization_id, ApiKeyId(*id))
                .await?;
            anyhow::ensure!(
                revoked.is_some(),
                "there is no key {id} of {organization}; see `tributary key list`"
            );
            println!("{id} is revoked");
        }
    }
    Ok(())
}

fn known(settings: &Settings, organization: &str) -> Result<()> {
    let configured: Vec<&str> = settings.organizations.keys().map(String::as_str).collect();
    anyhow::ensure!(
        configured.contains(&organization),
        "organization {organization} is not configured; there are: {}",
        configured.join(", ")
    );
    Ok(())
}
