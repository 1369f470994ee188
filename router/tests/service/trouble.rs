//! When something of ours is away, slow or about to stop.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Method, header};
use serde_json::json;
use tributary_base::database::Tx;
use tributary_bus::Bus;
use tributary_router::api::Rate;

use crate::support::{Kind, World, send};

#[tokio::test]
async fn a_store_that_is_away_is_told_quickly() -> Result<()> {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let world = World::start(kind).await?;
        world.get("/v1/agents").await?.expect(200)?;
        world.store.close().await;
        let begun = Instant::now();
        let answer = world.get("/v1/agents").await?;
        answer.problem(503, "unavailable")?;
        ensure!(answer.headers.contains_key(header::RETRY_AFTER));
        ensure!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoint_is_not_created_while_the_bus_is_away() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    world.bus.close().await;
    let body = json!({ "url": "https://crm.example.org/hook", "events": ["*"] });
    let answer = world.send(Method::POST, "/v1/endpoints", &body).await?;
    answer.problem(503, "unavailable")?;
    ensure!(answer.headers.contains_key(header::RETRY_AFTER));
    ensure!(
        world
            .get("/v1/endpoints")
            .await?
            .expect(200)?
            .ids()
            .is_empty()
    );
    Ok(())
}

/// Holds the only writer of a SQLite store until it is dropped.
async fn lock(world: &World) -> Result<Tx> {
    world
        .database
        .begin()
        .await
        .context("the store's write lock")
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() -> Result<()> {
    let config = "[api]\nrequest_deadline = \"300ms\"";
    let world = World::start_with(Kind::Sqlite, config, Rate::default()).await?;
    let locked = lock(&world).await?;
    let body = json!({ "name": "Olena" });
    let answer = world.send(Method::POST, "/v1/agents", &body).await?;
    answer.problem(503, "deadline_exceeded")?;
    ensure!(answer.headers.contains_key(header::RETRY_AFTER));
    drop(locked);
    ensure!(world.count("agents").await? == 0);
    Ok(())
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() -> Result<()> {
    let config = "[api]\nrequest_deadline = \"300ms\"";
    let world = World::start_with(Kind::Sqlite, config, Rate::default()).await?;
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = world
        .request(Method::POST, "/v1/agents")
        .bearer_auth(&world.acme)
        .header(header::CONTENT_TYPE, "application/json")
        .body(reqwest::Body::wrap_stream(never));
    send(request).await?.problem(503, "deadline_exceeded")
}

#[tokio::test]
async fn requests_in_flight_finish_before_the_api_stops() -> Result<()> {
    let mut world = World::start(Kind::Sqlite).await?;
    let locked = lock(&world).await?;
    let body = json!({ "name": "Olena" });
    let request = world
        .request(Method::POST, "/v1/agents")
        .bearer_auth(&world.acme)
        .json(&body);
    let answer = tokio::spawn(send(request));
    // Once a later request on the same server was answered, the first one is being handled.
    world.get("/v1/agents").await?.expect(200)?;
    world.stop.cancel();
    let refused = async {
        while world
            .request(Method::GET, "/v1/agents")
            .send()
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .context("still accepting")?;
    ensure!(!answer.is_finished());
    drop(locked);
    answer.await??.expect(201)?;
    tokio::time::timeout(Duration::from_secs(10), &mut world.server)
        .await
        .context("still serving")??;
    Ok(())
}
