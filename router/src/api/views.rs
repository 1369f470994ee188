//! What the API shows. Conversations, messages and contacts look exactly as in events: their schemas are taken from
//! the bus (`schemars`), so the two cannot drift apart.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tributary_bus::message::{ContactView, ConversationView, MessageView};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema},
};

use super::preview::Previewed;
use crate::store::{self, AgentRow, ChannelRow, OrganizationRow};

macro_rules! view_of_the_bus {
    ($(#[$doc:meta])* $name:ident($view:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $view);

        impl From<$view> for $name {
            fn from(view: $view) -> Self {
                Self(view)
            }
        }

        impl PartialSchema for $name {
            /// Holds the place of the bus's schema, which `openapi` puts there.
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().into()
            }
        }

        impl ToSchema for $name {}
    };
}

view_of_the_bus!(
    /// A contact.
    Contact(ContactView)
);
view_of_the_bus!(
    /// A conversation.
    Conversation(ConversationView)
);
view_of_the_bus!(
    /// A message.
    Message(MessageView)
);
view_of_the_bus!(
    /// What a channel makes of a content.
    Preview(Previewed)
);

/// The schemas of the views above and of all they mention, under the names they have in the OpenAPI document.
pub fn schemas_of_the_bus() -> Map<String, Value> {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .for_serialize()
        .into_generator();
    let mut schemas = Map::new();
    schemas.insert(
        "Contact".to_owned(),
        schema_of::<ContactView>(&mut generator),
    );
    schemas.insert(
        "Conversation".to_owned(),
        schema_of::<ConversationView>(&mut generator),
    );
    schemas.insert(
        "Message".to_owned(),
        schema_of::<MessageView>(&mut generator),
    );
    schemas.insert("Preview".to_owned(), schema_of::<Previewed>(&mut generator));
    schemas.extend(generator.take_definitions(true));
    schemas
}

fn schema_of<T: JsonSchema>(generator: &mut schemars::SchemaGenerator) -> Value {
    let mut schema = generator.root_schema_for::<T>().to_value();
    if let Some(object) = schema.as_object_mut() {
        for key in ["$schema", "title", "components", "$defs"] {
            object.remove(key);
        }
    }
    schema
}

/// An organization (tenant).
#[derive(Debug, Serialize, ToSchema)]
pub struct Organization {
    /// As configured.
    #[schema(example = "acme")]
    pub id: String,
    pub name: String,
    pub created_at: DateTime<Utc>,
}

/// A channel account; it is set up in the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub struct Channel {
    #[schema(example = "acme-bot")]
    pub id: String,
    /// `telegram`, `widget`, ...
    #[schema(example = "telegram")]
    pub kind: String,
    pub name: String,
    /// How it is doing, by its own word; `null` before its first report.
    #[schema(required)]
    pub health: Option<ChannelHealth>,
    pub created_at: DateTime<Utc>,
}

/// How a channel account is doing.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelHealth {
    /// `starting`, `ok`, `degraded` (it works, and not as it should), `down` (it is tried again) or `misconfigured` (a
    /// person must act).
    #[schema(example = "misconfigured")]
    pub state: String,
    /// For a person: what happened.
    #[schema(example = "token rejected by provider (401)")]
    pub reason: String,
    /// For a person: what to do about it.
    #[schema(required)]
    pub action: Option<String>,
    pub since: DateTime<Utc>,
}

/// A human who answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Agent {
    #[schema(value_type = uuid::Uuid)]
    pub id: tributary_bus::AgentId,
    pub name: String,
    /// Whether new conversations may be assigned to the agent.
    pub available: bool,
    /// Conversations at once, at most.
    pub capacity: i32,
    /// Conversations assigned right now.
    pub assigned: i64,
    pub created_at: DateTime<Utc>,
}

/// An API key; the key itself is shown only when it is created.
#[derive(Debug, Serialize, ToSchema)]
pub struct ApiKey {
    #[schema(value_type = uuid::Uuid)]
    pub id: store::ApiKeyId,
    pub name: String,
    pub created_at: DateTime<Utc>,
    /// Since when it is refused.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// An integrator's webhook. Every matching event is sent to `url` as a CloudEvents JSON document, signed by the
/// Standard Webhooks scheme.
#[derive(Debug, Serialize, ToSchema)]
pub struct Endpoint {
    #[schema(value_type = uuid::Uuid)]
    pub id: tributary_bus::EndpointId,
    #[schema(example = "https://crm.example.org/tributary")]
    pub url: String,
    /// Patterns of event types.
    #[schema(example = json!(["message.*", "conversation.assigned"]))]
    pub events: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub state: EndpointStatus,
    /// When it last took an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<DateTime<Utc>>,
    /// When it last did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure_at: Option<DateTime<Utc>>,
    /// Failed requests since it last took an event.
    pub failures: i64,
    /// Why the last one failed, or why it is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until then all of its events wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<DateTime<Utc>>,
    /// Since when nothing is sent to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<DateTime<Utc>>,
}

/// How an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    /// It took the last event, or was sent none yet.
    Ok,
    /// It did not take the last event; it is tried again.
    Failing,
    /// It answered 410 for an hour: nothing is sent to it until it is enabled again.
    Disabled,
}

impl Endpoint {
    /// An endpoint and how it does.
    fn new(row: store::Endpoint, health: store::EndpointHealth) -> Self {
        let state = match (row.disabled_at, health.failures) {
            (Some(_), _) => EndpointStatus::Disabled,
            (None, 0) => EndpointStatus::Ok,
            (None, _) => EndpointStatus::Failing,
        };
        Self {
            id: row.id,
            url: row.url,
            events: row.events,
            created_at: row.created_at,
            state,
            last_success_at: health.last_success_at,
            last_failure_at: health.last_failure_at,
            failures: health.failures,
            reason: row.disabled_reason.or(health.failure_reason),
            next_try_at: health.next_try_at.filter(|_| row.disabled_at.is_none()),
            disabled_at: row.disabled_at,
        }
    }
}

impl From<OrganizationRow> for Organization {
    fn from(row: OrganizationRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            created_at: row.created_at,
        }
    }
}

impl From<ChannelRow> for Channel {
    fn from(row: ChannelRow) -> Self {
        Self {
            id: row.id.0,
            kind: row.kind,
            name: row.name,
            health: row
                .health_state
                .zip(row.health_since)
                .map(|(state, since)| ChannelHealth {
                    state,
                    reason: row.health_reason.unwrap_or_default(),
                    action: row.health_action,
                    since,
                }),
            created_at: row.created_at,
        }
    }
}

impl From<AgentRow> for Agent {
    fn from(row: AgentRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            available: row.available,
            capacity: row.capacity,
            assigned: row.assigned,
            created_at: row.created_at,
        }
    }
}

impl From<store::ApiKey> for ApiKey {
    fn from(key: store::ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            created_at: key.created_at,
            revoked_at: key.revoked_at,
        }
    }
}

impl From<(store::Endpoint, store::EndpointHealth)> for Endpoint {
    fn from((endpoint, health): (store::Endpoint, store::EndpointHealth)) -> Self {
        Self::new(endpoint, health)
    }
}
