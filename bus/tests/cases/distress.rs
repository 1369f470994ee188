//! A network or a broker that fails: nothing that was confirmed is lost, order holds, and what was owned is known to
//! be lost.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::watch;
use tributary_bus::{AmqpBus, Bus, BusError, BusState, Group, Lane, Notice, PublishError};

use crate::support::{
    Test,
    broker::Broker,
    declare, eventually, into_lane, number, numbered, numbers, own, publish, soon, take,
    world::{Process, World, near, ready, settings},
};

const LANE: Lane = Lane::Inbound(0);

async fn until_away(bus: &dyn Bus) {
    let mut state = bus.state();
    let away = state.wait_for(|state| matches!(state, BusState::Away { .. }));
    soon("the bus is away", away).await.expect("a state");
}

fn network(process: &Process) -> &crate::support::proxy::Proxy {
    process
        .network
        .as_ref()
        .expect("RabbitMQ is behind a network")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_ends_claims_at_once_and_loses_nothing() -> Test {
    let world = World::amqp().await?;
    let process = world.process().await?;
    let bus = &*process.bus;
    declare(bus, &LANE).await?;
    publish(bus, &LANE, 0..6).await?;
    let mut owner = own(bus, &LANE).await;
    let mut notices = bus.notices().await?;
    let mut intake = owner.claim.take(10).await?;
    let messages = take(&mut *intake, 3).await?;
    intake.settle(&[messages[0].tag]).await?;
    // A question on the same connection: the cut may swallow what was just said.
    owner.membership.size().await?;
    let lease = owner.claim.lease();
    assert!(lease.is_fresh());

    network(&process).cut();
    soon("the lease is lost", lease.lost()).await;
    assert!(!lease.is_fresh());
    assert!(matches!(intake.next().await, Err(BusError::Lost(_))));
    assert!(intake.settle(&[messages[1].tag]).await.is_err());
    assert!(owner.claim.take(1).await.is_err());
    until_away(bus).await;
    let begun = Instant::now();
    // The other connection may not have noticed yet: then nobody knows what became of it.
    let publish = async || {
        bus.publish(vec![into_lane(&LANE, numbered(9))])
            .await
            .remove(0)
    };
    let refused = publish().await;
    assert!(refused.is_err(), "{refused:?}");
    eventually("nothing is sent", async || {
        matches!(publish().await, Err(PublishError::NotPublished(_))).then_some(())
    })
    .await;
    assert!(bus.join(&Group::Router).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(1), "fails quickly");

    network(&process).mend();
    ready(bus).await;
    // The old claim stays lost, and the membership heals. Who listens learns that notices may be missing.
    assert_eq!(soon("an end", notices.next()).await, None);
    let mut notices = eventually("a listener", async || bus.notices().await.ok()).await;
    assert!(!lease.is_fresh());
    assert!(owner.claim.take(1).await.is_err());
    drop((intake, owner.claim));
    let mut claim = eventually("a claim", async || {
        owner.membership.claim(&LANE).await.ok()?
    })
    .await;
    assert_eq!(owner.membership.size().await?, 1);
    let mut intake = claim.take(10).await?;
    assert_eq!(numbers(&take(&mut *intake, 5).await?), [1, 2, 3, 4, 5]);
    let said = Notice {
        topic: "again".to_owned(),
        body: Bytes::new(),
    };
    eventually("a notice after the cut", async || {
        bus.announce(said.clone()).await.ok()?;
        let heard = tokio::time::timeout(Duration::from_millis(200), notices.next());
        (heard.await.ok()?.as_ref() == Some(&said)).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_of_the_network_ends_leases_and_publications() -> Test {
    let world = World::amqp().await?;
    let process = world.process().await?;
    let bus = &*process.bus;
    declare(bus, &LANE).await?;
    let mut owner = own(bus, &LANE).await;
    let _intake = owner.claim.take(1).await?;
    let lease = owner.claim.lease();
    network(&process).freeze();
    let frozen = Instant::now();

    // Nothing tells that the broker is gone, but no answer comes.
    let outcomes = bus.publish((0..3).map(|n| into_lane(&LANE, numbered(n))).collect());
    for outcome in soon("outcomes", outcomes).await {
        assert!(matches!(outcome, Err(PublishError::Unknown(_))));
    }
    let waited = frozen.elapsed();
    assert!(
        waited >= Duration::from_secs(4),
        "{waited:?} is no deadline"
    );
    eventually("the lease is stale", async || {
        (!lease.is_fresh()).then_some(())
    })
    .await;
    // Two heartbeats after the last proof, which is never more than half a heartbeat old.
    let stale = frozen.elapsed();
    assert!(stale > Duration::from_secs(5), "{stale:?} is too early");
    assert!(stale < Duration::from_secs(12), "{stale:?} is too late");
    until_away(bus).await;
    soon("the lease is lost", lease.lost()).await;

    network(&process).mend();
    ready(bus).await;
    publish(bus, &LANE, 7..8).await?;
    drop(own(bus, &LANE).await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_broker_is_waited_for() -> Test {
    let url = std::env::var("TEST_AMQP_URL")?;
    let (network, near) = near(&url).await?;
    network.cut();
    let prefix = format!("test-{}.", uuid::Uuid::new_v4().simple());
    let bus = AmqpBus::connect_with_prefix(&settings(&near), &prefix);
    until_away(&*bus).await;
    assert!(bus.publish(vec![into_lane(&LANE, numbered(0))]).await[0].is_err());
    assert!(matches!(bus.depth(&LANE).await, Err(BusError::Away(_))));

    // A broker that accepts and says nothing is none.
    network.freeze();
    let mut state = bus.state();
    let silent = state.wait_for(
        |state| matches!(state, BusState::Away { reason } if reason.contains("did not answer")),
    );
    drop(soon("silence is noticed", silent).await?);
    network.mend();
    ready(&*bus).await;
    // A lane comes into being with its first message.
    publish(&*bus, &LANE, 0..1).await?;
    assert_eq!(bus.depth(&LANE).await?, 1);
    bus.remove(&LANE).await?;
    bus.close().await;
    assert!(matches!(*bus.state().borrow(), BusState::Away { .. }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_not_shown() -> Test {
    let mut url = url::Url::parse(&std::env::var("TEST_AMQP_URL")?)?;
    url.set_password(Some("hunter2")).map_err(|()| "a URL")?;
    let bus = AmqpBus::connect(&settings(url.as_str()));
    until_away(&*bus).await;
    let state = bus.state().borrow().clone();
    let BusState::Away { reason } = state else {
        return Err(format!("{state:?}").into());
    };
    assert!(reason.contains("ACCESS_REFUSED"), "{reason}");
    assert!(!reason.contains("hunter2"), "{reason}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_broker_takes_acknowledgements_and_recovers() -> Test {
    let broker = Broker::start().await?;
    let process = World::amqp_at(broker.url.clone()).process().await?;
    let bus = &process.bus;
    declare(&**bus, &LANE).await?;
    publish(&**bus, &LANE, 0..3).await?;
    let mut owner = own(&**bus, &LANE).await;
    let mut intake = owner.claim.take(10).await?;
    let messages = take(&mut *intake, 3).await?;

    broker
        .control(&["set_vm_memory_high_watermark", "absolute", "1MB"])
        .await?;
    // The broker tells those who publish, when they do; what it has not read by then fails at the deadline.
    let begun = Instant::now();
    eventually("publications fail", async || {
        let outcomes = bus.publish(vec![into_lane(&LANE, numbered(9))]).await;
        matches!(
            outcomes[0],
            Err(PublishError::Unknown(_) | PublishError::NotPublished(_))
        )
        .then_some(())
    })
    .await;
    let mut state = bus.state();
    let blocked = state.wait_for(|state| matches!(state, BusState::Blocked { .. }));
    drop(soon("the bus is blocked", blocked).await?);
    tokio::time::timeout(Duration::from_secs(1), async {
        let outcomes = bus.publish(vec![into_lane(&LANE, numbered(9))]).await;
        assert!(matches!(outcomes[0], Err(PublishError::NotPublished(_))));
    })
    .await?;
    // Nothing else is harmed.
    intake
        .settle(&[messages[0].tag, messages[1].tag, messages[2].tag])
        .await?;
    assert!(owner.claim.lease().is_fresh());
    assert_eq!(owner.membership.size().await?, 1);
    // Longer than the deadline of what is in flight.
    eventually("the deadline has passed", async || {
        (begun.elapsed() > Duration::from_secs(6)).then_some(())
    })
    .await;
    assert!(matches!(*bus.state().borrow(), BusState::Blocked { .. }));

    broker
        .control(&["set_vm_memory_high_watermark", "0.9"])
        .await?;
    ready(&**bus).await;
    eventually("publications succeed", async || {
        publish(&**bus, &LANE, 10..11).await.ok()
    })
    .await;
    assert!(owner.claim.lease().is_fresh());
    let mut last = 0;
    while last != 10 {
        last = number(&soon("a message", intake.next()).await?);
        assert!([9, 10].contains(&last), "the acknowledged ones are gone");
    }
    Ok(())
}

/// Publishes a sequence in batches, repeating from the first failure; counts what is confirmed.
async fn publish_all(
    bus: Arc<dyn Bus>,
    from: u64,
    count: u64,
    confirmed: Arc<watch::Sender<u64>>,
) -> Test {
    let mut next = from;
    while next < from + count {
        let upto = (next + 50).min(from + count);
        let batch = (next..upto)
            .map(|n| into_lane(&LANE, numbered(n)))
            .collect();
        let outcomes = bus.publish(batch).await;
        let done = outcomes.iter().take_while(|outcome| outcome.is_ok());
        let done = done.count() as u64;
        next += done;
        confirmed.send_modify(|confirmed| *confirmed += done);
        if outcomes.iter().any(Result::is_err) {
            ready(&*bus).await;
        }
    }
    Ok(())
}

/// Takes and settles whatever comes until everything has come, claiming again whenever that fails.
async fn take_all(bus: Arc<dyn Bus>, sequences: u64, each: u64) -> Test {
    let mut next: Vec<u64> = (0..sequences).map(|s| s * each).collect();
    let mut seen = HashSet::new();
    while seen.len() as u64 != sequences * each {
        let mut owner = own(&*bus, &LANE).await;
        let Ok(mut intake) = owner.claim.take(200).await else {
            continue;
        };
        while let Ok(Ok(message)) =
            tokio::time::timeout(Duration::from_secs(20), intake.next()).await
        {
            let number = number(&message);
            if seen.insert(number) {
                let sequence = usize::try_from(number / each)?;
                assert_eq!(number, next[sequence], "a hole in sequence {sequence}");
                next[sequence] += 1;
            }
            if intake.settle(&[message.tag]).await.is_err() || seen.len() as u64 == sequences * each
            {
                break;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_broker_loses_and_reorders_nothing() -> Test {
    const SEQUENCES: u64 = 4;
    const EACH: u64 = 10_000;
    let broker = Broker::start().await?;
    let world = World::amqp_at(broker.url.clone());
    let (publishing, consuming) = (world.process().await?, world.process().await?);
    declare(&*publishing.bus, &LANE).await?;
    let confirmed = Arc::new(watch::Sender::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for sequence in 0..SEQUENCES {
        senders.spawn(publish_all(
            Arc::clone(&publishing.bus),
            sequence * EACH,
            EACH,
            Arc::clone(&confirmed),
        ));
    }
    let taker = tokio::spawn(take_all(Arc::clone(&consuming.bus), SEQUENCES, EACH));
    let mut progress = confirmed.subscribe();
    for round in 0..2 {
        // Under load: some of each sequence is there, and most is not.
        let share = SEQUENCES * EACH * (round + 1) / 4;
        let underway = progress.wait_for(|confirmed| *confirmed >= share);
        tokio::time::timeout(Duration::from_secs(60), underway).await??;
        broker.kill().await?;
        until_away(&*publishing.bus).await;
        until_away(&*consuming.bus).await;
        broker.revive().await?;
        ready(&*publishing.bus).await;
        ready(&*consuming.bus).await;
        println!("round {round}: back");
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    tokio::time::timeout(Duration::from_secs(120), taker).await???;
    Ok(())
}

/// The broker makes the lock after the claim has been given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_answered_late_strands_no_lane() -> Test {
    let url = std::env::var("TEST_AMQP_URL")?;
    let prefix = format!("test-{}.", uuid::Uuid::new_v4().simple());
    let (network, near) = near(&url).await?;
    let hasty = tributary_config::Bus {
        connect_deadline: Duration::from_secs(1),
        ..settings(&near)
    };
    let slow = AmqpBus::connect_with_prefix(&hasty, &prefix);
    let other = AmqpBus::connect_with_prefix(&settings(&url), &prefix);
    ready(&*slow).await;
    ready(&*other).await;
    declare(&*other, &LANE).await?;
    publish(&*other, &LANE, 0..3).await?;
    let member = slow.join(&Group::Router).await?;

    network.hold(b"owner.");
    let late = member.claim(&LANE).await;
    assert!(
        matches!(late, Err(BusError::Deadline(_))),
        "{:?}",
        late.err()
    );
    // The answer is still on its way: this process may not mistake it for that of another claim.
    assert!(member.claim(&LANE).await?.is_none());
    network.mend();
    let mut owner = own(&*other, &LANE).await;
    let mut intake = owner.claim.take(10).await?;
    assert_eq!(numbers(&take(&mut *intake, 3).await?), [0, 1, 2]);
    assert!(owner.claim.lease().is_fresh());
    intake.close().await;
    owner.claim.release().await?;
    // It can be claimed by the first as well, on the connection that it had.
    eventually("a claim", async || member.claim(&LANE).await.ok()?).await;
    other.remove(&LANE).await?;
    Ok(())
}

/// One lane's lock vanishes (an operator deletes its queue): that lane is lost, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_vanishes_is_the_loss_of_one_lane() -> Test {
    const OTHER: Lane = Lane::Inbound(1);
    let broker = Broker::start().await?;
    let prefix = "test.";
    let bus = AmqpBus::connect_with_prefix(&settings(&broker.url), prefix);
    ready(&*bus).await;
    declare(&*bus, &LANE).await?;
    declare(&*bus, &OTHER).await?;
    let (lost, kept) = (own(&*bus, &LANE).await, own(&*bus, &OTHER).await);
    let (lease, other) = (lost.claim.lease(), kept.claim.lease());
    let delete = format!(
        "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{prefix}owner.{LANE}\">>)), \
         rabbit_amqqueue:delete(Q, false, false, <<\"test\">>)."
    );
    broker.control(&["eval", &delete]).await?;
    soon("it is lost", lease.lost()).await;
    // The next owner finds it free, on the same connection.
    drop(own(&*bus, &LANE).await);
    assert!(other.is_fresh(), "the other lane was lost with it");
    kept.claim.release().await?;
    Ok(())
}

/// The broker answers nack, as it does while the leader of a queue is dying.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_refuses_for_a_moment_is_published() -> Test {
    const OTHER: Lane = Lane::Inbound(1);
    let broker = Broker::start().await?;
    let prefix = "test.";
    let bus = AmqpBus::connect_with_prefix(&settings(&broker.url), prefix);
    ready(&*bus).await;
    declare(&*bus, &LANE).await?;
    declare(&*bus, &OTHER).await?;
    publish(&*bus, &LANE, 0..1).await?;
    let queue = format!("^{prefix}{LANE}$");
    let full = r#"{"max-length":1,"overflow":"reject-publish"}"#;
    broker
        .control(&["set_policy", "full", &queue, full, "--apply-to", "queues"])
        .await?;
    let refused = eventually("it refuses", async || {
        let begun = Instant::now();
        let outcome = bus
            .publish(vec![into_lane(&LANE, numbered(1))])
            .await
            .remove(0);
        outcome.err().map(|error| (error, begun.elapsed()))
    })
    .await;
    assert!(
        matches!(&refused.0, PublishError::Unknown(_)),
        "{}",
        refused.0
    );
    assert!(
        refused.1 < Duration::from_secs(30),
        "bounded: {:?}",
        refused.1
    );

    let batch = (2..12).map(|n| into_lane(&LANE, numbered(n))).collect();
    let (waiting, others) = (bus.publish(batch), async {
        for n in 0..20 {
            publish(&*bus, &OTHER, n..n + 1).await?;
        }
        broker.control(&["clear_policy", "full"]).await
    });
    let (outcomes, others) = tokio::join!(waiting, others);
    others?;
    for outcome in outcomes {
        outcome?;
    }
    let mut owner = own(&*bus, &LANE).await;
    let mut intake = owner.claim.take(100).await?;
    let mut seen = Vec::new();
    while seen.last() != Some(&11) {
        let taken = soon("all of them", intake.next()).await?;
        if !seen.contains(&number(&taken)) {
            seen.push(number(&taken));
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!((2..12).all(|n| seen.contains(&n)), "{seen:?}");
    Ok(())
}
