//! Whether a message ends the workers that handle it.
//!
//! How often a broker handed a message out says little: its count rises with every cut and every change of owner. So a
//! suspicious message is handled with nothing else of its lane, and each such attempt is recorded in the lane's
//! [`AttemptLog`] before it begins. It counts as a death when the process is never heard of again; any outcome, or
//! [`IN_HAND`] without harm, clears the record. To tell the message from somebody who kills workers, the next attempt
//! is preceded by a quiet time: a death in the quiet time clears the record as well. See ADR 17.

use std::time::Duration;

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

/// How often workers ended while they handled the message that was recorded last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Evidence {
    pub message: Uuid,
    pub deaths: u32,
}

impl Evidence {
    /// Reads the records of a lane, oldest first. `None`: there are none.
    pub fn read(records: &[Attempt], this: Uuid) -> Option<Self> {
        let begins = |record: &&Attempt| record.step != Step::Withdrawn;
        let message = records.iter().rfind(begins)?.message;
        // An attempt at another message means that those before it had an outcome.
        let other = |record: &Attempt| begins(&record) && record.message != message;
        let since = records.iter().rposition(other).map_or(0, |at| at + 1);
        let mut processes: Vec<(Uuid, Step)> = Vec::new();
        for record in &records[since..] {
            if record.message == message {
                processes.retain(|(instance, _)| *instance != record.instance);
                processes.push((record.instance, record.step));
            }
        }
        let mut deaths = 0;
        for (instance, step) in processes {
            match step {
                // This process lives.
                _ if instance == this => {}
                Step::Begun => deaths += 1,
                Step::Waiting => deaths = 0,
                Step::Withdrawn => {}
            }
        }
        Some(Self { message, deaths })
    }
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
