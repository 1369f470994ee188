//! Metrics, with the names and labels that the bus on RabbitMQ uses as well.

use std::time::Duration;

use crate::{Destination, PublishError};

/// A destination as a label.
pub(super) fn kind(to: &Destination) -> &'static str {
    match to {
        Destination::Lane(_) => "lane",
        Destination::Events => "events",
    }
}

/// Publications of one call: where each went, what became of it, and how long it took until that was known.
pub(super) fn published(
    kinds: &[&'static str],
    results: &[Result<(), PublishError>],
    took: Duration,
) {
    let seconds = metrics::histogram!("tributary_publish_seconds");
    for (to, result) in kinds.iter().zip(results) {
        let outcome = match result {
            Ok(()) => {
                seconds.record(took);
                "confirmed"
            }
            Err(PublishError::NoLane(_)) => "no_lane",
            Err(PublishError::Unknown(_)) => "unknown",
            Err(PublishError::NotPublished(_)) => "not_published",
        };
        metrics::counter!("tributary_published_total", "to" => *to, "outcome" => outcome)
            .increment(1);
    }
}

/// How long it took until settled messages were gone.
pub(super) fn settled(took: Duration) {
    metrics::histogram!("tributary_settle_seconds").record(took);
}
