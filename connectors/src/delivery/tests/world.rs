//! A scripted provider, and everything a delivery needs around it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::{database::Database, on};
use tributary_bus::{
    Address, Bus, EmbeddedBus, Envelope, EventId, Handler, Lane, Lease, MessageId, OrganizationId,
    Outcome, Work,
    message::{Content, Inbound, MessageStatus},
};
use tributary_config::{Settings, load_text};

use super::super::DeliveryHandler;
use crate::{
    Account, Action, Capabilities, ChannelLog, Connector, ConnectorStore, InboundSink, Ledger,
    LoggedCall, NoMedia, Pace, Part, Receipt, ReceiveError, SendContext, SendError, Session,
    TextLimit,
    call_log::{self, Redactor, calls_of},
    media::AccountMedia,
    registry::OnUncertain,
    testing::{Inbox, Kind, PATIENCE, database},
};

/// Number of the part, its text, and what it answers.
pub(super) type Call = (u32, String, Option<String>);

/// A provider with a list of answers; without one left it takes everything.
pub(super) struct Provider {
    pub(super) capabilities: Capabilities,
    pub(super) answers: Mutex<VecDeque<Result<(), SendError>>>,
    /// Everything that reached it.
    pub(super) calls: Mutex<Vec<Call>>,
    /// Every action that reached it, and how long it was given.
    pub(super) actions: Mutex<Vec<(Action, Duration)>>,
    pub(super) keys: Mutex<Vec<String>>,
    pub(super) hangs: AtomicUsize,
    pub(super) slow: Mutex<Option<Duration>>,
    /// No action leads to a call.
    pub(super) no_calls: AtomicBool,
    /// How often its session ran.
    pub(super) sessions: AtomicUsize,
    /// Slots that the account has left; `None`: any number.
    pub(super) account: Mutex<Option<usize>>,
}

