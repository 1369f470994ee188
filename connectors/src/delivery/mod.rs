//! Deliveries of one account: from its lane, through the ledger, to the provider, and what became of them back.

mod attendant;
mod change;
mod circuit;
mod dead;
mod health;
mod outcome;
mod presence;
mod report;
mod send;
#[cfg(test)]
mod tests;
mod turns;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use metrics::histogram;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{sync::Semaphore, time::timeout};
use tracing::debug;
use tributary_base::backoff::Backoff;
use tributary_bus::{
    Address, ChannelId, DeadLetter, Envelope, Handler, Lease, MessageId, OrganizationId, Outcome,
    Payload, Work,
    message::{
        DeliveryDelete, DeliveryEdit, DeliveryReact, DeliveryRead, DeliverySend, DeliveryTyping,
        Inbound,
    },
};
use tributary_config::Settings;

use crate::{Account, ChannelLog, Ledger, SendContext, SendError, media::Punctual};
use circuit::{Circuit, End, Ticket};
use outcome::{Call, Circumstances, Hold, Verdict};
use turns::Turns;

pub use attendant::ConnectorAttendant;
pub(crate) use report::progress_events;

/// The connector's own deadline passes first; this one is for a connector that ignores it.
const SEND_GRACE: Duration = Duration::from_secs(1);

/// Handles the lane `delivery.<channel id>`.
pub(crate) struct DeliveryHandler {
    account: Arc<Account>,
    ledger: Arc<Ledger>,
    log: ChannelLog,
    send_deadline: Duration,
    circuit: Circuit,
    turns: Turns,
    /// Calls that show that somebody writes, at once.
    presence: Semaphore,
}

/// What to do with what is not through yet.
#[derive(Clone, Copy)]
enum Act<'a> {
    Go,
    /// Too late or too often; says why.
    GiveUp(&'a str),
}

/// Every delivery names its account.
trait OfChannel: Payload + DeserializeOwned {
    fn channel(&self) -> &ChannelId;
}

macro_rules! of_channel {
    ($($delivery:ty),*) => {
        $(impl OfChannel for $delivery {
            fn channel(&self) -> &ChannelId {
                &self.channel_id
            }
        })*
    };
}

of_channel!(
    DeliverySend,
    DeliveryEdit,
    DeliveryDelete,
    DeliveryReact,
    DeliveryTyping,
    DeliveryRead
);

#[async_trait]
impl Handler for DeliveryHandler {
    /// What shows our presence has a key of its own, so that no message waits for it.
    fn key(&self, envelope: &Envelope) -> String {
        #[derive(Deserialize)]
        struct Addressed<'a> {
            #[serde(borrow)]
            to: Cow<'a, str>,
        }
        let addressed = envelope.data.read::<Addressed<'_>>();
        let to = addressed.map_or_else(|_| Cow::default(), |addressed| addressed.to);
        match envelope.kind.as_str() {
            DeliveryTyping::TYPE => format!("typing\n{to}"),
            DeliveryRead::TYPE => format!("read\n{to}"),
            _ => to.into_owned(),
        }
    }

    async fn handle(&self, batch: Vec<Work>, lease: &Lease) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for work in batch {
            outcomes.push(self.one(&work, Act::Go, lease).await);
        }
        outcomes
    }

    async fn exhausted(&self, work: Work, reason: String, lease: &Lease) -> Outcome {
        self.one(&work, Act::GiveUp(&reason), lease).await
    }

    async fn buried(&self, letter: &DeadLetter, lease: &Lease) -> Result<(), String> {
        self.report_dead(letter, lease).await
    }
}

impl DeliveryHandler {
    pub(crate) fn new(
        account: Arc<Account>,
        ledger: Arc<Ledger>,
        log: ChannelLog,
        settings: &Settings,
    ) -> Self {
        let backoff = Backoff {
            base: settings.delivery.retry_base,
            cap: settings.delivery.retry_cap,
        };
        let concurrency = settings.lanes.concurrency;
        Self {
            account,
            ledger,
            log,
            send_deadline: settings.delivery.send_deadline,
            circuit: Circuit::new(backoff, concurrency),
            turns: Turns::new(concurrency),
            presence: Semaphore::new(presence::AT_ONCE),
        }
    }

