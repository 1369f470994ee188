//! When the provider fails.

use std::time::{Duration, Instant};

use tributary_bus::{
    Address,
    message::{Content, FailureCode, Status},
};

use crate::{
    stands::{Mischief, Stand},
    world::{SEND_DEADLINE, World},
};

/// Clocks and schedulers are not exact.
const SLACK: Duration = Duration::from_millis(100);
const TEXTS: [&str; 3] = ["one", "two", "three"];

/// Everything arrives once, or is reported as uncertain; each recipient in order; nobody else waits for a recipient.
pub async fn trouble_is_survived_in_order<S: Stand>() {
    let world = World::<S>::new().await;
    let mut played = 0;
    for (number, mischief) in (0..).zip(Mischief::ALL) {
        let to = world.stand.contact(number).await;
        let plays = world.stand.play(mischief, &to);
        let took = survives(&world, mischief, &to).await;
        if plays {
            played += 1;
            assert!(
                took + SLACK >= least_wait(mischief),
                "{}: {mischief:?}: not waited, {took:?}",
                S::KIND
            );
        }
    }
    let idempotent = world.account().connector.capabilities().idempotent;
    assert!(
        played == Mischief::ALL.len() || (played == 0 && idempotent),
        "{}: a provider on the network can fail in every way",
        S::KIND
    );
    world.ends_well().await;
}

fn least_wait(mischief: Mischief) -> Duration {
    match mischief {
        Mischief::LimitedRecipient | Mischief::LimitedAccount => Duration::from_secs(1),
        Mischief::SlowBefore | Mischief::SlowAfter => SEND_DEADLINE,
        Mischief::ServerError
        | Mischief::ServerErrorAfter
        | Mischief::CutBefore
        | Mischief::CutAfter
        | Mischief::Garbled => Duration::ZERO,
    }
}

/// How long the first message took.
async fn survives<S: Stand>(world: &World<S>, mischief: Mischief, to: &Address) -> Duration {
    let capabilities = world.account().connector.capabilities();
    let since = Instant::now();
    let mut sent = Vec::new();
    for text in TEXTS {
        sent.push(world.send(to, Content::text(text)).await);
    }
    if mischief == Mischief::LimitedRecipient {
        let other = world.stand.contact(1000).await;
        let id = world.send(&other, Content::text("meanwhile")).await;
        world.outcome(id).await;
        assert!(
            since.elapsed() < least_wait(mischief) - SLACK,
            "{}: somebody else had to wait as well",
            S::KIND
        );
    }
    let first = world.outcome(sent[0]).await;
    let took = since.elapsed();
    let mut outcomes = vec![first];
    for id in &sent[1..] {
        outcomes.push(world.outcome(*id).await);
    }
    for outcome in &outcomes {
        let arrived = matches!(
            outcome.status,
            Status::Sent | Status::Delivered | Status::Read
        );
        assert!(arrived, "{}: {mischief:?}: {outcome:?}", S::KIND);
    }
    let taken = world.stand.taken(to).await;
    let mut once = taken.clone();
    once.dedup();
    assert_eq!(once, TEXTS, "{}: {mischief:?}: order", S::KIND);
    let doubled = taken.len() - once.len();
    if capabilities.idempotent || !mischief.accepts() {
        assert_eq!(doubled, 0, "{}: {mischief:?}: {taken:?}", S::KIND);
    } else {
        assert!(doubled <= 1, "{}: {mischief:?}: {taken:?}", S::KIND);
    }
    assert!(
        doubled == 0 || outcomes[0].uncertain,
        "{}: {mischief:?}: doubled, and nobody is told",
        S::KIND
    );
    assert!(
        outcomes[1..].iter().all(|outcome| !outcome.uncertain),
        "{}: {mischief:?}: what went well is called uncertain",
        S::KIND
    );
    took
}

/// With `on_uncertain = "hold"` nothing is sent twice: the message fails, and the reason says that it may have arrived.
pub async fn an_uncertain_send_is_held_where_a_person_decides<S: Stand>() {
    let world = World::<S>::with("on_uncertain = 'hold'\n").await;
    let idempotent = world.account().connector.capabilities().idempotent;
    for (number, mischief) in [
        (1, Mischief::SlowAfter),
        (2, Mischief::CutAfter),
        (3, Mischief::CutBefore),
    ] {
        let to = world.stand.contact(number).await;
        let played = world.stand.play(mischief, &to);
        let outcome = world
            .outcome(world.send(&to, Content::text("once")).await)
            .await;
        let taken = world.stand.taken(&to).await;
        if idempotent || !played {
            assert_eq!(taken, ["once"], "{}: {mischief:?}", S::KIND);
            assert_eq!(outcome.failure, None, "{}: {mischief:?}", S::KIND);
            continue;
        }
        assert_eq!(
            taken.len(),
            usize::from(mischief.accepts()),
            "{}: {mischief:?}: {taken:?}",
            S::KIND
        );
        assert_eq!(outcome.status, Status::Failed, "{}: {mischief:?}", S::KIND);
        let code = outcome.failure.map(|failure| failure.code);
        assert_eq!(code, Some(FailureCode::Uncertain), "{}", S::KIND);
        // The next one goes its way.
        let next = world
            .outcome(world.send(&to, Content::text("next")).await)
            .await;
        assert_eq!(next.failure, None, "{}: {mischief:?}", S::KIND);
    }
    world.ends_well().await;
}
