//! The AsyncAPI 3 document of the bus on RabbitMQ: what a connector in another language must know. Messages come from the Rust
//! types, names from the topology.

use serde_json::{Map, Value, json};
use tributary_bus::{
    Envelope,
    amqp::{DELIVERY_LIMIT, PREFIX},
    message::{self, EVENT_TYPES},
};

use super::openapi::shapes::{schema_ref, simplify, walk};

const CONTENT_TYPE: &str = "application/cloudevents+json";

const DESCRIPTION: &str = "Everything that moves between connectors, routers and webhook workers is a CloudEvents 1.0 event in structured JSON mode.\n\n\
    **A lane** is a durable quorum queue with one owner at a time; the order of a conversation depends on it.\n\n\
    - The owner of `<lane>` holds the exclusive queue `PREFIXowner.<lane>` on the connection with which it consumes. 405 RESOURCE_LOCKED \
    says that another has it: ask again later, and do not consume.\n\
    - Settle a message (ack) only after what follows from it is durable: a delivery after the broker confirmed its `message.status`.\n\
    - Never `nack` with requeue: it changes the order. To give back what is not settled, close the channel.\n\
    - Workers that share the lanes of a group keep one idle consumer each on `PREFIXmembers.<group>` (`connector.<kind>` for connectors); \
    the fair share is the number of lanes divided by the number of consumers, rounded up.\n\
    - Publish persistent messages with `mandatory`, and count one as sent only when the broker confirmed it. Repeat with the same `id`.\n\
    - Events of one contact go to `inbound.<n>`: n is the first 8 bytes (big-endian) of SHA-256 over the channel id, a zero byte and the \
    address, modulo the number of inbound lanes (`bus.inbound_lanes`).\n\
    - Derive ids from the provider's, so that what comes twice has the same id. Unknown fields are passed on; unknown types are dead letters.\n\n\
    A short connector in Python is in docs/channels/connector.py.";

/// The whole document.
pub fn document() -> Value {
    let (mut schemas, payloads) = schemas();
    let envelope = envelope();
    let mut messages = Map::new();
    for (kind, data) in &payloads {
        messages.insert((*kind).to_owned(), message_of(kind, data));
    }
    schemas.insert("Envelope".to_owned(), envelope);
    let of = |belongs: fn(&str) -> bool| -> Vec<&'static str> {
        let kinds = payloads.iter().map(|(kind, _)| *kind);
        kinds.filter(|kind| belongs(kind)).collect()
    };
    let (inbound, deliveries, events) = (of(is_inbound), of(is_delivery), of(is_event));
    let description = DESCRIPTION.replace("PREFIX", PREFIX);
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:tributary:bus",
        "info": {
            "title": "Tributary bus", "version": "1", "description": description,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": { "rabbitmq": {
            "host": "{host}", "protocol": "amqp", "protocolVersion": "0.9.1",
            "description": "RabbitMQ 3.10 or newer; the address is the setting `bus.url`.",
            "variables": { "host": { "default": "localhost:5672" } },
        }},
        "channels": {
            "inbound": channel("inbound.{lane}", &inbound, "What happened in channels, by lane.",
                json!({ "lane": { "description": "0 to the number of inbound lanes less one." } }), "lane", "direct"),
            "delivery": channel("delivery.{channel}", &deliveries, "What is to be done in one channel account.",
                json!({ "channel": { "description": "The id of the channel account." } }), "lane", "direct"),
            "events": channel("{organization}.{type}", &events, "What integrators are told. `endpoint.<id>` queues are bound to it.",
                json!({ "organization": { "description": "`orgid`" }, "type": { "description": "`type`, with its version" } }),
                "events", "topic"),
            "deliveryLane": queue("delivery.{channel}", &deliveries),
            "dead": dead(),
        },
        "operations": {
            "publishInbound": operation("send", "inbound", "A connector publishes what happened."),
            "takeDeliveries": operation("receive", "deliveryLane", "A connector takes what it is to do, as the owner of the lane."),
            "receiveEvents": operation("receive", "events", "Whoever wants to know what happened, in a queue of its own."),
        },
        "components": { "messages": messages, "schemas": schemas },
    })
}

fn is_delivery(kind: &str) -> bool {
    kind.starts_with("delivery.")
}

fn is_event(kind: &str) -> bool {
    kind.rsplit_once('.')
        .is_some_and(|(name, _)| EVENT_TYPES.contains(&name))
}

fn is_inbound(kind: &str) -> bool {
    !is_delivery(kind) && !is_event(kind)
}

