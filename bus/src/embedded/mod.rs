//! The bus on a SQLite file, for one process: durable, in order, and without a server.
//!
//! One task writes, and what waits together is committed together ([`writer`]); lanes are read side by side. Who owns
//! a lane is known in memory only, since a lock beside the file keeps a second process out. Other processes may look
//! at dead letters, replay them and watch ([`EmbeddedBus::open_for_management`]); the owner notices within a second.

mod apply;
mod attempts;
mod claim;
mod core;
mod error;
mod intake;
mod measure;
mod publish;
mod registry;
mod tail;
mod writer;

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use sqlx::{Row, SqlitePool, migrate::Migrator};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};
use tributary_base::database::Database;

pub use error::OpenError;

use self::{
    claim::{Member, count_returned},
    core::{Core, Link, Slot},
    error::Failure,
    writer::{Op, Reply, Role, Writer},
};
use crate::{
    Bus, BusError, BusState, DeadId, DeadLetter, Found, Group, Lane, LaneSpec, Membership, Moved,
    Notice, Publication, PublishError,
};

/// How long a request may wait for the writer, and the writer for the file. More than the 10 s for which SQLite waits
/// for a lock that another process holds.
const DEADLINE: Duration = Duration::from_secs(20);
/// Requests that wait for the writer, at most; more wait to get in.
const QUEUE: usize = 1024;
/// Notices a slow listener may be behind before it loses the oldest.
const NOTICES: usize = 1024;

static MIGRATIONS: Migrator = sqlx::migrate!("src/embedded/migrations");

/// The bus on a SQLite file.
pub struct EmbeddedBus {
    link: Arc<Link>,
    database: Database,
    role: Role,
    notices: broadcast::Sender<Notice>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// How the file is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Size of the file in bytes, at most (rounded to whole pages); `None`: as the disk allows.
    pub max_bytes: Option<u64>,
}

impl EmbeddedBus {
    /// Opens the file, or creates it with its folder.
    ///
    /// # Errors
    /// Another process uses it, or it cannot be read and written.
    pub async fn open(path: &Path) -> Result<Arc<Self>, OpenError> {
        Self::open_with(path, Options::default()).await
    }

