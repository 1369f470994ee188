//! Bodies that are refused, and that the answer names what is wrong with them.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ACME, Kind, World};

/// Posts each body, and checks that the refusal names the place.
async fn refuse_all(world: &World, path: &str, cases: &[(Value, &str)]) -> Result<()> {
    for (body, at) in cases {
        let answer = world.send(Method::POST, path, body).await?;
        answer
            .problem(422, "invalid_body")
            .with_context(|| format!("{path} {body}"))?;
        let fault = &answer.body["errors"][0];
        let (named, detail) = (fault["at"].as_str(), fault["detail"].as_str());
        ensure!(
            named == Some(at)
                || (named == Some("") && detail.is_some_and(|detail| detail.contains(at))),
            "{at}: {}",
            answer.text
        );
    }
    Ok(())
}

#[tokio::test]
async fn of_agents_and_keys() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let agent = |capacity: i64| json!({ "name": "Olena", "capacity": capacity });
    let cases = [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "  " }), "name"),
        (json!({ "name": "\u{200b}" }), "name"),
        (json!({ "name": "x".repeat(101) }), "name"),
        (json!({ "name": "a\u{7}b" }), "name"),
        (json!({ "name": 7 }), "name"),
        (agent(0), "capacity"),
        (agent(-1), "capacity"),
        (agent(10_001), "capacity"),
        (json!({ "name": "Olena", "colour": "red" }), "colour"),
        (json!({}), "name"),
        (json!(["Olena"]), "object"),
        (json!("Olena"), "object"),
        (Value::Null, "object"),
    ];
    refuse_all(&world, "/v1/agents", &cases).await?;
    refuse_all(&world, "/v1/api-keys", &[(json!({ "name": "" }), "name")]).await?;
    ensure!(world.count("agents").await? == 0);
    Ok(())
}

#[tokio::test]
async fn of_messages_and_assignments() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let (_, conversation) = world.conversation(ACME).await?;
    let path = format!("/v1/conversations/{conversation}");
    let text = |text: &str| json!({ "content": { "type": "text", "text": text } });
    let with = |member: &str, value: Value| {
        let mut body = text("hello");
        body[member] = value;
        body
    };
    let cases = [
        (text(""), "content.text"),
        (text(" \n\t "), "content.text"),
        (text(&"я".repeat(10_001)), "content.text"),
        (text("a\u{0}b"), "content.text"),
        (
            with(
                "content",
                json!({ "type": "image", "media": { "url": "x" } }),
            ),
            "content.media.url",
        ),
        (
            with(
                "content",
                json!({ "type": "text", "text": "a", "colour": 1 }),
            ),
            "content.colour",
        ),
        (with("content", json!({ "text": "a" })), "content.type"),
        (with("content", json!("a")), "content"),
        (with("agent_id", json!("x")), "agent_id"),
        (with("reply_to", json!("17")), "reply_to"),
        (with("to", json!("x")), "to"),
    ];
    refuse_all(&world, &format!("{path}/messages"), &cases).await?;
    let cases = [
        (json!({ "agent_id": "x" }), "agent_id"),
        (json!({}), "agent_id"),
    ];
    refuse_all(&world, &format!("{path}/assign"), &cases).await?;
    ensure!(world.count("messages").await? == 0);
    let longest = text(&"я".repeat(10_000));
    world
        .send(Method::POST, &format!("{path}/messages"), &longest)
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn of_endpoints() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let to = |url: &str| (json!({ "url": url, "events": ["*"] }), "url");
    let cases = [
        (
            json!({ "url": "https://example.org", "events": [] }),
            "events",
        ),
        (
            json!({ "url": "https://example.org", "events": ["*", "letter.*"] }),
            "events[1]",
        ),
        (
            json!({ "url": "https://example.org", "events": "*" }),
            "events",
        ),
        (
            json!({ "url": "https://example.org", "events": ["*"], "secret": "mine" }),
            "secret",
        ),
        to("not a url"),
        to("ftp://example.org/"),
        to("http://user:password@example.org/"),
        to("http://127.0.0.1/"),
        to("http://[::1]/"),
        to("http://169.254.169.254/latest/meta-data"),
        to(&format!("https://example.org/{}", "x".repeat(2048))),
    ];
    refuse_all(&world, "/v1/endpoints", &cases).await?;
    ensure!(world.count("endpoints").await? == 0);
    Ok(())
}
