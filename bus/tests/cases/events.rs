//! Events to endpoints, notices to processes, copies to watchers.

use bytes::Bytes;
use futures::StreamExt;
use tributary_bus::{
    Bus, ChannelId, DeadId, DeadLetter, EndpointId, EventFilter, Lane, LaneSpec, Notice,
    OrganizationId,
};

use crate::support::{
    Test, as_event, declare, event, into_lane, is_silent, numbered, numbers, own, publish, soon,
    take, world::World,
};

fn endpoint(organization: &str, patterns: &[&str]) -> LaneSpec {
    LaneSpec {
        lane: Lane::Endpoint(EndpointId::generate()),
        filter: Some(EventFilter {
            organization: OrganizationId::from(organization),
            patterns: patterns.iter().map(|&p| p.to_owned()).collect(),
        }),
    }
}

async fn numbers_in(
    bus: &dyn Bus,
    lane: &Lane,
    count: usize,
) -> Result<Vec<u64>, Box<dyn std::error::Error + Send + Sync>> {
    let mut owner = own(bus, lane).await;
    let mut intake = owner.claim.take(100).await?;
    let messages = take(&mut *intake, count).await?;
    assert!(is_silent(&mut *intake).await, "more in {lane}");
    Ok(numbers(&messages))
}

pub async fn events_reach_the_lanes_that_want_them(world: &World) -> Test {
    let process = world.process().await?;
    let bus = &*process.bus;
    let wanted = [
        (endpoint("acme", &["*"]), vec![0, 1, 2, 3]),
        (endpoint("acme", &["message.*"]), vec![1, 2]),
        (endpoint("acme", &["message.created"]), vec![1]),
        // Two patterns that both match give one copy.
        (
            endpoint("acme", &["message.*", "message.created", "contact.blocked"]),
            vec![1, 2, 3],
        ),
        (endpoint("other", &["*"]), vec![4, 5]),
        (endpoint("acm", &["*"]), vec![]),
        (endpoint("acme", &["note.created"]), vec![]),
    ];
    let specs: Vec<LaneSpec> = wanted.iter().map(|(spec, _)| spec.clone()).collect();
    bus.declare(&specs).await?;
    bus.declare(&specs).await?;
    let inbound = Lane::Inbound(0);
    declare(bus, &inbound).await?;
    let published = [
        ("acme", "conversation.created.v1"),
        ("acme", "message.created.v1"),
        ("acme", "message.status_changed.v2"),
        ("acme", "contact.blocked.v1"),
        ("other", "message.created.v1"),
        ("other", "note.created.v1"),
        // Nobody wants this one, which is no error.
        ("nobody", "message.created.v1"),
    ];
    let batch = (0..)
        .zip(published)
        .map(|(n, (organization, kind))| as_event(event(organization, kind, n)));
    for outcome in bus.publish(batch.collect()).await {
        outcome?;
    }
    for (spec, numbers) in wanted {
        assert_eq!(numbers_in(bus, &spec.lane, numbers.len()).await?, numbers);
    }
    assert_eq!(numbers_in(bus, &inbound, 0).await?, [0_u64; 0]);
    Ok(())
}

pub async fn a_later_filter_replaces_the_earlier(world: &World) -> Test {
    let process = world.process().await?;
    let mut spec = endpoint("acme", &["message.*", "contact.created"]);
    process.bus.declare(&[spec.clone()]).await?;
    if let Some(filter) = &mut spec.filter {
        filter.patterns = vec!["contact.*".to_owned()];
    }
    process.bus.declare(&[spec.clone()]).await?;
    let kinds = [
        "message.created.v1",
        "contact.created.v1",
        "contact.updated.v1",
    ];
    let batch = (0..)
        .zip(kinds)
        .map(|(n, kind)| as_event(event("acme", kind, n)));
    for outcome in process.bus.publish(batch.collect()).await {
        outcome?;
    }
    assert_eq!(numbers_in(&*process.bus, &spec.lane, 2).await?, [1, 2]);
    Ok(())
}

pub async fn a_filter_of_another_organization_replaces_the_earlier(world: &World) -> Test {
    let process = world.process().await?;
    let mut spec = endpoint("acme", &["message.*"]);
    process.bus.declare(&[spec.clone()]).await?;
    if let Some(filter) = &mut spec.filter {
        filter.organization = OrganizationId::from("other");
    }
    process.bus.declare(&[spec.clone()]).await?;
    let batch = (0..)
        .zip(["acme", "other"])
        .map(|(n, organization)| as_event(event(organization, "message.created.v1", n)));
    for outcome in process.bus.publish(batch.collect()).await {
        outcome?;
    }
    assert_eq!(numbers_in(&*process.bus, &spec.lane, 1).await?, [1]);
    Ok(())
}

pub async fn notices_reach_every_listener(world: &World) -> Test {
    let (one, other) = (world.process().await?, world.process().await?);
    let mut listeners = [
        one.bus.notices().await?,
        one.bus.notices().await?,
        other.bus.notices().await?,
    ];
    let notice = |topic: &str, body: &'static [u8]| Notice {
        topic: topic.to_owned(),
        body: Bytes::from_static(body),
    };
    let said = [notice("widget.mailbox", b"visitor 7"), notice("other", b"")];
    one.bus.announce(said[0].clone()).await?;
    other.bus.announce(said[1].clone()).await?;
    for listener in &mut listeners {
        let mut heard = Vec::new();
        for _ in 0..2 {
            heard.push(soon("a notice", listener.next()).await.ok_or("an end")?);
        }
        heard.sort_by_key(|notice| std::cmp::Reverse(notice.topic.clone()));
        assert_eq!(heard, said);
    }
    // Without listeners it is no error, and who comes later does not hear it.
    drop(listeners);
    one.bus.announce(said[0].clone()).await?;
    let mut late = other.bus.notices().await?;
    one.bus.announce(said[1].clone()).await?;
    assert_eq!(soon("a notice", late.next()).await.as_ref(), Some(&said[1]));
    Ok(())
}

pub async fn a_watcher_sees_everything(world: &World) -> Test {
    let (one, other) = (world.process().await?, world.process().await?);
    let lane = Lane::Delivery(ChannelId::from("acme-bot"));
    declare(&*one.bus, &lane).await?;
    publish(&*one.bus, &lane, 0..1).await?;
    let mut watcher = other.bus.tail(std::slice::from_ref(&lane)).await?;
    let (delivery, wanted) = (numbered(1), event("acme", "message.created.v1", 2));
    let letter = DeadLetter {
        id: DeadId(uuid::Uuid::new_v4()),
        lane: lane.clone(),
        reason: "test".to_owned(),
        at: chrono::Utc::now(),
        body: Bytes::from_static(b"dead"),
    };
    one.bus
        .publish(vec![into_lane(&lane, delivery.clone())])
        .await
        .remove(0)?;
    one.bus
        .publish(vec![as_event(wanted.clone())])
        .await
        .remove(0)?;
    one.bus.bury(vec![letter]).await?;
    for (to, body) in [
        ("delivery.acme-bot", delivery.to_bytes()?),
        ("events", wanted.to_bytes()?),
        ("dead", b"dead".to_vec()),
    ] {
        let moved = soon("a copy", watcher.next()).await.ok_or("an end")?;
        assert_eq!(moved.to, to);
        assert_eq!(moved.body, body);
    }
    // The copies are copies.
    drop(watcher);
    crate::support::until_depth(&*one.bus, &lane, 2).await;
    Ok(())
}
