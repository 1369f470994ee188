//! What is refused at the ways in: every refusal is counted, and each reason is logged once a minute at most, so that
//! neither a flood nor a mistake fills the log.

use std::{
    collections::BTreeMap,
    sync::{Mutex, Once, PoisonError},
    time::Duration,
};

use metrics::{counter, describe_counter};
use tokio::time::Instant;
use tracing::warn;

/// Between two lines in the log with the same reason.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How somebody came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Webhooks and pages.
    Http,
    /// The WebSocket of a visitor.
    Socket,
    Upload,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socket => "socket",
            Self::Upload => "upload",
        }
    }
}

/// Reasons that are not a code of the widget's protocol.
pub(crate) mod reason {
    pub(crate) const UNKNOWN_CHANNEL: &str = "unknown_channel";
    pub(crate) const NO_SUCH_PATH: &str = "no_such_path";
    pub(crate) const UNAUTHORIZED: &str = "unauthorized";
    pub(crate) const ORIGIN: &str = "origin";
    pub(crate) const MALFORMED: &str = "malformed";
    pub(crate) const RATE_LIMITED: &str = "rate_limited";
    pub(crate) const UNAVAILABLE: &str = "unavailable";
    pub(crate) const MISCONFIGURED: &str = "misconfigured";
    pub(crate) const TOO_LARGE: &str = "too_large";
    pub(crate) const SLOW: &str = "slow";
    pub(crate) const METHOD: &str = "method";
    pub(crate) const NO_WEBSOCKET: &str = "no_websocket";
    pub(crate) const UPLOADS_AT_ONCE: &str = "uploads_at_once";
    pub(crate) const CONNECTIONS: &str = "connections";
    pub(crate) const CONNECTIONS_OF_ADDRESS: &str = "connections_of_address";
    pub(crate) const NEW_VISITORS: &str = "new_visitors";
    pub(crate) const MESSAGES: &str = "messages";
    pub(crate) const FRAMES: &str = "frames";
    pub(crate) const FRAME_TOO_LARGE: &str = "frame_too_large";
    pub(crate) const SILENT: &str = "silent";
    pub(crate) const REPLACED: &str = "replaced";
}

/// What an operator can do; empty where it is the other side's mistake.
fn advice(reason: &str) -> &'static str {
    match reason {
        reason::UNKNOWN_CHANNEL => {
            "no channel of this id is configured here; correct data-channel or the webhook's address"
        }
        reason::UNAUTHORIZED => "compare the secret here with that of the sender",
        reason::ORIGIN => {
            "add the page to the channel's allowed_origins, if it should show the widget"
        }
        reason::NEW_VISITORS => {
            "raise visitors_per_minute and visitors_per_hour; behind a proxy set ingress.trusted_proxies"
        }
        reason::RATE_LIMITED => "raise uploads_per_hour, if these are people",
        reason::MESSAGES => "raise messages_per_10s and messages_per_10m, if these are people",
        reason::TOO_LARGE => "raise ingress.body_limit, or the channel's upload_limit for files",
        reason::CONNECTIONS => "raise ingress.max_connections, or start another process",
        reason::CONNECTIONS_OF_ADDRESS => {
            "raise ingress.max_connections_per_address; behind a proxy set ingress.trusted_proxies"
        }
        reason::UPLOADS_AT_ONCE => "start another process",
        reason::UNAVAILABLE => "look at the broker, the database and the media store",
        reason::MISCONFIGURED => "tributary channels says what to do",
        _ => "",
    }
}

type Key = (String, Way, &'static str);

/// When each reason was logged last, and what was counted since. As many as channels times reasons.
static LOGGED: Mutex<BTreeMap<Key, Logged>> = Mutex::new(BTreeMap::new());

/// Counts a refusal and logs it, unless the same was logged within the last minute.
///
/// `channel_id` is that of a configured account, or empty: a label must not come from outside. `detail` is for the log
/// and holds no address, no token and nothing that anybody wrote.
pub(crate) fn refuse(channel_id: &str, way: Way, reason: &'static str, detail: &str) {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        describe_counter!(
            "tributary_refusals_total",
            "What was refused at the ingress, by way (http, socket, upload) and reason"
        );
    });
    counter!("tributary_refusals_total", "channel" => channel_id.to_owned(), "way" => way.as_str(), "reason" => reason)
        .increment(1);
    let key = (channel_id.to_owned(), way, reason);
    let count = {
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        logged.entry(key).or_default().count(Instant::now())
    };
    if let Some(count) = count {
        let advice = advice(reason);
        let way = way.as_str();
        warn!(
            channel_id,
            way, reason, count, detail, advice, "request refused"
        );
    }
}

/// One reason.
#[derive(Debug, Default)]
struct Logged {
    at: Option<Instant>,
    /// Since then.
    count: u64,
}

impl Logged {
    /// Counts one more; how many there are to be logged now, if any.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.at.is_some_and(|at| now.duration_since(at) < LOG_EVERY) {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_at_once_and_then_once_a_minute() {
        let mut logged = Logged::default();
        let start = Instant::now();
        let logged: Vec<(u64, u64)> = (0..150)
            .filter_map(|second| {
                let count = logged.count(start + Duration::from_secs(second))?;
                Some((second, count))
            })
            .collect();
        assert_eq!(logged, [(0, 1), (60, 60), (120, 60)]);
    }
}
