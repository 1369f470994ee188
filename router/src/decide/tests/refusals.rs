//! Changes of ours that the channel refuses after somebody else changed the message there.

use tributary_bus::message::{MessageChange, MessageChangeFailed};

use super::support::*;
use crate::model::Before;

fn refused(of: MessageId, change: MessageChange, seq: i64, code: FailureCode) -> Inbound {
    Inbound::ChangeFailed(MessageChangeFailed {
        origin: origin("ada"),
        message_id: of,
        change,
        failure: Failure {
            code,
            reason: "too old".to_owned(),
        },
        seq: Some(seq),
        extra: Map::new(),
    })
}

fn at(seconds_ago: i64) -> DateTime<Utc> {
    now() - TimeDelta::seconds(seconds_ago)
}

fn edit(of: MessageId, text: &str, at: DateTime<Utc>) -> Inbound {
    let mut origin = origin("ada");
    origin.occurred_at = at;
    Inbound::Edited(MessageEdited {
        origin,
        message_id: of,
        content: Content::text(text),
        extra: Map::new(),
    })
}

/// A message of the account's owner that was edited through the API 40 and 20 seconds ago, at the
/// places 5 and 6.
fn edited_twice(snapshot: &mut Snapshot) -> MessageId {
    let id = with_message(snapshot, Direction::Outbound, Status::Sent)
        .view
        .id;
    let message = &mut snapshot.messages.get_mut(&id).expect("just added").value;
    message.view.author = Author::Account;
    for (seq, content, edited_at) in [(5, "0", None), (6, "1", Some(at(40)))] {
        let content = Box::new(Content::text(content));
        message.remember(seq, Before::Edit { content, edited_at });
    }
    message.view.content = Content::text("2");
    message.view.edited_at = Some(at(20));
    id
}

/// When the owner edited in the provider's app, which of ours are refused then, and what the
/// message says in the end.
#[test]
fn a_late_refusal_puts_nothing_old_over_what_the_owner_wrote() {
    type Refusals<'r> = &'r [i64];
    let table: [(i64, Refusals<'_>, &str); 9] = [
        (10, &[], "owner"),
        (10, &[5], "owner"),
        (10, &[6], "owner"),
        (10, &[6, 5], "owner"),
        // Between the two: the second of ours stands, and is taken back to the owner's.
        (30, &[], "2"),
        (30, &[6], "owner"),
        (30, &[5, 6], "owner"),
        // Before both.
        (50, &[6], "1"),
        (50, &[6, 5], "owner"),
    ];
    for (ago, refusals, expected) in table {
        let mut snapshot = with_ada();
        let id = edited_twice(&mut snapshot);
        let mut batch = vec![arrival("edit", edit(id, "owner", at(ago)))];
        batch.extend(refusals.iter().map(|seq| {
            let refusal = refused(id, MessageChange::Edit, *seq, FailureCode::Rejected);
            arrival(&seq.to_string(), refusal)
        }));
        let changes = decided(&batch, &mut snapshot);
        let content = &snapshot.messages[&id].value.view.content;
        assert_eq!(*content, Content::text(expected), "{ago} {refusals:?}");
        let told = told(&changes);
        let told = told.iter().filter(|t| t.ends_with("change_refused"));
        assert_eq!(told.count(), refusals.len(), "{ago} {refusals:?}");
    }
}

/// The owner wrote what we asked for as well: our edit is refused as none, and what it replaced is
/// gone all the same.
#[test]
fn an_edit_that_the_channel_shows_is_not_taken_back() {
    let mut snapshot = with_ada();
    let id = edited_twice(&mut snapshot);
    let refusal = refused(id, MessageChange::Edit, 6, FailureCode::Rejected);
    let batch = [
        arrival("edit", edit(id, "2", at(10))),
        arrival("refusal", refusal),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(told(&changes), ["8 message.change_refused"]);
    assert_eq!(data(&changes, 0, "/message/content/text"), json!("2"));
}

#[test]
fn a_refused_deletion_does_not_bring_back_what_the_owner_deleted() {
    let mut snapshot = with_ada();
    let id = edited_twice(&mut snapshot);
    let message = &mut snapshot.messages.get_mut(&id).expect("just added").value;
    message.remember(7, Before::Delete { deleted_at: None });
    message.view.deleted_at = Some(at(15));
    let deleted = Inbound::Deleted(MessageDeleted {
        origin: origin("ada"),
        message_id: id,
        extra: Map::new(),
    });
    let refusal = refused(id, MessageChange::Delete, 7, FailureCode::Rejected);
    let batch = [arrival("deleted", deleted), arrival("refusal", refusal)];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(told(&changes), ["8 message.change_refused"]);
    let deleted_at = snapshot.messages[&id].value.view.deleted_at;
    assert_eq!(deleted_at, Some(origin("ada").occurred_at));
}

#[test]
fn what_may_have_been_changed_stands_as_it_was_asked_for() {
    let mut snapshot = with_ada();
    let id = edited_twice(&mut snapshot);
    let doubt = || refused(id, MessageChange::Edit, 6, FailureCode::Uncertain);
    let refusal = refused(id, MessageChange::Edit, 6, FailureCode::Rejected);
    let batch = [
        arrival("doubt", doubt()),
        arrival("doubt", doubt()),
        arrival("refusal", refusal),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(changes.verdicts[1], Verdict::Duplicate);
    assert_eq!(data(&changes, 0, "/failure/code"), json!("uncertain"));
    assert_eq!(data(&changes, 0, "/message/content/text"), json!("2"));
    // What is certain later is taken back then.
    assert_eq!(data(&changes, 1, "/message/content/text"), json!("1"));
}

/// Milliseconds between an edit of ours and the owner's, which the provider reports in whole
/// seconds.
#[test]
fn of_the_same_second_the_one_that_arrives_later_stands() {
    for (reported, expected) in [(0, "owner"), (-1, "2")] {
        let mut snapshot = with_ada();
        let id = edited_twice(&mut snapshot);
        let message = &mut snapshot.messages.get_mut(&id).expect("just added").value;
        message.view.edited_at = Some(at(20) + TimeDelta::milliseconds(500));
        let second = at(20) + TimeDelta::seconds(reported);
        decided(&[arrival("e", edit(id, "owner", second))], &mut snapshot);
        let content = &snapshot.messages[&id].value.view.content;
        assert_eq!(*content, Content::text(expected), "{reported}");
    }
}
