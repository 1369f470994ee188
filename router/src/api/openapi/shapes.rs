//! Schemas in the shapes that client generators understand: plain enums, and unions of named objects that a discriminator
//! tells apart. What the Rust types generate is as strict and means the same, but nests variants, documents enum values by
//! one schema each, and puts a union beside properties.

use serde_json::{Map, Value, json};

/// Schemas by their name in `components`.
pub type Schemas = Map<String, Value>;

const PREFIX: &str = "#/components/schemas/";

/// A reference to a schema.
pub fn schema_ref(name: &str) -> Value {
    json!({ "$ref": format!("{PREFIX}{name}") })
}

/// Rewrites all schemas; unions give further ones.
pub fn simplify(schemas: &mut Schemas) {
    for schema in schemas.values_mut() {
        walk(schema, &mut plain_enum);
        walk(schema, &mut open_object);
    }
    let names: Vec<String> = schemas.keys().cloned().collect();
    for name in names {
        name_variants(schemas, &name);
    }
}

/// Calls `change` for a schema and everything below it.
pub fn walk(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| walk(value, change)),
        Value::Array(items) => items.iter_mut().for_each(|value| walk(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    }
    change(value);
}

/// Further fields may appear in answers: that is the rule of JSON Schema, and said as a keyword it makes every generated
/// type a map.
fn open_object(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.contains_key("properties") && object.get("additionalProperties") == Some(&true.into())
    {
        object.remove("additionalProperties");
    }
}

/// `oneOf` of texts becomes one enum, which describes its values in words.
fn plain_enum(schema: &mut Value) {
    let Some(variants) = schema.get("oneOf").and_then(Value::as_array) else {
        return;
    };
    let mut names = Vec::new();
    let mut described = Vec::new();
    for variant in variants {
        if variant["type"] != "string" {
            return;
        }
        match (&variant["const"], variant["enum"].as_array()) {
            (Value::String(name), _) => {
                if let Some(words) = variant["description"].as_str() {
                    described.push(format!("- `{name}`: {words}"));
                }
                names.push(variant["const"].clone());
            }
            (_, Some(several)) => names.extend(several.iter().cloned()),
            _ => return,
        }
    }
    if !described.is_empty() {
        let above = schema["description"].as_str().unwrap_or_default();
        schema["description"] = format!("{above}\n\n{}", described.join("\n")).into();
    }
    schema["type"] = "string".into();
    schema["enum"] = names.into();
    if let Some(object) = schema.as_object_mut() {
        object.remove("oneOf");
    }
}

/// A variant of a union, by the value that tells it apart.
struct Variant {
    value: String,
    schema: Map<String, Value>,
}

/// Gives the variants of a tagged union names of their own. Those that have no fields but the tag, in a union with common
/// fields, are one schema whose tag is an enum. A variant without a tag (what a later version may add) is left out: the
/// description of the union says so in words.
fn name_variants(schemas: &mut Schemas, name: &str) {
    let Some(union) = schemas.get(name).cloned() else {
        return;
    };
    let Some((tag, variants)) = variants_of(&union, schemas) else {
        return;
    };
    let common = properties(&union);
    let mut mapping = Map::new();
    let mut order: Vec<String> = Vec::new();
    for Variant { value, mut schema } in variants {
        let bare = !common.is_empty() && properties(&schema.clone().into()).len() == 1;
        let title = if bare { "Plain" } else { value.as_str() };
        let component = variant_name(title, name);
        add_common(&mut schema, &union);
        mapping.insert(value.clone(), format!("{PREFIX}{component}").into());
        if order.contains(&component) {
            let values = &mut schemas[&component]["properties"][&tag]["enum"];
            if let Some(values) = values.as_array_mut() {
                values.push(value.into());
            }
            continue;
        }
        if bare {
            schema["properties"][&tag] = json!({ "type": "string", "enum": [value] });
            schema.remove("description");
        }
        order.push(component.clone());
        schemas.insert(component, schema.into());
    }
    let mut named = json!({
        "oneOf": order.iter().map(|component| schema_ref(component)).collect::<Vec<_>>(),
        "discriminator": { "propertyName": tag, "mapping": mapping },
    });
    if let Some(words) = union.get("description") {
        named["description"] = words.clone();
    }
    schemas.insert(name.to_owned(), named);
}

/// The tag and the variants that have it; `None` for what is no tagged union.
fn variants_of(union: &Value, schemas: &Schemas) -> Option<(String, Vec<Variant>)> {
    let listed = ["oneOf", "anyOf"]
        .iter()
        .find_map(|keyword| union.get(keyword)?.as_array())?;
    let mut flat = Vec::new();
    for variant in listed {
        match variant.get("oneOf").and_then(Value::as_array) {
            Some(inner) => flat.extend(inner),
            None => flat.push(variant),
        }
    }
    let tag = flat.iter().find_map(|variant| {
        let properties = variant.get("properties")?.as_object()?;
        let tagged = properties
            .iter()
            .find(|(_, property)| property.get("const").is_some());
        tagged.map(|(tag, _)| tag.clone())
    })?;
    let variants = flat
        .into_iter()
        .filter_map(|variant| {
            let value = variant["properties"][&tag]["const"].as_str()?.to_owned();
            let schema = merged(variant, schemas);
            Some(Variant { value, schema })
        })
        .collect();
    Some((tag, variants))
}

