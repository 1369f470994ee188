//! What the lane runner has on its desk: messages by key, who may go next, what waits until when. Does nothing by
//! itself: it is told what came, how it ended, and the time.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::Utc;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Lane, Policy,
    age::{AgeLimit, Asked},
    item::{History, Item, Job, JobKind, Key, Report, Wait, Waiting},
    proof::{Evidence, identity},
    settling::Settling,
};
use crate::{EventId, Tag, Taken};

/// How long after the claim the count of the bus makes messages suspicious: what ended the last owner comes again first.
/// A lane whose messages were handed out often for other reasons is not slow for longer.
const CAREFUL_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Item>,
    /// A job of it is being worked on.
    busy: bool,
    /// It stands in the line of those who may go.
    in_line: bool,
    /// Not before.
    due: Option<Instant>,
    /// So many messages go one at a time, since a batch with them panicked.
    single: usize,
}

#[derive(Debug)]
pub(super) struct Desk {
    lane: Lane,
    policy: Policy,
    /// Messages of one job, at most.
    batch: usize,
    queues: HashMap<Key, Queue>,
    line: VecDeque<Key>,
    dues: BTreeSet<(Instant, Key)>,
    busy: usize,
    /// Messages in jobs.
    in_jobs: usize,
    paused: Option<Instant>,
    /// Pauses that somebody outside asked for.
    asked: Asked,
    /// Pauses without a success in between.
    pauses: u32,
    /// After a pause one job goes first, to see.
    probing: bool,
    /// The key that is worked on alone.
    alone: Option<Key>,
    /// Keys that need not be alone any more, although their job goes on.
    trusted: HashSet<Key>,
    /// Until when the count of the bus makes a message suspicious.
    careful_until: Option<Instant>,
    /// What earlier owners recorded.
    evidence: Evidence,
    settling: Settling,
    /// Of messages that were given back.
    memory: HashMap<EventId, History>,
    /// Finished, but the bus may not know.
    done: HashSet<EventId>,
}

impl Queue {
    /// Whether it has something to do and nothing holds it up.
    fn may_line_up(&self) -> bool {
        !self.busy && !self.in_line && self.due.is_none() && !self.waiting.is_empty()
    }
}

impl Desk {
    pub fn new(lane: Lane, policy: Policy, batch: usize) -> Self {
        Self {
            lane,
            policy,
            batch: batch.max(1),
            queues: HashMap::new(),
            line: VecDeque::new(),
            dues: BTreeSet::new(),
            busy: 0,
            in_jobs: 0,
            paused: None,
            asked: Asked::default(),
            pauses: 0,
            probing: false,
            alone: None,
            trusted: HashSet::new(),
            careful_until: None,
            evidence: Evidence::default(),
            settling: Settling::default(),
            memory: HashMap::new(),
            done: HashSet::new(),
        }
    }

    /// Takes note of what earlier owners recorded.
    pub fn consider(&mut self, evidence: Evidence, now: Instant) {
        self.evidence = evidence;
        self.careful_until = Some(now + CAREFUL_FOR);
    }

    /// Puts a message on the desk. Answers of which messages there are records, although they are not in the lane any more.
    pub fn accept(&mut self, taken: Taken, key: Option<String>, now: Instant) -> Vec<Uuid> {
        let mut gone = Vec::new();
        self.settling.taken(taken.tag, now);
        let (envelope, unreadable) = match (taken.envelope, key.is_some()) {
            (Ok(envelope), true) => (Some(envelope), None),
            (Ok(_), false) => (None, Some("its key could not be told".to_owned())),
            (Err(error), _) => (None, Some(error.to_string())),
        };
        if taken.redeliveries == 0 {
            // What is given back comes again before anything new: all that was remembered is settled by now.
            self.memory.clear();
            self.done.clear();
            gone.extend(self.evidence.drain());
        }
        let id = envelope.as_ref().map(|envelope| envelope.id);
        if id.is_some_and(|id| self.done.remove(&id)) {
            self.settling.finish(taken.tag, id, now);
            return gone;
        }
        let known = id.and_then(|id| self.memory.remove(&id));
        let identity = identity(&self.lane, id, &taken.body);
        let mut item = Item {
            tag: taken.tag,
            redeliveries: taken.redeliveries,
            body: taken.body,
            identity,
            id,
            time: envelope.as_ref().map_or_else(Utc::now, |e| e.time),
            envelope,
            history: known.unwrap_or_else(|| History {
                inherited: taken.redeliveries,
                ..History::default()
            }),
            suspect: false,
            verdict: unreadable,
        };
        self.judge(&mut item);
        let key = Key::from(key.unwrap_or_default());
        self.queues
            .entry(Arc::clone(&key))
            .or_default()
            .waiting
            .push_back(item);
        self.line_up(&key);
        gone
    }

