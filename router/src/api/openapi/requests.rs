//! Schemas of what can be sent: those of the bus as they are read, without what only channels tell, with the bounds that
//! `content` checks. They are apart from the schemas of answers, which hold fields that have a default.

use serde_json::{Map, Value, json};
use tributary_bus::message;

use super::shapes::{Schemas, schema_ref, simplify, walk};
use crate::api::content::{SENDABLE, limits::*};

/// What the names of these schemas begin with.
pub const PREFIX: &str = "Sendable";

/// Text that databases and providers can hold.
pub const NO_NUL: &str = r"^[^\u0000]*$";
/// What `tributary_base::text::is_blank` takes for nothing to read, besides white space, as part of a class of a pattern.
/// Characters beyond the first plane stand for themselves: patterns know no escape for them that all readers share.
macro_rules! unreadable {
    () => {
        concat!(
            r"\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f",
            r"\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8",
            "\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}",
        )
    };
}

/// Text with something to read in it.
pub const NOT_BLANK: &str = concat!(r"^[^\u0000]*[^", unreadable!(), r"][^\u0000]*$");
/// Something to read without control characters.
pub const PLAIN_LINE: &str = concat!(
    r"^[^\u0000-\u001f\u007f-\u009f]*[^",
    unreadable!(),
    r"][^\u0000-\u001f\u007f-\u009f]*$"
);
/// A link that a person can open, without a password in it.
pub const LINK: &str = r"^https?://[^/?#@\s\u0000]+([/?#][^\u0000]*)?$";

/// The schemas by their names; `SendableContent` is what requests refer to.
pub fn schemas() -> Schemas {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .for_deserialize()
        .into_generator();
    generator.subschema_for::<message::Content>();
    let mut schemas = renamed(generator.take_definitions(true));
    only_sendable(&mut schemas);
    for (name, fields) in NOT_FROM_SENDERS {
        for field in *fields {
            if let Some(properties) = properties(&mut schemas, name) {
                properties.remove(*field);
            }
        }
    }
    for (name, field, keywords) in bounds() {
        bound(&mut schemas, name, field, keywords);
    }
    question(&mut schemas);
    media(&mut schemas);
    simplify(&mut schemas);
    bound(
        &mut schemas,
        "SendableTextContent",
        "text",
        words(TEXT_LIMIT),
    );
    bound(&mut schemas, "SendableLinkEntity", "url", link());
    bound(&mut schemas, "SendableUrlChoiceAction", "url", link());
    let phone =
        json!({ "minLength": 3, "maxLength": 32, "pattern": "^[-0-9+() ]*[-0-9+()][-0-9+() ]*$" });
    bound(&mut schemas, "SendableCallChoiceAction", "phone", phone);
    schemas
        .values_mut()
        .for_each(|schema| walk(schema, &mut closed));
    if let Some(content) = schemas.get_mut("SendableContent") {
        content["description"] = DESCRIPTION.into();
    }
    schemas
}

const DESCRIPTION: &str = "What can be sent. Media is named by `url` (http or https) or by `media_id`. What a schema cannot say: the stretches of \
    `entities` lie within their text, the ids of options are unique within the message, and an email has something to read or an attachment.";

/// What channels tell of a content, and senders cannot.
const NOT_FROM_SENDERS: &[(&str, &[&str])] = &[
    ("SendableMedia", &["state", "source", "sha256", "failure"]),
    ("SendableLocation", &["live_seconds"]),
    ("SendableContactCard", &["own"]),
];

fn words(most: usize) -> Value {
    json!({ "minLength": 1, "maxLength": most, "pattern": NOT_BLANK })
}

fn perhaps_blank(most: usize) -> Value {
    json!({ "maxLength": most, "pattern": NO_NUL })
}

fn link() -> Value {
    json!({ "format": "uri", "maxLength": LINK_LIMIT, "pattern": LINK })
}

fn within(least: f64, most: f64) -> Value {
    json!({ "minimum": least, "maximum": most })
}

fn items(least: usize, most: usize) -> Value {
    json!({ "minItems": least, "maxItems": most })
}

