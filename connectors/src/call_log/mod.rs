//! The channel log: each provider request and reply, for support. Redacted, bounded and short-lived.
//!
//! Written in the background: a send never waits for it, and rather loses an entry.

mod redact;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::{sync::Arc, time::Duration};

use metrics::counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tributary_base::database::{Database, DatabaseError};
use tributary_bus::{ChannelId, MessageId, OrganizationId};
use tributary_config::Settings;
use uuid::Uuid;

use crate::Account;
pub(crate) use redact::Redactor;
pub use rows::LoggedCall;

/// Bytes of a body that are kept.
const BODY_LIMIT: usize = 8 * 1024;
/// Entries of one message; the latest are kept.
const ENTRIES: i64 = 50;
/// Entries that may wait for the writer.
const WAITING: usize = 1024;

/// One request to a provider and what came back.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// `POST sendMessage`: never a URL with a token in it.
    pub what: String,
    /// Body, as text.
    pub request: Option<String>,
    /// HTTP status, or the provider's own code.
    pub status: Option<u16>,
    /// Body, as text.
    pub reply: Option<String>,
    /// Why there is no reply.
    pub error: Option<String>,
    pub took: Duration,
}

/// The channel log of one process. Cheap to clone; ends when every handle is dropped.
#[derive(Clone)]
pub struct ChannelLog(Option<mpsc::Sender<Entry>>);

/// A call that is to be written, redacted and cut.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: Uuid,
    organization: OrganizationId,
    message_id: MessageId,
    channel_id: ChannelId,
    at: chrono::DateTime<chrono::Utc>,
    call: Call,
}

impl ChannelLog {
    /// Opens the log and starts its writer, which also removes old entries until `stop`. Keeps nothing where
    /// `delivery.call_log_retention` is zero.
    pub fn start(database: Database, settings: &Settings, stop: CancellationToken) -> Self {
        let retention = settings.delivery.call_log_retention;
        if retention.is_zero() {
            return Self::nowhere();
        }
        let (entries, waiting) = mpsc::channel(WAITING);
        let writer = writer::Writer {
            database,
            deadline: settings.store.statement_deadline,
            retention,
        };
        tokio::spawn(writer.run(waiting, stop));
        Self(Some(entries))
    }

    /// Keeps nothing.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// The log of one message of an account.
    pub(crate) fn of(&self, account: &Account, message_id: MessageId) -> CallLog {
        let Some(entries) = &self.0 else {
            return CallLog::nowhere();
        };
        CallLog::new(Arc::new(MessageLog {
            entries: entries.clone(),
            organization: OrganizationId(account.channel.organization.clone()),
            channel_id: ChannelId(account.channel.id.clone()),
            message_id,
            redactor: account.redactor.clone(),
        }))
    }
}

/// Notes the calls about one message.
struct MessageLog {
    entries: mpsc::Sender<Entry>,
    organization: OrganizationId,
    channel_id: ChannelId,
    message_id: MessageId,
    redactor: Redactor,
}

impl CallSink for MessageLog {
    fn note(&self, call: Call) {
        let redacted = |text: String| self.redactor.redact(&text, BODY_LIMIT);
        let entry = Entry {
            id: Uuid::now_v7(),
            organization: self.organization.clone(),
            message_id: self.message_id,
            channel_id: self.channel_id.clone(),
            at: crate::ledger::now(),
            call: Call {
                what: redacted(call.what),
                request: call.request.map(redacted),
                status: call.status,
                reply: call.reply.map(redacted),
                error: call.error.map(redacted),
                took: call.took,
            },
        };
        if self.entries.try_send(entry).is_err() {
            counter!("tributary_channel_log_dropped_total", "channel" => self.channel_id.0.clone())
                .increment(1);
        }
    }
}

/// The calls about one message, the first one first.
///
/// # Errors
/// The database cannot be used.
pub async fn calls_of(
    store: &crate::ConnectorStore,
    organization: &OrganizationId,
    message_id: MessageId,
) -> Result<Vec<LoggedCall>, DatabaseError> {
    rows::of_message(store.database(), organization, message_id).await
}

/// Where calls of one delivery are noted.
pub trait CallSink: Send + Sync {
    /// Takes a call; never waits, and drops it rather than to hold up a send.
    fn note(&self, call: Call);
}

/// A handle to the channel log for one delivery. Cheap to clone.
#[derive(Clone)]
pub struct CallLog(Option<Arc<dyn CallSink>>);

impl CallLog {
    /// Notes into `sink`.
    pub fn new(sink: Arc<dyn CallSink>) -> Self {
        Self(Some(sink))
    }

    /// Notes nothing.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Notes a call.
    pub fn note(&self, call: Call) {
        if let Some(sink) = &self.0 {
            sink.note(call);
        }
    }
}

impl std::fmt::Debug for CallLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallLog")
    }
}

/// Shows which call, never its bodies.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} -> {:?})", self.what, self.status)
    }
}
