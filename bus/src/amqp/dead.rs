//! The dead letters: a queue that people look into and put messages back from.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt, future::try_join_all};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    Lines,
    link::{Link, explain},
    publisher::{Message, Outcome},
    topology::PASSIVE,
};
use crate::{BusError, DeadId, DeadLetter, Lane, PublishError};

/// How long the next letter may take before there is none.
const PAUSE: Duration = Duration::from_secs(1);

/// Letters beyond the oldest so many are not seen before those go.
const LOOKED_THROUGH: u16 = 10_000;

/// How often to look whether others have finished looking.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What goes with the body of a dead letter.
pub(super) fn headers(letter: &DeadLetter) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("id", letter.id.0.to_string()),
        ("lane", letter.lane.to_string()),
        ("reason", letter.reason.clone()),
        ("at", letter.at.to_rfc3339()),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    headers
}

/// Publishes letters; answers when all of them are durable.
pub(super) async fn bury(lines: &Lines, letters: Vec<DeadLetter>) -> Result<(), BusError> {
    let messages: Result<Vec<Message>, BusError> = letters
        .into_iter()
        .map(|letter| Message::dead(letter, lines.names()))
        .collect();
    let outcomes = lines.publishing()?.publish(messages?).await;
    outcomes.into_iter().try_for_each(published)
}

/// The oldest letters, at most `limit`.
pub(super) async fn list(lines: &Lines, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
    let mut pile = Pile::open(lines).await?;
    let mut letters = Vec::new();
    let mut seen = HashSet::new();
    while letters.len() < limit
        && let Some(delivery) = pile.next().await?
    {
        match read(delivery) {
            // Whoever was interrupted while burying it has buried it again.
            Ok(letter) if !seen.insert(letter.id) => {}
            Ok(letter) => letters.push(letter),
            Err(reason) => tracing::warn!(reason, "something else lies among the dead letters"),
        }
    }
    pile.close().await?;
    Ok(letters)
}

/// Puts one letter back into its lane.
pub(super) async fn replay(lines: &Lines, id: DeadId) -> Result<bool, BusError> {
    let mut pile = Pile::open(lines).await?;
    let mut found = None;
    // It may lie there more than once, see `list`.
    let mut tags = Vec::new();
    while let Some(delivery) = pile.next().await? {
        let tag = delivery.delivery_tag;
        if let Ok(letter) = read(delivery)
            && letter.id == id
        {
            tags.push(tag);
            found = Some(letter);
        }
    }
    let Some(letter) = found else {
        pile.close().await?;
        return Ok(false);
    };
    let message = Message::raw(&letter.lane, letter.body, lines.names())?;
    let generation = lines.publishing()?;
    let lanes = HashSet::from([&letter.lane]);
    generation.ensure(lanes, lines.names()).await?;
    let outcomes = generation.publish(vec![message]).await;
    outcomes.into_iter().try_for_each(published)?;
    // Only now: a crash before leaves it in both places, never in none.
    let acks = tags
        .into_iter()
        .map(|tag| pile.channel.basic_ack(tag, BasicAckOptions::default()));
    pile.link.ask(try_join_all(acks)).await?;
    pile.close().await?;
    Ok(true)
}

pub(super) fn published(outcome: Outcome) -> Result<(), BusError> {
    outcome.map_err(|error| match error {
        PublishError::NoLane(_) => BusError::Refused(error.to_string()),
        PublishError::NotPublished(_) | PublishError::Unknown(_) => {
            BusError::Away(error.to_string())
        }
    })
}

/// The letters that lay there when it was opened, one after the other. All return when it is closed.
///
/// A consumer, and no `basic.get`: letters that were fetched one by one return in no particular order. And always the
/// same window, whatever is read of it: see the module `session`.
struct Pile {
    link: Arc<Link>,
    channel: Channel,
    consumer: Consumer,
    /// Letters that are still to come.
    left: u32,
}

impl Pile {
    async fn open(lines: &Lines) -> Result<Self, BusError> {
        let link = lines.consuming()?;
        let queue = lines.names().dead()?;
        let channel = link.channel().await?;
        let there = alone_with(&link, &channel, &queue).await?;
        let left = there.min(LOOKED_THROUGH.into());
        let qos = channel.basic_qos(LOOKED_THROUGH, BasicQosOptions::default());
        link.ask(qos).await?;
        let consume = channel.basic_consume(
            queue,
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = link.ask(consume).await?;
        Ok(Self {
            link,
            channel,
            consumer,
            left,
        })
    }

    async fn next(&mut self) -> Result<Option<Delivery>, BusError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        // Another who looks at the same time may have some of them.
        match timeout(PAUSE, self.link.ask(self.consumer.next().map(Ok))).await {
            Ok(Ok(Some(delivery))) => delivery.map(Some).map_err(|error| explain(&error)),
            Ok(Ok(None)) | Err(_) => Ok(None),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Answers when the letters lie there again.
    async fn close(&self) -> Result<(), BusError> {
        self.link.ask(self.channel.close(200, "OK".into())).await?;
        let channel = self.link.channel().await?;
        let queue = self.consumer.queue();
        alone_with(&self.link, &channel, &queue).await.map(drop)
    }
}

/// Waits a while until nobody else looks at the letters, and answers how many there are.
async fn alone_with(link: &Link, channel: &Channel, queue: &ShortString) -> Result<u32, BusError> {
    let begun = Instant::now();
    loop {
        let question = channel.queue_declare(queue.clone(), PASSIVE, FieldTable::default());
        let found = link.ask(question).await?;
        if found.consumer_count() == 0 || begun.elapsed() > PAUSE {
            return Ok(found.message_count());
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn read(delivery: Delivery) -> Result<DeadLetter, String> {
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    let text = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => Ok(text.to_string()),
        _ => Err(format!("it has no header {name}")),
    };
    let id = text("id")?;
    let at = text("at")?;
    Ok(DeadLetter {
        id: DeadId(Uuid::parse_str(&id).map_err(|_| "its id is no UUID")?),
        lane: text("lane")?
            .parse::<Lane>()
            .map_err(|_| "its lane is none of ours")?,
        reason: text("reason")?,
        at: DateTime::parse_from_rfc3339(&at)
            .map_err(|_| "its time is no RFC 3339 time")?
            .with_timezone(&Utc),
        body: Bytes::from(delivery.data),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_survive_the_wire() {
        let letter = DeadLetter {
            id: DeadId(Uuid::new_v4()),
            lane: Lane::Inbound(7),
            reason: "unknown event type".to_owned(),
            at: Utc::now(),
            body: Bytes::from_static(b"{"),
        };
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, b"{".to_vec());
        delivery.properties = delivery.properties.with_headers(headers(&letter));
        let read = read(delivery).expect("a letter");
        assert_eq!(read.id, letter.id);
        assert_eq!(read.lane, letter.lane);
        assert_eq!(read.reason, letter.reason);
        assert_eq!(read.at, letter.at);
        assert_eq!(read.body, letter.body);
    }

    #[test]
    fn strangers_are_named() {
        let stranger = Delivery::mock(1, "".into(), "".into(), false, Vec::new());
        assert_eq!(
            read(stranger).expect_err("no letter"),
            "it has no header id"
        );
    }
}
