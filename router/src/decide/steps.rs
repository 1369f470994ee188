//! What each kind of inbound event changes.

use chrono::{DateTime, Datelike, Utc};
use tributary_bus::{
    EnvelopeError,
    message::{ChannelHealth, ChannelHealthChanged, Inbound},
};

use super::{
    Arrival, Changes, KeepRaw, Policy, RawPayload, Verdict,
    snapshot::{Entry, Snapshot},
};
use crate::model::Health;

/// A batch that is being decided.
pub(super) struct Decision<'a> {
    pub snapshot: &'a mut Snapshot,
    pub policy: &'a Policy,
    pub now: DateTime<Utc>,
    pub changes: Changes,
}

/// How the contact of an event was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    New,
    /// Something that integrators see is different now.
    Changed,
    Same,
}

/// How a conversation came to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    Already,
    Again,
    New,
}

impl Decision<'_> {
    /// Decides one arrival.
    pub fn take(&mut self, arrival: &Arrival) -> Result<Verdict, EnvelopeError> {
        let origin = arrival.inbound.origin();
        match self.snapshot.channels.get(&origin.channel_id) {
            Some(owner) if *owner == arrival.organization => {}
            Some(_) => {
                let (channel, organization) = (&origin.channel_id, &arrival.organization);
                let reason =
                    format!("channel {channel} does not belong to organization {organization}");
                return Ok(Verdict::Dead(reason));
            }
            None => {
                let reason = format!("channel {} is not configured", origin.channel_id);
                return Ok(Verdict::Dead(reason));
            }
        }
        match &arrival.inbound {
            Inbound::Received(event) => self.received(&arrival.organization, event),
            // A repeated status changes nothing by itself: it needs no memory of its id.
            Inbound::Status(event) => self.status(event),
            // Nor do these: what they tell is told whole.
            Inbound::Media(event) => self.media(event),
            Inbound::Read(event) => self.read(event),
            Inbound::Typing(_) => Ok(Verdict::NoEffect),
            Inbound::Edited(_)
            | Inbound::Deleted(_)
            | Inbound::Reacted(_)
            | Inbound::ChangeFailed(_)
            | Inbound::Joined(_)
            | Inbound::Left(_)
            | Inbound::Health(_) => self.once(arrival),
        }
    }

    /// Keeps the provider's payload of an arrival, if it has one.
    pub fn keep_raw(&mut self, arrival: &Arrival) {
        let origin = arrival.inbound.origin();
        if let (KeepRaw::Yes, Some(raw)) = (self.policy.raw, &origin.raw) {
            self.changes.raw.push(RawPayload {
                event: arrival.id,
                organization: arrival.organization.clone(),
                channel: origin.channel_id.clone(),
                raw: raw.clone(),
            });
        }
    }

    /// Events that would take effect again if they were taken again.
    fn once(&mut self, arrival: &Arrival) -> Result<Verdict, EnvelopeError> {
        if self.snapshot.seen.contains(&arrival.id) {
            return Ok(Verdict::Duplicate);
        }
        let verdict = match &arrival.inbound {
            Inbound::Edited(event) => self.edited(&arrival.organization, event)?,
            Inbound::Deleted(event) => self.deleted(&arrival.organization, event)?,
            Inbound::Reacted(event) => self.reacted(&arrival.organization, event)?,
            Inbound::ChangeFailed(event) => self.change_failed(event)?,
            Inbound::Joined(event) => self.joined(arrival, event)?,
            Inbound::Left(event) => self.left(arrival, &event.origin)?,
            Inbound::Health(event) => self.health(arrival, event)?,
            Inbound::Received(_)
            | Inbound::Status(_)
            | Inbound::Media(_)
            | Inbound::Typing(_)
            | Inbound::Read(_) => Verdict::NoEffect,
        };
        // What changed nothing now could change something when it is taken again, after what came behind it.
        if matches!(verdict, Verdict::Taken | Verdict::NoEffect) {
            self.snapshot.seen.insert(arrival.id);
            let seen = (arrival.id.0, arrival.organization.clone());
            self.changes.seen.push(seen);
        }
        Ok(verdict)
    }

    fn health(
        &mut self,
        arrival: &Arrival,
        event: &ChannelHealth,
    ) -> Result<Verdict, EnvelopeError> {
        let told = Health {
            channel: event.origin.channel_id.clone(),
            state: event.state,
            reason: event.reason.clone(),
            action: event.action.clone(),
            since: plausible(event.origin.occurred_at, self.now),
        };
        match self.snapshot.health.get_mut(&told.channel) {
            // An older report than the last one, or the same.
            Some(known) if known.value.since > told.since || known.value == told => {
                return Ok(Verdict::NoEffect);
            }
            Some(known) => *known.edit() = told.clone(),
            None => {
                let entry = Entry::new(told.clone());
                self.snapshot.health.insert(told.channel.clone(), entry);
            }
        }
        let changed = ChannelHealthChanged {
            channel_id: told.channel,
            state: told.state,
            reason: told.reason,
            action: told.action,
            since: told.since,
        };
        let subject = event.origin.channel_id.to_string();
        self.without_conversation(arrival, &event.origin, subject, &changed)?;
        Ok(Verdict::Taken)
    }
}

/// When something happened, unless the provider's clock cannot be right.
pub(super) fn plausible(occurred_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    if occurred_at > now || occurred_at.year() < 2000 {
        return now;
    }
    crate::model::whole_micros(occurred_at)
}
