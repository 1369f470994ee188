//! `delivery.send`: every part through the ledger, and one status for all.

use std::time::{Duration, Instant};

use metrics::counter;
use tokio::time::sleep;
use tracing::{debug, warn};
use tributary_base::backoff::Backoff;
use tributary_bus::{
    Lease, MessageId, Outcome, Work,
    message::{DeliverySend, Failure, FailureCode, Priority, Status},
};

use super::{
    Act, DeliveryHandler,
    circuit::Ticket,
    fresh,
    outcome::{Call, Hold, Verdict},
    pause,
    report::{Report, progress_events},
    turns::Turn,
};
use crate::{
    Part, Receipts,
    ledger::{Begun, Ending, Noted, OnUnknown, PartKey, Settled, Target, Try},
    media::describe_all,
    registry::OnUncertain,
    render::render,
};

/// How often a part that another worker may be sending is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long an ending is kept in hand while the ledger cannot be written.
const NOTE_DEADLINE: Duration = Duration::from_secs(30);

/// A delivery on its way.
struct Sending<'a> {
    delivery: DeliverySend,
    act: Act<'a>,
    lease: &'a Lease,
    /// Of parts.
    count: u32,
    /// Which try of the delivery this is.
    attempt: u32,
}

impl DeliveryHandler {
    pub(super) async fn send_message(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let mut delivery: DeliverySend = self.read(&work.envelope)?;
        let access = &*self.account.media.access;
        delivery.content = describe_all(access, delivery.content, self.send_deadline).await;
        let again = work.attempt > 1 || work.redeliveries > 0 || matches!(act, Act::GiveUp(_));
        let sending = Sending {
            delivery,
            act,
            lease,
            count: 0,
            attempt: work.attempt,
        };
        self.deliver(sending, again).await
    }

    /// Brings every part through and tells; `Err` when the delivery is to be handled again.
    async fn deliver(&self, mut sending: Sending<'_>, again: bool) -> Result<(), Outcome> {
        let capabilities = self.account.connector.capabilities();
        let rendered = match render(&sending.delivery.content, capabilities) {
            Ok(rendered) => rendered,
            Err(unrenderable) => {
                let report = Report::failed(unrenderable.into());
                return self.tell(report, &sending).await;
            }
        };
        sending.count = u32::try_from(rendered.parts.len()).unwrap_or(u32::MAX);
        let mut known = if again {
            self.known(sending.delivery.message_id).await?
        } else {
            Vec::new()
        };
        let mut report = Report::new(rendered.degraded);
        for part in &rendered.parts {
            let settled = match known.iter().position(|(number, _)| *number == part.index) {
                Some(at) => known.swap_remove(at).1,
                None => self.bring(&sending, part).await?,
            };
            report.add(settled);
            if report.is_over() {
                break;
            }
        }
        self.tell(report, &sending).await
    }

    /// The parts that are through already.
    async fn known(&self, message_id: MessageId) -> Result<Vec<(u32, Settled)>, Outcome> {
        let rows = self
            .ledger
            .parts(&self.organization(), message_id)
            .await
            .map_err(|error| pause(error.to_string()))?;
        Ok(rows
            .iter()
            .filter_map(|row| Some((row.part(), row.settled()?)))
            .collect())
    }

    /// Brings one part through: `sending` into the ledger, the provider call, its outcome into the ledger.
    async fn bring(&self, sending: &Sending<'_>, part: &Part) -> Result<Settled, Outcome> {
        let mut turn = None;
        let ticket = match sending.act {
            Act::Go => {
                let ticket = self.admitted(&sending.delivery.to).await?;
                turn = Some(self.take_turn(sending).await?);
                Ok(ticket)
            }
            Act::GiveUp(reason) => Err(reason),
        };
        fresh(sending.lease)?;
        let tried = match self.begin(sending, part).await? {
            Begun::Go(tried) => tried,
            Begun::Settled(settled) => return Ok(settled),
            Begun::Busy(wait) => {
                return Err(Outcome::Retry {
                    after: Some(wait.min(LOOK_AGAIN)),
                    reason: "another try of this part may still be under way".to_owned(),
                });
            }
        };
        let settled = match ticket {
            Ok(ticket) => self.send(sending, part, &tried, ticket).await,
            Err(reason) => {
                let failure = Failure {
                    code: FailureCode::Expired,
                    reason: reason.to_owned(),
                };
                self.conclude(&tried, Err(failure), sending.lease).await
            }
        };
        drop(turn);
        settled
    }

