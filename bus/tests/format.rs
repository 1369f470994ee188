//! What travels survives: nothing that a later version adds is dropped on the way through this one.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tributary_bus::{
    Envelope, EnvelopeError, EventId, OrganizationId,
    message::{Content, DeliverySend, Inbound, MessageReceived},
};
use uuid::Uuid;

/// Any JSON, within reason.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Fields that no version of ours has.
fn unknown_fields() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("x[a-z]{1,8}", any_json(), 0..5)
        .prop_map(|map| map.into_iter().collect())
}

fn any_time() -> impl Strategy<Value = DateTime<Utc>> {
    (0_i64..4_000_000_000_000)
        .prop_map(|millis| DateTime::from_timestamp_millis(millis).expect("in range"))
}

fn any_envelope() -> impl Strategy<Value = Envelope> {
    (
        (any::<u128>(), ".{0,20}", "[a-z]{1,8}\\.[a-z]{1,8}\\.v[0-9]"),
        (prop::option::of(".{0,12}"), any_time(), "[a-z0-9-]{1,12}"),
        (
            prop::option::of(any::<i64>()),
            prop::option::of("[0-9a-f-]{55}"),
        ),
        (any_json(), unknown_fields()),
    )
        .prop_map(|(names, about, places, (data, extensions))| Envelope {
            specversion: "1.0".to_owned(),
            id: EventId(Uuid::from_u128(names.0)),
            source: names.1,
            dataschema: format!("{}.json", names.2),
            kind: names.2,
            subject: about.0,
            time: about.1,
            datacontenttype: "application/json".to_owned(),
            orgid: OrganizationId(about.2),
            sequence: places.0.map(|sequence| sequence.to_string()),
            traceparent: places.1,
            data: data.into(),
            extensions,
        })
}

/// A received message as JSON, with room for what is unknown in each place.
fn received(content: &Value, data: &Map<String, Value>, contact: &Map<String, Value>) -> Value {
    let mut profile = contact.clone();
    profile.insert("name".to_owned(), "Olena".into());
    let mut message = data.clone();
    let known = json!({
        "origin": { "channel_id": "shop", "address": "7", "occurred_at": "2026-01-02T03:04:05Z" },
        "message_id": "0190b5a0-0000-7000-8000-000000000001",
        "provider_id": "51",
        "contact": profile,
        "content": content,
    });
    message.extend(known.as_object().cloned().unwrap_or_default());
    Value::Object(message)
}

proptest! {
    #[test]
    fn envelopes_round_trip(envelope in any_envelope()) {
        let bytes = envelope.to_bytes().expect("JSON");
        let read = Envelope::parse(&bytes).expect("an envelope");
        prop_assert_eq!(&read, &envelope);
        prop_assert_eq!(read.to_bytes().expect("JSON"), bytes);
    }

    #[test]
    fn unknown_fields_of_a_payload_survive(
        data in unknown_fields(),
        contact in unknown_fields(),
        text in unknown_fields(),
    ) {
        let mut content = text;
        content.insert("type".to_owned(), "text".into());
        content.insert("text".to_owned(), "hello".into());
        let sent = received(&Value::Object(content), &data, &contact);
        let read: MessageReceived = serde_json::from_value(sent.clone()).expect("fits");
        prop_assert!(matches!(read.content, Content::Text(_)));
        prop_assert_eq!(serde_json::to_value(&read).expect("JSON"), sent);
    }

    #[test]
    fn unknown_content_survives(fields in unknown_fields(), name in "y[a-z]{1,8}") {
        let mut content = fields;
        content.insert("type".to_owned(), name.into());
        let sent = received(&Value::Object(content), &Map::new(), &Map::new());
        let read: MessageReceived = serde_json::from_value(sent.clone()).expect("fits");
        prop_assert!(matches!(read.content, Content::Other(_)));
        prop_assert_eq!(serde_json::to_value(&read).expect("JSON"), sent);
    }

    #[test]
    fn nothing_that_comes_in_makes_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Envelope::parse(&bytes).is_err());
    }

    #[test]
    fn errors_name_no_values(secret in "secret[a-z]{8}") {
        let envelope = json!({
            "specversion": "1.0",
            "id": secret, "source": "/test", "type": "message.received.v1",
            "time": "2026-01-02T03:04:05Z", "datacontenttype": "application/json",
            "dataschema": "message.received.v1.json", "orgid": "acme", "data": {},
        });
        let error = Envelope::parse(envelope.to_string().as_bytes()).expect_err("no UUID");
        prop_assert!(!error.to_string().contains("secret"), "{}", error);
        let data = json!({ "origin": secret });
        let mut whole = envelope;
        whole["id"] = "0190b5a0-0000-7000-8000-000000000001".into();
        whole["data"] = data;
        let read = Envelope::parse(whole.to_string().as_bytes()).expect("an envelope");
        let error = Inbound::from_envelope(&read).expect_err("not an origin");
        prop_assert!(!error.to_string().contains("secret"), "{}", error);
    }
}

#[test]
fn another_version_is_unknown() {
    let data = received(
        &json!({"type": "text", "text": "hello"}),
        &Map::new(),
        &Map::new(),
    );
    let payload: MessageReceived = serde_json::from_value(data).expect("fits");
    let mut envelope = Envelope::wrap(
        EventId::generate(),
        "/channels/shop".to_owned(),
        OrganizationId::from("acme"),
        None,
        &payload,
    )
    .expect("JSON");
    assert!(Inbound::from_envelope(&envelope).is_ok());
    assert!(matches!(
        envelope.payload::<DeliverySend>(),
        Err(EnvelopeError::UnknownType(kind)) if kind == "message.received.v1"
    ));
    envelope.kind = "message.received.v2".to_owned();
    assert!(matches!(
        Inbound::from_envelope(&envelope),
        Err(EnvelopeError::UnknownType(kind)) if kind == "message.received.v2"
    ));
    envelope.specversion = "0.3".to_owned();
    let bytes = envelope.to_bytes().expect("JSON");
    assert!(matches!(
        Envelope::parse(&bytes),
        Err(EnvelopeError::Malformed(_))
    ));
}
