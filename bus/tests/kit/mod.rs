//! What the tests of the embedded bus and of the lane runner share.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod scripted;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tributary_bus::{
    Bus, Claim, Destination, EmbeddedBus, Envelope, EventId, Intake, Lane, LaneSpec,
    OrganizationId, Publication, Tag,
};

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A bus on a file of its own.
pub async fn bus() -> (TempDir, Arc<dyn Bus>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bus = EmbeddedBus::open(&dir.path().join("bus.db"))
        .await
        .expect("a new bus opens");
    (dir, bus)
}

/// Opens a file whose last user may not have let go of it yet.
pub async fn reopen(dir: &TempDir) -> Arc<dyn Bus> {
    let path = dir.path().join("bus.db");
    let mut opened = None;
    eventually("it can be opened again", async || {
        opened = EmbeddedBus::open(&path).await.ok();
        opened.is_some()
    })
    .await;
    opened.expect("it was opened")
}

/// An envelope about `subject` with a number in its data.
pub fn envelope(subject: &str, n: usize) -> Envelope {
    Envelope {
        specversion: "1.0".to_owned(),
        id: EventId::generate(),
        source: "/test".to_owned(),
        kind: "test.done.v1".to_owned(),
        subject: Some(subject.to_owned()),
        time: chrono::Utc::now(),
        datacontenttype: "application/json".to_owned(),
        dataschema: "test.done.v1.json".to_owned(),
        orgid: OrganizationId::from("acme"),
        sequence: None,
        traceparent: None,
        data: serde_json::json!({ "n": n }).into(),
        extensions: serde_json::Map::new(),
    }
}

/// The number in the data.
pub fn number(envelope: &Envelope) -> usize {
    let n = envelope.data.to_value()["n"].as_u64();
    usize::try_from(n.expect("a test envelope")).expect("small")
}

pub fn to(lane: &Lane, envelope: Envelope) -> Publication {
    Publication {
        to: Destination::Lane(lane.clone()),
        envelope: envelope.seal().expect("JSON"),
    }
}

pub fn plain(lane: &Lane) -> LaneSpec {
    LaneSpec {
        lane: lane.clone(),
        filter: None,
    }
}

/// Publishes and expects every publication to be confirmed.
pub async fn publish(bus: &dyn Bus, batch: Vec<Publication>) {
    for result in bus.publish(batch).await {
        result.expect("confirmed");
    }
}

/// Publishes numbered messages about one subject.
pub async fn publish_numbers(
    bus: &dyn Bus,
    lane: &Lane,
    subject: &str,
    numbers: std::ops::Range<usize>,
) {
    let batch = numbers.map(|n| to(lane, envelope(subject, n))).collect();
    publish(bus, batch).await;
}

/// Takes `count` messages: tag, redeliveries and number of each.
pub async fn take(intake: &mut Box<dyn Intake>, count: usize) -> Vec<(Tag, u32, usize)> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(PATIENCE, intake.next())
            .await
            .expect("a message in time")
            .expect("an open intake");
        let envelope = next.envelope.expect("an envelope");
        taken.push((next.tag, next.redeliveries, number(&envelope)));
    }
    taken
}

/// Whether nothing can be taken right now.
pub async fn is_quiet(intake: &mut Box<dyn Intake>) -> bool {
    tokio::time::timeout(Duration::from_millis(100), intake.next())
        .await
        .is_err()
}

pub async fn claim(bus: &dyn Bus, lane: &Lane) -> Box<dyn Claim> {
    let member = bus
        .join(&tributary_bus::Group::Router)
        .await
        .expect("joined");
    member
        .claim(lane)
        .await
        .expect("claimable")
        .expect("nobody else owns it")
}

/// Polls until the condition holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
