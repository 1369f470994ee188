//! Events on their way to integrator endpoints: API, bus, lane runner and webhook worker against endpoints that
//! misbehave.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tributary_bus::{
    Bus, ConversationId, Destination, Envelope, EventId, Group, Lane, OrganizationId, Publication,
    Workers, message,
};
use tributary_router::{
    api::Rate,
    webhooks::{WebhooksAttendant, policy, watch_endpoints},
};
use tributary_simulators::{
    endpoint::{Endpoint, EndpointAction, EventMatch},
    script::Times,
};

use crate::support::{ACME, Kind, PATIENCE, World, eventually};

/// Quick retries, and endpoints on this machine.
const CONFIG: &str = r#"
[webhooks]
allow_internal = ["127.0.0.0/8"]
deadline = "1s"
retry_base = "20ms"
retry_cap = "200ms"
"#;

pub async fn world() -> Result<World> {
    World::start_with(Kind::Sqlite, CONFIG, Rate::default()).await
}

/// A webhook worker; stops when dropped.
pub struct Worker {
    _stop: DropGuard,
    _tasks: [JoinHandle<()>; 2],
}

/// Starts a worker with the settings of the world.
pub fn work(world: &World) -> Result<Worker> {
    work_with(world, |attendant| attendant)
}

fn work_with(
    world: &World,
    equip: impl FnOnce(WebhooksAttendant) -> WebhooksAttendant,
) -> Result<Worker> {
    let stop = CancellationToken::new();
    let (sender, lanes) = watch::channel(Vec::new());
    let bus: Arc<dyn Bus> = Arc::clone(&world.bus) as Arc<dyn Bus>;
    let workers = Workers {
        bus: Arc::clone(&bus),
        group: Group::Webhooks,
        lanes,
        attendant: Arc::new(equip(
            WebhooksAttendant::new(world.store.clone(), &world.settings.webhooks)?
                .with_bus(Arc::clone(&bus)),
        )),
        policy: policy(&world.settings),
        claim_interval: Duration::from_millis(50),
        drain_deadline: Duration::from_secs(5),
    };
    let (store, watching) = (world.store.clone(), stop.clone());
    Ok(Worker {
        _tasks: [
            tokio::spawn(async move { watch_endpoints(store, &*bus, sender, watching).await }),
            tokio::spawn(workers.run(stop.clone())),
        ],
        _stop: stop.drop_guard(),
    })
}

/// Registers a simulator with the API, which then checks signatures; answers the endpoint's id.
pub async fn register(world: &World, endpoint: &Endpoint) -> Result<String> {
    let (id, secret) = register_url(world, &endpoint.url()).await?;
    endpoint.set_secret(&secret)?;
    Ok(id)
}

async fn register_url(world: &World, url: &str) -> Result<(String, String)> {
    let body = json!({ "url": url, "events": ["*"] });
    let created = world
        .send(Method::POST, "/v1/endpoints", &body)
        .await?
        .expect(201)?;
    Ok((
        created.text("id")?.to_owned(),
        created.text("secret")?.to_owned(),
    ))
}

/// An event of a conversation.
pub fn event(conversation: ConversationId, sequence: i64) -> Result<Envelope> {
    let note = message::NoteCreated {
        conversation_id: conversation,
        author: message::Author::Api,
        text: "слова 🙂".to_owned(),
    };
    let organization = OrganizationId::from(ACME);
    let subject = Some(conversation.to_string());
    let envelope = Envelope::wrap(
        EventId::generate(),
        "/router".to_owned(),
        organization,
        subject,
        &note,
    )?;
    Ok(envelope.with_sequence(sequence))
}

pub async fn publish(world: &World, envelopes: Vec<Envelope>) -> Result<()> {
    let mut batch = Vec::with_capacity(envelopes.len());
    for envelope in envelopes {
        batch.push(Publication {
            to: Destination::Events,
            envelope: envelope.seal()?,
        });
    }
    let results = world.bus.publish(batch).await;
    Ok(results.into_iter().collect::<Result<(), _>>()?)
}

