//! What calls show about an account: how it is served, and what the provider asked to wait for.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::{
    DeliveryHandler,
    circuit::{Condition, End, SHOWN},
    turns::Standstill,
};
use crate::health::{HealthReport, Source};

impl DeliveryHandler {
    /// Takes note of how a call ended.
    pub(super) async fn observe(&self, end: End) {
        let now = Instant::now();
        let condition = self.circuit.condition(now);
        let standstill = self.turns.standstill(now);
        let channel = &self.account.channel.id;
        if let Some(report) = report(condition, standstill, end, channel) {
            self.account.sink.note(Source::Sending, report).await;
        }
    }
}

/// What is to be said; `None`: a failure that shows nothing yet.
fn report(
    condition: Condition,
    standstill: Option<Standstill>,
    end: End,
    channel: &str,
) -> Option<HealthReport> {
    Some(match (condition, standstill) {
        (Condition::Refused { reason }, _) => HealthReport::misconfigured(reason, advice(channel)),
        (Condition::Down { reason }, _) => HealthReport::down(reason, None),
        (_, Some(standstill)) => {
            let until = at(standstill.wait);
            HealthReport::degraded(limited(&standstill, until), None).until(until)
        }
        (Condition::SomeFail { recipients, reason }, None) => {
            let whom = counted(recipients);
            let reason = format!("{whom} not served, while others are: {reason}");
            HealthReport::degraded(reason, None).until(at(SHOWN))
        }
        (Condition::Served, None) if end == End::Answered => HealthReport::ok(),
        (Condition::Served, None) => return None,
    })
}

fn limited(standstill: &Standstill, until: DateTime<Utc>) -> String {
    let whom = match standstill.recipients {
        None => "the whole account".to_owned(),
        Some(1) => "one recipient".to_owned(),
        Some(recipients) => format!("{recipients} recipients"),
    };
    let until = until.format("%Y-%m-%d %H:%M:%S UTC");
    format!("the provider limits {whom} until {until}")
}

fn counted(recipients: usize) -> String {
    match recipients {
        1 => "one recipient is".to_owned(),
        _ => format!("{recipients} recipients are"),
    }
}

fn at(wait: Duration) -> DateTime<Utc> {
    Utc::now() + wait
}

/// What a person is asked to do about an account that the provider refuses.
pub(super) fn advice(channel: &str) -> String {
    format!(
        "check channels.{channel} in the config (token, addresses), and the account's permissions \
         and billing at the provider"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(condition: Condition, standstill: Option<Standstill>, end: End) -> String {
        match report(condition, standstill, end, "shop") {
            None => "nothing".to_owned(),
            Some(report) => format!("{:?}: {}", report.state, report.reason),
        }
    }

    #[test]
    fn each_condition_is_named() {
        let reason = || "answers 500".to_owned();
        let limit = |recipients| Standstill {
            recipients,
            wait: Duration::from_secs(2000),
        };
        let refused = Condition::Refused { reason: reason() };
        let down = Condition::Down { reason: reason() };
        let some = |recipients| Condition::SomeFail {
            recipients,
            reason: reason(),
        };
        for (condition, standstill, end, expected) in [
            (Condition::Served, None, End::Answered, "Ok: "),
            (Condition::Served, None, End::NoAnswer, "nothing"),
            (refused, None, End::Refused, "Misconfigured: answers 500"),
            (down, Some(limit(None)), End::NoAnswer, "Down: answers 500"),
            (
                some(1),
                None,
                End::Answered,
                "Degraded: one recipient is not served, while others are: answers 500",
            ),
            (
                some(2),
                None,
                End::NoAnswer,
                "Degraded: 2 recipients are not served, while others are: answers 500",
            ),
        ] {
            assert_eq!(said(condition, standstill, end), expected);
        }
        for (recipients, expected) in [
            (
                None,
                "Degraded: the provider limits the whole account until 20",
            ),
            (
                Some(1),
                "Degraded: the provider limits one recipient until 20",
            ),
            (
                Some(7),
                "Degraded: the provider limits 7 recipients until 20",
            ),
        ] {
            let found = said(Condition::Served, Some(limit(recipients)), End::Answered);
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