    /// What the records of earlier owners say of a message, and the count of the bus, which is no more than a hint.
    fn judge(&mut self, item: &mut Item) {
        if let Some(deaths) = self.evidence.take(item.identity) {
            item.history.deaths = deaths;
        }
        let often = self.policy.crash_limit.div_ceil(2);
        let suspicious = item.history.deaths > 0 || item.history.inherited >= often;
        item.suspect = suspicious && !item.history.survived;
    }

    /// Lets a key stand in line if it has something to do and nothing holds it up.
    fn line_up(&mut self, key: &Key) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        if queue.may_line_up() {
            queue.in_line = true;
            self.line.push_back(Arc::clone(key));
        }
    }

    /// The next thing to work on, if anything may begin now.
    pub fn next_job(&mut self, now: Instant) -> Option<Job> {
        self.pass_time(now);
        let limit = if self.probing {
            1
        } else {
            self.policy.concurrency.max(1)
        };
        if self.paused.is_some() || self.alone.is_some() || self.busy >= limit {
            return None;
        }
        let key = self.line.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let careful = self.careful_until.is_some_and(|until| now < until);
        let goes_alone = |item: &Item| item.suspect && (careful || item.history.deaths > 0);
        let first = queue.waiting.front();
        let alone = first.is_some_and(|item| goes_alone(item) && item.verdict.is_none());
        if alone && self.busy > self.trusted.len() {
            self.line.push_front(key);
            return None;
        }
        self.alone = alone.then(|| Arc::clone(&key));
        queue.in_line = false;
        queue.busy = true;
        self.busy += 1;
        let size = if queue.single > 0 || alone {
            1
        } else {
            self.batch
        };
        let mut kind = JobKind::Handle;
        let mut items = Vec::new();
        while items.len() < size {
            let Some(item) = queue.waiting.front_mut() else {
                break;
            };
            let special = treatment(item, self.asked.limit(self.policy.max_age));
            if (special != JobKind::Handle || goes_alone(item)) && !items.is_empty() {
                break;
            }
            items.extend(queue.waiting.pop_front());
            if special != JobKind::Handle {
                kind = special;
                break;
            }
        }
        let deaths = items.first().map_or(0, |item: &Item| item.history.deaths);
        self.in_jobs += items.len();
        Some(Job {
            key,
            kind,
            items,
            alone: alone.then_some(deaths),
        })
    }

    /// Wakes what has waited long enough.
    fn pass_time(&mut self, now: Instant) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            self.probing = true;
        }
        while let Some((due, _)) = self.dues.first()
            && *due <= now
        {
            let Some((_, key)) = self.dues.pop_first() else {
                break;
            };
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.due = None;
            }
            self.line_up(&key);
            self.tidy(&key);
        }
    }

    /// Takes note of how a job ended.
    pub fn complete(&mut self, report: Report, now: Instant) -> Option<Waiting> {
        let Report {
            key,
            finished,
            mut left,
            wait,
        } = report;
        self.busy = self.busy.saturating_sub(1);
        self.in_jobs = self.in_jobs.saturating_sub(finished.len() + left.len());
        self.alone.take_if(|alone| *alone == key);
        self.trusted.remove(&key);
        if self.paused.is_none() {
            if !finished.is_empty() {
                self.pauses = 0;
            }
            // Any end but another pause shows that the lane works again.
            self.probing &= matches!(wait, Some(Wait::Pause { .. }));
        }
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.busy = false;
            queue.single = queue.single.saturating_sub(finished.len());
        }
        for item in &finished {
            self.settling.finish(item.tag, item.id, now);
        }
        let waiting = wait.and_then(|wait| self.decide(&key, &mut left, wait, now));
        if let Some(queue) = self.queues.get_mut(&key) {
            for item in left.into_iter().rev() {
                queue.waiting.push_front(item);
            }
        }
        match waiting {
            // The one that found out goes first when it ends.
            Some(Waiting::Lane { .. }) => self.line_up_first(&key),
            Some(Waiting::Key { .. }) | None => self.line_up(&key),
        }
        self.tidy(&key);
        waiting
    }

    fn line_up_first(&mut self, key: &Key) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        if queue.may_line_up() {
            queue.in_line = true;
            self.line.push_front(Arc::clone(key));
        }
    }

    /// Forgets a key that has nothing left to remember.
    fn tidy(&mut self, key: &Key) {
        let idle = |queue: &Queue| {
            !queue.busy && !queue.in_line && queue.due.is_none() && queue.waiting.is_empty()
        };
        if self.queues.get(key).is_some_and(idle) {
            self.queues.remove(key);
        }
    }

    /// When something changes by itself: a key or the lane has waited long enough.
    pub fn next_due(&self) -> Option<Instant> {
        match self.paused {
            Some(until) => Some(until),
            None => self.dues.first().map(|(due, _)| *due),
        }
    }

    /// Until when the lane is paused.
    pub fn paused(&self) -> Option<Instant> {
        self.paused
    }

    /// When the oldest unsettled message has been held for as long as it may; at once when the pause of the lane is
    /// going to outlast that.
    pub fn give_back_at(&self) -> Option<Instant> {
        let oldest = self.settling.oldest()?;
        let limit = oldest + self.policy.hold_limit;
        match self.paused {
            Some(until) if until > limit => Some(oldest),
            Some(_) | None => Some(limit),
        }
    }

    /// What is worked on need not be alone any more.
    pub fn end_alone(&mut self) {
        self.trusted.extend(self.alone.take());
    }

    /// How many messages are on the desk and not settled.
    pub fn held(&self) -> usize {
        self.settling.held()
    }

    /// How many messages are not where they should be, of `out` that the intake has handed out: each is finished, in a
    /// job, or waits for its turn, for a time, or for the end of a pause.
    pub fn stranded(&self, out: usize) -> usize {
        let idle = self.busy == 0 && self.paused.is_none() && !self.line.is_empty();
        let mut waiting = 0;
        for queue in self.queues.values() {
            let has_turn = queue.busy || queue.due.is_some() || (queue.in_line && !idle);
            if has_turn {
                waiting += queue.waiting.len();
            }
        }
        let known = waiting + self.in_jobs + self.settling.finished();
        out.abs_diff(known)
    }

    /// What is finished and has to be settled now; see [`Settling::take_due`].
    pub fn take_due(&mut self, now: Instant) -> Vec<(Tag, Option<EventId>)> {
        if self.busy == 0 && self.line.is_empty() {
            return self.take_finished();
        }
        let many = usize::from(self.policy.prefetch) / 4;
        self.settling.take_due(many.max(1), now)
    }

    /// When [`Desk::take_due`] is to be asked again although nothing happened.
    pub fn settle_at(&self) -> Option<Instant> {
        self.settling.look_at()
    }

    /// All that is finished.
    pub fn take_finished(&mut self) -> Vec<(Tag, Option<EventId>)> {
        self.settling.take_finished()
    }

    pub fn settled(&mut self, tags: &[(Tag, Option<EventId>)]) {
        self.settling.settled(tags);
    }

    /// The bus may or may not have taken note of these.
    pub fn unsure(&mut self, tags: Vec<(Tag, Option<EventId>)>) {
        self.done.extend(tags.into_iter().filter_map(|(_, id)| id));
    }

    /// Clears the desk since everything on it goes back to the lane. What was learnt is kept: tries, waits, and what
    /// is finished although the bus does not know. Nothing may be in flight.
    pub fn give_back(&mut self) {
        let finished = self.take_finished();
        self.unsure(finished);
        self.settling.forget();
        self.line.clear();
        self.busy = 0;
        self.in_jobs = 0;
        self.alone = None;
        self.trusted.clear();
        for queue in self.queues.values_mut() {
            queue.in_line = false;
            queue.busy = false;
            for item in queue.waiting.drain(..) {
                if let Some(id) = item.id {
                    self.memory.insert(id, item.history);
                }
            }
        }
        self.queues.retain(|_, queue| queue.due.is_some());
    }
}

/// How the message is to be treated; sets the reason when it has become too old before its first try.
fn treatment(item: &mut Item, limit: AgeLimit) -> JobKind {
    if item.verdict.is_some() {
        return JobKind::Dead;
    }
    limit.apply(item, "it waited for too long");
    if item.history.exhausted.is_some() {
        return JobKind::Exhausted;
    }
    JobKind::Handle
}

mod waits;

#[cfg(test)]
mod tests;
