//! The REST API: a thin layer of HTTP over the store, described by the OpenAPI document it serves.
//!
//! The only folder of this crate that knows axum. Decides nothing about conversations.

pub mod operations;

mod agents;
mod api_keys;
mod around;
mod asyncapi;
mod auth;
mod changes;
mod code;
mod content;
mod conversations;
mod directory;
mod endpoints;
mod events;
mod extract;
mod media;
mod message_log;
mod messages;
mod openapi;
mod page;
mod presence;
mod preview;
mod problem;
mod serve;
mod views;

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    response::Redirect,
    routing::{any, get},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tributary_base::{
    media::{Limits, MediaService},
    outgoing::Guard,
};
use tributary_bus::Bus;
use tributary_config::Settings;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

pub use asyncapi::document as asyncapi_document;
pub use auth::Rate;
pub use message_log::{MessageLog, ProviderCall};
pub use openapi::document as openapi_document;
pub use preview::{Preview, Previewed};

use crate::{MediaLinks, links::Links, store::Store};

/// Requests that run at once; further ones are answered 503.
const IN_FLIGHT_LIMIT: usize = 512;
/// How often idle keys are forgotten by the rate limit.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// What the API works with. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    shared: Arc<Shared>,
    links: Links,
}

/// What the API offers beyond the store, where the process has it.
#[derive(Clone, Default)]
pub struct Extras {
    /// The channel log; without it no message has one.
    pub message_log: Option<Arc<dyn MessageLog>>,
    /// What channels would make of a content; without it no channel has a preview.
    pub preview: Option<Arc<dyn Preview>>,
    /// Where media is kept; without it uploads are refused.
    pub media: Option<MediaService>,
}

struct Shared {
    store: Store,
    bus: Arc<dyn Bus>,
    guard: Guard,
    extras: Extras,
    limiter: auth::KeyLimiter,
    in_flight: Semaphore,
    settings: tributary_config::Api,
    uploads: Semaphore,
    upload_limits: Limits,
}

impl ApiState {
    /// The API over a migrated store; `rate` bounds each API key.
    pub fn new(
        store: Store,
        bus: Arc<dyn Bus>,
        settings: &Settings,
        rate: Rate,
        extras: Extras,
    ) -> Self {
        let mut links = Links::default().with_public_url(settings.api.public_url.as_ref());
        if let Some(media) = &extras.media {
            links = links.with_media(Arc::new(media.links.clone()));
        }
        let shared = Shared {
            store,
            bus,
            guard: Guard::new(&settings.webhooks.allow_internal),
            extras,
            limiter: auth::KeyLimiter::new(rate),
            in_flight: Semaphore::new(IN_FLIGHT_LIMIT),
            settings: settings.api.clone(),
            uploads: Semaphore::new(media::UPLOADS_LIMIT),
            upload_limits: Limits {
                size: settings.media.size_limit,
                deadline: settings.media.fetch_deadline,
            },
        };
        Self {
            shared: Arc::new(shared),
            links,
        }
    }

    /// The same, with other links to media in its answers than those of its media service.
    #[must_use]
    pub fn with_media_links(mut self, links: Arc<dyn MediaLinks>) -> Self {
        self.links = self.links.with_media(links);
        self
    }

    fn links(&self) -> &Links {
        &self.links
    }

    fn preview(&self) -> Option<&dyn Preview> {
        self.shared.extras.preview.as_deref()
    }

    fn message_log(&self) -> Option<&dyn MessageLog> {
        self.shared.extras.message_log.as_deref()
    }

    fn media(&self) -> Option<&MediaService> {
        self.shared.extras.media.as_ref()
    }

    fn uploads(&self) -> &Semaphore {
        &self.shared.uploads
    }

    fn upload_limits(&self) -> Limits {
        self.shared.upload_limits
    }

    fn store(&self) -> &Store {
        &self.shared.store
    }

    fn bus(&self) -> &dyn Bus {
        self.shared.bus.as_ref()
    }

    fn guard(&self) -> &Guard {
        &self.shared.guard
    }

    fn limiter(&self) -> &auth::KeyLimiter {
        &self.shared.limiter
    }

    fn in_flight(&self) -> &Semaphore {
        &self.shared.in_flight
    }

    fn request_deadline(&self) -> Duration {
        self.shared.settings.request_deadline
    }
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiState")
    }
}

/// Serves the API until `stop`, then lets requests in flight finish within the request deadline.
pub async fn serve_api(listener: TcpListener, state: ApiState, stop: CancellationToken) {
    let patience = state.request_deadline();
    let forgetting = forget_idle_keys(&state, &stop);
    let serving = serve::serve(listener, router(state.clone()), patience, stop.clone());
    tokio::join!(serving, forgetting);
}

async fn forget_idle_keys(state: &ApiState, stop: &CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(FORGET_INTERVAL))
        .await
        .is_some()
    {
        state.limiter().forget_idle();
    }
}

/// Every route of the API with its description.
fn routes_of_the_api() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(directory::list_organizations))
        .routes(routes!(directory::get_organization))
        .routes(routes!(api_keys::list_api_keys, api_keys::create_api_key))
        .routes(routes!(api_keys::revoke_api_key))
        .routes(routes!(directory::list_channels))
        .routes(routes!(directory::get_channel))
        .routes(routes!(preview::preview_message))
        .routes(routes!(agents::list_agents, agents::create_agent))
        .routes(routes!(agents::get_agent, agents::change_agent))
        .routes(routes!(directory::get_contact))
        .routes(routes!(conversations::list_conversations))
        .routes(routes!(conversations::get_conversation))
        .routes(routes!(conversations::close_conversation))
        .routes(routes!(conversations::reopen_conversation))
        .routes(routes!(conversations::assign_conversation))
        .routes(routes!(presence::show_typing))
        .routes(routes!(presence::mark_read))
        .routes(routes!(messages::list_messages, messages::send_message))
        .routes(routes!(
            messages::get_message,
            changes::edit_message,
            changes::delete_message
        ))
        .routes(routes!(changes::set_reactions))
        .routes(routes!(message_log::get_message_log))
        .routes(routes!(media::upload_media))
        .routes(routes!(media::get_media))
        .routes(routes!(
            endpoints::list_endpoints,
            endpoints::create_endpoint
        ))
        .routes(routes!(endpoints::get_endpoint, endpoints::delete_endpoint))
        .routes(routes!(endpoints::rotate_secret))
        .routes(routes!(endpoints::enable_endpoint))
        .routes(routes!(endpoints::redeliver_events))
        .routes(routes!(events::list_events))
}

fn router(state: ApiState) -> Router {
    let document = openapi::document(state.shared.settings.public_url.as_ref());
    let docs = SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", document);
    Router::from(routes_of_the_api())
        .route("/", get(async || Redirect::temporary("/docs/")))
        .route("/asyncapi.json", get(async || Json(asyncapi::document())))
        .route("/media/{organization}/{id}/{name}", any(media::open_link))
        .merge(docs)
        .layer(CatchPanicLayer::custom(around::panicked))
        .layer(DefaultBodyLimit::max(state.shared.settings.body_limit))
        .layer(from_fn_with_state(state.clone(), around::around))
        .with_state(state)
}