/// The bounds of fields, as `content` checks them.
fn bounds() -> Vec<(&'static str, &'static str, Value)> {
    let last_character = json!({ "maximum": TEXT_LIMIT });
    let whole = |most: u64| json!({ "maximum": most });
    vec![
        ("SendableText", "text", perhaps_blank(TEXT_LIMIT)),
        (
            "SendableText",
            "entities",
            json!({ "maxItems": ENTITY_LIMIT }),
        ),
        ("SendableEntity", "offset", last_character.clone()),
        (
            "SendableEntity",
            "length",
            json!({ "minimum": 1, "maximum": TEXT_LIMIT }),
        ),
        ("SendableMedia", "url", link()),
        (
            "SendableMedia",
            "media_id",
            json!({ "pattern": "^[0-9a-f]{64}$" }),
        ),
        ("SendableMedia", "name", words(FILE_NAME_LIMIT)),
        (
            "SendableMedia",
            "mime",
            json!({ "minLength": 3, "maxLength": 127, "pattern": "^[!-~]*/[!-~]*$" }),
        ),
        ("SendableMedia", "size", whole(u64::MAX)),
        ("SendableMedia", "duration_ms", whole(u64::MAX)),
        ("SendableMedia", "width", whole(u32::MAX.into())),
        ("SendableMedia", "height", whole(u32::MAX.into())),
        ("SendableSticker", "emoji", words(32)),
        ("SendableLocation", "latitude", within(-90.0, 90.0)),
        ("SendableLocation", "longitude", within(-180.0, 180.0)),
        ("SendableLocation", "accuracy", json!({ "minimum": 0 })),
        ("SendableLocation", "name", words(256)),
        ("SendableLocation", "address", words(256)),
        ("SendableContactCard", "name", words(256)),
        ("SendableContactCard", "first_name", perhaps_blank(256)),
        ("SendableContactCard", "last_name", perhaps_blank(256)),
        (
            "SendableContactCard",
            "phones",
            with_items(items(0, CONTACT_LIMIT), words(254)),
        ),
        (
            "SendableContactCard",
            "emails",
            with_items(items(0, CONTACT_LIMIT), words(254)),
        ),
        ("SendableContactCard", "vcard", words(TEXT_LIMIT)),
        ("SendableChoices", "options", items(1, OPTION_LIMIT)),
        ("SendableChoices", "button", words(TITLE_LIMIT)),
        ("SendableChoice", "id", words(ID_LIMIT)),
        ("SendableChoice", "title", words(TITLE_LIMIT)),
        ("SendableChoice", "description", perhaps_blank(1000)),
        ("SendableChoice", "section", words(TITLE_LIMIT)),
        ("SendableCarousel", "cards", items(1, CARD_LIMIT)),
        ("SendableCard", "title", words(TITLE_LIMIT)),
        ("SendableCard", "options", items(0, CARD_OPTION_LIMIT)),
        ("SendableTemplate", "name", words(NAME_LIMIT)),
        (
            "SendableTemplate",
            "locale",
            json!({ "minLength": 2, "maxLength": 35, "pattern": NOT_BLANK }),
        ),
        (
            "SendableTemplate",
            "parameters",
            json!({ "maxProperties": PARAMETER_LIMIT, "propertyNames": { "pattern": NO_NUL } }),
        ),
        ("SendableTemplate", "text", perhaps_blank(TEXT_LIMIT)),
        (
            "SendableEmail",
            "subject",
            json!({ "maxLength": SUBJECT_LIMIT, "pattern": r"^[^\u0000\r\n]*$" }),
        ),
        ("SendableEmail", "text", perhaps_blank(EMAIL_LIMIT)),
        ("SendableEmail", "html", perhaps_blank(EMAIL_LIMIT)),
        ("SendableEmail", "quoted", perhaps_blank(EMAIL_LIMIT)),
        ("SendableEmail", "attachments", items(0, ATTACHMENT_LIMIT)),
    ]
}

fn with_items(mut list: Value, item: Value) -> Value {
    let mut item = item;
    item["type"] = "string".into();
    list["items"] = item;
    list
}

/// Adds keywords to the schema of a field. A field that is not there is a mistake of ours, which a test finds.
fn bound(schemas: &mut Schemas, name: &str, field: &str, keywords: Value) {
    let field = properties(schemas, name).and_then(|all| all.get_mut(field)?.as_object_mut());
    if let (Some(field), Value::Object(keywords)) = (field, keywords) {
        if let Some(link) = field.remove("anyOf").or_else(|| field.remove("$ref")) {
            // A named text, perhaps null: written out, since it has bounds of its own here.
            let nullable = link.is_array();
            field.insert(
                "type".to_owned(),
                if nullable {
                    json!(["string", "null"])
                } else {
                    json!("string")
                },
            );
        }
        field.extend(keywords);
    }
}

fn properties<'s>(schemas: &'s mut Schemas, name: &str) -> Option<&'s mut Map<String, Value>> {
    schemas
        .get_mut(name)?
        .get_mut("properties")?
        .as_object_mut()
}

