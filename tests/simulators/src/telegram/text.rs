//! Formatted text in arguments: `parse_mode`, or explicit entities.

use serde_json::{Map, Value};

use super::answer::ApiError;
use super::detect::detect;
use super::html;
use super::markdown;
use super::params::Params;

/// Of one message; further ones are ignored (seen, not documented).
const MAX_ENTITIES: usize = 100;

/// Text as it will be shown, and its entities.
pub(super) struct Formatted {
    pub text: String,
    pub entities: Vec<Value>,
}

/// Reads the text argument `name`, whose explicit entities would be in `entities_name`. Space around the text is removed,
/// as the provider does, and entities move along.
pub(super) fn formatted(
    params: &Params,
    name: &str,
    entities_name: &str,
) -> Result<Formatted, ApiError> {
    let given = params.get(name).unwrap_or_default();
    let mode = params
        .get("parse_mode")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let (text, entities) = match mode.as_str() {
        "" | "none" => (given.to_owned(), explicit(params, entities_name)?),
        "html" => html::parse(given).map_err(unreadable)?,
        "markdownv2" => markdown::parse(given).map_err(unreadable)?,
        "markdown" => {
            return Err(ApiError::bad_request(
                "the simulator does not read the old Markdown",
            ));
        }
        _ => return Err(ApiError::bad_request("unsupported parse_mode")),
    };
    let mut formatted = trimmed(&text, entities);
    let found = detect(&formatted.text, &formatted.entities);
    formatted.entities.extend(found);
    // Outer before inner, as the provider lists them.
    formatted.entities.sort_by_key(|entity| {
        let number = |name: &str| entity[name].as_i64().unwrap_or_default();
        (number("offset"), -number("length"))
    });
    formatted.entities.truncate(MAX_ENTITIES);
    Ok(formatted)
}

fn unreadable(reason: String) -> ApiError {
    ApiError::bad_request(&format!("can't parse entities: {reason}"))
}

fn explicit(params: &Params, name: &str) -> Result<Vec<Value>, ApiError> {
    let Some(given) = params.get(name) else {
        return Ok(Vec::new());
    };
    match serde_json::from_str(given) {
        Ok(Value::Array(entities)) if entities.iter().all(is_entity) => Ok(entities),
        _ => Err(ApiError::bad_request("can't parse entities JSON object")),
    }
}

fn is_entity(entity: &Value) -> bool {
    entity["type"].is_string() && entity["offset"].is_u64() && entity["length"].is_u64()
}

fn trimmed(text: &str, entities: Vec<Value>) -> Formatted {
    let start = text.len() - text.trim_start().len();
    let before = units(&text[..start]);
    let text = text.trim();
    let end = units(text);
    let moved = entities.into_iter().filter_map(|entity| match entity {
        Value::Object(fields) => moved(fields, before, end),
        _ => None,
    });
    Formatted {
        text: text.to_owned(),
        entities: moved.collect(),
    }
}

/// The entity within what is left of the text; none if nothing of it is.
fn moved(mut fields: Map<String, Value>, before: u64, end: u64) -> Option<Value> {
    let offset = fields.get("offset")?.as_u64()?;
    let stop = offset.saturating_add(fields.get("length")?.as_u64()?);
    let offset = offset.saturating_sub(before);
    let stop = stop.saturating_sub(before).min(end);
    if offset >= stop {
        return None;
    }
    fields.insert("offset".into(), offset.into());
    fields.insert("length".into(), (stop - offset).into());
    Some(fields.into())
}

fn units(text: &str) -> u64 {
    text.encode_utf16().count() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(arguments: Value) -> Result<Formatted, ApiError> {
        let params = Params::from_object(arguments).expect("an object");
        formatted(&params, "text", "entities")
    }

    #[test]
    fn space_around_is_removed_and_entities_move_along() {
        let formatted = read(json!({"text": " \n <b>a </b> ", "parse_mode": "html"}))
            .expect("it is well formed");
        assert_eq!(formatted.text, "a");
        assert_eq!(
            formatted.entities,
            [json!({"offset": 0, "length": 1, "type": "bold"})]
        );
    }

    #[test]
    fn entities_can_be_given() {
        let entities = json!([{"type": "bold", "offset": 0, "length": 50}]);
        let formatted =
            read(json!({"text": "ab", "entities": entities})).expect("it is well formed");
        assert_eq!(
            formatted.entities,
            [json!({"offset": 0, "length": 2, "type": "bold"})]
        );
        assert!(read(json!({"text": "ab", "entities": [{"type": "bold"}]})).is_err());
        assert!(read(json!({"text": "ab", "parse_mode": "rtf"})).is_err());
    }
}
