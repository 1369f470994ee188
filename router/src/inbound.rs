//! The handler of an inbound lane: reads envelopes, takes them in by batches, and says what became of each.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tributary_base::warn_limited;
use tributary_bus::{
    ChannelId, Envelope, EventId, Handler, Lane, Lease, Outcome, Work,
    message::{Inbound, MessageReceived, Origin, Profile},
};

use crate::{
    decide::{Arrival, Policy, Verdict},
    store::{Store, StoreError, Trouble},
};

/// Characters of an address, at most: none of a channel comes near, and an index could not hold it.
const LONGEST_ADDRESS: usize = 512;

/// How soon a conversation that somebody held is tried again.
const HELD: Duration = Duration::from_millis(500);
/// Conversations of one batch that are waited for, at most.
const MOST_HELD: usize = 3;

/// Handles one inbound lane.
#[derive(Debug)]
pub(crate) struct InboundHandler {
    store: Store,
    lane: Lane,
    policy: Policy,
    batch: usize,
    /// The last batch failed even alone: the next ones stay alone until one succeeds, so that the other lanes of the
    /// process do not pay for this one's trouble again and again.
    apart: AtomicBool,
}

impl InboundHandler {
    pub fn new(store: Store, lane: Lane, policy: Policy, batch: usize) -> Self {
        Self {
            store,
            lane,
            policy,
            batch,
            apart: AtomicBool::new(false),
        }
    }

    async fn receive_apart(
        &self,
        arrivals: &[Arrival],
        lease: &Lease,
    ) -> Result<Vec<Verdict>, StoreError> {
        self.store
            .receive(arrivals, &self.policy, || lease.is_fresh())
            .await
    }

    async fn receive(
        &self,
        arrivals: &Arc<Vec<Arrival>>,
        lease: &Lease,
    ) -> Result<Vec<Verdict>, StoreError> {
        // Said before, so that it stays said when this panics or is broken off.
        let received = if self.apart.swap(true, Ordering::Relaxed) {
            self.receive_apart(arrivals, lease).await
        } else {
            let store = &self.store;
            store.receive_together(arrivals, &self.policy, lease).await
        };
        self.apart.store(received.is_err(), Ordering::Relaxed);
        received
    }

