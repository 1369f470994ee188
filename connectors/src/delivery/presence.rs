//! `delivery.typing` and `delivery.read`: signs that we are there. No message ever waits for one.

use std::time::Duration;

use tokio::time::timeout;
use tracing::debug;
use tributary_bus::{
    Lease, MessageId, Outcome, Work,
    message::{DeliveryRead, DeliveryTyping, Priority},
};

use super::{Act, DeliveryHandler, SEND_GRACE, fresh};
use crate::{Action, CallLog, SendContext, SendError, Support};

/// Typing calls of an account at once; a further one is left out.
pub(super) const AT_ONCE: usize = 4;
/// Nobody cares any more who was writing this long ago.
const STALE: Duration = Duration::from_secs(10);
/// How long a typing call may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// How long a sign that we have read waits where nobody knows better.
const LATER: Duration = Duration::from_secs(5);

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

    /// Tells the channel what we have read. Tried again, but no message waits for it, neither on the lane nor at the
    /// account's circuit; when it is refused, nobody misses it.
    pub(super) async fn mark_read(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let delivery: DeliveryRead = self.read(&work.envelope)?;
        let action = Action::Read {
            provider_id: delivery.provider_id.clone(),
        };
        let connector = &self.account.connector;
        let wanted = matches!(act, Act::Go)
            && connector.capabilities().read == Support::Yes
            && connector.calls_for(&action);
        if !wanted {
            return Ok(());
        }
        let to = &delivery.to;
        if self.circuit.is_open() {
            return Err(defer(
                None,
                "the provider does not serve the account".to_owned(),
            ));
        }
        let turn = self
            .turns
            .take(connector.pace(), to, Priority::Reply, work.attempt);
        let _turn = turn.await.map_err(alone)?;
        fresh(lease)?;
        let context = self.sign(work, to, delivery.seq, self.send_deadline);
        let call = connector.act(&action, &context);
        let error = match timeout(self.send_deadline + SEND_GRACE, call).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => SendError::Uncertain {
                reason: "no answer in time".to_owned(),
            },
        };
        if let SendError::RateLimited {
            retry_after: Some(wait),
            scope,
        } = &error
        {
            self.turns.hold(to, *scope, *wait);
        }
        let reason = error.to_string();
        match error {
            SendError::Rejected { .. }
            | SendError::Unreachable { .. }
            | SendError::Misconfigured { .. } => {
                self.left_out(&reason);
                Ok(())
            }
            SendError::RateLimited { retry_after, .. } => Err(defer(retry_after, reason)),
            SendError::Unavailable { .. }
            | SendError::NotReady { .. }
            | SendError::Uncertain { .. } => Err(Outcome::Retry {
                after: None,
                reason,
            }),
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

fn defer(after: Option<Duration>, reason: String) -> Outcome {
    Outcome::Defer {
        after: after.unwrap_or(LATER),
        reason,
    }
}

/// A sign waits by itself, whatever the account waits for.
fn alone(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Pause { after, reason } => defer(after, reason),
        Outcome::Done | Outcome::Retry { .. } | Outcome::Defer { .. } | Outcome::Dead { .. } => {
            outcome
        }
    }
}
