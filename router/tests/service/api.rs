//! What the routes do, on both databases.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;
use tributary_bus::{
    Bus, Destination, Envelope, EventId, Lane, OrganizationId, Publication, message,
};

use crate::support::{ACME, Kind, OTHER, World, channel_of, send};

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn on_sqlite() -> Result<()> {
                super::$name(World::start(Kind::Sqlite).await?).await
            }

            #[tokio::test]
            async fn on_postgres() -> Result<()> {
                super::$name(World::start(Kind::Postgres).await?).await
            }
        })+
    };
}

on_both!(
    agents_are_created_listed_and_changed,
    an_agent_who_becomes_available_gets_who_waits,
    conversations_are_listed_by_condition,
    conversations_are_closed_reopened_and_assigned,
    messages_are_listed_in_both_orders,
    a_message_is_sent_once,
    api_keys_are_shown_once_and_revoked,
    endpoints_come_and_go,
    events_are_read_with_a_cursor,
    the_organization_its_channels_and_contacts_are_shown,
);

async fn agents_are_created_listed_and_changed(world: World) -> Result<()> {
    let mut ids = Vec::new();
    for name in ["Olena", "  Taras ", "Іван"] {
        let body = json!({ "name": name, "capacity": 3 });
        let created = world
            .send(Method::POST, "/v1/agents", &body)
            .await?
            .expect(201)?;
        ensure!(created.body["name"] == name.trim() && created.body["available"] == false);
        ids.push(created.text("id")?.to_owned());
    }
    let first = world.get("/v1/agents?limit=2").await?.expect(200)?;
    ensure!(first.ids() == ids[..2], "{}", first.text);
    let next = format!("/v1/agents?limit=2&after={}", first.text("next")?);
    let second = world.get(&next).await?.expect(200)?;
    ensure!(
        second.ids() == ids[2..] && second.body["next"].is_null(),
        "{}",
        second.text
    );

    let path = format!("/v1/agents/{}", ids[1]);
    let changes = json!({ "available": true, "capacity": 7 });
    let changed = world
        .send(Method::PATCH, &path, &changes)
        .await?
        .expect(200)?;
    ensure!(
        changed.body["available"] == true
            && changed.body["capacity"] == 7
            && changed.body["name"] == "Taras"
    );
    let renamed = world
        .send(Method::PATCH, &path, &json!({ "name": "Т. Ш." }))
        .await?
        .expect(200)?;
    ensure!(renamed.body["name"] == "Т. Ш." && renamed.body["available"] == true);
    ensure!(world.get(&path).await?.expect(200)?.body == renamed.body);
    Ok(())
}

async fn an_agent_who_becomes_available_gets_who_waits(world: World) -> Result<()> {
    let (_, first) = world.conversation(ACME).await?;
    let (_, second) = world.conversation(ACME).await?;
    let body = json!({ "name": "Olena", "available": true, "capacity": 1 });
    let agent = world
        .send(Method::POST, "/v1/agents", &body)
        .await?
        .expect(201)?;
    let id = agent.text("id")?;
    ensure!(agent.body["assigned"] == 1, "{}", agent.text);
    let of_agent = world
        .get(&format!("/v1/conversations?agent_id={id}"))
        .await?
        .expect(200)?;
    ensure!(of_agent.ids() == [first.to_string()], "{}", of_agent.text);

    let path = format!("/v1/agents/{id}");
    let changed = world
        .send(Method::PATCH, &path, &json!({ "capacity": 2 }))
        .await?
        .expect(200)?;
    ensure!(changed.body["assigned"] == 2, "{}", changed.text);
    let assigned = world
        .get(&format!("/v1/conversations/{second}"))
        .await?
        .expect(200)?;
    ensure!(assigned.body["state"] == "assigned" && assigned.body["agent_id"] == id);
    Ok(())
}

