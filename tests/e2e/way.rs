//! The whole way of a message, in both directions and to an integrator: on the embedded bus and store, and as a fleet of
//! processes on RabbitMQ and PostgreSQL.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tributary_simulators::{
    endpoint::Endpoint,
    telegram::{Options, TelegramSimulator},
};

use crate::{
    fleet::Fleet,
    support::{Api, Demo, Spawn, Visitor, eventually, fetch},
};

const SOON: Duration = Duration::from_secs(60);

/// Where a system under test is reached.
struct Reach<'a> {
    api: &'a Api,
    ingress: String,
    widget: &'a str,
    telegram: &'a TelegramSimulator,
}

#[tokio::test]
async fn the_whole_way_on_the_embedded_bus_and_store() {
    let telegram = TelegramSimulator::start(Options::quick())
        .await
        .expect("simulator");
    let spawn = Spawn::default()
        .set("TRIBUTARY_CHANNELS__TELEGRAM__TOKEN", telegram.token())
        .set("TRIBUTARY_CHANNELS__TELEGRAM__API_URL", telegram.base_url())
        .set("TRIBUTARY_WEBHOOKS__ALLOW_INTERNAL", "[\"127.0.0.0/8\"]");
    let mut demo = Demo::start(spawn).await;
    let reach = Reach {
        api: &demo.api,
        ingress: demo.ingress.clone(),
        widget: "demo",
        telegram: &telegram,
    };
    go_the_whole_way(&reach).await;
    what_happened_can_be_watched(&demo.operations).await;
    nothing_is_dead(&Spawn::new(&["dead", "list"]), &demo.folder);
    assert!(
        demo.program.terminate().await.success(),
        "{:#?}",
        demo.program.output()
    );
}

/// What a new user pastes into another terminal.
#[tokio::test]
async fn the_printed_line_answers_the_latest_conversation() {
    let demo = Demo::start(Spawn::default()).await;
    let mut visitor = Visitor::arrive(&demo.ingress, "demo").await;
    visitor.say("Is anybody there?").await;
    eventually("the conversation", || async {
        let all = demo.api.list("/v1/conversations").await;
        (!all.is_empty()).then_some(())
    })
    .await;
    let line = format!("curl -sS{}", demo.program.printed("  curl -sS").await);
    let line = line.replacen("curl -sS-H", "curl -sS -H", 1);
    let answer = tokio::process::Command::new("bash")
        .args(["-c", &line])
        .output()
        .await
        .expect("bash runs");
    assert!(answer.status.success(), "{answer:?}");
    visitor
        .until("the answer", |history| {
            history.values().any(|event| event["from"] == "agent")
        })
        .await;
    assert_eq!(visitor.answers(), ["Hello from the API"]);
}

#[tokio::test]
async fn the_whole_way_as_a_fleet_on_rabbitmq_and_postgresql() {
    let telegram = TelegramSimulator::start(Options::quick())
        .await
        .expect("simulator");
    let fleet = Fleet::start(&telegram, 2).await;
    let reach = Reach {
        api: &fleet.api,
        ingress: fleet.ingresses()[0].clone(),
        widget: "chat",
        telegram: &telegram,
    };
    go_the_whole_way(&reach).await;
    fleet.assert_quiet().await;
    fleet.terminate().await;
}

/// The numbers that operators build on exist by their names.
async fn what_happened_can_be_watched(operations: &str) {
    let (ready, checks) = fetch(&format!("{operations}/readyz"))
        .await
        .expect("an answer");
    assert_eq!(ready, 200, "{checks}");
    let (_, metrics) = fetch(&format!("{operations}/metrics"))
        .await
        .expect("an answer");
    for name in [
        "tributary_messages_total{",
        "tributary_lanes_owned{",
        "tributary_lane_depth{",
        "tributary_lane_outcomes_total{",
        "tributary_publish_seconds",
        "tributary_settle_seconds",
        "tributary_webhook_deliveries_total{",
    ] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
}

