//! What the contract's cases stand on: a world with processes on a bus, and ways to look and to wait.

pub mod broker;
pub mod proxy;
pub mod world;

use std::{
    error::Error,
    time::{Duration, Instant},
};

use serde_json::json;
use tributary_bus::{
    Bus, Claim, Destination, Envelope, EventId, Group, Intake, Lane, LaneSpec, Membership,
    OrganizationId, Publication, Taken,
};

pub type Test = Result<(), Box<dyn Error + Send + Sync>>;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is `Some`.
///
/// # Panics
/// It never is.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for something that must come.
///
/// # Panics
/// It does not.
pub async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, coming).await {
        Ok(answer) => answer,
        Err(_) => panic!("never happened: {what}"),
    }
}

/// An envelope of organization `acme` with a number in it.
pub fn numbered(number: u64) -> Envelope {
    event("acme", "message.received.v1", number)
}

/// An envelope of any organization and type with a number in it.
pub fn event(organization: &str, kind: &str, number: u64) -> Envelope {
    Envelope {
        specversion: "1.0".to_owned(),
        id: EventId::generate(),
        source: "/channels/shop".to_owned(),
        kind: kind.to_owned(),
        subject: Some("contact".to_owned()),
        time: chrono::Utc::now(),
        datacontenttype: "application/json".to_owned(),
        dataschema: format!("{kind}.json"),
        orgid: OrganizationId::from(organization),
        sequence: None,
        traceparent: None,
        data: json!({ "number": number }).into(),
        extensions: serde_json::Map::new(),
    }
}

/// The number in a taken envelope.
///
/// # Panics
/// There is none.
pub fn number(taken: &Taken) -> u64 {
    let envelope = taken.envelope.as_ref().expect("an envelope");
    let data = envelope.data.to_value();
    data["number"].as_u64().expect("a number")
}

pub fn into_lane(lane: &Lane, envelope: Envelope) -> Publication {
    Publication {
        to: Destination::Lane(lane.clone()),
        envelope: envelope.seal().expect("JSON"),
    }
}

pub fn as_event(envelope: Envelope) -> Publication {
    Publication {
        to: Destination::Events,
        envelope: envelope.seal().expect("JSON"),
    }
}

/// Publishes numbers into a lane; all must arrive.
pub async fn publish(bus: &dyn Bus, lane: &Lane, numbers: std::ops::Range<u64>) -> Test {
    let batch = numbers.map(|n| into_lane(lane, numbered(n))).collect();
    for outcome in bus.publish(batch).await {
        outcome?;
    }
    Ok(())
}

pub async fn declare(bus: &dyn Bus, lane: &Lane) -> Test {
    let lane = lane.clone();
    bus.declare(&[LaneSpec { lane, filter: None }]).await?;
    Ok(())
}

/// A member of the router group that owns a lane.
pub struct Owner {
    pub claim: Box<dyn Claim>,
    pub membership: std::sync::Arc<dyn Membership>,
}

/// Joins and claims; the lane may still be on its way back from an earlier owner.
///
/// # Panics
/// It never is free.
pub async fn own(bus: &dyn Bus, lane: &Lane) -> Owner {
    let begun = Instant::now();
    loop {
        if let Ok(membership) = bus.join(&Group::Router).await
            && let Ok(Some(claim)) = membership.claim(lane).await
        {
            return Owner { claim, membership };
        }
        assert!(begun.elapsed() < PATIENCE, "never free: {lane}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Takes so many messages.
pub async fn take(
    intake: &mut dyn Intake,
    count: usize,
) -> Result<Vec<Taken>, Box<dyn Error + Send + Sync>> {
    let mut messages = Vec::new();
    for n in 0..count {
        messages.push(soon(&format!("message {n} of {count}"), intake.next()).await?);
    }
    Ok(messages)
}

pub fn numbers(messages: &[Taken]) -> Vec<u64> {
    messages.iter().map(number).collect()
}

/// Whether nothing more comes for a while.
pub async fn is_silent(intake: &mut dyn Intake) -> bool {
    tokio::time::timeout(Duration::from_millis(300), intake.next())
        .await
        .is_err()
}

/// Waits until so many messages wait in a lane.
pub async fn until_depth(bus: &dyn Bus, lane: &Lane, depth: u64) {
    eventually(&format!("depth {depth} of {lane}"), async || {
        (bus.depth(lane).await.ok()? == depth).then_some(())
    })
    .await;
}
