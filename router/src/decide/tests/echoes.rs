//! What comes under the provider's id of a message of ours before the status that names it.

use tributary_bus::message::{Choice, ChoiceReply, Choices, MessageReacted};

use super::support::*;

fn echo(text: &str) -> Arrival {
    let mut message = received("ada", text);
    if let Inbound::Received(event) = &mut message.inbound {
        event.sent_by = SentBy::Account;
        event.message_id = MessageId::derived(&shop(), &event.provider_id);
    }
    message
}

/// The status that names message `p-hi` as ours.
fn sent(ours: &Message, ids: &[&str]) -> Arrival {
    let mut sent = status(ours, Status::Sent);
    sent.provider_ids = ids.iter().map(ToString::to_string).collect();
    arrival("sent", Inbound::Status(sent))
}

fn answer(text: &str, to: &str, content: Content) -> Arrival {
    let mut answer = received("ada", text);
    if let Inbound::Received(event) = &mut answer.inbound {
        event.reply_to = Some(to.to_owned());
        event.content = content;
    }
    answer
}

fn edit(provider_id: &str, text: &str) -> Arrival {
    let edited = MessageEdited {
        origin: origin("ada"),
        message_id: MessageId::derived(&shop(), provider_id),
        content: Content::text(text),
        extra: Map::new(),
    };
    arrival(text, Inbound::Edited(edited))
}

fn delete(provider_id: &str) -> Arrival {
    let deleted = MessageDeleted {
        origin: origin("ada"),
        message_id: MessageId::derived(&shop(), provider_id),
        extra: Map::new(),
    };
    arrival("deleted", Inbound::Deleted(deleted))
}

fn reaction(address: &str, provider_id: &str) -> Arrival {
    let reacted = MessageReacted {
        origin: origin(address),
        provider_id: provider_id.to_owned(),
        reactions: vec!["👍".to_owned()],
        extra: Map::new(),
    };
    arrival(&format!("{address} reacts"), Inbound::Reacted(reacted))
}

/// As if everything so far were stored.
fn stored(snapshot: &mut Snapshot) {
    for entry in snapshot.messages.values_mut() {
        entry.change = Change::None;
    }
}

#[test]
fn an_echo_that_comes_first_is_merged_into_ours() {
    for is_stored in [false, true] {
        let mut snapshot = with_ada();
        let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
        let first = decided(&[echo("hi")], &mut snapshot);
        assert_eq!(told(&first), ["8 message.created"]);
        if is_stored {
            stored(&mut snapshot);
        }
        let changes = decided(&[sent(&ours, &["p-hi"]), echo("hi")], &mut snapshot);
        assert_eq!(changes.verdicts, [Verdict::Taken, Verdict::Duplicate]);
        assert_eq!(
            told(&changes),
            ["9 message.status_changed", "10 message.merged"]
        );
        let id = MessageId::derived(&shop(), "p-hi");
        assert_eq!(data(&changes, 1, "/merged_id"), json!(id));
        assert_eq!(data(&changes, 1, "/message/id"), json!(ours.view.id));
        assert_eq!(changes.merged.len(), usize::from(is_stored));
        let of_ada = snapshot.messages.keys().collect::<Vec<_>>();
        assert_eq!(of_ada, [&ours.view.id]);
    }
}

#[test]
fn only_an_echo_of_the_same_contact_is_merged() {
    let mut snapshot = with_ada();
    let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
    let mut hers = echo("hi");
    let mut foreign = echo("ho");
    for (arrival, address, by) in [
        (&mut hers, "ada", SentBy::Contact),
        (&mut foreign, "bob", SentBy::Account),
    ] {
        if let Inbound::Received(event) = &mut arrival.inbound {
            event.sent_by = by;
            event.origin.address = Address::from(address);
        }
    }
    let batch = [hers, foreign, sent(&ours, &["p-hi", "p-ho"])];
    let changes = decided(&batch, &mut snapshot);
    assert!(!told(&changes).iter().any(|t| t.ends_with("merged")));
    assert_eq!(snapshot.messages.len(), 3);
}

