//! `GET /v1/messages/{id}/log`.

use std::sync::{PoisonError, atomic::Ordering};

use anyhow::{Result, ensure};
use serde_json::json;
use tributary_bus::{MessageId, OrganizationId};
use tributary_router::api::ProviderCall;

use crate::support::{ACME, Kind, OTHER, World};

fn call(what: &str) -> ProviderCall {
    ProviderCall {
        at: "2026-03-01T12:00:00Z".parse().expect("a time"),
        channel_id: "acme-bot".to_owned(),
        call: what.to_owned(),
        request: Some("{}".to_owned()),
        status: Some(200),
        reply: None,
        error: None,
        took_ms: 42,
    }
}

fn note(world: &World, organization: &str, message: MessageId, what: &str) {
    let mut calls = world
        .log
        .calls
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    calls.push((OrganizationId::from(organization), message, call(what)));
}

#[tokio::test]
async fn the_calls_of_a_message_are_listed() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let (contact, conversation) = world.conversation(ACME).await?;
    let message = world.inbound(ACME, contact, conversation, "hello").await?;
    let path = format!("/v1/messages/{message}/log");
    let none = world.get(&path).await?.expect(200)?;
    ensure!(none.body == json!({ "items": [] }), "{}", none.text);
    note(&world, ACME, message, "POST sendMessage");
    note(&world, ACME, message, "POST editMessageText");
    note(&world, ACME, MessageId::generate(), "POST other");
    let listed = world.get(&path).await?.expect(200)?;
    let first = json!({
        "at": "2026-03-01T12:00:00Z", "channel_id": "acme-bot", "call": "POST sendMessage", "request": "{}",
        "status": 200, "took_ms": 42,
    });
    ensure!(listed.body["items"][0] == first, "{}", listed.text);
    ensure!(listed.body["items"][1]["call"] == "POST editMessageText");
    ensure!(
        listed.body["items"]
            .as_array()
            .is_some_and(|items| items.len() == 2)
    );
    world.log.away.store(true, Ordering::SeqCst);
    world.get(&path).await?.expect(503)?;
    Ok(())
}

#[tokio::test]
async fn nobody_sees_the_calls_of_others() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let (contact, conversation) = world.conversation(OTHER).await?;
    let message = world.inbound(OTHER, contact, conversation, "hello").await?;
    note(&world, OTHER, message, "POST sendMessage");
    for id in [message, MessageId::generate()] {
        world
            .get(&format!("/v1/messages/{id}/log"))
            .await?
            .expect(404)?;
    }
    Ok(())
}
