//! Typed answers to choices that went as a numbered list, or as keys that write their title.

use proptest::prelude::*;
use tributary_bus::message::{
    Card, Carousel, Choice, ChoiceAction, ChoiceReply, ChoiceStyle, Choices, Degradation,
    DegradationCode,
};

use super::support::*;
use crate::model::Question;

fn drinks() -> Content {
    Content::Choices(Choices {
        text: "What would you like?".into(),
        options: vec![Choice::reply("t", "Tea"), Choice::reply("c", "Coffee")],
        ..Choices::default()
    })
}

fn numbered() -> Vec<Degradation> {
    vec![Degradation {
        code: DegradationCode::ChoicesNumbered,
        detail: "2 choices as a list".to_owned(),
    }]
}

/// A question of ours that was sent as a numbered list, so long ago.
fn with_question(snapshot: &mut Snapshot, asked: TimeDelta) -> Message {
    let question = with_message(snapshot, Direction::Outbound, Status::Sent);
    let entry = snapshot
        .messages
        .get_mut(&question.view.id)
        .expect("just added");
    entry.value.view.content = drinks();
    entry.value.view.degraded = numbered();
    let question = entry.value.clone();
    conversation_of_ada(snapshot).question = Some(Question {
        message: question.view.id,
        asked_at: now() - asked,
    });
    question
}

fn stored_content(snapshot: &Snapshot, text: &str) -> MessageView {
    let id = MessageId::derived(&shop(), &format!("ada:{text}"));
    snapshot.messages[&id].value.view.clone()
}

#[test]
fn a_numbered_list_opens_the_question_once() {
    let mut snapshot = with_ada();
    let question = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
    let entry = snapshot
        .messages
        .get_mut(&question.view.id)
        .expect("just added");
    entry.value.view.content = drinks();
    let mut sent = status(&question, Status::Sent);
    sent.degraded = numbered();
    let batch = [
        arrival("1", Inbound::Status(sent.clone())),
        received("ada", "2"),
        // The same report again does not ask again.
        arrival("1", Inbound::Status(sent)),
        received("ada", "1"),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        told(&changes),
        [
            "8 message.status_changed",
            "9 message.created",
            "10 message.created"
        ]
    );
    assert_eq!(
        data(&changes, 0, "/message/degraded/0/code"),
        json!("choices_numbered")
    );
    assert_eq!(
        data(&changes, 1, "/message/content"),
        json!({"type": "choice_reply", "id": "c", "title": "Coffee", "typed": "2"})
    );
    assert_eq!(
        data(&changes, 1, "/message/reply_to"),
        json!(question.view.id)
    );
    assert_eq!(data(&changes, 2, "/message/content/type"), json!("text"));
    assert_eq!(conversation_of_ada(&mut snapshot).question, None);
}

/// Tea, coffee and a key of this kind, as this style.
fn keys(style: ChoiceStyle, third: ChoiceAction) -> Content {
    let Content::Choices(mut choices) = drinks() else {
        panic!("a question");
    };
    choices.style = style;
    choices.options.push(Choice {
        action: third,
        ..Choice::reply("n", "Number")
    });
    Content::Choices(choices)
}

/// A pressed key writes its title: it comes as a text of the person.
#[test]
fn a_key_that_writes_its_title_is_a_choice() {
    use ChoiceStyle::{Buttons, List, QuickReplies};
    let (plain, asks) = (ChoiceAction::Reply, ChoiceAction::RequestContact);
    for (style, third, list, typed, choice) in [
        (QuickReplies, &plain, false, "Coffee", Some("c")),
        (QuickReplies, &plain, false, " coffee ", Some("c")),
        // Only a list has numbers.
        (QuickReplies, &plain, false, "2", None),
        (QuickReplies, &plain, true, "2", Some("c")),
        (QuickReplies, &plain, false, "cocoa", None),
        // A keyboard stands for the buttons too, where one of them asks for a number.
        (Buttons, &asks, false, "Coffee", Some("c")),
        (Buttons, &asks, false, "Number", None),
        // These are pressed, and tell what was.
        (Buttons, &plain, false, "Coffee", None),
        (List, &plain, false, "Coffee", None),
    ] {
        let mut snapshot = with_ada();
        let question = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
        let entry = snapshot.messages.get_mut(&question.view.id);
        entry.expect("just added").value.view.content = keys(style, third.clone());
        let mut sent = status(&question, Status::Sent);
        if list {
            sent.degraded = numbered();
        }
        let delivered = status(&question, Status::Delivered);
        let batch = [
            arrival("1", Inbound::Status(sent)),
            received("ada", typed),
            // Neither a later status nor the same words ask again.
            arrival("2", Inbound::Status(delivered)),
            received("ada", "coffee again"),
        ];
        decided(&batch, &mut snapshot);
        let view = stored_content(&snapshot, typed);
        match (&view.content, choice) {
            (Content::ChoiceReply(reply), Some(id)) => {
                assert_eq!(reply.id, id, "{typed}");
                assert_eq!(reply.extra["typed"], json!(typed));
                assert_eq!(view.reply_to, Some(question.view.id));
                assert_eq!(conversation_of_ada(&mut snapshot).question, None);
            }
            (Content::Text(_), None) => assert_eq!(view.reply_to, None, "{style:?} {typed}"),
            (other, _) => panic!("{style:?} {typed}: {other:?}"),
        }
    }
}

