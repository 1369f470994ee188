//! Previews: what a channel would make of a message.

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};
use tributary_base::on;

use crate::support::{ACME, Kind, OTHER, REMOVED, World, channel_of, send};

fn preview_of(channel: &str) -> String {
    format!("/v1/channels/{channel}/preview")
}

fn text(words: &str) -> Value {
    json!({"content": {"type": "text", "text": words}})
}

#[tokio::test]
async fn a_preview_shows_parts_and_changes_and_sends_nothing() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let path = preview_of(&channel_of(ACME));
    let answer = world
        .send(Method::POST, &path, &text("twelve chars"))
        .await?;
    let answer = answer.expect(200)?;
    ensure!(
        answer.body
            == json!({
                "parts": [{"type": "text", "text": "twelve cha"}, {"type": "text", "text": "rs"}],
                "degraded": [{"code": "text_split", "detail": "text split into 2 parts"}],
            }),
        "{}",
        answer.text
    );
    let whole = world
        .send(Method::POST, &path, &text("short"))
        .await?
        .expect(200)?;
    ensure!(whole.body["degraded"] == json!([]), "{}", whole.text);
    for table in ["messages", "outbox", "conversations"] {
        ensure!(world.count(table).await? == 0, "{table}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_channel_cannot_carry_is_told_with_the_reason() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let path = preview_of(&channel_of(ACME));
    let place = json!({"content": {"type": "location", "latitude": 1.0, "longitude": 2.0}});
    let answer = world.send(Method::POST, &path, &place).await?;
    answer.problem(422, "unrenderable")?;
    ensure!(answer.text("detail")? == "not this place");
    Ok(())
}

#[tokio::test]
async fn content_that_is_none_is_refused_by_name() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let path = preview_of(&channel_of(ACME));
    for (content, why) in [
        (json!({"type": "hologram"}), "unknown type"),
        (
            json!({"type": "location", "latitude": "north"}),
            "unknown type, or lacks a field",
        ),
        (json!({"text": "hi"}), "no type"),
    ] {
        let answer = world
            .send(Method::POST, &path, &json!({ "content": content }))
            .await?;
        answer.problem(422, "invalid_body")?;
        let fault = &answer.body["errors"][0];
        ensure!(fault["at"] == "content", "{}", answer.text);
        ensure!(
            fault["detail"].as_str().context("a detail")?.contains(why),
            "{}",
            answer.text
        );
    }
    let mut extra = text("hi");
    extra["to"] = json!("everybody");
    let answer = world.send(Method::POST, &path, &extra).await?;
    answer.problem(422, "invalid_body")
}

#[tokio::test]
async fn only_configured_channels_of_the_caller_answer() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    for channel in [channel_of(OTHER), "nothing".to_owned()] {
        let answer = world
            .send(Method::POST, &preview_of(&channel), &text("hi"))
            .await?;
        answer.problem(404, "not_found")?;
    }
    let theirs = world.request(Method::POST, &preview_of(&channel_of(OTHER)));
    send(theirs.bearer_auth(&world.other).json(&text("hi")))
        .await?
        .expect(200)?;
    on!(write &world.database, db => sqlx::query(
        "INSERT INTO channels (id, organization, kind, name, created_at) VALUES ($1, $2, 'telegram', 'Old', $3)",
    )
    .bind(REMOVED)
    .bind(ACME)
    .bind(Utc::now())
    .execute(db)
    .await
    .map(drop))?;
    let answer = world
        .send(Method::POST, &preview_of(REMOVED), &text("hi"))
        .await?;
    answer.problem(409, "channel_removed")
}
