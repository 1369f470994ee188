//! Foreign tools that know only the OpenAPI document: a fuzzer, and clients that generators make.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;
use tributary_base::on;
use tributary_bus::{ConversationId, MessageId};
use tributary_router::api::{Rate, asyncapi_document};

use crate::support::{ACME, Kind, World};

/// What the fuzzer does, and the seconds that each may take: single requests first, then requests that follow from answers.
const PHASES: [(&str, &str); 2] = [("examples,coverage,fuzzing", "60"), ("stateful", "15")];
/// What it begins with.
const SEED: &str = "8";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/foreign")
}

/// The tools of a language, in a folder of the test's own.
async fn install(language: &str) -> Result<TempDir> {
    let tools = tempfile::tempdir()?;
    let mut command = Command::new(folder().join("install"));
    run(command.arg(language).arg(tools.path())).await?;
    Ok(tools)
}

/// Runs a command to its end; what it printed is in the error.
async fn run(command: &mut Command) -> Result<()> {
    let ended = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(
        ended.status.success(),
        "{command:?}: {}\n{}\n{}",
        ended.status,
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

/// An API that refuses nobody for asking often.
async fn busy_world() -> Result<World> {
    let many = NonZeroU32::new(100_000).context("not zero")?;
    let rate = Rate {
        per_second: many,
        burst: many,
    };
    World::start_with(Kind::Sqlite, "", rate).await
}

#[tokio::test]
async fn a_fuzzer_finds_nothing_that_the_document_does_not_say() -> Result<()> {
    let world = busy_world().await?;
    let (contact, conversation) = world.conversation(ACME).await?;
    let message = world.inbound(ACME, contact, conversation, "hello").await?;
    let keys = world.get("/v1/api-keys").await?;
    let own_key = keys.ids().first().copied().unwrap_or_default().to_owned();
    let tools = install("python").await?;
    for (phases, seconds) in PHASES {
        run(Command::new(tools.path().join("bin/st"))
            .current_dir(tools.path())
            .env("SCHEMATHESIS_HOOKS", folder().join("hooks.py"))
            .env("FOREIGN_CONVERSATION", conversation.to_string())
            .env("FOREIGN_MESSAGE", message.to_string())
            .env("FOREIGN_OWN_KEY", &own_key)
            .arg("--config-file")
            .arg(folder().join("schemathesis.toml"))
            .args(["run", &format!("{}/openapi.json", world.base)])
            .args(["--header", &format!("Authorization: Bearer {}", world.acme)])
            .args(["--phases", phases, "--max-time", seconds, "--seed", SEED]))
        .await?;
    }
    // It came beyond the refusals.
    ensure!(
        world.count("messages").await? > 1,
        "more than the one that was there"
    );
    ensure!(world.count("agents").await? > 10);
    world.get("/v1/agents").await?.expect(200)?;
    Ok(())
}

/// A conversation of which a message was degraded and refused, with contents that only come from contacts.
async fn lively_conversation(world: &World) -> Result<ConversationId> {
    let (contact, conversation) = world.conversation(ACME).await?;
    for content in [
        json!({"type": "choice_reply", "id": "a", "title": "Yes", "typed": "yes"}),
        json!({"type": "unsupported", "kind": "poll", "description": "sent a poll"}),
        json!({"type": "location", "latitude": 1.5, "longitude": 2.5, "live_seconds": 60}),
    ] {
        let message = world.inbound(ACME, contact, conversation, "-").await?;
        on!(write &world.database, db => {
            sqlx::query("UPDATE messages SET content = $1 WHERE id = $2")
                .bind(content.to_string())
                .bind(message)
                .execute(db)
                .await
                .map(drop)
        })?;
    }
    let path = format!("/v1/conversations/{conversation}/messages");
    let text = json!({"content": {"type": "text", "text": "hello"}});
    let sent = world.send(Method::POST, &path, &text).await?.expect(201)?;
    let id: MessageId = sent.text("id")?.parse()?;
    let failure = json!({"code": "rejected", "reason": "too long"});
    let degraded = ["text_split", "reply_lost"].map(|code| json!({"code": code, "detail": "-"}));
    on!(write &world.database, db => {
        sqlx::query("UPDATE messages SET status = 'failed', failure = $1, degraded = $2 WHERE id = $3")
            .bind(failure.to_string())
            .bind(json!(degraded).to_string())
            .bind(id)
            .execute(db)
            .await
            .map(drop)
    })?;
    Ok(conversation)
}

/// The arguments that both clients take.
fn arguments(world: &World, conversation: ConversationId) -> [String; 3] {
    let (address, key) = (world.base.clone(), world.acme.clone());
    [address, key, conversation.to_string()]
}

async fn document_of(world: &World, folder: &Path) -> Result<PathBuf> {
    let served = world.get("/openapi.json").await?.expect(200)?;
    let path = folder.join("openapi.json");
    tokio::fs::write(&path, served.text).await?;
    Ok(path)
}

#[tokio::test]
async fn a_generated_python_client_sends_and_reads_everything() -> Result<()> {
    let world = busy_world().await?;
    let conversation = lively_conversation(&world).await?;
    let tools = install("python").await?;
    let document = document_of(&world, tools.path()).await?;
    let config = tools.path().join("generator.yaml");
    let names = "project_name_override: tributary-client\npackage_name_override: tributary_client\npost_hooks: []\n";
    tokio::fs::write(&config, names).await?;
    let client = tools.path().join("client");
    run(Command::new(tools.path().join("bin/openapi-python-client"))
        .args(["generate", "--meta", "none", "--fail-on-warning", "--path"])
        .arg(document)
        .arg("--config")
        .arg(config)
        .arg("--output-path")
        .arg(client.join("tributary_client")))
    .await?;
    run(Command::new(tools.path().join("bin/python"))
        .arg(folder().join("client.py"))
        .arg(client)
        .args(arguments(&world, conversation)))
    .await
}

#[tokio::test]
async fn a_generated_typescript_client_sends_and_reads_everything() -> Result<()> {
    let world = busy_world().await?;
    let conversation = lively_conversation(&world).await?;
    let tools = install("node").await?;
    let document = document_of(&world, tools.path()).await?;
    let of = |tool: &str| tools.path().join("node_modules/.bin").join(tool);
    run(Command::new(of("openapi-typescript"))
        .arg(document)
        .arg("--output")
        .arg(tools.path().join("schema.ts")))
    .await?;
    tokio::fs::copy(folder().join("client.ts"), tools.path().join("client.ts")).await?;
    run(Command::new(of("tsc")).current_dir(tools.path()).args([
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--skipLibCheck",
        "--lib",
        "es2022,dom",
        "client.ts",
    ]))
    .await?;
    run(Command::new("node")
        .arg(tools.path().join("client.js"))
        .args(arguments(&world, conversation)))
    .await
}

#[tokio::test]
async fn the_asyncapi_project_reads_our_document() -> Result<()> {
    let tools = install("node").await?;
    let program = tools.path().join("asyncapi.mjs");
    tokio::fs::copy(folder().join("asyncapi.mjs"), &program).await?;
    let document = tools.path().join("asyncapi.json");
    let read = |document: &Path| {
        let mut command = Command::new("node");
        command.arg(&program).arg(document);
        command
    };
    let mut current = asyncapi_document();
    tokio::fs::write(&document, current.to_string()).await?;
    run(&mut read(&document)).await?;
    current["channels"]["inbound"]["bindings"]["amqp"]["is"] = json!("nothing");
    tokio::fs::write(&document, current.to_string()).await?;
    ensure!(
        run(&mut read(&document)).await.is_err(),
        "it reads anything"
    );
    Ok(())
}
