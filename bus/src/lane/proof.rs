//! Whether a message ends the workers that handle it.
//!
//! How often a broker handed a message out says little: its count rises with every cut and every change of owner. So a
//! suspicious message is handled with nothing else of its lane, and each such attempt is recorded in the lane's
//! [`AttemptLog`] before it begins. It counts as a death when the process is never heard of again; any outcome, or
//! [`IN_HAND`] without harm, clears the record. To tell the message from somebody who kills workers, the next attempt
//! is preceded by a quiet time: a death in the quiet time clears the record as well. See ADR 17.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{EventId, Lane};

/// A worker that ends later than this after an attempt began was not ended by the message.
pub(super) const IN_HAND: Duration = Duration::from_secs(10);

/// How long a process that lives may take to say so, before the last death counts for a verdict: the time in which a
/// connection that was lost is noticed and made again.
pub(super) const HEARD_OF_WITHIN: Duration = Duration::from_secs(30);

/// One record about a message that is handled alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The process; a new one after each restart.
    pub instance: Uuid,
    /// See [`identity`].
    pub message: Uuid,
    pub step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// In its quiet time, before it is handled.
    Waiting,
    /// Handled from here on.
    Begun,
    /// The process lives: what it recorded before is no evidence.
    Withdrawn,
    /// There was an outcome: nothing that was recorded before is evidence.
    Ended,
}

/// What the message of a lane is called in records and among the dead letters: the same in every process.
pub(super) fn identity(lane: &Lane, id: Option<EventId>, body: &[u8]) -> Uuid {
    let name = match id {
        Some(id) => format!("{lane}/{id}"),
        None => format!("{lane}/{}", Uuid::new_v5(&NAMESPACE, body)),
    };
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Changing it would make dead letters double that were buried before.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b1c_3f5e_0c7d_5f0e_8a57_9d2c_41be_7710);

/// How often workers ended while they handled each message of which there are records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Evidence(HashMap<Uuid, u32>);

impl Evidence {
    /// Reads the records of a lane, oldest first.
    pub fn read(records: &[Attempt], this: Uuid) -> Self {
        let mut processes: HashMap<Uuid, Vec<(Uuid, Step)>> = HashMap::new();
        for record in records {
            let of_message = processes.entry(record.message).or_default();
            of_message.retain(|(instance, _)| *instance != record.instance);
            match record.step {
                Step::Waiting | Step::Begun => of_message.push((record.instance, record.step)),
                Step::Withdrawn => {}
                Step::Ended => of_message.clear(),
            }
        }
        processes.retain(|_, of_message| !of_message.is_empty());
        let count = |(message, of_message)| (message, deaths(of_message, this));
        Self(processes.into_iter().map(count).collect())
    }

    pub fn deaths(&self, message: Uuid) -> u32 {
        self.0.get(&message).copied().unwrap_or_default()
    }

    /// The deaths recorded of a message, once.
    pub fn take(&mut self, message: Uuid) -> Option<u32> {
        self.0.remove(&message)
    }

    /// The messages that were not taken.
    pub fn drain(&mut self) -> impl Iterator<Item = Uuid> {
        self.0.drain().map(|(message, _)| message)
    }

    pub fn messages(&self) -> impl Iterator<Item = Uuid> {
        self.0.keys().copied()
    }
}

fn deaths(processes: Vec<(Uuid, Step)>, this: Uuid) -> u32 {
    let others = processes
        .into_iter()
        .filter(|(instance, _)| *instance != this);
    others.fold(0, |deaths, (_, step)| match step {
        Step::Begun => deaths + 1,
        Step::Waiting | Step::Withdrawn | Step::Ended => 0,
    })
}

/// How long a message waits before it is handled alone, after so many deaths: doubling up to [`IN_HAND`], so that who
/// kills workers at any steady pace hits the quiet time before `limit` is reached.
pub(super) fn quiet_time(deaths: u32, limit: u32) -> Duration {
    if deaths == 0 {
        return Duration::ZERO;
    }
    let halvings = limit.saturating_sub(1).saturating_sub(deaths);
    IN_HAND / 2_u32.saturating_pow(halvings)
}

#[cfg(test)]
mod tests;
