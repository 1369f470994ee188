//! Taking and settling: in order, and nothing is lost that was not settled.

use std::time::Duration;

use tributary_bus::Lane;

use crate::support::{
    Owner, Test, declare, is_silent, number, numbers, own, publish, soon, take, until_depth,
    world::World,
};

const LANE: Lane = Lane::Inbound(0);

pub async fn messages_come_in_order_and_go_when_settled(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    publish(&*process.bus, &LANE, 0..30).await?;
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(7).await?;
    for n in 0..30 {
        let message = soon("a message", intake.next()).await?;
        assert_eq!(number(&message), n);
        assert_eq!(message.redeliveries, 0);
        intake.settle(&[message.tag]).await?;
    }
    assert!(is_silent(&mut *intake).await);
    intake.close().await;
    until_depth(&*process.bus, &LANE, 0).await;

    // Later messages come to a waiting intake, and to a later one.
    let mut intake = owner.claim.take(7).await?;
    publish(&*process.bus, &LANE, 30..32).await?;
    assert_eq!(numbers(&take(&mut *intake, 2).await?), [30, 31]);
    Ok(())
}

pub async fn settling_in_any_order_is_possible(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    publish(&*process.bus, &LANE, 0..10).await?;
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(20).await?;
    let messages = take(&mut *intake, 10).await?;
    let tag = |n: usize| messages[n].tag;
    assert!(messages.is_sorted_by_key(|message| message.tag));
    intake.settle(&[tag(7), tag(2)]).await?;
    intake.settle(&[]).await?;
    intake.settle(&[tag(0), tag(1), tag(3)]).await?;
    // Once more does no harm.
    intake.settle(&[tag(3), tag(9), tag(9)]).await?;
    intake.close().await;
    let mut intake = owner.claim.take(20).await?;
    assert_eq!(numbers(&take(&mut *intake, 4).await?), [4, 5, 6, 8]);
    assert!(is_silent(&mut *intake).await);
    Ok(())
}

pub async fn no_more_than_the_prefetch_is_out(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    publish(&*process.bus, &LANE, 0..4).await?;
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(2).await?;
    let first = take(&mut *intake, 2).await?;
    assert!(is_silent(&mut *intake).await);
    intake.settle(&[first[0].tag]).await?;
    assert_eq!(numbers(&take(&mut *intake, 1).await?), [2]);
    assert!(is_silent(&mut *intake).await);
    Ok(())
}

/// Publishes 0..8, takes 0..5 and settles 1 and 3.
async fn half_way(world: &World) -> Result<HalfWay, Box<dyn std::error::Error + Send + Sync>> {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    publish(&*process.bus, &LANE, 0..8).await?;
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(6).await?;
    let messages = take(&mut *intake, 5).await?;
    assert_eq!(numbers(&messages), [0, 1, 2, 3, 4]);
    intake.settle(&[messages[3].tag, messages[1].tag]).await?;
    // A question on the same connection: the network may cut off what was just said.
    owner.membership.size().await?;
    Ok(HalfWay {
        process,
        owner,
        intake,
    })
}

struct HalfWay {
    process: crate::support::world::Process,
    owner: Owner,
    intake: Box<dyn tributary_bus::Intake>,
}

/// What must come after [`half_way`], in this order.
const REST: [u64; 6] = [0, 2, 4, 5, 6, 7];

pub async fn unsettled_messages_return_in_order_when_the_intake_closes(world: &World) -> Test {
    let mut half = half_way(world).await?;
    // At once: the next intake must not overtake the return.
    for _ in 0..20 {
        half.intake.close().await;
        half.intake = half.owner.claim.take(6).await?;
        let messages = take(&mut *half.intake, 6).await?;
        assert_eq!(numbers(&messages), REST);
        assert!(messages[0].redeliveries > 0);
    }
    Ok(())
}

pub async fn unsettled_messages_return_in_order_when_the_intake_is_dropped(world: &World) -> Test {
    let mut half = half_way(world).await?;
    for _ in 0..20 {
        drop(half.intake);
        half.intake = half.owner.claim.take(6).await?;
        assert_eq!(numbers(&take(&mut *half.intake, 6).await?), REST);
    }
    Ok(())
}

