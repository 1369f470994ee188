//! The events of an organization, for readers with a cursor.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tributary_bus::EventFilter;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState,
    auth::Caller,
    endpoints::is_pattern,
    extract::{Limit, Parameters},
    page::cursor,
    problem::Problem,
};
use crate::store::{Position, StoreError};

/// Events looked at in one request, at most; a page of a filtered list can be short or empty for that.
const SCAN_LIMIT: i64 = 2_000;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Events of a page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
    /// `next` of the page before. Without it the list begins with the oldest event that is still kept.
    after: Option<String>,
    /// Only these, separated by commas: `*`, `message.*` or `message.created`.
    #[param(example = "message.*,conversation.assigned")]
    types: Option<String>,
}

/// Some events, in the order in which they were published.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// CloudEvents 1.0 documents, exactly as endpoints get them. Links to media of the store are made anew each time.
    #[schema(value_type = Vec<CloudEvent>)]
    items: Vec<Box<RawValue>>,
    /// Pass it as `after`, at once when `more` is true, else some time later. Opaque; it never expires, and never
    /// skips an event.
    next: String,
    /// Whether something may follow already, even when `items` is empty.
    more: bool,
}

/// A CloudEvents 1.0 document in structured JSON mode. `data` follows from `type`; its JSON Schema is named by
/// `dataschema`. More attributes may appear.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudEvent {
    /// Always `1.0`.
    specversion: String,
    /// The same each time the event is sent.
    id: uuid::Uuid,
    /// A URI reference, absolute where the server knows its public address.
    #[schema(format = "uri-reference", example = "https://api.example.org/router")]
    source: String,
    #[serde(rename = "type")]
    #[schema(example = "message.created.v1")]
    kind: String,
    /// The conversation, where there is one: events with the same subject come in order.
    #[schema(required = false)]
    subject: Option<String>,
    time: chrono::DateTime<chrono::Utc>,
    #[schema(example = "application/json")]
    datacontenttype: String,
    /// The `$id` of the JSON Schema of `data`.
    #[schema(format = "uri", example = "urn:tributary:schema:message.created.v1")]
    dataschema: String,
    /// The organization.
    orgid: String,
    /// The place in the conversation, a decimal number that rises: 19 digits, with leading zeros.
    #[schema(
        required = false,
        pattern = "^[0-9]{19}$",
        example = "0000000000000000007"
    )]
    sequence: Option<String>,
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

/// List events
///
/// What an endpoint with the same `types` is sent, for those who prefer to ask. An event appears once it was published;
/// it stays for 30 days by default.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventsQuery), responses((status = 200, body = EventPage)))]
pub async fn list_events(
    Caller(organization): Caller,
    State(state): State<ApiState>,
    Parameters(query): Parameters<EventsQuery>,
) -> Result<Json<EventPage>, Problem> {
    let start = cursor::<i64>(query.after.as_deref())?.unwrap_or(0);
    let filter = EventFilter {
        patterns: checked_types(query.types.as_deref())?,
        organization,
    };
    let scan = if filter.patterns == ["*"] {
        query.limit.and_one()
    } else {
        SCAN_LIMIT
    };
    let rows = state
        .store()
        .events_after(&filter.organization, Position(start), scan)
        .await?;
    let mut page = EventPage {
        items: Vec::new(),
        next: start.to_string(),
        more: rows.len() as i64 == scan,
    };
    for row in rows {
        if page.items.len() == query.limit.get() {
            page.more = true;
            break;
        }
        let kind: Kind = serde_json::from_str(&row.envelope).map_err(corrupt)?;
        if filter.matches(&filter.organization, &kind.kind) {
            let event = state.links().event(row.envelope);
            let event = RawValue::from_string(event).map_err(corrupt)?;
            page.items.push(event);
        }
        page.next = row.position.0.to_string();
    }
    Ok(Json(page))
}

fn corrupt(error: serde_json::Error) -> Problem {
    let place = format!("line {}, column {}", error.line(), error.column());
    StoreError::Corrupt("event", place).into()
}

fn checked_types(types: Option<&str>) -> Result<Vec<String>, Problem> {
    let Some(types) = types else {
        return Ok(vec!["*".to_owned()]);
    };
    types
        .split(',')
        .map(|pattern| {
            if is_pattern(pattern) {
                Ok(pattern.to_owned())
            } else {
                Err(Problem::parameter(
                    "types",
                    "write event types such as message.*,conversation.assigned",
                ))
            }
        })
        .collect()
}
