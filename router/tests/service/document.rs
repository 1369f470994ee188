//! The OpenAPI document and the page that shows it.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, header};
use serde_json::Value;
use tributary_router::api::{asyncapi_document, openapi_document};

use crate::support::{Kind, World, send};

const ROUTES: [&str; 37] = [
    "get /v1/organizations",
    "get /v1/organizations/{id}",
    "get /v1/api-keys",
    "post /v1/api-keys",
    "post /v1/api-keys/{id}/revoke",
    "get /v1/channels",
    "get /v1/channels/{id}",
    "post /v1/channels/{id}/preview",
    "get /v1/agents",
    "post /v1/agents",
    "get /v1/agents/{id}",
    "patch /v1/agents/{id}",
    "get /v1/contacts/{id}",
    "get /v1/conversations",
    "get /v1/conversations/{id}",
    "post /v1/conversations/{id}/close",
    "post /v1/conversations/{id}/reopen",
    "post /v1/conversations/{id}/assign",
    "get /v1/conversations/{id}/messages",
    "post /v1/conversations/{id}/messages",
    "post /v1/conversations/{id}/typing",
    "post /v1/conversations/{id}/read",
    "get /v1/messages/{id}",
    "patch /v1/messages/{id}",
    "delete /v1/messages/{id}",
    "put /v1/messages/{id}/reactions",
    "get /v1/messages/{id}/log",
    "post /v1/media",
    "get /v1/media/{id}",
    "get /v1/endpoints",
    "post /v1/endpoints",
    "get /v1/endpoints/{id}",
    "delete /v1/endpoints/{id}",
    "post /v1/endpoints/{id}/rotate-secret",
    "post /v1/endpoints/{id}/enable",
    "post /v1/endpoints/{id}/redeliver",
    "get /v1/events",
];

