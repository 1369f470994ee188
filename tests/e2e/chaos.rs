//! Workers, the broker and the database are killed while messages flow; at the end nothing is lost, doubled or out of order.
//!
//! `CHAOS=full` runs 200 contacts, 5,000 messages in and 2,000 replies; otherwise a shorter version. `CHAOS_SEED` repeats a schedule.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{PgPool, Row as _};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tributary_simulators::{
    endpoint::Endpoint,
    telegram::{Options, TelegramSimulator},
};

use crate::{
    fleet::Fleet,
    support::{Api, Visitor, within},
};

/// How much is sent, and for how long things are killed.
#[derive(Debug, Clone, Copy)]
struct Size {
    contacts: usize,
    inbound: usize,
    replies: usize,
    /// Kills of workers, besides the restarts of broker and database.
    kills: usize,
}

const SHORT: Size = Size {
    contacts: 40,
    inbound: 800,
    replies: 320,
    kills: 10,
};
const FULL: Size = Size {
    contacts: 200,
    inbound: 5_000,
    replies: 2_000,
    kills: 40,
};

/// Telegram users are numbered from here; the rest are visitors of the widget.
const FIRST_USER: i64 = 7_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_loses_nothing_doubles_nothing_reorders_nothing() {
    let size = if std::env::var("CHAOS").is_ok_and(|size| size == "full") {
        FULL
    } else {
        SHORT
    };
    let seed = std::env::var("CHAOS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    println!("CHAOS_SEED={seed} {size:?}");
    let started = Instant::now();

    let telegram = Arc::new(
        TelegramSimulator::start(Options::quick())
            .await
            .expect("simulator"),
    );
    let endpoint = Endpoint::start().await.expect("simulator");
    let fleet = Fleet::start(&telegram, 2).await;
    let created = fleet
        .api
        .post(
            "/v1/endpoints",
            json!({"url": endpoint.url(), "events": ["*"]}),
        )
        .await;
    endpoint
        .set_secret(created["secret"].as_str().expect("a secret"))
        .expect("a valid secret");
    // What was published before the endpoint was there (a channel that works, say) is not for it.
    let earlier = ids(&fleet.database.pool, "SELECT id FROM events").await;
    let (pool, api, ingresses) = (
        fleet.database.pool.clone(),
        fleet.api.clone(),
        fleet.ingresses(),
    );

    let users = size.contacts / 2;
    let each = size.inbound / size.contacts;
    let writing = write_as_users(Arc::clone(&telegram), users, each);
    let visiting = write_as_visitors(ingresses.clone(), size.contacts - users, each, seed);
    let replying = reply(api, pool.clone(), size);
    let over = Arc::new(AtomicBool::new(false));
    let disturbing = tokio::spawn(disturb(fleet, size.kills, seed, Arc::clone(&over)));

    writing.await;
    let visitors = visiting.await;
    let replies = replying.await;
    over.store(true, Ordering::Relaxed);
    let (fleet, kills) = disturbing.await.expect("the schedule ends");
    println!(
        "sent everything after {:?}, {kills} kills",
        started.elapsed()
    );

    // What waits for its turn may take longer than lanes that are worked off.
    within(Duration::from_secs(180), "every reply is sent", || async {
        let waiting =
            "SELECT count(*) FROM messages WHERE direction = 'outbound' AND status = 'queued'";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&pool).await.ok()?;
        (waiting == 0).then_some(())
    })
    .await;
    fleet.assert_quiet().await;
    let said = check_inbound(&pool, users, &visitors, each).await;
    check_replies(&pool, &telegram, &replies, visitors).await;
    check_endpoint(&pool, &endpoint, &earlier).await;
    println!(
        "seed {seed}: {said} messages in, {} replies, all there, once, in order",
        size.replies
    );
    fleet.terminate().await;
}

/// Every user writes its messages in order.
async fn write_as_users(telegram: Arc<TelegramSimulator>, users: usize, each: usize) {
    for n in 0..each {
        for user in 0..users {
            telegram
                .user(FIRST_USER + user as i64)
                .says(&format!("in {n}"));
        }
        // The pace of the load.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Every visitor writes its messages in order, each after the ack of the one before.
async fn write_as_visitors(
    ingresses: Vec<String>,
    visitors: usize,
    each: usize,
    seed: u64,
) -> Vec<Visitor> {
    let mut tasks = JoinSet::new();
    for number in 0..visitors {
        let ingresses = ingresses.clone();
        tasks.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed ^ number as u64);
            let mut visitor = Visitor::new(&ingresses, "chat", number);
            for n in 0..each {
                visitor.say(&format!("in {n} of {number}")).await;
                tokio::time::sleep(Duration::from_millis(random.random_range(200..1_200))).await;
            }
            (number, visitor)
        });
    }
    let mut done = tasks.join_all().await;
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, visitor)| visitor).collect()
}

