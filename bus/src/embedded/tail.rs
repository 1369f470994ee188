//! Watching what is published: the process that moves messages keeps copies while somebody is registered for them.
//! It works in the same way from within that process and from beside it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt};
use sqlx::Row;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{
    core::Link,
    error::Failure,
    writer::{Op, Role},
};
use crate::{BusError, Moved};

/// How often it looks for new copies.
const LOOK: Duration = Duration::from_millis(200);
/// How long a registration lasts, and how often it is renewed.
const TERM: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(3);
/// How long the other process may take to see a new watcher; longer, and nobody is there.
const NOTICE: Duration = Duration::from_secs(2);

struct Watcher {
    link: Arc<Link>,
    role: Role,
    id: Uuid,
    seen_to: i64,
    renewed: Instant,
    ready: VecDeque<Moved>,
}

/// Copies of what is published from now on.
pub(super) async fn tail(
    link: Arc<Link>,
    role: Role,
) -> Result<BoxStream<'static, Moved>, BusError> {
    let seen_to = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM tap")
        .fetch_one(&link.read)
        .await
        .map_err(Failure::from)?;
    let mut watcher = Watcher {
        link,
        role,
        id: Uuid::new_v4(),
        seen_to,
        renewed: Instant::now(),
        ready: VecDeque::new(),
    };
    watcher.register().await?;
    watcher.wait_until_seen().await?;
    let copies = stream::unfold(watcher, |mut watcher| async move {
        let moved = watcher.next().await?;
        Some((moved, watcher))
    });
    Ok(copies.boxed())
}

impl Watcher {
    async fn register(&mut self) -> Result<(), Failure> {
        let term = i64::try_from(TERM.as_millis()).unwrap_or(i64::MAX);
        self.renewed = Instant::now();
        let op = Op::Tap {
            id: self.id,
            until: Utc::now().timestamp_millis() + term,
            seen: self.role == Role::Owner,
        };
        self.link.write(op).await.map(drop)
    }

    async fn wait_until_seen(&self) -> Result<(), Failure> {
        let since = Instant::now();
        while since.elapsed() < NOTICE {
            let seen: Option<bool> = sqlx::query_scalar("SELECT seen FROM taps WHERE id = ?")
                .bind(self.id)
                .fetch_optional(&self.link.read)
                .await?;
            if seen == Some(true) {
                break;
            }
            tokio::time::sleep(LOOK / 4).await;
        }
        Ok(())
    }

    /// The next copy; `None` when the bus was closed.
    async fn next(&mut self) -> Option<Moved> {
        loop {
            if let Some(moved) = self.ready.pop_front() {
                return Some(moved);
            }
            self.link.open().ok()?;
            let result = match self.renewed.elapsed() > RENEW {
                true => self.register().await,
                false => Ok(()),
            };
            if let Err(failure) = result.and(self.look().await) {
                tracing::debug!(reason = failure.reason(), "cannot watch the embedded bus");
            }
            if self.ready.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let (link, seen_to) = (Arc::clone(&self.link), self.seen_to);
        // A task of its own, as that of an intake: nobody may wait for the stream just now.
        let reading = tokio::spawn(async move {
            sqlx::query(
                "SELECT id, destination, at, body FROM tap WHERE id > ? ORDER BY id LIMIT 256",
            )
            .bind(seen_to)
            .fetch_all(&link.read)
            .await
        });
        let reading = AbortOnDropHandle::new(reading).await;
        let rows = reading.map_err(|reason| Failure::Storage(reason.to_string()))??;
        for row in rows {
            self.seen_to = row.try_get("id")?;
            let body: Vec<u8> = row.try_get("body")?;
            self.ready.push_back(Moved {
                to: row.try_get("destination")?,
                at: time(row.try_get("at")?),
                body: Bytes::from(body),
            });
        }
        Ok(())
    }
}

/// From milliseconds since 1970.
pub(super) fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
