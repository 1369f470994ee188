//! Sends events to one endpoint.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use reqwest::{Client, Response, Url, header::CONTENT_TYPE};
use tributary_base::{backoff::Backoff, outgoing::Guard};
use tributary_bus::{EndpointId, Envelope, EventId, Handler, Lease, Outcome, Work};

use super::{
    classify::{self, Away, Verdict},
    outage::{Admission, Outage, Setback},
    reasons::Reasons,
    sign::{BadSecret, Signer},
};
use crate::{
    links::Links,
    store::{Endpoint, Store},
};

/// The CloudEvents media type of one event.
const CLOUDEVENTS_JSON: &str = "application/cloudevents+json; charset=utf-8";
/// A replaced secret and a changed endpoint are noticed within this time.
const REREAD_INTERVAL: Duration = Duration::from_secs(2);
/// How long the events of a deleted endpoint wait for their lane to be removed.
const DELETED_PAUSE: Duration = Duration::from_secs(30);
/// How much of an answer's body is read, so that the connection can be used again, in bytes.
const BODY_LIMIT: usize = 16 * 1024;
/// How long reading it may take.
const BODY_DEADLINE: Duration = Duration::from_secs(1);

/// Sends events to one endpoint.
#[derive(Debug)]
pub struct Deliverer {
    id: EndpointId,
    store: Store,
    guard: Guard,
    client: Client,
    outage: Outage,
    reasons: Reasons,
    known: Mutex<Known>,
    links: Links,
}

/// The endpoint as it was read last.
#[derive(Debug)]
struct Known {
    /// `None` when it was deleted.
    target: Option<Arc<Target>>,
    read_at: Instant,
}

/// Where events go, and what signs them.
#[derive(Debug)]
struct Target {
    url: String,
    signer: Result<Signer, BadSecret>,
}

impl From<Endpoint> for Target {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            signer: Signer::new(&endpoint.secrets),
            url: endpoint.url,
        }
    }
}

impl Deliverer {
    /// Sends to this endpoint, and reads it again from the store now and then.
    pub fn new(
        store: Store,
        guard: Guard,
        client: Client,
        endpoint: Endpoint,
        backoff: Backoff,
        links: Links,
    ) -> Self {
        Self {
            id: endpoint.id,
            store,
            guard,
            client,
            outage: Outage::new(backoff),
            reasons: Reasons::default(),
            links,
            known: Mutex::new(Known {
                target: Some(Arc::new(endpoint.into())),
                read_at: Instant::now(),
            }),
        }
    }

    async fn deliver(&self, work: &Work, lease: &Lease) -> Outcome {
        let Some(target) = self.target().await else {
            return Outcome::Pause {
                after: Some(DELETED_PAUSE),
                reason: "endpoint was deleted".to_owned(),
            };
        };
        let _probing = match self.outage.admit().await {
            Admission::Go(permit) => permit,
            Admission::Wait(wait) => {
                return Outcome::Pause {
                    after: Some(wait),
                    reason: "endpoint is down".to_owned(),
                };
            }
        };
        if !lease.is_fresh() {
            return retry("lane may have another owner".to_owned());
        }
        let begun = Instant::now();
        let verdict = match self.post(&target, &work.envelope).await {
            Ok(verdict) => verdict,
            Err(reason) => {
                count("dead");
                return Outcome::Dead { reason };
            }
        };
        metrics::histogram!("tributary_webhook_delivery_seconds")
            .record(begun.elapsed().as_secs_f64());
        self.conclude(verdict, work.envelope.id, begun)
    }

