//! `tributary up`: every role in one process, and where everything is.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use tributary_bus::OrganizationId;
use tributary_config::Settings;

use crate::{
    cli::Role,
    roles::{self, Addresses, Running, Schema},
};

/// Starts everything, says where it is, and works until a signal.
///
/// # Errors
/// It could not be started.
pub async fn up(settings: Arc<Settings>) -> Result<()> {
    let kinds: BTreeSet<&str> = settings
        .channels
        .values()
        .map(|channel| channel.kind.as_str())
        .collect();
    let mut roles = vec![Role::Router, Role::Webhooks, Role::Api];
    roles.extend(kinds.into_iter().map(|kind| Role::Connector {
        kind: kind.to_owned(),
    }));
    let Some(running) = roles::start(Arc::clone(&settings), &roles, Schema::Migrate).await? else {
        return Ok(());
    };
    let key = first_key(&settings, &running).await?;
    welcome(&settings, &running.addresses, key.as_deref());
    running.wait().await
}

/// A key for the first organization that has none at all: on the very first start.
async fn first_key(settings: &Settings, running: &Running) -> Result<Option<String>> {
    let (Some(store), Some(id)) = (&running.store, settings.organizations.keys().next()) else {
        return Ok(None);
    };
    let organization = OrganizationId::from(id.as_str());
    if !store.api_keys(&organization, None, 1).await?.is_empty() {
        return Ok(None);
    }
    let (_, plain) = store.create_api_key(&organization, "first start").await?;
    Ok(Some(plain.expose().to_owned()))
}

fn welcome(settings: &Settings, addresses: &Addresses, key: Option<&str>) {
    let bus = if settings.bus.is_embedded() {
        "embedded"
    } else {
        "RabbitMQ"
    };
    let store = if settings.store.is_embedded() {
        "embedded"
    } else {
        "PostgreSQL"
    };
    println!(
        "\nTributary {} is running: {bus} bus, {store} store",
        env!("CARGO_PKG_VERSION")
    );
    if settings.bus.is_embedded() || settings.store.is_embedded() {
        println!("  Data        {}", settings.data.dir.display());
    }
    println!();
    if let Some(ingress) = addresses.ingress {
        for channel in settings
            .channels
            .values()
            .filter(|channel| channel.kind == "widget")
        {
            let demo = channel
                .settings
                .get("demo_page")
                .and_then(|value| value.as_bool());
            if demo == Some(true) {
                println!(
                    "  Demo page   http://{ingress}/channels/{}/demo",
                    channel.id
                );
            }
        }
        println!("  Ingress     http://{ingress}");
    }
    if let Some(operations) = addresses.operations {
        println!("  Metrics     http://{operations}/metrics  (also /livez, /readyz)");
    }
    let Some(api) = addresses.api else { return };
    println!("  API         http://{api}/docs");
    match key {
        Some(key) => println!("  API key     {key}  (shown once)"),
        None => println!(
            "  API key     made earlier; another: tributary key create --organization {} --name <name>",
            settings
                .organizations
                .keys()
                .next()
                .map_or("<id>", String::as_str)
        ),
    }
    let key = key.unwrap_or("$TRIBUTARY_KEY");
    println!("\nAnswer the latest conversation:\n");
    println!("  {}\n", answer(&format!("http://{api}"), key));
    println!("Ctrl-C stops.");
}

/// One line for a shell: finds the latest conversation (the list's first id) and answers it.
fn answer(api: &str, key: &str) -> String {
    let auth = format!("-H \"Authorization: Bearer {key}\"");
    let latest = format!(
        "$(curl -sS {auth} '{api}/v1/conversations?limit=1' \
         | grep -oE '[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}' | head -n 1)"
    );
    format!(
        "curl -sS {auth} -H 'Content-Type: application/json' \
         -d '{{\"content\":{{\"type\":\"text\",\"text\":\"Hello from the API\"}}}}' \
         {api}/v1/conversations/{latest}/messages"
    )
}
