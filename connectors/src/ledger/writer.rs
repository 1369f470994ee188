//! The task that puts the writes of many sends into one transaction (group commit): a transaction of its own for
//! each would cost one disk flush each.

use std::{collections::HashSet, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tributary_base::database::{Database, DatabaseError};
use tributary_bus::message::Status;

use super::{
    Begun, LedgerError, Noted, OnUnknown, PartKey,
    receipts::{self, ReceiptRow},
    rows::{self, BeginRow, FinishRow},
};

/// Requests that share one transaction, at most.
const BATCH: usize = 200;

type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// What the writer is asked.
pub(super) enum Request {
    Begin(Box<BeginRow>, Reply<Begun>),
    Finish(Box<FinishRow>, Reply<Noted>),
    /// Answered with what was known of each before.
    Receipts(Vec<ReceiptRow>, Reply<Vec<Option<Status>>>),
}

impl Request {
    /// The part that it writes; receipts have rows of their own, and are merged.
    fn key(&self) -> Option<&PartKey> {
        match self {
            Self::Begin(row, _) => Some(&row.key),
            Self::Finish(row, _) => Some(&row.tried.key),
            Self::Receipts(..) => None,
        }
    }
}

/// What one transaction writes.
#[derive(Default)]
struct Batch {
    begins: Vec<BeginRow>,
    finishes: Vec<FinishRow>,
    receipts: Vec<ReceiptRow>,
}

/// What it answers, in the same order.
struct Answers {
    begun: Vec<Begun>,
    noted: Vec<Noted>,
    before: Vec<Option<Status>>,
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

    async fn write(&self, requests: Vec<Request>) {
        let mut begins: Vec<(BeginRow, Reply<Begun>)> = Vec::new();
        let mut finish_replies: Vec<Reply<Noted>> = Vec::new();
        let mut receipt_replies: Vec<(usize, Reply<Vec<Option<Status>>>)> = Vec::new();
        let mut batch = Batch::default();
        for request in requests {
            match request {
                // Nobody waits any more, so nothing would be sent.
                Request::Begin(_, reply) if reply.is_closed() => {}
                Request::Begin(row, reply) => begins.push((*row, reply)),
                Request::Finish(row, reply) => {
                    batch.finishes.push(*row);
                    finish_replies.push(reply);
                }
                Request::Receipts(mut rows, reply) => {
                    receipt_replies.push((rows.len(), reply));
                    batch.receipts.append(&mut rows);
                }
            }
        }
        begins.sort_by_key(|(row, _)| row.on_unknown);
        let (begin_rows, begin_replies): (Vec<_>, Vec<_>) = begins.into_iter().unzip();
        batch.begins = begin_rows;
        let written = match timeout(self.deadline, self.transact(&batch)).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(error)) => Err(LedgerError::from(error)),
            Err(_) => Err(LedgerError(format!(
                "the database did not answer within {:?}",
                self.deadline
            ))),
        };
        match written {
            Ok(answers) => {
                reply(begin_replies, answers.begun.into_iter().map(Ok));
                reply(finish_replies, answers.noted.into_iter().map(Ok));
                let mut before = answers.before.into_iter();
                for (count, waiting) in receipt_replies {
                    let own = before.by_ref().take(count).collect();
                    drop(waiting.send(Ok(own)));
                }
            }
            Err(error) => {
                let again = || std::iter::repeat_with(|| error.clone());
                reply(begin_replies, again().map(Err));
                reply(finish_replies, again().map(Err));
                for (_, waiting) in receipt_replies {
                    drop(waiting.send(Err(error.clone())));
                }
            }
        }
    }

    async fn transact(&self, batch: &Batch) -> Result<Answers, DatabaseError> {
        let mut tx = self.database.begin().await?;
        let noted = rows::finish(&mut tx, &batch.finishes).await?;
        let mut begun = Vec::with_capacity(batch.begins.len());
        for group in batch.begins.chunk_by(same_group) {
            begun.append(&mut rows::begin(&mut tx, group).await?);
        }
        let before = receipts::note(&mut tx, &batch.receipts).await?;
        tx.commit().await?;
        let noted = noted
            .into_iter()
            .map(|at| at.map_or(Noted::Superseded, Noted::At))
            .collect();
        Ok(Answers {
            begun,
            noted,
            before,
        })
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
        .partition(|request| request.key().is_none_or(|key| seen.insert(key.clone())))
}

fn reply<T>(replies: Vec<Reply<T>>, answers: impl Iterator<Item = Result<T, LedgerError>>) {
    for (reply, answer) in replies.into_iter().zip(answers) {
        // Who asked may have gone: a stopped lane.
        drop(reply.send(answer));
    }
}
