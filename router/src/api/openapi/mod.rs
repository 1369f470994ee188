//! The OpenAPI 3.1 document: what utoipa collects from the routes, completed with what holds for all of them.

mod requests;
pub mod shapes;

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tributary_bus::message::{ConversationState, EVENT_TYPES, HealthState};
use url::Url;
use utoipa::{
    OpenApi, ToSchema,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    problem::{Code, PROBLEM_JSON, Problem},
    views::schemas_of_the_bus,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tributary",
        description = "Conversations from every channel, and the way to answer them.\n\n\
            Send an API key as `Authorization: Bearer trib_...`; it belongs to one organization and reaches nothing of any \
            other. Errors are problem details (RFC 9457) with a stable `code`. Unknown fields of a request are refused; \
            be ready for new fields in answers.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "conversations", description = "What goes on with a contact"),
        (name = "messages", description = "What was said, and what is to be said"),
        (name = "media", description = "Pictures, recordings and files"),
        (name = "contacts", description = "Those who write"),
        (name = "agents", description = "Those who answer"),
        (name = "endpoints", description = "Where events are sent (webhooks)"),
        (name = "events", description = "What happened, for those who ask"),
        (name = "channels", description = "Accounts of Telegram, the web widget, ..."),
        (name = "organizations", description = "Tenants"),
        (name = "api-keys", description = "Keys to this API")
    ),
    components(schemas(Problem)),
    security(("api_key" = []))
)]
struct Head;

/// What the document says before the routes.
pub fn head() -> utoipa::openapi::OpenApi {
    let mut head = Head::openapi();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("trib_...")
        .description(Some("An API key"))
        .build();
    if let Some(components) = head.components.as_mut() {
        components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    }
    head
}

/// The whole document. `server`: where integrators reach the API; the place it was loaded from when `None`.
pub fn document(server: Option<&Url>) -> Value {
    let described = super::routes_of_the_api().into_openapi();
    // Serializing what utoipa built cannot fail; an empty document would be noticed by every test.
    let mut document = serde_json::to_value(described).unwrap_or_default();
    complete_schemas(&mut document);
    let common = COMMON
        .iter()
        .map(|(name, codes)| ((*name).to_owned(), problem_response(codes)));
    document["components"]["responses"] = Value::Object(common.collect());
    complete_responses(&mut document);
    complete_parameters(&mut document);
    complete_uploads(&mut document);
    shapes::prune(&mut document);
    document["servers"] = json!([{ "url": server.map_or("/", |url| url.as_str()) }]);
    document
}

fn complete_schemas(document: &mut Value) {
    let Some(schemas) = object(document, "/components/schemas") else {
        return;
    };
    let mut answers = schemas_of_the_bus();
    shapes::simplify(&mut answers);
    schemas.extend(answers);
    schemas.extend(requests::schemas());
    if let Some(stored) = schemas.get_mut("StoredMedia") {
        stored["properties"]["media"] = reference("schemas", "Media");
    }
    for request in ["SendMessage", "EditMessage", "PreviewMessage"] {
        schemas[request]["properties"]["content"] = reference("schemas", "SendableContent");
    }
    for (name, schema) in schemas.iter_mut() {
        // utoipa writes the items out in every page; a reference says the same once.
        if let Some(item) = name.strip_prefix("Page_") {
            schema["properties"]["items"]["items"] = reference("schemas", item);
        }
    }
    for named in ["CreateAgent", "ChangeAgent", "CreateApiKey"] {
        schemas[named]["properties"]["name"]["pattern"] = requests::PLAIN_LINE.into();
    }
    schemas["CreateEndpoint"]["properties"]["events"]["items"]["enum"] = json!(event_patterns());
    // Each way has a name, for generators.
    let Value::Array(ways) = schemas["Redeliver"]["oneOf"].take() else {
        return;
    };
    let mut named = Vec::with_capacity(ways.len());
    for mut way in ways {
        way["additionalProperties"] = false.into();
        let name = format!("Redeliver{}", way["title"].as_str().unwrap_or_default());
        named.push(reference("schemas", &name));
        schemas.insert(name, way);
    }
    schemas["Redeliver"]["oneOf"] = named.into();
    schemas["SetReactions"]["properties"]["reactions"]["uniqueItems"] = true.into();
    let states = HealthState::ALL.map(HealthState::as_str);
    schemas["ChannelHealth"]["properties"]["state"]["enum"] = json!(states);
    if let Some(schema) = schemas.get_mut("ProblemCode") {
        let rows = Code::ALL.iter().map(|code| {
            let status = code.status().as_u16();
            format!("\n| `{}` | {status} | {} |", code.as_str(), code.meaning())
        });
        // The names as they are written; utoipa does not see those that a macro gives.
        schema["enum"] = Code::ALL.iter().map(|code| code.as_str()).collect();
        schema["description"] = format!(
            "Codes are never renamed; new ones may be added.\n\n| code | status | meaning |\n|---|---|---|{}",
            rows.collect::<String>()
        )
        .into();
    }
}

