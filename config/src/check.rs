//! What has to hold between settings.

use crate::{Problem, Settings};

/// Mistakes that no single key's type shows.
pub(crate) fn check_together(settings: &Settings, problems: &mut Vec<Problem>) {
    check_bus(settings, problems);
    for (key, url) in [
        ("store.url", &settings.store.url),
        ("store.connectors_url", &settings.store.connectors_url),
    ] {
        let url = url.expose();
        let known = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        if !(known || url == "embedded" || (url.is_empty() && key != "store.url")) {
            problems.push(Problem::new(
                key,
                "must be \"embedded\" or start with postgres://",
            ));
        }
    }
    let positive: [(&str, usize); 12] = [
        ("bus.inbound_lanes", settings.bus.inbound_lanes.into()),
        ("bus.publish_window", settings.bus.publish_window),
        ("lanes.prefetch", settings.lanes.prefetch.into()),
        ("lanes.concurrency", settings.lanes.concurrency),
        ("router.batch_size", settings.router.batch_size),
        ("router.relay_batch", settings.router.relay_batch),
        (
            "store.max_connections",
            settings.store.max_connections as usize,
        ),
        (
            "delivery.max_attempts",
            settings.delivery.max_attempts as usize,
        ),
        (
            "ingress.max_connections_per_address",
            settings.ingress.max_connections_per_address,
        ),
        ("media.fetch_concurrency", settings.media.fetch_concurrency),
        (
            "media.fetch_attempts",
            settings.media.fetch_attempts as usize,
        ),
        (
            "media.size_limit",
            usize::try_from(settings.media.size_limit).unwrap_or(usize::MAX),
        ),
    ];
    for (key, value) in positive {
        if value == 0 {
            problems.push(Problem::new(key, "must be at least 1"));
        }
    }
    let lasting = [
        ("bus.publish_deadline", settings.bus.publish_deadline),
        ("bus.connect_deadline", settings.bus.connect_deadline),
        (
            "store.statement_deadline",
            settings.store.statement_deadline,
        ),
        (
            "ingress.request_deadline",
            settings.ingress.request_deadline,
        ),
        ("api.request_deadline", settings.api.request_deadline),
        ("lanes.claim_interval", settings.lanes.claim_interval),
        ("lanes.hold_limit", settings.lanes.hold_limit),
        ("delivery.retry_base", settings.delivery.retry_base),
        ("delivery.send_deadline", settings.delivery.send_deadline),
        ("webhooks.retry_base", settings.webhooks.retry_base),
        ("webhooks.deadline", settings.webhooks.deadline),
        ("media.link_lifetime", settings.media.link_lifetime),
        (
            "media.webhook_link_lifetime",
            settings.media.webhook_link_lifetime,
        ),
        ("media.fetch_deadline", settings.media.fetch_deadline),
        ("media.fetch_retry_base", settings.media.fetch_retry_base),
        ("media.fetch_max_age", settings.media.fetch_max_age),
    ];
    for (key, duration) in lasting {
        if duration.is_zero() {
            problems.push(Problem::new(key, "must be longer than 0s"));
        }
    }
    if settings.bus.heartbeat.as_secs() < 1 {
        problems.push(Problem::new("bus.heartbeat", "must be at least 1s"));
    }
    check_media(settings, problems);
}

/// Where media is kept, and with what its links are signed.
fn check_media(settings: &Settings, problems: &mut Vec<Problem>) {
    let media = &settings.media;
    let stored = match media.url.as_str() {
        "" | "off" => false,
        url => match url::Url::parse(url).map(|url| url.scheme().to_owned()) {
            Ok(scheme) if ["file", "s3", "gs", "az", "abfs", "abfss"].contains(&&*scheme) => true,
            _ => {
                problems.push(Problem::new(
                    "media.url",
                    "must be \"off\" or a URL that starts with file:///, s3://, gs:// or az://",
                ));
                false
            }
        },
    };
    let key = media.signing_key.expose();
    let make = "make one with `openssl rand -hex 32` and give the same one to every process";
    if key.is_empty() {
        if stored && (media.is_cloud() || !settings.bus.is_embedded()) {
            problems.push(Problem::new(
                "media.signing_key",
                format!("must be set when several processes may share media.url; {make}"),
            ));
        }
    } else if key.len() < crate::Media::KEY_LENGTH {
        problems.push(Problem::new(
            "media.signing_key",
            format!(
                "must have at least {} characters; {make}",
                crate::Media::KEY_LENGTH
            ),
        ));
    }
}

/// Every address of the broker that cannot be one; named by its place, since it holds a password.
fn check_bus(settings: &Settings, problems: &mut Vec<Problem>) {
    if settings.bus.is_embedded() {
        return;
    }
    let addresses: Vec<&str> = settings.bus.addresses().collect();
    let is_one = addresses.len() < 2;
    if addresses.is_empty() {
        problems.push(Problem::new("bus.url", SCHEME));
    }
    for (index, address) in addresses.iter().enumerate() {
        let place = if is_one {
            String::new()
        } else {
            format!("address {} ", index + 1)
        };
        let is_amqp = address.starts_with("amqp://") || address.starts_with("amqps://");
        let reason = if !is_amqp && is_one {
            SCHEME.to_owned()
        } else if !is_amqp {
            "must start with amqp:// or amqps:// (\"embedded\" stands alone)".to_owned()
        } else {
            match url::Url::parse(address) {
                Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) => continue,
                Ok(_) => "must name a host".to_owned(),
                Err(reason) => format!("is no URL: {reason}"),
            }
        };
        problems.push(Problem::new("bus.url", place + &reason));
    }
}

const SCHEME: &str = "must be \"embedded\" or start with amqp:// or amqps://";
