//! A delivery that becomes a dead letter: its message fails, or its change is refused, and that is told.

use chrono::Utc;
use tributary_bus::{
    DeadLetter, Lease,
    message::{Failure, FailureCode, Undelivered},
};

use super::DeliveryHandler;

impl DeliveryHandler {
    /// Reports it, unless it is another organization's or channel's: of those nothing may be said here.
    pub(super) async fn report_dead(
        &self,
        letter: &DeadLetter,
        lease: &Lease,
    ) -> Result<(), String> {
        let channel = &self.account.channel;
        let Some(delivery) = Undelivered::read(&letter.body) else {
            return Ok(());
        };
        if delivery.organization.as_str() != channel.organization
            || delivery.channel_id.as_str() != channel.id
        {
            return Ok(());
        }
        if !lease.is_fresh() {
            return Err("the lane may belong to another worker by now".to_owned());
        }
        let failure = Failure {
            code: self.code_of(letter),
            reason: format!("the delivery became a dead letter: {}", letter.reason),
        };
        let event = delivery.report(failure, Utc::now());
        let published = self.account.sink.publish(vec![event]).await;
        published.map_err(|error| error.to_string())
    }

    /// One that can be read ended its workers, perhaps in the middle of a call: nobody knows whether it arrived.
    fn code_of(&self, letter: &DeadLetter) -> FailureCode {
        let readable = tributary_bus::Envelope::parse(&letter.body)
            .ok()
            .is_some_and(|envelope| self.is_readable(&envelope));
        if readable {
            FailureCode::Uncertain
        } else {
            FailureCode::Rejected
        }
    }
}
