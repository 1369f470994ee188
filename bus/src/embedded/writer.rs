//! The one task that writes. Requests that wait together are written in one transaction, since a commit costs the
//! same for one message as for a hundred.

use std::{collections::HashSet, fs::File, sync::Arc, time::Duration};

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};

use super::{apply, core::Core, error::Failure, registry::Registry};
use crate::{BusState, DeadId, DeadLetter, Destination, Lane, LaneSpec, OrganizationId};

/// Requests in one transaction, at most.
const GROUP: usize = 512;
/// Messages in one transaction; a single larger request still goes in one.
const GROUP_ROWS: usize = 2_000;
/// How often it looks for what other processes wrote, and whether a full disk has room again.
const TICK: Duration = Duration::from_millis(500);

/// Something to be written.
pub(super) struct Request {
    pub op: Op,
    pub reply: oneshot::Sender<Result<Reply, Failure>>,
}

/// A message on its way into lanes.
pub(super) struct Outgoing {
    pub to: Destination,
    pub organization: OrganizationId,
    pub kind: String,
    pub body: Bytes,
}

pub(super) enum Op {
    Publish(Vec<Outgoing>),
    /// Removes messages.
    Settle(Vec<i64>),
    /// An intake is gone: these had been handed out.
    Return {
        lane_id: i64,
        ids: Vec<i64>,
    },
    /// Everything up to this message is about to be handed out.
    Hand {
        lane_id: i64,
        up_to: i64,
    },
    /// Something about a message that is handled alone.
    Record {
        lane_id: i64,
        instance: uuid::Uuid,
        record: String,
    },
    /// Removes what was recorded of a lane.
    ClearRecords(i64),
    /// Removes what this process recorded: it lives.
    Withdraw(uuid::Uuid),
    Declare(Vec<LaneSpec>),
    Remove(Lane),
    Bury(Vec<DeadLetter>),
    Replay(DeadId),
    /// Somebody watches until then (milliseconds since 1970).
    Tap {
        id: uuid::Uuid,
        until: i64,
        /// Whether this process makes the copies.
        seen: bool,
    },
    /// Ends the writer.
    Stop,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Done,
    /// Per message: the lane it names, if that does not exist.
    Published(Vec<Option<String>>),
    Replayed(bool),
}

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The process that moves messages.
    Owner,
    /// A look from beside.
    Manager,
}

/// What changes with a transaction, kept apart until it is committed.
pub(super) struct Draft {
    pub registry: Arc<Registry>,
    pub grown: HashSet<i64>,
    pub removed: Vec<Lane>,
    /// Whether copies are made for watchers.
    pub tapped: bool,
}

pub(super) struct Writer {
    core: Arc<Core>,
    connection: PoolConnection<Sqlite>,
    queue: mpsc::Receiver<Request>,
    role: Role,
    tapped: bool,
    /// Whether commits wait for the disk right now.
    durable: bool,
    data_version: i64,
    /// Locked for as long as the writer lives.
    _lock: Option<File>,
}

impl Writer {
    pub async fn new(
        core: Arc<Core>,
        pool: &SqlitePool,
        queue: mpsc::Receiver<Request>,
        role: Role,
        lock: Option<File>,
    ) -> Result<Self, sqlx::Error> {
        let mut connection = pool.acquire().await?;
        // After a burst the write-ahead log shrinks back to this many bytes.
        execute(&mut connection, "PRAGMA journal_size_limit = 67108864").await?;
        if role == Role::Owner {
            apply::recover(&mut connection).await?;
        }
        core.set_registry(Arc::new(Registry::load(&mut connection).await?));
        let data_version = apply::data_version(&mut connection).await?;
        Ok(Self {
            core,
            connection,
            queue,
            role,
            tapped: false,
            durable: true,
            data_version,
            _lock: lock,
        })
    }

