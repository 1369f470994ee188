//! Messages that the account's owner wrote in the provider's own app.

use super::support::*;

fn by_the_owner(text: &str) -> Arrival {
    let mut message = received("ada", text);
    if let Inbound::Received(event) = &mut message.inbound {
        event.sent_by = SentBy::Account;
    }
    message
}

#[test]
fn they_belong_to_the_conversation_as_sent() {
    let mut snapshot = with_ada();
    let changes = decided(&[by_the_owner("hi")], &mut snapshot);
    assert_eq!(told(&changes), ["8 message.created"]);
    assert_eq!(data(&changes, 0, "/message/direction"), json!("outbound"));
    assert_eq!(
        data(&changes, 0, "/message/author"),
        json!({"kind": "account"})
    );
    assert_eq!(data(&changes, 0, "/message/status"), json!("sent"));
    assert!(changes.waiting.is_empty());
}

#[test]
fn they_make_nobody_wait() {
    let hour = TimeDelta::hours(1);
    for (closed_for, events) in [
        (hour, vec!["8 message.created"]),
        (
            WINDOW + hour,
            vec!["1 conversation.created", "2 message.created"],
        ),
    ] {
        let mut snapshot = with_ada();
        let conversation = conversation_of_ada(&mut snapshot);
        conversation.view.state = ConversationState::Closed;
        conversation.closed_at = Some(now() - closed_for);
        let changes = decided(&[by_the_owner("hi")], &mut snapshot);
        assert_eq!(told(&changes), events, "closed for {closed_for}");
        assert!(changes.waiting.is_empty());
        let conversation = conversation_of_ada(&mut snapshot);
        assert_eq!(conversation.view.state, ConversationState::Closed);
        assert_eq!(conversation.waiting_since, None);
        // The answer comes into the same conversation, and now somebody waits.
        let id = conversation.view.id;
        let changes = decided(&[received("ada", "hello")], &mut snapshot);
        assert!(told(&changes)[0].ends_with("conversation.status_changed"));
        let conversation = conversation_of_ada(&mut snapshot);
        assert_eq!(conversation.view.id, id);
        assert_eq!(conversation.view.state, ConversationState::Waiting);
        assert_eq!(changes.waiting, BTreeSet::from([acme()]));
    }
}

#[test]
fn somebody_new_can_be_written_to_first() {
    let mut snapshot = empty();
    let changes = decided(&[by_the_owner("hi")], &mut snapshot);
    assert_eq!(
        told(&changes),
        [
            "1 contact.created",
            "2 conversation.created",
            "3 message.created"
        ]
    );
    assert_eq!(data(&changes, 1, "/conversation/state"), json!("closed"));
    assert!(changes.waiting.is_empty());
}

#[test]
fn they_lift_no_block_and_answer_no_question() {
    let mut snapshot = with_ada();
    decided(&[left("gone", "ada")], &mut snapshot);
    let changes = decided(&[by_the_owner("hi")], &mut snapshot);
    assert_eq!(told(&changes), ["9 message.created"]);
    assert!(ada(&snapshot).view.blocked);
}

#[test]
fn the_echo_of_a_message_of_ours_is_no_message() {
    let mut snapshot = with_ada();
    let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
    let mut named = status(&ours, Status::Sent);
    named.provider_ids = vec!["p-hi".to_owned()];
    let batch = [arrival("s", Inbound::Status(named)), by_the_owner("hi")];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(changes.verdicts, [Verdict::Taken, Verdict::Duplicate]);
    assert_eq!(told(&changes), ["8 message.status_changed"]);
}
