//! A world in values: a channel, Ada, and what can arrive of her.

use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use serde_json::{Map, Value, json};
pub(super) use tributary_bus::{
    Address, ChannelId, ContactId, ConversationId, EventId, MessageId, OrganizationId,
    message::{
        Attribution, Author, ChannelHealth, ContactJoined, ContactLeft, ContactTyping, ContactView,
        Content, ConversationState, ConversationView, Direction, Failure, FailureCode, HealthState,
        Inbound, JoinReason, LeaveReason, MessageContext, MessageDeleted, MessageEdited,
        MessageReceived, MessageStatus, MessageView, Origin, Profile, Raw, SentBy, Status,
    },
};

pub(super) use super::super::*;
pub(super) use crate::model::{Contact, Conversation, Message};

pub const WINDOW: TimeDelta = TimeDelta::hours(24);

pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
}

pub fn policy() -> Policy {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Policy {
        reopen_window: WINDOW,
        lanes: 16,
        raw: KeepRaw::Yes,
        new_id: || Uuid::from_u128(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 64),
    }
}

pub fn shop() -> ChannelId {
    ChannelId::from("shop")
}

pub fn acme() -> OrganizationId {
    OrganizationId::from("acme")
}

pub fn origin(address: &str) -> Origin {
    Origin {
        channel_id: shop(),
        address: Address::from(address),
        occurred_at: now() - TimeDelta::seconds(5),
        event: None,
        raw: Some(Raw {
            media_type: "application/json".to_owned(),
            body: "{}".to_owned(),
        }),
    }
}

pub fn arrival(id: &str, inbound: Inbound) -> Arrival {
    Arrival {
        id: EventId::derived(&["test", id]),
        organization: acme(),
        inbound,
    }
}

pub fn profile(name: &str) -> Profile {
    Profile {
        name: Some(name.to_owned()),
        ..Profile::default()
    }
}

pub fn received(address: &str, text: &str) -> Arrival {
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

pub fn status(of: &Message, status: Status) -> MessageStatus {
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

pub fn joined(id: &str, address: &str, payload: Option<&str>) -> Arrival {
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

pub fn left(id: &str, address: &str) -> Arrival {
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
pub fn empty() -> Snapshot {
    Snapshot {
        channels: [(shop(), acme())].into(),
        ..Snapshot::default()
    }
}

/// A store that knows Ada, with a conversation at place 7 that an agent has.
pub fn with_ada() -> Snapshot {
    let contact = Contact {
        organization: acme(),
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
        assigned_at: None,
        read_up_to: None,
        question: None,
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

pub fn ada(snapshot: &Snapshot) -> Contact {
    snapshot.contacts[&(shop(), Address::from("ada"))]
        .value
        .clone()
}

pub fn conversation_of_ada(snapshot: &mut Snapshot) -> &mut Conversation {
    let id = snapshot.current[&ada(snapshot).view.id];
    &mut snapshot
        .conversations
        .get_mut(&id)
        .expect("current is loaded")
        .value
}

/// Adds a message of Ada's conversation.
pub fn with_message(snapshot: &mut Snapshot, direction: Direction, status: Status) -> Message {
    let conversation = conversation_of_ada(snapshot).view.clone();
    let message = Message {
        organization: acme(),
        provider_ids: Vec::new(),
        reply_to: None,
        sent_at: None,
        undo: Vec::new(),
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
            our_reactions: Vec::new(),
            edited_at: None,
            deleted_at: None,
            seq: 5,
            created_at: now(),
        },
    };
    let entry = Entry::stored(message.clone());
    snapshot.messages.insert(message.view.id, entry);
    let contact = message.view.contact_id;
    snapshot.stored.insert(message.view.id, contact);
    message
}

pub fn decided(batch: &[Arrival], snapshot: &mut Snapshot) -> Changes {
    decide(batch, snapshot, &policy(), now()).expect("our events can be written")
}

/// What is told: the kind and the place of each event.
pub fn told(changes: &Changes) -> Vec<String> {
    let outgoing = changes.outgoing.iter();
    outgoing
        .map(|o| {
            let place = o
                .envelope
                .place()
                .map_or("-".to_owned(), |place| place.to_string());
            format!("{place} {}", o.envelope.kind.trim_end_matches(".v1"))
        })
        .collect()
}

pub fn data(changes: &Changes, at: usize, pointer: &str) -> Value {
    let data = changes.outgoing[at].envelope.data.to_value();
    data.pointer(pointer)
        .cloned()
        .unwrap_or_else(|| panic!("{pointer} is missing"))
}
