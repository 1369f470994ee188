//! Messages of contacts, and what becomes of what cannot be taken in.

use super::support::*;

#[test]
fn the_first_message_of_somebody_new() {
    let mut snapshot = empty();
    let changes = decided(&[received("ada", "hi")], &mut snapshot);
    assert_eq!(changes.verdicts, [Verdict::Taken]);
    assert_eq!(
        told(&changes),
        [
            "1 contact.created",
            "2 conversation.created",
            "3 message.created"
        ]
    );
    assert_eq!(changes.waiting, BTreeSet::from([acme()]));
    assert_eq!(changes.raw.len(), 1);
    let conversation = Snapshot::changed(&snapshot.conversations, Change::New)[0].clone();
    assert_eq!(conversation.view.seq, 3);
    assert_eq!(conversation.view.state, ConversationState::Waiting);
    let subject = Some(conversation.view.id.to_string());
    for outgoing in &changes.outgoing {
        assert_eq!(outgoing.envelope.subject, subject);
        assert_eq!(outgoing.envelope.orgid, acme());
        assert_eq!(outgoing.shard, conversation.shard);
    }
    assert_eq!(data(&changes, 2, "/message/seq"), json!(3));
    assert_eq!(data(&changes, 2, "/message/status"), json!("received"));
    assert_eq!(data(&changes, 1, "/conversation/seq"), json!(2));
    let message = Snapshot::changed(&snapshot.messages, Change::New)[0];
    assert_eq!(message.view.created_at, now() - TimeDelta::seconds(5));
    assert_eq!(message.provider_ids, ["p-hi"]);
}

#[test]
fn a_batch_sees_what_it_did_itself() {
    let batch = [
        received("ada", "one"),
        received("bob", "two"),
        received("ada", "one"),
        received("ada", "three"),
        left("gone", "ada"),
        received("ada", "four"),
    ];
    let mut snapshot = empty();
    let changes = decided(&batch, &mut snapshot);
    let mut verdicts = vec![Verdict::Taken; 6];
    verdicts[2] = Verdict::Duplicate;
    assert_eq!(changes.verdicts, verdicts);
    assert_eq!(
        told(&changes),
        [
            "1 contact.created",
            "2 conversation.created",
            "3 message.created",
            "1 contact.created",
            "2 conversation.created",
            "3 message.created",
            "4 message.created",
            "5 contact.blocked",
            "6 contact.updated",
            "7 message.created",
        ]
    );
    assert_eq!(snapshot.contacts.len(), 2);
    assert!(!ada(&snapshot).view.blocked);
    let ids: BTreeSet<_> = changes.outgoing.iter().map(|o| o.envelope.id).collect();
    assert_eq!(ids.len(), changes.outgoing.len());
}

#[test]
fn a_known_contact_writes_in_the_open_conversation() {
    let mut snapshot = with_ada();
    let changes = decided(&[received("ada", "hi")], &mut snapshot);
    assert_eq!(told(&changes), ["8 message.created"]);
    assert_eq!(changes.outgoing[0].shard, 9);
    assert!(changes.waiting.is_empty());
    let state = conversation_of_ada(&mut snapshot).view.state;
    assert_eq!(state, ConversationState::Assigned);
    assert!(Snapshot::changed(&snapshot.contacts, Change::Changed).is_empty());
}

#[test]
fn a_stored_message_changes_nothing() {
    let mut snapshot = with_ada();
    let again = received("ada", "hi");
    if let Inbound::Received(event) = &again.inbound {
        let contact = ada(&snapshot).view.id;
        snapshot.stored.insert(event.message_id, contact);
    }
    let before = snapshot.contacts.clone();
    let changes = decided(&[again], &mut snapshot);
    assert_eq!(changes.verdicts, [Verdict::Duplicate]);
    assert_eq!((changes.outgoing.len(), changes.raw.len()), (0, 0));
    assert_eq!(snapshot.contacts, before);
}

#[test]
fn closed_conversations_reopen_within_the_window() {
    let cases = [
        (
            WINDOW,
            vec!["8 conversation.status_changed", "9 message.created"],
        ),
        (
            WINDOW + TimeDelta::seconds(1),
            vec!["1 conversation.created", "2 message.created"],
        ),
    ];
    for (closed_for, expected) in cases {
        let mut snapshot = with_ada();
        let conversation = conversation_of_ada(&mut snapshot);
        conversation.view.state = ConversationState::Closed;
        conversation.closed_at = Some(now() - closed_for);
        conversation.queued = true;
        let changes = decided(&[received("ada", "hi")], &mut snapshot);
        assert_eq!(told(&changes), expected, "closed for {closed_for}");
        assert_eq!(changes.waiting, BTreeSet::from([acme()]));
        let conversation = conversation_of_ada(&mut snapshot);
        assert_eq!(conversation.view.state, ConversationState::Waiting);
        assert_eq!(conversation.view.agent_id, None);
        assert_eq!(conversation.waiting_since, Some(now()));
        assert!(!conversation.queued && conversation.closed_at.is_none());
    }
}

