//! Metrics of lanes.

use std::time::Duration;

use super::{Group, Lane};

/// What a lane carries, as a label: few values, however many lanes there are.
fn kind(lane: &Lane) -> &'static str {
    match lane {
        Lane::Inbound(_) => "inbound",
        Lane::Delivery(_) => "delivery",
        Lane::Endpoint(_) => "endpoint",
    }
}

pub(super) fn outcome(lane: &Lane, outcome: &'static str, count: usize) {
    if count > 0 {
        metrics::counter!("tributary_lane_outcomes_total", "kind" => kind(lane), "outcome" => outcome)
            .increment(count as u64);
    }
}

/// How long a handler took for a batch.
pub(super) fn handled(lane: &Lane, took: Duration) {
    metrics::histogram!("tributary_lane_handle_seconds", "kind" => kind(lane)).record(took);
}

/// Messages waiting in a lane, as its owner sees it; 0 once it is not the owner.
pub(super) fn depth(lane: &Lane, depth: u64) {
    metrics::gauge!("tributary_lane_depth", "lane" => lane.to_string()).set(depth as f64);
}

/// Messages taken from a lane that nobody handles; not 0 for moments is an error.
pub(super) fn stranded(lane: &Lane, count: usize) {
    metrics::gauge!("tributary_lane_stranded", "lane" => lane.to_string()).set(count as f64);
}

/// Lanes this worker owns.
pub(super) fn owned(group: &Group, count: usize) {
    metrics::gauge!("tributary_lanes_owned", "group" => group.to_string()).set(count as f64);
}

/// Lanes of a group that nobody has owned for too long, as far as this worker has seen.
pub(super) fn unowned(group: &Group, count: usize) {
    metrics::gauge!("tributary_lanes_unowned", "group" => group.to_string()).set(count as f64);
}

/// Names and units, for the metrics endpoint.
pub(super) fn describe() {
    metrics::describe_counter!(
        "tributary_lane_outcomes_total",
        "Messages handled, by what became of them"
    );
    metrics::describe_histogram!(
        "tributary_lane_handle_seconds",
        metrics::Unit::Seconds,
        "Time a handler took for a batch"
    );
    metrics::describe_histogram!(
        "tributary_publish_seconds",
        metrics::Unit::Seconds,
        "Time until a publication was durable"
    );
    metrics::describe_counter!(
        "tributary_published_total",
        "Publications, by what became of them"
    );
    metrics::describe_histogram!(
        "tributary_settle_seconds",
        metrics::Unit::Seconds,
        "Time until the bus took note of settled messages"
    );
    metrics::describe_gauge!(
        "tributary_lane_depth",
        "Messages waiting in a lane, told by its owner"
    );
    metrics::describe_gauge!(
        "tributary_lane_stranded",
        "Messages held for 30 s that nobody handles: a defect, restart the worker"
    );
    metrics::describe_gauge!("tributary_lanes_owned", "Lanes this worker owns");
    metrics::describe_gauge!(
        "tributary_lanes_unowned",
        "Lanes that nobody has owned for 30 seconds, as far as this worker has seen"
    );
}
