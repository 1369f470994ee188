//! The connector kit on the running program, with Telegram: media both ways, choices and their answers, changes of messages,
//! the channel log, health, preview and replay, as an integrator and an operator meet them.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tributary_simulators::{
    endpoint::Endpoint,
    telegram::{ChangeKind, Media, Options, TelegramSimulator, User, sample},
};

use crate::support::{Demo, PATIENCE, Spawn, eventually, nothing_held};

const OLENA: i64 = 5_550_001_111;

struct Scene {
    telegram: TelegramSimulator,
    endpoint: Endpoint,
    demo: Demo,
}

impl Scene {
    async fn start() -> Self {
        let telegram = TelegramSimulator::start(Options::quick())
            .await
            .expect("simulator");
        let endpoint = Endpoint::start().await.expect("endpoint");
        let spawn = Spawn::default()
            .set("TRIBUTARY_CHANNELS__TELEGRAM__TOKEN", telegram.token())
            .set("TRIBUTARY_CHANNELS__TELEGRAM__API_URL", telegram.base_url())
            .set("TRIBUTARY_CHANNELS__TELEGRAM__CHAT_BURST", 30)
            .set("TRIBUTARY_CHANNELS__TELEGRAM__CHAT_RATE_PER_SECOND", "30.0")
            .set("TRIBUTARY_WEBHOOKS__ALLOW_INTERNAL", "[\"127.0.0.0/8\"]");
        let demo = Demo::start(spawn).await;
        let body = json!({"url": endpoint.url(), "events": ["*"]});
        demo.api.post("/v1/endpoints", body).await;
        Self {
            telegram,
            endpoint,
            demo,
        }
    }

    /// The path of the one Telegram conversation.
    async fn conversation(&self) -> String {
        eventually("the conversation", || async {
            let all = self.demo.api.list("/v1/conversations").await;
            let found = all.iter().find(|c| c["channel_id"] == "telegram")?;
            Some(format!("/v1/conversations/{}", found["id"].as_str()?))
        })
        .await
    }

    /// The latest message of the conversation that satisfies, waited for.
    async fn message(&self, what: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
        let path = format!("{}/messages?limit=200", self.conversation().await);
        eventually(what, || async {
            let messages = self.demo.api.list(&path).await;
            messages
                .into_iter()
                .rev()
                .find(|message| satisfied(message))
        })
        .await
    }

    async fn send(&self, body: Value) -> String {
        let path = format!("{}/messages", self.conversation().await);
        let sent = self.demo.api.post(&path, body).await;
        sent["id"].as_str().expect("an id").to_owned()
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let answer = self.demo.api.call(method, path, body).await;
        answer.expect("the API answers")
    }

    /// Waits until the integrator was told of an event of this type that satisfies.
    async fn told(&self, kind: &str, satisfied: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the endpoint was told {kind}"), || async {
            let events = self.endpoint.events();
            let mut found = events.iter().filter(|event| event.event_type() == kind);
            found
                .find(|event| satisfied(event.data()))
                .map(|event| event.data().clone())
        })
        .await
    }

    /// Every test ends with lanes that are empty and nothing in hand.
    async fn end(&self) {
        nothing_held(&self.demo.operations).await;
    }

    async fn is_sent(&self, id: &str) {
        self.message("it was sent", |m| m["id"] == id && m["status"] == "sent")
            .await;
    }
}