#[test]
fn the_document_lists_every_route_with_its_problems() -> Result<()> {
    let document = openapi_document(None);
    ensure!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1."))
    );
    ensure!(document["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer");
    ensure!(document["security"] == serde_json::json!([{ "api_key": [] }]));
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().context("paths")? {
        for (method, operation) in item.as_object().context("a path item")? {
            found.insert(format!("{method} {path}"));
            let place = format!("{method} {path}");
            ensure!(
                operation["summary"].is_string() && operation["operationId"].is_string(),
                "{place}"
            );
            for status in ["401", "429", "500", "503"] {
                ensure!(
                    operation["responses"][status].is_object(),
                    "{place} says nothing of {status}"
                );
            }
            for (status, response) in operation["responses"].as_object().context("responses")? {
                let described = response["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty());
                ensure!(
                    described || response["$ref"].is_string(),
                    "{place}: {status} is not described"
                );
            }
            let has = |status: &str| operation["responses"][status].is_object();
            ensure!(has("404") == path.contains('{'), "{place}: 404");
            ensure!(
                has("415") == operation["requestBody"].is_object(),
                "{place}: 415"
            );
        }
    }
    ensure!(
        found == ROUTES.into_iter().map(str::to_owned).collect(),
        "{found:?}"
    );
    Ok(())
}

#[test]
fn every_reference_leads_somewhere() -> Result<()> {
    let document = openapi_document(None);
    let mut references = Vec::new();
    collect(&document, &mut references);
    ensure!(references.len() > 50);
    for reference in references {
        let pointer = reference
            .strip_prefix('#')
            .with_context(|| format!("{reference} is elsewhere"))?;
        ensure!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    for (name, member) in [
        ("Conversation", "agent_id"),
        ("Message", "content"),
        ("Contact", "locale"),
    ] {
        ensure!(
            document["components"]["schemas"][name]["properties"][member].is_object(),
            "{name}.{member}"
        );
    }
    let page = &document["components"]["schemas"]["Page_Conversation"];
    ensure!(page["properties"]["items"]["items"]["$ref"] == "#/components/schemas/Conversation");
    ensure!(
        page["required"] == serde_json::json!(["items", "next"]),
        "{page}"
    );
    let codes = document["components"]["schemas"]["ProblemCode"]["enum"].as_array();
    let codes = codes.context("the codes of problems")?;
    for code in [
        "unauthorized",
        "idempotency_key_reused",
        "deadline_exceeded",
    ] {
        ensure!(codes.iter().any(|known| known == code), "{code}");
    }
    let schemas = &document["components"]["schemas"];
    let kinds = |union: &str| -> Result<BTreeSet<String>> {
        let variants = schemas[union]["oneOf"].as_array().context("a union")?;
        let mapping = schemas[union]["discriminator"]["mapping"].as_object();
        let mapping = mapping.context("a discriminator")?;
        ensure!(mapping.len() == variants.len());
        for (kind, link) in mapping {
            ensure!(
                variants.iter().any(|variant| variant["$ref"] == *link),
                "{kind}"
            );
            let name = link.as_str().and_then(|link| link.rsplit('/').next());
            let variant = &schemas[name.context("a name")?];
            ensure!(variant["properties"]["type"]["const"] == *kind, "{variant}");
            let required = variant["required"].as_array().context("required")?;
            ensure!(required.iter().any(|field| field == "type"), "{variant}");
        }
        Ok(mapping.keys().cloned().collect())
    };
    let sendable = kinds("SendableContent")?;
    ensure!(sendable.len() == 13 && sendable.contains("carousel"));
    ensure!(!sendable.contains("choice_reply"));
    ensure!(kinds("Content")?.is_superset(&sendable) && kinds("Content")?.len() == 15);
    for request in ["SendMessage", "EditMessage", "PreviewMessage"] {
        let content = &document["components"]["schemas"][request]["properties"]["content"];
        ensure!(
            content["$ref"] == "#/components/schemas/SendableContent",
            "{request}"
        );
    }
    let request = &document["components"]["schemas"]["CreateEndpoint"];
    ensure!(
        request["additionalProperties"] == false,
        "unknown fields are refused: {request}"
    );
    Ok(())
}

/// Generators turn a union beside properties, and values that are documented one by one, into types that nobody can use.
#[test]
fn schemas_have_shapes_that_generators_understand() -> Result<()> {
    let document = openapi_document(None);
    let schemas = document["components"]["schemas"].as_object();
    for (name, schema) in schemas.context("schemas")? {
        let union = schema.get("oneOf").or_else(|| schema.get("anyOf"));
        ensure!(
            union.is_none() || schema.get("properties").is_none(),
            "{name}: a union beside properties"
        );
        for variant in union.and_then(Value::as_array).into_iter().flatten() {
            ensure!(
                variant["$ref"].is_string(),
                "{name}: a variant without a name"
            );
        }
        let tied = schema.get("$ref").is_some();
        ensure!(!tied, "{name}: is another schema");
        let request = name.starts_with("Sendable") && schema["type"] == "object";
        ensure!(
            !request || schema["additionalProperties"] == false,
            "{name}: unknown fields are refused"
        );
    }
    let schemas = &document["components"]["schemas"];
    let codes = schemas["DegradationCode"]["enum"].as_array();
    ensure!(codes.context("an enum")?.contains(&"reply_lost".into()));
    ensure!(schemas["ChoiceReplyContent"]["properties"]["typed"]["type"] == "string");
    let place = schemas["SendableLocationContent"]["properties"].as_object();
    ensure!(!place.context("a place")?.contains_key("live_seconds"));
    ensure!(schemas["LocationContent"]["properties"]["live_seconds"].is_object());
    let choices = schemas["SendableChoicesContent"]["required"].as_array();
    ensure!(!choices.context("required")?.contains(&"style".into()));
    Ok(())
}

fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            into.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| collect(value, into));
        }
        Value::Array(array) => array.iter().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_committed_documents_are_current() -> Result<()> {
    for (name, document) in [
        ("openapi.json", openapi_document(None)),
        ("asyncapi.json", asyncapi_document()),
    ] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .join(name);
        let current = format!("{}\n", serde_json::to_string_pretty(&document)?);
        if std::env::var("UPDATE_SCHEMAS").is_ok_and(|value| value == "1") {
            std::fs::write(&path, &current)?;
        }
        let committed = std::fs::read_to_string(&path)
            .with_context(|| format!("docs/{name}; write it with UPDATE_SCHEMAS=1"))?;
        ensure!(
            committed == current,
            "docs/{name} is not current; run this test with UPDATE_SCHEMAS=1"
        );
    }
    Ok(())
}