/// The schemas of all payloads and what they mention, and for each event type a reference to its own.
fn schemas() -> (Map<String, Value>, Vec<(&'static str, Value)>) {
    let mut generator = schemars::generate::SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let payloads = message::schemas_in(&mut generator);
    let payloads = payloads
        .into_iter()
        .map(|(kind, schema)| (kind, schema.to_value()))
        .collect();
    let mut schemas = generator.take_definitions(true);
    simplify(&mut schemas);
    for schema in schemas.values_mut() {
        walk(schema, &mut for_asyncapi);
    }
    (schemas, payloads)
}

/// The discriminator of AsyncAPI is the name alone.
fn for_asyncapi(schema: &mut Value) {
    if let Some(name) = schema.pointer("/discriminator/propertyName").cloned() {
        schema["discriminator"] = name;
    }
}

/// The attributes around every payload.
fn envelope() -> Value {
    let mut envelope = schemars::generate::SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<Envelope>()
        .to_value();
    let definitions = envelope["definitions"].take();
    walk(&mut envelope, &mut |schema| {
        let link = schema.get("$ref").and_then(Value::as_str);
        let name = link.and_then(|link| link.rsplit('/').next());
        if let Some(named) = name.and_then(|name| definitions.get(name)) {
            *schema = named.clone();
        }
    });
    if let Some(object) = envelope.as_object_mut() {
        for key in ["$schema", "$id", "definitions"] {
            object.remove(key);
        }
    }
    envelope
}

fn message_of(kind: &str, data: &Value) -> Value {
    json!({
        "name": kind,
        "title": kind,
        "contentType": CONTENT_TYPE,
        "payload": { "allOf": [
            schema_ref("Envelope"),
            { "type": "object", "required": ["type", "data"],
              "properties": { "type": { "type": "string", "const": kind }, "data": data } },
        ]},
        "bindings": { "amqp": { "contentEncoding": "utf-8", "messageType": kind, "bindingVersion": "0.3.0" } },
    })
}

fn messages_of(kinds: &[&str]) -> Map<String, Value> {
    kinds
        .iter()
        .map(|kind| {
            let link = json!({ "$ref": format!("#/components/messages/{kind}") });
            ((*kind).to_owned(), link)
        })
        .collect()
}

/// What is published to an exchange, with this routing key.
fn channel(
    key: &str,
    kinds: &[&str],
    description: &str,
    parameters: Value,
    exchange: &str,
    shape: &str,
) -> Value {
    json!({
        "address": key,
        "description": description,
        "parameters": parameters,
        "messages": messages_of(kinds),
        "bindings": { "amqp": {
            "is": "routingKey",
            "exchange": {
                "name": format!("{PREFIX}{exchange}"), "type": shape, "durable": true, "autoDelete": false, "vhost": "/",
            },
            "bindingVersion": "0.3.0",
        }},
    })
}

/// A lane's queue, from which its owner takes.
fn queue(name: &str, kinds: &[&str]) -> Value {
    json!({
        "address": format!("{PREFIX}{name}"),
        "description": format!(
            "The queue of a lane, bound to `{PREFIX}lane` with the lane's name. Declare it where a passive declare does not find it, with \
             the arguments in `x-arguments`."
        ),
        "parameters": { "channel": { "description": "The id of the channel account." } },
        "messages": messages_of(kinds),
        "bindings": { "amqp": {
            "is": "queue",
            "queue": { "name": format!("{PREFIX}{name}"), "durable": true, "exclusive": false, "autoDelete": false, "vhost": "/" },
            "bindingVersion": "0.3.0",
        }},
        "x-arguments": { "x-queue-type": "quorum", "x-single-active-consumer": true, "x-delivery-limit": DELIVERY_LIMIT },
        "x-owner": format!("{PREFIX}owner.{name}"),
    })
}

/// Where messages go that no worker could handle.
fn dead() -> Value {
    json!({
        "address": format!("{PREFIX}dead"),
        "description": "Messages that no worker could handle, whole, with the reason in a header; `tributary dead` lists and replays them.",
        "messages": {},
        "bindings": { "amqp": {
            "is": "queue",
            "queue": { "name": format!("{PREFIX}dead"), "durable": true, "exclusive": false, "autoDelete": false, "vhost": "/" },
            "bindingVersion": "0.3.0",
        }},
    })
}

fn operation(action: &str, channel: &str, summary: &str) -> Value {
    let mut operation = json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": summary,
    });
    operation["bindings"] = match action {
        "send" => {
            json!({ "amqp": { "deliveryMode": 2, "mandatory": true, "bindingVersion": "0.3.0" } })
        }
        _ => json!({ "amqp": { "ack": true, "bindingVersion": "0.3.0" } }),
    };
    operation
}
