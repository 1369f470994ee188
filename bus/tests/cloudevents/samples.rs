//! One envelope of every event type, with most fields of its payload set.

use serde_json::{Value, json};
use tributary_bus::{Envelope, EventId, OrganizationId, Payload, message::*};

const ID: &str = "0190b5a0-0000-7000-8000-000000000001";
const TIME: &str = "2026-01-02T03:04:05Z";

fn origin() -> Value {
    json!({
        "channel_id": "shop", "address": "7", "occurred_at": TIME,
        "raw": {"media_type": "application/json", "body": "{}"},
    })
}

fn profile() -> Value {
    json!({
        "name": "Olena", "locale": "uk", "username": "olena",
        "avatar": {"media_id": "ab", "mime": "image/png"},
        "identifiers": [{"kind": "phone", "value": "+380501112233", "verified": true}],
    })
}

fn contact() -> Value {
    let touch = json!({"at": TIME, "payload": "spring"});
    json!({
        "id": ID, "channel_id": "shop", "address": "7", "name": "Olena", "locale": "uk", "username": null,
        "avatar": null, "identifiers": [], "first_touch": touch, "last_touch": touch, "blocked": false,
        "created_at": TIME,
    })
}

fn conversation() -> Value {
    json!({
        "id": ID, "channel_id": "shop", "contact_id": ID, "state": "assigned", "agent_id": ID, "seq": 7,
        "created_at": TIME, "updated_at": TIME,
    })
}

fn message() -> Value {
    json!({
        "id": ID, "conversation_id": ID, "channel_id": "shop", "contact_id": ID, "direction": "outbound",
        "author": {"kind": "agent", "id": ID},
        "content": {"type": "text", "text": "hello", "entities": [{"kind": "bold", "offset": 0, "length": 5}]},
        "status": "failed", "uncertain": false, "failure": {"code": "rejected", "reason": "too long"},
        "degraded": [{"code": "reply_lost", "detail": "the answered message is unknown"}], "reply_to": ID,
        "context": {"quote": "hi"}, "reactions": ["👍"], "edited_at": null, "deleted_at": null, "seq": 7,
        "created_at": TIME,
    })
}

/// What every delivery has, and `more`.
fn delivery(more: Value) -> Value {
    with(
        json!({"conversation_id": ID, "channel_id": "shop", "to": "7", "seq": 7}),
        more,
    )
}

fn with(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

fn wrapped<P: Payload>(data: Value) -> Envelope {
    let payload: P = serde_json::from_value(data).unwrap_or_else(|e| panic!("{}: {e}", P::TYPE));
    Envelope::wrap(
        EventId::generate(),
        "/router".to_owned(),
        OrganizationId::from("acme"),
        Some(ID.to_owned()),
        &payload,
    )
    .expect("JSON")
    .with_sequence(7)
}

macro_rules! samples {
    ($($type:ty: $data:expr),+ $(,)?) => { vec![$(wrapped::<$type>($data)),+] };
}

/// What a connector sends.
fn from_connectors() -> Vec<Envelope> {
    let text = json!({"type": "text", "text": "hello"});
    let about = |more: Value| with(json!({"origin": origin(), "message_id": ID}), more);
    let failure = json!({"code": "unreachable", "reason": "blocked"});
    samples! {
        MessageReceived: about(json!({
            "provider_id": "51", "contact": profile(), "content": text, "reply_to": "50",
            "context": {"sender": profile()}, "sent_by": "account",
        })),
        MessageEdited: about(json!({"content": text})),
        MessageDeleted: about(json!({})),
        MessageReacted: json!({"origin": origin(), "provider_id": "51", "reactions": ["👍"]}),
        MessageStatus: about(json!({
            "status": "sent", "provider_ids": ["51", "52"], "uncertain": true,
            "degraded": [{"code": "text_split", "detail": "2 parts"}],
        })),
        MessageMedia: about(json!({"index": 0, "media": {"state": "ready", "media_id": "ab", "size": 3}})),
        MessageChangeFailed: about(json!({"change": "edit", "failure": failure, "seq": 3})),
        ContactJoined: json!({
            "origin": origin(), "contact": profile(), "reason": "started", "payload": "spring",
            "attribution": {"utm": {"source": "news"}},
        }),
        ContactLeft: json!({"origin": origin(), "reason": "blocked"}),
        ContactTyping: json!({"origin": origin()}),
        ContactRead: json!({"origin": origin(), "up_to": TIME}),
        ChannelHealth: json!({
            "origin": origin(), "state": "misconfigured", "reason": "token rejected by provider (401)",
            "action": "set a new token", "reason_since": TIME,
        }),
    }
}

/// What a connector is asked to do.
fn to_connectors() -> Vec<Envelope> {
    let location = json!({"type": "location", "latitude": 50.45, "longitude": 30.52});
    samples! {
        DeliverySend: delivery(json!({
            "message_id": ID, "content": location, "reply_to": "50", "created_at": TIME, "priority": "bulk",
        })),
        DeliveryEdit: delivery(json!({"message_id": ID, "provider_ids": ["51"], "content": location})),
        DeliveryDelete: delivery(json!({"message_id": ID, "provider_ids": ["51"]})),
        DeliveryReact: delivery(json!({"message_id": ID, "provider_id": "51", "reactions": []})),
        DeliveryTyping: delivery(json!({})),
        DeliveryRead: delivery(json!({"provider_id": "51"})),
    }
}

/// What integrators are told.
fn to_integrators() -> Vec<Envelope> {
    let about = |more: Value| with(json!({"conversation": conversation()}), more);
    let message = || json!({"message": message()});
    samples! {
        ConversationCreated: about(json!({"contact": contact()})),
        ConversationQueued: about(json!({})),
        ConversationAssigned: about(json!({"agent_id": ID, "by": "round_robin"})),
        ConversationStatusChanged: about(json!({"previous": "closed", "reason": "requested"})),
        ConversationUpdated: about(json!({})),
        ConversationSlaBreached: about(json!({"target": "first_response"})),
        MessageCreated: with(message(), json!({"contact": contact()})),
        MessageStatusChanged: with(message(), json!({"previous": "queued"})),
        MessageContentEdited: message(),
        MessageRemoved: message(),
        MessageUpdated: message(),
        MessageReactionsChanged: message(),
        MessageChangeRefused: with(
            message(),
            json!({"change": "delete", "failure": {"code": "rejected", "reason": "too old"}}),
        ),
        ContactCreated: json!({"contact": contact(), "payload": null}),
        ContactChanged: json!({"contact": contact(), "payload": "spring"}),
        ContactBlocked: json!({"contact": contact()}),
        MessageMerged: with(message(), json!({"merged_id": ID})),
        EndpointDisabled: json!({
            "endpoint_id": ID, "url": "https://crm.example.org/hooks", "reason": "endpoint answered 410 for an hour",
        }),
        NoteCreated: json!({"conversation_id": ID, "author": {"kind": "api"}, "text": "call back"}),
        ChannelHealthChanged: json!({
            "channel_id": "shop", "state": "down", "reason": "no answer", "action": null, "since": TIME,
        }),
    }
}

/// One of every type.
pub fn all() -> Vec<Envelope> {
    let mut all = from_connectors();
    all.extend(to_connectors());
    all.extend(to_integrators());
    all
}
