//! Events that are sent again from the store: a lane that was lost, an endpoint that was disabled, a wish.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tributary_base::on;
use tributary_bus::{Bus, ConversationId, EndpointId, Envelope, EventId, Lane};
use tributary_router::store::Position;
use tributary_simulators::{
    endpoint::{Endpoint, EndpointAction, EventMatch},
    script::Times,
};

use crate::{
    support::{ACME, PATIENCE, World, eventually},
    webhooks::{event, publish, register, work, world},
};

/// As the relay does: published, and given its position after that.
async fn publish_and_keep(world: &World, events: Vec<Envelope>) -> Result<()> {
    for event in &events {
        let body = String::from_utf8(event.clone().seal()?.body.to_vec())?;
        on!(write &world.database, db => {
            sqlx::query(
                "INSERT INTO events (id, organization, envelope, published_at) VALUES ($1, $2, $3, $4)",
            )
            .bind(event.id)
            .bind(&event.orgid)
            .bind(body)
            .bind(event.time)
            .execute(db)
            .await
            .map(drop)
        })?;
    }
    publish(world, events).await
}

fn rounds(conversations: &[ConversationId], from: i64, to: i64) -> Result<Vec<Envelope>> {
    (from..=to)
        .flat_map(|sequence| conversations.iter().map(move |id| event(*id, sequence)))
        .collect()
}

async fn view(world: &World, id: &str) -> Result<Value> {
    let answer = world.get(&format!("/v1/endpoints/{id}")).await?;
    Ok(answer.expect(200)?.body.clone())
}

/// Everything that was published arrives, in order, and nothing of what had arrived before the loss comes again.
#[tokio::test]
async fn what_was_in_a_lane_that_is_lost_is_sent_from_the_store() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    let id = register(&world, &endpoint).await?;
    let lane: Lane = format!("endpoint.{id}").parse()?;
    let conversations: Vec<ConversationId> = (0..5).map(|_| ConversationId::generate()).collect();
    let worker = work(&world)?;
    publish_and_keep(&world, rounds(&conversations, 1, 4)?).await?;
    endpoint.wait_for_events(20, PATIENCE).await?;

    // It is down while more comes, and the lane is lost with all of that.
    endpoint.misbehave(
        EventMatch::any(),
        Times::Always,
        EndpointAction::status(503),
    );
    publish_and_keep(&world, rounds(&conversations, 5, 12)?).await?;
    eventually("it was tried", || async {
        Ok(view(&world, &id).await?["failures"].as_i64() > Some(0))
    })
    .await?;
    drop(worker);
    eventually("the worker has let go", || async {
        Ok(world.bus.remove(&lane).await.is_ok() && world.bus.depth(&lane).await? == 0)
    })
    .await?;
    let spec = world.store.endpoints_of_all().await?.remove(0).lane();
    world.bus.declare(&[spec]).await?;
    let endpoint_id = EndpointId(id.parse()?);
    world.store.resend_lost(endpoint_id).await?;
    // What comes meanwhile must wait for what is missing.
    publish_and_keep(&world, rounds(&conversations, 13, 16)?).await?;
    endpoint.behave();
    let _worker = work(&world)?;
    endpoint.wait_for_events(80, PATIENCE).await?;
    publish_and_keep(&world, rounds(&conversations, 17, 18)?).await?;
    endpoint.wait_for_events(90, PATIENCE).await?;
    endpoint.assert_ordered()?;
    eventually("the lane is empty", || async {
        Ok(world.bus.depth(&lane).await? == 0)
    })
    .await?;
    ensure!(world.bus.dead(10).await?.is_empty());
    eventually("nothing is to be sent again", || async {
        Ok(world.store.endpoints_to_resend().await?.is_empty())
    })
    .await
}

