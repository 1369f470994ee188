//! What `getWebhookInfo` tells about the way in. Pure.

use super::super::wire::WebhookInfo;
use crate::HealthReport;

/// An error this old (seconds) at the first look is history.
const FRESH: i64 = 120;
/// Updates that wait at Telegram for a moment are no trouble.
const QUEUE: u64 = 20;
/// Looks in a row with more and more of them.
const GROWING: u32 = 2;

/// What the looks so far have told.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When Telegram last failed, in Unix seconds; `None` before the first look.
    last_error: Option<i64>,
    /// It failed and has not caught up since.
    failing: bool,
    pending: u64,
    growing: u32,
}

impl Watch {
    /// A watch on a webhook that was just set.
    pub(super) fn after(info: &WebhookInfo) -> Self {
        Self {
            last_error: Some(info.last_error_date),
            pending: info.pending_update_count,
            ..Self::default()
        }
    }

    /// Takes in a look at `now`, in Unix seconds.
    pub(super) fn look(&mut self, info: &WebhookInfo, now: i64) -> HealthReport {
        let history = now.saturating_sub(FRESH);
        let failed = info.last_error_date > self.last_error.unwrap_or(history);
        // Telegram repeats after up to two minutes; when nothing waits any more, it got through.
        self.failing = failed || (self.failing && info.pending_update_count > 0);
        self.last_error = Some(info.last_error_date);
        let grows = info.pending_update_count > self.pending.max(QUEUE);
        self.growing = if grows { self.growing + 1 } else { 0 };
        self.pending = info.pending_update_count;
        let waiting = info.pending_update_count;
        if self.failing {
            let said = info.last_error_message.as_str();
            let reason = format!(
                "Telegram could not deliver to the webhook: {said} ({waiting} updates wait)"
            );
            return HealthReport::degraded(reason, Some(advice(said).to_owned()));
        }
        if self.growing >= GROWING {
            return HealthReport::degraded(
                format!("{waiting} updates wait at Telegram, more and more"),
                Some("the ingress takes fewer than come: raise webhook_connections, or add processes".to_owned()),
            );
        }
        HealthReport::ok()
    }
}

/// What to do about an error, by Telegram's words for it.
fn advice(said: &str) -> &'static str {
    let said = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["401", "403"]) {
        "another secret is configured where the webhook arrives: give every process the same config"
    } else if says(&["404", "301", "302", "307", "308"]) {
        "something else answers at ingress.public_url: pass /channels/ on to the ingress as it is"
    } else if says(&["500", "502", "503", "504"]) {
        "the ingress or a proxy before it cannot take updates: look at its log, and whether bus and database are there"
    } else if says(&["ssl", "certificate", "tls"]) {
        "the certificate at ingress.public_url is not valid for Telegram: renew it, with its whole chain"
    } else {
        "Telegram does not reach ingress.public_url: look at DNS, firewall and proxy"
    }
}

#[cfg(test)]
mod tests {
    use tributary_bus::message::HealthState;

    use super::*;

    const NOW: i64 = 1_767_225_600;

    fn info(error: i64, message: &str, pending: u64) -> WebhookInfo {
        WebhookInfo {
            last_error_date: error,
            last_error_message: message.to_owned(),
            pending_update_count: pending,
            ..WebhookInfo::default()
        }
    }

    #[test]
    fn an_error_counts_until_telegram_got_through() {
        let mut watch = Watch::default();
        let mut state = |info: &WebhookInfo, second| watch.look(info, NOW + second).state;
        let old = info(NOW - 3600, "Connection refused", 0);
        assert_eq!(state(&old, 0), HealthState::Ok, "that is history");
        let failed = info(NOW + 50, "Connection refused", 3);
        assert_eq!(state(&failed, 60), HealthState::Degraded);
        assert_eq!(
            state(&failed, 120),
            HealthState::Degraded,
            "they still wait"
        );
        let through = info(NOW + 50, "Connection refused", 0);
        assert_eq!(state(&through, 180), HealthState::Ok);
        let again = info(NOW + 230, "Connection refused", 0);
        assert_eq!(
            state(&again, 240),
            HealthState::Degraded,
            "though nothing waits"
        );
        assert_eq!(state(&again, 300), HealthState::Ok);
    }

    #[test]
    fn a_fresh_error_counts_at_the_first_look() {
        let report = Watch::default().look(&info(NOW - 5, "SSL error", 1), NOW);
        assert_eq!(report.state, HealthState::Degraded);
        assert!(
            report
                .action
                .is_some_and(|action| action.contains("certificate"))
        );
        let mut set = Watch::after(&info(NOW - 5, "SSL error", 1));
        let report = set.look(&info(NOW - 5, "SSL error", 1), NOW);
        assert_eq!(report.state, HealthState::Ok, "it was another webhook's");
    }

    #[test]
    fn a_growing_queue_counts() {
        let mut watch = Watch::default();
        let states: Vec<HealthState> = [0, 15, 100, 90, 200, 400, 400]
            .into_iter()
            .map(|pending| watch.look(&info(0, "", pending), NOW).state)
            .collect();
        use HealthState::{Degraded, Ok};
        assert_eq!(states, [Ok, Ok, Ok, Ok, Ok, Degraded, Ok]);
    }

    #[test]
    fn every_error_has_its_advice() {
        for (said, word) in [
            (
                "Wrong response from the webhook: 401 Unauthorized",
                "secret",
            ),
            (
                "Wrong response from the webhook: 404 Not Found",
                "/channels/",
            ),
            ("Wrong response from the webhook: 502 Bad Gateway", "bus"),
            ("SSL error {error:1416F086:...}", "certificate"),
            ("Connection timed out", "firewall"),
            ("Connection refused", "firewall"),
        ] {
            assert!(advice(said).contains(word), "{said}");
        }
    }
}