/// The process that answers may serve no channel itself.
async fn previews_show_what_each_channel_would_carry(api: &Api, widget: &str) {
    let long = json!({"content": {"type": "text", "text": "word ".repeat(1000)}});
    for (channel, parts) in [(widget, 1), ("telegram", 2)] {
        let preview = api
            .post(&format!("/v1/channels/{channel}/preview"), long.clone())
            .await;
        let shown = preview["parts"].as_array().map_or(0, Vec::len);
        assert_eq!(shown, parts, "{channel}: {preview}");
        let codes: Vec<&Value> = preview["degraded"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|change| &change["code"])
            .collect();
        let wanted = if parts > 1 {
            vec!["text_split"]
        } else {
            vec![]
        };
        assert_eq!(codes, wanted, "{channel}");
    }
    let unsendable = json!({"content": {"type": "unsupported", "kind": "poll"}});
    let (status, problem) = api
        .call(
            Method::POST,
            &format!("/v1/channels/{widget}/preview"),
            Some(unsendable),
        )
        .await
        .expect("the API answers");
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["code"], "unrenderable");
}

async fn go_the_whole_way(reach: &Reach<'_>) {
    let endpoint = Endpoint::start().await.expect("simulator");
    let created = reach
        .api
        .post(
            "/v1/endpoints",
            json!({"url": endpoint.url(), "events": ["*"]}),
        )
        .await;
    // What was published before the endpoint was there (a channel that works, say) is not for it.
    let earlier = reach.api.list("/v1/events?limit=100").await;
    endpoint
        .set_secret(created["secret"].as_str().expect("a secret"))
        .expect("a valid secret");

    previews_show_what_each_channel_would_carry(reach.api, reach.widget).await;
    widget_both_ways(reach).await;
    telegram_both_ways(reach).await;

    // Every event that was published reached the integrator, signed, and in order per conversation.
    let published = reach.api.list("/v1/events?limit=100").await;
    let published: Vec<Value> = published
        .into_iter()
        .filter(|event| earlier.iter().all(|e| e["id"] != event["id"]))
        .collect();
    assert!(published.len() >= 10, "{published:#?}");
    endpoint
        .wait_until(SOON, |records| {
            published.iter().all(|event| {
                records
                    .events
                    .iter()
                    .any(|e| event["id"].as_str() == Some(e.id()))
            })
        })
        .await
        .expect("every published event arrives");
    endpoint
        .assert_ordered()
        .expect("in order per conversation");
    let kinds: Vec<String> = endpoint
        .events()
        .iter()
        .map(|event| event.event_type().to_owned())
        .collect();
    for kind in [
        "contact.created.v1",
        "conversation.created.v1",
        "conversation.assigned.v1",
        "message.created.v1",
        "message.status_changed.v1",
        "contact.blocked.v1",
    ] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind} in {kinds:?}");
    }
}

async fn widget_both_ways(reach: &Reach<'_>) {
    let mut visitor = Visitor::arrive(&reach.ingress, reach.widget).await;
    visitor.say("hello from the site").await;
    let conversation = conversation_of(reach.api, reach.widget).await;
    eventually("assigned", || async {
        let now = reach
            .api
            .get(&format!("/v1/conversations/{conversation}"))
            .await;
        (now["state"] == "assigned" && now["agent_id"].is_string()).then_some(())
    })
    .await;

    let message = reach.api.reply(&conversation, "hello from an agent").await;
    status(reach.api, &message, "sent").await;
    visitor
        .until("the answer", |history| history.len() == 1)
        .await;
    assert_eq!(visitor.answers(), ["hello from an agent"]);
    visitor.confirm("delivered").await;
    status(reach.api, &message, "delivered").await;
    visitor.confirm("read").await;
    status(reach.api, &message, "read").await;

    let messages = reach
        .api
        .list(&format!("/v1/conversations/{conversation}/messages"))
        .await;
    let texts: Vec<&str> = messages
        .iter()
        .filter_map(|message| message["content"]["text"].as_str())
        .collect();
    assert_eq!(texts, ["hello from the site", "hello from an agent"]);
}