#[test]
fn what_names_another_channel_or_nothing_is_dead() {
    let mut snapshot = with_ada();
    let message = with_message(&mut snapshot, Direction::Outbound, Status::Sent);
    snapshot
        .channels
        .insert(ChannelId::from("rival"), OrganizationId::from("rival"));
    snapshot.channels.insert(ChannelId::from("second"), acme());

    let mut foreign = received("ada", "foreign");
    foreign.organization = OrganizationId::from("rival");
    let mut unknown_channel = received("ada", "unknown");
    if let Inbound::Received(event) = &mut unknown_channel.inbound {
        event.origin.channel_id = ChannelId::from("nowhere");
    }
    let mut other_channel = status(&message, Status::Read);
    other_channel.origin.channel_id = ChannelId::from("second");
    let mut unknown_message = status(&message, Status::Read);
    unknown_message.message_id = MessageId::generate();
    let batch = [
        foreign,
        unknown_channel,
        arrival("other", Inbound::Status(other_channel)),
        arrival("unknown", Inbound::Status(unknown_message)),
    ];
    let changes = decided(&batch, &mut snapshot);
    let reasons: Vec<&str> = changes
        .verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Dead(reason) => reason.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        reasons[0],
        "channel shop does not belong to organization rival"
    );
    assert_eq!(reasons[1], "channel nowhere is not configured");
    assert!(reasons[2].starts_with("status of an unknown message"));
    assert!(reasons[3].starts_with("status of an unknown message"));
    assert!(changes.outgoing.is_empty() && changes.raw.is_empty());
}

#[test]
fn edits_and_deletions() {
    let mut snapshot = with_ada();
    let message = with_message(&mut snapshot, Direction::Inbound, Status::Received);
    let ours = with_message(&mut snapshot, Direction::Outbound, Status::Sent);
    let edit = |of: MessageId| {
        Inbound::Edited(MessageEdited {
            origin: origin("ada"),
            message_id: of,
            content: Content::text("better"),
            extra: Map::new(),
        })
    };
    let delete = Inbound::Deleted(MessageDeleted {
        origin: origin("ada"),
        message_id: message.view.id,
        extra: Map::new(),
    });
    let batch = [
        arrival("1", edit(message.view.id)),
        arrival("1", edit(message.view.id)),
        arrival("2", delete),
        arrival("3", edit(ours.view.id)),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(told(&changes), ["8 message.edited", "9 message.deleted"]);
    assert_eq!(changes.verdicts[1], Verdict::Duplicate);
    assert!(matches!(&changes.verdicts[3], Verdict::Dead(_)));
    assert_eq!(data(&changes, 0, "/message/content/text"), json!("better"));
    let stored = &snapshot.messages[&message.view.id];
    assert_eq!(stored.value.view.content, Content::text("better"));
}

#[test]
fn what_has_no_effect_yet_is_kept_raw() {
    let mut snapshot = empty();
    let typing = Inbound::Typing(ContactTyping {
        origin: origin("ada"),
        extra: Map::new(),
    });
    let changes = decided(&[arrival("t", typing.clone())], &mut snapshot);
    assert_eq!(changes.verdicts, [Verdict::NoEffect]);
    assert_eq!((changes.outgoing.len(), changes.raw.len()), (0, 1));

    let forgetful = Policy {
        raw: KeepRaw::No,
        ..policy()
    };
    let changes = decide(&[arrival("t", typing)], &mut snapshot, &forgetful, now());
    assert!(changes.expect("our events can be written").raw.is_empty());
}

#[test]
fn an_impossible_clock_is_not_believed() {
    let future = now() + TimeDelta::seconds(1);
    for wrong in [future, DateTime::UNIX_EPOCH, DateTime::<Utc>::MAX_UTC] {
        let mut snapshot = empty();
        let mut message = received("ada", "hi");
        if let Inbound::Received(event) = &mut message.inbound {
            event.origin.occurred_at = wrong;
        }
        decided(&[message], &mut snapshot);
        let message = Snapshot::changed(&snapshot.messages, Change::New)[0];
        assert_eq!(message.view.created_at, now());
    }
}