    /// One by one, to find the one that spoils the batch. Ends at the first that must be tried again.
    async fn receive_singly(&self, arrivals: &[Arrival], lease: &Lease) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let one = std::slice::from_ref(arrival);
            let outcome = match self.receive_apart(one, lease).await {
                Ok(verdicts) => outcomes_of(one, verdicts).pop(),
                Err(error) => Some(self.refused(arrival, &error)),
            };
            let Some(outcome) = outcome else {
                break;
            };
            let again = !matches!(outcome, Outcome::Done | Outcome::Dead { .. });
            outcomes.push(outcome);
            if again {
                break;
            }
        }
        let after = retry("waits for a message before it");
        outcomes.resize(arrivals.len(), after);
        outcomes
    }

    /// Contact by contact, since somebody holds a conversation: only that one waits. Those behind it in the lane are taken in
    /// and are duplicates when they come again.
    async fn receive_by_contact(&self, arrivals: &[Arrival], lease: &Lease) -> Vec<Outcome> {
        let mut contacts: Vec<(_, Vec<usize>)> = Vec::new();
        let mut places = HashMap::new();
        for (index, arrival) in arrivals.iter().enumerate() {
            let origin = arrival.inbound.origin();
            let contact = (&origin.channel_id, &origin.address);
            let place = *places.entry(contact).or_insert(contacts.len());
            match contacts.get_mut(place) {
                Some((_, indices)) => indices.push(index),
                None => contacts.push((contact, vec![index])),
            }
        }
        let waits = Outcome::Pause {
            after: Some(HELD),
            reason: "somebody holds the conversation".to_owned(),
        };
        let mut outcomes = vec![waits; arrivals.len()];
        let mut held = 0;
        for (_, indices) in contacts {
            // Each is waited for, and the lane must not be held up by all of them.
            if held == MOST_HELD {
                break;
            }
            let of_contact: Vec<Arrival> = indices
                .iter()
                .filter_map(|index| arrivals.get(*index).cloned())
                .collect();
            let found = match self.receive_apart(&of_contact, lease).await {
                Ok(verdicts) => outcomes_of(&of_contact, verdicts),
                Err(error) if error.is_locked() => {
                    held += 1;
                    continue;
                }
                Err(_) => self.receive_singly(&of_contact, lease).await,
            };
            for (index, outcome) in indices.into_iter().zip(found) {
                if let Some(place) = outcomes.get_mut(index) {
                    *place = outcome;
                }
            }
        }
        outcomes
    }

    /// What becomes of an arrival that could not be taken in.
    fn refused(&self, arrival: &Arrival, error: &StoreError) -> Outcome {
        let (lane, message_id) = (&self.lane, arrival.id);
        match error.trouble() {
            Trouble::Away => {
                warn_limited!("store", %lane, %error, "the store cannot be used; the lane waits");
                pause(error)
            }
            Trouble::Passing => {
                warn_limited!("event not taken in", %lane, %message_id, %error, "an event was not taken in; it will be tried again");
                retry(&error.to_string())
            }
            Trouble::Values => {
                count(arrival.channel(), &Verdict::Dead(String::new()));
                Outcome::Dead {
                    reason: format!("cannot be stored: {error}"),
                }
            }
        }
    }

    async fn outcomes(&self, arrivals: &Arc<Vec<Arrival>>, lease: &Lease) -> Vec<Outcome> {
        match self.receive(arrivals, lease).await {
            Ok(verdicts) => outcomes_of(arrivals, verdicts),
            Err(error) if error.is_locked() => {
                let (lane, events) = (&self.lane, arrivals.len());
                warn_limited!("locked", %lane, events, "somebody holds a conversation; the others of the batch go on");
                self.receive_by_contact(arrivals, lease).await
            }
            Err(error) if error.trouble() == Trouble::Away => {
                let (lane, events) = (&self.lane, arrivals.len());
                warn_limited!("store", %lane, events, %error, "the store cannot be used; the lane waits");
                vec![pause(&error); arrivals.len()]
            }
            Err(error) => {
                let (lane, events) = (&self.lane, arrivals.len());
                warn_limited!("batch not taken in", %lane, events, %error, "a batch was not taken in; taking its events one by one");
                self.receive_singly(arrivals, lease).await
            }
        }
    }
}

#[async_trait]
impl Handler for InboundHandler {
    /// One key for the whole lane: batches hold many contacts, in the order of the lane.
    fn key(&self, _: &Envelope) -> String {
        String::new()
    }

    fn batch(&self) -> usize {
        self.batch
    }

    async fn handle(&self, batch: Vec<Work>, lease: &Lease) -> Vec<Outcome> {
        metrics::histogram!("tributary_router_batch_size").record(batch.len() as f64);
        let mut dead = Vec::with_capacity(batch.len());
        let mut arrivals = Vec::with_capacity(batch.len());
        for work in batch {
            match read(work.envelope) {
                Ok(arrival) => {
                    arrivals.push(arrival);
                    dead.push(None);
                }
                Err(reason) => dead.push(Some(Outcome::Dead { reason })),
            }
        }
        let outcomes = self.outcomes(&Arc::new(arrivals), lease).await;
        let mut outcomes = outcomes.into_iter();
        dead.into_iter()
            .map(|dead| {
                dead.or_else(|| outcomes.next())
                    .unwrap_or_else(|| retry("was not handled"))
            })
            .collect()
    }
}

impl Arrival {
    fn channel(&self) -> &ChannelId {
        &self.inbound.origin().channel_id
    }
}

