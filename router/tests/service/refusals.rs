//! What is refused, and that every refusal looks alike.

use std::num::NonZeroU32;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, header};
use serde_json::{Value, json};
use tributary_router::api::{Rate, openapi_document};
use uuid::Uuid;

use crate::support::{ACME, Kind, World, send};

/// Every route of the document, so that none can be forgotten.
#[tokio::test]
async fn no_route_answers_without_a_key() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let document = openapi_document(None);
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().context("paths")? {
        let path = path.replace("{id}", &Uuid::now_v7().to_string());
        for method in item.as_object().context("a path item")?.keys() {
            let method: Method = method.to_uppercase().parse()?;
            let answer = send(world.request(method.clone(), &path).json(&json!({}))).await?;
            answer
                .problem(401, "unauthorized")
                .with_context(|| format!("{method} {path}"))?;
            ensure!(answer.headers[header::WWW_AUTHENTICATE] == "Bearer");
            asked += 1;
        }
    }
    ensure!(asked >= 31, "only {asked} routes");
    Ok(())
}

#[tokio::test]
async fn wrong_keys_are_refused() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let last = world.acme.chars().last().context("a key has characters")?;
    let altered = world
        .acme
        .replace(last, if last == 'A' { "E" } else { "A" });
    for authorization in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer x".to_owned(),
        format!("Basic {}", world.acme),
        world.acme.clone(),
        format!("Bearer {altered}"),
        format!("Bearer {} {}", world.acme, world.acme),
        format!("Bearer {}", world.acme.to_uppercase()),
        format!("Bearer trib_{}", "A".repeat(43)),
    ] {
        let request = world
            .request(Method::GET, "/v1/agents")
            .header(header::AUTHORIZATION, &authorization);
        send(request)
            .await?
            .problem(401, "unauthorized")
            .context(authorization)?;
    }
    let lower = format!("bearer {}", world.acme);
    let request = world
        .request(Method::GET, "/v1/agents")
        .header(header::AUTHORIZATION, lower);
    send(request).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn wrong_parameters_are_refused() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let (_, conversation) = world.conversation(ACME).await?;
    for path in [
        "/v1/agents/17",
        "/v1/agents/%ff",
        "/v1/conversations/not-a-uuid",
        "/v1/agents?limit=0",
        "/v1/agents?limit=201",
        "/v1/agents?limit=x",
        "/v1/agents?limit=-1",
        "/v1/agents?colour=red",
        "/v1/agents?after=x",
        "/v1/agents?after=",
        "/v1/channels?after=",
        "/v1/organizations?after=",
        "/v1/conversations?state=lost",
        "/v1/conversations?agent_id=x",
        "/v1/events?after=x",
        "/v1/events?types=letter.*",
        "/v1/events?types=",
        &format!("/v1/conversations/{conversation}/messages?order=up"),
    ] {
        let answer = world.get(path).await?;
        answer
            .problem(422, "invalid_parameter")
            .context(path.to_owned())?;
        ensure!(
            answer.body["errors"][0]["detail"].is_string(),
            "{}",
            answer.text
        );
    }
    let path = format!("/v1/conversations/{conversation}/messages");
    for key in [String::new(), "x".repeat(256), "ключ".to_owned()] {
        let request = world
            .request(Method::POST, &path)
            .bearer_auth(&world.acme)
            .header("idempotency-key", &key)
            .json(&json!({ "content": { "type": "text", "text": "hello" } }));
        send(request)
            .await?
            .problem(422, "invalid_parameter")
            .context(key)?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_json_is_refused() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let raw = |content_type: Option<&'static str>, body: &'static str| {
        let mut request = world
            .request(Method::POST, "/v1/agents")
            .bearer_auth(&world.acme)
            .body(body);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        send(request)
    };
    for body in [
        "",
        "{",
        "{\"name\":\"a\"} x",
        "name=a",
        "{\"name\":\"\\ud800\"}",
    ] {
        raw(Some("application/json"), body)
            .await?
            .problem(400, "invalid_json")
            .context(body)?;
    }
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/xml"),
    ] {
        raw(content_type, "{\"name\":\"a\"}")
            .await?
            .problem(415, "unsupported_media_type")?;
    }
    raw(Some("Application/JSON; charset=utf-8"), "{\"name\":\"a\"}")
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_problems_too() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    for path in [
        "/v1/nothing",
        "/v1",
        "/v2/agents",
        "/v1/agents/",
        "/docs/nothing.js",
        "/favicon.ico",
    ] {
        world
            .get(path)
            .await?
            .problem(404, "route_not_found")
            .context(path)?;
    }
    let answer = send(world.request(Method::DELETE, "/v1/agents")).await?;
    answer.problem(405, "method_not_allowed")?;
    let allow = answer.headers[header::ALLOW].to_str()?;
    ensure!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    Ok(())
}

