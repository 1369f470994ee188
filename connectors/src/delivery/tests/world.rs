//! A scripted provider, and everything a delivery needs around it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::{database::Database, on};
use tributary_bus::{
    Address, Bus, Claim, EmbeddedBus, Envelope, EventId, Group, Handler, Intake, Lane, LaneSpec,
    Lease, Outcome, Work,
    message::{Content, Inbound, MessageStatus},
};
use tributary_config::{Settings, load_text};

use super::super::DeliveryHandler;
use crate::{
    Account, Capabilities, Connector, InboundSink, Ledger, NoMedia, Pace, Part, Receipt,
    SendContext, SendError, TextLimit,
    health::Health,
    media::AccountMedia,
    registry::OnUncertain,
    testing::{Kind, PATIENCE, database},
};

/// Number of the part, its text, and what it answers.
pub(super) type Call = (u32, String, Option<String>);

/// A provider with a list of answers; without one left it takes everything.
pub(super) struct Provider {
    pub(super) capabilities: Capabilities,
    pub(super) answers: Mutex<VecDeque<Result<(), SendError>>>,
    /// Everything that reached it.
    pub(super) calls: Mutex<Vec<Call>>,
    pub(super) keys: Mutex<Vec<String>>,
    pub(super) hangs: AtomicUsize,
    pub(super) slow: Mutex<Option<Duration>>,
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
        let answer = lock(&self.answers).pop_front();
        answer.unwrap_or(Ok(())).map(|()| Receipt {
            provider_id: format!("id-{number}"),
        })
    }

    fn pace(&self) -> Option<&dyn Pace> {
        Some(self)
    }
}

impl Pace for Provider {
    fn recipient(&self, _to: &Address) -> Result<(), Duration> {
        lock(&self.slow).take().map_or(Ok(()), Err)
    }

    fn account(&self) -> Result<(), Duration> {
        Ok(())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct World {
    pub(super) provider: Arc<Provider>,
    pub(super) handler: DeliveryHandler,
    pub(super) proven: watch::Sender<Option<Instant>>,
    pub(super) lease: Lease,
    pub(super) bus: Arc<EmbeddedBus>,
    database: Database,
    intake: Box<dyn Intake>,
    _claim: Box<dyn Claim>,
    _stop: DropGuard,
    _dir: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(OnUncertain::Resend, false).await
    }

    pub(super) async fn with(on_uncertain: OnUncertain, idempotent: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let settings = settings();
        let bus = EmbeddedBus::open(&dir.path().join("bus.db"))
            .await
            .expect("a bus");
        let lane = Lane::Inbound(0);
        let spec = LaneSpec {
            lane: lane.clone(),
            filter: None,
        };
        bus.declare(&[spec]).await.expect("a lane");
        let member = bus.join(&Group::Router).await.expect("a member");
        let mut claim = member
            .claim(&lane)
            .await
            .expect("a claim")
            .expect("nobody else claims it");
        let intake = claim.take(1000).await.expect("an intake");
        let provider = Arc::new(Provider {
            capabilities: Capabilities {
                idempotent,
                ..Capabilities::text_only(TextLimit::Characters(20))
            },
            answers: Mutex::default(),
            calls: Mutex::default(),
            keys: Mutex::default(),
            hangs: AtomicUsize::new(0),
            slow: Mutex::default(),
        });
        let database = database(Kind::Sqlite, &dir).await;
        let stop = CancellationToken::new();
        let ledger = Ledger::start(database.clone(), &settings, stop.clone())
            .await
            .expect("a ledger");
        let channel = settings.channels["shop"].clone();
        let anybody: Arc<dyn Bus> = Arc::clone(&bus) as Arc<dyn Bus>;
        let account = Account {
            connector: Arc::clone(&provider) as Arc<dyn Connector>,
            sink: InboundSink::new(anybody, &channel, &settings),
            channel,
            on_uncertain,
            media: AccountMedia {
                access: Arc::new(NoMedia),
                fetcher: None,
            },
            health: Health::default(),
        };
        let (proven, watched) = watch::channel(Some(Instant::now()));
        let deadline = settings.delivery.send_deadline;
        Self {
            provider,
            handler: DeliveryHandler::new(Arc::new(account), Arc::new(ledger), deadline),
            lease: Lease::new(watched, Duration::from_secs(600)),
            proven,
            bus,
            database,
            intake,
            _claim: claim,
            _stop: stop.drop_guard(),
            _dir: dir,
        }
    }

    pub(super) fn answers(&self, answers: impl IntoIterator<Item = SendError>) {
        lock(&self.provider.answers).extend(answers.into_iter().map(Err));
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
                Outcome::Retry { .. } | Outcome::Pause { .. } => {}
                Outcome::Dead { reason } => panic!("dead: {reason}"),
            }
        }
        panic!("never done");
    }

    pub(super) async fn event(&mut self) -> (EventId, Inbound) {
        let taken = timeout(PATIENCE, self.intake.next())
            .await
            .expect("an event in time")
            .expect("an open lane");
        self.intake.settle(&[taken.tag]).await.expect("settled");
        let envelope = taken.envelope.expect("an envelope");
        let event = Inbound::from_envelope(&envelope).expect("a known event");
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

    pub(super) async fn is_quiet(&self) -> bool {
        let depth = self.bus.depth(&Lane::Inbound(0)).await;
        depth.expect("a depth") == 0
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
    let text = "[demo]\nenabled = false\n[bus]\ninbound_lanes = 1\n[delivery]\nsend_deadline = '200ms'\n\
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
