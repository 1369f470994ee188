//! Providers that limit us, that are out of order, and that refuse the account.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tributary_bus::{
    Address, Envelope, Outcome,
    message::{Content, Inbound, Priority, Status},
};

use super::{
    super::attendant::keep_session,
    delivery, envelope, unavailable, uncertain,
    world::{World, lock},
};
use crate::{Scope, SendError, testing::PATIENCE};

fn to(recipient: &str) -> Envelope {
    addressed(recipient, Priority::Reply)
}

fn addressed(recipient: &str, priority: Priority) -> Envelope {
    let mut delivery = delivery(Content::text("hello"));
    delivery.to = Address::from(recipient);
    delivery.priority = priority;
    envelope(&delivery)
}

fn limited(scope: Scope, wait: Duration) -> SendError {
    SendError::RateLimited {
        retry_after: Some(wait),
        scope,
    }
}

#[tokio::test]
async fn a_limit_of_a_recipient_holds_up_nobody_else() {
    let world = World::new().await;
    let wait = Duration::from_millis(300);
    world.answers([limited(Scope::Recipient, wait)]);
    let (one, other) = (to("1"), to("2"));
    let began = Instant::now();
    let first = world.handle(&one, 1).await;
    assert!(matches!(first, Outcome::Retry { after, .. } if after == Some(wait)));
    assert_eq!(world.handle(&other, 1).await, Outcome::Done);
    // Another message to the same recipient does not even try.
    let held = world.handle(&to("1"), 1).await;
    assert!(matches!(held, Outcome::Retry { after: Some(left), .. } if left <= wait));
    assert_eq!(world.calls(), 2);
    while world.handle(&one, 2).await != Outcome::Done {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() >= wait, "not a moment too soon");
}

#[tokio::test]
async fn a_limit_of_the_account_holds_up_everybody_and_ends_without_a_burst() {
    let world = World::new().await;
    let wait = Duration::from_millis(300);
    world.answers([limited(Scope::Account, wait)]);
    let began = Instant::now();
    let first = world.handle(&to("1"), 1).await;
    assert!(matches!(first, Outcome::Pause { after, .. } if after == Some(wait)));
    let held = world.handle(&to("2"), 1).await;
    assert!(matches!(held, Outcome::Pause { after: Some(left), .. } if left <= wait));
    assert_eq!(world.calls(), 1);
    // What had filled up meanwhile is gone when it is over.
    *lock(&world.provider.account) = Some(5);
    while world.handle(&to("2"), 1).await != Outcome::Done {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() >= wait, "not a moment too soon");
    assert_eq!(*lock(&world.provider.account), Some(0));
}

#[tokio::test]
async fn bulk_waits_while_replies_wait() {
    let world = World::new().await;
    *lock(&world.provider.account) = Some(0);
    let (reply, bulk) = (to("1"), addressed("2", Priority::Bulk));
    let replying = world.handle(&reply, 1);
    let campaign = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let campaign = world.handle(&bulk, 1);
        let free = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            *lock(&world.provider.account) = Some(1);
        };
        tokio::join!(campaign, free).0
    };
    let (reply, bulk) = tokio::join!(replying, campaign);
    assert_eq!(reply, Outcome::Done, "the only slot is the reply's");
    assert!(
        matches!(bulk, Outcome::Retry { after: Some(_), .. }),
        "{bulk:?}"
    );
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn an_outage_holds_everybody_back_and_one_goes_first() {
    let mut world = World::new().await;
    world.answers((0..5).map(|_| unavailable()));
    let mut outcomes = Vec::new();
    for recipient in ["1", "2", "3", "4", "5"] {
        outcomes.push(world.handle(&to(recipient), 1).await);
    }
    let deferred = |outcome: &&Outcome| matches!(outcome, Outcome::Defer { .. });
    assert_eq!(outcomes.iter().filter(deferred).count(), 1, "{outcomes:?}");
    assert!(outcomes.last().as_ref().is_some_and(deferred));
    // The circuit is open: nothing leaves, and nobody's tries are used up.
    let refused = world.handle(&to("6"), 1).await;
    assert!(matches!(refused, Outcome::Defer { .. }), "{refused:?}");
    assert_eq!(world.calls(), 5);
    assert_eq!(world.finish_patiently(&to("6")).await, Outcome::Done);
    assert_eq!(health(&mut world, 2).await, ["down", "ok"]);
}

#[tokio::test]
async fn a_message_that_the_provider_chokes_on_stops_nobody_else() {
    let mut world = World::new().await;
    world.answers((0..10).map(|_| uncertain()));
    let poison = to("1");
    let outcomes = [
        world.handle(&poison, 1).await,
        world.handle(&poison, 2).await,
        world.handle(&poison, 3).await,
        world.handle(&poison, 4).await,
        world.handle(&poison, 5).await,
    ];
    let only_it = |outcome: &Outcome| matches!(outcome, Outcome::Retry { .. });
    assert!(outcomes.iter().all(only_it), "{outcomes:?}");
    lock(&world.provider.answers).clear();
    assert_eq!(world.handle(&to("2"), 1).await, Outcome::Done);
    assert_eq!(world.status().await.status, Status::Sent);
}

