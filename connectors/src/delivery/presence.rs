//! `delivery.typing` and `delivery.read`: signs that we are there. No message ever waits for one.

use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;
use tributary_bus::{
    Lease, MessageId, Outcome, Work,
    message::{DeliveryRead, DeliveryTyping, Priority},
};

use super::{
    Act, DeliveryHandler, fresh,
    outcome::{Hold, Verdict},
};
use crate::{Action, CallLog, SendContext, Support};

/// Typing calls of an account at once; a further one is left out.
pub(super) const AT_ONCE: usize = 4;
/// Nobody cares any more who was writing this long ago.
const STALE: Duration = Duration::from_secs(10);
/// How long a typing call may take.
const DEADLINE: Duration = Duration::from_secs(3);

impl DeliveryHandler {
    /// Shows that somebody writes: at once or not at all.
    pub(super) async fn typing(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let delivery: DeliveryTyping = self.read(&work.envelope)?;
        let to = &delivery.to;
        let wanted = matches!(act, Act::Go)
            && self.account.connector.capabilities().typing == Support::Yes
            && work.age < STALE
            && lease.is_fresh()
            && self.circuit.is_closed()
            && self.turns.is_free(to);
        if !wanted {
            return Ok(());
        }
        let Ok(_place) = self.presence.try_acquire() else {
            return Ok(());
        };
        let context = self.sign(work, to, delivery.seq, DEADLINE);
        let call = self.account.connector.act(&Action::Typing, &context);
        match timeout(DEADLINE, call).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.left_out(&error.to_string()),
            Err(_) => self.left_out("no answer in time"),
        }
        Ok(())
    }

    /// Tells the channel what we have read. Tried again like a message, but no message waits for it, and when it is
    /// refused for good nobody misses it.
    pub(super) async fn mark_read(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let delivery: DeliveryRead = self.read(&work.envelope)?;
        let able = self.account.connector.capabilities().read == Support::Yes;
        if !able || matches!(act, Act::GiveUp(_)) {
            return Ok(());
        }
        let to = &delivery.to;
        let pace = self.account.connector.pace();
        let _turn = self
            .turns
            .take(pace, to, Priority::Reply, work.attempt)
            .await?;
        let ticket = self.admitted(to).await?;
        fresh(lease)?;
        let action = Action::Read {
            provider_id: delivery.provider_id.clone(),
        };
        let context = self.sign(work, to, delivery.seq, self.send_deadline);
        let call = self.account.connector.act(&action, &context);
        match self.call(ticket, to, Hold::No, call).await {
            Ok(()) => Ok(()),
            Err(Verdict::Failed(failure)) => {
                self.left_out(&failure.reason);
                Ok(())
            }
            Err(Verdict::Again { outcome, .. }) => Err(outcome),
        }
    }

    /// What surrounds a call that is about no message of ours; the channel log has no place for it.
    fn sign(
        &self,
        work: &Work,
        to: &tributary_bus::Address,
        seq: i64,
        deadline: Duration,
    ) -> SendContext {
        let id = work.envelope.id;
        SendContext {
            deadline,
            log: CallLog::nowhere(),
            ..self.context(MessageId(id.0), to, seq, id.to_string())
        }
    }

    fn left_out(&self, reason: &str) {
        let channel_id = &self.account.channel.id;
        debug!(channel_id, reason, "sign of our presence not shown");
    }
}
