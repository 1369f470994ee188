//! Equips the owner of a delivery lane: the handler, and the account's session beside it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tributary_base::{backoff::Backoff, database::DatabaseHealth};
use tributary_bus::{Attendant, Handler, Lane, Lease, Policy};
use tributary_config::Settings;

use super::{DeliveryHandler, health::advice};
use crate::{
    Account, Accounts, ChannelLog, Ledger, ReceiveError,
    health::{HealthReport, Source},
};

/// A provider may ask for hours of silence; more than this is not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How long a session waits for a person, before it tries again by itself.
const MISCONFIGURED_WAIT: Duration = Duration::from_secs(60);
/// A session is not started again sooner than this after its start, however it ended.
const FLOOR: Duration = Duration::from_millis(300);
/// How often it is looked whether the account's state is still to be told.
const HEALTH_TICK: Duration = Duration::from_secs(5);

/// Serves the delivery lanes of all accounts of a process.
pub struct ConnectorAttendant {
    accounts: Arc<Accounts>,
    ledger: Arc<Ledger>,
    log: ChannelLog,
    settings: Settings,
    health: DatabaseHealth,
}

impl ConnectorAttendant {
    /// An attendant for these accounts.
    pub fn new(accounts: Arc<Accounts>, ledger: Arc<Ledger>, settings: &Settings) -> Self {
        Self {
            accounts,
            ledger,
            log: ChannelLog::nowhere(),
            settings: settings.clone(),
            health: DatabaseHealth::default(),
        }
    }

    /// Notes provider calls into `log`.
    #[must_use]
    pub fn with_log(mut self, log: ChannelLog) -> Self {
        self.log = log;
        self
    }

    /// The same, which leaves its lanes to others while the connectors' store cannot be used.
    #[must_use]
    pub fn with_health(mut self, health: DatabaseHealth) -> Self {
        self.health = health;
        self
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
        let account = Arc::clone(self.account(lane)?);
        account.sink.health.begin();
        Ok(Arc::new(DeliveryHandler::new(
            account,
            Arc::clone(&self.ledger),
            self.log.clone(),
            &self.settings,
        )))
    }

    /// Only routers know what was in it.
    async fn redeclared(&self, lane: &Lane) -> Result<(), String> {
        let account = self.account(lane)?;
        let told = account.sink.announce_renewed(lane).await;
        told.map_err(|error| error.to_string())
    }

    fn is_fit(&self) -> bool {
        self.health.is_fit()
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
        tokio::select! {
            ended = keep_session(account, &stop) => ended,
            () = keep_telling(account) => Ok(()),
        }
    }
}

/// Tells what could not be told at once.
async fn keep_telling(account: &Account) {
    loop {
        sleep(HEALTH_TICK).await;
        account.sink.tell_health().await;
    }
}

/// Runs the account's session until `stop`, or until it breaks.
pub(super) async fn keep_session(
    account: &Account,
    stop: &CancellationToken,
) -> Result<(), String> {
    let Some(session) = account.connector.session() else {
        stop.cancelled().await;
        return Ok(());
    };
    while !stop.is_cancelled() {
        let floor = sleep(FLOOR);
        let ended = session.run(account.sink.clone(), stop.clone()).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = floor => {}
        }
        match ended {
            Ok(()) => {}
            Err(ReceiveError::Misconfigured(reason)) => {
                let report = HealthReport::misconfigured(reason, advice(&account.channel.id));
                account.sink.note(Source::Session, report).await;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep(MISCONFIGURED_WAIT) => {}
                }
            }
            Err(error) => {
                let reason = error.to_string();
                account.sink.session_broke(&reason).await;
                return Err(reason);
            }
        }
    }
    Ok(())
}
