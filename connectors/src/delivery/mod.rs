//! Deliveries of one account: from its lane, through the ledger, to the provider, and the status back.

mod attendant;
mod outcome;
mod plan;
mod report;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use metrics::{counter, histogram};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use tributary_base::backoff::Backoff;
use tributary_bus::{
    Envelope, Handler, Lease, MessageId, OrganizationId, Outcome, Payload, Work,
    message::{
        DeliveryDelete, DeliveryEdit, DeliveryReact, DeliveryRead, DeliverySend, DeliveryTyping,
        Failure, FailureCode, HealthState,
    },
};

use crate::{
    Account, CallLog, Part, Receipt, SendContext, SendError,
    ledger::{Begun, Ending, Ledger, Noted, OnUnknown, PartKey, Settled, Try},
    registry::OnUncertain,
};
use outcome::{Circumstances, Hold, Verdict};
use report::Report;

pub use attendant::ConnectorAttendant;

/// How long a send waits in place for its turn; longer waits make room for other recipients.
const WAIT_IN_PLACE: Duration = Duration::from_millis(1200);
/// How often a part that another worker may be sending is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long an ending is kept in hand while the ledger cannot be written.
const NOTE_DEADLINE: Duration = Duration::from_secs(30);
/// The connector's own deadline passes first; this one is for a connector that ignores it.
const SEND_GRACE: Duration = Duration::from_secs(1);

/// Handles the lane `delivery.<channel id>`.
pub(crate) struct DeliveryHandler {
    account: Arc<Account>,
    ledger: Arc<Ledger>,
    send_deadline: Duration,
    /// Tries in a row that the provider did not answer for.
    failures: AtomicU32,
}

/// What to do with the parts that are not through yet.
#[derive(Clone, Copy)]
enum Act<'a> {
    Send,
    /// Too late or too often; says why.
    GiveUp(&'a str),
}

#[async_trait]
impl Handler for DeliveryHandler {
    fn key(&self, envelope: &Envelope) -> String {
        let to = envelope.data.get("to").and_then(|to| to.as_str());
        to.unwrap_or_default().to_owned()
    }

    async fn handle(&self, batch: Vec<Work>, lease: &Lease) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for work in batch {
            outcomes.push(self.one(&work, Act::Send, lease).await);
        }
        outcomes
    }

    async fn exhausted(&self, work: Work, reason: String, lease: &Lease) -> Outcome {
        self.one(&work, Act::GiveUp(&reason), lease).await
    }
}

impl DeliveryHandler {
    pub(crate) fn new(account: Arc<Account>, ledger: Arc<Ledger>, send_deadline: Duration) -> Self {
        Self {
            account,
            ledger,
            send_deadline,
            failures: AtomicU32::new(0),
        }
    }

    async fn one(&self, work: &Work, act: Act<'_>, lease: &Lease) -> Outcome {
        let envelope = &work.envelope;
        match envelope.kind.as_str() {
            DeliverySend::TYPE => {}
            DeliveryEdit::TYPE
            | DeliveryDelete::TYPE
            | DeliveryReact::TYPE
            | DeliveryTyping::TYPE
            | DeliveryRead::TYPE => {
                let channel_id = &self.account.channel.id;
                debug!(channel_id, kind = %envelope.kind, "the channel cannot do this; passed over");
                return Outcome::Done;
            }
            other => {
                return Outcome::Dead {
                    reason: format!("unknown delivery type or version {other}"),
                };
            }
        }
        let delivery = match self.read(envelope) {
            Ok(delivery) => delivery,
            Err(reason) => return Outcome::Dead { reason },
        };
        let again = work.attempt > 1 || work.redeliveries > 0 || matches!(act, Act::GiveUp(_));
        match self.deliver(&delivery, again, act, lease).await {
            Ok(report) => self.tell(report, &delivery, lease).await,
            Err(outcome) => outcome,
        }
    }

    /// Reads a delivery and makes sure that it is this account's.
    fn read(&self, envelope: &Envelope) -> Result<DeliverySend, String> {
        let delivery: DeliverySend = envelope.payload().map_err(|error| error.to_string())?;
        let channel = &self.account.channel;
        if delivery.channel_id.as_str() != channel.id {
            return Err("the delivery names another channel than its lane".to_owned());
        }
        if envelope.orgid.as_str() != channel.organization {
            return Err("the delivery belongs to another organization than the channel".to_owned());
        }
        Ok(delivery)
    }

