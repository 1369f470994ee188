//! Waiting for something to become true, woken by what happens instead of by sleeping.

use std::{fmt::Display, sync::Mutex, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::lock;

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("did not happen within {within:?}; seen so far: {seen}")]
pub struct TimedOut {
    /// How long it was waited for.
    pub within: Duration,
    /// A summary of what had happened by then.
    pub seen: String,
}

/// Rings whenever something worth looking at has changed. Rings during a look are not lost, many rings make one look.
pub(crate) struct Bell(watch::Sender<()>);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    pub(crate) fn ring(&self) {
        self.0.send_replace(());
    }

    /// Looks now and after each ring, until `holds` says yes. `false`: `within` has passed.
    pub(crate) async fn wait_until(
        &self,
        within: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> bool {
        let deadline = Instant::now() + within;
        let mut rings = self.0.subscribe();
        loop {
            rings.mark_unchanged();
            if holds() {
                return true;
            }
            if !matches!(
                tokio::time::timeout_at(deadline, rings.changed()).await,
                Ok(Ok(()))
            ) {
                return holds();
            }
        }
    }

    /// The same, for what is recorded; on failure with a summary of it.
    pub(crate) async fn wait_for<R: Display>(
        &self,
        within: Duration,
        records: &Mutex<R>,
        mut predicate: impl FnMut(&R) -> bool,
    ) -> Result<(), TimedOut> {
        if self.wait_until(within, || predicate(&lock(records))).await {
            return Ok(());
        }
        Err(TimedOut {
            within,
            seen: lock(records).to_string(),
        })
    }
}
