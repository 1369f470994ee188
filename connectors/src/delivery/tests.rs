//! Deliveries with a provider that does what it is told.

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
use serde_json::{Map, json};
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_base::{database::Database, on};
use tributary_bus::{
    Address, Bus, ChannelId, Claim, ConversationId, EmbeddedBus, Envelope, EventId, Group, Handler,
    Intake, Lane, LaneSpec, Lease, MessageId, OrganizationId, Outcome, Payload, Work,
    message::{Content, DeliverySend, DeliveryTyping, FailureCode, Inbound, MessageStatus, Status},
};
use tributary_config::{Settings, load_text};

use super::DeliveryHandler;
use crate::{
    Account, Capabilities, Connector, InboundSink, Ledger, Pace, Part, Receipt, Scope, SendContext,
    SendError, TextLimit,
    health::Health,
    registry::OnUncertain,
    testing::{Kind, PATIENCE, database},
};

/// Number of the part, its text, and what it answers.
type Call = (u32, String, Option<String>);

/// A provider with a list of answers; without one left it takes everything.
struct Provider {
    capabilities: Capabilities,
    answers: Mutex<VecDeque<Result<(), SendError>>>,
    /// Everything that reached it.
    calls: Mutex<Vec<Call>>,
    keys: Mutex<Vec<String>>,
    hangs: AtomicUsize,
    slow: Mutex<Option<Duration>>,
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct World {
    provider: Arc<Provider>,
    handler: DeliveryHandler,
    proven: watch::Sender<Option<Instant>>,
    lease: Lease,
    bus: Arc<EmbeddedBus>,
    database: Database,
    intake: Box<dyn Intake>,
    _claim: Box<dyn Claim>,
    _stop: DropGuard,
    _dir: TempDir,
}

impl World {
    async fn new() -> Self {
        Self::with(OnUncertain::Resend, false).await
    }

