//! Everything that can be sent, and what can be done with it afterwards, on both databases.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tributary_base::on;
use tributary_bus::{Envelope, MessageId, message::DeliverySend};

use crate::support::{ACME, Kind, World, send};

const MEDIA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

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
    every_content_is_accepted_and_delivered,
    a_message_is_edited_reacted_to_and_deleted,
    changes_that_make_no_sense_are_refused,
    typing_and_reading_are_told_to_the_channel,
    a_channel_shows_how_it_is,
);

/// The deliveries in the outbox, in order.
async fn deliveries(world: &World) -> Result<Vec<Envelope>> {
    let rows: Vec<String> = on!(read &world.database, db => {
        sqlx::query_scalar("SELECT envelope FROM outbox WHERE lane IS NOT NULL ORDER BY id").fetch_all(db).await
    })?;
    let rows = rows.iter().map(|row| Envelope::parse(row.as_bytes()));
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Marks a message as sent, as a status of its channel would.
async fn was_sent(world: &World, id: &str) -> Result<()> {
    let id: MessageId = id.parse()?;
    on!(write &world.database, db => {
        sqlx::query("UPDATE messages SET status = 'sent', provider_id = 'p-1' WHERE id = $1")
            .bind(id)
            .execute(db)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Without the links to stored media, which are made anew each time and never kept.
fn unlinked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let is_stored = fields.contains_key("media_id");
            let kept = fields
                .iter()
                .filter(|(key, _)| !(is_stored && *key == "url"));
            kept.map(|(key, value)| (key.clone(), unlinked(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(unlinked).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn contents() -> Vec<Value> {
    let media = json!({"media_id": MEDIA, "name": "a.png"});
    let by_url = json!({"url": "https://shop.example/a.png"});
    let option = json!({"id": "a", "title": "Yes"});
    vec![
        json!({"type": "text", "text": "hello", "entities": [{"offset": 0, "length": 5, "kind": "bold"}]}),
        json!({"type": "image", "media": media, "caption": {"text": "so so"}}),
        json!({"type": "video", "media": by_url}),
        json!({"type": "audio", "media": by_url}),
        json!({"type": "voice", "media": by_url}),
        json!({"type": "file", "media": by_url}),
        json!({"type": "sticker", "media": by_url, "emoji": "🙂"}),
        json!({"type": "location", "latitude": 50.45, "longitude": 30.52}),
        json!({"type": "contact_card", "name": "Ada", "phones": ["+1"]}),
        json!({"type": "choices", "text": {"text": "Well?"}, "options": [option]}),
        json!({"type": "carousel", "cards": [{"title": "One", "media": media, "options": [option]}]}),
        json!({"type": "template", "name": "shipped", "parameters": {"1": "A-7"}}),
        json!({"type": "email", "text": "hello", "subject": "Order", "attachments": [media]}),
    ]
}

async fn every_content_is_accepted_and_delivered(world: World) -> Result<()> {
    let (_, conversation) = world.conversation(ACME).await?;
    let path = format!("/v1/conversations/{conversation}/messages");
    for content in contents() {
        let body = json!({"content": content, "priority": "bulk"});
        let sent = world.send(Method::POST, &path, &body).await?.expect(201)?;
        ensure!(
            sent.body["content"]["type"] == content["type"],
            "{}",
            sent.text
        );
        let shown = format!("/v1/messages/{}", sent.text("id")?);
        let shown = world.get(&shown).await?.expect(200)?;
        ensure!(unlinked(&shown.body) == unlinked(&sent.body));
        let delivery: DeliverySend = deliveries(&world)
            .await?
            .pop()
            .context("a delivery")?
            .payload()?;
        ensure!(serde_json::to_value(delivery.priority)? == "bulk");
        ensure!(serde_json::to_value(&delivery.content)? == unlinked(&sent.body["content"]));
    }
    let same = json!({"content": contents()[1], "priority": "reply"});
    let with_key = |body: &Value| {
        let request = world.request(Method::POST, &path).bearer_auth(&world.acme);
        send(request.header("idempotency-key", "k").json(body))
    };
    let first = with_key(&same).await?.expect(201)?;
    let again = with_key(&same).await?.expect(201)?;
    ensure!(unlinked(&again.body) == unlinked(&first.body));
    let mut other = same.clone();
    other["priority"] = json!("bulk");
    with_key(&other)
        .await?
        .problem(422, "idempotency_key_reused")?;
    for (member, value) in [("priority", json!("now")), ("markup", json!("markdown"))] {
        let mut wrong = same.clone();
        wrong[member] = value;
        world
            .send(Method::POST, &path, &wrong)
            .await?
            .problem(422, "invalid_body")?;
    }
    Ok(())
}

async fn a_message_is_edited_reacted_to_and_deleted(world: World) -> Result<()> {
    let (contact, conversation) = world.conversation(ACME).await?;
    let question = world.inbound(ACME, contact, conversation, "?").await?;
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = json!({"content": {"type": "text", "text": "one"}, "reply_to": question});
    let sent = world.send(Method::POST, &path, &body).await?.expect(201)?;
    ensure!(sent.body["reply_to"] == json!(question));
    let id = sent.text("id")?;
    was_sent(&world, id).await?;
    let path = format!("/v1/messages/{id}");

    let edit = json!({"content": {"type": "text", "text": "two"}});
    let edited = world.send(Method::PATCH, &path, &edit).await?.expect(200)?;
    ensure!(edited.body["content"] == edit["content"] && edited.body["edited_at"].is_string());
    let again = world.send(Method::PATCH, &path, &edit).await?.expect(200)?;
    ensure!(again.body == edited.body);
    let reactions = json!({"reactions": ["👍", "❤️"]});
    let put = |of: String, reactions: Value| {
        let world = &world;
        async move {
            world
                .send(
                    Method::PUT,
                    &format!("/v1/messages/{of}/reactions"),
                    &reactions,
                )
                .await
        }
    };
    let reacted = put(id.to_owned(), reactions.clone()).await?.expect(200)?;
    ensure!(reacted.body["our_reactions"] == reactions["reactions"]);
    let on_question = put(question.to_string(), reactions.clone())
        .await?
        .expect(200)?;
    ensure!(
        on_question.body["direction"] == "inbound" && on_question.body["our_reactions"][0] == "👍"
    );
    put(question.to_string(), json!({"reactions": []}))
        .await?
        .expect(200)?;

    let delete = || {
        send(
            world
                .request(Method::DELETE, &path)
                .bearer_auth(&world.acme),
        )
    };
    let deleted = delete().await?.expect(200)?;
    ensure!(deleted.body["content"] == json!({"type": "unsupported", "kind": "deleted"}));
    ensure!(deleted.body["deleted_at"].is_string() && !deleted.text.contains("two"));
    ensure!(delete().await?.expect(200)?.body == deleted.body);
    ensure!(world.get(&path).await?.expect(200)?.body == deleted.body);
    let kinds: Vec<String> = deliveries(&world)
        .await?
        .into_iter()
        .map(|d| d.kind)
        .collect();
    ensure!(
        kinds
            == [
                "delivery.send.v1",
                "delivery.edit.v1",
                "delivery.react.v1",
                "delivery.react.v1",
                "delivery.react.v1",
                "delivery.delete.v1"
            ],
        "{kinds:?}"
    );
    world
        .send(Method::PATCH, &path, &edit)
        .await?
        .problem(409, "message_deleted")?;
    put(id.to_owned(), reactions)
        .await?
        .problem(409, "message_deleted")
}

async fn changes_that_make_no_sense_are_refused(world: World) -> Result<()> {
    let (contact, conversation) = world.conversation(ACME).await?;
    let inbound = world.inbound(ACME, contact, conversation, "?").await?;
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = json!({"content": {"type": "text", "text": "one"}});
    let queued = world.send(Method::POST, &path, &body).await?.expect(201)?;
    let queued = format!("/v1/messages/{}", queued.text("id")?);
    let inbound = format!("/v1/messages/{inbound}");
    let nothing = Value::Null;
    for (method, path, body, code) in [
        (Method::PATCH, &queued, &body, "message_not_sent"),
        (Method::DELETE, &queued, &nothing, "message_not_sent"),
        (Method::PATCH, &inbound, &body, "message_not_ours"),
        (Method::DELETE, &inbound, &nothing, "message_not_ours"),
    ] {
        let answer = world.send(method.clone(), path, body).await?;
        answer
            .problem(409, code)
            .with_context(|| format!("{method} {path}"))?;
    }
    let reactions = format!("{queued}/reactions");
    let thumb = json!({"reactions": ["👍"]});
    world
        .send(Method::PUT, &reactions, &thumb)
        .await?
        .problem(409, "message_not_sent")?;
    for (body, at) in [
        (json!({"reactions": ["a b"]}), "reactions[0]"),
        (json!({"reactions": ["👍", "👍"]}), "reactions[1]"),
        (json!({"reactions": [""]}), "reactions[0]"),
        (json!({"reactions": ["\u{200b}\u{fe0f}"]}), "reactions[0]"),
        (json!({"reactions": ["x".repeat(33)]}), "reactions[0]"),
        (json!({"reactions": vec!["x"; 11]}), "reactions"),
        (json!({"reactions": "x"}), "reactions"),
    ] {
        let answer = world.send(Method::PUT, &reactions, &body).await?;
        answer.problem(422, "invalid_body")?;
        ensure!(answer.body["errors"][0]["at"] == at, "{}", answer.text);
    }
    let unsendable = json!({"content": {"type": "choice_reply", "id": "a"}});
    let answer = world.send(Method::PATCH, &queued, &unsendable).await?;
    answer.problem(422, "invalid_body")?;
    ensure!(answer.body["errors"][0]["at"] == "content.type");
    ensure!(deliveries(&world).await?.len() == 1);
    Ok(())
}

async fn typing_and_reading_are_told_to_the_channel(world: World) -> Result<()> {
    let (contact, conversation) = world.conversation(ACME).await?;
    let path = format!("/v1/conversations/{conversation}");
    let read = format!("{path}/read");
    let typing = format!("{path}/typing");
    world.post(&read).await?.problem(409, "nothing_to_read")?;
    world.inbound(ACME, contact, conversation, "?").await?;
    for _ in 0..2 {
        let answer = world.post(&typing).await?.expect(204)?;
        ensure!(answer.text.is_empty());
        world.post(&read).await?.expect(204)?;
    }
    let told = deliveries(&world).await?;
    let kinds: Vec<&str> = told.iter().map(|d| d.kind.as_str()).collect();
    ensure!(
        kinds == ["delivery.typing.v1", "delivery.read.v1"],
        "{kinds:?}"
    );
    let data = told[1].data.to_value();
    ensure!(data["provider_id"] == "17", "{data}");
    ensure!(told[1].sequence.as_deref() == Some("0000000000000000003"));
    world.post(&format!("{path}/close")).await?.expect(200)?;
    world
        .post(&typing)
        .await?
        .problem(409, "conversation_closed")?;
    on!(write &world.database, db => {
        sqlx::query("UPDATE channels SET removed_at = created_at").execute(db).await.map(drop)
    })?;
    world.post(&read).await?.problem(409, "channel_removed")
}

async fn a_channel_shows_how_it_is(world: World) -> Result<()> {
    let before = world.get("/v1/channels/acme-bot").await?.expect(200)?;
    ensure!(before.body["health"].is_null(), "{}", before.text);
    let since = chrono::DateTime::from_timestamp(1_800_000_000, 0).context("a time")?;
    on!(write &world.database, db => {
        sqlx::query(
            "UPDATE channels SET health_state = 'misconfigured', health_reason = 'token rejected',
             health_action = 'renew it', health_since = $1 WHERE id = 'acme-bot'",
        )
        .bind(since)
        .execute(db)
        .await
        .map(drop)
    })?;
    let shown = world.get("/v1/channels/acme-bot").await?.expect(200)?;
    let expected = json!({
        "state": "misconfigured", "reason": "token rejected", "action": "renew it", "since": "2027-01-15T08:00:00Z"
    });
    ensure!(shown.body["health"] == expected, "{}", shown.text);
    let listed = world.get("/v1/channels").await?.expect(200)?;
    ensure!(listed.body["items"][0] == shown.body);
    Ok(())
}

/// Signs nothing: it says whose media it was asked for.
pub struct Links;

impl tributary_router::MediaLinks for Links {
    fn link(
        &self,
        organization: &tributary_bus::OrganizationId,
        media: &tributary_bus::message::MediaId,
        name: Option<&str>,
    ) -> Option<url::Url> {
        let name = name.unwrap_or("-");
        format!(
            "https://media.example/{organization}/{}/{name}",
            media.as_str()
        )
        .parse()
        .ok()
    }
}

#[tokio::test]
async fn answers_hold_fresh_links_and_the_store_none() -> Result<()> {
    let world = World::start_linked(Kind::Sqlite, Arc::new(Links)).await?;
    let (contact, conversation) = world.conversation(ACME).await?;
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = json!({"content": contents()[1]});
    let link = format!("https://media.example/acme/{MEDIA}/a.png");
    let sent = world.send(Method::POST, &path, &body).await?.expect(201)?;
    ensure!(
        sent.body["content"]["media"]["url"] == link,
        "{}",
        sent.text
    );
    ensure!(sent.body["content"]["media"]["media_id"] == MEDIA);
    let listed = world.get(&path).await?.expect(200)?;
    ensure!(listed.body["items"][0] == sent.body);
    let shown = world
        .get(&format!("/v1/messages/{}", sent.text("id")?))
        .await?
        .expect(200)?;
    ensure!(shown.body == sent.body);
    was_sent(&world, sent.text("id")?).await?;
    let edit = json!({"content": {"type": "file", "media": {"media_id": MEDIA}}});
    let path = format!("/v1/messages/{}", sent.text("id")?);
    let edited = world.send(Method::PATCH, &path, &edit).await?.expect(200)?;
    ensure!(
        edited.body["content"]["media"]["url"] == format!("https://media.example/acme/{MEDIA}/-")
    );

    on!(write &world.database, db => {
        sqlx::query("UPDATE contacts SET avatar = $1 WHERE id = $2")
            .bind(json!({"media_id": MEDIA, "name": "me.png"}).to_string())
            .bind(contact)
            .execute(db)
            .await
            .map(drop)
    })?;
    let shown = world
        .get(&format!("/v1/contacts/{contact}"))
        .await?
        .expect(200)?;
    ensure!(shown.body["avatar"]["url"] == format!("https://media.example/acme/{MEDIA}/me.png"));

    world
        .event_with(ACME, json!({"message": {"content": contents()[1]}}))
        .await?;
    let events = world.get("/v1/events").await?.expect(200)?;
    let media = &events.body["items"][0]["data"]["message"]["content"]["media"];
    ensure!(media["url"] == link, "{}", events.text);
    for table in [
        "SELECT content FROM messages",
        "SELECT envelope FROM outbox",
        "SELECT avatar FROM contacts",
    ] {
        let kept: Vec<String> =
            on!(read &world.database, db => sqlx::query_scalar(table).fetch_all(db).await)?;
        ensure!(
            !kept.is_empty() && kept.iter().all(|text| !text.contains("media.example")),
            "{table}"
        );
    }
    Ok(())
}
