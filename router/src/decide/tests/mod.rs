//! Tables of decisions: what comes in, what is told, what is written.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use tributary_bus::{
    Address, ChannelId, ContactId, ConversationId, EventId, MessageId, OrganizationId,
    message::{
        Attribution, Author, ChannelHealth, ContactJoined, ContactLeft, ContactTyping, ContactView,
        Content, ConversationState, ConversationView, Direction, Failure, FailureCode, HealthState,
        Inbound, JoinReason, LeaveReason, MessageContext, MessageDeleted, MessageEdited,
        MessageReceived, MessageStatus, MessageView, Origin, Profile, Raw, SentBy, Status,
    },
};

use super::*;
use crate::model::{Contact, Conversation, Message};

const WINDOW: TimeDelta = TimeDelta::hours(24);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

fn policy() -> Policy {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Policy {
        reopen_window: WINDOW,
        lanes: 16,
        raw: KeepRaw::Yes,
        new_id: || Uuid::from_u128(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 64),
    }
}

fn shop() -> ChannelId {
    ChannelId::from("shop")
}

fn acme() -> OrganizationId {
    OrganizationId::from("acme")
}

fn origin(address: &str) -> Origin {
    Origin {
        channel_id: shop(),
        address: Address::from(address),
        occurred_at: now() - TimeDelta::seconds(5),
        raw: Some(Raw {
            media_type: "application/json".to_owned(),
            body: "{}".to_owned(),
        }),
    }
}

fn arrival(id: &str, inbound: Inbound) -> Arrival {
    Arrival {
        id: EventId::derived(&["test", id]),
        organization: acme(),
        inbound,
    }
}

fn profile(name: &str) -> Profile {
    Profile {
        name: Some(name.to_owned()),
        ..Profile::default()
    }
}

fn received(address: &str, text: &str) -> Arrival {
    let message_id = MessageId::derived(&shop(), &format!("{address}:{text}"));
    arrival(
        text,
        Inbound::Received(Box::new(MessageReceived {
            origin: origin(address),
            message_id,
            provider_id: format!("p-{text}"),
            contact: profile("Ada"),
            content: Content::text(text),
            reply_to: None,
            sent_by: SentBy::Contact,
            context: MessageContext::default(),
            replayed: false,
            extra: Map::new(),
        })),
    )
}

fn status(of: &Message, status: Status) -> MessageStatus {
    MessageStatus {
        origin: origin("ada"),
        message_id: of.view.id,
        status,
        provider_ids: Vec::new(),
        failure: None,
        uncertain: false,
        degraded: Vec::new(),
        extra: Map::new(),
    }
}

fn joined(id: &str, address: &str, payload: Option<&str>) -> Arrival {
    arrival(
        id,
        Inbound::Joined(Box::new(ContactJoined {
            origin: origin(address),
            contact: profile("Ada"),
            reason: JoinReason::Started,
            payload: payload.map(str::to_owned),
            attribution: Attribution::default(),
            extra: Map::new(),
        })),
    )
}

fn left(id: &str, address: &str) -> Arrival {
    arrival(
        id,
        Inbound::Left(ContactLeft {
            origin: origin(address),
            reason: LeaveReason::Blocked,
            extra: Map::new(),
        }),
    )
}

/// A store that knows the channel and nobody.
fn empty() -> Snapshot {
    Snapshot {
        channels: [(shop(), acme())].into(),
        ..Snapshot::default()
    }
}

/// A store that knows Ada, with a conversation at place 7 that an agent has.
fn with_ada() -> Snapshot {
    let contact = Contact {
        organization: acme(),
        username: None,
        view: ContactView {
            id: ContactId::generate(),
            channel_id: shop(),
            address: Address::from("ada"),
            name: Some("Ada".to_owned()),
            locale: None,
            username: None,
            avatar: None,
            identifiers: Vec::new(),
            first_touch: None,
            last_touch: None,
            blocked: false,
            created_at: now() - TimeDelta::days(3),
        },
    };
    let conversation = Conversation {
        organization: acme(),
        shard: 9,
        waiting_since: None,
        queued: false,
        closed_at: None,
        view: ConversationView {
            id: ConversationId::generate(),
            channel_id: shop(),
            contact_id: contact.view.id,
            state: ConversationState::Assigned,
            agent_id: Some(tributary_bus::AgentId::generate()),
            seq: 7,
            created_at: now() - TimeDelta::days(3),
            updated_at: now() - TimeDelta::days(2),
        },
    };
    let mut snapshot = empty();
    let id = conversation.view.id;
    snapshot.current.insert(contact.view.id, id);
    snapshot
        .conversations
        .insert(id, Entry::stored(conversation));
    let key = (shop(), Address::from("ada"));
    snapshot.contacts.insert(key, Entry::stored(contact));
    snapshot
}

fn ada(snapshot: &Snapshot) -> Contact {
    snapshot.contacts[&(shop(), Address::from("ada"))]
        .value
        .clone()
}

fn conversation_of_ada(snapshot: &mut Snapshot) -> &mut Conversation {
    let id = snapshot.current[&ada(snapshot).view.id];
    &mut snapshot
        .conversations
        .get_mut(&id)
        .expect("current is loaded")
        .value
}

