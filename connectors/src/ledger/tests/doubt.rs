//! What may have arrived: what removes the doubt, and who waits for whom.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tributary_bus::message::{Failure, FailureCode};

use super::{Kind, World, begin, finish, fleet, go, part, sent};
use crate::{
    ledger::{Begun, Ending, Ledger, Noted, OnUnknown},
    testing::PATIENCE,
};

on_both! {
    only_a_repetition_that_succeeds_removes_the_doubt
    a_try_that_was_taken_over_is_doubtful_when_it_ends_late
    what_a_killed_worker_left_is_taken_over_within_seconds
}

/// The provider recognises repetitions, so one that succeeds has arrived once; one that does not succeed says nothing
/// about the tries before it.
async fn only_a_repetition_that_succeeds_removes_the_doubt(world: World) {
    let rejected = || {
        Ending::Failed(Failure {
            code: FailureCode::Expired,
            reason: "too old".to_owned(),
        })
    };
    for (ending, doubtful) in [(sent(), false), (rejected(), true)] {
        let key = part(0);
        let tried = go(&world.one, &key).await;
        finish(&world.one, &tried, Ending::Uncertain).await;
        let Begun::Go(tried) = begin(&world.one, &key, OnUnknown::Repeat).await else {
            panic!("not let through");
        };
        let noted = finish(&world.one, &tried, ending).await;
        assert!(matches!(noted, Noted::At(written) if written.doubtful == doubtful));
        let Begun::Settled(settled) = begin(&world.other, &key, OnUnknown::Repeat).await else {
            panic!("let through again");
        };
        assert_eq!(settled.doubtful, doubtful);
    }
}

/// Two have sent it, whoever says so first.
async fn a_try_that_was_taken_over_is_doubtful_when_it_ends_late(world: World) {
    for on_unknown in [OnUnknown::Resend, OnUnknown::Repeat] {
        let key = part(0);
        let Begun::Go(frozen) = begin(&world.one, &key, on_unknown).await else {
            panic!("not let through");
        };
        world.age(Duration::from_secs(40)).await;
        let Begun::Go(taken_over) = begin(&world.other, &key, on_unknown).await else {
            panic!("not let through");
        };
        let in_doubt = on_unknown == OnUnknown::Resend;
        for (ledger, tried) in [(&world.one, &frozen), (&world.other, &taken_over)] {
            let noted = finish(ledger, tried, sent()).await;
            assert!(
                matches!(noted, Noted::At(written) if written.doubtful == in_doubt),
                "{on_unknown:?}: {noted:?}"
            );
        }
    }
}

/// Nobody waits for what a killed worker will never say; a live one is waited for.
async fn what_a_killed_worker_left_is_taken_over_within_seconds(world: World) {
    let key = part(0);
    let lives = part(0);
    let World { one, other, .. } = &world;
    go(other, &lives).await;
    go(one, &key).await;
    let World {
        one,
        other,
        database,
        ..
    } = world;
    let third = Ledger::start(database, &fleet(), CancellationToken::new())
        .await
        .expect("a ledger");
    // It has seen both of them alive.
    let deadline = Instant::now() + PATIENCE;
    while third.workers.known() < 2 {
        assert!(Instant::now() < deadline, "nobody shows that it lives");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let killed = Instant::now();
    drop(one);
    let tried = loop {
        match begin(&third, &key, OnUnknown::Resend).await {
            Begun::Go(tried) => break tried,
            Begun::Busy(_) => assert!(Instant::now() < deadline, "still waited for"),
            Begun::Settled(settled) => panic!("{settled:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(tried.doubtful);
    assert!(
        killed.elapsed() >= Duration::from_millis(800),
        "it had its time"
    );
    let busy = begin(&third, &lives, OnUnknown::Resend).await;
    assert!(matches!(busy, Begun::Busy(_)), "{busy:?}");
    drop(other);
}
