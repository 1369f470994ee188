//! What happens to messages that are stored, or are about to be.

use tributary_bus::message::{
    Media, MediaContent, MediaState, MessageChange, MessageChangeFailed, MessageMedia,
    MessageReacted,
};

use super::support::*;
use crate::model::Before;

fn edit(of: MessageId, content: Content) -> Inbound {
    Inbound::Edited(MessageEdited {
        origin: origin("ada"),
        message_id: of,
        content,
        extra: Map::new(),
    })
}

fn delete(of: MessageId) -> Inbound {
    Inbound::Deleted(MessageDeleted {
        origin: origin("ada"),
        message_id: of,
        extra: Map::new(),
    })
}

fn image(state: MediaState, source: &str) -> Content {
    Content::Image(MediaContent {
        media: media(state, source),
        ..MediaContent::default()
    })
}

fn media(state: MediaState, source: &str) -> Media {
    Media {
        state,
        source: Some(source.to_owned()),
        failure: (state == MediaState::Failed).then(|| "gone".to_owned()),
        ..Media::default()
    }
}

fn arrived(of: MessageId, index: u32, media: Media) -> Inbound {
    Inbound::Media(Box::new(MessageMedia {
        origin: origin("ada"),
        message_id: of,
        index,
        media,
        extra: Map::new(),
    }))
}

fn reacted(address: &str, provider_id: &str, reactions: &[&str]) -> Inbound {
    Inbound::Reacted(MessageReacted {
        origin: origin(address),
        provider_id: provider_id.to_owned(),
        reactions: reactions.iter().map(ToString::to_string).collect(),
        extra: Map::new(),
    })
}

fn refused(of: MessageId, change: MessageChange, seq: Option<i64>) -> Inbound {
    Inbound::ChangeFailed(MessageChangeFailed {
        origin: origin("ada"),
        message_id: of,
        change,
        failure: Failure {
            code: FailureCode::Rejected,
            reason: "too old".to_owned(),
        },
        seq,
        extra: Map::new(),
    })
}

fn content_of(snapshot: &Snapshot, id: MessageId) -> Content {
    snapshot.messages[&id].value.view.content.clone()
}

