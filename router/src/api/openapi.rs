//! The OpenAPI 3.1 document: what utoipa collects from the routes, completed with what holds for all of them.

use serde_json::{Map, Value, json};
use url::Url;
use utoipa::{
    OpenApi, ToSchema,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    problem::{PROBLEM_JSON, Problem},
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
    put_schemas_of_the_bus(&mut document);
    put_common_responses(&mut document);
    document["servers"] = json!([{ "url": server.map_or("/", |url| url.as_str()) }]);
    document
}

fn put_schemas_of_the_bus(document: &mut Value) {
    if let Some(schemas) = object(document, "/components/schemas") {
        schemas.extend(schemas_of_the_bus());
    }
}

/// The problems that a route can answer follow from what it takes.
fn put_common_responses(document: &mut Value) {
    let responses: Map<String, Value> = COMMON
        .iter()
        .map(|(name, _, description)| ((*name).to_owned(), problem_response(description)))
        .collect();
    document["components"]["responses"] = Value::Object(responses);
    let Some(paths) = object(document, "/paths") else {
        return;
    };
    for (path, item) in paths {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let takes_body = operation.get("requestBody").is_some();
            let takes_parameters = operation.get("parameters").is_some();
            let Some(responses) = object(operation, "/responses") else {
                continue;
            };
            for (name, status, _) in COMMON {
                let applies = match *name {
                    "NotFound" => path.contains('{'),
                    "NotJson" | "TooLarge" | "NotJsonType" => takes_body,
                    "Invalid" => takes_body || takes_parameters,
                    _ => true,
                };
                if applies {
                    let reference = json!({ "$ref": format!("#/components/responses/{name}") });
                    responses.entry(*status).or_insert(reference);
                }
            }
        }
    }
}

/// Name, status and description of the problems that many routes share.
const COMMON: &[(&str, &str, &str)] = &[
    ("NotJson", "400", "`invalid_json`: the body is not JSON"),
    (
        "Unauthorized",
        "401",
        "`unauthorized`: no API key, an unknown or a revoked one",
    ),
    (
        "NotFound",
        "404",
        "`not_found`: your organization has nothing with this id",
    ),
    ("TooLarge", "413", "`body_too_large`"),
    (
        "NotJsonType",
        "415",
        "`unsupported_media_type`: send application/json",
    ),
    (
        "Invalid",
        "422",
        "`invalid_body`, `invalid_parameter` or `idempotency_key_reused`; `errors` names what is wrong",
    ),
    ("RateLimited", "429", "`rate_limited`: see `Retry-After`"),
    ("Internal", "500", "`internal`: our mistake"),
    (
        "Unavailable",
        "503",
        "`unavailable` or `deadline_exceeded`: repeat after `Retry-After`, a message with the same `Idempotency-Key`",
    ),
];

fn problem_response(description: &str) -> Value {
    let schema = json!({ "$ref": format!("#/components/schemas/{}", Problem::name()) });
    json!({
        "description": description,
        "headers": {
            "x-request-id": {
                "description": "Names the request in our log",
                "schema": { "type": "string" }
            }
        },
        "content": { PROBLEM_JSON: { "schema": schema } }
    })
}

fn object<'a>(value: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    value.pointer_mut(pointer)?.as_object_mut()
}