#[tokio::test]
async fn events_are_sent_again_when_somebody_asks() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    let id = register(&world, &endpoint).await?;
    let conversation = ConversationId::generate();
    let _worker = work(&world)?;
    publish_and_keep(&world, rounds(&[conversation], 1, 6)?).await?;
    endpoint.wait_for_events(6, PATIENCE).await?;
    let all = world
        .store
        .events_after(&ACME.into(), Position(0), 10)
        .await?;
    let after = all[2].position.0.to_string();
    let path = format!("/v1/endpoints/{id}/redeliver");
    for (body, status) in [
        (json!({}), 422),
        (json!({"after": "soon"}), 422),
        (
            json!({"after": after, "since": "2026-01-01T00:00:00Z"}),
            422,
        ),
        (json!({ "after": after }), 202),
    ] {
        world
            .send(Method::POST, &path, &body)
            .await?
            .expect(status)?;
    }
    let again = |times: u64| {
        let duplicates = endpoint.duplicates();
        duplicates
            .iter()
            .filter(|(_, count)| *count >= times)
            .count()
    };
    eventually("the last three came again", || async { Ok(again(1) == 3) }).await?;
    let body = json!({"since": "2020-01-01T00:00:00Z"});
    eventually("the first wish is done", || async {
        Ok(world.store.endpoints_to_resend().await?.is_empty())
    })
    .await?;
    world.send(Method::POST, &path, &body).await?.expect(202)?;
    eventually("all came again", || async { Ok(again(1) == 6) }).await
}

#[tokio::test]
async fn an_endpoint_that_is_gone_for_an_hour_is_disabled_and_catches_up_when_enabled() -> Result<()>
{
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    let id = register(&world, &endpoint).await?;
    let conversations: Vec<ConversationId> = (0..3).map(|_| ConversationId::generate()).collect();
    let worker = work(&world)?;
    publish_and_keep(&world, rounds(&conversations, 1, 2)?).await?;
    endpoint.wait_for_events(6, PATIENCE).await?;
    eventually("it is written down", || async {
        Ok(view(&world, &id).await?["last_success_at"].is_string())
    })
    .await?;
    ensure!(view(&world, &id).await?["state"] == "ok");

    endpoint.misbehave(
        EventMatch::any(),
        Times::Always,
        EndpointAction::status(410),
    );
    publish_and_keep(&world, rounds(&conversations, 3, 4)?).await?;
    eventually("it fails", || async {
        let view = view(&world, &id).await?;
        Ok(view["state"] == "failing" && view["reason"] == "endpoint answered 410")
    })
    .await?;
    drop(worker);
    // An hour ago, as the store has it.
    eventually("the hour began", || async {
        let changed = world
            .execute("UPDATE endpoint_states SET gone_since = '2020-01-01T00:00:00+00:00' WHERE gone_since IS NOT NULL")
            .await?;
        Ok(changed == 1)
    })
    .await?;
    let _worker = work(&world)?;
    eventually("it is disabled", || async {
        Ok(view(&world, &id).await?["state"] == "disabled")
    })
    .await?;
    let told = world.outbox_events().await?;
    let told = told
        .iter()
        .find(|event| event["type"] == "endpoint.disabled.v1");
    let told = told.context("an event tells it")?;
    ensure!(told["data"]["endpoint_id"] == id.as_str(), "{told}");
    // As its relay does, which this test has not.
    world.execute("DELETE FROM outbox").await?;

    endpoint.behave();
    publish_and_keep(&world, rounds(&conversations, 5, 6)?).await?;
    let lane: Lane = format!("endpoint.{id}").parse()?;
    eventually("its lane does not grow", || async {
        Ok(world.bus.depth(&lane).await? == 0)
    })
    .await?;
    ensure!(endpoint.events().len() == 6);
    let path = format!("/v1/endpoints/{id}/enable");
    let enabled = world.post(&path).await?.expect(200)?.body.clone();
    ensure!(enabled["state"] != "disabled", "{enabled}");
    endpoint.wait_for_events(18, PATIENCE).await?;
    endpoint.assert_ordered()?;
    ensure!(world.bus.dead(10).await?.is_empty());
    Ok(())
}

/// An id that no event has.
#[tokio::test]
async fn an_endpoint_of_others_is_not_there() -> Result<()> {
    let world = world().await?;
    let id = EventId::generate();
    for action in ["enable", "redeliver"] {
        let path = format!("/v1/endpoints/{id}/{action}");
        let body = json!({"after": "1"});
        world.send(Method::POST, &path, &body).await?.expect(404)?;
    }
    Ok(())
}
