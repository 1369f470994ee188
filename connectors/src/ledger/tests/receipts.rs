//! What the provider tells later about what was sent.

use std::time::Duration;

use chrono::Utc;
use futures::future::join_all;
use tributary_bus::{
    Address, ChannelId, MessageId, OrganizationId,
    message::{Failure, FailureCode, Status},
};

use super::{
    super::{Begun, Ending, OnUnknown, PartKey, Progress, receipts, rows},
    Kind, World, finish, part, target,
};
use crate::Receipted;

on_both! {
    a_message_is_as_far_as_its_least_advanced_part
    receipts_may_come_first
    what_was_told_before_is_told_again_and_nothing_moves_back
    nobody_elses_receipts_count
    old_and_unknown_receipts_go
    receipts_come_in_any_order
}

/// Sends a message of so many parts; their ids are `<prefix>-0`, `<prefix>-1`, ...
async fn send(world: &World, prefix: &str, parts: u32) -> MessageId {
    let message_id = MessageId::generate();
    for number in 0..parts {
        send_part(world, message_id, prefix, number, parts).await;
    }
    message_id
}

async fn send_part(world: &World, message_id: MessageId, prefix: &str, number: u32, parts: u32) {
    let key = PartKey {
        message_id,
        ..part(number)
    };
    let begun = world
        .one
        .begin(key, target(parts), OnUnknown::Resend)
        .await
        .expect("the ledger answers");
    let Begun::Go(tried) = begun else {
        panic!("not let through: {begun:?}");
    };
    finish(
        &world.one,
        &tried,
        Ending::Sent(format!("{prefix}-{number}")),
    )
    .await;
}

fn receipt(id: &str, status: Status) -> Receipted {
    Receipted {
        provider_id: id.to_owned(),
        status,
        at: rows::now(),
        failure: (status == Status::Failed).then(|| Failure {
            code: FailureCode::Unreachable,
            reason: "phone is off (27)".to_owned(),
        }),
    }
}

async fn note(world: &World, receipts: Vec<Receipted>) -> Vec<Progress> {
    world
        .other
        .receipts(
            &OrganizationId::from("acme"),
            &ChannelId::from("shop"),
            receipts,
        )
        .await
        .expect("the ledger answers")
}

/// Notes one receipt and answers what is told.
async fn told(world: &World, id: &str, status: Status) -> Vec<(MessageId, Status)> {
    note(world, vec![receipt(id, status)])
        .await
        .iter()
        .map(|progress| (progress.message_id, progress.told.status))
        .collect()
}

async fn standing(world: &World, message_id: MessageId) -> Option<Status> {
    world
        .one
        .progress(&OrganizationId::from("acme"), message_id)
        .await
        .expect("the ledger answers")
        .map(|told| told.status)
}

async fn a_message_is_as_far_as_its_least_advanced_part(world: World) {
    let message = send(&world, "a", 3).await;
    for (id, status, expected) in [
        ("a-0", Status::Delivered, None),
        ("a-2", Status::Read, None),
        ("a-1", Status::Delivered, Some(Status::Delivered)),
        ("a-0", Status::Read, None),
        ("a-1", Status::Read, Some(Status::Read)),
    ] {
        let expected: Vec<_> = expected
            .map(|status| (message, status))
            .into_iter()
            .collect();
        assert_eq!(told(&world, id, status).await, expected, "{id} {status:?}");
    }
    // In one go, and of several messages.
    let (one, other) = (send(&world, "b", 2).await, send(&world, "c", 1).await);
    let receipts = vec![
        receipt("b-0", Status::Delivered),
        receipt("c-0", Status::Failed),
        receipt("b-1", Status::Delivered),
    ];
    let mut progress = note(&world, receipts).await;
    progress.sort_by_key(|progress| progress.told.status.as_str());
    let found: Vec<_> = progress
        .iter()
        .map(|progress| (progress.message_id, progress.told.status))
        .collect();
    assert_eq!(found, [(one, Status::Delivered), (other, Status::Failed)]);
    assert_eq!(progress[0].to, Address::from("5"));
    let failure = progress[1].told.failure.clone().expect("a failure");
    assert_eq!(failure.code, FailureCode::Unreachable);
}