#[async_trait]
impl Connector for Provider {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, part: &Part, context: &SendContext) -> Result<Receipt, SendError> {
        let Content::Text(text) = &part.content else {
            panic!("only text is planned");
        };
        let number = {
            let mut calls = lock(&self.calls);
            calls.push((part.index, text.text.clone(), context.reply_to.clone()));
            calls.len()
        };
        lock(&self.keys).push(context.idempotency_key.clone());
        if self.hangs.load(Ordering::SeqCst) > 0 {
            self.hangs.fetch_sub(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        context.log.note(call_log::Call {
            what: "POST send".to_owned(),
            request: Some(format!("token-of-the-shop {}", text.text)),
            status: Some(200),
            ..call_log::Call::default()
        });
        let answer = lock(&self.answers).pop_front();
        answer.unwrap_or(Ok(())).map(|()| Receipt {
            provider_id: format!("id-{number}"),
        })
    }

    async fn act(&self, action: &Action, context: &SendContext) -> Result<(), SendError> {
        lock(&self.actions).push((action.clone(), context.deadline));
        if self.hangs.load(Ordering::SeqCst) > 0 {
            self.hangs.fetch_sub(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        lock(&self.answers).pop_front().unwrap_or(Ok(()))
    }

    fn calls_for(&self, _action: &Action) -> bool {
        !self.no_calls.load(Ordering::SeqCst)
    }

    fn secrets(&self) -> Vec<String> {
        vec!["token-of-the-shop".to_owned()]
    }

    fn pace(&self) -> Option<&dyn Pace> {
        Some(self)
    }

    fn session(&self) -> Option<&dyn Session> {
        Some(self)
    }
}

/// A session that ends at once, sometimes with an error.
#[async_trait]
impl Session for Provider {
    async fn run(&self, _: InboundSink, _: CancellationToken) -> Result<(), ReceiveError> {
        match self.sessions.fetch_add(1, Ordering::SeqCst) {
            3 => Err(ReceiveError::Unavailable("broken".to_owned())),
            _ => Ok(()),
        }
    }
}

impl Pace for Provider {
    fn recipient(&self, _to: &Address) -> Result<(), Duration> {
        lock(&self.slow).take().map_or(Ok(()), Err)
    }

    fn account(&self) -> Result<(), Duration> {
        let mut left = lock(&self.account);
        match left.as_mut() {
            Some(0) => Err(Duration::from_millis(20)),
            Some(slots) => {
                *slots -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct World {
    pub(super) provider: Arc<Provider>,
    pub(super) handler: DeliveryHandler,
    pub(super) account: Arc<Account>,
    pub(super) proven: watch::Sender<Option<Instant>>,
    pub(super) lease: Lease,
    pub(super) bus: Arc<EmbeddedBus>,
    database: Database,
    inbox: Inbox,
    _stop: DropGuard,
    _dir: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(OnUncertain::Resend, false).await
    }

    pub(super) async fn with(on_uncertain: OnUncertain, idempotent: bool) -> Self {
        let capabilities = Capabilities {
            idempotent,
            ..Capabilities::text_only(TextLimit::Characters(20))
        };
        Self::of(on_uncertain, capabilities).await
    }

    pub(super) async fn of(on_uncertain: OnUncertain, capabilities: Capabilities) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let settings = settings();
        let bus = EmbeddedBus::open(&dir.path().join("bus.db"))
            .await
            .expect("a bus");
        let inbox = Inbox::open(&bus).await;
        let provider = Arc::new(Provider {
            capabilities,
            answers: Mutex::default(),
            calls: Mutex::default(),
            actions: Mutex::default(),
            keys: Mutex::default(),
            hangs: AtomicUsize::new(0),
            slow: Mutex::default(),
            no_calls: AtomicBool::new(false),
            sessions: AtomicUsize::new(0),
            account: Mutex::default(),
        });
        let database = database(Kind::Sqlite, &dir).await;
        let stop = CancellationToken::new();
        let ledger = Ledger::start(database.clone(), &settings, stop.clone())
            .await
            .expect("a ledger");
        let ledger = Arc::new(ledger);
        let log = ChannelLog::start(database.clone(), &settings, stop.clone());
        let channel = settings.channels["shop"].clone();
        let anybody: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let account = Account {
            redactor: Redactor::new(&provider.secrets()),
            connector: Arc::clone(&provider) as Arc<dyn Connector>,
            sink: InboundSink::new(anybody, &channel, &settings).with_ledger(&ledger),
            channel,
            on_uncertain,
            media: AccountMedia {
                access: Arc::new(NoMedia),
                fetcher: None,
            },
        };
        let account = Arc::new(account);
        let (proven, watched) = watch::channel(Some(Instant::now()));
        let handler = DeliveryHandler::new(Arc::clone(&account), ledger, log, &settings);
        Self {
            provider,
            handler,
            account,
            lease: Lease::new(watched, Duration::from_secs(600)),
            proven,
            bus,
            database,
            inbox,
            _stop: stop.drop_guard(),
            _dir: dir,
        }
    }

    pub(super) fn answers(&self, answers: impl IntoIterator<Item = SendError>) {
        lock(&self.provider.answers).extend(answers.into_iter().map(Err));
    }

    pub(super) fn actions(&self) -> Vec<Action> {
        let actions = lock(&self.provider.actions);
        actions.iter().map(|(action, _)| action.clone()).collect()
    }

    /// The calls of a message, once there are so many.
    pub(super) async fn log_of(&self, message: MessageId, count: usize) -> Vec<LoggedCall> {
        let store = ConnectorStore::new(self.database.clone());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let calls = calls_of(&store, &OrganizationId::from("acme"), message).await;
            let calls = calls.expect("the log can be read");
            if calls.len() >= count {
                return calls;
            }
            assert!(
                Instant::now() < deadline,
                "the log has {} calls",
                calls.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn calls(&self) -> usize {
        lock(&self.provider.calls).len()
    }

    pub(super) async fn handle(&self, envelope: &Envelope, attempt: u32) -> Outcome {
        let work = work(envelope, attempt);
        let mut outcomes = self.handler.handle(vec![work], &self.lease).await;
        outcomes.pop().expect("an outcome")
    }

    /// Handles until it is no `Retry`; answers how many tries it took.
    pub(super) async fn finish(&self, envelope: &Envelope) -> u32 {
        for attempt in 1..20 {
            match self.handle(envelope, attempt).await {
                Outcome::Done => return attempt,
                Outcome::Retry { .. } | Outcome::Defer { .. } | Outcome::Pause { .. } => {}
                Outcome::Dead { reason } => panic!("dead: {reason}"),
            }
        }
        panic!("never done");
    }

    /// Handles until nothing is to be waited for any more.
    pub(super) async fn finish_patiently(&self, envelope: &Envelope) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        for attempt in 1.. {
            match self.handle(envelope, attempt).await {
                Outcome::Retry { after, .. } | Outcome::Pause { after, .. } => {
                    assert!(Instant::now() < deadline, "never done");
                    tokio::time::sleep(after.unwrap_or(Duration::from_millis(10))).await;
                }
                Outcome::Defer { after, .. } => {
                    assert!(Instant::now() < deadline, "never done");
                    tokio::time::sleep(after).await;
                }
                outcome => return outcome,
            }
        }
        panic!("never done");
    }

    pub(super) async fn event(&mut self) -> (EventId, Inbound) {
        let (envelope, event) = self.inbox.event().await;
        (envelope.id, event)
    }

    /// The next event that is not about health.
    pub(super) async fn news(&mut self) -> (EventId, Inbound) {
        loop {
            let event = self.event().await;
            if !matches!(event.1, Inbound::Health(_)) {
                return event;
            }
        }
    }

    pub(super) async fn status(&mut self) -> MessageStatus {
        match self.news().await.1 {
            Inbound::Status(status) => status,
            other => panic!("not a status: {other:?}"),
        }
    }

    /// Whether nothing was told, but for how the account is doing.
    pub(super) async fn is_quiet(&mut self) -> bool {
        while self.bus.depth(&Lane::Inbound(0)).await.expect("a depth") > 0 {
            if !matches!(self.event().await.1, Inbound::Health(_)) {
                return false;
            }
        }
        true
    }

    /// As if the worker had been killed in the middle of the provider call, long ago.
    pub(super) async fn vanish(&self) {
        let at = Utc::now() - Duration::from_secs(3600);
        on!(write &self.database, db => {
            sqlx::query("UPDATE ledger SET state = 'sending', provider_id = NULL, at = $1")
                .bind(at)
                .execute(db)
                .await
                .map(drop)
        })
        .expect("rows are there");
    }
}

fn settings() -> Settings {
    let text = "[demo]\nenabled = false\n[bus]\ninbound_lanes = 1\n[delivery]\nsend_deadline = '200ms'\nretry_base = '200ms'\n\
                [organizations.acme]\nname = 'Acme'\n[channels.shop]\nkind = 'widget'\n";
    load_text("test", text, &[]).expect("right settings")
}

pub(super) fn work(envelope: &Envelope, attempt: u32) -> Work {
    Work {
        envelope: envelope.clone(),
        attempt,
        age: Duration::ZERO,
        redeliveries: attempt.saturating_sub(1),
    }
}
