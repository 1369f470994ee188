//! The ledger: what became of every provider send, written before and after it.
//!
//! A delivery comes again after a crash, a broker restart or a lost lane. The ledger makes that once: what was sent
//! is not sent again, and of two workers that hold the same delivery one gets through. What it cannot know, whether
//! a try that never reported back had arrived, it says.
//!
//! Both writes of a send go through one task that puts many into one transaction.

mod receipts;
mod rows;
mod standing;
#[cfg(test)]
mod tests;
mod workers;
mod writer;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;
use tributary_base::database::{Database, DatabaseError};
use tributary_bus::{
    Address, ChannelId, MessageId, OrganizationId,
    message::{Failure, Status},
};
use tributary_config::Settings;
use uuid::Uuid;

use crate::{Receipted, media, telegram};
use receipts::ReceiptRow;
pub(crate) use rows::Row;
pub(crate) use rows::now;
use rows::{BeginRow, FinishRow};
pub(crate) use standing::Told;
use workers::Workers;
use writer::Request;

/// Requests that may wait for the writer.
const WAITING: usize = 1024;
/// Receipts of one request to the writer.
const RECEIPTS_AT_ONCE: usize = 100;
/// How long a receipt is kept for which no sent part is known: far longer than a send takes to be noted.
const UNMATCHED: Duration = Duration::from_secs(3600);
/// Beyond the longest provider call, so that a slow one has surely ended.
const MARGIN: Duration = Duration::from_secs(2);

/// The ledger is not usable right now.
#[derive(Debug, Clone, thiserror::Error)]
#[error("ledger: {0}")]
pub struct LedgerError(pub(crate) String);

impl From<DatabaseError> for LedgerError {
    fn from(error: DatabaseError) -> Self {
        Self(error.to_string())
    }
}

/// One provider send of one message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartKey {
    pub organization: OrganizationId,
    pub message_id: MessageId,
    /// 0 for the first.
    pub part: u32,
}

/// Where a part goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub channel_id: ChannelId,
    pub to: Address,
    /// Of how many parts the message consists.
    pub parts: u32,
}

/// What to do about an earlier try that never reported back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OnUnknown {
    /// Repeating it does no harm (the provider recognises it): send again at once; once it succeeds, nothing is in doubt.
    Repeat,
    /// Send again, and say that it may be doubled.
    Resend,
    /// Do not send again.
    Hold,
}

/// A try that was let through; [`Ledger::finish`] says how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Try {
    pub key: PartKey,
    pub target: Target,
    /// 1 for the first.
    pub attempt: i32,
    /// An earlier try may have arrived.
    pub doubtful: bool,
    /// What succeeds has arrived once, however often it was tried.
    pub once: bool,
}

/// What the ledger says before a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Send now; `sending` is written.
    Go(Try),
    /// Nothing is to be sent.
    Settled(Settled),
    /// Another try is under way, or was until its worker vanished; ask again after this long.
    Busy(Duration),
}

/// A part that is through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The provider's id, or why it failed.
    pub result: Result<String, Failure>,
    /// It may have been sent more than once, or not at all.
    pub doubtful: bool,
    pub at: DateTime<Utc>,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The provider took it and gave it this id.
    Sent(String),
    /// It failed for good.
    Failed(Failure),
    /// It surely did not arrive and will be tried again.
    Waiting,
    /// It may have arrived and will be tried again.
    Uncertain,
}

/// Whether the ledger took note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Durable.
    At(Written),
    /// Another worker has taken the part over; it reports.
    Superseded,
}

/// What stands in the ledger about a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub at: DateTime<Utc>,
    /// It may have arrived more than once, or not at all.
    pub doubtful: bool,
}

/// A message that got further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub message_id: MessageId,
    pub to: Address,
    pub told: Told,
}