/// What parameters have in common wherever they are taken.
fn complete_parameters(document: &mut Value) {
    let Some(paths) = object(document, "/paths") else {
        return;
    };
    for item in paths.values_mut() {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let parameters = operation["parameters"].as_array_mut();
            for parameter in parameters.into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap_or_default().to_owned();
                let (schema, keywords) = (&mut parameter["schema"], keywords_of(&name));
                if name == "id" && schema.get("format").is_some() {
                    continue;
                }
                if let (Some(schema), Value::Object(keywords)) = (schema.as_object_mut(), keywords)
                {
                    schema.extend(keywords);
                }
            }
            if operation["parameters"].is_null()
                && let Some(operation) = operation.as_object_mut()
            {
                operation.remove("parameters");
            }
        }
    }
}

/// Everything that stands for event types.
fn event_patterns() -> Vec<String> {
    let nouns = EVENT_TYPES.iter().filter_map(|kind| kind.split_once('.'));
    let nouns: BTreeSet<String> = nouns.map(|(noun, _)| format!("{noun}.*")).collect();
    let types = EVENT_TYPES.iter().map(|kind| (*kind).to_owned());
    std::iter::once("*".to_owned())
        .chain(nouns)
        .chain(types)
        .collect()
}

/// What a parameter of this name must be like.
fn keywords_of(name: &str) -> Value {
    match name {
        "id" | "after" => json!({ "minLength": 1 }),
        "name" => json!({ "pattern": requests::NO_NUL }),
        "state" => {
            json!({ "enum": ConversationState::ALL.map(ConversationState::as_str) })
        }
        "types" => {
            let one = event_patterns()
                .join("|")
                .replace('.', "\\.")
                .replace('*', "\\*");
            json!({ "pattern": format!("^({one})(,({one}))*$") })
        }
        "Idempotency-Key" => {
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$" })
        }
        _ => Value::Null,
    }
}

/// The body of an upload is bytes; utoipa takes them for a list of numbers.
fn complete_uploads(document: &mut Value) {
    let body = "/paths/~1v1~1media/post/requestBody";
    if let Some(body) = document.pointer_mut(body) {
        let bytes = json!({ "type": "string", "format": "binary", "minLength": 1 });
        body["content"] = json!({ "application/octet-stream": { "schema": bytes } });
        body["required"] = true.into();
    }
}

/// Completes what every operation can answer.
fn complete_responses(document: &mut Value) {
    let Some(paths) = object(document, "/paths") else {
        return;
    };
    for (path, item) in paths {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let problems = problems_of(path, operation);
            let Some(responses) = object(operation, "/responses") else {
                continue;
            };
            for (status, response) in responses.iter_mut() {
                let status = StatusCode::from_bytes(status.as_bytes()).ok();
                let phrase = status.and_then(|status| status.canonical_reason());
                response["description"] = phrase.unwrap_or_default().into();
                response["headers"] = rate_limit_headers();
            }
            responses.extend(problems);
        }
    }
}

/// What every answer to a request with a key says of the key's rate.
fn rate_limit_headers() -> Value {
    let field = |description: &str, example: &str| json!({ "description": description, "schema": { "type": "string" }, "example": example });
    json!({
        "RateLimit-Policy": field("Requests that the key may make within so many seconds", "\"key\";q=200;w=2"),
        "RateLimit": field("Requests that are left, and seconds until all are there again", "\"key\";r=199;t=1"),
    })
}

