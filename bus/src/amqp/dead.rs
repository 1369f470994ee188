//! The dead letters: a queue that people look into and put messages back from.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicGetOptions},
    types::{AMQPValue, FieldTable},
};
use uuid::Uuid;

use super::{
    Lines,
    link::Link,
    publisher::{Message, Outcome},
};
use crate::{BusError, DeadId, DeadLetter, Lane, PublishError};

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
    while letters.len() < limit
        && let Some(delivery) = pile.next().await?
    {
        match read(delivery) {
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
    while let Some(delivery) = pile.next().await? {
        let tag = delivery.delivery_tag;
        if let Ok(letter) = read(delivery)
            && letter.id == id
        {
            found = Some((tag, letter));
            break;
        }
    }
    let Some((tag, letter)) = found else {
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
    let ack = pile.channel.basic_ack(tag, BasicAckOptions::default());
    pile.link.ask(ack).await?;
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

/// Letters are taken one after the other and return when the pile is closed.
struct Pile {
    link: Arc<Link>,
    channel: Channel,
    queue: lapin::types::ShortString,
}

impl Pile {
    async fn open(lines: &Lines) -> Result<Self, BusError> {
        let link = lines.consuming()?;
        let channel = link.channel().await?;
        Ok(Self {
            queue: lines.names().dead()?,
            link,
            channel,
        })
    }

    async fn next(&mut self) -> Result<Option<Delivery>, BusError> {
        let get = self
            .channel
            .basic_get(self.queue.clone(), BasicGetOptions::default());
        let message = self.link.ask(get).await?;
        Ok(message.map(|message| message.delivery))
    }

    async fn close(&self) -> Result<(), BusError> {
        self.link.ask(self.channel.close(200, "OK".into())).await
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
