//! What nobody would send.

use proptest::prelude::*;
use serde_json::{Value, json};
use tributary_bus::{Envelope, EventId, OrganizationId, message::Inbound};

use super::{super::inbound::to_receipts, fixtures, now, reader};

/// Whether the router can read what was published.
fn travels(event: &Inbound) -> bool {
    fn read<P: tributary_bus::Payload + PartialEq>(payload: &P) -> bool {
        let organization = OrganizationId::from("acme");
        let id = EventId::derived(&["test"]);
        let wrapped = Envelope::wrap(id, "/x".to_owned(), organization, None, payload);
        let json = serde_json::to_string(&wrapped.expect("an envelope")).expect("JSON");
        let envelope: Envelope = serde_json::from_str(&json).expect("an envelope");
        Inbound::from_envelope(&envelope).is_ok()
    }
    match event {
        Inbound::Received(event) => read(event.as_ref()),
        Inbound::Edited(event) => read(event),
        Inbound::Deleted(event) => read(event),
        Inbound::Reacted(event) => read(event),
        Inbound::Joined(event) => read(event.as_ref()),
        Inbound::Left(event) => read(event),
        Inbound::Typing(event) => read(event),
        Inbound::Read(event) => read(event),
        Inbound::Status(_) | Inbound::Media(_) | Inbound::ChangeFailed(_) | Inbound::Health(_) => {
            false
        }
    }
}

/// A fixture with some of its bytes changed.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let bodies: Vec<String> = ["messages", "statuses", "refused"]
        .into_iter()
        .flat_map(|folder| fixtures(folder).into_values())
        .collect();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (
        prop::sample::select(bodies),
        changes,
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(body, changes, end, cut)| {
            let mut bytes = body.into_bytes();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        })
}

/// Any JSON in the place of any field.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_requests_never_panic(body in mutated()) {
        drop(to_receipts(&body, now()));
        for event in reader().to_events(&body).unwrap_or_default() {
            prop_assert!(travels(&event), "{event:?}");
        }
    }

    #[test]
    fn any_field_may_be_anything(
        field in prop::sample::select(vec!["id", "type", "from", "at", "content", "reply_to", "attribution", "sent_by", "extra"]),
        value in any_json(),
    ) {
        let mut event = json!({
            "id": "1", "type": "message", "from": {"address": "7"}, "at": "2026-03-01T10:00:00Z",
            "content": {"type": "text", "text": "hi"},
        });
        event[field] = value;
        if let Ok(event) = reader().to_event(&event.to_string()) {
            prop_assert!(travels(&event), "{event:?}");
        }
    }
}
