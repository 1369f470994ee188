//! `tributary replay`: reads stored provider payloads again with the present parser.
//!
//! Only messages are published again: their ids are derived, so none is doubled, and they say that they are replayed.
//! Everything else (who left, what was read) was true when it happened and need not be now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use serde_json::Value;
use tributary_bus::{
    Bus, ChannelId, EventId, OrganizationId,
    message::{Content, Inbound, MediaState, Raw},
};
use tributary_config::Settings;
use tributary_connectors::{
    ConnectorStore, Context, FetchQueue, InboundSink, Replay, event_id, registry,
};
use tributary_router::store::{Known, RawFrom, Store};

use crate::{cli, process::open_bus};

#[cfg(test)]
mod tests;

/// Payloads read, and messages published, in one go.
const PAGE: i64 = 200;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    payloads: u64,
    unreadable: u64,
    /// Messages that say what is stored.
    same: u64,
    /// Messages that say something else now: from which type to which.
    changed: BTreeMap<(String, String), u64>,
    /// Messages that were not there.
    new: BTreeMap<String, u64>,
    /// Other events, which are not published again.
    others: u64,
    /// Those of them that never took effect here, or so long ago that it was forgotten.
    unknown: BTreeMap<&'static str, u64>,
    published: u64,
}

/// Reads what `options` name, publishes it unless it is a dry run, and prints what was found.
///
/// # Errors
/// The channel is not configured or keeps no payloads; the store or the bus cannot be used.
pub async fn replay(settings: &Arc<Settings>, options: &cli::Replay) -> Result<()> {
    let now = Utc::now();
    let since = since(&options.since, now)?;
    let id = options.channel.as_str();
    let Some(channel) = settings.channels.get(id) else {
        let known: Vec<&str> = settings.channels.keys().map(String::as_str).collect();
        anyhow::bail!(
            "channel {id} is not configured; there are: {}",
            known.join(", ")
        );
    };
    let connectors = connectors(settings, options).await?;
    let context = Context {
        channel: channel.clone(),
        settings: Arc::clone(settings),
        database: connectors.as_ref().map(|store| store.database().clone()),
        bus: None,
        public_url: Context::public_url_of(channel, settings),
        media: None,
    };
    let built = registry::build(&context)
        .map_err(|problems| anyhow::anyhow!(tributary_config::Invalid(problems).to_string()))?;
    let Some(parser) = built.connector.replay() else {
        anyhow::bail!(
            "channels of kind {} keep no payloads that could be read again",
            channel.kind
        );
    };
    let store = Store::open(settings)
        .await
        .context("store; check store.url and that the server runs")?;
    anyhow::ensure!(
        store.pending().await? == 0,
        "the schema is not up to date; run `tributary migrate` first"
    );
    let bus = if options.dry_run {
        None
    } else {
        let bus = open_bus(settings).await.context(
            "the embedded bus has one user at a time: stop `tributary up` first, or look with --dry-run",
        )?;
        ready(bus.as_ref(), settings).await?;
        Some(bus)
    };
    // The channel's worker fetches what is noted here.
    let fetches = connectors
        .filter(|_| built.connector.media().is_some())
        .map(|store| FetchQueue::new(store.database().clone(), channel));
    let again = Again {
        store,
        parser,
        organization: OrganizationId(channel.organization.clone()),
        channel: ChannelId(channel.id.clone()),
        sink: bus
            .as_ref()
            .map(|bus| InboundSink::new(Arc::clone(bus), channel, settings).with_fetches(fetches)),
        until: now,
    };
    let mut counts = Counts::default();
    let result = again.run(since, &mut counts).await;
    print!("{}", describe(&counts, options.dry_run));
    if let Some(bus) = bus {
        bus.close().await;
    }
    result
}

/// The connectors' store, which says where chats moved and takes what is to be fetched. A dry run does without one that cannot
/// be used.
async fn connectors(settings: &Settings, options: &cli::Replay) -> Result<Option<ConnectorStore>> {
    let opened = async {
        let store = ConnectorStore::open(settings).await?;
        anyhow::ensure!(
            store.pending().await? == 0,
            "the schema is not up to date; run `tributary migrate` first"
        );
        Ok(store)
    };
    match opened.await {
        Ok(store) => Ok(Some(store)),
        Err(error) if options.dry_run => {
            tracing::warn!(%error, "looking without the connectors' store; chats that moved count as new");
            Ok(None)
        }
        Err(error) => Err(error.context("connectors' store; check store.connectors_url")),
    }
}

/// Waits until the bus can be published to.
async fn ready(bus: &dyn Bus, settings: &Settings) -> Result<()> {
    let mut state = bus.state();
    let ready = state.wait_for(|state| *state == tributary_bus::BusState::Ready);
    tokio::time::timeout(settings.bus.connect_deadline, ready)
        .await
        .context("the broker cannot be reached; check bus.url and that it is running")??;
    Ok(())
}

/// A moment (RFC 3339), or how long ago (`2h`, `7days`).
fn since(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text.trim()) {
        return Ok(moment.to_utc());
    }
    let ago = humantime::parse_duration(text.trim()).map_err(|_| {
        anyhow::anyhow!("--since {text} is neither a time such as 2026-03-01T12:00:00Z nor a duration such as 2h or 7days")
    })?;
    chrono::TimeDelta::from_std(ago)
        .ok()
        .and_then(|ago| now.checked_sub_signed(ago))
        .with_context(|| format!("--since {text} is too long ago"))
}

