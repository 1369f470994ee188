//! Publishing: pipelined, in order, and honest about failures.

use std::{sync::Arc, time::Instant};

use futures::future::join_all;
use serde_json::json;
use tributary_bus::{Bus, ChannelId, EndpointId, Envelope, Lane, PublishError};

use crate::support::{
    Test, declare, event, into_lane, is_silent, number, numbered, numbers, own, publish, soon,
    take, until_depth, world::World,
};

const LANE: Lane = Lane::Inbound(1);

pub async fn a_big_batch_is_pipelined_and_keeps_its_order(world: &World) -> Test {
    const COUNT: u64 = 5_000;
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    let begun = Instant::now();
    publish(&*process.bus, &LANE, 0..COUNT).await?;
    // One confirm at a time would take five seconds on an idle machine; the number is for the reader.
    println!("{COUNT} published in {:?}", begun.elapsed());
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(500).await?;
    let mut taken = Vec::new();
    while taken.len() < 5_000 {
        let some = take(&mut *intake, 100).await?;
        taken.extend(numbers(&some));
        let tags: Vec<_> = some.iter().map(|message| message.tag).collect();
        intake.settle(&tags).await?;
    }
    assert_eq!(taken, (0..COUNT).collect::<Vec<u64>>());
    drop(intake);
    until_depth(&*process.bus, &LANE, 0).await;
    Ok(())
}

pub async fn concurrent_batches_keep_their_orders(world: &World) -> Test {
    const TASKS: u64 = 40;
    const EACH: u64 = 25;
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    let publish_one = |task: u64| {
        let bus = Arc::clone(&process.bus);
        let numbers = task * EACH..(task + 1) * EACH;
        async move { publish(&*bus, &LANE, numbers).await }
    };
    for outcome in join_all((0..TASKS).map(publish_one)).await {
        outcome?;
    }
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(2000).await?;
    let mut next: Vec<u64> = (0..TASKS).map(|task| task * EACH).collect();
    for message in take(&mut *intake, 1000).await? {
        let task = usize::try_from(number(&message) / EACH)?;
        assert_eq!(number(&message), next[task], "order of task {task}");
        next[task] += 1;
    }
    Ok(())
}

pub async fn failures_of_a_batch_are_a_suffix(world: &World) -> Test {
    const COUNT: u64 = 20_000;
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    let batch = (0..COUNT)
        .map(|n| into_lane(&LANE, numbered(n)))
        .collect::<Vec<_>>();
    let bus = Arc::clone(&process.bus);
    let publishing = tokio::spawn(async move { bus.publish(batch).await });
    until_some_arrived(&*process.bus).await;
    match &process.network {
        Some(network) => network.cut(),
        None => process.bus.close().await,
    }
    let outcomes = soon("outcomes", publishing).await?;
    assert_eq!(outcomes.len(), 20_000);
    let confirmed = outcomes.iter().take_while(|o| o.is_ok()).count();
    if process.network.is_some() {
        assert!(confirmed < 20_000, "cut in the middle");
    }
    let mut sent = true;
    for outcome in &outcomes[confirmed..] {
        match outcome {
            Ok(()) => panic!("a success behind a failure"),
            Err(PublishError::Unknown(_)) => assert!(sent, "unknown behind unpublished"),
            Err(PublishError::NotPublished(_)) => sent = false,
            Err(PublishError::NoLane(lane)) => panic!("{lane} exists"),
        }
    }
    let maybe = outcomes
        .iter()
        .filter(|o| !matches!(o, Err(PublishError::NotPublished(_))))
        .count();
    assert!(
        process
            .bus
            .publish(vec![into_lane(&LANE, numbered(0))])
            .await[0]
            .is_err()
    );

    // What arrived is a prefix: all that was confirmed, none that was not published.
    let process = world.crash(process, ()).await?;
    let depth = process.bus.depth(&LANE).await?;
    let arrived = usize::try_from(depth)?;
    assert!(
        (confirmed..=maybe).contains(&arrived),
        "{confirmed} {arrived} {maybe}"
    );
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(0x7fff).await?;
    let taken = numbers(&take(&mut *intake, arrived).await?);
    assert_eq!(taken, (0..depth).collect::<Vec<u64>>());
    Ok(())
}

async fn until_some_arrived(bus: &dyn Bus) {
    crate::support::eventually("some messages arrive", async || {
        (bus.depth(&LANE).await.ok()? > 500).then_some(())
    })
    .await;
}