    /// Brings every part through; `Err` when the delivery is to be handled again.
    async fn deliver(
        &self,
        delivery: &DeliverySend,
        again: bool,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<Report, Outcome> {
        let plan = match plan::plan(&delivery.content, self.account.connector.capabilities()) {
            Ok(plan) => plan,
            Err(failure) => return Ok(Report::failed(failure)),
        };
        let mut known = if again {
            self.known(delivery.message_id).await?
        } else {
            Vec::new()
        };
        let mut report = Report::new(plan.degraded);
        for part in &plan.parts {
            let settled = match known.iter().position(|(number, _)| *number == part.index) {
                Some(at) => known.swap_remove(at).1,
                None => self.bring(delivery, part, act, lease).await?,
            };
            report.add(settled);
            if report.is_over() {
                break;
            }
        }
        Ok(report)
    }

    /// The parts that are through already.
    async fn known(&self, message_id: MessageId) -> Result<Vec<(u32, Settled)>, Outcome> {
        let organization = OrganizationId(self.account.channel.organization.clone());
        let rows = self
            .ledger
            .parts(&organization, message_id)
            .await
            .map_err(|error| pause(error.to_string()))?;
        Ok(rows
            .iter()
            .filter_map(|row| Some((row.part(), row.settled()?)))
            .collect())
    }

    /// Brings one part through: `sending` into the ledger, the provider call, its outcome into the ledger.
    async fn bring(
        &self,
        delivery: &DeliverySend,
        part: &Part,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<Settled, Outcome> {
        if matches!(act, Act::Send) {
            self.take_turn(delivery).await?;
        }
        fresh(lease)?;
        let key = PartKey {
            organization: OrganizationId(self.account.channel.organization.clone()),
            message_id: delivery.message_id,
            part: part.index,
        };
        let begun = self
            .ledger
            .begin(key, &delivery.channel_id, self.on_unknown())
            .await
            .map_err(|error| pause(error.to_string()))?;
        let tried = match begun {
            Begun::Go(tried) => tried,
            Begun::Settled(settled) => return Ok(settled),
            Begun::Busy(wait) => {
                return Err(Outcome::Retry {
                    after: Some(wait.min(LOOK_AGAIN)),
                    reason: "another try of this part may still be under way".to_owned(),
                });
            }
        };
        if let Act::GiveUp(reason) = act {
            let failure = Failure {
                code: FailureCode::Expired,
                reason: reason.to_owned(),
            };
            return self.conclude(&tried, Err(failure), lease).await;
        }
        if let Err(outcome) = fresh(lease) {
            // Nothing has left yet.
            self.note(&tried, Ending::Waiting, lease).await.ok();
            return Err(outcome);
        }
        self.send(delivery, part, &tried, lease).await
    }

    /// Waits for the recipient's and the account's turn.
    async fn take_turn(&self, delivery: &DeliverySend) -> Result<(), Outcome> {
        let Some(pace) = self.account.connector.pace() else {
            return Ok(());
        };
        let patient = |wait: Duration| {
            (wait <= WAIT_IN_PLACE)
                .then_some(wait)
                .ok_or_else(|| Outcome::Retry {
                    after: Some(wait),
                    reason: "the channel's own rate limit".to_owned(),
                })
        };
        while let Err(wait) = pace.recipient(&delivery.to) {
            sleep(patient(wait)?).await;
        }
        while let Err(wait) = pace.account() {
            sleep(patient(wait)?).await;
        }
        Ok(())
    }

    async fn send(
        &self,
        delivery: &DeliverySend,
        part: &Part,
        tried: &Try,
        lease: &Lease,
    ) -> Result<Settled, Outcome> {
        let error = match self.call(delivery, part).await {
            Ok(receipt) => {
                self.answered(HealthState::Ok, "").await;
                return self.conclude(tried, Ok(receipt.provider_id), lease).await;
            }
            Err(error) => error,
        };
        let failures = match &error {
            SendError::Unavailable { .. } | SendError::Uncertain { .. } => {
                self.failures.fetch_add(1, Ordering::Relaxed) + 1
            }
            SendError::Rejected { .. }
            | SendError::Unreachable { .. }
            | SendError::RateLimited { .. }
            | SendError::Misconfigured { .. } => {
                self.failures.store(0, Ordering::Relaxed);
                0
            }
        };
        debug!(channel_id = %delivery.channel_id, message_id = %delivery.message_id, part = part.index, %error, "not sent");
        if let Some(state) = outcome::health(&error, failures) {
            self.answered(state, &error.to_string()).await;
        }
        let hold = match self.on_unknown() {
            OnUnknown::Hold => Hold::Yes,
            OnUnknown::Repeat | OnUnknown::Resend => Hold::No,
        };
        match outcome::judge(&error, Circumstances { hold, failures }) {
            Verdict::Failed(failure) => self.conclude(tried, Err(failure), lease).await,
            Verdict::Again { ending, outcome } => {
                self.note(tried, ending, lease).await?;
                Err(outcome)
            }
        }
    }

    /// The provider call, under its deadline.
    async fn call(&self, delivery: &DeliverySend, part: &Part) -> Result<Receipt, SendError> {
        let context = SendContext {
            message_id: delivery.message_id,
            to: delivery.to.clone(),
            seq: delivery.seq,
            reply_to: delivery.reply_to.clone().filter(|_| part.index == 0),
            idempotency_key: format!("{}-{}", delivery.message_id, part.index),
            deadline: self.send_deadline,
            media: Arc::clone(&self.account.media.access),
            log: CallLog::nowhere(),
        };
        let started = Instant::now();
        let call = self.account.connector.send(part, &context);
        let result = match timeout(self.send_deadline + SEND_GRACE, call).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Uncertain {
                reason: format!("no answer within {:?}", self.send_deadline),
            }),
        };
        histogram!("tributary_send_seconds", "channel" => self.account.channel.id.clone())
            .record(started.elapsed().as_secs_f64());
        if result.is_ok() {
            self.failures.store(0, Ordering::Relaxed);
        }
        result
    }

