//! Taking messages out of a lane of the file.

use std::{
    collections::VecDeque,
    sync::{Arc, MutexGuard},
    time::Instant,
};

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{
    claim::count_returned,
    core::{Hold, Link, Slot},
    error::Failure,
    measure,
    writer::Op,
};
use crate::{BusError, Envelope, Intake, Tag, Taken};

/// An open intake. The list of what it handed out is in the slot, where a release finds it as well.
pub(super) struct FileIntake {
    link: Arc<Link>,
    slot: Arc<Slot>,
    lane_id: i64,
    /// Its number among the intakes of this process.
    token: u64,
    prefetch: usize,
    /// The last message read from the file.
    read_to: i64,
    ready: VecDeque<Message>,
    /// Reading is a task of its own: the connection that it uses is free again whether [`Intake::next`] is waited for or
    /// not. It ends with the intake.
    reading: Option<AbortOnDropHandle<Reading>>,
    changed: watch::Receiver<u64>,
    /// Whether there may be messages behind `read_to`.
    more: bool,
}

/// How many messages there was room for, and what was found.
type Reading = (usize, Result<Vec<Message>, Failure>);

struct Message {
    id: i64,
    redeliveries: u32,
    body: Bytes,
}

impl FileIntake {
    pub fn new(link: Arc<Link>, slot: &Arc<Slot>, lane_id: i64, token: u64, prefetch: u16) -> Self {
        Self {
            link,
            slot: Arc::clone(slot),
            lane_id,
            token,
            prefetch: usize::from(prefetch.max(1)),
            read_to: 0,
            ready: VecDeque::new(),
            reading: None,
            changed: slot.changed.subscribe(),
            more: true,
        }
    }

    /// Whether this intake may still hand out and settle.
    fn check(&self) -> Result<(), BusError> {
        self.hold().map(drop)
    }

    /// The slot's list, as long as this intake is the one that fills it.
    fn hold(&self) -> Result<MutexGuard<'_, Hold>, BusError> {
        self.link.open()?;
        let hold = self.slot.hold();
        if hold.intake == Some(self.token) {
            Ok(hold)
        } else if hold.owner.is_none() {
            Err(BusError::Lost(self.slot.lane.clone()))
        } else {
            Err(BusError::Away("the intake has ended".to_owned()))
        }
    }

    /// How many more may be read.
    fn room(&self) -> usize {
        let out = self.slot.hold().unsettled.len() + self.ready.len();
        self.prefetch.saturating_sub(out)
    }

    fn hand_out(&self, message: Message) -> Result<Taken, BusError> {
        self.hold()?.unsettled.insert(message.id);
        let envelope = Envelope::parse(&message.body);
        Ok(Taken {
            tag: Tag(message.id.unsigned_abs()),
            redeliveries: message.redeliveries,
            body: message.body,
            envelope,
        })
    }

    fn end(&self) -> Option<Vec<i64>> {
        let mut hold = self.slot.hold();
        if hold.intake != Some(self.token) {
            return None;
        }
        hold.end_intake();
        Some(hold.returned.clone())
    }
}

#[async_trait]
impl Intake for FileIntake {
    async fn next(&mut self) -> Result<Taken, BusError> {
        loop {
            self.check()?;
            if let Some(message) = self.ready.pop_front() {
                return self.hand_out(message);
            }
            if self.reading.is_none() {
                let room = self.room();
                if room == 0 || !self.more {
                    // The sender lives in the slot, which this intake holds: no error.
                    drop(self.changed.changed().await);
                    self.more = true;
                    continue;
                }
                // Before the file is read: what comes later shows as changed again.
                self.changed.mark_unchanged();
                self.more = false;
                let link = Arc::clone(&self.link);
                let reading = read(link, self.lane_id, self.read_to, room);
                let task = tokio::spawn(async move { (room, reading.await) });
                self.reading = Some(AbortOnDropHandle::new(task));
            }
            let Some(reading) = &mut self.reading else {
                continue;
            };
            let read = reading.await;
            self.reading = None;
            let (room, found) = read.map_err(|reason| BusError::Away(reason.to_string()))?;
            let found = found?;
            self.more |= found.len() == room;
            self.read_to = found.last().map_or(self.read_to, |last| last.id);
            self.ready.extend(found);
        }
    }

    fn out(&self) -> usize {
        self.hold().map_or(0, |hold| hold.unsettled.len())
    }

    async fn settle(&mut self, tags: &[Tag]) -> Result<(), BusError> {
        self.check()?;
        let ids: Vec<i64> = {
            let hold = self.slot.hold();
            let known = tags.iter().filter_map(|tag| i64::try_from(tag.0).ok());
            known.filter(|id| hold.unsettled.contains(id)).collect()
        };
        if ids.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        self.link.write(Op::Settle(ids.clone())).await?;
        measure::settled(begun.elapsed());
        let mut hold = self.slot.hold();
        for id in ids {
            hold.unsettled.remove(&id);
        }
        Ok(())
    }

    async fn close(self: Box<Self>) {
        if let Some(returned) = self.end()
            && let Err(error) = count_returned(&self.link, &self.slot, self.lane_id, returned).await
        {
            // The list is kept and written before the lane is taken from again.
            tracing::debug!(lane = %self.slot.lane, %error, "returned messages are not counted yet");
        }
    }
}

impl Drop for FileIntake {
    fn drop(&mut self) {
        if self.end().is_some() {
            self.slot.wake();
        }
    }
}

/// Reads on in the lane, and writes down what will be handed out before it is: a message that ends the process must
/// have been counted.
async fn read(
    link: Arc<Link>,
    lane_id: i64,
    after: i64,
    room: usize,
) -> Result<Vec<Message>, Failure> {
    let rows = sqlx::query(
        "SELECT id, redeliveries, body FROM messages WHERE lane_id = ? AND id > ? ORDER BY id LIMIT ?",
    )
    .bind(lane_id)
    .bind(after)
    .bind(i64::try_from(room).unwrap_or(i64::MAX))
    .fetch_all(&link.read)
    .await?;
    let mut messages = Vec::with_capacity(rows.len());
    for row in rows {
        let body: Vec<u8> = row.try_get("body")?;
        messages.push(Message {
            id: row.try_get("id")?,
            redeliveries: row.try_get("redeliveries")?,
            body: Bytes::from(body),
        });
    }
    if let Some(last) = messages.last() {
        let up_to = last.id;
        link.write(Op::Hand { lane_id, up_to }).await?;
    }
    Ok(messages)
}
