//! From the worker that put something into a mailbox to the worker that holds the visitor's connections.
//!
//! A process listens once to the notices of its bus, whatever the number of its widgets. A notice says how far a
//! mailbox has come, never what is in it. A lost one does no harm: visitors ping, and each ping looks into the mailbox.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::FusedFuture};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;
use tributary_base::backoff::Backoff;
use tributary_bus::{Bus, BusState, Notice};

use super::token::Visitor;

const TOPIC: &str = "widget.mailbox";
const ANNOUNCE_DEADLINE: Duration = Duration::from_secs(1);
/// Connections that look into the mailbox at once when notices may have been missed, and the pause before the next ones.
const LOOKS: usize = 100;
const LOOKS_PAUSE: Duration = Duration::from_millis(50);
/// Listening that held this long was no failure.
const STEADY: Duration = Duration::from_secs(10);

/// One per bus, hence one per process outside of tests.
static HUBS: Mutex<BTreeMap<usize, Weak<Hub>>> = Mutex::new(BTreeMap::new());

/// Knows the connections of this process.
pub(super) struct Hub {
    bus: Arc<dyn Bus>,
    lines: Mutex<HashMap<Visitor, Vec<Arc<Line>>>>,
    listening: Once,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// How news reach one connection. Only the latest matters, so it holds no queue.
pub(super) struct Line {
    channel: Arc<str>,
    /// The mailbox is said to end here.
    seq: AtomicI64,
    /// The visitor is said to have read up to here.
    read: AtomicI64,
    /// The number of the latest change of a message.
    changes: AtomicI64,
    /// Our side is said to have read up to here.
    seen: AtomicI64,
    /// Somebody writes to the visitor.
    typing: AtomicBool,
    /// News may have been lost: the mailbox itself must be asked.
    lost: AtomicBool,
    replaced: AtomicBool,
    wake: Notify,
}

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct News {
    pub(super) seq: i64,
    pub(super) read: i64,
    pub(super) changes: i64,
    pub(super) seen: i64,
    pub(super) typing: bool,
    pub(super) lost: bool,
    /// Newer connections of the same visitor took this one's place.
    pub(super) replaced: bool,
}

/// What a notice tells of a mailbox; 0 is no news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Call {
    /// It ends here.
    pub(super) seq: i64,
    /// The visitor has read up to here.
    pub(super) read: i64,
    /// The latest change of a message.
    pub(super) changes: i64,
    /// Our side has read up to here.
    pub(super) seen: i64,
    /// Somebody writes; passes, and is kept nowhere.
    pub(super) typing: bool,
}

/// The body of a notice; names no text.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Note {
    channel: String,
    visitor: uuid::Uuid,
    #[serde(flatten)]
    call: Call,
}

/// A connection's place at the hub, given up when dropped.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    visitor: Visitor,
    line: Arc<Line>,
}

impl Hub {
    /// The hub of a bus.
    pub(super) fn of(bus: &Arc<dyn Bus>) -> Arc<Self> {
        let key = Arc::as_ptr(bus).cast::<()>().addr();
        let mut hubs = HUBS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = hubs.get(&key).and_then(Weak::upgrade) {
            return hub;
        }
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let stop = CancellationToken::new();
        let hub = Arc::new(Self {
            // Holding the bus keeps its address from being another's.
            bus: Arc::clone(bus),
            lines: Mutex::default(),
            listening: Once::new(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        });
        hubs.insert(key, Arc::downgrade(&hub));
        hub
    }

    /// Adds a connection. Beyond `limit` of one visitor the oldest are told to go.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        channel: &Arc<str>,
        visitor: Visitor,
        limit: usize,
    ) -> Subscription {
        self.listening.call_once(|| {
            let (hub, bus) = (Arc::downgrade(self), Arc::clone(&self.bus));
            tokio::spawn(listen(hub, bus, self.stop.clone()));
        });
        let line = Arc::new(Line {
            channel: Arc::clone(channel),
            seq: AtomicI64::new(0),
            read: AtomicI64::new(0),
            changes: AtomicI64::new(0),
            seen: AtomicI64::new(0),
            typing: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            wake: Notify::new(),
        });
        let mut lines = self.lines();
        let own = lines.entry(visitor).or_default();
        own.push(Arc::clone(&line));
        let excess = own.len().saturating_sub(limit);
        for oldest in own.drain(..excess) {
            oldest.replaced.store(true, Ordering::Release);
            oldest.wake.notify_one();
        }
        own.shrink_to_fit();
        Subscription {
            hub: Arc::clone(self),
            visitor,
            line,
        }
    }

