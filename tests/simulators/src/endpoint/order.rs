//! Whether events came in order.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::records::EndpointRecords;

/// How many findings are told in full.
const SHOWN: usize = 20;

/// Events that came in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ordered {
    /// Different events looked at.
    pub events: u64,
    /// Different subjects among them.
    pub subjects: u64,
    /// Repeated deliveries that were left out.
    pub duplicates: u64,
    /// Events without a subject or a `sequence`, which have no order.
    pub unordered: u64,
    /// The highest sequence of each subject.
    pub last: BTreeMap<String, u64>,
}

/// Events that did not come in order. Its text is a line per finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct OutOfOrder {
    /// Each finding, up to 20 of them.
    pub findings: Vec<String>,
    /// How many there are.
    pub total: usize,
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} events out of order", self.total)?;
        for finding in &self.findings {
            write!(formatter, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Per subject, `sequence` must rise from event to event, once repetitions of a `webhook-id` are left out.
pub(super) fn check(records: &EndpointRecords) -> Result<Ordered, OutOfOrder> {
    let mut found = Vec::new();
    if records.forgotten > 0 {
        found.push(format!(
            "{} events are forgotten, so their order cannot be told",
            records.forgotten
        ));
    }
    let mut ordered = Ordered::default();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut latest: HashMap<&str, (u64, &str)> = HashMap::new();
    for received in &records.events {
        if !seen.insert(&received.webhook_id) {
            ordered.duplicates += 1;
            continue;
        }
        ordered.events += 1;
        let (Some(subject), Some(sequence)) = (received.subject(), received.sequence()) else {
            ordered.unordered += 1;
            continue;
        };
        let before = latest.get(subject);
        if let Some((last, last_id)) = before.filter(|(last, _)| *last >= sequence) {
            let how = if *last == sequence {
                "again, after"
            } else {
                "after"
            };
            found.push(format!(
                "subject {subject}: sequence {sequence} ({}, webhook-id {}) came {how} {last} (webhook-id {last_id})",
                received.event_type(),
                received.webhook_id,
            ));
            continue;
        }
        latest.insert(subject, (sequence, &received.webhook_id));
    }
    if !found.is_empty() {
        let total = found.len();
        found.truncate(SHOWN);
        return Err(OutOfOrder {
            findings: found,
            total,
        });
    }
    ordered.subjects = latest.len() as u64;
    ordered.last = latest
        .into_iter()
        .map(|(subject, (last, _))| (subject.to_owned(), last))
        .collect();
    Ok(ordered)
}
