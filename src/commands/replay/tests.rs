//! Replay on an embedded store and bus, with a parser that reads one more kind than it used to.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::Map;
use tempfile::TempDir;
use tributary_base::{database::Database, on};
use tributary_bus::{
    Address, Claim, EmbeddedBus, Group, Intake, Lane, LaneSpec, MessageId,
    message::{
        ContactLeft, LeaveReason, Media, MediaContent, MessageContext, MessageReceived, Origin,
        Profile, SentBy,
    },
};
use tributary_config::load_text;
use tributary_connectors::ReceiveError;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Reads `text <id> <words>`, `place <id>` and `left`.
struct Parser;

#[async_trait::async_trait]
impl Replay for Parser {
    fn read(&self, raw: &Raw) -> Result<Vec<Inbound>, ReceiveError> {
        let mut words = raw.body.splitn(3, ' ');
        let (kind, id) = (words.next().unwrap_or_default(), words.next());
        let content = match (kind, words.next()) {
            ("text", Some(text)) => Content::text(text),
            ("place", None) => Content::unsupported("place, read better"),
            ("image", None) => image(id.unwrap_or_default(), MediaState::Pending),
            ("left", None) => {
                return Ok(vec![Inbound::Left(ContactLeft {
                    origin: origin(),
                    reason: LeaveReason::Blocked,
                    extra: Map::new(),
                })]);
            }
            _ => return Err(ReceiveError::Malformed("no such kind".to_owned())),
        };
        Ok(vec![Inbound::Received(Box::new(message(
            id.unwrap_or_default(),
            content,
        )))])
    }
}

fn image(source: &str, state: MediaState) -> Content {
    Content::Image(MediaContent {
        media: Media {
            state,
            source: Some(source.to_owned()),
            ..Media::default()
        },
        ..MediaContent::default()
    })
}

fn origin() -> Origin {
    Origin {
        channel_id: ChannelId::from("shop"),
        address: Address::from("7"),
        occurred_at: DateTime::UNIX_EPOCH,
        event: None,
        raw: None,
    }
}

fn message(id: &str, content: Content) -> MessageReceived {
    MessageReceived {
        origin: origin(),
        message_id: MessageId::derived(&ChannelId::from("shop"), id),
        provider_id: id.to_owned(),
        contact: Profile::default(),
        content,
        reply_to: None,
        sent_by: SentBy::Contact,
        context: MessageContext::default(),
        replayed: false,
        extra: Map::new(),
    }
}

struct World {
    database: Database,
    store: Store,
    sink: InboundSink,
    intake: Box<dyn Intake>,
    now: DateTime<Utc>,
    _claim: Box<dyn Claim>,
    settings: Settings,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let text = "[demo]\nenabled = false\n[bus]\ninbound_lanes = 1\n[organizations.acme]\nname = 'Acme'\n\
                    [channels.shop]\nkind = 'widget'\n";
        let settings = load_text("test", text, &[]).expect("right settings");
        let database = Database::sqlite(&dir.path().join("store.db"))
            .await
            .expect("a database");
        let store = Store::new(database.clone(), PATIENCE);
        store.migrate().await.expect("the schema fits");
        store.sync_config(&settings).await.expect("the config fits");
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
        let claim = member.claim(&lane).await.expect("a claim");
        let mut claim = claim.expect("nobody else claims it");
        let intake = claim.take(1000).await.expect("an intake");
        let bus: Arc<dyn Bus> = bus;
        let sink = InboundSink::new(bus, &settings.channels["shop"], &settings);
        Self {
            database,
            store,
            sink,
            intake,
            now: Utc::now(),
            _claim: claim,
            settings,
            dir,
        }
    }

    /// A payload that was received so many minutes ago.
    async fn payload(&self, minutes: i64, body: &str) {
        let (id, at) = (uuid::Uuid::now_v7(), self.now - TimeDelta::minutes(minutes));
        on!(write &self.database, db => {
            sqlx::query(
                "INSERT INTO raw_payloads (event_id, organization, channel_id, received_at, media_type, body) \
                 VALUES ($1, 'acme', 'shop', $2, 'text/plain', $3)",
            )
            .bind(id)
            .bind(at)
            .bind(body)
            .execute(db)
            .await
            .map(drop)
        })
        .expect("a payload");
    }

    /// What is stored of a message.
    async fn stored(&self, id: &str, content: &Content) {
        let message = MessageId::derived(&ChannelId::from("shop"), id);
        let content = serde_json::to_string(content).expect("JSON");
        let contact = uuid::Uuid::now_v7();
        on!(write &self.database, db => {
            async {
                let db = db.clone();
                sqlx::query(
                    "INSERT INTO contacts (id, organization, channel_id, address, blocked, created_at) \
                     VALUES ($1, 'acme', 'shop', $2, false, '2026-03-01 12:00:00+00:00')",
                )
                .bind(contact)
                .bind(id)
                .execute(&db)
                .await?;
                sqlx::query(
                    "INSERT INTO conversations (id, organization, channel_id, contact_id, shard, state, seq, queued, \
                     created_at, updated_at) VALUES ($1, 'acme', 'shop', $1, 0, 'waiting', 1, false, \
                     '2026-03-01 12:00:00+00:00', '2026-03-01 12:00:00+00:00')",
                )
                .bind(contact)
                .execute(&db)
                .await?;
                sqlx::query(
                    "INSERT INTO messages (id, organization, conversation_id, channel_id, contact_id, seq, direction, \
                     author, content, status, uncertain, created_at) VALUES ($1, 'acme', $2, 'shop', $2, 1, 'inbound', \
                     '{}', $3, 'received', false, '2026-03-01 12:00:00+00:00')",
                )
                .bind(message)
                .bind(contact)
                .bind(content)
                .execute(&db)
                .await
                .map(drop)
            }
            .await
        })
        .expect("a message");
    }

    async fn run(&self, since_minutes: i64, sink: Option<InboundSink>) -> Counts {
        let again = Again {
            store: self.store.clone(),
            parser: &Parser,
            organization: OrganizationId::from("acme"),
            channel: ChannelId::from("shop"),
            sink,
            until: self.now,
        };
        let mut counts = Counts::default();
        let since = self.now - TimeDelta::minutes(since_minutes);
        again.run(since, &mut counts).await.expect("a run");
        counts
    }

    async fn next(&mut self) -> MessageReceived {
        let taken = tokio::time::timeout(PATIENCE, self.intake.next())
            .await
            .expect("a message in time")
            .expect("an open lane");
        let envelope = taken.envelope.expect("an envelope");
        match Inbound::from_envelope(&envelope).expect("a known event") {
            Inbound::Received(message) => *message,
            other => panic!("not a message: {other:?}"),
        }
    }
}

