//! Owning lanes and counting workers.

use std::sync::Arc;

use tributary_bus::{Group, Lane, Membership};

use crate::support::{Test, declare, eventually, own, soon, world::World};

const LANE: Lane = Lane::Inbound(2);

pub async fn a_lane_has_one_owner(world: &World) -> Test {
    let (one, other) = (world.process().await?, world.process().await?);
    declare(&*one.bus, &LANE).await?;
    let owner = own(&*one.bus, &LANE).await;
    // Neither another process, nor another member of the same, nor the same member again.
    for bus in [&one.bus, &other.bus] {
        let member = bus.join(&Group::Router).await?;
        for _ in 0..3 {
            assert!(member.claim(&LANE).await?.is_none());
        }
    }
    assert!(owner.membership.claim(&LANE).await?.is_none());
    assert!(owner.claim.lease().is_fresh());
    // Another lane is free.
    declare(&*other.bus, &Lane::Inbound(3)).await?;
    let member = other.bus.join(&Group::Router).await?;
    assert!(member.claim(&Lane::Inbound(3)).await?.is_some());
    Ok(())
}

pub async fn a_lane_is_free_after_release(world: &World) -> Test {
    let (one, other) = (world.process().await?, world.process().await?);
    declare(&*one.bus, &LANE).await?;
    let (first, second) = (
        one.bus.join(&Group::Router).await?,
        other.bus.join(&Group::Router).await?,
    );
    for _ in 0..5 {
        for member in [&first, &second] {
            let claim = member.claim(&LANE).await?.ok_or("free at once")?;
            claim.release().await?;
        }
    }
    Ok(())
}

pub async fn a_lane_is_free_after_the_claim_is_dropped(world: &World) -> Test {
    let (one, other) = (world.process().await?, world.process().await?);
    declare(&*one.bus, &LANE).await?;
    let mut owner = own(&*one.bus, &LANE).await;
    let intake = owner.claim.take(1).await?;
    drop(owner.claim);
    drop(intake);
    own(&*other.bus, &LANE).await;
    Ok(())
}

pub async fn groups_are_counted_apart(world: &World) -> Test {
    let (one, other) = (world.process().await?, world.process().await?);
    let widget = Group::Connector("widget".to_owned());
    let first = one.bus.join(&Group::Router).await?;
    until_size(&first, 1).await;
    let second = other.bus.join(&Group::Router).await?;
    let third = one.bus.join(&Group::Router).await?;
    let apart = one.bus.join(&widget).await?;
    for member in [&first, &second, &third] {
        until_size(member, 3).await;
    }
    until_size(&apart, 1).await;
    third.leave().await;
    until_size(&first, 2).await;
    assert!(third.claim(&LANE).await.is_err(), "no longer a member");
    // A membership that is dropped ends as well.
    drop(second);
    until_size(&first, 1).await;
    until_size(&apart, 1).await;
    Ok(())
}

async fn until_size(member: &Arc<dyn Membership>, size: usize) {
    eventually(&format!("a group of {size}"), async || {
        (member.size().await.ok()? == size).then_some(())
    })
    .await;
}

pub async fn a_lease_ends_with_the_claim(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    for dropped in [true, false] {
        let owner = own(&*process.bus, &LANE).await;
        let lease = owner.claim.lease();
        assert!(lease.is_fresh());
        if dropped {
            drop(owner.claim);
        } else {
            owner.claim.release().await?;
            assert!(!lease.is_fresh());
        }
        soon("the lease is lost", lease.lost()).await;
        assert!(!lease.is_fresh());
    }
    let owner = own(&*process.bus, &LANE).await;
    let lease = owner.claim.lease();
    process.bus.close().await;
    soon("the lease is lost", lease.lost()).await;
    Ok(())
}

pub async fn claims_outlive_the_membership(world: &World) -> Test {
    let process = world.process().await?;
    declare(&*process.bus, &LANE).await?;
    let mut owner = own(&*process.bus, &LANE).await;
    owner.membership.leave().await;
    drop(owner.membership);
    assert!(owner.claim.lease().is_fresh());
    let intake = owner.claim.take(1).await?;
    intake.close().await;
    owner.claim.release().await?;
    Ok(())
}
