//! Every state that a request puts something into can be left by a request.

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ACME, Kind, World};

async fn on_both(case: impl AsyncFn(&World) -> Result<()>) -> Result<()> {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        case(&World::start(kind).await?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_conversation_is_taken_from_its_agent() -> Result<()> {
    on_both(async |world| {
        let (_, id) = world.conversation(ACME).await?;
        let path = format!("/v1/conversations/{id}");
        let agent = world
            .send(Method::POST, "/v1/agents", &json!({ "name": "Olena" }))
            .await?
            .expect(201)?;
        let assign = async |agent: &Value| {
            let body = json!({ "agent_id": agent });
            let path = format!("{path}/assign");
            world.send(Method::POST, &path, &body).await
        };
        let given = assign(&agent.body["id"]).await?.expect(200)?;
        ensure!(given.body["state"] == "assigned", "{}", given.text);
        let back = assign(&Value::Null).await?.expect(200)?;
        ensure!(back.body["state"] == "waiting", "{}", back.text);
        ensure!(back.body["agent_id"].is_null(), "{}", back.text);
        ensure!(world.get(&path).await?.expect(200)?.body == back.body);
        let again = assign(&Value::Null).await?.expect(200)?;
        ensure!(again.body == back.body, "{}", again.text);
        world.post(&format!("{path}/close")).await?.expect(200)?;
        assign(&Value::Null)
            .await?
            .problem(409, "conversation_closed")
    })
    .await
}