/// `each` events of every conversation, in turns.
fn rounds(conversations: &[ConversationId], each: i64) -> Result<Vec<Envelope>> {
    (1..=each)
        .flat_map(|sequence| conversations.iter().map(move |id| event(*id, sequence)))
        .collect()
}

#[tokio::test]
async fn an_event_arrives_signed_and_whole() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    register(&world, &endpoint).await?;
    let mut sent = event(ConversationId::generate(), 7)?;
    sent.extensions
        .insert("later".to_owned(), json!({ "n": 1 }));
    publish(&world, vec![sent.clone()]).await?;
    let _worker = work(&world)?;
    endpoint.wait_for_events(1, PATIENCE).await?;
    let received = endpoint.events().remove(0);
    ensure!(
        received.event == serde_json::to_value(&sent)?,
        "{}",
        received.event
    );
    ensure!(received.webhook_id == sent.id.to_string());
    let header = |name: &str| {
        received
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    ensure!(header("content-type") == Some("application/cloudevents+json; charset=utf-8"));
    ensure!(
        header("webhook-signature")
            .is_some_and(|value| value.starts_with("v1,") && !value.contains(' '))
    );
    ensure!(header("user-agent").is_some_and(|agent| agent.starts_with("tributary/")));
    ensure!(endpoint.refused().is_empty());
    Ok(())
}

#[tokio::test]
async fn media_of_the_store_is_linked_on_the_way_out() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    register(&world, &endpoint).await?;
    let mut sent = event(ConversationId::generate(), 1)?;
    sent.data = json!({"message": {"content": {"type": "file", "media": {"media_id": "ab", "name": "a.pdf"}}}}).into();
    publish(
        &world,
        vec![sent.clone(), event(ConversationId::generate(), 1)?],
    )
    .await?;
    let _worker = work_with(&world, |attendant| {
        attendant.with_media_links(Arc::new(crate::content::Links))
    })?;
    // Signed after the link was put in: the simulator checks the signature over the body.
    endpoint.wait_for_events(2, PATIENCE).await?;
    let events = endpoint.events();
    let received = events.iter().find(|e| e.webhook_id == sent.id.to_string());
    let media =
        received.context("the event with media")?.event["data"]["message"]["content"]["media"]
            .clone();
    ensure!(
        media["url"] == "https://media.example/acme/ab/a.pdf",
        "{media}"
    );
    ensure!(media["media_id"] == "ab" && endpoint.refused().is_empty());
    Ok(())
}

#[tokio::test]
async fn order_holds_through_every_kind_of_failure() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    let id = register(&world, &endpoint).await?;
    let conversations: Vec<ConversationId> = (0..6).map(|_| ConversationId::generate()).collect();
    let misbehaviours = [
        (conversations[0], EndpointAction::status(500)),
        (conversations[1], EndpointAction::status(400)),
        (conversations[2], EndpointAction::DropAfterRecording),
        (conversations[3], EndpointAction::DropBeforeRecording),
        (
            conversations[4],
            EndpointAction::Slow(Duration::from_millis(30)),
        ),
        (conversations[0], EndpointAction::status(410)),
        (
            conversations[5],
            EndpointAction::Hang(Duration::from_secs(3)),
        ),
    ];
    for (conversation, action) in misbehaviours {
        endpoint.misbehave(
            EventMatch::subject(&conversation.to_string()),
            Times::Count(2),
            action,
        );
    }
    publish(&world, rounds(&conversations, 20)?).await?;
    let _worker = work(&world)?;
    endpoint.wait_for_events(120, PATIENCE).await?;
    endpoint.assert_ordered()?;
    ensure!(endpoint.refused().is_empty());
    let lane: Lane = format!("endpoint.{id}").parse()?;
    eventually("the lane is empty", || async {
        Ok(world.bus.depth(&lane).await? == 0)
    })
    .await?;
    ensure!(world.bus.dead(10).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn events_that_nobody_can_take_hold_back_only_their_conversation() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    register(&world, &endpoint).await?;
    let conversations: Vec<ConversationId> = (0..5).map(|_| ConversationId::generate()).collect();
    let (refused, breaking) = (conversations[0].to_string(), conversations[1].to_string());
    endpoint.misbehave(
        EventMatch::subject(&refused),
        Times::Always,
        EndpointAction::status(422),
    );
    endpoint.misbehave(
        EventMatch::subject(&breaking),
        Times::Always,
        EndpointAction::status(500),
    );
    publish(&world, rounds(&conversations, 10)?).await?;
    let _worker = work(&world)?;
    endpoint.wait_for_events(30, PATIENCE).await?;
    ensure!(endpoint.events().iter().all(|event| {
        let subject = event.subject().map(str::to_owned);
        subject != Some(refused.clone()) && subject != Some(breaking.clone())
    }));
    endpoint.behave();
    endpoint.wait_for_events(50, PATIENCE).await?;
    endpoint.assert_ordered()?;
    Ok(())
}

