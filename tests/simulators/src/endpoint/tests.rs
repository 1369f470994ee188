//! The endpoint as a webhook worker sees it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::*;
use crate::client;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WITHIN: Duration = Duration::from_secs(5);

fn event(subject: &str, sequence: u64) -> Value {
    json!({
        "specversion": "1.0",
        "id": format!("{subject}-{sequence}"),
        "source": "/router",
        "type": "message.created.v1",
        "subject": subject,
        "sequence": sequence.to_string(),
        "data": {},
    })
}

struct Sender<'a> {
    client: Client,
    endpoint: &'a Endpoint,
    secret: &'static str,
}

impl<'a> Sender<'a> {
    fn to(endpoint: &'a Endpoint, secret: &'static str) -> Self {
        Self {
            client: client::build().expect("a client without settings"),
            endpoint,
            secret,
        }
    }

    async fn post(&self, webhook_id: &str, event: &Value) -> reqwest::Result<Response> {
        let body = event.to_string();
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the clock is past 1970");
        let timestamp = i64::try_from(since.as_secs()).expect("a near year");
        let signature = Webhook::new(self.secret)
            .and_then(|webhook| webhook.sign(webhook_id, timestamp, body.as_bytes()))
            .expect("the secret is well formed");
        self.client
            .post(self.endpoint.url())
            .header("webhook-id", webhook_id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .header("content-type", "application/cloudevents+json")
            .body(body)
            .send()
            .await
    }

    async fn status(&self, webhook_id: &str, event: &Value) -> u16 {
        self.post(webhook_id, event)
            .await
            .expect("an answer")
            .status()
            .as_u16()
    }
}

async fn endpoint() -> Endpoint {
    let endpoint = Endpoint::start().await.expect("a free port");
    endpoint
        .set_secret(SECRET)
        .expect("the secret is well formed");
    endpoint
}

#[tokio::test]
async fn a_signed_event_is_recorded() {
    let endpoint = endpoint().await;
    let sent = event("c1", 1);
    assert_eq!(Sender::to(&endpoint, SECRET).status("w1", &sent).await, 204);
    endpoint
        .wait_for_events(1, WITHIN)
        .await
        .expect("it was accepted");
    let events = endpoint.events_of_type("message.created.v1");
    assert_eq!(events[0].event, sent);
    assert_eq!(
        (events[0].webhook_id.as_str(), events[0].sequence()),
        ("w1", Some(1))
    );
    assert_eq!(events[0].headers["webhook-id"], "w1");
    assert!(endpoint.events_of_type("note.created.v1").is_empty());
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_not_an_event() {
    let endpoint = endpoint().await;
    assert_eq!(
        Sender::to(&endpoint, OTHER_SECRET)
            .status("w1", &event("c1", 1))
            .await,
        401
    );
    assert!(endpoint.events().is_empty());
    let refused = endpoint.refused();
    assert_eq!(
        (refused[0].status, refused[0].webhook_id.as_deref()),
        (401, Some("w1"))
    );
    assert_eq!(refused[0].reason, "signature invalid");
    endpoint
        .set_secrets(&[SECRET, OTHER_SECRET])
        .expect("both are well formed");
    assert_eq!(
        Sender::to(&endpoint, OTHER_SECRET)
            .status("w2", &event("c1", 1))
            .await,
        204
    );
    assert!(endpoint.set_secret("whsec_*").is_err());
}

#[tokio::test]
async fn what_is_no_cloud_event_is_refused() {
    let endpoint = endpoint().await;
    let sender = Sender::to(&endpoint, SECRET);
    assert_eq!(sender.status("w1", &json!({"id": "1"})).await, 400);
    let mut old = event("c1", 1);
    old["specversion"] = json!("0.3");
    assert_eq!(sender.status("w2", &old).await, 400);
    assert_eq!(endpoint.refused()[0].reason, "not a CloudEvent: no source");
    let unsigned = sender
        .client
        .post(endpoint.url())
        .body("{}")
        .send()
        .await
        .expect("an answer");
    assert_eq!(unsigned.status(), 401);
}

#[tokio::test]
async fn it_misbehaves_by_the_script() {
    let endpoint = endpoint().await;
    let sender = Sender::to(&endpoint, SECRET);
    let about = |subject: &str, action| {
        endpoint.misbehave(EventMatch::subject(subject), Times::Count(1), action);
    };
    about("broken", EndpointAction::status(500));
    about(
        "busy",
        EndpointAction::Status {
            status: 429,
            retry_after: Some(7),
        },
    );
    about("lost", EndpointAction::DropAfterRecording);
    about("away", EndpointAction::DropBeforeRecording);
    about("stuck", EndpointAction::Hang(Duration::from_millis(30)));
    about("slow", EndpointAction::Slow(Duration::from_millis(60)));

    assert_eq!(sender.status("w1", &event("broken", 1)).await, 500);
    let busy = sender
        .post("w2", &event("busy", 1))
        .await
        .expect("an answer");
    assert_eq!(
        (
            busy.status().as_u16(),
            busy.headers()["retry-after"].as_bytes()
        ),
        (429, &b"7"[..])
    );
    for (webhook_id, subject) in [("w3", "lost"), ("w4", "away"), ("w5", "stuck")] {
        sender
            .post(webhook_id, &event(subject, 1))
            .await
            .expect_err("the connection was cut");
    }
    let began = Instant::now();
    assert_eq!(sender.status("w6", &event("slow", 1)).await, 204);
    assert!(began.elapsed() >= Duration::from_millis(60));
    let accepted: Vec<_> = endpoint
        .events()
        .iter()
        .map(|e| e.webhook_id.clone())
        .collect();
    assert_eq!(accepted, ["w3", "w6"]);

    assert_eq!(
        sender.status("w3", &event("lost", 1)).await,
        204,
        "the rule is used up"
    );
    assert_eq!(endpoint.duplicates(), [("w3".to_owned(), 2)]);
    assert_eq!(endpoint.events()[2].attempt, 2);
    endpoint.misbehave(
        EventMatch::any(),
        Times::Always,
        EndpointAction::status(410),
    );
    assert_eq!(sender.status("w7", &event("gone", 1)).await, 410);
    endpoint.behave();
    assert_eq!(sender.status("w7", &event("gone", 1)).await, 204);
}

#[tokio::test]
async fn order_is_checked_per_subject_after_repetitions_are_left_out() {
    let endpoint = endpoint().await;
    let sender = Sender::to(&endpoint, SECRET);
    for (webhook_id, subject, sequence) in [
        ("a1", "a", 1),
        ("b1", "b", 1),
        ("a2", "a", 2),
        ("a1", "a", 1),
        ("a9", "a", 9),
        ("b2", "b", 2),
    ] {
        assert_eq!(
            sender.status(webhook_id, &event(subject, sequence)).await,
            204
        );
    }
    let ordered = endpoint
        .assert_ordered()
        .expect("a repetition does not break the order");
    assert_eq!(
        (ordered.events, ordered.subjects, ordered.duplicates),
        (5, 2, 1)
    );
    assert_eq!(ordered.last["a"], 9);

    assert_eq!(sender.status("b0", &event("b", 2)).await, 204);
    assert_eq!(sender.status("a8", &event("a", 8)).await, 204);
    let broken = endpoint
        .assert_ordered()
        .expect_err("8 came after 9, and 2 twice");
    assert_eq!(
        broken.to_string(),
        "2 events out of order\n  \
         subject b: sequence 2 (message.created.v1, webhook-id b0) came again, after 2 (webhook-id b2)\n  \
         subject a: sequence 8 (message.created.v1, webhook-id a8) came after 9 (webhook-id a9)"
    );
}

#[tokio::test]
async fn what_it_remembers_is_bounded_and_waiting_ends() {
    let endpoint = Endpoint::start_bounded(2).await.expect("a free port");
    let sender = Sender::to(&endpoint, SECRET);
    for sequence in 1..=3 {
        let webhook_id = format!("w{sequence}");
        assert_eq!(sender.status(&webhook_id, &event("c", sequence)).await, 204);
    }
    assert_eq!(endpoint.events().len(), 2);
    assert_eq!(
        endpoint.look(|records| (records.accepted, records.forgotten)),
        (3, 1)
    );
    endpoint
        .assert_ordered()
        .expect_err("the first one is forgotten");
    let late = endpoint.wait_for_events(4, Duration::from_millis(20)).await;
    assert!(
        late.expect_err("there are three")
            .to_string()
            .contains("3 events accepted")
    );
}