    async fn answered(&self, state: HealthState, reason: &str) {
        self.account
            .health
            .note(&self.account.sink, state, reason)
            .await;
    }

    /// Writes a final ending.
    async fn conclude(
        &self,
        tried: &Try,
        result: Result<String, Failure>,
        lease: &Lease,
    ) -> Result<Settled, Outcome> {
        let ending = match &result {
            Ok(provider_id) => Ending::Sent(provider_id.clone()),
            Err(failure) => Ending::Failed(failure.clone()),
        };
        match self.note(tried, ending, lease).await? {
            Noted::At(at) => Ok(Settled {
                result,
                doubtful: tried.doubtful,
                at,
            }),
            Noted::Superseded => Err(Outcome::Retry {
                after: Some(Duration::from_millis(200)),
                reason: "another worker has taken this part over".to_owned(),
            }),
        }
    }

    /// Writes an ending, patiently: what is in hand here is the only proof of what happened.
    async fn note(&self, tried: &Try, ending: Ending, lease: &Lease) -> Result<Noted, Outcome> {
        let deadline = Instant::now() + NOTE_DEADLINE;
        for attempt in 1.. {
            match self.ledger.finish(tried, ending.clone()).await {
                Ok(noted) => return Ok(noted),
                Err(error) => {
                    let message_id = tried.key.message_id;
                    if Instant::now() > deadline || !lease.is_fresh() {
                        warn!(%message_id, %error, "outcome of a send not written; it counts as uncertain");
                        return Err(pause(error.to_string()));
                    }
                    sleep(Backoff::SERVER.delay(attempt)).await;
                }
            }
        }
        Err(pause("the ledger did not answer".to_owned()))
    }

    fn on_unknown(&self) -> OnUnknown {
        match self.account.on_uncertain {
            _ if self.account.connector.capabilities().idempotent => OnUnknown::Repeat,
            OnUncertain::Resend => OnUnknown::Resend,
            OnUncertain::Hold => OnUnknown::Hold,
        }
    }

    /// Publishes the status; only then the delivery is done.
    async fn tell(&self, report: Report, delivery: &DeliverySend, lease: &Lease) -> Outcome {
        if let Err(outcome) = fresh(lease) {
            return outcome;
        }
        let status = report.status();
        let events = report.events(&delivery.channel_id, delivery);
        match self.account.sink.publish(events).await {
            Ok(()) => {
                let channel = self.account.channel.id.clone();
                counter!("tributary_messages_total", "channel" => channel, "direction" => "outbound", "outcome" => status.as_str())
                    .increment(1);
                Outcome::Done
            }
            Err(error) => Outcome::Retry {
                after: None,
                reason: error.to_string(),
            },
        }
    }
}

fn pause(reason: String) -> Outcome {
    Outcome::Pause {
        after: None,
        reason,
    }
}

/// Asked before every effect outside.
fn fresh(lease: &Lease) -> Result<(), Outcome> {
    if lease.is_fresh() {
        return Ok(());
    }
    Err(Outcome::Retry {
        after: None,
        reason: "the lane may belong to another worker by now".to_owned(),
    })
}