/// A variant together with the schema that it refers to.
fn merged(variant: &Value, schemas: &Schemas) -> Map<String, Value> {
    let mut own = variant.as_object().cloned().unwrap_or_default();
    let referred = own
        .remove("$ref")
        .and_then(|link| schemas.get(link.as_str()?.strip_prefix(PREFIX)?).cloned());
    let Some(Value::Object(mut base)) = referred else {
        return own;
    };
    let (own_properties, own_required) = (own.remove("properties"), own.remove("required"));
    let properties = own_properties.into_iter().chain(base.remove("properties"));
    let required = own_required.into_iter().chain(base.remove("required"));
    base.extend(own);
    base.insert("properties".to_owned(), union_of_objects(properties));
    base.insert("required".to_owned(), union_of_arrays(required));
    base
}

/// Adds what stands beside the union.
fn add_common(schema: &mut Map<String, Value>, union: &Value) {
    if union.get("properties").is_none() {
        return;
    }
    for (keyword, join) in [
        ("properties", union_of_objects as fn(_) -> Value),
        ("required", union_of_arrays),
    ] {
        let both = union.get(keyword).cloned().into_iter();
        let both: Vec<Value> = both.chain(schema.remove(keyword)).collect();
        schema.insert(keyword.to_owned(), join(both.into_iter()));
    }
}

fn union_of_objects(all: impl Iterator<Item = Value>) -> Value {
    let mut whole = Map::new();
    for one in all {
        if let Value::Object(fields) = one {
            whole.extend(fields);
        }
    }
    whole.into()
}

fn union_of_arrays(all: impl Iterator<Item = Value>) -> Value {
    let mut whole = Vec::new();
    for one in all {
        if let Value::Array(items) = one {
            whole.extend(items);
        }
    }
    whole.into()
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default()
}

/// `image` of `Content` is `ImageContent`; of `SendableContent` it is `SendableImageContent`.
fn variant_name(value: &str, union: &str) -> String {
    let camel: String = value
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        })
        .collect();
    match union.strip_prefix(super::requests::PREFIX) {
        Some(rest) => format!("{}{camel}{rest}", super::requests::PREFIX),
        None => format!("{camel}{union}"),
    }
}

/// Removes the schemas that nothing in the document refers to.
pub fn prune(document: &mut Value) {
    loop {
        let text = document.to_string();
        let Some(schemas) = document
            .pointer_mut("/components/schemas")
            .and_then(Value::as_object_mut)
        else {
            return;
        };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"{PREFIX}{name}\"")));
        if schemas.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simplified(schemas: Value) -> Value {
        let mut schemas = schemas.as_object().cloned().expect("an object");
        simplify(&mut schemas);
        schemas.into()
    }

    #[test]
    fn documented_values_are_one_enum() {
        let shaped = simplified(json!({"State": {"description": "How it is.", "oneOf": [
            {"type": "string", "enum": ["b", "c"]},
            {"type": "string", "const": "a", "description": "Fine."},
        ]}}));
        assert_eq!(
            shaped,
            json!({"State": {"type": "string", "enum": ["b", "c", "a"], "description": "How it is.\n\n- `a`: Fine."}})
        );
    }

    #[test]
    fn variants_get_names_and_their_common_fields() {
        let kind = |value: &str| json!({"type": "string", "const": value});
        let shaped = simplified(json!({
            "Entity": {
                "type": "object", "properties": {"at": {"type": "integer"}}, "required": ["at"],
                "anyOf": [
                    {"oneOf": [
                        {"type": "object", "properties": {"kind": kind("bold")}, "required": ["kind"]},
                        {"type": "object", "properties": {"kind": kind("code")}, "required": ["kind"]},
                    ]},
                    {"$ref": "#/components/schemas/Link", "properties": {"kind": kind("link")}, "required": ["kind"]},
                    {"type": "object", "additionalProperties": true},
                ],
            },
            "Link": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
        }));
        assert_eq!(
            shaped["Entity"],
            json!({
                "oneOf": [{"$ref": "#/components/schemas/PlainEntity"}, {"$ref": "#/components/schemas/LinkEntity"}],
                "discriminator": {"propertyName": "kind", "mapping": {
                    "bold": "#/components/schemas/PlainEntity", "code": "#/components/schemas/PlainEntity",
                    "link": "#/components/schemas/LinkEntity",
                }},
            })
        );
        let at = json!({"type": "integer"});
        assert_eq!(
            shaped["PlainEntity"],
            json!({
                "type": "object", "required": ["at", "kind"],
                "properties": {"at": at, "kind": {"type": "string", "enum": ["bold", "code"]}},
            })
        );
        assert_eq!(
            shaped["LinkEntity"],
            json!({
                "type": "object", "required": ["at", "kind", "url"],
                "properties": {"at": at, "kind": kind("link"), "url": {"type": "string"}},
            })
        );
    }

    #[test]
    fn names_of_variants() {
        assert_eq!(
            variant_name("contact_card", "Content"),
            "ContactCardContent"
        );
        assert_eq!(
            variant_name("image", "SendableContent"),
            "SendableImageContent"
        );
    }
}