/// The button hangs on a message that the channel shows no more, or the channel names only ids.
#[test]
fn a_choice_without_a_title_gets_the_one_it_was_offered_with() {
    let carousel = Content::Carousel(Carousel {
        cards: vec![Card {
            options: vec![Choice::reply("c", "Coffee")],
            ..Card::default()
        }],
        ..Carousel::default()
    });
    for (offered, came, expected) in [
        (drinks(), None, Some("Coffee")),
        (carousel, None, Some("Coffee")),
        (drinks(), Some("Kaffee"), Some("Kaffee")),
        (Content::text("no choices"), None, None),
    ] {
        let mut snapshot = with_ada();
        let question = with_message(&mut snapshot, Direction::Outbound, Status::Sent);
        let entry = snapshot.messages.get_mut(&question.view.id);
        entry.expect("just added").value.view.content = offered;
        snapshot
            .parts
            .insert((shop(), "q".to_owned()), question.view.id);
        let mut press = received("ada", "press");
        if let Inbound::Received(event) = &mut press.inbound {
            event.reply_to = Some("q".to_owned());
            event.content = Content::ChoiceReply(ChoiceReply {
                id: "c".to_owned(),
                title: came.map(str::to_owned),
                extra: Map::new(),
            });
        }
        decided(&[press], &mut snapshot);
        let view = stored_content(&snapshot, "press");
        let Content::ChoiceReply(reply) = &view.content else {
            panic!("a choice");
        };
        assert_eq!(reply.title.as_deref(), expected);
    }
}

#[test]
fn keys_that_were_never_shown_ask_nothing() {
    for came in [None, Some(Status::Failed)] {
        let mut snapshot = with_ada();
        let question = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
        let entry = snapshot.messages.get_mut(&question.view.id);
        entry.expect("just added").value.view.content =
            keys(ChoiceStyle::QuickReplies, ChoiceAction::Reply);
        let report = came.map(|to| arrival("1", Inbound::Status(status(&question, to))));
        let batch: Vec<_> = report.into_iter().chain([received("ada", "tea")]).collect();
        decided(&batch, &mut snapshot);
        let view = stored_content(&snapshot, "tea");
        assert_eq!(view.content, Content::text("tea"), "{came:?}");
    }
}

#[test]
fn what_counts_as_an_answer() {
    let day = TimeDelta::hours(24);
    let hour = TimeDelta::hours(1);
    for (typed, asked, choice) in [
        ("1", hour, Some("t")),
        (" coffee", hour, Some("c")),
        ("2.", day, Some("c")),
        ("2", day + TimeDelta::seconds(1), None),
        ("3", hour, None),
        ("what is there?", hour, None),
    ] {
        let mut snapshot = with_ada();
        let question = with_question(&mut snapshot, asked);
        let changes = decided(&[received("ada", typed)], &mut snapshot);
        assert_eq!(told(&changes), ["8 message.created"], "{typed}");
        let view = stored_content(&snapshot, typed);
        match (&view.content, choice) {
            (Content::ChoiceReply(reply), Some(id)) => {
                assert_eq!(reply.id, id);
                assert_eq!(reply.extra["typed"], json!(typed));
                assert_eq!(view.reply_to, Some(question.view.id));
                assert_eq!(conversation_of_ada(&mut snapshot).question, None);
            }
            (Content::Text(_), None) => {
                assert_eq!(view.reply_to, None);
                let open = conversation_of_ada(&mut snapshot).question;
                assert_eq!(open.map(|q| q.message), Some(question.view.id), "{typed}");
            }
            (other, _) => panic!("{typed}: {other:?}"),
        }
    }
}