#[tokio::test]
async fn a_person_is_called_once() {
    let mut world = World::new().await;
    let misconfigured = || SendError::Misconfigured {
        reason: "token rejected (401)".to_owned(),
    };
    world.answers([misconfigured(), misconfigured()]);
    // Two find out; the next one shows that it is over, long before these try again.
    for recipient in ["1", "2", "3"] {
        let envelope = to(recipient);
        let deadline = Instant::now() + PATIENCE;
        let calls = world.calls();
        let mut outcome = world.handle(&envelope, 1).await;
        while world.calls() == calls {
            assert!(
                Instant::now() < deadline,
                "{recipient} never tries: {outcome:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
            outcome = world.handle(&envelope, 1).await;
        }
        match recipient {
            "3" => assert_eq!(outcome, Outcome::Done),
            _ => assert!(matches!(outcome, Outcome::Defer { .. }), "{outcome:?}"),
        }
    }
    let Inbound::Health(told) = world.event().await.1 else {
        panic!("not about health");
    };
    assert_eq!(told.state.as_str(), "misconfigured");
    assert!(
        told.reason.contains("token rejected (401)"),
        "{}",
        told.reason
    );
    let action = told.action.expect("something to do");
    assert!(action.contains("channels.shop"), "{action}");
    assert_eq!(health(&mut world, 1).await, ["ok"]);
    assert_eq!(world.status().await.status, Status::Sent);
}

/// The host of a link is not the provider: what it does concerns the one message with the link.
#[tokio::test]
async fn media_that_does_not_come_concerns_one_message() {
    let mut world = World::new().await;
    let not_ready = || SendError::NotReady {
        reason: "media: its host answers 503".to_owned(),
    };
    world.answers((0..20).map(|_| not_ready()));
    for attempt in 1..=20 {
        let outcome = world.handle(&to("1"), attempt).await;
        assert!(
            matches!(outcome, Outcome::Retry { after: None, .. }),
            "{outcome:?}"
        );
    }
    assert_eq!(world.handle(&to("2"), 1).await, Outcome::Done);
    assert_eq!(
        health(&mut world, 1).await,
        ["ok"],
        "nothing ails the account"
    );
    assert_eq!(world.status().await.status, Status::Sent);
}

#[tokio::test]
async fn two_that_the_provider_chokes_on_stop_nobody_else() {
    let mut world = World::new().await;
    assert_eq!(world.handle(&to("3"), 1).await, Outcome::Done);
    for attempt in 1..20 {
        world.answers([uncertain(), uncertain()]);
        for sick in ["1", "2"] {
            let outcome = world.handle(&to(sick), attempt).await;
            assert!(matches!(
                outcome,
                Outcome::Retry { .. } | Outcome::Defer { .. }
            ));
        }
        lock(&world.provider.answers).clear();
        let began = Instant::now();
        assert_eq!(world.finish_patiently(&to("3")).await, Outcome::Done);
        assert!(began.elapsed() < Duration::from_secs(2), "try {attempt}");
    }
    assert_eq!(health(&mut world, 2).await, ["ok", "degraded"]);
}

/// A refusal that names no account concerns who it was said about, and is shown while it lasts.
#[tokio::test]
async fn a_long_limit_of_one_recipient_is_shown_and_ends() {
    let mut world = World::new().await;
    let wait = Duration::from_secs(2282);
    world.answers([limited(Scope::Recipient, wait)]);
    let first = world.handle(&to("1"), 1).await;
    assert!(matches!(first, Outcome::Retry { after, .. } if after == Some(wait)));
    assert_eq!(world.handle(&to("2"), 1).await, Outcome::Done);
    let Inbound::Health(told) = world.event().await.1 else {
        panic!("not about health");
    };
    assert_eq!(told.state.as_str(), "degraded");
    let expected = "the provider limits one recipient until 20";
    assert!(told.reason.starts_with(expected), "{}", told.reason);
}

#[tokio::test]
async fn a_session_that_ends_at_once_is_not_started_at_once() {
    let world = World::new().await;
    let began = Instant::now();
    let ended = keep_session(&world.account, &CancellationToken::new()).await;
    assert!(ended.is_err_and(|reason| reason.contains("broken")));
    assert_eq!(world.provider.sessions.load(Ordering::SeqCst), 4);
    assert!(began.elapsed() >= Duration::from_millis(4 * 300));
}

/// The next states that were told.
async fn health(world: &mut World, count: usize) -> Vec<String> {
    let mut states = Vec::new();
    while states.len() < count {
        if let Inbound::Health(health) = world.event().await.1 {
            states.push(health.state.as_str().to_owned());
        }
    }
    states
}
