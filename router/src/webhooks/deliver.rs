//! Sends events to one endpoint.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use reqwest::{Client, Response, Url, header::CONTENT_TYPE};
use tributary_base::{backoff::Backoff, outgoing::Guard, warn_limited};
use tributary_bus::{
    Bus, DeadLetter, Destination, EndpointId, Envelope, EventId, Handler, Lane, Lease, Outcome,
    Publication, Work,
};

use super::{
    LONGEST_WAIT,
    classify::{self, Away, Verdict},
    outage::{Admission, Outage, Setback},
    progress::{Settled, Turn},
    reasons::Reasons,
    sign::{BadSecret, Signer},
    tracked::Tracked,
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
/// How soon an event is tried again that waits for the store.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// How much of an answer's body is read, so that the connection can be used again, in bytes.
const BODY_LIMIT: usize = 16 * 1024;
/// How long reading it may take.
const BODY_DEADLINE: Duration = Duration::from_secs(1);

/// What every deliverer needs.
pub struct Equipment {
    pub store: Store,
    pub guard: Guard,
    pub client: Client,
    pub backoff: Backoff,
    pub links: Links,
    pub bus: Option<Arc<dyn Bus>>,
    /// How long an event is tried.
    pub max_age: Duration,
}

/// Sends events to one endpoint.
pub struct Deliverer {
    id: EndpointId,
    store: Store,
    guard: Guard,
    client: Client,
    outage: Outage,
    reasons: Reasons,
    known: Mutex<Known>,
    links: Links,
    tracked: Arc<Tracked>,
    /// Puts events behind others of their conversation.
    bus: Option<Arc<dyn Bus>>,
    /// How long an event is tried.
    max_age: Duration,
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
    pub fn new(equipment: Equipment, endpoint: Endpoint, tracked: Arc<Tracked>) -> Self {
        let Equipment {
            store,
            guard,
            client,
            backoff,
            links,
            bus,
            max_age,
        } = equipment;
        Self {
            id: endpoint.id,
            store,
            guard,
            client,
            outage: Outage::new(backoff, LONGEST_WAIT),
            reasons: Reasons::default(),
            links,
            known: Mutex::new(Known {
                target: Some(Arc::new(endpoint.into())),
                read_at: Instant::now(),
            }),
            tracked,
            bus,
            max_age,
        }
    }

    async fn deliver(&self, work: &Work, lease: &Lease) -> Outcome {
        let Some(target) = self.target().await else {
            return Outcome::Pause {
                after: Some(DELETED_PAUSE),
                reason: "endpoint was deleted".to_owned(),
            };
        };
        let event = work.envelope.id;
        if self.tracked.is_disabled() {
            // What it misses is sent from the store when it is enabled again.
            count("disabled");
            self.tracked.progress().skipped(event);
            return Outcome::Done;
        }
        let turn = self
            .tracked
            .progress()
            .turn(&conversation(&work.envelope), event);
        match turn {
            Turn::Go => {}
            Turn::Skip => {
                self.tracked.progress().skipped(event);
                return Outcome::Done;
            }
            Turn::Behind => return self.put_behind(&work.envelope).await,
            Turn::Wait => {
                return Outcome::Pause {
                    after: Some(LOOK_AGAIN),
                    reason: "missing events are read from the store".to_owned(),
                };
            }
        }
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
        self.conclude(verdict, &work.envelope, begun).await
    }

    /// Copies an event to the end of the lane: others of its conversation are in it and come first.
    async fn put_behind(&self, envelope: &Envelope) -> Outcome {
        let stays = |reason: String| {
            let mut progress = self.tracked.progress();
            progress.stays(&conversation(envelope), envelope.id);
            retry(reason)
        };
        let Some(bus) = &self.bus else {
            return stays("there is no bus".to_owned());
        };
        let envelope_again = match envelope.clone().seal() {
            Ok(sealed) => sealed,
            Err(error) => return stays(error.to_string()),
        };
        let publication = Publication {
            to: Destination::Lane(Lane::Endpoint(self.id)),
            envelope: envelope_again,
        };
        for result in bus.publish(vec![publication]).await {
            if let Err(error) = result {
                return stays(error.to_string());
            }
        }
        self.tracked.progress().skipped(envelope.id);
        Outcome::Done
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

    async fn conclude(&self, verdict: Verdict, envelope: &Envelope, begun: Instant) -> Outcome {
        let event = envelope.id;
        match verdict {
            Verdict::Accepted => {
                count("delivered");
                self.reasons.forget(event);
                self.note_answer(event, begun);
                self.tracked.succeeded();
                let mut progress = self.tracked.progress();
                progress.settled(&conversation(envelope), event, Settled::Taken);
                Outcome::Done
            }
            Verdict::Rejected { reason } => {
                count("rejected");
                self.reasons.note(event, &reason);
                self.note_answer(event, begun);
                self.tracked.failed(&reason, None, false);
                retry(reason)
            }
            Verdict::Away(away) => {
                count("away");
                self.reasons.note(event, &away.reason);
                let setback = self.outage.failed(begun, event, &away);
                let wait = match &setback {
                    Setback::All { wait, .. } => Some(*wait),
                    Setback::Event => None,
                };
                if self.tracked.failed(&away.reason, wait, away.is_gone) {
                    self.disable(&away.reason).await;
                }
                match setback {
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

    /// The endpoint has been gone for an hour.
    async fn disable(&self, reason: &str) {
        let reason = format!("{reason} for an hour");
        let id = self.id;
        match self.store.disable_endpoint(id, &reason).await {
            Ok(true) => {
                // What it misses from here on is found again from where it stands now.
                self.tracked.progress().look();
                self.tracked.disable();
                metrics::counter!("tributary_endpoints_disabled_total").increment(1);
                tracing::error!(endpoint = %id, reason, "an endpoint is disabled; enable it by the API when it is back");
            }
            Ok(false) => {}
            Err(error) => {
                warn_limited!("endpoint disabled", endpoint = %id, %error, "an endpoint cannot be disabled yet");
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
                    warn_limited!("endpoint read", %error, endpoint = %self.id, "an endpoint cannot be read again; going on with what is known");
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
    /// Asked once for each event that the lane hands out, in its order.
    fn key(&self, envelope: &Envelope) -> String {
        let mut progress = self.tracked.progress();
        progress.handed_out(envelope.id, envelope.time);
        conversation(envelope)
    }

    async fn handle(&self, batch: Vec<Work>, lease: &Lease) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for work in &batch {
            outcomes.push(self.deliver(work, lease).await);
        }
        outcomes
    }

    async fn exhausted(&self, work: Work, reason: String, lease: &Lease) -> Outcome {
        let event = work.envelope.id;
        // What is sent again is as old as it was; what counts is since when it is tried.
        let is_resent = self
            .tracked
            .progress()
            .was_resent_within(event, self.max_age);
        if is_resent {
            return self.deliver(&work, lease).await;
        }
        count("dead");
        let reason = self.reasons.explain(work.envelope.id, reason);
        Outcome::Dead { reason }
    }

    async fn buried(&self, letter: &DeadLetter, _: &Lease) -> Result<(), String> {
        if let Ok(envelope) = Envelope::parse(&letter.body) {
            let mut progress = self.tracked.progress();
            progress.settled(&conversation(&envelope), envelope.id, Settled::Dead);
        }
        Ok(())
    }
}

/// Events with the same are sent in order.
fn conversation(envelope: &Envelope) -> String {
    let subject = envelope.subject.clone();
    subject.unwrap_or_else(|| envelope.id.to_string())
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