async fn bytes_behind(url: &str) -> Vec<u8> {
    let response = reqwest::get(url).await.expect("the link answers");
    assert_eq!(response.status(), 200, "{url}");
    response.bytes().await.expect("a body").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_both_ways_and_no_link_holds_the_token() {
    let scene = Scene::start().await;
    let olena = scene.telegram.user(OLENA);
    let picture = sample::jpeg(640, 480, 7);
    olena.sends_media(Media::photo(picture.clone()).caption("Broken screen"));

    let message = scene
        .message("the picture is there", |m| {
            m["content"]["media"]["state"] == "ready"
        })
        .await;
    let content = &message["content"];
    assert_eq!(content["type"], "image");
    assert_eq!(content["caption"]["text"], "Broken screen");
    assert_eq!(content["media"]["mime"], "image/jpeg");
    let link = content["media"]["url"].as_str().expect("a link");
    assert!(!message.to_string().contains(scene.telegram.token()));
    assert_eq!(bytes_behind(link).await, picture.to_vec());
    // The integrator heard of it before it was here, and again when it was.
    scene
        .told("message.created.v1", |data| {
            data["message"]["content"]["media"]["state"] == "pending"
        })
        .await;
    let updated = scene
        .told("message.updated.v1", |data| {
            data["message"]["content"]["media"]["state"] == "ready"
        })
        .await;
    let link = updated["message"]["content"]["media"]["url"].as_str();
    assert_eq!(bytes_behind(link.expect("a link")).await, picture.to_vec());

    // What came in goes out again by its name, and what was uploaded by its own.
    let media_id = content["media"]["media_id"].clone();
    scene
        .send(json!({"content": {"type": "image", "media": {"media_id": media_id}, "caption": {"text": "Yours"}}}))
        .await;
    let (status, answer) = scene
        .demo
        .api
        .upload("/v1/media?name=invoice.pdf", "application/pdf", PDF)
        .await;
    assert_eq!(status, 201, "{answer}");
    let media = json!({"media_id": answer["media"]["media_id"], "name": "invoice.pdf"});
    scene
        .send(json!({"content": {"type": "file", "media": media}}))
        .await;
    let chat = olena
        .wait_until_sees(PATIENCE, |chat| chat.from_bot().count() == 2)
        .await
        .expect("both arrive");
    let seen: Vec<_> = chat.from_bot().collect();
    let file = seen[0].file.as_ref().expect("a picture");
    assert_eq!(file.size, picture.len());
    assert_eq!(seen[0].text, "Yours");
    let file = seen[1].file.as_ref().expect("a file");
    assert_eq!(
        (file.size, file.file_name.as_deref()),
        (PDF.len(), Some("invoice.pdf"))
    );
    scene.end().await;
}

const PDF: &[u8] = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n";

#[tokio::test(flavor = "multi_thread")]
async fn choices_are_answered_and_messages_change() {
    let scene = Scene::start().await;
    let olena = scene.telegram.user(OLENA);
    let asked = olena.says("I want tea");
    let question = scene
        .send(
            json!({"content": {"type": "choices", "text": {"text": "Which?"}, "options": [
            {"id": "green", "title": "Green"}, {"id": "black", "title": "Black"}]}}),
        )
        .await;
    // Nobody presses sooner than the provider's id of the question is known here.
    scene.is_sent(&question).await;
    let chat = sees(&olena, |texts| texts.contains(&"Which?".to_owned())).await;
    olena.presses_button(chat, "Black").expect("a button");
    let reply = scene
        .message("the answer", |m| m["content"]["type"] == "choice_reply")
        .await;
    assert_eq!(reply["content"]["id"], "black");
    assert_eq!(reply["content"]["title"], "Black");
    assert_eq!(reply["reply_to"], question.as_str());

    // A key of a keyboard writes its label; it is the choice all the same.
    let question = scene
        .send(
            json!({"content": {"type": "choices", "text": {"text": "Sugar?"}, "style": "quick_replies",
                "options": [{"id": "y", "title": "Yes"}, {"id": "n", "title": "No"}]}}),
        )
        .await;
    scene.is_sent(&question).await;
    sees(&olena, |texts| texts.contains(&"Sugar?".to_owned())).await;
    olena.presses_key("No").expect("a key");
    let reply = scene
        .message("the key that was pressed", |m| {
            m["content"]["type"] == "choice_reply" && m["reply_to"] == question.as_str()
        })
        .await;
    assert_eq!(reply["content"]["id"], "n");
    assert_eq!(reply["content"]["title"], "No");
    assert_eq!(reply["content"]["typed"], "No");

    // An answer to a message of the contact, with formatting; changed, reacted to, taken back.
    let first = scene
        .message("the first message", |m| {
            m["content"]["text"] == "I want tea"
        })
        .await;
    let answer = scene
        .send(json!({
            "content": {"type": "text", "text": "Coming soon", "entities": [{"offset": 7, "length": 4, "kind": "bold"}]},
            "reply_to": first["id"],
        }))
        .await;
    scene.is_sent(&answer).await;
    let seen = olena.sees();
    let last = seen.from_bot().last().expect("an answer");
    assert_eq!(last.reply_to, Some(asked.message_id));
    assert_eq!(last.entities[0]["type"], "bold");
    let (status, body) = scene
        .call(
            Method::PATCH,
            &format!("/v1/messages/{answer}"),
            Some(json!({"content": {"type": "text", "text": "Here it is"}})),
        )
        .await;
    assert!(status.is_success(), "{body}");
    sees(&olena, |texts| texts.contains(&"Here it is".to_owned())).await;
    scene
        .told("message.edited.v1", |data| {
            data["message"]["content"]["text"] == "Here it is"
        })
        .await;

    let first = first["id"].as_str().expect("an id").to_owned();
    let reactions = format!("/v1/messages/{first}/reactions");
    let (status, body) = scene
        .call(Method::PUT, &reactions, Some(json!({"reactions": ["👍"]})))
        .await;
    assert!(status.is_success(), "{body}");
    olena
        .wait_until_sees(PATIENCE, |chat| {
            let message = chat.message(asked.message_id);
            message.is_some_and(|m| m.reactions.iter().any(|(_, emoji)| emoji == "👍"))
        })
        .await
        .expect("our reaction");
    olena.reacts(last.message_id, "❤");
    scene
        .told("message.reactions_changed.v1", |data| {
            data["message"]["id"] == answer.as_str() && data["message"]["reactions"] == json!(["❤"])
        })
        .await;

    let typing = format!("{}/typing", scene.conversation().await);
    let (status, body) = scene.call(Method::POST, &typing, None).await;
    assert!(status.is_success(), "{body}");
    eventually("typing is shown", || async {
        let shown = scene.telegram.changes_of(ChangeKind::Acted);
        (!shown.is_empty()).then_some(())
    })
    .await;

    let (status, body) = scene
        .call(Method::DELETE, &format!("/v1/messages/{answer}"), None)
        .await;
    assert!(status.is_success(), "{body}");
    sees(&olena, |texts| !texts.contains(&"Here it is".to_owned())).await;
    scene.told("message.deleted.v1", |_| true).await;
    scene.endpoint.assert_ordered().expect("in order");
    scene.end().await;
}

/// Waits until the person sees such texts; answers the id of the latest message of the bot.
async fn sees(user: &User, satisfied: impl Fn(&[String]) -> bool) -> i64 {
    let chat = user
        .wait_until_sees(PATIENCE, |chat| {
            let texts: Vec<String> = chat.texts().iter().map(ToString::to_string).collect();
            satisfied(&texts)
        })
        .await
        .expect("seen");
    chat.from_bot()
        .last()
        .map_or(0, |message| message.message_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn support_and_operators_can_see_what_happened() {
    let scene = Scene::start().await;
    let olena = scene.telegram.user(OLENA);
    olena.says("Hello");
    let sent = scene
        .send(json!({"content": {"type": "text", "text": "Hello back"}}))
        .await;
    scene.is_sent(&sent).await;

    let log = format!("/v1/messages/{sent}/log");
    let calls = eventually("the channel log", || async {
        let log = scene.demo.api.get(&log).await;
        let items = log["items"].as_array()?.clone();
        (!items.is_empty()).then_some(items)
    })
    .await;
    let call = &calls[0];
    assert!(
        call["call"]
            .as_str()
            .expect("a call")
            .contains("sendMessage"),
        "{call}"
    );
    assert_eq!(call["status"], 200);
    assert!(
        call["request"]
            .as_str()
            .expect("a request")
            .contains("Hello back")
    );
    assert!(!json!(calls).to_string().contains(scene.telegram.token()));

    let channel = eventually("the channel is well", || async {
        let channel = scene.demo.api.get("/v1/channels/telegram").await;
        channel.to_string().contains("\"ok\"").then_some(channel)
    })
    .await;
    assert_eq!(channel["kind"], "telegram");
    let mut spawn = Spawn::new(&["channels"]);
    spawn.environment = scene.demo.environment();
    let (status, out, err) = spawn.output(&scene.demo.folder);
    assert!(status.success(), "{err}");
    assert!(out.contains("telegram") && out.contains("ok"), "{out}");

    let long = "word ".repeat(1_500);
    let preview = scene
        .demo
        .api
        .post(
            "/v1/channels/telegram/preview",
            json!({"content": {"type": "text", "text": long}}),
        )
        .await;
    assert_eq!(
        preview["parts"].as_array().map(Vec::len),
        Some(2),
        "{preview}"
    );
    assert_eq!(preview["degraded"][0]["code"], "text_split");

    // Read again by the same parser, everything is as it was.
    let mut spawn = Spawn::new(&[
        "replay",
        "--channel",
        "telegram",
        "--since",
        "1h",
        "--dry-run",
    ]);
    spawn.environment = scene.demo.environment();
    let (status, out, err) = spawn.output(&scene.demo.folder);
    assert!(status.success(), "{out}{err}");
    assert!(out.contains('1'), "{out}");
    println!("{out}");
    scene.end().await;
}
