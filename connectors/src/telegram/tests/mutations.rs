//! What nobody would send.

use std::sync::LazyLock;

use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use serde_json::{Value, json};

use super::{
    super::{
        config::Listen,
        inbound::{Translated, to_events},
    },
    fixtures, now, reader, shown,
};

static FIXTURES: LazyLock<Vec<String>> =
    LazyLock::new(|| fixtures("updates").into_values().collect());

/// A hundred thousand where there is time for it: `CI` is set there.
fn cases() -> u32 {
    match std::env::var_os("CI") {
        Some(_) => 100_000,
        None => 4_000,
    }
}

/// One change somewhere in a document.
#[derive(Debug, Clone)]
struct Mutation {
    /// Chooses the place.
    place: usize,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    Remove,
    Replace(Value),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let value = prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"id": null, "type": 5, "text": []})),
        Just(json!([[["x"]], 7])),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!("/start  \u{0} 😀")),
        "\\PC{0,40}".prop_map(Value::from),
    ];
    let change = prop_oneof![
        1 => Just(Change::Remove),
        3 => value.prop_map(Change::Replace),
    ];
    let mutation = (any::<usize>(), change).prop_map(|(place, change)| Mutation { place, change });
    prop::collection::vec(mutation, 1..5)
}

/// JSON pointers to everything in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let path = format!("{at}/{key}");
                places(inner, &path, found);
                found.push(path);
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                let path = format!("{at}/{index}");
                places(inner, &path, found);
                found.push(path);
            }
        }
        _ => {}
    }
}

fn mutate(document: &mut Value, mutation: &Mutation) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    if found.is_empty() {
        return;
    }
    let place = &found[mutation.place % found.len()];
    match &mutation.change {
        Change::Replace(value) => {
            if let Some(target) = document.pointer_mut(place) {
                *target = value.clone();
            }
        }
        Change::Remove => {
            let (parent, key) = place.rsplit_once('/').unwrap_or(("", place));
            match document.pointer_mut(parent) {
                Some(Value::Object(map)) => {
                    map.remove(key);
                }
                Some(Value::Array(list)) => list.clear(),
                _ => {}
            }
        }
    }
}

/// Never a panic, never silence without a count, and always something that can travel.
fn whatever_comes(shard: u64) {
    let config = ProptestConfig {
        cases: cases() / SHARDS,
        rng_seed: RngSeed::Fixed(shard),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cut = any::<Option<u16>>();
    let input = (any::<usize>(), any::<bool>(), mutations(), cut);
    TestRunner::new(config)
        .run(&input, |(which, listens, changes, cut)| {
            let all = &*FIXTURES;
            let mut document: Value = serde_json::from_str(&all[which % all.len()]).expect("JSON");
            for change in &changes {
                mutate(&mut document, change);
            }
            let mut raw = document.to_string();
            if let Some(cut) = cut.filter(|cut| cut % 8 == 0) {
                let end = raw.floor_char_boundary(usize::from(cut) % (raw.len() + 1));
                raw.truncate(end);
            }
            let listen = if listens { Listen::On } else { Listen::Ignore };
            something_is_told(&raw, listen)
        })
        .expect("something is told");
}

fn something_is_told(raw: &str, listen: Listen) -> Result<(), TestCaseError> {
    let Translated {
        events, ignored, ..
    } = to_events(&reader(listen), raw, now());
    // What we sent ourselves is the one thing that leaves no trace at all.
    prop_assert!(!events.is_empty() || ignored.is_some() || raw.contains("sender_business_bot"));
    prop_assert!(events.is_empty() || ignored.is_none(), "told and ignored");
    if listen == Listen::Ignore {
        for event in &events {
            let address = event.origin().address.as_str();
            let chat = address.rsplit('/').next().unwrap_or_default();
            prop_assert!(
                !chat.starts_with('-') || address.contains('/'),
                "a conversation with a group: {}",
                address
            );
        }
    }
    for event in &events {
        prop_assert!(!event.origin().address.as_str().is_empty());
        shown(event);
    }
    let again = to_events(&reader(listen), raw, now()).events;
    prop_assert_eq!(again, events, "the same every time");
    Ok(())
}

/// The runner runs tests, not cases, at the same time.
const SHARDS: u32 = 4;

#[test]
fn whatever_comes_something_is_told_1() {
    whatever_comes(1);
}

#[test]
fn whatever_comes_something_is_told_2() {
    whatever_comes(2);
}

#[test]
fn whatever_comes_something_is_told_3() {
    whatever_comes(3);
}

#[test]
fn whatever_comes_something_is_told_4() {
    whatever_comes(4);
}
