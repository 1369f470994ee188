//! Queues that are lost with what was in them, and a database that takes no writes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::json;
use sqlx::Executor as _;
use tributary_bus::{AmqpBus, Bus as _, BusState, EndpointId, Lane};
use tributary_config::{Secret, load_text};
use tributary_simulators::{
    endpoint::{Endpoint, EndpointAction, EventMatch},
    script::Times,
    telegram::{Options, TelegramSimulator},
};

use crate::{
    fleet::Fleet,
    support::{Demo, PrivateServer, Spawn, Visitor, eventually, fetch, within},
};

const VISITORS: usize = 3;
const EACH: usize = 40;

/// The queue of an endpoint is deleted while it is full and messages flow: every event arrives all the same, in order.
#[tokio::test]
async fn an_endpoint_whose_queue_is_deleted_under_load_misses_nothing() {
    let telegram = TelegramSimulator::start(Options::quick())
        .await
        .expect("simulator");
    let fleet = Fleet::start(&telegram, 1).await;
    let endpoint = Endpoint::start().await.expect("simulator");
    let made = fleet
        .api
        .post(
            "/v1/endpoints",
            json!({"url": endpoint.url(), "events": ["*"]}),
        )
        .await;
    endpoint
        .set_secret(made["secret"].as_str().expect("a secret"))
        .expect("a secret");
    let id: uuid::Uuid = made["id"].as_str().expect("an id").parse().expect("a UUID");
    let lane = Lane::Endpoint(EndpointId(id));

    let told = || async {
        let ids: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT id FROM events")
            .fetch_all(&fleet.database.pool)
            .await
            .ok()?;
        Some(
            ids.into_iter()
                .map(|id| id.to_string())
                .collect::<BTreeSet<_>>(),
        )
    };
    // What was published before the endpoint was there (a channel that works, say) is not for it.
    let earlier = told().await.expect("the events");

    let ingresses = Arc::new(fleet.ingresses());
    let visitors: Vec<_> = (0..VISITORS)
        .map(|n| {
            let ingresses = Arc::clone(&ingresses);
            tokio::spawn(async move {
                let mut visitor = Visitor::new(&ingresses, "chat", n);
                for message in 0..EACH {
                    visitor.say(&format!("{n}-{message:03}")).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        })
        .collect();
    endpoint
        .wait_for_events(10, Duration::from_secs(60))
        .await
        .expect("some events");
    // It is down, so that its lane fills; then the lane is lost.
    endpoint.misbehave(
        EventMatch::any(),
        Times::Always,
        EndpointAction::status(503),
    );
    let settings = load_text("test", "", &[]).expect("defaults");
    let bus = AmqpBus::connect(&tributary_config::Bus {
        url: Secret::new(fleet.rabbitmq.url.clone()),
        ..settings.bus.clone()
    });
    let mut state = bus.state();
    state
        .wait_for(|state| *state == BusState::Ready)
        .await
        .expect("the bus lives");
    eventually("its lane fills", || async {
        (bus.depth(&lane).await.ok()? >= 10).then_some(())
    })
    .await;
    bus.remove(&lane).await.expect("the queue is deleted");
    endpoint.behave();
    for visitor in visitors {
        visitor.await.expect("a visitor");
    }
    bus.close().await;

    within(Duration::from_secs(90), "every event arrived", || async {
        let messages: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM messages")
            .fetch_one(&fleet.database.pool)
            .await
            .ok()?;
        let told = told().await?;
        let arrived: BTreeSet<String> = endpoint
            .events()
            .iter()
            .map(|event| event.webhook_id.clone())
            .collect();
        let missing = told
            .difference(&arrived)
            .filter(|id| !earlier.contains(*id))
            .count();
        (messages == (VISITORS * EACH) as i64 && missing == 0).then_some(())
    })
    .await;
    endpoint.assert_ordered().expect("in order");
    fleet.assert_quiet().await;
    fleet.terminate().await;
}

/// A database that takes no writes: not ready, and the log stays readable.
#[tokio::test]
async fn a_read_only_database_is_not_ready_and_floods_no_log() {
    let postgres = PrivateServer::postgres();
    let demo = Demo::start(Spawn::default().set("TRIBUTARY_STORE__URL", &postgres.url)).await;
    let pool = sqlx::PgPool::connect(&postgres.url).await.expect("a pool");
    let mut visitor = Visitor::arrive(&demo.ingress, "demo").await;
    visitor.say("before").await;
    let only_reading = |only: &'static str| {
        let pool = pool.clone();
        async move {
            let set = format!("ALTER SYSTEM SET default_transaction_read_only = {only}");
            let mut connection = pool.acquire().await.expect("a connection");
            connection
                .execute(sqlx::AssertSqlSafe(set))
                .await
                .expect("it is set");
            connection
                .execute("SELECT pg_reload_conf()")
                .await
                .expect("it is read");
        }
    };
    only_reading("on").await;
    let ready = format!("{}/readyz", demo.operations);
    let text = eventually("not ready", || async {
        let (status, text) = fetch(&ready).await?;
        (status == 503).then_some(text)
    })
    .await;
    assert!(text.contains("read-only"), "{text}");
    // What people write meanwhile is kept on the bus, and tried again and again.
    for n in 0..5 {
        let text = format!("meanwhile {n}");
        let said = visitor.say(&text);
        drop(tokio::time::timeout(Duration::from_millis(500), said).await);
    }
    let warnings = || {
        let output = demo.program.output();
        output.iter().filter(|line| line.contains("WARN")).count()
    };
    let before = warnings();
    let window = Duration::from_secs(8);
    tokio::time::sleep(window).await;
    let written = warnings() - before;
    assert!(written < 100, "{written} warnings in {window:?}");

    only_reading("off").await;
    eventually("ready again", || async {
        (fetch(&ready).await?.0 == 200).then_some(())
    })
    .await;
    visitor.say("after").await;
    let conversation = demo.conversation().await;
    eventually("what was said is stored", || async {
        let path = format!("/v1/conversations/{conversation}/messages");
        let messages = demo.api.list(&path).await;
        messages
            .iter()
            .any(|message| message.to_string().contains("after"))
            .then_some(())
    })
    .await;
}
