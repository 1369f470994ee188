//! Every metric of every process, with what it says. A test finds those that are missing here or in docs/operators.md.

use metrics::Unit;

/// What is done with a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All series of one name.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    let kind = Kind::Counter;
    Family { name, kind, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    let kind = Kind::Gauge;
    Family { name, kind, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    let kind = Kind::Histogram;
    Family { name, kind, help }
}

/// All of them, by name.
pub const FAMILIES: &[Family] = &[
    histogram(
        "tributary_api_request_seconds",
        "Time until the API answered",
    ),
    counter(
        "tributary_api_requests_total",
        "Requests of the API, by method, route and status",
    ),
    gauge(
        "tributary_channel_reported",
        "1 for the state that a channel account reported last",
    ),
    counter(
        "tributary_channel_log_dropped_total",
        "Provider calls that are missing in the channel log",
    ),
    gauge(
        "tributary_channel_observed",
        "1 for the state of a channel account whose lane this process owns",
    ),
    counter(
        "tributary_endpoints_disabled_total",
        "Endpoints that were disabled, since they were gone for an hour",
    ),
    counter(
        "tributary_webhook_resent_total",
        "Events that were read from the store to be sent again",
    ),
    counter(
        "tributary_early_changes_given_up_total",
        "Edits and deletions whose message never came",
    ),
    counter(
        "tributary_ignored_total",
        "What came and makes no conversation, by kind",
    ),
    counter(
        "tributary_ingress_requests_total",
        "Requests of the ingress, by channel and status",
    ),
    histogram(
        "tributary_ingress_seconds",
        "Time until the ingress answered",
    ),
    gauge(
        "tributary_lane_depth",
        "Messages waiting in a lane, with those in hand, as its owner sees it",
    ),
    histogram(
        "tributary_lane_handle_seconds",
        "Time a handler took for a batch",
    ),
    counter(
        "tributary_lane_outcomes_total",
        "Messages handled, by what became of them",
    ),
    gauge(
        "tributary_lane_stranded",
        "Messages held for 30 s that nobody handles: a defect, restart the worker",
    ),
    gauge("tributary_lanes_owned", "Lanes that this process owns"),
    gauge(
        "tributary_lanes_unowned",
        "Lanes that nobody has owned for 30 s, as far as this process has seen",
    ),
    counter("tributary_media_bytes_total", "Bytes of media stored"),
    counter(
        "tributary_media_fetches_total",
        "Downloads from providers, by outcome",
    ),
    counter(
        "tributary_media_requests_total",
        "Links to media opened at the ingress, by status",
    ),
    counter("tributary_media_stored_total", "Media written, by outcome"),
    counter(
        "tributary_messages_total",
        "Messages by channel, direction and outcome",
    ),
    gauge(
        "tributary_outbox_rows",
        "Rows of the outbox that wait for the relay",
    ),
    histogram(
        "tributary_publish_seconds",
        "Time until a publication was durable",
    ),
    counter(
        "tributary_published_total",
        "Publications, by destination and outcome",
    ),
    counter(
        "tributary_refusals_total",
        "What the ingress refused, by way and reason",
    ),
    histogram(
        "tributary_router_batch_size",
        "Inbound messages that a lane handed over at once",
    ),
    histogram(
        "tributary_router_transaction_size",
        "Inbound messages of one transaction",
    ),
    histogram("tributary_send_seconds", "Time of one call to a provider"),
    histogram(
        "tributary_settle_seconds",
        "Time until the bus took note of settled messages",
    ),
    gauge(
        "tributary_telegram_pending_updates",
        "Updates that wait at Telegram for our webhook",
    ),
    counter(
        "tributary_unknown_media_total",
        "Media that came of a message that is not known",
    ),
    counter(
        "tributary_webhook_deliveries_total",
        "Deliveries to integrators, by outcome",
    ),
    histogram(
        "tributary_webhook_delivery_seconds",
        "Time of one try of a webhook",
    ),
    gauge(
        "tributary_widget_sockets",
        "Visitors connected to this process",
    ),
];

/// Says what each is, in the recorder of this process.
pub(super) fn describe() {
    for Family { name, kind, help } in FAMILIES {
        let unit = if name.ends_with("_seconds") {
            Unit::Seconds
        } else {
            Unit::Count
        };
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, unit, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, unit, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, unit, *help),
        }
    }
}