    /// Writes until it is told to stop or nobody is left.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                request = self.queue.recv() => request,
                _ = tick.tick(), if self.role == Role::Owner => {
                    self.look_around().await;
                    continue;
                }
            };
            let Some(first) = first else { return };
            let group = self.group(first);
            let stop = group.iter().any(|request| matches!(request.op, Op::Stop));
            self.write(group).await;
            if stop {
                return;
            }
        }
    }

    /// What waits together with `first`.
    fn group(&mut self, first: Request) -> Vec<Request> {
        let mut rows = first.op.rows();
        let mut group = vec![first];
        while group.len() < GROUP && rows < GROUP_ROWS {
            let Ok(request) = self.queue.try_recv() else {
                break;
            };
            rows += request.op.rows();
            group.push(request);
        }
        group
    }

    async fn write(&mut self, group: Vec<Request>) {
        let (ops, replies): (Vec<Op>, Vec<_>) = group
            .into_iter()
            .map(|request| (request.op, request.reply))
            .unzip();
        let all: Vec<&Op> = ops.iter().collect();
        let results = match self.transact(&all).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(failure) if failure.concerns_all() || ops.len() == 1 => {
                vec![Err(failure); ops.len()]
            }
            // One of them cannot be done: each for itself, so that the others do not suffer.
            Err(_) => {
                let mut results = Vec::with_capacity(ops.len());
                for op in &all {
                    let alone = self.transact(&[op]).await;
                    results.push(alone.map(|mut answers| answers.pop().unwrap_or(Reply::Done)));
                }
                results
            }
        };
        for (reply, result) in replies.into_iter().zip(results) {
            // A caller that no longer waits has lost nothing: it is written or not as if it did.
            drop(reply.send(result));
        }
    }

    /// All or nothing.
    async fn transact(&mut self, ops: &[&Op]) -> Result<Vec<Reply>, Failure> {
        let mut draft = Draft {
            registry: self.core.registry(),
            grown: HashSet::new(),
            removed: Vec::new(),
            tapped: self.tapped,
        };
        let durable = ops.iter().any(|op| op.must_last());
        let result = self.attempt(ops, durable, &mut draft).await;
        match result {
            Ok(answers) => {
                self.took_effect(draft);
                if ops
                    .iter()
                    .any(|op| matches!(op, Op::Publish(_) | Op::Bury(_)))
                {
                    self.core.set_state(BusState::Ready);
                }
                Ok(answers)
            }
            Err(failure) => {
                // May fail because SQLite rolled back already.
                drop(execute(&mut self.connection, "ROLLBACK").await);
                self.report(&failure);
                Err(failure)
            }
        }
    }

    async fn attempt(
        &mut self,
        ops: &[&Op],
        durable: bool,
        draft: &mut Draft,
    ) -> Result<Vec<Reply>, Failure> {
        if durable != self.durable {
            // What only takes messages away need not wait for the disk: it survives the end of this process, and after
            // a loss of power the messages come once more. The next durable commit writes it out as well.
            let level = if durable { "FULL" } else { "NORMAL" };
            execute(
                &mut self.connection,
                &format!("PRAGMA synchronous = {level}"),
            )
            .await
            .map_err(|error| Failure::of(&error))?;
            self.durable = durable;
        }
        execute(&mut self.connection, "BEGIN IMMEDIATE")
            .await
            .map_err(|error| Failure::of(&error))?;
        let answers = apply::apply(&mut self.connection, ops, draft).await?;
        execute(&mut self.connection, "COMMIT")
            .await
            .map_err(|error| Failure::of_commit(&error))?;
        Ok(answers)
    }

    fn took_effect(&mut self, draft: Draft) {
        self.tapped = draft.tapped;
        self.core.set_registry(draft.registry);
        for lane in &draft.removed {
            let slot = self.core.slot(lane);
            slot.hold().end_intake();
            slot.wake();
        }
        self.core.wake(&draft.grown);
    }

    /// Tells the state, once per change.
    fn report(&self, failure: &Failure) {
        let Some(state) = failure.state() else { return };
        if *self.core.state.borrow() != state {
            tracing::error!(reason = failure.reason(), "the embedded bus cannot write");
        }
        self.core.set_state(state);
    }

    /// Notices what other processes wrote, and tries a file again that could not be written.
    async fn look_around(&mut self) {
        if self.core.state.borrow().clone() != BusState::Ready {
            self.probe().await;
        }
        let version = match apply::data_version(&mut self.connection).await {
            Ok(version) => version,
            Err(error) => return self.report(&Failure::of(&error)),
        };
        let foreign = version != self.data_version;
        self.data_version = version;
        if foreign {
            match Registry::load(&mut self.connection).await {
                Ok(registry) => self.core.set_registry(Arc::new(registry)),
                Err(error) => self.report(&Failure::of(&error)),
            }
            for slot in self.core.slots() {
                slot.wake();
            }
        }
        if foreign || self.tapped {
            match apply::watchers(&mut self.connection).await {
                Ok(tapped) => self.tapped = tapped,
                Err(error) => tracing::warn!(%error, "cannot see who watches the embedded bus"),
            }
        }
    }

    async fn probe(&mut self) {
        match apply::probe(&mut self.connection).await {
            Ok(()) => {
                self.core.set_state(BusState::Ready);
                tracing::info!("the embedded bus can write again");
            }
            Err(error) => {
                drop(execute(&mut self.connection, "ROLLBACK").await);
                self.report(&Failure::of(&error));
            }
        }
    }
}

impl Op {
    fn rows(&self) -> usize {
        match self {
            Self::Publish(messages) => messages.len(),
            Self::Settle(ids) | Self::Return { ids, .. } => ids.len().div_ceil(10),
            Self::Bury(letters) => letters.len(),
            Self::Hand { .. }
            | Self::Record { .. }
            | Self::ClearRecords(_)
            | Self::Withdraw(_)
            | Self::Declare(_)
            | Self::Remove(_)
            | Self::Replay(_)
            | Self::Tap { .. }
            | Self::Stop => 1,
        }
    }

    /// Whether it must survive a loss of power once it is answered.
    fn must_last(&self) -> bool {
        match self {
            Self::Publish(_)
            | Self::Declare(_)
            | Self::Remove(_)
            | Self::Bury(_)
            | Self::Replay(_) => true,
            Self::Settle(_)
            | Self::Return { .. }
            | Self::Hand { .. }
            | Self::Record { .. }
            | Self::ClearRecords(_)
            | Self::Withdraw(_)
            | Self::Tap { .. }
            | Self::Stop => false,
        }
    }
}

/// Runs a statement that takes and answers nothing. The transaction is spelled out here since sqlx's own loses count
/// when SQLite rolls one back by itself (as it does when the disk is full).
pub(super) async fn execute(db: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(db)
        .await
        .map(drop)
}
