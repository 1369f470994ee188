//! A running process: what it holds, how it waits for servers that are missing, and how it stops.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tributary_base::backoff::Backoff;
use tributary_bus::{AmqpBus, Bus, BusState, EmbeddedBus};
use tributary_config::Settings;
use tributary_router::api::operations::Check;

use crate::stores::needs_a_person;

/// Opens a listener, or says which setting to change.
///
/// # Errors
/// The address is taken or not ours.
pub async fn listen(key: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; stop what uses it, or change {key} (port 0 picks a free one)")
    })
}

/// Opens the bus. The embedded one is ready at once; a broker is connected to in the background.
///
/// # Errors
/// The embedded bus is in use or cannot be read and written.
pub async fn open_bus(settings: &Settings) -> Result<Arc<dyn Bus>> {
    if settings.bus.is_embedded() {
        std::fs::create_dir_all(&settings.data.dir)
            .with_context(|| format!("cannot create data.dir {}", settings.data.dir.display()))?;
        return Ok(EmbeddedBus::open(&settings.data.dir.join("bus.db")).await?);
    }
    Ok(AmqpBus::connect(&settings.bus))
}

/// What this process needs, and what of it is missing; asked by `/readyz`.
#[derive(Clone, Default)]
pub struct Needs(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

impl Needs {
    /// Notes that `what` is missing, and why.
    pub fn missing(&self, what: &'static str, why: String) {
        lock(&self.0).insert(what, Some(why));
    }

    /// Notes that `what` is there.
    pub fn ready(&self, what: &'static str) {
        lock(&self.0).insert(what, None);
    }

    /// Everything that is needed, with what keeps it from being there.
    pub fn list(&self) -> Vec<(&'static str, Option<String>)> {
        lock(&self.0)
            .iter()
            .map(|(what, why)| (*what, why.clone()))
            .collect()
    }
}

/// Waits; `false` when the process is to stop.
pub async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = stop.cancelled() => false,
    }
}

/// Tries until it works, saying so each time; `None` when the process is to stop before.
pub async fn wait_for<T, F>(
    what: &'static str,
    advice: &str,
    needs: &Needs,
    stop: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Option<T>
where
    F: Future<Output = Result<T>>,
{
    needs.missing(what, "starting".to_owned());
    for tries in 1.. {
        let result = tokio::select! {
            result = attempt() => result,
            () = stop.cancelled() => return None,
        };
        match result {
            Ok(value) => {
                needs.ready(what);
                return Some(value);
            }
            Err(error) => {
                if needs_a_person(&error) {
                    tracing::error!(error = %error, tries, "the {what} refuses this process: {advice}");
                } else {
                    tracing::warn!(error = %error, tries, "waiting for the {what}: {advice}");
                }
                needs.missing(what, error.to_string());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Backoff::SERVER.limit(tries)) => {}
            () = stop.cancelled() => return None,
        }
    }
    None
}

/// Logs each change of the bus's state.
pub async fn watch_bus(mut state: watch::Receiver<BusState>, stop: CancellationToken) {
    loop {
        match state.borrow_and_update().clone() {
            BusState::Connecting => tracing::info!("connecting to the bus"),
            BusState::Ready => tracing::info!("the bus is ready"),
            BusState::Away { reason } => {
                tracing::warn!(
                    reason,
                    "the bus is away; reconnecting (check bus.url and the broker)"
                );
            }
            BusState::Blocked { reason } => {
                tracing::error!(reason, "the bus takes no messages; free its memory or disk");
            }
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}

/// Ends `stop` on SIGTERM or SIGINT; a second signal ends the process at once.
pub fn stop_on_signals(stop: &CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = stop.clone();
    drop(tokio::spawn(async move {
        for count in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if count > 0 {
                tracing::warn!(
                    "stopped at once by a second signal; what was in flight will be done again"
                );
                std::process::exit(130);
            }
            tracing::info!("stopping: finishing what is in flight (a second signal stops at once)");
            stop.cancel();
        }
    }));
    Ok(())
}

/// Tasks of this process by name, so that what outlives the deadline can be named.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<String, usize>>>,
    failed: Arc<AtomicBool>,
}

impl Tasks {
    /// Runs a task under a name. When it ends although nothing was to stop, the process stops: a role without one of its
    /// parts would only look alive.
    pub fn spawn<F>(&self, name: &str, stop: &CancellationToken, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = Arc::clone(&self.running);
        let (name, stop) = (name.to_owned(), stop.clone());
        let failed = Arc::clone(&self.failed);
        *lock(&running).entry(name.clone()).or_default() += 1;
        self.tracker.spawn(async move {
            let result = tokio::spawn(task).await;
            if let Err(error) = &result {
                tracing::error!(task = name, %error, "a task of this process failed");
            }
            if !stop.is_cancelled() {
                tracing::error!(
                    task = name,
                    "a task ended early; the process stops so that it can be restarted"
                );
                failed.store(true, Ordering::Relaxed);
                stop.cancel();
            }
            let mut running = lock(&running);
            if let Some(count) = running.get_mut(&name) {
                *count -= 1;
            }
            running.retain(|_, count| *count > 0);
        });
    }

    /// Whether one of them ended although nothing was to stop.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits for all tasks, at most `deadline` long. Answers the names of those still running.
    pub async fn finish(&self, deadline: Duration) -> Vec<String> {
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .is_ok()
        {
            return Vec::new();
        }
        lock(&self.running).keys().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers what this process needs, and what of it is missing.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync>;

/// What `/readyz` asks: the bus, and the stores of this process.
pub fn readiness(needs: &Needs, bus: &Arc<dyn Bus>) -> Ready {
    let (needs, state) = (needs.clone(), bus.state());
    Arc::new(move || {
        let mut checks = vec![match state.borrow().clone() {
            BusState::Ready => Check::ready("bus"),
            BusState::Connecting => Check::missing("bus", "connecting"),
            BusState::Away { reason } | BusState::Blocked { reason } => {
                Check::missing("bus", reason)
            }
        }];
        checks.extend(needs.list().into_iter().map(|(what, why)| match why {
            None => Check::ready(what),
            Some(why) => Check::missing(what, why),
        }));
        Box::pin(std::future::ready(checks))
    })
}
