//! The JSON examples of docs/integrators.md fit the schemas.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Deserializer, Value, json};
use tributary_router::api::openapi_document;

/// An example and the schema that it is of.
type Example = (Value, &'static str);

/// Every JSON of the page: fenced, the body of a `curl`, or in line.
fn examples(page: &str) -> Result<Vec<Example>> {
    let mut found = Vec::new();
    for (n, part) in page.split("```").enumerate() {
        if let Some(fenced) = part.strip_prefix("json\n") {
            let whole = match fenced.trim_start().starts_with('"') {
                true => format!("{{{fenced}}}"),
                false => fenced.to_owned(),
            };
            for example in Deserializer::from_str(&whole).into_iter::<Value>() {
                found.push(in_a_block(example.with_context(|| whole.clone())?)?);
            }
        } else if n % 2 == 1 {
            for body in part.split("-d '").skip(1) {
                let body = body.split('\'').next().context("a body")?;
                let body = serde_json::from_str(body).with_context(|| body.to_owned())?;
                found.push((body, "SendMessage"));
            }
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            for span in spans.filter(|span| span.starts_with("{\"")) {
                // A span with a gap in it is a shape, not an example.
                if let Ok(example) = serde_json::from_str::<Value>(span) {
                    found.push(in_a_line(example)?);
                }
            }
        }
    }
    Ok(found)
}

fn in_a_block(example: Value) -> Result<Example> {
    let has = |field: &str| example.get(field).is_some();
    let schema = if has("specversion") {
        "CloudEvent"
    } else if has("health") {
        "Channel"
    } else if has("title") && has("status") {
        "Problem"
    } else if has("degraded") {
        return Ok((example["degraded"].clone(), "Degradation"));
    } else {
        ensure!(has("type"), "of which schema is {example}?");
        "SendableContent"
    };
    Ok((example, schema))
}

fn in_a_line(example: Value) -> Result<Example> {
    let known = [
        ("type", "Content"),
        ("reactions", "SetReactions"),
        ("state", "Media"),
        ("agent_id", "AssignConversation"),
    ];
    let named = known.iter().find(|(field, _)| example.get(field).is_some());
    let (_, schema) = named.with_context(|| format!("of which schema is {example}?"))?;
    Ok((example, *schema))
}

fn faults(schema: Value, example: &Value) -> Result<Vec<String>> {
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)?;
    let faults = validator.iter_errors(example);
    Ok(faults
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect())
}

#[test]
fn the_examples_for_integrators_fit_the_schemas() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/integrators.md");
    let document = openapi_document(None);
    let of = |name: &str| {
        let mut schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        schema["components"] = document["components"].clone();
        schema
    };
    let examples = examples(&std::fs::read_to_string(page)?)?;
    ensure!(examples.len() > 15, "only {} examples", examples.len());
    for (example, name) in examples {
        let several = example.as_array().cloned();
        for one in several.unwrap_or_else(|| vec![example]) {
            let faults = faults(of(name), &one)?;
            ensure!(faults.is_empty(), "{name} {one}: {faults:?}");
            if name == "CloudEvent" {
                let schemas = tributary_bus::message::schemas();
                let of_data = schemas.into_iter().find(|(kind, _)| one["type"] == *kind);
                let schema = of_data.context("a known type")?.1.to_value();
                ensure!(one["dataschema"] == schema["$id"]);
                let faults = self::faults(schema, &one["data"])?;
                ensure!(faults.is_empty(), "{one}: {faults:?}");
            }
        }
    }
    ensure!(!faults(of("SendableContent"), &json!({"type": "text"}))?.is_empty());
    Ok(())
}
