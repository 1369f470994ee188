//! What nobody would send: seeded mutations of fixtures.

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// Nests deeper than any parser should follow.
const DEEP: usize = 20_000;

/// The mutant of this number: always the same.
pub fn mutant(fixtures: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(number);
    let fixture = &fixtures[random.random_range(0..fixtures.len())];
    let mut body = fixture.clone();
    // Most stay JSON, so that they come past the parser.
    if random.random_range(0..10) < 7
        && let Ok(mut document) = serde_json::from_slice::<Value>(&body)
    {
        for _ in 0..random.random_range(1..4) {
            reshape(&mut document, &mut random);
        }
        body = document.to_string().into_bytes();
        if random.random_range(0..4) == 0 {
            repeat_key(&mut body, &mut random);
        }
        if random.random_range(0..6) != 0 {
            return body;
        }
    }
    for _ in 0..random.random_range(1..4) {
        scratch(&mut body, fixtures, &mut random);
    }
    body
}

/// Changes a document and leaves it a document.
fn reshape(document: &mut Value, random: &mut StdRng) {
    let mut places = Vec::new();
    collect(document, "", &mut places);
    if places.is_empty() {
        *document = value(random);
        return;
    }
    let place = &places[random.random_range(0..places.len())];
    if random.random_range(0..4) == 0 {
        let (parent, key) = place.rsplit_once('/').unwrap_or(("", place));
        match document.pointer_mut(parent) {
            Some(Value::Object(fields)) => {
                fields.remove(key);
            }
            Some(Value::Array(items)) => items.clear(),
            _ => {}
        }
    } else if let Some(target) = document.pointer_mut(place) {
        *target = value(random);
    }
}

/// JSON pointers to everything in a document. Keys of fixtures need no escaping.
fn collect(value: &Value, at: &str, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let place = format!("{at}/{key}");
                collect(inner, &place, places);
                places.push(place);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let place = format!("{at}/{index}");
                collect(inner, &place, places);
                places.push(place);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Of another type, or too large, or not what a reader expects.
fn value(random: &mut StdRng) -> Value {
    match random.random_range(0..16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!([]),
        3 => json!({}),
        4 => json!(random.random::<i64>()),
        5 => json!(random.random::<u64>()),
        6 => json!(f64::MAX),
        7 => json!(-1),
        8 => json!(""),
        9 => json!("\u{0}\u{feff}\u{202e}😀\u{fffd}"),
        10 => json!("x".repeat(random.random_range(1..5_000))),
        11 => json!("9".repeat(40)),
        12 => json!({"id": null, "type": 5, "text": []}),
        13 => json!([[["x"]], 7, {"t": "send"}]),
        14 => json!(0.1),
        _ => nested(random.random_range(1..100)),
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, level| {
        if level % 2 == 0 {
            json!([inner])
        } else {
            json!({ "text": inner })
        }
    })
}

/// Writes a field once more, with another value: which one counts is not defined by JSON (RFC 8259 section 4).
fn repeat_key(body: &mut Vec<u8>, random: &mut StdRng) {
    let quotes: Vec<usize> = (0..body.len().saturating_sub(1))
        .filter(|at| matches!(body[*at], b'{' | b',') && body[*at + 1] == b'"')
        .collect();
    if quotes.is_empty() {
        return;
    }
    let at = quotes[random.random_range(0..quotes.len())] + 1;
    let Some(length) = body[at + 1..].iter().position(|byte| *byte == b'"') else {
        return;
    };
    let mut field = body[at..at + length + 2].to_vec();
    field.push(b':');
    field.extend(value(random).to_string().into_bytes());
    field.push(b',');
    body.splice(at..at, field);
}

/// Changes bytes, whatever comes of it.
fn scratch(body: &mut Vec<u8>, fixtures: &[Vec<u8>], random: &mut StdRng) {
    let at = random.random_range(0..=body.len());
    match random.random_range(0..10) {
        0 => body.truncate(at),
        1 => {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        2 => {
            let mut noise = vec![0; random.random_range(1..16)];
            random.fill_bytes(&mut noise);
            body.splice(at..at, noise);
        }
        3 => drop(body.splice(at..at, [0xc3, 0x28, 0xed, 0xa0, 0x80])),
        4 => drop(body.splice(at..at, *br#""\ud800""#)),
        5 => drop(body.splice(at..at, *b"1e999999999")),
        6 => drop(body.splice(at..at, *b"123456789012345678901234567890")),
        7 => {
            let depth = random.random_range(1..DEEP);
            body.splice(at..at, vec![b'['; depth]);
        }
        8 => {
            let other = &fixtures[random.random_range(0..fixtures.len())];
            let from = random.random_range(0..=other.len());
            body.truncate(at);
            body.extend_from_slice(&other[from..]);
        }
        _ => {
            let end = random.random_range(at..=body.len());
            body.drain(at..end);
        }
    }
}