/// One run over the payloads of a channel.
struct Again<'a> {
    store: Store,
    parser: &'a dyn Replay,
    organization: OrganizationId,
    channel: ChannelId,
    /// `None`: nothing is published.
    sink: Option<InboundSink>,
    /// Later payloads are read by the present parser anyway.
    until: DateTime<Utc>,
}

impl Again<'_> {
    async fn run(&self, since: DateTime<Utc>, counts: &mut Counts) -> Result<()> {
        let mut from = RawFrom::Time(since);
        let mut done: BTreeSet<EventId> = BTreeSet::new();
        loop {
            let page = self
                .store
                .raw_payloads(&self.organization, &self.channel, from, PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            from = RawFrom::Behind(last.received_at, last.event_id);
            let finished = last.received_at > self.until;
            let mut events = Vec::new();
            for row in page {
                if row.received_at > self.until {
                    break;
                }
                counts.payloads += 1;
                let raw = Raw {
                    media_type: row.media_type,
                    body: row.body,
                };
                match self.parser.read(&raw) {
                    Ok(mut found) => events.append(&mut found),
                    Err(_) => counts.unreadable += 1,
                }
            }
            self.parser
                .settle(&mut events)
                .await
                .context("the connectors' store")?;
            self.take(events, &mut done, counts).await?;
            if finished {
                return Ok(());
            }
        }
    }

    /// Compares events with what is stored, and publishes the messages among them.
    async fn take(
        &self,
        events: Vec<Inbound>,
        done: &mut BTreeSet<EventId>,
        counts: &mut Counts,
    ) -> Result<()> {
        // A payload is stored with each event that it led to.
        let events: Vec<(EventId, Inbound)> = events
            .into_iter()
            .map(|event| (event_id(&self.channel, &event), event))
            .filter(|(id, _)| done.insert(*id))
            .collect();
        let ids: Vec<EventId> = events.iter().map(|(id, _)| *id).collect();
        let known = self.store.known_events(&self.organization, &ids).await?;
        let mut messages = Vec::new();
        for (id, event) in events {
            let before = known.get(&id);
            let Inbound::Received(mut message) = event else {
                counts.others += 1;
                if before.is_none() {
                    *counts.unknown.entry(kind(&event)).or_default() += 1;
                }
                continue;
            };
            let now = message.content.kind().to_owned();
            match before {
                Some(Known::Message(stored)) if says_the_same(stored, &message.content) => {
                    counts.same += 1;
                    if !is_waited_for(stored) {
                        // It would change nothing, and its media would be fetched again.
                        continue;
                    }
                }
                Some(Known::Message(stored)) => {
                    let change = (stored.kind().to_owned(), now);
                    *counts.changed.entry(change).or_default() += 1;
                }
                Some(Known::Other) | None => *counts.new.entry(now).or_default() += 1,
            }
            message.replayed = true;
            messages.push(Inbound::Received(message));
        }
        let Some(sink) = &self.sink else {
            return Ok(());
        };
        let count = messages.len() as u64;
        sink.publish(messages)
            .await
            .context("stopped; running it again doubles nothing")?;
        counts.published += count;
        Ok(())
    }
}

/// Whether two contents differ in nothing but how far their media have come.
fn says_the_same(one: &Content, other: &Content) -> bool {
    let bare = |content: &Content| {
        let mut value = serde_json::to_value(content).unwrap_or_default();
        forget_media(&mut value);
        value
    };
    one.kind() == other.kind() && bare(one) == bare(other)
}

/// Whether media of it has not come.
fn is_waited_for(stored: &Content) -> bool {
    let media = stored.media();
    media.iter().any(|media| media.state == MediaState::Pending)
}

fn forget_media(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("media");
            fields.values_mut().for_each(forget_media);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_media),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn kind(event: &Inbound) -> &'static str {
    match event {
        Inbound::Received(_) => "message.received",
        Inbound::Edited(_) => "message.edited",
        Inbound::Deleted(_) => "message.deleted",
        Inbound::Reacted(_) => "message.reacted",
        Inbound::Status(_) => "message.status",
        Inbound::Media(_) => "message.media",
        Inbound::ChangeFailed(_) => "message.change_failed",
        Inbound::Joined(_) => "contact.joined",
        Inbound::Left(_) => "contact.left",
        Inbound::Typing(_) => "contact.typing",
        Inbound::Read(_) => "contact.read",
        Inbound::Health(_) => "channel.health",
    }
}

fn describe(counts: &Counts, dry_run: bool) -> String {
    let mut lines = vec![format!(
        "{} payloads read, {} unreadable",
        counts.payloads, counts.unreadable
    )];
    lines.push(format!("{} messages as they are stored", counts.same));
    let sum = |numbers: &mut dyn Iterator<Item = &u64>| numbers.sum::<u64>();
    lines.push(format!(
        "{} messages {} differently",
        sum(&mut counts.changed.values()),
        if dry_run { "would be read" } else { "read" }
    ));
    for ((from, to), number) in &counts.changed {
        lines.push(format!("  {number:>8}  {from} -> {to}"));
    }
    lines.push(format!(
        "{} messages that are not stored",
        sum(&mut counts.new.values())
    ));
    for (to, number) in &counts.new {
        lines.push(format!("  {number:>8}  {to}"));
    }
    lines.push(format!(
        "{} other events, which are never published again",
        counts.others
    ));
    for (kind, number) in &counts.unknown {
        lines.push(format!("  {number:>8}  {kind}, not known (any more)"));
    }
    lines.push(match dry_run {
        true => "nothing was published (--dry-run)".to_owned(),
        false => format!("{} messages published", counts.published),
    });
    lines.join("\n") + "\n"
}