#[tokio::test]
async fn large_bodies_are_refused() -> Result<()> {
    let world =
        World::start_with(Kind::Sqlite, "[api]\nbody_limit = 2000", Rate::default()).await?;
    let body = |length: usize| format!("{{\"name\":\"{}\"}}", "x".repeat(length)).into_bytes();
    let post = |body: reqwest::Body| {
        let request = world
            .request(Method::POST, "/v1/agents")
            .bearer_auth(&world.acme);
        send(
            request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body),
        )
    };
    post(body(2000).into())
        .await?
        .problem(413, "body_too_large")?;
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(body(1500)), Ok(body(1500))]);
    post(reqwest::Body::wrap_stream(chunks))
        .await?
        .problem(413, "body_too_large")?;
    post(body(90).into()).await?.expect(201)?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_used_too_often_has_to_wait() -> Result<()> {
    let few = |n: u32| NonZeroU32::new(n).context("not zero");
    let rate = Rate {
        per_second: few(1)?,
        burst: few(3)?,
    };
    let world = World::start_with(Kind::Sqlite, "", rate).await?;
    for left in ["2", "1", "0"] {
        let answer = world.get("/v1/agents").await?.expect(200)?;
        ensure!(answer.headers["ratelimit-policy"] == "\"key\";q=3;w=3");
        let limit = answer.headers["ratelimit"].to_str()?;
        ensure!(
            limit.starts_with(&format!("\"key\";r={left};t=")),
            "{limit}"
        );
    }
    let refused = world.get("/v1/agents").await?;
    refused.problem(429, "rate_limited")?;
    ensure!(refused.headers["ratelimit"] == "\"key\";r=0;t=1");
    let open = send(world.request(Method::GET, "/openapi.json")).await?;
    ensure!(
        !open.headers.contains_key("ratelimit"),
        "no key was counted"
    );
    let wait: u64 = refused.headers[header::RETRY_AFTER].to_str()?.parse()?;
    ensure!((1..=2).contains(&wait));
    send(
        world
            .request(Method::GET, "/v1/agents")
            .bearer_auth(&world.other),
    )
    .await?
    .expect(200)?;
    Ok(())
}

#[tokio::test]
async fn an_organization_has_a_bounded_number_of_endpoints() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let body = json!({ "url": "https://crm.example.org/hook", "events": ["*"] });
    for _ in 0..50 {
        world
            .send(Method::POST, "/v1/endpoints", &body)
            .await?
            .expect(201)?;
    }
    world
        .send(Method::POST, "/v1/endpoints", &body)
        .await?
        .problem(409, "limit_reached")?;
    let of_other = world
        .request(Method::POST, "/v1/endpoints")
        .bearer_auth(&world.other)
        .json(&body);
    send(of_other).await?.expect(201)?;
    let page = world.get("/v1/endpoints?limit=200").await?.expect(200)?;
    let first = page.ids()[0].to_owned();
    send(
        world
            .request(Method::DELETE, &format!("/v1/endpoints/{first}"))
            .bearer_auth(&world.acme),
    )
    .await?
    .expect(204)?;
    world
        .send(Method::POST, "/v1/endpoints", &body)
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn conflicts_have_codes_of_their_own() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let (contact, conversation) = world.conversation(ACME).await?;
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = json!({ "content": { "type": "text", "text": "hello" } });
    let change = |statement: &'static str| {
        let database = world.database.clone();
        async move {
            tributary_base::on!(write &database, db => sqlx::query(statement).bind(contact).execute(db).await.map(drop))
        }
    };
    change("UPDATE contacts SET blocked = (1 = 1) WHERE id = $1").await?;
    world
        .send(Method::POST, &path, &body)
        .await?
        .problem(409, "contact_blocked")?;
    change("UPDATE contacts SET blocked = (1 = 0) WHERE id = $1").await?;
    world.send(Method::POST, &path, &body).await?.expect(201)?;
    change("UPDATE channels SET removed_at = created_at WHERE $1 IS NOT NULL").await?;
    world
        .send(Method::POST, &path, &body)
        .await?
        .problem(409, "channel_removed")?;

    world
        .post(&format!("/v1/conversations/{conversation}/close"))
        .await?
        .expect(200)?;
    change(
        "INSERT INTO conversations (id, organization, channel_id, contact_id, shard, state, seq, queued, created_at,
         updated_at) SELECT contact_id, organization, channel_id, contact_id, shard, 'waiting', 0, queued, created_at,
         updated_at FROM conversations WHERE contact_id = $1",
    )
    .await?;
    world
        .post(&format!("/v1/conversations/{conversation}/reopen"))
        .await?
        .problem(409, "conversation_open")
}

#[tokio::test]
async fn request_ids_are_answered() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let with_id = |id: &'static str| {
        send(
            world
                .request(Method::GET, "/v1/agents")
                .header("x-request-id", id),
        )
    };
    ensure!(with_id("abc-1").await?.headers["x-request-id"] == "abc-1");
    let made = with_id("a b").await?;
    ensure!(Uuid::parse_str(made.headers["x-request-id"].to_str()?).is_ok());
    ensure!(made.headers["x-content-type-options"] == "nosniff");
    ensure!(
        !made
            .headers
            .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
    );
    let none: Option<&Value> = made.body.get("retry_after");
    ensure!(none.is_none(), "only what is documented is in a problem");
    Ok(())
}
