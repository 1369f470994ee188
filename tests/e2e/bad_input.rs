//! Bad input at the outer doors of the running program. What one room refuses by itself is tested in that room.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tributary_bus::{
    AmqpBus, Bus as _, BusState, Destination, Envelope, EventId, Lane, LaneSpec, OrganizationId,
    Publication, message::DeliveryTyping,
};
use tributary_config::{Secret, load_text};
use tributary_simulators::telegram::{Options, TelegramSimulator};

use crate::{
    fleet::Fleet,
    support::{Api, Demo, Program, Spawn, Visitor, eventually},
};

async fn post(url: &str, secret: Option<&str>, body: Vec<u8>) -> StatusCode {
    let mut request = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/json")
        .body(body);
    if let Some(secret) = secret {
        request = request.header("x-telegram-bot-api-secret-token", secret);
    }
    request.send().await.expect("the ingress answers").status()
}

#[tokio::test]
async fn the_ingress_refuses_what_it_should_and_goes_on() {
    let telegram = TelegramSimulator::start(Options::quick())
        .await
        .expect("simulator");
    let spawn = Spawn::default()
        .set("TRIBUTARY_CHANNELS__TELEGRAM__TOKEN", telegram.token())
        .set("TRIBUTARY_CHANNELS__TELEGRAM__API_URL", telegram.base_url())
        // The simulator posts to what it is told; the test posts as well.
        .set("TRIBUTARY_INGRESS__PUBLIC_URL", "http://127.0.0.1:9")
        .set("TRIBUTARY_INGRESS__BODY_LIMIT", 20_000);
    let demo = Demo::start(spawn).await;
    let (hook, secret) = eventually("the webhook is set", || async {
        let call = telegram.calls_of("setWebhook").pop()?;
        Some((
            call.parameters.get("url")?.to_owned(),
            call.parameters.get("secret_token")?.to_owned(),
        ))
    })
    .await;
    let hook = hook.replace("http://127.0.0.1:9", &demo.ingress);
    let update = |id: u64| {
        json!({"update_id": id, "message": {
            "message_id": id, "from": {"id": 77, "is_bot": false, "first_name": "O"},
            "chat": {"id": 77, "type": "private", "first_name": "O"}, "date": 1_767_225_600, "text": format!("text {id}"),
        }})
        .to_string()
        .into_bytes()
    };

    assert_eq!(
        post(&hook, None, update(1)).await,
        StatusCode::UNAUTHORIZED,
        "no secret"
    );
    assert_eq!(
        post(&hook, Some("wrong"), update(1)).await,
        StatusCode::UNAUTHORIZED,
        "a wrong secret"
    );
    let elsewhere = hook.replace("/channels/telegram", "/channels/nobody");
    assert_eq!(
        post(&elsewhere, Some(&secret), update(1)).await,
        StatusCode::NOT_FOUND,
        "an unknown channel"
    );
    let large = vec![b'x'; 30_000];
    assert_eq!(
        post(&hook, Some(&secret), large).await,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    // A provider that is answered an error sends the same again and blocks what comes after it: taken, named, kept.
    assert_eq!(
        post(&hook, Some(&secret), b"{not json".to_vec()).await,
        StatusCode::OK,
        "invalid JSON"
    );
    assert_eq!(post(&hook, Some(&secret), update(2)).await, StatusCode::OK);
    // The same once more is the same message.
    assert_eq!(post(&hook, Some(&secret), update(2)).await, StatusCode::OK);
    assert_eq!(post(&hook, Some(&secret), update(3)).await, StatusCode::OK);

    let texts = eventually("the messages", || async {
        let conversations = demo.api.list("/v1/conversations?limit=50").await;
        let conversation = conversations
            .iter()
            .find(|c| c["channel_id"] == "telegram")?;
        let path = format!(
            "/v1/conversations/{}/messages",
            conversation["id"].as_str()?
        );
        let messages = demo.api.list(&path).await;
        let texts: Vec<String> = messages
            .iter()
            .filter_map(|m| m["content"]["text"].as_str().map(str::to_owned))
            .collect();
        (texts.len() >= 2).then_some(texts)
    })
    .await;
    assert_eq!(texts, ["text 2", "text 3"]);
    let output = demo.program.output().join("\n");
    assert!(
        !output.contains(telegram.token()) && !output.contains(&secret),
        "a secret in the log"
    );
    assert!(!output.contains("text 2"), "message text in the log");
}

#[tokio::test]
async fn a_wrong_key_and_another_organizations_ids_open_nothing() {
    let config = r#"
        [organizations.rival]
        name = "Rival"
    "#;
    let demo = Demo::start(Spawn::default().config(config)).await;
    let mut visitor = Visitor::arrive(&demo.ingress, "demo").await;
    visitor.say("for demo only").await;
    let conversation = eventually("the conversation", || async {
        demo.api
            .list("/v1/conversations")
            .await
            .first()
            .and_then(|c| c["id"].as_str().map(str::to_owned))
    })
    .await;

    let (status, key, err) =
        Spawn::new(&["key", "create", "--organization", "rival", "--name", "spy"])
            .config(config)
            .output(&demo.folder);
    assert!(status.success(), "{err}");
    let rival = Api::new(&demo.api.base, key.trim());
    let stranger = Api::new(
        &demo.api.base,
        "trib_0123456789012345678901234567890123456789012",
    );
    let path = format!("/v1/conversations/{conversation}");
    let (status, problem) = rival
        .call(reqwest::Method::GET, &path, None)
        .await
        .expect("an answer");
    assert_eq!(
        (status, problem["code"].as_str()),
        (StatusCode::NOT_FOUND, Some("not_found"))
    );
    let (status, _) = stranger
        .call(reqwest::Method::GET, &path, None)
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(rival.list("/v1/conversations").await.is_empty());
    assert!(rival.list("/v1/events").await.is_empty());
    let body = json!({"content": {"type": "text", "text": "from the rival"}});
    let (status, _) = rival
        .call(
            reqwest::Method::POST,
            &format!("{path}/messages"),
            Some(body),
        )
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_is_a_dead_letter_that_can_be_shown_and_replayed() {
    let telegram = TelegramSimulator::start(Options::quick())
        .await
        .expect("simulator");
    let fleet = Fleet::start(&telegram, 1).await;
    let settings = load_text("test", "", &[]).expect("defaults");
    let bus = AmqpBus::connect(&tributary_config::Bus {
        url: Secret::new(fleet.rabbitmq.url.clone()),
        ..settings.bus
    });
    let mut state = bus.state();
    state
        .wait_for(|state| *state == BusState::Ready)
        .await
        .expect("the bus lives");
    let typing = DeliveryTyping {
        conversation_id: tributary_bus::ConversationId::generate(),
        channel_id: "chat".into(),
        to: "somebody-private".into(),
        seq: 1,
        extra: serde_json::Map::from_iter([("text".to_owned(), Value::from("pineapple"))]),
    };
    let mut envelope = Envelope::wrap(
        EventId::generate(),
        "/test".to_owned(),
        OrganizationId::from("acme"),
        None,
        &typing,
    )
    .expect("an envelope");
    envelope.kind = "message.received.v9".to_owned();
    let lane = Lane::Inbound(0);
    bus.declare(&[LaneSpec {
        lane: lane.clone(),
        filter: None,
    }])
    .await
    .expect("declared");
    let published = bus
        .publish(vec![Publication {
            to: Destination::Lane(lane),
            envelope: envelope.seal().expect("JSON"),
        }])
        .await;
    assert!(published.iter().all(Result::is_ok), "{published:?}");

    let folder = tempfile::TempDir::new().expect("temporary folder");
    let run = |arguments: &[&str]| {
        let spawn = Spawn {
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            ..fleet.slots["router 0"].spawn.clone()
        };
        let (status, out, err) = spawn.output(folder.path());
        assert!(status.success(), "{arguments:?}: {out}{err}");
        out
    };
    let line = eventually("the dead letter", || async {
        tokio::task::block_in_place(|| run(&["dead", "list"]))
            .lines()
            .find(|line| line.contains("message.received.v9"))
            .map(str::to_owned)
    });
    let line = line.await;
    assert!(
        line.contains("inbound.0") && line.contains("unknown event type or version"),
        "{line}"
    );
    let id = line.split_whitespace().next().expect("an id");
    let shown = run(&["dead", "show", id]);
    assert!(shown.contains("message.received.v9"), "{shown}");
    assert!(
        !shown.contains("pineapple") && !shown.contains("somebody-private"),
        "{shown}"
    );
    assert!(run(&["dead", "show", id, "--content"]).contains("pineapple"));
    assert!(run(&["dead", "requeue", id]).contains("1 of 1 requeued"));
    // Nobody can read it now either: it comes back under the same id, dead since another moment.
    eventually("dead once more", || async {
        let list = tokio::task::block_in_place(|| run(&["dead", "list"]));
        list.contains(id).then_some(())?;
        let again = tokio::task::block_in_place(|| run(&["dead", "show", id]));
        (again != shown).then_some(())
    })
    .await;
    bus.close().await;
}

#[tokio::test]
async fn a_process_says_why_it_cannot_start_on_a_folder_that_is_not_its_own() {
    let folder = tempfile::TempDir::new().expect("temporary folder");
    std::fs::write(
        folder.path().join("data"),
        "a file where the folder should be",
    )
    .expect("write");
    let mut program: Program = Spawn::new(&["up"]).free_ports().start(folder.path());
    let started = std::time::Instant::now();
    while program.is_running() {
        assert!(
            started.elapsed() < crate::support::PATIENCE,
            "it runs: {:#?}",
            program.output()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(program.logged("data"), "{:#?}", program.output());
}
