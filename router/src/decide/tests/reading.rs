//! How far the contact has read, beside when messages were sent.

use tributary_bus::message::ContactRead;

use super::support::*;

fn read(up_to: DateTime<Utc>) -> Inbound {
    Inbound::Read(ContactRead {
        origin: origin("ada"),
        up_to,
        extra: Map::new(),
    })
}

fn sent(of: &Message, at: DateTime<Utc>) -> Inbound {
    let mut sent = status(of, Status::Sent);
    sent.origin.occurred_at = at;
    Inbound::Status(sent)
}

/// A message that was accepted so many milliseconds ago.
fn accepted(snapshot: &mut Snapshot, ago: i64) -> Message {
    let message = with_message(snapshot, Direction::Outbound, Status::Queued);
    let entry = snapshot.messages.get_mut(&message.view.id);
    let message = &mut entry.expect("just added").value;
    message.view.created_at = now() - TimeDelta::milliseconds(ago);
    message.clone()
}

/// Milliseconds before now: accepted, reported as sent, read up to; and whether that reads it.
#[test]
fn what_was_there_when_the_contact_read_is_read() {
    for (accepted_at, sent_at, up_to, expected) in [
        (60_000, 59_000, 30_000, true),
        // Read within the call that sent it: the provider has it before we know.
        (60_000, 59_000, 59_500, true),
        // Whole seconds stand for the whole second, milliseconds for the millisecond.
        (59_400, 59_100, 60_000, true),
        (59_400, 59_100, 59_401, false),
        (59_000, 58_000, 60_000, false),
        // It waited for ten minutes; what the contact read in between was something else.
        (900_000, 300_000, 600_000, false),
    ] {
        let mut first = with_ada();
        let message = accepted(&mut first, accepted_at);
        let before = |milliseconds| now() - TimeDelta::milliseconds(milliseconds);
        let report = || arrival("s", sent(&message, before(sent_at)));
        let reading = || arrival("r", read(before(up_to)));
        let place = format!("{accepted_at}, {sent_at}, {up_to}");
        let wanted = if expected { Status::Read } else { Status::Sent };

        decided(&[report()], &mut first);
        decided(&[reading()], &mut first);
        let status = first.messages[&message.view.id].value.view.status;
        assert_eq!(status, wanted, "sent, then read: {place}");

        // The other way round, across batches.
        let mut second = with_ada();
        second
            .messages
            .insert(message.view.id, Entry::stored(message.clone()));
        let conversation = conversation_of_ada(&mut second).view.id;
        let moved = second
            .messages
            .get_mut(&message.view.id)
            .expect("just added");
        moved.value.view.conversation_id = conversation;
        decided(&[reading()], &mut second);
        let changes = decided(&[report()], &mut second);
        let status = second.messages[&message.view.id].value.view.status;
        assert_eq!(status, wanted, "read, then sent: {place}");
        assert_eq!(told(&changes), ["8 message.status_changed"]);
        assert_eq!(data(&changes, 0, "/previous"), json!("queued"));
    }
}

#[test]
fn the_latest_reading_is_kept() {
    let mut snapshot = with_ada();
    let at = |seconds| now() - TimeDelta::seconds(seconds);
    let batch = [
        arrival("1", read(at(10))),
        arrival("2", read(at(20))),
        arrival("3", read(now() + TimeDelta::days(1))),
    ];
    let changes = decided(&batch[..2], &mut snapshot);
    assert_eq!(changes.verdicts, [Verdict::Taken, Verdict::NoEffect]);
    assert!(changes.outgoing.is_empty());
    assert_eq!(conversation_of_ada(&mut snapshot).read_up_to, Some(at(10)));
    // A clock that runs ahead reads nothing of the future.
    decided(&batch[2..], &mut snapshot);
    assert_eq!(conversation_of_ada(&mut snapshot).read_up_to, Some(now()));
}
