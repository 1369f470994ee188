//! How far messages of ours have come.

use tributary_bus::message::{ContactRead, Degradation, DegradationCode};

use super::support::*;

#[test]
fn statuses_only_move_forward() {
    use Status::{Delivered, Expired, Failed, Queued, Read, Sent};
    let table = [
        (Queued, Sent, Sent),
        (Queued, Read, Read),
        (Sent, Sent, Sent),
        (Delivered, Sent, Delivered),
        (Read, Delivered, Read),
        (Sent, Failed, Failed),
        (Failed, Sent, Failed),
        (Failed, Delivered, Delivered),
        (Delivered, Expired, Delivered),
    ];
    for (stored, reported, expected) in table {
        let mut snapshot = with_ada();
        let message = with_message(&mut snapshot, Direction::Outbound, stored);
        let mut event = status(&message, reported);
        if reported == Failed {
            event.failure = Some(Failure {
                code: FailureCode::Rejected,
                reason: "no".to_owned(),
            });
        }
        let changes = decided(&[arrival("s", Inbound::Status(event))], &mut snapshot);
        let view = snapshot.messages[&message.view.id].value.view.clone();
        assert_eq!(view.status, expected, "{stored:?} then {reported:?}");
        if stored == expected {
            assert_eq!(changes.verdicts, [Verdict::NoEffect]);
            assert!(told(&changes).is_empty());
        } else {
            assert_eq!(told(&changes), ["8 message.status_changed"]);
            assert_eq!(data(&changes, 0, "/previous"), json!(stored));
            assert_eq!(data(&changes, 0, "/message/status"), json!(expected));
            assert_eq!(view.failure.is_some(), expected == Failed);
        }
    }
}

#[test]
fn uncertain_sticks_and_is_told() {
    let mut snapshot = with_ada();
    let message = with_message(&mut snapshot, Direction::Outbound, Status::Sent);
    let mut unsure = status(&message, Status::Sent);
    unsure.uncertain = true;
    let sure = status(&message, Status::Delivered);
    let batch = [
        arrival("1", Inbound::Status(unsure.clone())),
        arrival("2", Inbound::Status(unsure)),
        arrival("3", Inbound::Status(sure)),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        changes.verdicts,
        [Verdict::Taken, Verdict::NoEffect, Verdict::Taken]
    );
    assert_eq!(data(&changes, 0, "/message/uncertain"), json!(true));
    assert_eq!(data(&changes, 1, "/message/uncertain"), json!(true));
    assert_eq!(data(&changes, 1, "/message/status"), json!("delivered"));
}

#[test]
fn the_first_provider_id_is_kept_quietly() {
    let mut snapshot = with_ada();
    let message = with_message(&mut snapshot, Direction::Outbound, Status::Sent);
    let mut named = status(&message, Status::Sent);
    named.provider_ids = vec!["51".to_owned(), "52".to_owned()];
    let mut renamed = status(&message, Status::Sent);
    renamed.provider_ids = vec!["99".to_owned()];
    let batch = [
        arrival("1", Inbound::Status(named)),
        arrival("2", Inbound::Status(renamed)),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(changes.verdicts, [Verdict::Taken, Verdict::NoEffect]);
    assert!(changes.outgoing.is_empty());
    let stored = &snapshot.messages[&message.view.id].value;
    assert_eq!(stored.provider_ids, ["51", "52"]);
}

#[test]
fn what_was_degraded_is_kept_and_told() {
    let mut snapshot = with_ada();
    let message = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
    let degraded = |code| Degradation {
        code,
        detail: "2 parts".to_owned(),
    };
    let report = |to, codes: &[DegradationCode]| {
        let mut report = status(&message, to);
        report.degraded = codes.iter().copied().map(degraded).collect();
        report
    };
    let split = DegradationCode::TextSplit;
    let moved = DegradationCode::CaptionMoved;
    let batch = [
        arrival("1", Inbound::Status(report(Status::Sent, &[split]))),
        arrival("2", Inbound::Status(report(Status::Sent, &[split]))),
        arrival("3", Inbound::Status(report(Status::Sent, &[split, moved]))),
        arrival("4", Inbound::Status(report(Status::Delivered, &[]))),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        told(&changes),
        [
            "8 message.status_changed",
            "9 message.updated",
            "10 message.status_changed"
        ]
    );
    let kept = &snapshot.messages[&message.view.id].value.view.degraded;
    assert_eq!(*kept, [degraded(split), degraded(moved)]);
}

#[test]
fn reading_reads_what_was_sent_until_then() {
    use Status::{Delivered, Failed, Queued, Read, Sent};
    let up_to = now() - TimeDelta::minutes(1);
    let earlier = up_to - TimeDelta::minutes(1);
    let table = [
        (Direction::Outbound, Sent, earlier, Read),
        (Direction::Outbound, Delivered, up_to, Read),
        (
            Direction::Outbound,
            Sent,
            up_to + TimeDelta::seconds(1),
            Sent,
        ),
        (Direction::Outbound, Queued, earlier, Queued),
        (Direction::Outbound, Failed, earlier, Failed),
        (Direction::Outbound, Read, earlier, Read),
        (
            Direction::Inbound,
            Status::Received,
            earlier,
            Status::Received,
        ),
    ];
    let mut snapshot = with_ada();
    let mut ids = Vec::new();
    for (seq, (direction, status, at, _)) in (1..).zip(table) {
        let id = with_message(&mut snapshot, direction, status).view.id;
        let message = &mut snapshot.messages.get_mut(&id).expect("just added").value;
        message.view.created_at = at;
        message.view.seq = seq;
        ids.push(id);
    }
    let read = |address: &str| {
        Inbound::Read(ContactRead {
            origin: origin(address),
            up_to,
            extra: Map::new(),
        })
    };
    let batch = [
        arrival("1", read("ada")),
        arrival("2", read("ada")),
        arrival("3", read("nobody")),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        changes.verdicts,
        [Verdict::Taken, Verdict::NoEffect, Verdict::NoEffect]
    );
    for (id, (_, _, _, expected)) in ids.iter().zip(table) {
        assert_eq!(snapshot.messages[id].value.view.status, expected);
    }
    assert_eq!(
        told(&changes),
        ["8 message.status_changed", "9 message.status_changed"]
    );
    assert_eq!(data(&changes, 0, "/previous"), json!("sent"));
    assert_eq!(data(&changes, 0, "/message/seq"), json!(1));
}