/// The ledger of one process. Ends when every handle is dropped.
pub struct Ledger {
    database: Database,
    requests: mpsc::Sender<Request>,
    worker: Uuid,
    /// Age at which another worker's `sending` has surely ended.
    patience: Duration,
    workers: Arc<Workers>,
    _beating: DropGuard,
}

impl Ledger {
    /// Opens the ledger and starts its writer, which also removes old rows until `stop`.
    ///
    /// On the embedded bus there is no other process: what is found in `sending` is from an earlier life, and its
    /// outcome is unknown at once.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn start(
        database: Database,
        settings: &Settings,
        stop: CancellationToken,
    ) -> Result<Self, LedgerError> {
        if settings.bus.is_embedded() {
            rows::doubt_everything(&database).await?;
        }
        let (requests, waiting) = mpsc::channel(WAITING);
        let writer = writer::Writer {
            database: database.clone(),
            deadline: settings.store.statement_deadline,
        };
        tokio::spawn(writer.run(waiting));
        let retention = (settings.delivery.max_age * 2).max(Duration::from_secs(7 * 24 * 3600));
        tokio::spawn(tidy(database.clone(), retention, stop));
        let (worker, workers) = (Uuid::now_v7(), Arc::new(Workers::default()));
        let ended = CancellationToken::new();
        if !settings.bus.is_embedded() {
            let (workers, ended) = (Arc::clone(&workers), ended.clone());
            tokio::spawn(workers::beat(database.clone(), worker, workers, ended));
        }
        Ok(Self {
            database,
            requests,
            worker,
            patience: settings.delivery.send_deadline + MARGIN,
            workers,
            _beating: ended.drop_guard(),
        })
    }

    /// Asks whether a part is to be sent; `Go` is durable when it is answered.
    ///
    /// # Errors
    /// The ledger cannot be used; nothing may be sent.
    pub(crate) async fn begin(
        &self,
        key: PartKey,
        target: Target,
        on_unknown: OnUnknown,
    ) -> Result<Begun, LedgerError> {
        let row = BeginRow {
            key,
            target,
            on_unknown,
            worker: self.worker,
            patience: match on_unknown {
                OnUnknown::Repeat => Duration::ZERO,
                OnUnknown::Resend | OnUnknown::Hold => self.patience,
            },
            gone: self.workers.gone(),
        };
        self.ask(|reply| Request::Begin(Box::new(row), reply)).await
    }

    /// Writes how a try ended.
    ///
    /// # Errors
    /// It may not be written; repeating it is safe.
    pub(crate) async fn finish(&self, tried: &Try, ending: Ending) -> Result<Noted, LedgerError> {
        let row = FinishRow {
            tried: tried.clone(),
            worker: self.worker,
            ending,
        };
        self.ask(|reply| Request::Finish(Box::new(row), reply))
            .await
    }

    /// What is known of the parts of a message, by part.
    ///
    /// # Errors
    /// The database cannot be used.
    pub(crate) async fn parts(
        &self,
        organization: &OrganizationId,
        message_id: MessageId,
    ) -> Result<Vec<rows::Row>, LedgerError> {
        Ok(rows::of_message(&self.database, organization, message_id).await?)
    }

    /// Notes that these parts were taken back, when their message was edited down to fewer.
    ///
    /// # Errors
    /// It may not be noted; noting it again is safe.
    pub(crate) async fn take_back(
        &self,
        organization: &OrganizationId,
        message_id: MessageId,
        provider_ids: &[String],
    ) -> Result<(), LedgerError> {
        let gone = rows::take_back(&self.database, organization, message_id, provider_ids);
        Ok(gone.await?)
    }

    /// Notes what a provider told; answers the messages that got further by it, as they stand now.
    ///
    /// Ids that are not known (yet) are kept for a while: [`Ledger::progress`] finds them once the part is sent. What
    /// was told before is answered again, since whoever tells it again may not have got through the first time.
    ///
    /// # Errors
    /// They may not be noted; noting them again is safe.
    pub(crate) async fn receipts(
        &self,
        organization: &OrganizationId,
        channel_id: &ChannelId,
        receipts: Vec<Receipted>,
    ) -> Result<Vec<Progress>, LedgerError> {
        let rows: Vec<ReceiptRow> = receipts
            .into_iter()
            .filter(Receipted::is_news)
            .map(|receipt| ReceiptRow {
                organization: organization.clone(),
                channel_id: channel_id.clone(),
                receipt,
            })
            .collect();
        let mut progress = Vec::new();
        for chunk in rows.chunks(RECEIPTS_AT_ONCE) {
            let request = |reply| Request::Receipts(chunk.to_vec(), reply);
            let before: Vec<Option<Status>> = self.ask(request).await?;
            let mut ids: Vec<&str> = chunk
                .iter()
                .map(|row| row.receipt.provider_id.as_str())
                .collect();
            ids.sort_unstable();
            ids.dedup();
            let messages =
                receipts::messages_of(&self.database, organization, channel_id, &ids).await?;
            let noted: Vec<(&str, Option<Status>, Status)> = chunk
                .iter()
                .zip(before)
                .map(|(row, before)| {
                    let receipt = &row.receipt;
                    (receipt.provider_id.as_str(), before, receipt.status)
                })
                .collect();
            progress.extend(messages.into_iter().filter_map(|message| {
                let told = standing::news(&message.parts, &noted)?;
                Some(Progress {
                    message_id: message.message_id,
                    to: message.to,
                    told,
                })
            }));
        }
        Ok(progress)
    }

    /// How far a message has come beyond `sent`; asked after its last part was noted as sent, since receipts may have
    /// come before that.
    ///
    /// # Errors
    /// The database cannot be used.
    pub(crate) async fn progress(
        &self,
        organization: &OrganizationId,
        message_id: MessageId,
    ) -> Result<Option<Told>, LedgerError> {
        let message = receipts::message(&self.database, organization, message_id).await?;
        Ok(message.and_then(|message| standing::standing(&message.parts)))
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Request,
    ) -> Result<T, LedgerError> {
        let gone = || LedgerError("the writer has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// How often old rows are looked for, and how many go at a time.
const TIDY_INTERVAL: Duration = Duration::from_secs(600);
const TIDY_BATCH: i64 = 1000;
/// For how long a provider's handle of what is behind a URL is kept; it is used for less.
const URL_HANDLES_KEPT: Duration = Duration::from_secs(24 * 3600);

/// For how long it is known in which topic of Telegram a message is.
const TOPICS_KEPT: Duration = Duration::from_secs(180 * 24 * 3600);

/// Removes rows that no delivery can ask for any more, and those of media that nobody fetches or sends any more.
async fn tidy(database: Database, retention: Duration, stop: CancellationToken) {
    let mut interval = tokio::time::interval(TIDY_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let now = Utc::now();
        let (before, unmatched) = (now - retention, now - UNMATCHED);
        let full = |removed: u64| removed >= TIDY_BATCH.unsigned_abs() && !stop.is_cancelled();
        let removed = async {
            while full(rows::remove_older(&database, before, TIDY_BATCH).await?) {}
            while full(receipts::remove_older(&database, before, unmatched, TIDY_BATCH).await?) {}
            while full(media::remove_unreleased(&database, before, TIDY_BATCH).await?) {}
            workers::remove_older(&database).await?;
            let linked = now - URL_HANDLES_KEPT;
            while full(media::remove_url_handles(&database, linked, TIDY_BATCH).await?) {}
            let told = now - TOPICS_KEPT;
            while full(telegram::remove_topics(&database, told, TIDY_BATCH).await?) {}
            Ok::<(), DatabaseError>(())
        };
        if let Err(error) = removed.await {
            warn!(%error, "old rows of ledger and media not removed");
        }
    }
}