    /// [`EmbeddedBus::open`] with options.
    ///
    /// # Errors
    /// Another process uses it, or it cannot be read and written.
    pub async fn open_with(path: &Path, options: Options) -> Result<Arc<Self>, OpenError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| unusable(path, &error))?;
        }
        let lock = lock(path)?;
        let database = Database::sqlite(path)
            .await
            .map_err(|error| unusable(path, &error))?;
        let (_, write) = pools(&database, path)?;
        MIGRATIONS
            .run(write)
            .await
            .map_err(|error| unusable(path, &error))?;
        if let Some(bytes) = options.max_bytes {
            limit(write, bytes)
                .await
                .map_err(|error| unusable(path, &error))?;
        }
        Self::start(path, database, Role::Owner, Some(lock)).await
    }

    /// Opens the file beside the process that uses it, for [`Bus::dead`], [`Bus::replay`], [`Bus::depth`] and
    /// [`Bus::tail`] only; everything else is refused.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read and written.
    pub async fn open_for_management(path: &Path) -> Result<Arc<Self>, OpenError> {
        if !path.is_file() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        let database = Database::sqlite(path)
            .await
            .map_err(|error| unusable(path, &error))?;
        Self::start(path, database, Role::Manager, None).await
    }

    async fn start(
        path: &Path,
        database: Database,
        role: Role,
        lock: Option<File>,
    ) -> Result<Arc<Self>, OpenError> {
        let (read, write) = pools(&database, path)?;
        let core = Arc::new(Core::new(BusState::Ready));
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = Writer::new(Arc::clone(&core), write, requests, role, lock)
            .await
            .map_err(|error| unusable(path, &error))?;
        let link = Arc::new(Link::new(core, read.clone(), queue));
        Ok(Arc::new(Self {
            link,
            database,
            role,
            notices: broadcast::Sender::new(NOTICES),
            writer: Mutex::new(Some(tokio::spawn(writer.run()))),
        }))
    }

    /// For what only the process that moves messages may do.
    fn as_owner(&self) -> Result<(), BusError> {
        self.link.open()?;
        match self.role {
            Role::Owner => Ok(()),
            Role::Manager => Err(BusError::Refused(
                "the embedded bus was opened for management only".to_owned(),
            )),
        }
    }

    /// Ends the ownership of a lane for good and counts what it had handed out.
    async fn take_back(&self, slot: &Slot) {
        let returned = {
            let mut hold = slot.hold();
            hold.end();
            hold.returned.clone()
        };
        slot.wake();
        let Some(lane_id) = self.link.core.registry().id(&slot.lane) else {
            return;
        };
        if let Err(error) = count_returned(&self.link, slot, lane_id, returned).await {
            tracing::debug!(lane = %slot.lane, %error, "returned messages are not counted");
        }
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn declare(&self, lanes: &[LaneSpec]) -> Result<(), BusError> {
        self.as_owner()?;
        self.link.write(Op::Declare(lanes.to_vec())).await?;
        Ok(())
    }

    async fn ensure(&self, spec: &LaneSpec) -> Result<Found, BusError> {
        self.as_owner()?;
        let (is_there, is_current) = {
            let registry = self.link.core.registry();
            (registry.id(&spec.lane).is_some(), registry.has(spec))
        };
        if !is_current {
            self.link.write(Op::Declare(vec![spec.clone()])).await?;
        }
        Ok(if is_there { Found::Before } else { Found::Now })
    }

    async fn remove(&self, lane: &Lane) -> Result<(), BusError> {
        self.as_owner()?;
        self.link.write(Op::Remove(lane.clone())).await?;
        Ok(())
    }

    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        if batch.is_empty() {
            return Vec::new();
        }
        if let Err(error) = self.as_owner() {
            return vec![Err(PublishError::NotPublished(error.to_string())); batch.len()];
        }
        let begun = Instant::now();
        let kinds: Vec<_> = batch
            .iter()
            .map(|publication| measure::kind(&publication.to))
            .collect();
        let results = publish::publish(&self.link, batch).await;
        measure::published(&kinds, &results, begun.elapsed());
        results
    }

    async fn join(&self, group: &Group) -> Result<Arc<dyn Membership>, BusError> {
        self.as_owner()?;
        Ok(Arc::new(Member::join(
            Arc::clone(&self.link),
            group.clone(),
        )))
    }

    /// Counts taken and unsettled messages as well. Nothing waits in a lane that does not exist.
    async fn depth(&self, lane: &Lane) -> Result<u64, BusError> {
        self.link.open()?;
        let depth: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM messages WHERE lane_id = (SELECT id FROM lanes WHERE name = ?)",
        )
        .bind(lane.to_string())
        .fetch_one(&self.link.read)
        .await
        .map_err(Failure::from)?;
        Ok(depth.unsigned_abs())
    }

    async fn announce(&self, notice: Notice) -> Result<(), BusError> {
        self.as_owner()?;
        // Nobody listens: nothing is lost.
        drop(self.notices.send(notice));
        Ok(())
    }

    async fn notices(&self) -> Result<BoxStream<'static, Notice>, BusError> {
        self.as_owner()?;
        let listener = (self.notices.subscribe(), self.link.core.closed.clone());
        let notices = stream::unfold(listener, |(mut receiver, closed)| async move {
            let received = tokio::select! {
                received = receiver.recv() => received,
                () = closed.cancelled() => return None,
            };
            // An error: some were missed, or there will be no more.
            Some((received.ok()?, (receiver, closed)))
        });
        Ok(notices.boxed())
    }

    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<(), BusError> {
        self.as_owner()?;
        if !letters.is_empty() {
            self.link.write(Op::Bury(letters)).await?;
        }
        Ok(())
    }

    async fn dead(&self, limit: usize) -> Result<Vec<DeadLetter>, BusError> {
        self.link.open()?;
        let letters = read_dead(&self.link.read, limit).await;
        Ok(letters.map_err(Failure::from)?)
    }

    async fn replay(&self, id: DeadId) -> Result<bool, BusError> {
        self.link.open()?;
        let reply = self.link.write(Op::Replay(id)).await?;
        Ok(reply == Reply::Replayed(true))
    }

    async fn tail(&self, _: &[Lane]) -> Result<BoxStream<'static, Moved>, BusError> {
        self.link.open()?;
        tail::tail(Arc::clone(&self.link), self.role).await
    }

    fn state(&self) -> watch::Receiver<BusState> {
        self.link.core.state.subscribe()
    }

    async fn close(&self) {
        let core = &self.link.core;
        core.closed.cancel();
        let slots = core.slots();
        // At once, so that they share a commit.
        futures::future::join_all(slots.iter().map(|slot| self.take_back(slot))).await;
        core.set_state(BusState::Away {
            reason: Failure::Closed.reason(),
        });
        // An orderly end is no crash, whatever was in hand.
        drop(self.link.write(Op::Withdraw(core.instance)).await);
        drop(self.link.write(Op::Stop).await);
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let closed = async {
            if let Some(writer) = writer {
                drop(writer.await);
            }
            self.database.close().await;
        };
        if tokio::time::timeout(DEADLINE, closed).await.is_err() {
            tracing::warn!("the file of the embedded bus is still in use, closing without it");
        }
    }
}

async fn read_dead(read: &SqlitePool, limit: usize) -> Result<Vec<DeadLetter>, sqlx::Error> {
    let rows = sqlx::query("SELECT id, lane, reason, at, body FROM dead ORDER BY place LIMIT ?")
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(read)
        .await?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in rows {
        let name: String = row.try_get("lane")?;
        // A lane that a later version wrote: it is listed by that version.
        let Ok(lane) = name.parse() else { continue };
        let body: Vec<u8> = row.try_get("body")?;
        letters.push(DeadLetter {
            id: DeadId(row.try_get("id")?),
            lane,
            reason: row.try_get("reason")?,
            at: tail::time(row.try_get("at")?),
            body: Bytes::from(body),
        });
    }
    Ok(letters)
}

/// Takes the lock beside the file, for as long as the answer lives. The system gives it back whatever ends the process.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(|error| unusable(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(path, &error)),
    }
}

fn pools<'a>(
    database: &'a Database,
    path: &Path,
) -> Result<(&'a SqlitePool, &'a SqlitePool), OpenError> {
    match database {
        Database::Sqlite { read, write } => Ok((read, write)),
        Database::Postgres(_) => Err(OpenError::File {
            path: path.to_owned(),
            reason: "not a SQLite file".to_owned(),
        }),
    }
}

async fn limit(write: &SqlitePool, bytes: u64) -> Result<(), sqlx::Error> {
    let size: i64 = sqlx::query_scalar("PRAGMA page_size")
        .fetch_one(write)
        .await?;
    let pages = (bytes / size.unsigned_abs().max(1)).max(1);
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "PRAGMA max_page_count = {pages}"
    )))
    .execute(write)
    .await
    .map(drop)
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> OpenError {
    OpenError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
