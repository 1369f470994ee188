//! A custom channel in the whole program: a system of one's own, and the examples of its documentation as they are written.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tributary_simulators::custom::{CustomSystem, Forged, fresh_secret};

use crate::support::{Api, Demo, Spawn, eventually, free_port};

fn spawn(url: &str, secret: &str) -> Spawn {
    Spawn::default().config(format!(
        "[organizations.demo]\nname = 'Demo'\n[channels.acme-crm]\nkind = 'custom'\norganization = 'demo'\n\
         url = '{url}'\nsecret = '{secret}'\nallow_internal = ['127.0.0.0/8']\n"
    ))
}

async fn conversation(api: &Api) -> String {
    eventually("a conversation", || async {
        let conversations = api.list("/v1/conversations?limit=50").await;
        conversations
            .iter()
            .find(|conversation| conversation["channel_id"] == "acme-crm")
            .and_then(|conversation| conversation["id"].as_str().map(str::to_owned))
    })
    .await
}

async fn status(api: &Api, message: &str, wanted: &str) -> Value {
    eventually(&format!("message is {wanted}"), || async {
        let message = api.get(&format!("/v1/messages/{message}")).await;
        (message["status"] == wanted).then_some(message)
    })
    .await
}

async fn quit(mut demo: Demo) {
    let list = Spawn::new(&["dead", "list"]);
    let (listed, out, err) = list.output(&demo.folder);
    assert!(
        listed.success() && out.contains("no dead letters"),
        "{out}{err}"
    );
    assert!(
        demo.program.terminate().await.success(),
        "{:#?}",
        demo.program.output()
    );
}

#[tokio::test]
async fn a_system_of_ones_own_the_whole_way() {
    let system = CustomSystem::start().await.expect("simulator");
    let demo = Demo::start(spawn(&system.url(), &system.secret())).await;
    let account = format!("{}/channels/acme-crm", demo.ingress);
    let event = json!({
        "type": "message", "id": "m-1", "at": "2026-03-01T10:00:00Z",
        "from": {"address": "client-77", "name": "Olena"},
        "content": {"type": "text", "text": "Is my order ready?"},
    });
    let body = json!({"events": [event]}).to_string();
    let url = format!("{account}/messages");
    let forged = system.post(&url, body, Forged::WrongSecret).await;
    assert_eq!(forged.expect("an answer").status, 401);
    for _ in 0..2 {
        let reply = system
            .send_events(&account, std::slice::from_ref(&event))
            .await;
        assert_eq!(reply.expect("an answer").body, json!({"accepted": 1}));
    }
    let conversation = conversation(&demo.api).await;
    let message = demo.api.reply(&conversation, "Yes!").await;
    status(&demo.api, &message, "sent").await;
    let delivered = system.delivered_of("send");
    assert_eq!(delivered.len(), 1);
    assert_eq!(
        (delivered[0].text(), &delivered[0].body["to"]),
        ("Yes!", &json!("client-77"))
    );
    for told in ["delivered", "read"] {
        let report = json!({"id": delivered[0].id, "status": told});
        let reply = system.send_statuses(&account, &[report]).await;
        assert_eq!(reply.expect("an answer").body, json!({"accepted": 1}));
        status(&demo.api, &message, told).await;
    }
    let path = format!("/v1/conversations/{conversation}/messages");
    let messages = demo.api.list(&path).await;
    assert_eq!(
        messages.len(),
        2,
        "what came twice is one message: {messages:#?}"
    );
    quit(demo).await;
}

/// The code of an example in the documentation.
fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/channels/custom.md");
    let text = std::fs::read_to_string(path).expect("the documentation");
    let (_, after) = text
        .split_once(&format!("<!-- example: {name} -->"))
        .expect("the example");
    let (_, after) = after.split_once("```").expect("a block");
    let (_, code) = after.split_once('\n').expect("code");
    code.split_once("```").expect("an end").0.to_owned()
}

#[tokio::test]
async fn the_examples_of_the_documentation_work() {
    let (port, secret) = (free_port(), fresh_secret());
    let demo = Demo::start(spawn(&format!("http://127.0.0.1:{port}/"), &secret)).await;
    let command = |program: &str, code: &str| {
        let mut command = Command::new(program);
        command
            .args(["-c", code])
            .env("CRM_SECRET", &secret)
            .env("PORT", port.to_string())
            .env("CHANNEL", format!("{}/channels/acme-crm", demo.ingress))
            .stdin(Stdio::null());
        command
    };
    let mut server = command("python3", &example("serve"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("python3 runs");
    let sent = command("bash", &example("send"))
        .output()
        .expect("bash runs");
    let (out, err) = (
        String::from_utf8_lossy(&sent.stdout),
        String::from_utf8_lossy(&sent.stderr),
    );
    assert_eq!(out.trim(), "{\"accepted\":1}", "{err}");
    let conversation = conversation(&demo.api).await;
    let message = demo.api.reply(&conversation, "Yes!").await;
    status(&demo.api, &message, "delivered").await;
    server.kill().expect("it ran until now");
    server.wait().expect("it ends");
    quit(demo).await;
}
