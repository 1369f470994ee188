//! What the visitor has got and read, as statuses of the messages.

use chrono::Utc;
use tracing::debug;
use tributary_bus::message::Status;

use super::{
    super::{
        hub::Call,
        inbound::{Writer, to_statuses},
        mailbox::{MailboxError, Sent},
    },
    End, Session, within,
};

/// Messages whose status is published in one go.
const STATUSES: i64 = 200;

/// How far a visitor has come.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) delivered: i64,
    pub(super) read: i64,
}

impl Session<'_> {
    /// The visitor has everything up to `delivered` and has read everything up to `read`.
    pub(super) async fn seen(&mut self, delivered: i64, read: i64) -> Result<(), End> {
        let claimed = &mut self.claimed;
        claimed.delivered = claimed.delivered.max(delivered.min(self.cursor));
        claimed.read = claimed.read.max(read.min(self.cursor));
        self.settle().await;
        Ok(())
    }

    /// Publishes what the visitor has seen. What cannot be published now is tried again at the next ping.
    pub(super) async fn settle(&mut self) {
        while self.claimed.delivered > self.settled.delivered
            || self.claimed.read > self.settled.read
        {
            if let Err(reason) = self.settle_some().await {
                debug!(channel_id = %self.writer.channel, reason, "what a visitor has seen waits");
                return;
            }
        }
    }

    /// First publishes, then notes it: after a crash in between it is published again under the same ids.
    async fn settle_some(&mut self) -> Result<(), String> {
        let visitor = self.writer.visitor;
        let said = |error: MailboxError| error.to_string();
        // Another tab may have come further.
        let position = within(self.mailbox.position(visitor)).await.map_err(said)?;
        let position = position.unwrap_or_default();
        let delivered = position.delivered.max(self.settled.delivered);
        let read = position.read.max(self.settled.read);
        // Messages that were delivered before are only read now; those behind were neither.
        let (after, upto, statuses): (_, _, &[Status]) =
            if self.claimed.read > read && read < delivered {
                (read, self.claimed.read.min(delivered), &[Status::Read])
            } else if self.claimed.read > delivered {
                (
                    delivered,
                    self.claimed.read,
                    &[Status::Delivered, Status::Read],
                )
            } else {
                (delivered, self.claimed.delivered, &[Status::Delivered])
            };
        let sent = within(self.mailbox.sent(visitor, after, upto, STATUSES))
            .await
            .map_err(said)?;
        let upto = match sent.last() {
            Some(last) if sent.len() >= usize::try_from(STATUSES).unwrap_or(usize::MAX) => last.seq,
            _ => upto.max(after),
        };
        let reached = Seen {
            delivered: delivered.max(upto),
            read: if statuses.contains(&Status::Read) {
                read.max(upto)
            } else {
                read
            },
        };
        if !sent.is_empty() {
            self.publish_statuses(&sent, statuses).await?;
            within(self.mailbox.mark(visitor, reached.delivered, reached.read))
                .await
                .map_err(said)?;
        }
        self.settled = reached;
        if reached.read > self.told && !sent.is_empty() {
            self.told = reached.read;
            let call = Call {
                read: reached.read,
                ..Call::default()
            };
            self.announce(call).await;
        }
        Ok(())
    }

    async fn publish_statuses(&mut self, sent: &[Sent], statuses: &[Status]) -> Result<(), String> {
        self.inbound.ready().map_err(|error| error.to_string())?;
        let Writer {
            channel, visitor, ..
        } = &self.writer;
        let events = to_statuses(sent, statuses, channel, *visitor, Utc::now());
        (self.inbound.publish(events).await).map_err(|error| error.to_string())
    }
}