/// What was accepted by the API: texts by conversation, in order.
type Replies = BTreeMap<String, Vec<String>>;

/// Answers conversations as they appear, each in order, every request repeated with its key until it is accepted.
async fn reply(api: Api, pool: PgPool, size: Size) -> Replies {
    let each = size.replies / size.contacts;
    let mut started = BTreeSet::new();
    let mut tasks = JoinSet::new();
    let permits = Arc::new(Semaphore::new(16));
    let sent = Arc::new(AtomicUsize::new(0));
    let deadline = Instant::now() + Duration::from_secs(600);
    while started.len() < size.contacts {
        assert!(
            Instant::now() < deadline,
            "only {} conversations",
            started.len()
        );
        let rows = sqlx::query("SELECT id FROM conversations")
            .fetch_all(&pool)
            .await
            .unwrap_or_default();
        for row in rows {
            let id = row.get::<uuid::Uuid, _>(0).to_string();
            if started.insert(id.clone()) {
                let (api, permits, sent) = (api.clone(), Arc::clone(&permits), Arc::clone(&sent));
                tasks.spawn(async move {
                    let mut texts = Vec::new();
                    for n in 0..each {
                        let permit = permits.acquire().await.expect("never closed");
                        let text = format!("out {n} of {id}");
                        accept(&api, &id, &text).await;
                        drop(permit);
                        texts.push(text);
                        sent.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    (id, texts)
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tasks.join_all().await.into_iter().collect()
}

/// Repeats a send with one idempotency key until the API has accepted it.
async fn accept(api: &Api, conversation: &str, text: &str) {
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = json!({"content": {"type": "text", "text": text}});
    let key = uuid::Uuid::now_v7().to_string();
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        match api
            .call_with(Method::POST, &path, Some(body.clone()), Some(&key))
            .await
        {
            Some((status, _)) if status.is_success() => return,
            Some((status, problem)) => {
                assert!(
                    status.is_server_error() || status.as_u16() == 429,
                    "{status} {problem}"
                );
            }
            None => {}
        }
        assert!(Instant::now() < deadline, "the API accepts nothing");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Kills workers with -9 and starts them again; restarts the broker and the database once each, in the seed's order.
async fn disturb(
    mut fleet: Fleet,
    kills: usize,
    seed: u64,
    over: Arc<AtomicBool>,
) -> (Fleet, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let names: Vec<String> = fleet.slots.keys().cloned().collect();
    let broker = random.random_range(1..kills);
    let database = random.random_range(1..kills);
    let mut killed = 0;
    // The schedule is gone through once at least, and goes on while messages are sent.
    while killed < kills || !over.load(Ordering::Relaxed) {
        let name = &names[random.random_range(0..names.len())];
        let pause = Duration::from_millis(random.random_range(300..2_000));
        let down = Duration::from_millis(random.random_range(50..2_000));
        tokio::time::sleep(pause).await;
        if let Some(slot) = fleet.slots.get_mut(name) {
            slot.kill();
            tokio::time::sleep(down).await;
            slot.start();
        }
        killed += 1;
        for (at, server, what) in [
            (broker, &fleet.rabbitmq, "RabbitMQ"),
            (database, &fleet.postgres, "PostgreSQL"),
        ] {
            if killed == at {
                println!("kill {killed}: restarting {what}");
                tokio::task::block_in_place(|| {
                    server.kill();
                    server.start_again();
                });
            }
        }
    }
    (fleet, killed)
}

/// Invariants 1 and 3 for what customers wrote, and 2 for the store. Answers how many messages there are.
async fn check_inbound(pool: &PgPool, users: usize, visitors: &[Visitor], each: usize) -> usize {
    let rows = sqlx::query(
        "SELECT c.channel_id, c.address, m.content::jsonb->>'text' AS text, m.conversation_id, m.seq
         FROM messages m JOIN contacts c ON c.id = m.contact_id
         WHERE m.direction = 'inbound' ORDER BY m.conversation_id, m.seq",
    )
    .fetch_all(pool)
    .await
    .expect("messages");
    let mut by_contact: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in &rows {
        let contact = (
            row.get::<String, _>("channel_id"),
            row.get::<String, _>("address"),
        );
        by_contact.entry(contact).or_default().push(row.get("text"));
    }
    for user in 0..users {
        let address = (FIRST_USER + user as i64).to_string();
        let expected: Vec<String> = (0..each).map(|n| format!("in {n}")).collect();
        assert_eq!(
            by_contact[&("telegram".to_owned(), address)],
            expected,
            "user {user}"
        );
    }
    let chats: Vec<&Vec<String>> = by_contact
        .iter()
        .filter(|((channel, _), _)| channel == "chat")
        .map(|(_, texts)| texts)
        .collect();
    assert_eq!(chats.len(), visitors.len());
    for number in 0..visitors.len() {
        let expected: Vec<String> = (0..each).map(|n| format!("in {n} of {number}")).collect();
        assert!(chats.contains(&&expected), "visitor {number}: {chats:#?}");
    }
    rows.len()
}

/// Invariants 1 to 3 for what was answered: in the store, at the provider, and in front of the visitors.
async fn check_replies(
    pool: &PgPool,
    telegram: &TelegramSimulator,
    replies: &Replies,
    visitors: Vec<Visitor>,
) {
    let rows = sqlx::query(
        "SELECT m.conversation_id, c.channel_id, c.address, m.content::jsonb->>'text' AS text, m.status, m.uncertain
         FROM messages m JOIN contacts c ON c.id = m.contact_id
         WHERE m.direction = 'outbound' ORDER BY m.conversation_id, m.seq",
    )
    .fetch_all(pool)
    .await
    .expect("messages");
    let mut stored: Replies = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    let mut uncertain = HashSet::new();
    for row in &rows {
        let id = row.get::<uuid::Uuid, _>("conversation_id").to_string();
        let text = row.get::<String, _>("text");
        assert_ne!(
            row.get::<String, _>("status"),
            "queued",
            "{text} was never sent"
        );
        assert_ne!(row.get::<String, _>("status"), "failed", "{text} failed");
        if row.get::<bool, _>("uncertain") {
            uncertain.insert(text.clone());
        }
        addresses.insert(
            id.clone(),
            (
                row.get::<String, _>("channel_id"),
                row.get::<String, _>("address"),
            ),
        );
        stored.entry(id).or_default().push(text);
    }
    assert_eq!(
        &stored, replies,
        "the store holds each accepted reply once, in order"
    );

    for (id, (channel, address)) in &addresses {
        if channel != "telegram" {
            continue;
        }
        let chat: i64 = address.parse().expect("a chat id");
        let mut arrived: Vec<String> = Vec::new();
        for sent in telegram.sent_to(chat) {
            if arrived.last() == Some(&sent.text) {
                assert!(
                    uncertain.contains(&sent.text),
                    "{} was sent twice and not reported",
                    sent.text
                );
                continue;
            }
            arrived.push(sent.text.clone());
        }
        assert_eq!(arrived, replies[id], "what the provider took, in order");
    }
    println!("{} replies were reported uncertain", uncertain.len());

    let mut expected: Vec<&Vec<String>> = replies
        .iter()
        .filter(|(id, _)| addresses[*id].0 == "chat")
        .map(|(_, texts)| texts)
        .collect();
    for mut visitor in visitors {
        let each = expected.first().map_or(0, |texts| texts.len());
        visitor
            .until("every answer", |history| count_answers(history) >= each)
            .await;
        let answers = visitor.answers();
        let at = expected.iter().position(|texts| **texts == answers);
        let at = at.unwrap_or_else(|| panic!("a visitor sees {answers:#?}"));
        expected.remove(at);
    }
    assert!(expected.is_empty(), "nobody saw {expected:#?}");
}

fn count_answers(history: &BTreeMap<i64, Value>) -> usize {
    history
        .values()
        .filter(|event| event["from"] == "agent")
        .count()
}

/// Invariants 1 to 3 for what integrators are told: every event of the feed, each message once, in the order of the
/// conversation.
async fn check_endpoint(pool: &PgPool, endpoint: &Endpoint, earlier: &BTreeSet<String>) {
    let messages = ids(pool, "SELECT id FROM messages").await;
    let events = ids(pool, "SELECT id FROM events").await;
    let events: BTreeSet<String> = events.difference(earlier).cloned().collect();
    let told = || -> BTreeSet<String> {
        let events = endpoint.events();
        let told = events.iter().map(|event| event.webhook_id.clone());
        told.filter(|id| !earlier.contains(id)).collect()
    };
    within(
        Duration::from_secs(120),
        "the endpoint was told of every event",
        || async { told().is_superset(&events).then_some(()) },
    )
    .await;
    assert_eq!(told(), events, "the feed and the endpoint tell the same");
    let mut created = BTreeMap::new();
    for event in endpoint.events() {
        if event.event_type() == "message.created.v1" {
            let id = event.data()["message"]["id"].as_str().map(str::to_owned);
            created
                .entry(id.unwrap_or_default())
                .or_insert_with(BTreeSet::new)
                .insert(event.webhook_id.clone());
        }
    }
    assert_eq!(created.keys().cloned().collect::<BTreeSet<_>>(), messages);
    assert!(
        created.values().all(|events| events.len() == 1),
        "one event a message"
    );
    println!("the endpoint was told of {} events", events.len());
    endpoint
        .assert_ordered()
        .expect("in order per conversation");
}

async fn ids(pool: &PgPool, query: &'static str) -> BTreeSet<String> {
    let ids: Vec<uuid::Uuid> = sqlx::query_scalar(query)
        .fetch_all(pool)
        .await
        .expect("ids");
    ids.iter().map(uuid::Uuid::to_string).collect()
}