async fn conversations_are_listed_by_condition(world: World) -> Result<()> {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(world.conversation(ACME).await?);
    }
    world.conversation(OTHER).await?;
    let newest_first: Vec<String> = all.iter().rev().map(|(_, id)| id.to_string()).collect();
    let mut seen = Vec::new();
    let mut path = "/v1/conversations?limit=2".to_owned();
    loop {
        let page = world.get(&path).await?.expect(200)?;
        seen.extend(page.ids().into_iter().map(str::to_owned));
        let Some(next) = page.body["next"].as_str() else {
            break;
        };
        path = format!("/v1/conversations?limit=2&after={next}");
    }
    ensure!(seen == newest_first, "{seen:?}");

    world
        .post(&format!("/v1/conversations/{}/close", all[3].1))
        .await?
        .expect(200)?;
    let closed = world
        .get("/v1/conversations?state=closed")
        .await?
        .expect(200)?;
    ensure!(closed.ids() == [all[3].1.to_string()]);
    let waiting = world
        .get("/v1/conversations?state=waiting")
        .await?
        .expect(200)?;
    ensure!(waiting.ids().len() == 4);
    let of_contact = world
        .get(&format!("/v1/conversations?contact_id={}", all[1].0))
        .await?
        .expect(200)?;
    ensure!(of_contact.ids() == [all[1].1.to_string()]);
    let channel = channel_of(ACME);
    let of_channel = world
        .get(&format!("/v1/conversations?channel_id={channel}"))
        .await?
        .expect(200)?;
    ensure!(of_channel.ids().len() == 5);
    let of_no_channel = world
        .get("/v1/conversations?channel_id=nothing")
        .await?
        .expect(200)?;
    ensure!(of_no_channel.ids().is_empty() && of_no_channel.body["next"].is_null());
    Ok(())
}

async fn conversations_are_closed_reopened_and_assigned(world: World) -> Result<()> {
    let (_, id) = world.conversation(ACME).await?;
    let path = format!("/v1/conversations/{id}");
    let agent = world
        .send(Method::POST, "/v1/agents", &json!({ "name": "Olena" }))
        .await?
        .expect(201)?;
    let to = json!({ "agent_id": agent.text("id")? });

    let assigned = world
        .send(Method::POST, &format!("{path}/assign"), &to)
        .await?
        .expect(200)?;
    ensure!(assigned.body["state"] == "assigned" && assigned.body["agent_id"] == to["agent_id"]);
    let closed = world.post(&format!("{path}/close")).await?.expect(200)?;
    ensure!(closed.body["state"] == "closed");
    let again = world.post(&format!("{path}/close")).await?.expect(200)?;
    ensure!(again.body == closed.body, "closing twice changed it");
    world
        .send(Method::POST, &format!("{path}/assign"), &to)
        .await?
        .problem(409, "conversation_closed")?;
    let reopened = world.post(&format!("{path}/reopen")).await?.expect(200)?;
    ensure!(reopened.body["state"] == "waiting" && reopened.body["agent_id"].is_null());
    ensure!(world.get(&path).await?.expect(200)?.body == reopened.body);

    let nobody = json!({ "agent_id": uuid::Uuid::now_v7() });
    world
        .send(Method::POST, &format!("{path}/assign"), &nobody)
        .await?
        .problem(404, "not_found")
}

async fn messages_are_listed_in_both_orders(world: World) -> Result<()> {
    let (contact, conversation) = world.conversation(ACME).await?;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(
            world
                .inbound(ACME, contact, conversation, &format!("text {n}"))
                .await?
                .to_string(),
        );
    }
    let list = format!("/v1/conversations/{conversation}/messages");
    let first = world.get(&format!("{list}?limit=3")).await?.expect(200)?;
    ensure!(first.ids() == ids[..3]);
    let rest = world
        .get(&format!("{list}?limit=3&after={}", first.text("next")?))
        .await?
        .expect(200)?;
    ensure!(rest.ids() == ids[3..] && rest.body["next"].is_null());
    let latest = world
        .get(&format!("{list}?limit=2&order=desc"))
        .await?
        .expect(200)?;
    ensure!(latest.ids() == [ids[4].as_str(), ids[3].as_str()]);
    let before = format!("{list}?limit=2&order=desc&after={}", latest.text("next")?);
    ensure!(world.get(&before).await?.expect(200)?.ids() == [ids[2].as_str(), ids[1].as_str()]);

    let one = world
        .get(&format!("/v1/messages/{}", ids[0]))
        .await?
        .expect(200)?;
    ensure!(one.body["direction"] == "inbound" && one.body["content"]["text"] == "text 0");
    ensure!(one.body == first.body["items"][0]);
    let (_, empty) = world.conversation(ACME).await?;
    ensure!(
        world
            .get(&format!("/v1/conversations/{empty}/messages"))
            .await?
            .expect(200)?
            .ids()
            .is_empty()
    );
    Ok(())
}

