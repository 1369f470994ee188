//! How much the owner of a lane holds, for other processes: the broker does not count what a consumer has. Whoever wants
//! to know asks through the owner's exclusive queue, and the owner answers into the queue of who asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use lapin::{
    Channel,
    options::{BasicConsumeOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use tokio::time::timeout;

use super::{Lines, link::Link, publisher::Message};
use crate::{BusError, Lane, PublishError};

/// How long an owner may take to answer. One that is frozen, or of an earlier version, never does.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// Answers questions for as long as the lock's channel lives.
pub(super) async fn answer(
    lines: Arc<Lines>,
    lock: Channel,
    owner: ShortString,
    held: Arc<AtomicUsize>,
) {
    let questions = lock
        .basic_consume(
            owner,
            ShortString::default(),
            no_ack(),
            FieldTable::default(),
        )
        .await;
    let Ok(mut questions) = questions else { return };
    while let Some(Ok(question)) = questions.next().await {
        let Some(reply_to) = question.properties.reply_to().clone() else {
            continue;
        };
        let Ok(generation) = lines.publishing() else {
            continue;
        };
        let count = held.load(Ordering::Relaxed).to_string();
        let answer = Message::direct(reply_to, Bytes::from(count));
        // Whoever asked has a deadline, and may be gone.
        drop(generation.publish(vec![answer]).await);
    }
}

/// Asks the owner of a lane; `None` when nobody answers in time.
pub(super) async fn ask(lines: &Lines, link: &Link, lane: &Lane) -> Result<Option<u64>, BusError> {
    let channel = link.channel().await?;
    let options = QueueDeclareOptions {
        auto_delete: true,
        ..QueueDeclareOptions::exclusive()
    };
    let declare = channel.queue_declare(ShortString::default(), options, FieldTable::default());
    let reply_to = link.ask(declare).await?.name().clone();
    let consume = channel.basic_consume(
        reply_to.clone(),
        ShortString::default(),
        no_ack(),
        FieldTable::default(),
    );
    let mut answers = link.ask(consume).await?;
    let owner = lines.names().owner(lane)?;
    let question = Message::direct(owner, Bytes::new()).reply_to(reply_to);
    match lines.publishing()?.publish(vec![question]).await.pop() {
        // Nobody owns it, so nobody holds anything.
        Some(Err(PublishError::NoLane(_))) => return Ok(Some(0)),
        Some(Ok(())) => {}
        Some(Err(_)) | None => return Ok(None),
    }
    let answer = timeout(ANSWER_DEADLINE, answers.next()).await;
    let Ok(Some(Ok(answer))) = answer else {
        return Ok(None);
    };
    let count = std::str::from_utf8(&answer.data).ok();
    Ok(count.and_then(|count| count.parse().ok()))
}

fn no_ack() -> BasicConsumeOptions {
    BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    }
}
