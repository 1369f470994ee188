//! `tributary check`: says what the settings mean. Mistakes were reported while they were read.

use tributary_config::Settings;

/// Prints a summary of valid settings.
pub fn check(settings: &Settings) {
    println!("The settings are valid.\n");
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
        "  bus            {bus}, {} inbound lanes",
        settings.bus.inbound_lanes
    );
    println!("  store          {store}");
    if settings.bus.is_embedded() != settings.store.is_embedded() {
        println!(
            "                 note: only a bus and a store that are both servers can carry a fleet"
        );
    }
    println!("  media          {}", media(settings));
    println!("  ingress        http://{}", settings.ingress.listen);
    if let Some(url) = &settings.ingress.public_url {
        println!("                 reached as {url}");
    }
    println!("  api            http://{}", settings.api.listen);
    println!("  operations     http://{}", settings.operations.listen);
    for (id, organization) in &settings.organizations {
        println!("\n  organization {id} ({})", organization.name);
        let mut channels = settings
            .channels
            .values()
            .filter(|channel| channel.organization == *id)
            .peekable();
        if channels.peek().is_none() {
            println!("    no channels");
        }
        for channel in channels {
            println!(
                "    {:<14} {:<10} {}",
                channel.id, channel.kind, channel.name
            );
        }
    }
    if settings.demo.enabled {
        println!("\n  note: the demo is on; set demo.enabled = false in production");
    }
}

/// Where media is kept.
fn media(settings: &Settings) -> String {
    match settings.media.url.as_str() {
        "off" => "not kept".to_owned(),
        "" if settings.bus.is_embedded() => settings.data.dir.join("media").display().to_string(),
        "" => {
            "not kept by a fleet: set media.url (a shared folder or a bucket) and media.signing_key"
                .to_owned()
        }
        url => url.to_owned(),
    }
}