#[tokio::test]
async fn a_dead_endpoint_slows_nobody() -> Result<()> {
    let world = world().await?;
    let (hanging, alive) = (Endpoint::start().await?, Endpoint::start().await?);
    hanging.misbehave(
        EventMatch::any(),
        Times::Always,
        EndpointAction::Hang(PATIENCE),
    );
    let hanging_id = register(&world, &hanging).await?;
    register(&world, &alive).await?;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let (closed_id, _) =
        register_url(&world, &format!("http://{}/hook", closed.local_addr()?)).await?;
    drop(closed);
    let conversations: Vec<ConversationId> = (0..50).map(|_| ConversationId::generate()).collect();
    publish(&world, rounds(&conversations, 10)?).await?;
    let begun = Instant::now();
    let _worker = work(&world)?;
    alive.wait_for_events(500, PATIENCE).await?;
    ensure!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    alive.assert_ordered()?;
    ensure!(alive.duplicates().is_empty() && hanging.events().is_empty());

    hanging.behave();
    hanging.wait_for_events(500, PATIENCE).await?;
    hanging.assert_ordered()?;
    ensure!(world.bus.dead(10).await?.is_empty());
    let lanes: Result<Vec<Lane>, _> = [hanging_id, closed_id]
        .iter()
        .map(|id| format!("endpoint.{id}").parse())
        .collect();
    let lanes = lanes?;
    eventually("only the closed endpoint has a backlog", || async {
        Ok(world.bus.depth(&lanes[0]).await? == 0)
    })
    .await
}

#[tokio::test]
async fn a_wish_to_wait_is_honoured_for_all_events() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    register(&world, &endpoint).await?;
    let too_many = EndpointAction::Status {
        status: 429,
        retry_after: Some(2),
    };
    endpoint.misbehave(EventMatch::any(), Times::Count(1), too_many);
    publish(&world, vec![event(ConversationId::generate(), 1)?]).await?;
    let _worker = work(&world)?;
    endpoint
        .wait_until(PATIENCE, |records| records.answers.contains_key(&429))
        .await?;
    let refused_at = Instant::now();
    publish(&world, vec![event(ConversationId::generate(), 1)?]).await?;
    endpoint.wait_for_events(2, PATIENCE).await?;
    let waited = endpoint.events()[0]
        .instant
        .into_std()
        .duration_since(refused_at);
    ensure!(waited > Duration::from_millis(1800), "{waited:?}");
    Ok(())
}