/// What the owner does to our message in the provider's app, in every order with its echo and its
/// status.
#[test]
fn what_happens_to_an_echo_happens_to_ours() {
    type Steps<'s> = [&'s str; 3];
    let orders: [Steps<'_>; 6] = [
        ["echo", "change", "sent"],
        ["echo", "sent", "change"],
        ["change", "echo", "sent"],
        ["change", "sent", "echo"],
        ["sent", "echo", "change"],
        ["sent", "change", "echo"],
    ];
    for change in [
        edit("p-hi", "better"),
        delete("p-hi"),
        reaction("ada", "p-hi"),
    ] {
        for order in orders {
            let mut snapshot = with_ada();
            let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
            for step in order {
                let arrival = match step {
                    "echo" => echo("hi"),
                    "sent" => sent(&ours, &["p-hi"]),
                    _ => change.clone(),
                };
                decided(&[arrival], &mut snapshot);
                stored(&mut snapshot);
            }
            let place = format!("{order:?} of {:?}", change.inbound);
            assert_eq!(snapshot.messages.len(), 1, "{place}");
            let view = &snapshot.messages[&ours.view.id].value.view;
            assert_eq!(view.status, Status::Sent, "{place}");
            match &change.inbound {
                Inbound::Edited(_) => {
                    assert_eq!(view.content, Content::text("better"), "{place}");
                    assert_eq!(view.edited_at, Some(origin("ada").occurred_at), "{place}");
                }
                Inbound::Deleted(_) => assert!(view.deleted_at.is_some(), "{place}"),
                _ => assert_eq!(view.reactions, ["👍"], "{place}"),
            }
        }
    }
}

/// Of a message that went in several parts, each part is a message of its own there.
#[test]
fn a_change_of_one_part_is_not_a_change_of_the_whole() {
    for change in [edit("p-hi", "better"), delete("p-hi")] {
        for first in [true, false] {
            let mut snapshot = with_ada();
            let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
            let mut batch = vec![sent(&ours, &["p-hi", "p-2"]), change.clone()];
            if first {
                batch.reverse();
            }
            let changes = decided(&batch, &mut snapshot);
            assert_eq!(told(&changes), ["8 message.status_changed"]);
            let view = &snapshot.messages[&ours.view.id].value.view;
            assert_eq!(view.content, Content::text("hello"));
        }
    }
}

#[test]
fn somebody_else_s_reaction_does_not_reach_it() {
    let mut snapshot = with_ada();
    let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
    let batch = [reaction("bob", "p-hi"), sent(&ours, &["p-hi"])];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(told(&changes), ["8 message.status_changed"]);
    assert!(
        snapshot.messages[&ours.view.id]
            .value
            .view
            .reactions
            .is_empty()
    );
}

/// Also when it answered the echo.
#[test]
fn an_answer_that_comes_first_finds_what_it_answers() {
    for with_echo in [false, true] {
        let mut snapshot = with_ada();
        let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
        let mut batch = vec![answer("yes", "p-hi", Content::text("yes"))];
        if with_echo {
            batch.insert(0, echo("hi"));
        }
        decided(&batch, &mut snapshot);
        let changes = decided(&[sent(&ours, &["p-hi"])], &mut snapshot);
        let last = changes.outgoing.len() - 1;
        assert!(told(&changes)[last].ends_with("message.updated"));
        assert_eq!(
            data(&changes, last, "/message/reply_to"),
            json!(ours.view.id)
        );
    }
}

/// A pressed button closes the question that its message asks; what was typed is the choice.
#[test]
fn a_choice_that_comes_first_answers_the_question() {
    let pressed = Content::ChoiceReply(ChoiceReply {
        id: "c".to_owned(),
        title: None,
        extra: Map::new(),
    });
    for content in [pressed, Content::text("Coffee")] {
        let mut snapshot = with_ada();
        let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
        let entry = snapshot
            .messages
            .get_mut(&ours.view.id)
            .expect("just added");
        entry.value.view.content = Content::Choices(Choices {
            text: "What would you like?".into(),
            options: vec![Choice::reply("t", "Tea"), Choice::reply("c", "Coffee")],
            style: tributary_bus::message::ChoiceStyle::QuickReplies,
            ..Choices::default()
        });
        decided(&[answer("x", "p-hi", content)], &mut snapshot);
        let changes = decided(&[sent(&ours, &["p-hi"])], &mut snapshot);
        assert_eq!(
            told(&changes),
            ["9 message.status_changed", "10 message.updated"]
        );
        assert_eq!(data(&changes, 1, "/message/content/id"), json!("c"));
        let title = data(&changes, 1, "/message/content/title");
        assert_eq!(title, json!("Coffee"));
        assert_eq!(data(&changes, 1, "/message/reply_to"), json!(ours.view.id));
        assert_eq!(conversation_of_ada(&mut snapshot).question, None);
    }
}