pub async fn unsettled_messages_return_in_order_with_the_next_owner(world: &World) -> Test {
    let half = half_way(world).await?;
    let other = world.process().await?;
    // The intake is still open when the lane changes hands.
    half.owner.claim.release().await?;
    let mut owner = own(&*other.bus, &LANE).await;
    let mut intake = owner.claim.take(10).await?;
    assert_eq!(numbers(&take(&mut *intake, 6).await?), REST);

    // And by a drop.
    drop(owner);
    let mut owner = own(&*half.process.bus, &LANE).await;
    let mut intake = owner.claim.take(10).await?;
    assert_eq!(numbers(&take(&mut *intake, 6).await?), REST);
    Ok(())
}

pub async fn unsettled_messages_return_in_order_after_a_crash(world: &World) -> Test {
    let half = half_way(world).await?;
    let mut process = world.crash(half.process, (half.intake, half.owner)).await?;
    for _ in 0..5 {
        let mut owner = own(&*process.bus, &LANE).await;
        let mut intake = owner.claim.take(10).await?;
        let messages = take(&mut *intake, 6).await?;
        assert_eq!(numbers(&messages), REST);
        assert!(messages[0].redeliveries > 0, "a crash is counted");
        process = world.crash(process, (intake, owner)).await?;
    }
    Ok(())
}

pub async fn intakes_of_any_width_keep_the_order(world: &World) -> Test {
    let mut process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    publish(&*process.bus, &LANE, 0..60).await?;
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(50).await?;
    take(&mut *intake, 40).await?;
    process = world.crash(process, (intake, owner)).await?;
    let mut next = 0;
    // As the lane runner does: one alone, then many; given back, dropped, released, crashed.
    for end in [
        End::Close,
        End::Drop,
        End::Release,
        End::Crash,
        End::Close,
        End::Crash,
    ] {
        let mut owner = own(&*process.bus, &LANE).await;
        for width in [1, 20, 2, 1] {
            let mut intake = owner.claim.take(width).await?;
            let taken = take(&mut *intake, width.into()).await?;
            let wanted: Vec<u64> = (next..next + u64::from(width)).collect();
            assert_eq!(numbers(&taken), wanted, "after {end:?}");
            intake.settle(&[taken[0].tag]).await?;
            // The network may cut off what was just said.
            owner.membership.size().await?;
            next += 1;
            match end {
                End::Drop => drop(intake),
                End::Close | End::Release | End::Crash => intake.close().await,
            }
        }
        let mut intake = owner.claim.take(3).await?;
        take(&mut *intake, 2).await?;
        match end {
            End::Release => owner.claim.release().await?,
            End::Close | End::Drop => drop(owner),
            End::Crash => process = world.crash(process, (intake, owner)).await?,
        }
    }
    Ok(())
}

/// How an owner stops.
#[derive(Debug, Clone, Copy)]
enum End {
    Close,
    Drop,
    Release,
    Crash,
}

pub async fn redeliveries_are_counted(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    publish(&*process.bus, &LANE, 0..1).await?;
    let mut owner = own(&*process.bus, &LANE).await;
    for n in 0..30 {
        let mut intake = owner.claim.take(1).await?;
        let message = soon("the message", intake.next()).await?;
        assert_eq!(message.redeliveries, n, "also past 20");
        intake.close().await;
    }
    Ok(())
}

pub async fn a_cancelled_wait_loses_nothing(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    let mut owner = own(&*process.bus, &LANE).await;
    let mut intake = owner.claim.take(1000).await?;
    let bus = std::sync::Arc::clone(&process.bus);
    let publishing = tokio::spawn(async move {
        for n in 0..200 {
            publish(&*bus, &LANE, n..n + 1).await?;
        }
        Test::Ok(())
    });
    let mut taken = Vec::new();
    let collect = async {
        while taken.len() < 200 {
            let waited = tokio::time::timeout(Duration::from_micros(300), intake.next()).await;
            if let Ok(message) = waited {
                taken.push(number(&message?));
            }
        }
        Test::Ok(())
    };
    soon("200 messages", collect).await?;
    publishing.await??;
    assert_eq!(taken, (0..200).collect::<Vec<u64>>());
    Ok(())
}