    async fn one(&self, work: &Work, act: Act<'_>, lease: &Lease) -> Outcome {
        let done = match work.envelope.kind.as_str() {
            DeliverySend::TYPE => self.send_message(work, act, lease).await,
            DeliveryEdit::TYPE => self.change::<DeliveryEdit>(work, act, lease).await,
            DeliveryDelete::TYPE => self.change::<DeliveryDelete>(work, act, lease).await,
            DeliveryReact::TYPE => self.change::<DeliveryReact>(work, act, lease).await,
            DeliveryTyping::TYPE => self.typing(work, act, lease).await,
            DeliveryRead::TYPE => self.mark_read(work, act, lease).await,
            other => Err(Outcome::Dead {
                reason: format!("unknown delivery type or version {other}"),
            }),
        };
        done.map_or_else(|outcome| outcome, |()| Outcome::Done)
    }

    /// Reads a delivery and makes sure that it is this account's.
    fn read<D: OfChannel>(&self, envelope: &Envelope) -> Result<D, Outcome> {
        let dead = |reason: String| Outcome::Dead { reason };
        let delivery: D = envelope
            .payload()
            .map_err(|error| dead(error.to_string()))?;
        let channel = &self.account.channel;
        if delivery.channel().as_str() != channel.id {
            let reason = "the delivery names another channel than its lane";
            return Err(dead(reason.to_owned()));
        }
        if envelope.orgid.as_str() != channel.organization {
            let reason = "the delivery belongs to another organization than the channel";
            return Err(dead(reason.to_owned()));
        }
        Ok(delivery)
    }

    /// Whether the handler understands the delivery.
    fn is_readable(&self, envelope: &Envelope) -> bool {
        match envelope.kind.as_str() {
            DeliverySend::TYPE => self.read::<DeliverySend>(envelope).is_ok(),
            DeliveryEdit::TYPE => self.read::<DeliveryEdit>(envelope).is_ok(),
            DeliveryDelete::TYPE => self.read::<DeliveryDelete>(envelope).is_ok(),
            DeliveryReact::TYPE => self.read::<DeliveryReact>(envelope).is_ok(),
            _ => false,
        }
    }

    fn organization(&self) -> OrganizationId {
        OrganizationId(self.account.channel.organization.clone())
    }

    /// What surrounds a call about a message.
    fn context(&self, message_id: MessageId, to: &Address, seq: i64, key: String) -> SendContext {
        SendContext {
            message_id,
            parts: 1,
            to: to.clone(),
            seq,
            reply_to: None,
            idempotency_key: key,
            deadline: self.send_deadline,
            media: Arc::new(Punctual::new(
                &self.account.media.access,
                self.send_deadline,
            )),
            log: self.log.of(&self.account, message_id),
        }
    }

    /// Waits until the circuit lets a call through.
    async fn admitted(&self, to: &Address) -> Result<Ticket<'_>, Outcome> {
        self.circuit
            .admit(to)
            .await
            .map_err(|after| Outcome::Defer {
                after,
                reason: "the provider does not serve the account or the recipient".to_owned(),
            })
    }

    /// A provider call under its deadline, whatever the connector does; what it says about the account is noted.
    async fn call<T>(
        &self,
        ticket: Ticket<'_>,
        to: &Address,
        (kind, hold): (Call, Hold),
        call: impl Future<Output = Result<T, SendError>> + Send,
    ) -> Result<T, Verdict> {
        let started = Instant::now();
        let result = match timeout(self.send_deadline + SEND_GRACE, call).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Uncertain {
                reason: format!("no answer within {:?}", self.send_deadline),
            }),
        };
        histogram!("tributary_send_seconds", "channel" => self.account.channel.id.clone())
            .record(started.elapsed().as_secs_f64());
        let error = match result {
            Ok(value) => {
                ticket.end(to, End::Answered, "");
                self.observe(End::Answered).await;
                return Ok(value);
            }
            Err(error) => error,
        };
        if let SendError::RateLimited {
            retry_after: Some(wait),
            scope,
        } = &error
        {
            self.turns.hold(to, *scope, *wait);
        }
        let end = outcome::end(&error);
        let outage = ticket.end(to, end, &error.to_string());
        self.observe(end).await;
        let circumstances = Circumstances {
            hold,
            outage,
            call: kind,
        };
        Err(outcome::judge(&error, circumstances))
    }

    /// Publishes what became of a delivery; only then it is done.
    async fn publish(&self, events: Vec<Inbound>, lease: &Lease) -> Result<(), Outcome> {
        fresh(lease)?;
        let published = self.account.sink.publish(events).await;
        published.map_err(|error| {
            let channel_id = &self.account.channel.id;
            debug!(channel_id, %error, "outcome of a delivery not published yet");
            Outcome::Retry {
                after: None,
                reason: error.to_string(),
            }
        })
    }
}

impl Drop for DeliveryHandler {
    /// The lane is given back; how the account is doing is another worker's to say.
    fn drop(&mut self) {
        self.account.sink.health.end();
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
