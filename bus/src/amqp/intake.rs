//! Taking messages of an owned lane, with a bound on those that are out.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use futures::{StreamExt, future::try_join_all};
use lapin::options::BasicAckOptions;

use super::{claim::Hold, link::explain, session::Session};
use crate::{BusError, Intake, Tag, Taken};

pub(super) struct AmqpIntake {
    hold: Arc<Hold>,
    session: Session,
    /// Messages out at a time, at most.
    prefetch: usize,
    /// Why it ended.
    failed: Option<BusError>,
}

impl AmqpIntake {
    pub(super) fn new(hold: Arc<Hold>, session: Session, prefetch: u16) -> Self {
        Self {
            hold,
            session,
            prefetch: prefetch.into(),
            failed: None,
        }
    }

    fn is_over(&self) -> bool {
        self.hold.over.is_cancelled() || self.hold.link.is_over()
    }

    fn check(&self) -> Result<(), BusError> {
        if self.is_over() {
            return Err(BusError::Lost(self.hold.lane.clone()));
        }
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn fail<T>(&mut self, error: BusError) -> Result<T, BusError> {
        self.failed = Some(error.clone());
        Err(error)
    }
}

#[async_trait]
impl Intake for AmqpIntake {
    async fn next(&mut self) -> Result<Taken, BusError> {
        self.check()?;
        let hold = Arc::clone(&self.hold);
        loop {
            if self.session.out() < self.prefetch
                && let Some(taken) = self.session.hand_out()
            {
                return Ok(taken);
            }
            let delivery = tokio::select! {
                biased;
                () = hold.over.cancelled() => return Err(BusError::Lost(hold.lane.clone())),
                () = hold.link.ended() => return Err(BusError::Lost(hold.lane.clone())),
                delivery = self.session.consumer.next() => delivery,
            };
            match delivery {
                Some(Ok(delivery)) => self.session.receive(delivery),
                Some(Err(error)) => return self.fail(explain(&error)),
                None => {
                    self.hold.note_vanished();
                    let reason = format!("the broker ended the intake of lane {}", hold.lane);
                    return self.fail(BusError::Refused(reason));
                }
            }
        }
    }

    fn out(&self) -> usize {
        self.session.out()
    }

    fn waiting_since(&self) -> Option<Instant> {
        self.session.waiting_since()
    }

    async fn settle(&mut self, tags: &[Tag]) -> Result<(), BusError> {
        self.check()?;
        let begun = Instant::now();
        let plan = self.session.plan(tags);
        let channel = self.session.channel();
        let ack = |tag, multiple| channel.basic_ack(tag, BasicAckOptions { multiple });
        let up_to = plan.up_to.map(|tag| ack(tag, true));
        let single = plan.single.iter().map(|tag| ack(*tag, false));
        // Answers when they are on the wire: the protocol has no answer to an acknowledgement.
        let acks = try_join_all(up_to.into_iter().chain(single));
        if let Err(error) = self.hold.link.ask(acks).await {
            return self.fail(error);
        }
        self.session.settled(&plan);
        metrics::histogram!("tributary_settle_seconds").record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    async fn close(self: Box<Self>) {
        let is_good = self.failed.is_none() && !self.is_over();
        let Self { hold, session, .. } = *self;
        if is_good && session.is_young() {
            hold.park(session);
        } else {
            hold.end(session).await;
        }
    }
}