async fn receipts_may_come_first(world: World) {
    let message = MessageId::generate();
    assert!(told(&world, "early-0", Status::Delivered).await.is_empty());
    send_part(&world, message, "early", 0, 2).await;
    assert_eq!(standing(&world, message).await, None, "not wholly sent");
    assert!(told(&world, "early-1", Status::Read).await.is_empty());
    send_part(&world, message, "early", 1, 2).await;
    assert_eq!(standing(&world, message).await, Some(Status::Delivered));
}

async fn what_was_told_before_is_told_again_and_nothing_moves_back(world: World) {
    let message = send(&world, "a", 1).await;
    let read = vec![(message, Status::Read)];
    assert_eq!(told(&world, "a-0", Status::Read).await, read);
    // Whoever told it may not have got through.
    assert_eq!(told(&world, "a-0", Status::Read).await, read);
    assert_eq!(told(&world, "a-0", Status::Delivered).await, read);
    assert_eq!(told(&world, "a-0", Status::Failed).await, read);
    assert!(
        told(&world, "a-0", Status::Sent).await.is_empty(),
        "no news"
    );
    assert_eq!(standing(&world, message).await, Some(Status::Read));
}

async fn nobody_elses_receipts_count(world: World) {
    let message = send(&world, "a", 1).await;
    for (organization, channel) in [("other", "shop"), ("acme", "other")] {
        let progress = world
            .one
            .receipts(
                &OrganizationId::from(organization),
                &ChannelId::from(channel),
                vec![receipt("a-0", Status::Read)],
            )
            .await;
        assert_eq!(progress.expect("the ledger answers"), []);
    }
    let nameless = ["", "a\0b", &"x".repeat(2000)].map(|id| receipt(id, Status::Read));
    assert_eq!(note(&world, nameless.to_vec()).await, []);
    assert_eq!(standing(&world, message).await, None);
}

async fn old_and_unknown_receipts_go(world: World) {
    send(&world, "a", 1).await;
    for id in ["a-0", "stray-0", "stray-1"] {
        told(&world, id, Status::Delivered).await;
    }
    let ago = |seconds| Utc::now() - Duration::from_secs(seconds);
    let remove = async |before, unmatched| {
        receipts::remove_older(&world.database, before, unmatched, 10)
            .await
            .expect("removed")
    };
    let soon = Utc::now() + Duration::from_secs(60);
    assert_eq!(remove(ago(60), ago(30)).await, 0);
    assert_eq!(remove(ago(60), soon).await, 2, "those nobody waits for");
    assert_eq!(remove(soon, soon).await, 1);
}

/// Shuffled with a seed of its own for each run: three messages of three parts, some sent before and some after their
/// receipts, every receipt twice, strangers among them, at two workers at once.
async fn receipts_come_in_any_order(world: World) {
    use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..8 {
        let prefixes: Vec<String> = (0..3).map(|n| format!("r{round}-{n}")).collect();
        let messages: Vec<MessageId> = prefixes.iter().map(|_| MessageId::generate()).collect();
        let mut steps: Vec<(Option<usize>, String, Status)> = Vec::new();
        for prefix in prefixes.iter().chain([&"stranger".to_owned()]) {
            for number in 0..3 {
                for status in [
                    Status::Delivered,
                    Status::Read,
                    Status::Read,
                    Status::Delivered,
                ] {
                    steps.push((None, format!("{prefix}-{number}"), status));
                }
            }
        }
        for (n, prefix) in prefixes.iter().enumerate() {
            steps.push((Some(n), prefix.clone(), Status::Sent));
        }
        steps.shuffle(&mut random);
        let mut seen: Vec<Vec<Status>> = vec![Vec::new(); 3];
        for pair in steps.chunks(2) {
            let both = pair.iter().map(|(sent, id, status)| async {
                let mut found = Vec::new();
                match sent {
                    Some(n) => {
                        for number in 0..3 {
                            send_part(&world, messages[*n], id, number, 3).await;
                        }
                        let stands = standing(&world, messages[*n]).await;
                        found.extend(stands.map(|status| (messages[*n], status)));
                    }
                    None => found.append(&mut told(&world, id, *status).await),
                }
                found
            });
            for (message, status) in join_all(both).await.into_iter().flatten() {
                let n = messages.iter().position(|known| *known == message);
                seen[n.expect("one of ours")].push(status);
            }
        }
        for told in seen {
            assert!(
                told.contains(&Status::Read),
                "seed {seed}: never read: {told:?}"
            );
        }
        for message in messages {
            assert_eq!(
                standing(&world, message).await,
                Some(Status::Read),
                "seed {seed}"
            );
        }
    }
}
