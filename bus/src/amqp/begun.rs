//! Records of messages that are handled alone: a queue per lane that had any, `begun.<lane>`. It is read and cleared by
//! the owner of the lane; other processes only add to it that they live.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use lapin::{
    Channel, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueuePurgeOptions},
    types::{FieldTable, ShortString},
};
use tokio::time::{sleep, timeout};
use tributary_base::backoff::Backoff;
use uuid::Uuid;

use super::{
    Lines,
    dead::published,
    link::{Link, if_there},
    publisher::Message,
    topology::{PASSIVE, declare_begun},
};
use crate::{Attempt, AttemptLog, BusError, Lane};

/// Records that are read, at most; there are a handful.
const MOST: u16 = 1_000;
/// How long the records that the last owner had read may take to return. Without them there is less evidence, and never
/// more.
const RETURN_DEADLINE: Duration = Duration::from_secs(5);
/// How often to look whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long the broker may take to hand out the next record.
const NEXT: Duration = Duration::from_secs(1);

pub(super) struct BegunLog {
    lines: Arc<Lines>,
    lane: Lane,
    reader: Option<Reader>,
}

/// Holds what was read, so that it can be removed and otherwise returns.
struct Reader {
    channel: Channel,
    consumer: Consumer,
    read: Vec<Attempt>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // As in the module `session`: the close is queued by its first poll.
        drop(self.channel.close(200, "OK".into()).now_or_never());
    }
}

impl BegunLog {
    pub(super) fn new(lines: Arc<Lines>, lane: Lane) -> Self {
        Self {
            lines,
            lane,
            reader: None,
        }
    }

    fn queue(&self) -> Result<ShortString, BusError> {
        self.lines.names().begun(&self.lane)
    }

    /// Begins to read; `None` when nothing is recorded.
    async fn open(&self, link: &Link) -> Result<Option<Reader>, BusError> {
        let queue = self.queue()?;
        let channel = link.channel().await?;
        let begun = Instant::now();
        let mut left = loop {
            let question = channel.queue_declare(queue.clone(), PASSIVE, FieldTable::default());
            // Without a queue nothing was ever recorded.
            let Some(found) = link.ask(if_there(question)).await? else {
                return Ok(None);
            };
            if found.consumer_count() == 0 || begun.elapsed() > RETURN_DEADLINE {
                break found.message_count();
            }
            sleep(LOOK_AGAIN).await;
        };
        if left == 0 {
            return Ok(None);
        }
        let qos = channel.basic_qos(MOST, BasicQosOptions::default());
        link.ask(qos).await?;
        let consume = channel.basic_consume(
            queue,
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = link.ask(consume).await?;
        let mut reader = Reader {
            channel,
            consumer,
            read: Vec::new(),
        };
        while left > 0
            && let Ok(Some(Ok(delivery))) = timeout(NEXT, reader.consumer.next()).await
        {
            left -= 1;
            reader.keep(&delivery.data);
        }
        Ok(Some(reader))
    }
}

impl Reader {
    fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    fn keep(&mut self, record: &[u8]) {
        match serde_json::from_slice(record) {
            Ok(record) => self.read.push(record),
            // Of a later version: no evidence for this one.
            Err(reason) => tracing::warn!(%reason, "a record of an attempt cannot be read"),
        }
    }

    /// Takes in what has come since.
    fn go_on(&mut self) {
        while let Some(Some(Ok(delivery))) = self.consumer.next().now_or_never() {
            self.keep(&delivery.data);
        }
    }
}

#[async_trait]
impl AttemptLog for BegunLog {
    fn instance(&self) -> Uuid {
        self.lines.plan.instance
    }

    async fn read(&mut self) -> Result<Vec<Attempt>, BusError> {
        let mut reader = match self.reader.take().filter(Reader::is_open) {
            Some(reader) => reader,
            None => match self.open(&*self.lines.consuming()?).await? {
                Some(reader) => reader,
                None => return Ok(Vec::new()),
            },
        };
        reader.go_on();
        Ok(self.reader.insert(reader).read.clone())
    }

    async fn add(&mut self, attempt: Attempt) -> Result<(), BusError> {
        add(&self.lines, self.queue()?, attempt).await
    }

    fn add_later(&mut self, attempt: Attempt) {
        let lines = Arc::clone(&self.lines);
        let Ok(queue) = self.queue() else { return };
        tokio::spawn(async move {
            let added = async {
                for attempts in 1_u32.. {
                    if add(&lines, queue.clone(), attempt).await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(Backoff::SERVER.delay(attempts)).await;
                }
            };
            tokio::select! {
                () = added => {}
                () = lines.stop().cancelled() => {}
            }
        });
    }

    async fn clear(&mut self) -> Result<(), BusError> {
        let link = self.lines.consuming()?;
        let reader = self.reader.take().filter(Reader::is_open);
        let channel = match &reader {
            Some(reader) => {
                // 0 stands for all that was handed out.
                let all = BasicAckOptions { multiple: true };
                link.ask(reader.channel.basic_ack(0, all)).await?;
                reader.channel.clone()
            }
            None => link.channel().await?,
        };
        // On the same AMQP channel, behind the acknowledgement.
        let purge = channel.queue_purge(self.queue()?, QueuePurgeOptions::default());
        link.ask(if_there(purge)).await.map(drop)
    }
}

/// Makes the queue if it is the first record.
async fn add(lines: &Lines, queue: ShortString, attempt: Attempt) -> Result<(), BusError> {
    let generation = lines.publishing()?;
    let body =
        serde_json::to_vec(&attempt).map_err(|reason| BusError::Refused(reason.to_string()))?;
    let send = async || {
        let message = Message::direct(queue.clone(), Bytes::from(body.clone()));
        let outcomes = generation.publish(vec![message]).await;
        outcomes.into_iter().try_for_each(published)
    };
    match send().await {
        Err(BusError::Refused(_)) => {}
        other => return other,
    }
    declare_begun(&generation.link(), queue.clone()).await?;
    send().await
}