/// One of each kind, and one from before.
async fn filled() -> World {
    let world = World::new().await;
    world.payload(90, "text 0 too old").await;
    for (minutes, body) in [
        (50, "text 1 hello"),
        (40, "place 2"),
        // Stored twice, since it led to two events.
        (40, "place 2"),
        (30, "left"),
        (20, "text 3 was lost"),
        (10, "nonsense"),
    ] {
        world.payload(minutes, body).await;
    }
    world.stored("1", &Content::text("hello")).await;
    world.stored("2", &Content::unsupported("place")).await;
    world
}

fn expected(published: u64) -> Counts {
    let unsupported = "unsupported".to_owned();
    Counts {
        payloads: 6,
        unreadable: 1,
        same: 1,
        changed: BTreeMap::from([((unsupported.clone(), unsupported), 1)]),
        new: BTreeMap::from([("text".to_owned(), 1)]),
        others: 1,
        unknown: BTreeMap::from([("contact.left", 1)]),
        published,
    }
}

#[tokio::test]
async fn a_dry_run_counts_and_publishes_nothing() {
    let world = filled().await;
    let counts = world.run(60, None).await;
    assert_eq!(counts, expected(0));
    let text = describe(&counts, true);
    for line in [
        "6 payloads read, 1 unreadable",
        "1 messages would be read differently",
        "1  unsupported -> unsupported",
        "1  contact.left",
        "nothing was published",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn messages_are_published_as_replayed_and_nothing_else() {
    let mut world = filled().await;
    let counts = world.run(60, Some(world.sink.clone())).await;
    assert_eq!(counts, expected(2));
    for id in ["2", "3"] {
        let message = world.next().await;
        let derived = MessageId::derived(&ChannelId::from("shop"), id);
        assert_eq!((message.message_id, message.replayed), (derived, true));
    }
}

#[tokio::test]
async fn media_that_is_read_now_is_fetched_and_no_other() {
    let mut world = World::new().await;
    for (minutes, id) in [(30, "new"), (20, "here"), (10, "stuck")] {
        world.payload(minutes, &format!("image {id}")).await;
    }
    world.stored("new", &Content::unsupported("image")).await;
    world
        .stored("here", &image("here", MediaState::Ready))
        .await;
    let stuck = image("stuck", MediaState::Pending);
    world.stored("stuck", &stuck).await;
    let file = world.dir.path().join("connectors.db");
    let database = Database::sqlite(&file).await.expect("a database");
    let connectors = ConnectorStore::new(database.clone());
    connectors.migrate().await.expect("the schema fits");
    let queue = FetchQueue::new(database.clone(), &world.settings.channels["shop"]);
    let sink = world.sink.clone().with_fetches(Some(queue));
    let counts = world.run(60, Some(sink)).await;
    assert_eq!((counts.same, counts.published), (2, 2));
    for id in ["new", "stuck"] {
        assert_eq!(world.next().await.provider_id, id);
    }
    let due: Vec<String> = on!(read &database, db => {
        sqlx::query_scalar("SELECT source FROM media_fetches WHERE due_at <= $1 ORDER BY source")
            .bind(Utc::now())
            .fetch_all(db)
            .await
    })
    .expect("read");
    assert_eq!(due, ["new", "stuck"]);
}

#[tokio::test]
async fn every_page_is_read_once() {
    let world = World::new().await;
    // More than a page at one and the same moment.
    for number in 0..450 {
        world.payload(5, &format!("text {number} hello")).await;
    }
    let counts = world.run(60, None).await;
    assert_eq!(counts.payloads, 450);
    assert_eq!(counts.new, BTreeMap::from([("text".to_owned(), 450)]));
}

#[test]
fn since_is_a_moment_or_a_duration() {
    let now: DateTime<Utc> = "2026-03-02T12:00:00Z".parse().expect("a time");
    for (text, expected) in [
        ("2h", "2026-03-02T10:00:00Z"),
        (" 1day ", "2026-03-01T12:00:00Z"),
        ("2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00Z"),
    ] {
        let expected: DateTime<Utc> = expected.parse().expect("a time");
        assert_eq!(since(text, now).expect(text), expected);
    }
    for text in ["", "yesterday", "2026-03-01", "999999999999days"] {
        assert!(since(text, now).is_err(), "{text}");
    }
}