pub async fn a_missing_lane_is_named_and_harms_no_other(world: &World) -> Test {
    let process = world.process().await?;
    let gone = Lane::Endpoint(EndpointId::generate());
    declare(&*process.bus, &LANE).await?;
    let to = |n: u64| if n % 3 == 1 { &gone } else { &LANE };
    let batch = (0..300).map(|n| into_lane(to(n), numbered(n))).collect();
    for (n, outcome) in (0..).zip(process.bus.publish(batch).await) {
        match outcome {
            Ok(()) => assert_ne!(n % 3, 1, "{n} has no lane"),
            Err(PublishError::NoLane(lane)) => {
                assert_eq!(n % 3, 1, "{n} has a lane");
                assert_eq!(lane, gone.to_string());
            }
            Err(other) => return Err(other.into()),
        }
    }
    until_depth(&*process.bus, &LANE, 200).await;
    Ok(())
}

pub async fn a_removed_lane_loses_its_messages(world: &World) -> Test {
    let process = world.process().await?;
    let lane = Lane::Delivery(ChannelId::from("acme-bot"));
    process.bus.remove(&lane).await?;
    declare(&*process.bus, &lane).await?;
    publish(&*process.bus, &lane, 0..3).await?;
    process.bus.remove(&lane).await?;
    declare(&*process.bus, &lane).await?;
    publish(&*process.bus, &lane, 3..4).await?;
    let mut owner = own(&*process.bus, &lane).await;
    let mut intake = owner.claim.take(10).await?;
    assert_eq!(numbers(&take(&mut *intake, 1).await?), [3]);
    assert!(is_silent(&mut *intake).await);

    // Whoever consumes a lane learns that it is gone.
    process.bus.remove(&lane).await?;
    assert!(soon("the intake ends", intake.next()).await.is_err());
    Ok(())
}

pub async fn depth_counts_what_waits(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    until_depth(&*process.bus, &LANE, 0).await;
    publish(&*process.bus, &LANE, 0..12).await?;
    until_depth(&*process.bus, &LANE, 12).await;
    // The owner still sees what it has taken and not settled.
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(3).await?;
    let taken = take(&mut *intake, 3).await?;
    intake.settle(&[taken[0].tag]).await?;
    take(&mut *intake, 1).await?;
    assert!(is_silent(&mut *intake).await);
    until_depth(&*process.bus, &LANE, 11).await;
    intake.close().await;
    until_depth(&*process.bus, &LANE, 11).await;
    owner.claim.release().await?;
    until_depth(&*process.bus, &LANE, 11).await;
    let never = Lane::Delivery(ChannelId::from("never-declared"));
    assert_eq!(process.bus.depth(&never).await?, 0);
    Ok(())
}

pub async fn envelopes_travel_untouched(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    let mut newer = event("acme", "message.received.v9", 1);
    newer.data = json!({ "number": 1, "hologram": { "angles": [1.5, null, "ж"] } }).into();
    newer.sequence = Some("42".to_owned());
    newer
        .extensions
        .insert("partitionkey".to_owned(), json!("p1"));
    let written: Envelope = serde_json::from_slice(&newer.to_bytes()?)?;
    let long = event("acme", &format!("x.{}", "y".repeat(400)), 2);
    let batch = [&newer, &long].map(|envelope| into_lane(&LANE, envelope.clone()));
    for outcome in process.bus.publish(batch.to_vec()).await {
        outcome?;
    }
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(10).await?;
    let taken = take(&mut *intake, 2).await?;
    assert_eq!(taken[0].envelope.as_ref().ok(), Some(&written));
    assert_eq!(taken[0].body, newer.to_bytes()?);
    assert_eq!(taken[1].envelope.as_ref().ok().map(|e| e.id), Some(long.id));
    Ok(())
}

pub async fn depth_counts_what_an_owner_holds(world: &World) -> Test {
    let (one, other) = (world.process().await?, world.process().await?);
    declare(&*one.bus, &LANE).await?;
    publish(&*one.bus, &LANE, 0..10).await?;
    until_depth(&*other.bus, &LANE, 10).await;
    let mut owner = own(&*one.bus, &LANE).await;
    let mut intake = owner.claim.take(4).await?;
    let messages = take(&mut *intake, 4).await?;
    // All the others have come as well, and wait for room.
    assert!(is_silent(&mut *intake).await);
    for bus in [&one.bus, &other.bus] {
        assert_eq!(bus.depth(&LANE).await?, 10);
    }
    intake.settle(&[messages[0].tag, messages[2].tag]).await?;
    until_depth(&*other.bus, &LANE, 8).await;
    intake.close().await;
    owner.claim.release().await?;
    until_depth(&*other.bus, &LANE, 8).await;
    Ok(())
}
