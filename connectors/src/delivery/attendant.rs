//! Equips the owner of a delivery lane: the handler, and the account's session beside it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tributary_base::backoff::Backoff;
use tributary_bus::{Attendant, Handler, Lane, Lease, Policy, message::HealthState};
use tributary_config::Settings;

use super::DeliveryHandler;
use crate::{Account, Accounts, Ledger, ReceiveError, Session};

/// A provider may ask for hours of silence; more than this is not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// A session that has lasted this long works.
const SETTLED_IN: Duration = Duration::from_secs(10);
/// How long a session waits for a person, before it tries again by itself.
const MISCONFIGURED_WAIT: Duration = Duration::from_secs(60);

/// Serves the delivery lanes of all accounts of a process.
pub struct ConnectorAttendant {
    accounts: Arc<Accounts>,
    ledger: Arc<Ledger>,
    send_deadline: Duration,
}

impl ConnectorAttendant {
    /// An attendant for these accounts.
    pub fn new(accounts: Arc<Accounts>, ledger: Arc<Ledger>, settings: &Settings) -> Self {
        Self {
            accounts,
            ledger,
            send_deadline: settings.delivery.send_deadline,
        }
    }

    /// Bounds and delays of delivery lanes.
    pub fn policy(settings: &Settings) -> Policy {
        Policy {
            backoff: Backoff {
                base: settings.delivery.retry_base,
                cap: settings.delivery.retry_cap,
            },
            longest_wait: LONGEST_WAIT,
            max_attempts: settings.delivery.max_attempts,
            max_age: settings.delivery.max_age,
            prefetch: settings.lanes.prefetch,
            concurrency: settings.lanes.concurrency,
            hold_limit: settings.lanes.hold_limit,
            crash_limit: settings.lanes.crash_limit,
        }
    }

    fn account(&self, lane: &Lane) -> Result<&Arc<Account>, String> {
        let Lane::Delivery(id) = lane else {
            return Err(format!("lane {lane} carries no deliveries"));
        };
        self.accounts
            .get(id.as_str())
            .ok_or_else(|| format!("channel {id} is not configured here"))
    }
}

#[async_trait]
impl Attendant for ConnectorAttendant {
    async fn attend(&self, lane: &Lane) -> Result<Arc<dyn Handler>, String> {
        Ok(Arc::new(DeliveryHandler::new(
            Arc::clone(self.account(lane)?),
            Arc::clone(&self.ledger),
            self.send_deadline,
        )))
    }

    async fn alongside(
        &self,
        lane: &Lane,
        _lease: &Lease,
        stop: CancellationToken,
    ) -> Result<(), String> {
        let account = self.account(lane)?;
        if let Some(fetcher) = &account.media.fetcher {
            fetcher.start(&stop);
        }
        let Some(session) = account.connector.session() else {
            stop.cancelled().await;
            return Ok(());
        };
        while !stop.is_cancelled() {
            match run(account, session, &stop).await {
                Ok(()) => {}
                Err(ReceiveError::Misconfigured(reason)) => {
                    let reason = reason.as_str();
                    account
                        .health
                        .note(&account.sink, HealthState::Misconfigured, reason)
                        .await;
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = sleep(MISCONFIGURED_WAIT) => {}
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

/// Runs a session to its end; when it has settled in, the account is well.
async fn run(
    account: &Account,
    session: &dyn Session,
    stop: &CancellationToken,
) -> Result<(), ReceiveError> {
    let mut running = session.run(account.sink.clone(), stop.clone());
    tokio::select! {
        ended = &mut running => return ended,
        () = sleep(SETTLED_IN) => {}
    }
    account
        .health
        .note(&account.sink, HealthState::Ok, "")
        .await;
    running.await
}