/// The same schemas under the names that they have here.
fn renamed(definitions: Map<String, Value>) -> Schemas {
    let rename = &mut |value: &mut Value| {
        if let Some(link) = value.get_mut("$ref")
            && let Some(name) = link.as_str().and_then(|link| link.rsplit('/').next())
        {
            *link = schema_ref(&format!("{PREFIX}{name}"))["$ref"].take();
        }
    };
    definitions
        .into_iter()
        .map(|(name, mut schema)| {
            walk(&mut schema, rename);
            (format!("{PREFIX}{name}"), schema)
        })
        .collect()
}

/// Leaves the contents that can be sent.
fn only_sendable(schemas: &mut Schemas) {
    let Some(content) = schemas.get_mut("SendableContent") else {
        return;
    };
    let mut variants = Vec::new();
    collect_variants(content, &mut variants);
    *content = json!({ "oneOf": variants });
}

fn collect_variants(schema: &Value, into: &mut Vec<Value>) {
    let kind = schema
        .pointer("/properties/type/const")
        .and_then(Value::as_str);
    if kind.is_some_and(|kind| SENDABLE.contains(&kind)) {
        into.push(schema.clone());
        return;
    }
    for union in ["anyOf", "oneOf"] {
        for variant in schema[union].as_array().into_iter().flatten() {
            collect_variants(variant, into);
        }
    }
}

/// The text above choices may not be blank, unlike a caption.
fn question(schemas: &mut Schemas) {
    let Some(mut question) = schemas.get("SendableText").cloned() else {
        return;
    };
    question["description"] = "Words that something follows; not blank.".into();
    schemas.insert("SendableQuestion".to_owned(), question);
    bound(schemas, "SendableQuestion", "text", words(TEXT_LIMIT));
    if let Some(choices) = properties(schemas, "SendableChoices") {
        choices.insert("text".to_owned(), schema_ref("SendableQuestion"));
    }
}

/// Media is named in one of two ways.
fn media(schemas: &mut Schemas) {
    let Some(both) = schemas.get("SendableMedia").cloned() else {
        return;
    };
    let ways = [
        (
            "SendableMediaByUrl",
            "url",
            "media_id",
            "Media of yours, fetched when the message is sent.",
        ),
        (
            "SendableMediaById",
            "media_id",
            "url",
            "Media that an upload or a message gave.",
        ),
    ];
    for (name, has, lacks, words) in ways {
        let mut way = both.clone();
        way["description"] = words.into();
        way["required"] = json!([has]);
        if let Some(properties) = way["properties"].as_object_mut() {
            properties.remove(lacks);
            if let Some(named) = properties.get_mut(has) {
                named["type"] = "string".into();
            }
        }
        schemas.insert(name.to_owned(), way);
    }
    let either = json!({
        "description": "Media, by `url` or by `media_id`.",
        "oneOf": ways.map(|(name, ..)| schema_ref(name)),
    });
    schemas.insert("SendableMedia".to_owned(), either);
}

/// Unknown fields are refused. Defaults are left out: generators take a field that has one for a field that is always there.
fn closed(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("default");
    }
    if schema.get("properties").is_some_and(Value::is_object)
        && schema.get("type").is_some_and(|kind| kind == "object")
    {
        schema["additionalProperties"] = false.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_about_a_field_that_exists() {
        let mut generator = schemars::generate::SchemaSettings::draft2020_12()
            .for_deserialize()
            .into_generator();
        generator.subschema_for::<message::Content>();
        let schemas = renamed(generator.take_definitions(true));
        let fields = NOT_FROM_SENDERS
            .iter()
            .flat_map(|(name, fields)| fields.iter().map(move |field| (*name, *field)));
        let bounded = bounds().into_iter().map(|(name, field, _)| (name, field));
        for (name, field) in fields.chain(bounded) {
            let property = &schemas[name]["properties"][field];
            assert!(property.is_object(), "{name}.{field}");
        }
    }

    #[test]
    fn every_text_of_a_request_is_bounded() {
        let mut document = json!({
            "paths": { "of a request": schema_ref("SendableContent") },
            "components": { "schemas": schemas() },
        });
        crate::api::openapi::shapes::prune(&mut document);
        let schemas = document["components"]["schemas"]
            .as_object()
            .expect("schemas");
        for (name, schema) in schemas {
            for (field, property) in schema["properties"].as_object().into_iter().flatten() {
                let kinds = [&property["type"], &property["type"][0]];
                let text = kinds.contains(&&json!("string"));
                let bounded = ["maxLength", "const", "enum", "pattern"]
                    .iter()
                    .any(|keyword| property.get(keyword).is_some());
                // How a block of code is coloured; bounded with the whole request.
                let free = (name.as_str(), field.as_str()) == ("SendablePreEntity", "language");
                assert!(!text || bounded || free, "{name}.{field}: {property}");
            }
        }
    }
}