async fn a_message_is_sent_once(world: World) -> Result<()> {
    let (contact, conversation) = world.conversation(ACME).await?;
    let question = world.inbound(ACME, contact, conversation, "?").await?;
    let agent = world
        .send(Method::POST, "/v1/agents", &json!({ "name": "Olena" }))
        .await?
        .expect(201)?;
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = json!({
        "content": { "type": "text", "text": "Добрий день 🙂" }, "agent_id": agent.text("id")?, "reply_to": question
    });
    let with_key = |key: &str, body: &serde_json::Value| {
        send(
            world
                .request(Method::POST, &path)
                .bearer_auth(&world.acme)
                .header("idempotency-key", key)
                .json(body),
        )
    };
    let sent = with_key("k1", &body).await?.expect(201)?;
    ensure!(sent.body["status"] == "queued" && sent.body["direction"] == "outbound");
    ensure!(sent.body["author"] == json!({ "kind": "agent", "id": agent.text("id")? }));
    ensure!(sent.body["content"] == body["content"]);
    ensure!(world.count("outbox").await? == 2, "a delivery and an event");

    let repeated = with_key("k1", &body).await?.expect(201)?;
    ensure!(repeated.body == sent.body);
    ensure!(world.count("messages").await? == 2 && world.count("outbox").await? == 2);
    let different = json!({ "content": { "type": "text", "text": "Other words" } });
    with_key("k1", &different)
        .await?
        .problem(422, "idempotency_key_reused")?;
    let second = with_key("k2", &different).await?.expect(201)?;
    ensure!(
        second.body["author"] == json!({ "kind": "api" }) && second.body["id"] != sent.body["id"]
    );
    let without = world
        .send(Method::POST, &path, &different)
        .await?
        .expect(201)?;
    ensure!(without.body["id"] != second.body["id"]);
    ensure!(
        world
            .get(&format!("/v1/messages/{}", sent.text("id")?))
            .await?
            .expect(200)?
            .body
            == sent.body
    );

    world
        .post(&format!("/v1/conversations/{conversation}/close"))
        .await?
        .expect(200)?;
    with_key("k3", &different)
        .await?
        .problem(409, "conversation_closed")?;
    world
        .post(&format!("/v1/conversations/{conversation}/reopen"))
        .await?
        .expect(200)?;
    with_key("k3", &different).await?.expect(201)?;
    Ok(())
}

async fn api_keys_are_shown_once_and_revoked(world: World) -> Result<()> {
    let created = world
        .send(Method::POST, "/v1/api-keys", &json!({ "name": "CRM" }))
        .await?
        .expect(201)?;
    let key = created.text("key")?;
    ensure!(key.len() == 48 && key.starts_with("trib_"));
    ensure!(created.headers["cache-control"] == "no-store");
    let with_new = || send(world.request(Method::GET, "/v1/agents").bearer_auth(key));
    with_new().await?.expect(200)?;

    let listed = world.get("/v1/api-keys").await?.expect(200)?;
    ensure!(
        listed.ids().len() == 2 && !listed.text.contains(key),
        "{}",
        listed.text
    );
    let path = format!("/v1/api-keys/{}/revoke", created.text("id")?);
    let revoked = world.post(&path).await?.expect(200)?;
    ensure!(revoked.body["revoked_at"].is_string());
    with_new().await?.problem(401, "unauthorized")?;
    ensure!(
        world.post(&path).await?.expect(200)?.body == revoked.body,
        "the first time of revocation stays"
    );
    ensure!(world.get("/v1/api-keys?limit=1").await?.expect(200)?.body["next"].is_string());
    Ok(())
}