    /// One try. The error is about the event itself: it can never be sent.
    async fn post(&self, target: &Target, envelope: &Envelope) -> Result<Verdict, String> {
        // Checked each time: what is allowed may have changed since the endpoint was made.
        let url = match Url::parse(&target.url) {
            Ok(url) => url,
            Err(_) => return Ok(unusable("endpoint's URL cannot be read")),
        };
        if let Err(refused) = self.guard.check(&url) {
            return Ok(unusable(format!("endpoint refused: {refused}")));
        }
        let body = self.links.event_bytes(envelope)?;
        let id = envelope.id.to_string();
        let timestamp = Utc::now().timestamp();
        let signed = match &target.signer {
            Ok(signer) => signer.sign(&id, timestamp, &body),
            Err(_) => return Ok(unusable("endpoint's secret cannot be read")),
        };
        let sent = self
            .client
            .post(url)
            .header(CONTENT_TYPE, CLOUDEVENTS_JSON)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signed)
            .body(body)
            .send()
            .await;
        Ok(match sent {
            Ok(answer) => {
                let verdict = classify::of_answer(answer.status(), answer.headers(), Utc::now());
                read_away(answer).await;
                verdict
            }
            Err(error) => classify::of_failure(&error),
        })
    }

    fn conclude(&self, verdict: Verdict, event: EventId, begun: Instant) -> Outcome {
        match verdict {
            Verdict::Accepted => {
                count("delivered");
                self.reasons.forget(event);
                self.note_answer(event, begun);
                Outcome::Done
            }
            Verdict::Rejected { reason } => {
                count("rejected");
                self.reasons.note(event, &reason);
                self.note_answer(event, begun);
                retry(reason)
            }
            Verdict::Away(away) => {
                count("away");
                self.reasons.note(event, &away.reason);
                match self.outage.failed(begun, event, &away) {
                    Setback::All { wait, is_new } => {
                        if is_new {
                            let reason = &away.reason;
                            tracing::warn!(endpoint = %self.id, reason, "an endpoint is down; its events wait");
                        }
                        Outcome::Pause {
                            after: Some(wait),
                            reason: away.reason,
                        }
                    }
                    Setback::Event => retry(away.reason),
                }
            }
        }
    }

    fn note_answer(&self, event: EventId, begun: Instant) {
        if self.outage.answered(begun, event) {
            tracing::info!(endpoint = %self.id, "an endpoint works again");
        }
    }

    /// The endpoint, at most [`REREAD_INTERVAL`] old unless the store is away; `None` when it was deleted.
    async fn target(&self) -> Option<Arc<Target>> {
        if self.is_to_be_read_again() {
            match self.store.endpoint_of_lane(self.id).await {
                Ok(read) => {
                    let live = read.filter(|endpoint| endpoint.deleted_at.is_none());
                    self.known().target = live.map(|endpoint| Arc::new(endpoint.into()));
                }
                Err(error) => {
                    tracing::warn!(%error, endpoint = %self.id, "an endpoint cannot be read again; going on with what is known");
                }
            }
        }
        self.known().target.as_ref().map(Arc::clone)
    }

    /// Says so to one of many callers.
    fn is_to_be_read_again(&self) -> bool {
        let mut known = self.known();
        let is_due = known.read_at.elapsed() >= REREAD_INTERVAL;
        if is_due {
            known.read_at = Instant::now();
        }
        is_due
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Handler for Deliverer {
    fn key(&self, envelope: &Envelope) -> String {
        envelope
            .subject
            .clone()
            .unwrap_or_else(|| envelope.id.to_string())
    }

    async fn handle(&self, batch: Vec<Work>, lease: &Lease) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for work in &batch {
            outcomes.push(self.deliver(work, lease).await);
        }
        outcomes
    }

    async fn exhausted(&self, work: Work, reason: String, _: &Lease) -> Outcome {
        count("dead");
        let reason = self.reasons.explain(work.envelope.id, reason);
        Outcome::Dead { reason }
    }
}

fn retry(reason: String) -> Outcome {
    Outcome::Retry {
        after: None,
        reason,
    }
}

fn unusable(reason: impl Into<String>) -> Verdict {
    Verdict::Away(Away::unusable(reason))
}

fn count(outcome: &'static str) {
    metrics::counter!("tributary_webhook_deliveries_total", "outcome" => outcome).increment(1);
}

/// Reads a small body so that the connection can be used again; a larger one costs the connection. What it says is
/// not looked at, and whether it can be read changes nothing about the answer.
async fn read_away(mut answer: Response) {
    let reading = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > BODY_LIMIT {
                return;
            }
        }
    };
    if tokio::time::timeout(BODY_DEADLINE, reading).await.is_err() {
        tracing::trace!("an endpoint's answer was not read to its end");
    }
}
