//! The task that puts the writes of many sends into one transaction (group commit): a transaction of its own for
//! each would cost one disk flush each.

use std::{collections::HashSet, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tributary_base::database::{Database, DatabaseError};

use super::{
    Begun, LedgerError, Noted, OnUnknown, PartKey,
    rows::{self, BeginRow, FinishRow},
};

/// Requests that share one transaction, at most.
const BATCH: usize = 200;

type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// What the writer is asked.
pub(super) enum Request {
    Begin(Box<BeginRow>, Reply<Begun>),
    Finish(Box<FinishRow>, Reply<Noted>),
}

impl Request {
    fn key(&self) -> &PartKey {
        match self {
            Self::Begin(row, _) => &row.key,
            Self::Finish(row, _) => &row.tried.key,
        }
    }
}

pub(super) struct Writer {
    pub database: Database,
    /// For the whole transaction.
    pub deadline: Duration,
}

impl Writer {
    /// Works until every handle of the ledger is gone.
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Request>) {
        let mut next: Vec<Request> = Vec::with_capacity(BATCH);
        loop {
            let room = BATCH.saturating_sub(next.len());
            if room > 0 && next.is_empty() && waiting.recv_many(&mut next, room).await == 0 {
                return;
            }
            while next.len() < BATCH {
                let Ok(request) = waiting.try_recv() else {
                    break;
                };
                next.push(request);
            }
            let (batch, later) = distinct(std::mem::take(&mut next));
            next = later;
            self.write(batch).await;
        }
    }

    async fn write(&self, batch: Vec<Request>) {
        let mut begins: Vec<(BeginRow, Reply<Begun>)> = Vec::new();
        let mut finishes: Vec<(FinishRow, Reply<Noted>)> = Vec::new();
        for request in batch {
            match request {
                // Nobody waits any more, so nothing would be sent.
                Request::Begin(_, reply) if reply.is_closed() => {}
                Request::Begin(row, reply) => begins.push((*row, reply)),
                Request::Finish(row, reply) => finishes.push((*row, reply)),
            }
        }
        begins.sort_by_key(|(row, _)| row.on_unknown);
        let (begin_rows, begin_replies): (Vec<_>, Vec<_>) = begins.into_iter().unzip();
        let (finish_rows, finish_replies): (Vec<_>, Vec<_>) = finishes.into_iter().unzip();
        let written = timeout(self.deadline, self.transact(&begin_rows, &finish_rows)).await;
        let written = match written {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) => Err(LedgerError::from(error)),
            Err(_) => Err(LedgerError(format!(
                "the database did not answer within {:?}",
                self.deadline
            ))),
        };
        match written {
            Ok((begun, noted)) => {
                reply(begin_replies, begun.into_iter().map(Ok));
                reply(finish_replies, noted.into_iter().map(Ok));
            }
            Err(error) => {
                reply(begin_replies, std::iter::repeat_with(|| Err(error.clone())));
                reply(
                    finish_replies,
                    std::iter::repeat_with(|| Err(error.clone())),
                );
            }
        }
    }

    async fn transact(
        &self,
        begins: &[BeginRow],
        finishes: &[FinishRow],
    ) -> Result<(Vec<Begun>, Vec<Noted>), DatabaseError> {
        let mut tx = self.database.begin().await?;
        let noted = rows::finish(&mut tx, finishes).await?;
        let mut begun = Vec::with_capacity(begins.len());
        for group in begins.chunk_by(same_group) {
            begun.append(&mut rows::begin(&mut tx, group).await?);
        }
        tx.commit().await?;
        let noted = noted
            .into_iter()
            .map(|at| at.map_or(Noted::Superseded, Noted::At))
            .collect();
        Ok((begun, noted))
    }
}

/// One statement serves rows that treat an unknown outcome alike.
fn same_group(a: &BeginRow, b: &BeginRow) -> bool {
    let key = |row: &BeginRow| -> (OnUnknown, Duration) { (row.on_unknown, row.patience) };
    key(a) == key(b)
}

/// At most one request for each part; the others wait for the next transaction.
fn distinct(requests: Vec<Request>) -> (Vec<Request>, Vec<Request>) {
    let mut seen: HashSet<PartKey> = HashSet::new();
    requests
        .into_iter()
        .partition(|request| seen.insert(request.key().clone()))
}

fn reply<T>(replies: Vec<Reply<T>>, answers: impl Iterator<Item = Result<T, LedgerError>>) {
    for (reply, answer) in replies.into_iter().zip(answers) {
        // Who asked may have gone: a stopped lane.
        drop(reply.send(answer));
    }
}