/// Every event of the bus is in the document, once, on the way it goes.
#[test]
fn the_asyncapi_document_lists_every_event() -> Result<()> {
    let document = asyncapi_document();
    ensure!(document["asyncapi"] == "3.0.0");
    let known: BTreeSet<String> = tributary_bus::message::schemas()
        .into_iter()
        .map(|(kind, _)| kind.to_owned())
        .collect();
    let mut listed = Vec::new();
    for channel in ["inbound", "delivery", "events"] {
        let messages = document["channels"][channel]["messages"].as_object();
        listed.extend(messages.context(channel)?.keys().cloned());
    }
    ensure!(listed.len() == known.len(), "{listed:?}");
    ensure!(listed.into_iter().collect::<BTreeSet<_>>() == known);
    let mut references = Vec::new();
    collect(&document, &mut references);
    ensure!(references.len() > 100);
    for reference in references {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| document.pointer(pointer));
        ensure!(target.is_some(), "{reference} leads nowhere");
    }
    let schema = jsonschema::draft7::new(&json_schema_of(&document, "message.received.v1"))?;
    let mut sample = serde_json::json!({
        "specversion": "1.0", "id": "0190b5a0-0000-7000-8000-000000000001", "source": "/channels/shop",
        "type": "message.received.v1", "time": "2026-01-02T03:04:05Z", "datacontenttype": "application/json",
        "dataschema": "urn:tributary:schema:message.received.v1", "orgid": "acme",
        "data": {
            "origin": {"channel_id": "shop", "address": "7", "occurred_at": "2026-01-02T03:04:05Z"},
            "message_id": "0190b5a0-0000-7000-8000-000000000001", "provider_id": "51", "contact": {"name": "Olena"},
            "content": {"type": "text", "text": "hello", "entities": [{"kind": "bold", "offset": 0, "length": 5}]},
        },
    });
    let faults: Vec<String> = schema
        .iter_errors(&sample)
        .map(|fault| fault.to_string())
        .collect();
    ensure!(faults.is_empty(), "{faults:?}");
    sample["data"]["content"] = serde_json::json!({"type": "location", "latitude": "north"});
    ensure!(!schema.is_valid(&sample));
    Ok(())
}

/// The payload of a message, with the schemas that it mentions.
fn json_schema_of(document: &Value, kind: &str) -> Value {
    let mut schema = document["components"]["messages"][kind]["payload"].clone();
    schema["components"] = document["components"].clone();
    schema
}

#[tokio::test]
async fn the_document_and_its_page_are_served_without_a_key() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let served = send(world.request(Method::GET, "/openapi.json"))
        .await?
        .expect(200)?;
    ensure!(served.body == openapi_document(None));
    let bus = send(world.request(Method::GET, "/asyncapi.json"))
        .await?
        .expect(200)?;
    ensure!(bus.body == asyncapi_document());
    let root = send(world.request(Method::GET, "/")).await?.expect(307)?;
    ensure!(root.headers[header::LOCATION] == "/docs/");
    let page = send(world.request(Method::GET, "/docs/"))
        .await?
        .expect(200)?;
    ensure!(page.text.contains("swagger-ui"));
    let script = send(world.request(Method::GET, "/docs/swagger-ui-bundle.js"))
        .await?
        .expect(200)?;
    ensure!(script.text.len() > 100_000);
    ensure!(
        !page.text.contains("https://"),
        "the page loads nothing from elsewhere"
    );
    Ok(())
}