async fn telegram_both_ways(reach: &Reach<'_>) {
    let user = reach.telegram.user(5_550_001_111);
    user.starts(Some("order_991"));
    user.says("where is my order?");
    let conversation = conversation_of(reach.api, "telegram").await;
    let contact = reach
        .api
        .get(&format!("/v1/conversations/{conversation}"))
        .await["contact_id"]
        .clone();
    let contact = contact.as_str().expect("an id").to_owned();

    // The deep link's payload is told to integrators.
    eventually("contact.created with the payload", || async {
        let events = reach.api.list("/v1/events?limit=100&types=contact.*").await;
        events
            .iter()
            .any(|event| event["data"]["payload"] == "order_991")
            .then_some(())
    })
    .await;

    let message = reach.api.reply(&conversation, "on its way").await;
    status(reach.api, &message, "sent").await;
    let sent = reach.telegram.sent_to(5_550_001_111);
    assert_eq!(
        sent.iter().map(|s| s.text.as_str()).collect::<Vec<_>>(),
        ["on its way"]
    );

    // What this version does not carry is named, not lost.
    user.sends_dice();
    eventually("the dice", || async {
        let messages = reach
            .api
            .list(&format!("/v1/conversations/{conversation}/messages"))
            .await;
        messages
            .iter()
            .any(|m| m["content"]["type"] == "unsupported" && m["content"]["kind"] == "dice")
            .then_some(())
    })
    .await;

    // Blocked: the contact has left; a message to it fails and says why.
    user.blocks();
    eventually("blocked", || async {
        let contact = reach.api.get(&format!("/v1/contacts/{contact}")).await;
        (contact["blocked"] == true).then_some(())
    })
    .await;
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = json!({"content": {"type": "text", "text": "still there?"}});
    let (refused, problem) = reach
        .api
        .call(Method::POST, &path, Some(body))
        .await
        .expect("the API answers");
    assert_eq!(refused, StatusCode::CONFLICT, "{problem}");
    assert_eq!(problem["code"], "contact_blocked");

    // Another one blocks without our being told: the send finds out.
    let silent = reach.telegram.user(5_550_001_112);
    silent.says("hi");
    let other = eventually("the other conversation", || async {
        let conversations = reach.api.list("/v1/conversations?limit=50").await;
        conversations
            .iter()
            .find(|c| c["channel_id"] == "telegram" && c["id"] != conversation.as_str())
            .and_then(|c| c["id"].as_str().map(str::to_owned))
    })
    .await;
    silent.set_standing(tributary_simulators::telegram::Standing::Blocked);
    let lost = reach.api.reply(&other, "anybody?").await;
    let failed = status(reach.api, &lost, "failed").await;
    assert_eq!(failed["failure"]["code"], "unreachable", "{failed}");
}

async fn conversation_of(api: &Api, channel: &str) -> String {
    eventually(&format!("a conversation in {channel}"), || async {
        let conversations = api.list("/v1/conversations?limit=50").await;
        conversations
            .iter()
            .find(|conversation| conversation["channel_id"] == channel)
            .and_then(|conversation| conversation["id"].as_str().map(str::to_owned))
    })
    .await
}

async fn status(api: &Api, message: &str, wanted: &str) -> Value {
    eventually(&format!("message is {wanted}"), || async {
        let now = api.get(&format!("/v1/messages/{message}")).await;
        (now["status"] == wanted).then_some(now)
    })
    .await
}

/// No message of the test became a dead letter.
fn nothing_is_dead(list: &Spawn, folder: &std::path::Path) {
    let (status, out, err) = list.output(folder);
    assert!(
        status.success() && out.contains("no dead letters"),
        "{out}{err}"
    );
}