#[test]
fn what_was_deleted_is_kept_and_not_shown() {
    let mut snapshot = with_ada();
    let message = with_message(&mut snapshot, Direction::Inbound, Status::Received)
        .view
        .id;
    let batch = [
        arrival("1", delete(message)),
        arrival("2", delete(message)),
        arrival("3", edit(message, Content::text("late"))),
        arrival("4", reacted("ada", "x", &["👍"])),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(told(&changes), ["8 message.deleted"]);
    let shown = data(&changes, 0, "/message/content");
    assert_eq!(shown, json!({"type": "unsupported", "kind": "deleted"}));
    let at = now() - TimeDelta::seconds(5);
    assert_eq!(data(&changes, 0, "/message/deleted_at"), json!(at));
    assert_eq!(content_of(&snapshot, message), Content::text("late"));
}

#[test]
fn an_edit_that_nobody_sees_is_none() {
    let mut snapshot = with_ada();
    let message = with_message(&mut snapshot, Direction::Inbound, Status::Received)
        .view
        .id;
    let same = edit(message, Content::text("hello"));
    let changes = decided(&[arrival("1", same)], &mut snapshot);
    assert_eq!(changes.verdicts, [Verdict::NoEffect]);
    let other = edit(message, Content::text("hello!"));
    let changes = decided(&[arrival("2", other)], &mut snapshot);
    assert_eq!(told(&changes), ["8 message.edited"]);
    let at = now() - TimeDelta::seconds(5);
    assert_eq!(data(&changes, 0, "/message/edited_at"), json!(at));
}

#[test]
fn what_comes_before_its_message_waits_for_it() {
    let id = MessageId::derived(&shop(), "ada:one");
    let (first, second) = (Content::text("1st"), Content::text("2nd"));
    type Case = (Vec<Inbound>, Value, bool);
    let table: Vec<Case> = vec![
        (
            vec![edit(id, first.clone()), edit(id, second.clone())],
            json!({"type": "text", "text": "2nd"}),
            false,
        ),
        (
            vec![edit(id, first), delete(id)],
            json!({"type": "unsupported", "kind": "deleted"}),
            true,
        ),
        (
            vec![delete(id)],
            json!({"type": "unsupported", "kind": "deleted"}),
            true,
        ),
    ];
    for (before, content, is_deleted) in table {
        let mut snapshot = with_ada();
        let early: Vec<Arrival> = before
            .into_iter()
            .enumerate()
            .map(|(n, inbound)| arrival(&n.to_string(), inbound))
            .collect();
        let changes = decided(&early, &mut snapshot);
        assert!(changes.verdicts.iter().all(|v| *v == Verdict::Taken));
        assert!(changes.outgoing.is_empty());
        assert_eq!(Snapshot::changed(&snapshot.early, Change::New).len(), 1);
        // As if it came with a later batch.
        for entry in snapshot.early.values_mut() {
            entry.change = Change::None;
        }
        let changes = decided(&[received("ada", "one")], &mut snapshot);
        assert_eq!(told(&changes), ["8 message.created"]);
        assert_eq!(data(&changes, 0, "/message/content"), content);
        let deleted_at = data(&changes, 0, "/message/deleted_at");
        assert_eq!(deleted_at.is_string(), is_deleted, "{deleted_at}");
        assert_eq!(changes.caught_up, [id]);
        assert!(snapshot.early.is_empty());
    }
}

#[test]
fn media_that_was_pending_is_completed_once() {
    use MediaState::{Failed, Pending, Ready};
    // Stored, told, told from elsewhere, expected.
    let table = [
        (Pending, Ready, "a", true),
        (Pending, Failed, "a", true),
        (Failed, Ready, "a", true),
        (Failed, Failed, "a", false),
        (Ready, Ready, "a", false),
        (Ready, Failed, "a", false),
        (Pending, Pending, "a", false),
        (Pending, Ready, "other", false),
    ];
    for (stored, told_state, source, expected) in table {
        let mut snapshot = with_ada();
        let id = with_message(&mut snapshot, Direction::Inbound, Status::Received)
            .view
            .id;
        let entry = snapshot.messages.get_mut(&id).expect("just added");
        entry.value.view.content = image(stored, "a");
        let news = arrived(id, 0, media(told_state, source));
        let batch = [arrival("1", news.clone()), arrival("1", news)];
        let changes = decided(&batch, &mut snapshot);
        let place = format!("{stored:?}, then {told_state:?} of {source}");
        let events: &[&str] = if expected {
            &["8 message.updated"]
        } else {
            &[]
        };
        assert_eq!(told(&changes), events, "{place}");
        assert_eq!(changes.verdicts[1], Verdict::NoEffect, "{place}");
        let state = if expected { told_state } else { stored };
        assert_eq!(content_of(&snapshot, id).media()[0].state, state, "{place}");
    }
    let mut snapshot = with_ada();
    let id = with_message(&mut snapshot, Direction::Inbound, Status::Received)
        .view
        .id;
    let batch = [
        arrival("1", arrived(id, 0, media(Ready, "a"))),
        arrival("2", arrived(MessageId::generate(), 0, media(Ready, "a"))),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(changes.verdicts[0], Verdict::NoEffect);
    assert_eq!(changes.verdicts[1], Verdict::NoEffect);
    assert_eq!(changes.unknown_media.len(), 1);
}

#[test]
fn media_of_an_edit_that_waits_for_its_message_waits_with_it() {
    use MediaState::{Failed, Pending, Ready};
    let id = MessageId::derived(&shop(), "ada:one");
    let ready = || arrived(id, 0, media(Ready, "a"));
    // What comes before the message, what each is, and the state of the media in the end.
    type Case = (Vec<(Inbound, Verdict)>, MediaState);
    let pending = || (edit(id, image(Pending, "a")), Verdict::Taken);
    let table: Vec<Case> = vec![
        (vec![pending(), (ready(), Verdict::Taken)], Ready),
        (
            vec![
                pending(),
                (arrived(id, 0, media(Failed, "a")), Verdict::Taken),
            ],
            Failed,
        ),
        // Told twice.
        (
            vec![
                pending(),
                (ready(), Verdict::Taken),
                (ready(), Verdict::NoEffect),
            ],
            Ready,
        ),
        // A later edit of the words keeps the picture.
        (vec![pending(), (ready(), Verdict::Taken), pending()], Ready),
        // Of another file, at another place, of nothing.
        (
            vec![
                pending(),
                (arrived(id, 0, media(Ready, "b")), Verdict::NoEffect),
            ],
            Pending,
        ),
        (
            vec![
                pending(),
                (arrived(id, 1, media(Ready, "a")), Verdict::NoEffect),
            ],
            Pending,
        ),
        (vec![(ready(), Verdict::NoEffect), pending()], Pending),
    ];
    for (number, (before, state)) in table.into_iter().enumerate() {
        let mut snapshot = with_ada();
        for (n, (inbound, verdict)) in before.into_iter().enumerate() {
            let changes = decided(&[arrival(&n.to_string(), inbound)], &mut snapshot);
            assert_eq!(changes.verdicts, [verdict], "{number}: {n}");
            assert!(changes.outgoing.is_empty());
        }
        let changes = decided(&[received("ada", "one")], &mut snapshot);
        assert_eq!(told(&changes), ["8 message.created"]);
        let shown = data(&changes, 0, "/message/content/media/state");
        assert_eq!(shown, json!(state), "{number}");
    }
}

#[test]
fn an_edit_gives_way_to_a_later_one() {
    // Seconds between the edit that is stored and the one that comes.
    for (later, verdict, text) in [
        (-1, Verdict::NoEffect, "stored"),
        (0, Verdict::Taken, "news"),
        (1, Verdict::Taken, "news"),
    ] {
        let mut snapshot = with_ada();
        let id = with_message(&mut snapshot, Direction::Inbound, Status::Received)
            .view
            .id;
        let view = &mut snapshot
            .messages
            .get_mut(&id)
            .expect("just added")
            .value
            .view;
        view.content = Content::text("stored");
        view.edited_at = Some(origin("ada").occurred_at - TimeDelta::seconds(later));
        let news = edit(id, Content::text("news"));
        let changes = decided(&[arrival("1", news)], &mut snapshot);
        assert_eq!(changes.verdicts, [verdict], "{later} s later");
        assert_eq!(content_of(&snapshot, id), Content::text(text));
    }
}

#[test]
fn an_edited_caption_keeps_the_picture() {
    let mut snapshot = with_ada();
    let id = with_message(&mut snapshot, Direction::Inbound, Status::Received)
        .view
        .id;
    let entry = snapshot.messages.get_mut(&id).expect("just added");
    entry.value.view.content = image(MediaState::Ready, "a");
    let mut edited = image(MediaState::Pending, "a");
    if let Content::Image(image) = &mut edited {
        image.caption = Some("better words".into());
    }
    let changes = decided(&[arrival("1", edit(id, edited))], &mut snapshot);
    assert_eq!(told(&changes), ["8 message.edited"]);
    assert_eq!(
        content_of(&snapshot, id).media()[0].state,
        MediaState::Ready
    );
}

#[test]
fn reactions_reach_the_message_that_the_provider_names() {
    let mut snapshot = with_ada();
    let ours = with_message(&mut snapshot, Direction::Outbound, Status::Queued);
    let mut sent = status(&ours, Status::Sent);
    sent.provider_ids = vec!["51".to_owned(), "52".to_owned()];
    // The id of the second part, of a message of hers, of nothing, and somebody else's.
    let mut hers = received("ada", "hello");
    if let Inbound::Received(event) = &mut hers.inbound {
        event.message_id = MessageId::derived(&shop(), "p-hello");
    }
    let batch = [
        arrival("1", Inbound::Status(sent)),
        hers,
        received("bob", "hi"),
        arrival("2", reacted("ada", "52", &["👍"])),
        arrival("2", reacted("ada", "52", &["👍"])),
        arrival("3", reacted("ada", "p-hello", &["❤"])),
        arrival("4", reacted("ada", "99", &["👍"])),
        arrival("5", reacted("bob", "51", &["👎"])),
        arrival("6", reacted("ada", "51", &[])),
    ];
    let changes = decided(&batch, &mut snapshot);
    let verdicts = &changes.verdicts[3..];
    assert_eq!(
        verdicts,
        [
            Verdict::Taken,
            Verdict::Duplicate,
            Verdict::Taken,
            // Kept: its message may still come.
            Verdict::Taken,
            Verdict::NoEffect,
            Verdict::Taken,
        ]
    );
    let events = told(&changes);
    let of_reactions: Vec<_> = events.iter().filter(|e| e.contains("reactions")).collect();
    assert_eq!(of_reactions.len(), 3);
    let parts: Vec<_> = changes.parts.iter().map(|p| (p.part, p.message)).collect();
    assert_eq!(parts, [(0, ours.view.id), (1, ours.view.id)]);
    assert!(
        snapshot.messages[&ours.view.id]
            .value
            .view
            .reactions
            .is_empty()
    );
}

/// Two edits on their way, at the places 5 and 6: which were refused, and what stands then.
#[test]
fn a_refused_change_is_taken_back() {
    use MessageChange::{Delete, Edit, React};
    type Refusals<'r> = &'r [(MessageChange, Option<i64>)];
    let table: [(Refusals<'_>, &str); 8] = [
        (&[], "2"),
        (&[(Edit, Some(6))], "1"),
        (&[(Edit, Some(5))], "2"),
        (&[(Edit, Some(5)), (Edit, Some(6))], "0"),
        (&[(Edit, Some(6)), (Edit, Some(5))], "0"),
        (&[(Edit, None)], "1"),
        (&[(Edit, None), (Edit, None)], "0"),
        (&[(React, Some(5)), (Delete, Some(5))], "2"),
    ];
    for (refusals, expected) in table {
        let mut snapshot = with_ada();
        let id = with_message(&mut snapshot, Direction::Outbound, Status::Sent)
            .view
            .id;
        let message = &mut snapshot.messages.get_mut(&id).expect("just added").value;
        for seq in [5, 6] {
            let before = Before::Edit {
                content: Box::new(Content::text((seq - 5).to_string())),
                edited_at: None,
            };
            message.remember(seq, before);
        }
        message.view.content = Content::text("2");
        let batch: Vec<Arrival> = refusals
            .iter()
            .enumerate()
            .map(|(n, (change, seq))| arrival(&n.to_string(), refused(id, *change, *seq)))
            .collect();
        let changes = decided(&batch, &mut snapshot);
        assert_eq!(
            content_of(&snapshot, id),
            Content::text(expected),
            "{refusals:?}"
        );
        if refusals.first().is_some_and(|(change, _)| *change == Edit) {
            let events = told(&changes);
            assert_eq!(events.len(), refusals.len(), "{refusals:?}");
            assert_eq!(events[0], "8 message.change_refused");
            assert_eq!(data(&changes, 0, "/failure/code"), json!("rejected"));
        } else {
            assert!(changes.outgoing.is_empty());
        }
    }
}

#[test]
fn a_refused_deletion_and_reaction_are_taken_back() {
    let mut snapshot = with_ada();
    let id = with_message(&mut snapshot, Direction::Outbound, Status::Sent)
        .view
        .id;
    let message = &mut snapshot.messages.get_mut(&id).expect("just added").value;
    let reactions = vec!["👍".to_owned()];
    message.remember(5, Before::React { reactions });
    message.remember(6, Before::Delete { deleted_at: None });
    message.view.deleted_at = Some(now());
    message.view.reactions = vec!["😮".to_owned()];
    message.view.our_reactions = vec!["❤".to_owned()];
    let batch = [
        arrival("1", refused(id, MessageChange::React, Some(5))),
        arrival("2", refused(id, MessageChange::Delete, Some(6))),
        // Told again by a delivery that came twice.
        arrival("3", refused(id, MessageChange::Delete, Some(6))),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        told(&changes),
        ["8 message.change_refused", "9 message.change_refused"]
    );
    assert_eq!(
        data(&changes, 0, "/message/content/type"),
        json!("unsupported")
    );
    assert_eq!(data(&changes, 1, "/message/content/text"), json!("hello"));
    assert_eq!(data(&changes, 1, "/message/our_reactions"), json!(["👍"]));
    // The contact's are nobody's to take back but the contact's.
    assert_eq!(data(&changes, 1, "/message/reactions"), json!(["😮"]));
}

#[test]
fn a_later_parser_can_read_more() {
    let poll = || Content::unsupported("poll");
    let other = || Content::Other(Map::from_iter([("type".to_owned(), json!("hologram"))]));
    let text = || Content::text("hello");
    let table = [
        (poll(), text(), true, true),
        (other(), text(), true, true),
        (poll(), poll(), true, false),
        (poll(), other(), true, false),
        (text(), Content::text("other words"), true, false),
        (poll(), text(), false, false),
    ];
    for (stored, read, replayed, expected) in table {
        let mut snapshot = with_ada();
        let id = with_message(&mut snapshot, Direction::Inbound, Status::Received)
            .view
            .id;
        let entry = snapshot.messages.get_mut(&id).expect("just added");
        entry.value.view.content = stored.clone();
        let mut again = received("ada", "hello");
        if let Inbound::Received(event) = &mut again.inbound {
            event.message_id = id;
            event.content = read.clone();
            event.replayed = replayed;
        }
        let changes = decided(&[again], &mut snapshot);
        if expected {
            assert_eq!(told(&changes), ["8 message.updated"]);
            assert_eq!(content_of(&snapshot, id), read);
        } else {
            assert_eq!(
                changes.verdicts,
                [Verdict::Duplicate],
                "{stored:?} {read:?}"
            );
            assert_eq!(content_of(&snapshot, id), stored);
        }
    }
}
