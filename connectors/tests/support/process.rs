//! A connector process as it runs in a fleet: ledger, channel log, lane runner, ingress.

use std::sync::Arc;

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tributary_bus::{Bus, Group, Workers};
use tributary_config::Settings;
use tributary_connectors::{
    Accounts, ChannelLog, ConnectorAttendant, ConnectorStore, Ledger, server::serve_ingress,
};

/// Set up, and not running yet.
pub struct Process {
    pub accounts: Arc<Accounts>,
    workers: Workers,
    settings: Arc<Settings>,
    stop: CancellationToken,
}

pub struct Running {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Process {
    /// A process for the channels of one kind.
    pub async fn new(
        kind: &str,
        settings: Arc<Settings>,
        store: &ConnectorStore,
        bus: Arc<dyn Bus>,
    ) -> Self {
        let stop = CancellationToken::new();
        let ledger = Ledger::start(store.database().clone(), &settings, stop.clone()).await;
        let ledger = Arc::new(ledger.expect("a ledger"));
        let accounts = Accounts::build(&settings, Some(kind), store, &bus, &ledger);
        let accounts = Arc::new(accounts.expect("right settings"));
        let log = ChannelLog::start(store.database().clone(), &settings, stop.clone());
        let attendant = ConnectorAttendant::new(Arc::clone(&accounts), ledger, &settings);
        let (_, lanes) = watch::channel(accounts.lanes());
        let workers = Workers {
            bus,
            group: Group::Connector(kind.to_owned()),
            lanes,
            attendant: Arc::new(attendant.with_log(log)),
            policy: ConnectorAttendant::policy(&settings),
            claim_interval: settings.lanes.claim_interval,
            drain_deadline: settings.shutdown.deadline,
        };
        Self {
            accounts,
            workers,
            settings,
            stop,
        }
    }

    /// Owns lanes, and serves the ingress at a port.
    pub fn run(self, listener: TcpListener) -> Running {
        let (stopping, serving) = (self.stop.clone(), self.stop.clone());
        let tasks = vec![
            tokio::spawn(async move { self.workers.run(stopping).await }),
            tokio::spawn(async move {
                serve_ingress(listener, self.accounts, self.settings, serving)
                    .await
                    .expect("the ingress serves");
            }),
        ];
        Running {
            stop: self.stop,
            tasks,
        }
    }
}

impl Running {
    /// Stops it as a signal does; all of it must end well.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("it ends well");
        }
    }
}