    /// Tells all processes what is new in a mailbox.
    pub(super) async fn announce(&self, channel: &str, visitor: Visitor, call: Call) {
        let note = Note {
            channel: channel.to_owned(),
            visitor: visitor.0,
            call,
        };
        let body = serde_json::to_vec(&note).expect("a note has string keys only");
        let notice = Notice {
            topic: TOPIC.to_owned(),
            body: body.into(),
        };
        let told = timeout(ANNOUNCE_DEADLINE, self.bus.announce(notice)).await;
        if !matches!(told, Ok(Ok(()))) {
            debug!(
                channel_id = channel,
                "notice not sent; the next ping of the visitor makes up for it"
            );
        }
    }

    fn tell(&self, notice: &Notice) {
        if notice.topic != TOPIC {
            return;
        }
        let Ok(note) = serde_json::from_slice::<Note>(&notice.body) else {
            return;
        };
        let lines = self.lines();
        let own = lines.get(&Visitor(note.visitor));
        for line in own.into_iter().flatten() {
            if *line.channel == *note.channel {
                let Call {
                    seq,
                    read,
                    changes,
                    seen,
                    typing,
                } = note.call;
                line.seq.fetch_max(seq, Ordering::AcqRel);
                line.read.fetch_max(read, Ordering::AcqRel);
                line.changes.fetch_max(changes, Ordering::AcqRel);
                line.seen.fetch_max(seen, Ordering::AcqRel);
                line.typing.fetch_or(typing, Ordering::AcqRel);
                line.wake.notify_one();
            }
        }
    }

    /// Notices may have been missed: every connection is to ask the mailbox, not all of them at once.
    async fn doubt_all(&self) {
        let lines: Vec<Arc<Line>> = self.lines().values().flatten().map(Arc::clone).collect();
        for some in lines.chunks(LOOKS) {
            for line in some {
                line.lost.store(true, Ordering::Release);
                line.wake.notify_one();
            }
            tokio::time::sleep(LOOKS_PAUSE).await;
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Visitor, Vec<Arc<Line>>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits for news. Cancelling the wait loses nothing.
    pub(super) async fn news(&self) -> News {
        self.line.wake.notified().await;
        News {
            seq: self.line.seq.load(Ordering::Acquire),
            read: self.line.read.load(Ordering::Acquire),
            changes: self.line.changes.load(Ordering::Acquire),
            seen: self.line.seen.load(Ordering::Acquire),
            typing: self.line.typing.swap(false, Ordering::AcqRel),
            lost: self.line.lost.swap(false, Ordering::AcqRel),
            replaced: self.line.replaced.load(Ordering::Acquire),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut lines = self.hub.lines();
        if let Some(own) = lines.get_mut(&self.visitor) {
            own.retain(|line| !Arc::ptr_eq(line, &self.line));
            if own.is_empty() {
                lines.remove(&self.visitor);
            }
        }
    }
}

async fn listen(hub: Weak<Hub>, bus: Arc<dyn Bus>, stop: CancellationToken) {
    let mut attempt = 0;
    let mut state = bus.state();
    loop {
        let again = async {
            // An error means that the bus is closed: listening will fail.
            drop(state.wait_for(|state| *state == BusState::Ready).await);
            bus.notices().await
        };
        let notices = tokio::select! {
            () = stop.cancelled() => return,
            notices = again => notices,
        };
        if let Ok(mut notices) = notices {
            let Some(doubtful) = hub.upgrade() else {
                return;
            };
            let begun = Instant::now();
            let mut doubting = Box::pin(async move { doubtful.doubt_all().await }).fuse();
            loop {
                let notice = tokio::select! {
                    () = stop.cancelled() => return,
                    () = &mut doubting, if !doubting.is_terminated() => continue,
                    notice = notices.next() => notice,
                };
                match (notice, hub.upgrade()) {
                    (Some(notice), Some(hub)) => hub.tell(&notice),
                    (None, Some(_)) => break,
                    (_, None) => return,
                }
            }
            if begun.elapsed() > STEADY {
                attempt = 0;
            }
        }
        attempt += 1;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Backoff::SERVER.delay(attempt)) => {}
        }
    }
}
