//! No organization reaches what belongs to another.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tributary_bus::{ContactId, ConversationId, MessageId};

use crate::support::{ACME, Kind, OTHER, World, send};

/// What belongs to [`OTHER`].
struct Belongings {
    contact: ContactId,
    conversation: ConversationId,
    message: MessageId,
    agent: String,
    endpoint: String,
    key: String,
}

impl Belongings {
    async fn of_other(world: &World) -> Result<Self> {
        let (contact, conversation) = world.conversation(OTHER).await?;
        let create = async |path: &str, body: Value| -> Result<String> {
            let request = world
                .request(Method::POST, path)
                .bearer_auth(&world.other)
                .json(&body);
            Ok(send(request).await?.expect(201)?.text("id")?.to_owned())
        };
        let endpoint = json!({ "url": "https://crm.example.org/hook", "events": ["*"] });
        Ok(Self {
            message: world
                .inbound(OTHER, contact, conversation, "secret words")
                .await?,
            agent: create("/v1/agents", json!({ "name": "Olena" })).await?,
            endpoint: create("/v1/endpoints", endpoint).await?,
            key: create("/v1/api-keys", json!({ "name": "CRM" })).await?,
            contact,
            conversation,
        })
    }

    /// Every route with an id.
    fn requests(&self) -> Vec<(Method, String, Value)> {
        let Self {
            contact,
            conversation,
            message,
            agent,
            endpoint,
            key,
        } = self;
        let conversation = format!("/v1/conversations/{conversation}");
        let get = |path: String| (Method::GET, path, Value::Null);
        let post = |path: String, body: Value| (Method::POST, path, body);
        vec![
            get("/v1/organizations/other".to_owned()),
            get("/v1/channels/other-bot".to_owned()),
            get(format!("/v1/contacts/{contact}")),
            get(format!("/v1/agents/{agent}")),
            (
                Method::PATCH,
                format!("/v1/agents/{agent}"),
                json!({ "available": true }),
            ),
            get(conversation.clone()),
            post(format!("{conversation}/close"), Value::Null),
            post(format!("{conversation}/reopen"), Value::Null),
            post(
                format!("{conversation}/assign"),
                json!({ "agent_id": agent }),
            ),
            get(format!("{conversation}/messages")),
            post(format!("{conversation}/messages"), hello()),
            post(format!("{conversation}/typing"), Value::Null),
            post(format!("{conversation}/read"), Value::Null),
            get(format!("/v1/messages/{message}")),
            get(format!("/v1/messages/{message}/log")),
            (Method::PATCH, format!("/v1/messages/{message}"), hello()),
            (
                Method::DELETE,
                format!("/v1/messages/{message}"),
                Value::Null,
            ),
            (
                Method::PUT,
                format!("/v1/messages/{message}/reactions"),
                json!({ "reactions": ["👍"] }),
            ),
            get(format!("/v1/endpoints/{endpoint}")),
            (
                Method::DELETE,
                format!("/v1/endpoints/{endpoint}"),
                Value::Null,
            ),
            post(
                format!("/v1/endpoints/{endpoint}/rotate-secret"),
                Value::Null,
            ),
            post(format!("/v1/api-keys/{key}/revoke"), Value::Null),
        ]
    }
}

fn hello() -> Value {
    json!({ "content": { "type": "text", "text": "hello" } })
}

/// 404, as for an id that nobody has.
async fn ids_of_others_do_not_exist(world: World) -> Result<()> {
    let theirs = Belongings::of_other(&world).await?;
    for (method, path, body) in theirs.requests() {
        let answer = world.send(method.clone(), &path, &body).await?;
        answer
            .problem(404, "not_found")
            .with_context(|| format!("{method} {path}"))?;
        ensure!(!answer.text.contains("secret words"));
    }
    nothing_of_theirs_works_within_ones_own(&world, &theirs).await?;
    nothing_of_theirs_changed_or_is_listed(&world, &theirs).await
}

async fn nothing_of_theirs_works_within_ones_own(world: &World, theirs: &Belongings) -> Result<()> {
    let (_, own) = world.conversation(ACME).await?;
    let own = format!("/v1/conversations/{own}");
    let to = json!({ "agent_id": theirs.agent });
    world
        .send(Method::POST, &format!("{own}/assign"), &to)
        .await?
        .problem(404, "not_found")?;
    for (member, id) in [
        ("agent_id", json!(theirs.agent)),
        ("reply_to", json!(theirs.message)),
    ] {
        let mut body = hello();
        body[member] = id;
        world
            .send(Method::POST, &format!("{own}/messages"), &body)
            .await?
            .problem(404, "not_found")?;
    }
    for condition in ["contact_id", "agent_id"] {
        let id = if condition == "agent_id" {
            theirs.agent.clone()
        } else {
            theirs.contact.to_string()
        };
        let found = world
            .get(&format!("/v1/conversations?{condition}={id}"))
            .await?
            .expect(200)?;
        ensure!(found.ids().is_empty(), "{condition}");
    }
    Ok(())
}

async fn nothing_of_theirs_changed_or_is_listed(world: &World, theirs: &Belongings) -> Result<()> {
    let as_other = |path: String| send(world.request(Method::GET, &path).bearer_auth(&world.other));
    let agent = as_other(format!("/v1/agents/{}", theirs.agent))
        .await?
        .expect(200)?;
    ensure!(agent.body["available"] == false);
    as_other(format!("/v1/endpoints/{}", theirs.endpoint))
        .await?
        .expect(200)?;
    let keys = as_other("/v1/api-keys".to_owned()).await?.expect(200)?;
    ensure!(!keys.text.contains("\"revoked_at\":\""), "{}", keys.text);
    let conversation = as_other(format!("/v1/conversations/{}", theirs.conversation))
        .await?
        .expect(200)?;
    ensure!(conversation.body["state"] == "waiting");

    world.event(OTHER, "message.created.v1").await?;
    for path in ["/v1/agents", "/v1/endpoints", "/v1/events"] {
        ensure!(
            world.get(path).await?.expect(200)?.ids().is_empty(),
            "{path}"
        );
    }
    for path in [
        "/v1/conversations",
        "/v1/channels",
        "/v1/organizations",
        "/v1/api-keys",
    ] {
        ensure!(
            world.get(path).await?.expect(200)?.ids().len() == 1,
            "{path}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn ids_of_others_do_not_exist_on_sqlite() -> Result<()> {
    ids_of_others_do_not_exist(World::start(Kind::Sqlite).await?).await
}

#[tokio::test]
async fn ids_of_others_do_not_exist_on_postgres() -> Result<()> {
    ids_of_others_do_not_exist(World::start(Kind::Postgres).await?).await
}

/// The same idempotency key in two organizations is two keys.
#[tokio::test]
async fn idempotency_keys_are_the_organizations_own() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let mut sent = Vec::new();
    for (organization, key) in [(ACME, &world.acme), (OTHER, &world.other)] {
        let (_, conversation) = world.conversation(organization).await?;
        let request = world
            .request(
                Method::POST,
                &format!("/v1/conversations/{conversation}/messages"),
            )
            .bearer_auth(key)
            .header("idempotency-key", "the same")
            .json(&json!({ "content": { "type": "text", "text": "hello" } }));
        sent.push(send(request).await?.expect(201)?.body["id"].clone());
    }
    ensure!(sent[0] != sent[1]);
    Ok(())
}