/// The problems that an operation can answer, by status; most follow from what it takes.
fn problems_of(path: &str, operation: &Value) -> Map<String, Value> {
    let takes_body = operation.get("requestBody").is_some();
    let takes_json = operation
        .pointer("/requestBody/content/application~1json")
        .is_some();
    let takes_parameters = operation.get("parameters").is_some();
    let conflicts = operation["operationId"].as_str().map_or(&[][..], conflicts);
    let mut problems = Map::new();
    if !conflicts.is_empty() {
        problems.insert("409".to_owned(), problem_response(conflicts));
    }
    for (name, codes) in COMMON {
        let applies = match *name {
            "NotFound" => path.contains('{'),
            "NotJson" => takes_json,
            "TooLarge" | "UnsupportedMediaType" => takes_body,
            "Invalid" => takes_body || takes_parameters,
            _ => true,
        };
        if applies && let Some(code) = codes.first() {
            let status = code.status().as_str().to_owned();
            problems.insert(status, reference("responses", name));
        }
    }
    problems
}

/// The problems that many routes share, by the name of the response; all codes of one have the same status.
const COMMON: &[(&str, &[Code])] = &[
    ("NotJson", &[Code::InvalidJson]),
    ("Unauthorized", &[Code::Unauthorized]),
    ("NotFound", &[Code::NotFound]),
    ("TooLarge", &[Code::BodyTooLarge]),
    ("UnsupportedMediaType", &[Code::UnsupportedMediaType]),
    (
        "Invalid",
        &[
            Code::InvalidBody,
            Code::InvalidParameter,
            Code::IdempotencyKeyReused,
            Code::Unrenderable,
        ],
    ),
    ("RateLimited", &[Code::RateLimited]),
    ("Internal", &[Code::Internal]),
    ("Unavailable", &[Code::Unavailable, Code::DeadlineExceeded]),
];

/// The conflicts that an operation can run into.
fn conflicts(operation: &str) -> &'static [Code] {
    match operation {
        "send_message" => &[
            Code::ConversationClosed,
            Code::ContactBlocked,
            Code::ChannelRemoved,
        ],
        "preview_message" => &[Code::ChannelRemoved],
        "edit_message" | "delete_message" => &[
            Code::MessageNotOurs,
            Code::MessageNotSent,
            Code::MessageDeleted,
            Code::ContactBlocked,
            Code::ChannelRemoved,
        ],
        "set_reactions" => &[
            Code::MessageNotSent,
            Code::MessageDeleted,
            Code::ContactBlocked,
            Code::ChannelRemoved,
        ],
        "show_typing" => &[
            Code::ConversationClosed,
            Code::ContactBlocked,
            Code::ChannelRemoved,
        ],
        "mark_read" => &[
            Code::NothingToRead,
            Code::ContactBlocked,
            Code::ChannelRemoved,
        ],
        "assign_conversation" => &[Code::ConversationClosed],
        "reopen_conversation" => &[Code::ConversationOpen],
        "create_endpoint" => &[Code::LimitReached],
        _ => &[],
    }
}

fn problem_response(codes: &[Code]) -> Value {
    let described: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}", code.as_str(), code.meaning()))
        .collect();
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| (code.as_str().to_owned(), json!({ "value": example(*code) })))
        .collect();
    let mut headers = json!({
        "x-request-id": { "description": "Names the request in our log", "schema": { "type": "string" } }
    });
    if codes
        .iter()
        .any(|code| matches!(code, Code::RateLimited | Code::Unavailable))
    {
        headers["Retry-After"] =
            json!({ "description": "Seconds", "schema": { "type": "integer" } });
    }
    let content = json!({ "schema": reference("schemas", &Problem::name()), "examples": examples });
    json!({ "description": described.join("; "), "headers": headers, "content": { PROBLEM_JSON: content } })
}

/// A problem as it is answered.
fn example(code: Code) -> Problem {
    match code {
        Code::InvalidBody => Problem::field("content.text", "must not be empty or only spaces"),
        Code::InvalidParameter => Problem::parameter("limit", "must be a number from 1 to 200"),
        code => Problem::of(code),
    }
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

fn object<'a>(value: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    value.pointer_mut(pointer)?.as_object_mut()
}
