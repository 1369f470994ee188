//! Taking messages of an owned lane: an AMQP channel of its own with a bounded prefetch.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::try_join_all};
use lapin::{Channel, Consumer, message::Delivery, options::BasicAckOptions, types::AMQPValue};

use super::{claim::Hold, link::explain};
use crate::{BusError, Envelope, Intake, Tag, Taken};

pub(super) struct AmqpIntake {
    hold: Arc<Hold>,
    channel: Channel,
    consumer: Consumer,
    /// Delivery tags that were handed out and not settled.
    unsettled: BTreeSet<u64>,
    /// Why it ended.
    failed: Option<BusError>,
}

impl AmqpIntake {
    pub(super) fn new(hold: Arc<Hold>, channel: Channel, consumer: Consumer) -> Self {
        Self {
            hold,
            channel,
            consumer,
            unsettled: BTreeSet::new(),
            failed: None,
        }
    }

    fn check(&self) -> Result<(), BusError> {
        if self.hold.over.is_cancelled() || self.hold.link.is_over() {
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
        let delivery = tokio::select! {
            biased;
            () = hold.over.cancelled() => return Err(BusError::Lost(hold.lane.clone())),
            () = hold.link.ended() => return Err(BusError::Lost(hold.lane.clone())),
            delivery = self.consumer.next() => delivery,
        };
        match delivery {
            Some(Ok(delivery)) => {
                self.unsettled.insert(delivery.delivery_tag);
                Ok(taken(delivery))
            }
            Some(Err(error)) => self.fail(explain(&error)),
            None => {
                let reason = format!("the broker ended the intake of lane {}", hold.lane);
                self.fail(BusError::Refused(reason))
            }
        }
    }

    async fn settle(&mut self, tags: &[Tag]) -> Result<(), BusError> {
        self.check()?;
        let begun = Instant::now();
        let plan = plan(&self.unsettled, tags);
        let up_to = plan.up_to.map(|tag| (tag, true));
        let acks = up_to
            .into_iter()
            .chain(plan.single.iter().map(|tag| (*tag, false)));
        // All are queued at once; the first poll keeps their order.
        let acks =
            acks.map(|(tag, multiple)| self.channel.basic_ack(tag, BasicAckOptions { multiple }));
        if let Err(error) = self.hold.link.ask(try_join_all(acks)).await {
            return self.fail(error);
        }
        if let Some(up_to) = plan.up_to {
            self.unsettled = self.unsettled.split_off(&(up_to + 1));
        }
        for tag in &plan.single {
            self.unsettled.remove(tag);
        }
        metrics::histogram!("tributary_settle_seconds").record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    async fn close(self: Box<Self>) {
        let close = self.channel.close(200, "OK".into());
        if let Err(reason) = self.hold.link.ask(close).await {
            tracing::debug!(lane = %self.hold.lane, %reason, "intake was closed already");
        }
    }
}

impl Drop for AmqpIntake {
    fn drop(&mut self) {
        // The close is queued by its first poll. Without it lapin would cancel the consumer first, and a next consumer
        // could come in before this one's messages are back.
        drop(self.channel.close(200, "OK".into()).now_or_never());
    }
}

fn taken(delivery: Delivery) -> Taken {
    let redeliveries = redeliveries(&delivery);
    let body = Bytes::from(delivery.data);
    Taken {
        tag: Tag(delivery.delivery_tag),
        redeliveries,
        envelope: Envelope::parse(&body),
        body,
    }
}

/// The quorum queue counts deliveries in `x-delivery-count`, missing at first.
fn redeliveries(delivery: &Delivery) -> u32 {
    let counted = delivery
        .properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get("x-delivery-count"))
        .and_then(integer);
    counted.unwrap_or_else(|| u32::from(delivery.redelivered))
}

fn integer(value: &AMQPValue) -> Option<u32> {
    match value {
        AMQPValue::ShortShortInt(n) => u32::try_from(*n).ok(),
        AMQPValue::ShortShortUInt(n) => Some(u32::from(*n)),
        AMQPValue::ShortInt(n) => u32::try_from(*n).ok(),
        AMQPValue::ShortUInt(n) => Some(u32::from(*n)),
        AMQPValue::LongInt(n) => u32::try_from(*n).ok(),
        AMQPValue::LongUInt(n) => Some(*n),
        AMQPValue::LongLongInt(n) => Some(u32::try_from(*n).unwrap_or(u32::MAX)),
        _ => None,
    }
}

/// The fewest acknowledgements that settle some tags.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Everything up to here, in one.
    up_to: Option<u64>,
    single: Vec<u64>,
}

/// Tags that are not unsettled (any more) are left out: the broker would close the AMQP channel.
fn plan(unsettled: &BTreeSet<u64>, tags: &[Tag]) -> Plan {
    let settled: BTreeSet<u64> = tags
        .iter()
        .map(|tag| tag.0)
        .filter(|tag| unsettled.contains(tag))
        .collect();
    let prefix = unsettled
        .iter()
        .zip(&settled)
        .take_while(|(one, other)| one == other)
        .count();
    Plan {
        up_to: settled.iter().take(prefix).last().copied(),
        single: settled.into_iter().skip(prefix).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_settled_in_one() {
        let unsettled = BTreeSet::from([4, 5, 6, 8, 9]);
        for (tags, up_to, single) in [
            (vec![4, 5, 6, 8, 9], Some(9), vec![]),
            (vec![6, 4, 5], Some(6), vec![]),
            (vec![4, 6, 9], Some(4), vec![6, 9]),
            (vec![8], None, vec![8]),
            (vec![3, 7, 10], None, vec![]),
            (vec![5, 5], None, vec![5]),
            (vec![], None, vec![]),
        ] {
            let tags: Vec<Tag> = tags.into_iter().map(Tag).collect();
            assert_eq!(plan(&unsettled, &tags), Plan { up_to, single });
        }
    }
}
