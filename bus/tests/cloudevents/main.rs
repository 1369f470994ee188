//! Every event of ours is a CloudEvents 1.0 document, and its data fits the schema that `dataschema` names.

mod samples;

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::{Value, json};
use tributary_bus::{Envelope, message, schema_uri};

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .expect("a JSON Schema")
}

fn as_json(envelope: &Envelope) -> Value {
    serde_json::to_value(envelope).expect("JSON")
}

fn faults(validator: &Validator, document: &Value) -> Vec<String> {
    let faults = validator.iter_errors(document);
    faults
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect()
}

fn cloudevents() -> Validator {
    validator(&serde_json::from_str(include_str!("cloudevents.json")).expect("JSON"))
}

#[test]
fn every_type_has_a_sample() {
    let sampled: BTreeSet<String> = samples::all().into_iter().map(|event| event.kind).collect();
    let known: BTreeSet<String> = message::schemas()
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(sampled, known);
}

#[test]
fn every_event_is_a_cloudevents_document() {
    let base = "https://api.example.org/tributary/".parse().expect("a URL");
    let (standard, own) = (
        cloudevents(),
        validator(&json!(schemars::schema_for!(Envelope))),
    );
    for event in samples::all() {
        for shown in [
            event.clone(),
            event.clone().for_integrators(None),
            event.clone().for_integrators(Some(&base)),
        ] {
            let document = as_json(&shown);
            assert_eq!(faults(&standard, &document), [""; 0], "{document}");
            assert_eq!(faults(&own, &document), [""; 0], "{document}");
        }
    }
}

#[test]
fn data_fits_the_schema_that_dataschema_names() {
    let schemas: BTreeMap<String, Value> = message::schemas()
        .into_iter()
        .map(|(_, schema)| {
            let schema = schema.to_value();
            (schema["$id"].as_str().expect("an id").to_owned(), schema)
        })
        .collect();
    for event in samples::all() {
        let schema = schemas.get(&event.dataschema).expect("a known schema");
        let data = event.data.to_value();
        assert_eq!(faults(&validator(schema), &data), [""; 0], "{}", event.kind);
    }
}

#[test]
fn places_are_in_order_as_texts() {
    let sample = samples::all().remove(0);
    let place = |n: i64| sample.clone().with_sequence(n).sequence.expect("set");
    for (lower, higher) in [(0, 1), (9, 10), (99, 100), (1, i64::MAX)] {
        assert!(place(lower) < place(higher), "{lower} and {higher}");
    }
    assert_eq!(place(42).parse(), Ok(42_i64));
}

/// What an earlier version wrote waits in lanes and in the table of events.
#[test]
fn what_an_earlier_version_wrote_is_read_and_completed() {
    let mut old = as_json(&samples::all().remove(0));
    old["dataschema"] = "message.received.v1.json".into();
    old["sequence"] = "42".into();
    let read = Envelope::parse(old.to_string().as_bytes()).expect("an envelope");
    assert!(message::Inbound::from_envelope(&read).is_ok());
    assert_eq!(as_json(&read), old, "it travels as it came");
    assert_eq!(
        faults(&cloudevents(), &old).len(),
        2,
        "not quite CloudEvents"
    );
    let base = "https://api.example.org".parse().expect("a URL");
    let shown = read.for_integrators(Some(&base));
    assert_eq!(shown.dataschema, schema_uri("message.received.v1"));
    assert_eq!(shown.sequence.as_deref(), Some("0000000000000000042"));
    assert_eq!(shown.source, "https://api.example.org/router");
    assert_eq!(faults(&cloudevents(), &as_json(&shown)), [""; 0]);
    assert_eq!(shown.clone().for_integrators(Some(&base)), shown);
}

/// A sequence of another making is not touched.
#[test]
fn what_is_no_number_stays() {
    let mut odd = samples::all().remove(0);
    odd.sequence = Some("7a".to_owned());
    odd.source = "https://elsewhere.example/x".to_owned();
    let base = "https://api.example.org".parse().expect("a URL");
    let shown = odd.clone().for_integrators(Some(&base));
    assert_eq!((shown.sequence, shown.source), (odd.sequence, odd.source));
}