#[test]
fn what_is_said_about_another_message_answers_nothing() {
    let mut snapshot = with_ada();
    let question = with_question(&mut snapshot, TimeDelta::hours(1));
    let other = with_message(&mut snapshot, Direction::Outbound, Status::Sent);
    for (id, of) in [("q", &question), ("o", &other)] {
        snapshot.parts.insert((shop(), id.to_owned()), of.view.id);
    }
    let reply = |text: &str, to: &str| {
        let mut reply = received("ada", text);
        if let Inbound::Received(event) = &mut reply.inbound {
            event.reply_to = Some(to.to_owned());
        }
        reply
    };
    let batch = [reply("1", "o"), reply("2", "gone"), reply("tea", "q")];
    decided(&batch, &mut snapshot);
    let view = stored_content(&snapshot, "1");
    assert_eq!(view.content, Content::text("1"));
    assert_eq!(view.reply_to, Some(other.view.id));
    assert_eq!(stored_content(&snapshot, "2").content, Content::text("2"));
    let answer = stored_content(&snapshot, "tea");
    assert!(matches!(answer.content, Content::ChoiceReply(_)));
    assert_eq!(answer.reply_to, Some(question.view.id));
}

#[test]
fn the_next_question_takes_the_place() {
    let mut snapshot = with_ada();
    let first = with_question(&mut snapshot, TimeDelta::hours(1));
    let mut later = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
    later.view.seq = 6;
    later.view.content = drinks();
    let id = later.view.id;
    snapshot.messages.insert(id, Entry::stored(later.clone()));
    let sent = |of: &Message, to| {
        let mut sent = status(of, to);
        sent.degraded = numbered();
        sent
    };
    // A failed question asks nothing.
    let failed = sent(&later, Status::Failed);
    let mut apart = with_ada();
    apart.messages.insert(id, Entry::stored(later.clone()));
    let conversation = conversation_of_ada(&mut apart).view.id;
    if let Some(entry) = apart.messages.get_mut(&id) {
        entry.value.view.conversation_id = conversation;
    }
    let changes = decided(&[arrival("f", Inbound::Status(failed))], &mut apart);
    assert_eq!(told(&changes), ["8 message.status_changed"]);
    assert_eq!(conversation_of_ada(&mut apart).question, None);

    decided(
        &[arrival("1", Inbound::Status(sent(&later, Status::Sent)))],
        &mut snapshot,
    );
    let open = conversation_of_ada(&mut snapshot).question;
    assert_eq!(open.map(|q| q.message), Some(id));
    // The report of an older one comes late.
    let entry = snapshot.messages.get_mut(&first.view.id).expect("stored");
    entry.value.view.degraded.clear();
    let report = sent(&first, Status::Delivered);
    decided(&[arrival("2", Inbound::Status(report))], &mut snapshot);
    let open = conversation_of_ada(&mut snapshot).question;
    assert_eq!(open.map(|q| q.message), Some(id));
}

proptest! {
    /// Whatever is typed is either the choice that `Choices::answer` names, with the words kept, or stays what it was.
    #[test]
    fn typed_words_are_never_lost(typed in "[ 0-9a-zA-Z.)]{0,6}|tea|COFFEE") {
        let mut snapshot = with_ada();
        let question = with_question(&mut snapshot, TimeDelta::hours(1));
        decided(&[received("ada", &typed)], &mut snapshot);
        let view = stored_content(&snapshot, &typed);
        let Content::Choices(choices) = &question.view.content else {
            panic!("a question");
        };
        match choices.answer(&typed) {
            Some(expected) => {
                let Content::ChoiceReply(reply) = &view.content else {
                    panic!("{typed} is an answer");
                };
                prop_assert_eq!(&reply.id, &expected.id);
                prop_assert_eq!(&reply.extra["typed"], &json!(typed));
            }
            None => prop_assert_eq!(view.content, Content::text(typed)),
        }
    }
}