async fn endpoints_come_and_go(world: World) -> Result<()> {
    let body = json!({ "url": "https://crm.example.org/hook", "events": ["message.*", "message.*", "contact.created"] });
    let created = world
        .send(Method::POST, "/v1/endpoints", &body)
        .await?
        .expect(201)?;
    let (id, secret) = (
        created.text("id")?.to_owned(),
        created.text("secret")?.to_owned(),
    );
    ensure!(
        secret.starts_with("whsec_")
            && created.body["events"] == json!(["contact.created", "message.*"])
    );

    // Events flow into its lane from now on: its own organization's, of the types it asked for.
    for (organization, kind) in [(ACME, true), (ACME, false), (OTHER, true)] {
        publish(&world, organization, kind).await?;
    }
    let lane: Lane = format!("endpoint.{id}").parse()?;
    ensure!(world.bus.depth(&lane).await? == 1);

    let path = format!("/v1/endpoints/{id}");
    let shown = world.get(&path).await?.expect(200)?;
    ensure!(shown.body["url"] == body["url"] && !shown.text.contains("secret"));
    ensure!(world.get("/v1/endpoints").await?.expect(200)?.ids() == [id.as_str()]);
    let rotated = world
        .post(&format!("{path}/rotate-secret"))
        .await?
        .expect(200)?;
    ensure!(rotated.text("secret")?.starts_with("whsec_") && rotated.text("secret")? != secret);

    let delete = || {
        send(
            world
                .request(Method::DELETE, &path)
                .bearer_auth(&world.acme),
        )
    };
    delete().await?.expect(204)?;
    delete().await?.problem(404, "not_found")?;
    world.get(&path).await?.problem(404, "not_found")?;
    world
        .post(&format!("{path}/rotate-secret"))
        .await?
        .problem(404, "not_found")?;
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

/// An event of which only the type and the organization matter.
async fn publish(world: &World, organization: &str, is_message: bool) -> Result<()> {
    let note = message::NoteCreated {
        conversation_id: tributary_bus::ConversationId::generate(),
        author: message::Author::Api,
        text: "note".to_owned(),
    };
    let organization = OrganizationId::from(organization);
    let mut envelope = Envelope::wrap(
        EventId::generate(),
        "/router".to_owned(),
        organization,
        None,
        &note,
    )?;
    if is_message {
        envelope.kind = "message.created.v1".to_owned();
    }
    let publication = Publication {
        to: Destination::Events,
        envelope: envelope.seal()?,
    };
    let results = world.bus.publish(vec![publication]).await;
    Ok(results.into_iter().collect::<Result<(), _>>()?)
}

async fn events_are_read_with_a_cursor(world: World) -> Result<()> {
    let empty = world.get("/v1/events").await?.expect(200)?;
    ensure!(
        empty.body == json!({ "items": [], "next": "0", "more": false }),
        "{}",
        empty.text
    );
    let mut ids = Vec::new();
    for n in 0..5 {
        let kind = if n % 2 == 0 {
            "message.created.v1"
        } else {
            "contact.created.v1"
        };
        ids.push(world.event(ACME, kind).await?.to_string());
        world.event(OTHER, kind).await?;
    }
    let first = world.get("/v1/events?limit=3").await?.expect(200)?;
    ensure!(
        first.ids() == ids[..3] && first.body["more"] == true,
        "{}",
        first.text
    );
    ensure!(
        first.text.contains("12345678901234567890"),
        "numbers stay as they were published"
    );
    let rest = world
        .get(&format!("/v1/events?limit=3&after={}", first.text("next")?))
        .await?
        .expect(200)?;
    ensure!(rest.ids() == ids[3..] && rest.body["more"] == false);
    let end = format!("/v1/events?after={}", rest.text("next")?);
    let nothing = world.get(&end).await?.expect(200)?;
    ensure!(nothing.ids().is_empty() && nothing.body["next"] == rest.body["next"]);

    let contacts = world
        .get("/v1/events?types=contact.*,note.created&limit=1")
        .await?
        .expect(200)?;
    ensure!(contacts.ids() == [ids[1].as_str()] && contacts.body["more"] == true);
    let next = contacts.text("next")?;
    let last = world
        .get(&format!("/v1/events?types=contact.*&limit=5&after={next}"))
        .await?
        .expect(200)?;
    ensure!(last.ids() == [ids[3].as_str()] && last.body["more"] == false);
    ensure!(
        last.body["next"] == rest.body["next"],
        "what did not match is passed over for good"
    );
    world.event(ACME, "contact.created.v1").await?;
    ensure!(world.get(&end).await?.expect(200)?.ids().len() == 1);
    Ok(())
}

async fn the_organization_its_channels_and_contacts_are_shown(world: World) -> Result<()> {
    let organizations = world.get("/v1/organizations").await?.expect(200)?;
    ensure!(organizations.ids() == [ACME]);
    let own = world.get("/v1/organizations/acme").await?.expect(200)?;
    ensure!(own.body == organizations.body["items"][0]);
    let channels = world.get("/v1/channels").await?.expect(200)?;
    ensure!(channels.ids() == ["acme-bot"]);
    let channel = world.get("/v1/channels/acme-bot").await?.expect(200)?;
    ensure!(channel.body["kind"] == "telegram");
    let (contact, _) = world.conversation(ACME).await?;
    let shown = world
        .get(&format!("/v1/contacts/{contact}"))
        .await?
        .expect(200)?;
    let address = shown.body["address"]
        .as_str()
        .context("a contact has an address")?;
    ensure!(shown.body["name"] == "Visitor" && address == contact.to_string());
    Ok(())
}