    async fn take_turn(&self, sending: &Sending<'_>) -> Result<Turn<'_>, Outcome> {
        let DeliverySend { to, priority, .. } = &sending.delivery;
        let pace = self.account.connector.pace();
        let priority: Priority = *priority;
        self.turns.take(pace, to, priority, sending.attempt).await
    }

    async fn begin(&self, sending: &Sending<'_>, part: &Part) -> Result<Begun, Outcome> {
        let delivery = &sending.delivery;
        let key = PartKey {
            organization: self.organization(),
            message_id: delivery.message_id,
            part: part.index,
        };
        let target = Target {
            channel_id: delivery.channel_id.clone(),
            to: delivery.to.clone(),
            parts: sending.count,
        };
        self.ledger
            .begin(key, target, self.on_unknown())
            .await
            .map_err(|error| pause(error.to_string()))
    }

    async fn send(
        &self,
        sending: &Sending<'_>,
        part: &Part,
        tried: &Try,
        ticket: Ticket<'_>,
    ) -> Result<Settled, Outcome> {
        let Sending {
            delivery, lease, ..
        } = sending;
        if let Err(outcome) = fresh(lease) {
            // Nothing has left yet.
            self.note_ending(tried, Ending::Waiting, lease).await.ok();
            return Err(outcome);
        }
        let key = format!("{}-{}", delivery.message_id, part.index);
        let mut context = self.context(delivery.message_id, &delivery.to, delivery.seq, key);
        context.parts = sending.count;
        context.reply_to = delivery.reply_to.clone().filter(|_| part.index == 0);
        let hold = match self.on_unknown() {
            OnUnknown::Hold => Hold::Yes,
            OnUnknown::Repeat | OnUnknown::Resend => Hold::No,
        };
        let call = self.account.connector.send(part, &context);
        match self
            .call(ticket, &delivery.to, (Call::Send, hold), call)
            .await
        {
            Ok(receipt) => self.conclude(tried, Ok(receipt.provider_id), lease).await,
            Err(Verdict::Failed(failure)) => self.conclude(tried, Err(failure), lease).await,
            Err(Verdict::Again { ending, outcome }) => {
                debug!(channel_id = %delivery.channel_id, message_id = %delivery.message_id, part = part.index, ?outcome, "not sent yet");
                self.note_ending(tried, ending, lease).await?;
                Err(outcome)
            }
        }
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
        match self.note_ending(tried, ending, lease).await? {
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
    async fn note_ending(
        &self,
        tried: &Try,
        ending: Ending,
        lease: &Lease,
    ) -> Result<Noted, Outcome> {
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

    /// Publishes the status, and how far the message has come if the provider's receipts were here first; only then the
    /// delivery is done.
    async fn tell(&self, report: Report, sending: &Sending<'_>) -> Result<(), Outcome> {
        let delivery = &sending.delivery;
        let status = report.status();
        let mut events = report.events(&delivery.channel_id, delivery);
        let receipts = self.account.connector.capabilities().receipts;
        if status == Status::Sent && receipts != Receipts::None {
            let progress = self
                .ledger
                .progress(&self.organization(), delivery.message_id)
                .await
                .map_err(|error| pause(error.to_string()))?;
            events.extend(progress.into_iter().flat_map(|told| {
                progress_events(
                    &delivery.channel_id,
                    &delivery.to,
                    delivery.message_id,
                    told,
                )
            }));
        }
        self.publish(events, sending.lease).await?;
        let channel = self.account.channel.id.clone();
        counter!("tributary_messages_total", "channel" => channel, "direction" => "outbound", "outcome" => status.as_str())
            .increment(1);
        Ok(())
    }
}