/// Adds a message of Ada's conversation.
fn with_message(snapshot: &mut Snapshot, direction: Direction, status: Status) -> Message {
    let conversation = conversation_of_ada(snapshot).view.clone();
    let message = Message {
        organization: acme(),
        provider_id: None,
        reply_to: None,
        view: MessageView {
            id: MessageId::generate(),
            conversation_id: conversation.id,
            channel_id: shop(),
            contact_id: conversation.contact_id,
            direction,
            author: Author::Api,
            content: Content::text("hello"),
            status,
            uncertain: false,
            failure: None,
            degraded: Vec::new(),
            reply_to: None,
            context: MessageContext::default(),
            reactions: Vec::new(),
            edited_at: None,
            deleted_at: None,
            seq: 5,
            created_at: now(),
        },
    };
    let entry = Entry::stored(message.clone());
    snapshot.messages.insert(message.view.id, entry);
    message
}

fn decided(batch: &[Arrival], snapshot: &mut Snapshot) -> Changes {
    decide(batch, snapshot, &policy(), now()).expect("our events can be written")
}

/// What is told: the kind and the place of each event.
fn told(changes: &Changes) -> Vec<String> {
    let outgoing = changes.outgoing.iter();
    outgoing
        .map(|o| {
            let place = o.envelope.sequence.as_deref().unwrap_or("-");
            format!("{place} {}", o.envelope.kind.trim_end_matches(".v1"))
        })
        .collect()
}

fn data(changes: &Changes, at: usize, pointer: &str) -> Value {
    let data = &changes.outgoing[at].envelope.data;
    data.pointer(pointer)
        .cloned()
        .unwrap_or_else(|| panic!("{pointer} is missing"))
}

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
    assert_eq!(message.provider_id.as_deref(), Some("p-hi"));
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
        snapshot.stored.insert(event.message_id);
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
    assert_eq!(stored.provider_id.as_deref(), Some("51"));
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
fn joining_tells_once_with_its_payload() {
    let mut snapshot = empty();
    let batch = [
        joined("a", "ada", Some("spring-sale")),
        joined("a", "ada", Some("spring-sale")),
        joined("b", "ada", None),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        changes.verdicts,
        [Verdict::Taken, Verdict::Duplicate, Verdict::Taken]
    );
    assert_eq!(told(&changes), ["- contact.created", "- contact.updated"]);
    assert_eq!(data(&changes, 0, "/payload"), json!("spring-sale"));
    assert_eq!(
        changes.outgoing[0].envelope.subject,
        Some(ada(&snapshot).view.id.to_string())
    );
    assert!(snapshot.conversations.is_empty());
    assert_eq!(changes.seen.len(), 2);
}

#[test]
fn leaving_blocks_once_and_writing_unblocks() {
    let mut snapshot = with_ada();
    let batch = [
        left("a", "ada"),
        left("b", "ada"),
        received("ada", "back"),
        left("a", "ada"),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        changes.verdicts,
        [
            Verdict::Taken,
            Verdict::NoEffect,
            Verdict::Taken,
            Verdict::Duplicate
        ]
    );
    assert_eq!(
        told(&changes),
        [
            "8 contact.blocked",
            "9 contact.updated",
            "10 message.created"
        ]
    );
    assert_eq!(data(&changes, 0, "/contact/blocked"), json!(true));
    assert_eq!(data(&changes, 1, "/contact/blocked"), json!(false));
    assert!(!ada(&snapshot).view.blocked);
}

#[test]
fn somebody_unknown_can_leave() {
    let mut snapshot = empty();
    let changes = decided(&[left("a", "eve")], &mut snapshot);
    assert_eq!(told(&changes), ["- contact.created", "- contact.blocked"]);
    let eve = &snapshot.contacts[&(shop(), Address::from("eve"))];
    assert!(eve.change == Change::New && eve.value.view.blocked);
}

#[test]
fn a_profile_is_completed_never_emptied() {
    let mut snapshot = with_ada();
    let mut hello = received("ada", "hello");
    if let Inbound::Received(event) = &mut hello.inbound {
        event.contact = Profile {
            locale: Some("uk".to_owned()),
            username: Some("ada".to_owned()),
            ..Profile::default()
        };
    }
    let changes = decided(&[hello], &mut snapshot);
    assert_eq!(told(&changes), ["8 contact.updated", "9 message.created"]);
    let ada = ada(&snapshot);
    assert_eq!(ada.view.name.as_deref(), Some("Ada"));
    assert_eq!(ada.view.locale.as_deref(), Some("uk"));
    assert_eq!(ada.username.as_deref(), Some("ada"));
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
fn health_is_told_of_the_channel() {
    let mut snapshot = empty();
    let health = Inbound::Health(ChannelHealth {
        origin: origin(""),
        state: HealthState::Misconfigured,
        action: None,
        reason: "token rejected".to_owned(),
        extra: Map::new(),
    });
    let batch = [arrival("h", health.clone()), arrival("h", health)];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(told(&changes), ["- channel.health_changed"]);
    assert_eq!(
        changes.outgoing[0].envelope.subject.as_deref(),
        Some("shop")
    );
    assert!(snapshot.contacts.is_empty());
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
