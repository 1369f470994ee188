//! Unknown fields of what is told apart by a tag: reading such a value drops fields that its variant does not have, and what a
//! request says must not be dropped silently.

use serde_json::{Map, Value};

use super::parts::within;
use crate::api::problem::Problem;

/// Refuses unknown fields of entities and of actions, wherever they are in a content.
pub(super) fn known_fields(fields: &Map<String, Value>, at: &str) -> Result<(), Problem> {
    for (member, value) in fields {
        let at = within(at, member);
        match (member.as_str(), value) {
            // Names in it are the sender's.
            ("parameters", _) => {}
            ("entities", Value::Array(entities)) => each(entities, &at, |entity, at| {
                let more: &[&str] = match entity["kind"].as_str() {
                    Some("link") => &["url"],
                    Some("pre") => &["language"],
                    _ => &[],
                };
                only(entity, &["offset", "length", "kind"], more, at)
            })?,
            ("action", action) => {
                let more: &[&str] = match action["do"].as_str() {
                    Some("url") => &["url"],
                    Some("call") => &["phone"],
                    _ => &[],
                };
                only(action, &["do"], more, &at)?;
            }
            (_, Value::Object(inner)) => known_fields(inner, &at)?,
            (_, Value::Array(items)) => each(items, &at, |item, at| match item {
                Value::Object(inner) => known_fields(inner, at),
                _ => Ok(()),
            })?,
            _ => {}
        }
    }
    Ok(())
}

fn each(
    items: &[Value],
    at: &str,
    check: impl Fn(&Value, &str) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut items = items.iter().enumerate();
    items.try_for_each(|(n, item)| check(item, &format!("{at}[{n}]")))
}

fn only(value: &Value, known: &[&str], more: &[&str], at: &str) -> Result<(), Problem> {
    let mut names = value.as_object().into_iter().flat_map(Map::keys);
    match names.find(|name| !known.contains(&name.as_str()) && !more.contains(&name.as_str())) {
        Some(unknown) => Err(Problem::field(&within(at, unknown), "unknown field")),
        None => Ok(()),
    }
}