    async fn with(on_uncertain: OnUncertain, idempotent: bool) -> Self {
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
                text: TextLimit::Characters(20),
                idempotent,
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

    fn answers(&self, answers: impl IntoIterator<Item = SendError>) {
        lock(&self.provider.answers).extend(answers.into_iter().map(Err));
    }

    fn calls(&self) -> usize {
        lock(&self.provider.calls).len()
    }

    async fn handle(&self, envelope: &Envelope, attempt: u32) -> Outcome {
        let work = work(envelope, attempt);
        let mut outcomes = self.handler.handle(vec![work], &self.lease).await;
        outcomes.pop().expect("an outcome")
    }

    /// Handles until it is no `Retry`; answers how many tries it took.
    async fn finish(&self, envelope: &Envelope) -> u32 {
        for attempt in 1..20 {
            match self.handle(envelope, attempt).await {
                Outcome::Done => return attempt,
                Outcome::Retry { .. } | Outcome::Pause { .. } => {}
                Outcome::Dead { reason } => panic!("dead: {reason}"),
            }
        }
        panic!("never done");
    }

    async fn event(&mut self) -> (EventId, Inbound) {
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
    async fn news(&mut self) -> (EventId, Inbound) {
        loop {
            let event = self.event().await;
            if !matches!(event.1, Inbound::Health(_)) {
                return event;
            }
        }
    }

    async fn status(&mut self) -> MessageStatus {
        match self.news().await.1 {
            Inbound::Status(status) => status,
            other => panic!("not a status: {other:?}"),
        }
    }

    async fn is_quiet(&self) -> bool {
        let depth = self.bus.depth(&Lane::Inbound(0)).await;
        depth.expect("a depth") == 0
    }

    /// As if the worker had been killed in the middle of the provider call, long ago.
    async fn vanish(&self) {
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

fn delivery(content: Content) -> DeliverySend {
    DeliverySend {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from("shop"),
        to: Address::from("5550001111"),
        seq: 7,
        message_id: MessageId::generate(),
        content,
        reply_to: Some("5550001111:66".to_owned()),
        created_at: Utc::now(),
        extra: Map::new(),
    }
}

fn envelope(delivery: &DeliverySend) -> Envelope {
    Envelope::wrap(
        delivery.message_id.into(),
        "/router".to_owned(),
        OrganizationId::from("acme"),
        None,
        delivery,
    )
    .expect("an envelope")
}

fn text(text: &str) -> Envelope {
    envelope(&delivery(Content::text(text)))
}

fn work(envelope: &Envelope, attempt: u32) -> Work {
    Work {
        envelope: envelope.clone(),
        attempt,
        age: Duration::ZERO,
        redeliveries: attempt.saturating_sub(1),
    }
}

fn uncertain() -> SendError {
    SendError::Uncertain {
        reason: "connection lost".to_owned(),
    }
}

fn unavailable() -> SendError {
    SendError::Unavailable {
        reason: "connection refused".to_owned(),
    }
}

#[tokio::test]
async fn a_delivery_is_sent_and_told_once() {
    let mut world = World::new().await;
    let envelope = text("hello");
    assert_eq!(world.handle(&envelope, 1).await, Outcome::Done);
    let (id, first) = world.news().await;
    let Inbound::Status(status) = &first else {
        panic!("not a status");
    };
    assert_eq!(status.status, Status::Sent);
    assert_eq!(status.provider_ids, ["id-1"]);
    assert!(!status.uncertain && status.failure.is_none() && status.degraded.is_empty());
    assert_eq!(status.origin.address, Address::from("5550001111"));
    // Redelivered: nothing is sent, the same news has the same id.
    assert_eq!(world.handle(&envelope, 2).await, Outcome::Done);
    assert_eq!(world.news().await, (id, first));
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_long_text_goes_in_parts_and_goes_on_where_it_stopped() {
    let mut world = World::new().await;
    let envelope = text("The first sentence. The second sentence.");
    // The second part fails once.
    lock(&world.provider.answers).extend([Ok(()), Err(unavailable())]);
    assert_eq!(world.finish(&envelope).await, 2);
    let calls = lock(&world.provider.calls).clone();
    let seen: Vec<(u32, &str, bool)> = calls
        .iter()
        .map(|(part, text, reply)| (*part, text.as_str(), reply.is_some()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, "The first sentence.", true),
            (1, "The second sentence.", false),
            (1, "The second sentence.", false),
        ]
    );
    let status = world.status().await;
    assert_eq!(status.provider_ids, ["id-1", "id-3"]);
    assert_eq!(status.degraded, ["text split into 2 parts"]);
}

#[tokio::test]
async fn every_end_is_told() {
    let mut world = World::new().await;
    let code = "400".to_owned();
    let reason = "too long".to_owned();
    world.answers([SendError::Rejected { code, reason }]);
    assert_eq!(world.handle(&text("hello"), 1).await, Outcome::Done);
    let status = world.status().await;
    assert_eq!(status.status, Status::Failed);
    let failure = status.failure.expect("a failure");
    assert_eq!(failure.code, FailureCode::Rejected);
    assert_eq!(failure.reason, "too long (400)");

    for content in [
        Content::unsupported("sticker"),
        Content::Other(Map::from_iter([("type".to_owned(), json!("carousel"))])),
        Content::text("   "),
    ] {
        let envelope = envelope(&delivery(content));
        assert_eq!(world.handle(&envelope, 1).await, Outcome::Done);
        let status = world.status().await;
        let code = status.failure.map(|failure| failure.code);
        assert_eq!(
            (status.status, code),
            (Status::Failed, Some(FailureCode::Rejected))
        );
    }
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn who_cannot_be_reached_has_left() {
    let mut world = World::new().await;
    let code = "403".to_owned();
    let reason = "bot was blocked by the user".to_owned();
    world.answers([SendError::Unreachable { code, reason }]);
    let envelope = text("hello");
    let mut told = Vec::new();
    for attempt in 1..3 {
        assert_eq!(world.handle(&envelope, attempt).await, Outcome::Done);
        told.push((world.news().await, world.news().await));
    }
    let ((_, status), (_, left)) = &told[0];
    assert!(
        matches!(status, Inbound::Status(MessageStatus { status: Status::Failed, failure: Some(failure), .. })
            if failure.code == FailureCode::Unreachable)
    );
    assert!(matches!(left, Inbound::Left(_)));
    assert_eq!(told[0], told[1], "the same news with the same ids");
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn rate_limits_hold_up_whom_they_concern() {
    let world = World::new().await;
    let retry_after = Some(Duration::from_secs(7));
    for scope in [Scope::Recipient, Scope::Account] {
        world.answers([SendError::RateLimited { retry_after, scope }]);
    }
    let envelope = text("hello");
    let first = world.handle(&envelope, 1).await;
    assert!(matches!(first, Outcome::Retry { after, .. } if after == retry_after));
    let second = world.handle(&envelope, 2).await;
    assert!(matches!(second, Outcome::Pause { after, .. } if after == retry_after));
    assert_eq!(world.handle(&envelope, 3).await, Outcome::Done);
    // Our own limit: a short wait is waited for in place, a long one makes room.
    *lock(&world.provider.slow) = Some(Duration::from_millis(5));
    assert_eq!(world.handle(&text("in place"), 1).await, Outcome::Done);
    let long = Duration::from_secs(30);
    *lock(&world.provider.slow) = Some(long);
    let waits = world.handle(&text("later"), 1).await;
    assert!(matches!(waits, Outcome::Retry { after: Some(after), .. } if after == long));
}

#[tokio::test]
async fn an_uncertain_send_is_repeated_and_says_so() {
    let mut world = World::new().await;
    world.answers([uncertain()]);
    assert_eq!(world.finish(&text("hello")).await, 2);
    let status = world.status().await;
    assert_eq!((status.status, status.uncertain), (Status::Sent, true));
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn an_uncertain_send_is_held_where_wanted() {
    let mut world = World::with(OnUncertain::Hold, false).await;
    world.answers([uncertain()]);
    let envelope = text("hello");
    for attempt in 1..3 {
        assert_eq!(world.handle(&envelope, attempt).await, Outcome::Done);
        let status = world.status().await;
        assert_eq!((status.status, status.uncertain), (Status::Failed, true));
        let code = status.failure.map(|failure| failure.code);
        assert_eq!(code, Some(FailureCode::Uncertain));
    }
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_provider_that_recognises_repetitions_leaves_no_doubt() {
    let mut world = World::with(OnUncertain::Hold, true).await;
    world.answers([uncertain()]);
    assert_eq!(world.finish(&text("hello")).await, 2);
    let status = world.status().await;
    assert_eq!((status.status, status.uncertain), (Status::Sent, false));
    let keys = lock(&world.provider.keys).clone();
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_send_of_an_earlier_life_is_uncertain() {
    for (on_uncertain, idempotent, expected) in [
        (OnUncertain::Resend, false, (Status::Sent, true, 2)),
        (OnUncertain::Hold, false, (Status::Failed, true, 1)),
        (OnUncertain::Hold, true, (Status::Sent, false, 2)),
    ] {
        let mut world = World::with(on_uncertain, idempotent).await;
        let envelope = text("hello");
        world.handle(&envelope, 1).await;
        world.status().await;
        world.vanish().await;
        assert_eq!(world.handle(&envelope, 2).await, Outcome::Done);
        let status = world.status().await;
        assert_eq!((status.status, status.uncertain, world.calls()), expected);
    }
}

#[tokio::test]
async fn a_worker_without_a_fresh_lease_does_nothing() {
    let world = World::new().await;
    world.proven.send_replace(None);
    let outcome = world.handle(&text("hello"), 1).await;
    assert!(matches!(outcome, Outcome::Retry { .. }));
    assert_eq!(world.calls(), 0);
    assert!(world.is_quiet().await);
}

#[tokio::test]
async fn too_late_is_expired_for_good() {
    let mut world = World::new().await;
    let envelope = text("hello");
    let reason = || "older than 24h".to_owned();
    let outcome = world
        .handler
        .exhausted(work(&envelope, 1), reason(), &world.lease)
        .await;
    assert_eq!(outcome, Outcome::Done);
    let status = world.status().await;
    assert_eq!((status.status, status.uncertain), (Status::Expired, false));
    // Redelivered before it was settled: it is not sent after all.
    assert_eq!(world.handle(&envelope, 2).await, Outcome::Done);
    assert_eq!(world.status().await.status, Status::Expired);
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn what_was_sent_does_not_expire() {
    let mut world = World::new().await;
    let whole = text("hello");
    world.handle(&whole, 1).await;
    let half = text("The first sentence. The second sentence.");
    lock(&world.provider.answers).extend([Ok(()), Err(uncertain())]);
    world.handle(&half, 1).await;
    world.status().await;
    let reason = "50 tries".to_owned();
    for (envelope, expected) in [
        (whole, (Status::Sent, vec!["id-1"], false)),
        (half, (Status::Expired, vec!["id-2"], true)),
    ] {
        let outcome = world
            .handler
            .exhausted(work(&envelope, 50), reason.clone(), &world.lease)
            .await;
        assert_eq!(outcome, Outcome::Done);
        let status = world.status().await;
        let ids: Vec<&str> = status.provider_ids.iter().map(String::as_str).collect();
        assert_eq!((status.status, ids, status.uncertain), expected);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_dead() {
    let world = World::new().await;
    let mut unknown = text("hello");
    unknown.kind = "delivery.send.v9".to_owned();
    let mut broken = text("hello");
    broken.data = json!({"to": "5"});
    let mut of_others = text("hello");
    of_others.orgid = OrganizationId::from("other");
    let mut elsewhere = delivery(Content::text("hello"));
    elsewhere.channel_id = ChannelId::from("other");
    for envelope in [unknown, broken, of_others, envelope(&elsewhere)] {
        let outcome = world.handle(&envelope, 1).await;
        let Outcome::Dead { reason } = outcome else {
            panic!("not dead: {outcome:?}");
        };
        assert!(!reason.contains("hello"), "{reason}");
    }
    let typing = DeliveryTyping {
        conversation_id: ConversationId::generate(),
        channel_id: ChannelId::from("shop"),
        to: Address::from("5550001111"),
        seq: 8,
        extra: Map::new(),
    };
    let mut passed_over = text("hello");
    passed_over.kind = DeliveryTyping::TYPE.to_owned();
    passed_over.data = serde_json::to_value(typing).expect("JSON");
    assert_eq!(world.handle(&passed_over, 1).await, Outcome::Done);
    assert_eq!(world.calls(), 0);
    assert!(world.is_quiet().await);
}

#[tokio::test]
async fn a_status_that_was_not_published_is_published_later() {
    let world = World::new().await;
    world.bus.close().await;
    let envelope = text("hello");
    for attempt in 1..3 {
        let outcome = world.handle(&envelope, attempt).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    }
    assert_eq!(world.calls(), 1, "sent once, told later");
}

#[tokio::test]
async fn an_outage_pauses_the_account() {
    let mut world = World::new().await;
    world.answers((0..5).map(|_| unavailable()));
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        outcomes.push(world.handle(&text("hello"), 1).await);
    }
    let paused = |outcome: &&Outcome| matches!(outcome, Outcome::Pause { .. });
    assert_eq!(outcomes.iter().filter(paused).count(), 1, "{outcomes:?}");
    assert!(outcomes.last().as_ref().is_some_and(paused));
    assert_eq!(world.handle(&text("hello"), 1).await, Outcome::Done);
    assert_eq!(health(&mut world, 2).await, ["down", "ok"]);
}

#[tokio::test]
async fn a_person_is_called_once() {
    let mut world = World::new().await;
    let misconfigured = || SendError::Misconfigured {
        reason: "token rejected (401)".to_owned(),
    };
    world.answers([misconfigured(), misconfigured()]);
    let envelope = text("hello");
    for attempt in 1..3 {
        let outcome = world.handle(&envelope, attempt).await;
        assert!(matches!(outcome, Outcome::Pause { after: Some(_), .. }));
    }
    assert_eq!(world.handle(&envelope, 3).await, Outcome::Done);
    assert_eq!(health(&mut world, 2).await, ["misconfigured", "ok"]);
    assert_eq!(world.status().await.status, Status::Sent);
}

/// The next states that were told.
async fn health(world: &mut World, count: usize) -> Vec<String> {
    let mut states = Vec::new();
    while states.len() < count {
        if let Inbound::Health(health) = world.event().await.1 {
            states.push(health.state);
        }
    }
    states
}

#[tokio::test]
async fn a_connector_that_hangs_is_uncertain() {
    let mut world = World::new().await;
    world.provider.hangs.store(1, Ordering::SeqCst);
    assert_eq!(world.finish(&text("hello")).await, 2);
    assert!(world.status().await.uncertain);
}