#[tokio::test]
async fn both_secrets_sign_while_one_replaces_the_other() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    let (id, old) = register_url(&world, &endpoint.url()).await?;
    endpoint.set_secret(&old)?;
    let _worker = work(&world)?;
    publish(&world, vec![event(ConversationId::generate(), 1)?]).await?;
    endpoint.wait_for_events(1, PATIENCE).await?;

    let path = format!("/v1/endpoints/{id}/rotate-secret");
    let new = world
        .post(&path)
        .await?
        .expect(200)?
        .text("secret")?
        .to_owned();
    let signatures = || {
        let events = endpoint.events();
        let newest = events
            .last()
            .and_then(|event| event.headers.get("webhook-signature"));
        newest
            .and_then(|value| value.to_str().ok())
            .map_or(0, |value| value.split(' ').count())
    };
    eventually("events have two signatures", || async {
        let before = endpoint.events().len() as u64;
        publish(&world, vec![event(ConversationId::generate(), 1)?]).await?;
        endpoint.wait_for_events(before + 1, PATIENCE).await?;
        Ok(signatures() == 2)
    })
    .await?;
    // The simulator knew only the old secret until here; from here on it knows only the new one.
    endpoint.set_secret(&new)?;
    let before = endpoint.events().len() as u64;
    publish(&world, vec![event(ConversationId::generate(), 1)?]).await?;
    endpoint.wait_for_events(before + 1, PATIENCE).await?;
    ensure!(endpoint.refused().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_internal_address_is_not_called_even_if_it_was_registered() -> Result<()> {
    let mut world = world().await?;
    let endpoint = Endpoint::start().await?;
    let port = url::Url::parse(&endpoint.url())?.port().context("a port")?;
    let mut lanes = Vec::new();
    for host in ["127.0.0.1", "localhost"] {
        let (id, _) = register_url(&world, &format!("http://{host}:{port}/hook")).await?;
        lanes.push(format!("endpoint.{id}").parse::<Lane>()?);
    }
    publish(&world, vec![event(ConversationId::generate(), 1)?]).await?;
    world.settings.webhooks.allow_internal.clear();
    world.settings.webhooks.max_age = Duration::from_secs(2);
    let _worker = work(&world)?;
    eventually("both are given up", || async {
        Ok(world.bus.dead(10).await?.len() == 2)
    })
    .await?;
    for letter in world.bus.dead(10).await? {
        ensure!(
            letter.reason.contains("internal") && lanes.contains(&letter.lane),
            "{}",
            letter.reason
        );
    }
    ensure!(endpoint.look(|records| records.attempts.is_empty()));
    Ok(())
}

#[tokio::test]
async fn an_event_that_is_never_taken_becomes_a_dead_letter() -> Result<()> {
    let mut world = world().await?;
    let endpoint = Endpoint::start().await?;
    let id = register(&world, &endpoint).await?;
    let conversation = ConversationId::generate();
    let subject = conversation.to_string();
    endpoint.misbehave(
        EventMatch::subject(&subject),
        Times::Always,
        EndpointAction::status(403),
    );
    let sent = event(conversation, 1)?;
    world.settings.webhooks.max_age = Duration::from_secs(2);
    publish(&world, vec![sent.clone()]).await?;
    let _worker = work(&world)?;
    eventually("it is given up", || async {
        Ok(!world.bus.dead(10).await?.is_empty())
    })
    .await?;
    let letter = world.bus.dead(10).await?.remove(0);
    ensure!(letter.lane.to_string() == format!("endpoint.{id}"));
    ensure!(letter.reason.contains("403"), "{}", letter.reason);
    ensure!(Envelope::parse(&letter.body)? == sent);

    endpoint.behave();
    publish(&world, vec![event(conversation, 2)?]).await?;
    endpoint.wait_for_events(1, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_deleted_endpoint_gets_nothing_and_leaves_nothing() -> Result<()> {
    let world = world().await?;
    let endpoint = Endpoint::start().await?;
    let id = register(&world, &endpoint).await?;
    let _worker = work(&world)?;
    publish(&world, vec![event(ConversationId::generate(), 1)?]).await?;
    endpoint.wait_for_events(1, PATIENCE).await?;
    let delete = world
        .request(Method::DELETE, &format!("/v1/endpoints/{id}"))
        .bearer_auth(&world.acme);
    crate::support::send(delete).await?.expect(204)?;
    eventually("the row is gone", || async {
        Ok(world.count("endpoints").await? == 0)
    })
    .await?;
    let lane: Lane = format!("endpoint.{id}").parse()?;
    publish(&world, vec![event(ConversationId::generate(), 1)?]).await?;
    ensure!(
        world.bus.depth(&lane).await? == 0,
        "events still flow into the lane"
    );
    ensure!(endpoint.events().len() == 1);
    Ok(())
}