/// Reads an envelope; the error says why it is dead.
fn read(envelope: Envelope) -> Result<Arrival, String> {
    let mut inbound = match Inbound::from_envelope(&envelope) {
        Ok(inbound) => inbound,
        Err(error) => {
            metrics::counter!("tributary_messages_total", "channel" => "unknown", "direction" => "inbound", "outcome" => "dead")
                .increment(1);
            return Err(error.to_string());
        }
    };
    let address = inbound.origin().address.as_str();
    if address.contains('\0') || address.chars().count() > LONGEST_ADDRESS {
        return Err("address has a NUL character or is too long".to_owned());
    }
    make_storable(&mut inbound);
    Ok(Arrival {
        id: EventId(envelope.id.0),
        organization: envelope.orgid,
        inbound,
    })
}

/// PostgreSQL cannot hold NUL characters in text. In content they are escaped; here they become U+FFFD.
fn make_storable(inbound: &mut Inbound) {
    let origin = match inbound {
        Inbound::Received(event) => {
            let MessageReceived {
                origin,
                provider_id,
                contact,
                reply_to,
                ..
            } = &mut **event;
            without_nul(provider_id);
            reply_to.iter_mut().for_each(without_nul);
            profile_without_nul(contact);
            origin
        }
        Inbound::Status(event) => {
            event.provider_ids.iter_mut().for_each(without_nul);
            &mut event.origin
        }
        Inbound::Joined(event) => {
            profile_without_nul(&mut event.contact);
            &mut event.origin
        }
        Inbound::Edited(event) => &mut event.origin,
        Inbound::Deleted(event) => &mut event.origin,
        Inbound::Reacted(event) => {
            without_nul(&mut event.provider_id);
            &mut event.origin
        }
        Inbound::Media(event) => &mut event.origin,
        Inbound::ChangeFailed(event) => &mut event.origin,
        Inbound::Left(event) => &mut event.origin,
        Inbound::Typing(event) => &mut event.origin,
        Inbound::Read(event) => &mut event.origin,
        Inbound::Health(event) => {
            without_nul(&mut event.reason);
            event.action.iter_mut().for_each(without_nul);
            &mut event.origin
        }
    };
    raw_without_nul(origin);
}

fn profile_without_nul(profile: &mut Profile) {
    let Profile {
        name,
        locale,
        username,
        ..
    } = profile;
    for text in [name, locale, username].into_iter().flatten() {
        without_nul(text);
    }
}

fn raw_without_nul(origin: &mut Origin) {
    if let Some(raw) = &mut origin.raw {
        without_nul(&mut raw.media_type);
        without_nul(&mut raw.body);
    }
}

fn without_nul(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}

/// Counts the verdicts and says what each means for its message.
fn outcomes_of(arrivals: &[Arrival], verdicts: Vec<Verdict>) -> Vec<Outcome> {
    let pairs = arrivals.iter().zip(verdicts);
    pairs
        .map(|(arrival, verdict)| {
            count(arrival.channel(), &verdict);
            outcome(verdict)
        })
        .collect()
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Taken | Verdict::Duplicate | Verdict::NoEffect => Outcome::Done,
        Verdict::Dead(reason) => Outcome::Dead { reason },
    }
}

fn retry(reason: &str) -> Outcome {
    Outcome::Retry {
        after: None,
        reason: reason.to_owned(),
    }
}

fn pause(error: &StoreError) -> Outcome {
    Outcome::Pause {
        after: None,
        reason: error.to_string(),
    }
}

fn count(channel: &ChannelId, verdict: &Verdict) {
    let outcome = match verdict {
        Verdict::Taken => "taken",
        Verdict::Duplicate => "duplicate",
        Verdict::NoEffect => "no_effect",
        Verdict::Dead(_) => "dead",
    };
    // Dead letters can name channels that do not exist: their names must not become labels without end.
    let channel = match verdict {
        Verdict::Dead(_) => "unknown".to_owned(),
        Verdict::Taken | Verdict::Duplicate | Verdict::NoEffect => channel.to_string(),
    };
    metrics::counter!("tributary_messages_total", "channel" => channel, "direction" => "inbound", "outcome" => outcome)
        .increment(1);
}
