//! Sending events again from the store: those that were in a lane that was lost, or that somebody asks for. They go into the
//! lane like any other, so each is tried, waited for and given up as always; until they are through, what is newer of their
//! conversations goes behind them (see `progress`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;
use tributary_bus::{
    Bus, BusError, Destination, EventFilter, Lane, Lease, Publication, PublishError, Sealed,
};

use super::tracked::Tracked;
use crate::store::{EndpointState, Position, PublishedEvent, Resend, Store, StoreError};

/// Events of one page.
const PAGE: i64 = 500;
/// How long events that were published and have no position yet are waited for.
const POSITIONS: Duration = Duration::from_secs(60);
/// Between two looks at what must happen first.
const LOOK: Duration = Duration::from_millis(200);

/// Sends events of one endpoint again whenever that is wanted.
pub struct Refill<'a> {
    pub store: &'a Store,
    pub bus: &'a Arc<dyn Bus>,
    pub tracked: &'a Tracked,
    pub lease: &'a Lease,
}

#[derive(Debug, thiserror::Error)]
enum RefillError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("a stored event cannot be read: {0}")]
    Event(#[from] tributary_bus::EnvelopeError),
    #[error("lane may have another owner")]
    Lost,
}

impl Refill<'_> {
    /// Works until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        let work = async {
            loop {
                self.tracked.resend.notified().await;
                for attempt in 1.. {
                    let error = match self.once().await {
                        Ok(true) => break,
                        Ok(false) => continue,
                        Err(error) => error,
                    };
                    let wait = Backoff::SERVER.delay(attempt);
                    tracing::warn!(endpoint = %self.tracked.id, %error, ?wait, "events cannot be sent again yet; trying again");
                    tokio::time::sleep(wait).await;
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Puts what is missing into the lane, and waits until it has left it.
    /// `false`: something was lost, or the endpoint disabled, meanwhile, and it is to begin anew.
    async fn once(&self) -> Result<bool, RefillError> {
        let (id, tracked) = (self.tracked.id, self.tracked);
        let look = tracked.progress().looks();
        let state = self.store.endpoint_state(id).await?;
        let endpoint = self.store.endpoint_of_lane(id).await?;
        if endpoint.is_some_and(|endpoint| endpoint.disabled_at.is_some()) {
            return Ok(true);
        }
        let Some((from, reason)) = state.resend else {
            tracked.enable();
            return Ok(tracked.progress().found(look));
        };
        // In this order: nothing is sent or left out from here on until it is known what is missing.
        let look = tracked.progress().look();
        tracked.enable();
        self.wait_for_positions().await?;
        let sent = self.fill(&state, from, reason).await?;
        if !tracked.progress().found(look) {
            return Ok(false);
        }
        tracing::warn!(endpoint = %id, events = sent, "events are sent to an endpoint again");
        metrics::counter!("tributary_webhook_resent_total").increment(sent);
        loop {
            {
                let progress = tracked.progress();
                if progress.looks() != look || tracked.is_disabled() {
                    return Ok(false);
                }
                if !progress.is_catching_up() {
                    break;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        self.store.resent(id, from).await?;
        Ok(true)
    }

    /// Events get their positions just after they were published: those that were published before the lane was there again
    /// have theirs when all that the outbox holds now is gone.
    async fn wait_for_positions(&self) -> Result<(), RefillError> {
        let organization = &self.tracked.organization;
        let Some(last) = self.store.last_unpublished(organization, i64::MAX).await? else {
            return Ok(());
        };
        let begun = Instant::now();
        while self
            .store
            .last_unpublished(organization, last)
            .await?
            .is_some()
        {
            if begun.elapsed() > POSITIONS {
                tracing::warn!(%organization, "events wait in the outbox for long; going on with those that are published");
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Copies events into the lane, in order; returns how many.
    async fn fill(
        &self,
        state: &EndpointState,
        from: i64,
        reason: Resend,
    ) -> Result<u64, RefillError> {
        let filter = self.tracked.filter();
        let organization = &self.tracked.organization;
        let (mut position, mut sent) = (from, 0);
        // Also where somebody asked for it: the wish may stand for a loss that nobody has mended yet.
        let unsettled = self.tracked.progress().unsettled();
        let open = unsettled.iter().chain(&state.unsettled);
        let open: BTreeSet<i64> = open
            .map(|event| event.position)
            .filter(|open| *open <= position)
            .collect();
        let open: Vec<i64> = open.into_iter().collect();
        let events = self.store.events_at(organization, &open).await?;
        sent += self.publish(events, &filter, reason).await?;
        loop {
            let after = Position(position);
            let page = self.store.events_after(organization, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(sent);
            };
            position = last.position.0;
            sent += self.publish(page, &filter, reason).await?;
        }
    }

    async fn publish(
        &self,
        page: Vec<PublishedEvent>,
        filter: &EventFilter,
        reason: Resend,
    ) -> Result<u64, RefillError> {
        let mut batch = Vec::new();
        for event in page {
            let envelope = Sealed::parse(event.envelope.into())?;
            let id = envelope.id;
            if !filter.matches(&envelope.orgid, &envelope.kind) {
                continue;
            }
            let conversation = tributary_bus::Envelope::parse(&envelope.body)?
                .subject
                .unwrap_or_else(|| id.to_string());
            let mut progress = self.tracked.progress();
            if reason == Resend::Lost && progress.was_taken(id) {
                continue;
            }
            progress.missing(conversation, id);
            batch.push(Publication {
                to: Destination::Lane(Lane::Endpoint(self.tracked.id)),
                envelope,
            });
        }
        if !self.lease.is_fresh() {
            return Err(RefillError::Lost);
        }
        let sent = batch.len() as u64;
        for result in self.bus.publish(batch).await {
            result?;
        }
        Ok(sent)
    }
}
