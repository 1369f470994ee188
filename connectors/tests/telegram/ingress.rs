//! What the ingress refuses, and how.

use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tributary_bus::message::Inbound;

use crate::{
    stage::{Stage, Way, Worker, words},
    support::PATIENCE,
};

const SECRET: &str = "s3cr3t_Token-acc7";
const EXTRA: &str = "secret_token = 's3cr3t_Token-acc7'";

async fn post(worker: &Worker, path: &str, secret: Option<&str>, body: &str) -> Response {
    let mut request = Client::new()
        .post(worker.url(path))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_owned());
    if let Some(secret) = secret {
        request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
    }
    request.send().await.expect("an answer")
}

fn update(number: u32, text: &str) -> String {
    format!(
        r#"{{"update_id":{number},"message":{{"message_id":{number},"from":{{"id":7,"first_name":"O"}},"chat":{{"id":7,"type":"private"}},"date":1767225600,"text":"{text}"}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_telegram_signed_gets_in() {
    let stage = Stage::new(EXTRA).await;
    let worker = stage.worker(Way::Webhook).await;
    let path = "/channels/shop/webhook";
    let body = update(1, "hello");
    for secret in [None, Some(""), Some("wrong"), Some("s3cr3t_token-acc7")] {
        let response = post(&worker, path, secret, &body).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let text = response.text().await.expect("a body");
        assert_eq!(text, "", "nothing is told");
    }
    for path in [
        "/channels/nobody/webhook",
        "/channels/shop/other",
        "/channels/shop/socket",
        "/channels/shop",
        "/",
    ] {
        let response = post(&worker, path, Some(SECRET), &body).await;
        let refused = matches!(
            response.status(),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        );
        assert!(refused, "{path}: {}", response.status());
    }
    let large = update(2, &"x".repeat(100_001));
    let response = post(&worker, path, Some(SECRET), &large).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(response.headers()["connection"], "close");
    let messages = stage.all(|event| matches!(event, Inbound::Received(_)).then_some(()));
    assert!(messages.is_empty());

    // What cannot be read is taken all the same: refusing it would block its chat.
    let response = post(&worker, path, Some(SECRET), "{ not JSON").await;
    assert_eq!(response.status(), StatusCode::OK);
    let response = post(&worker, path, Some(SECRET), &body).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[header::X_CONTENT_TYPE_OPTIONS],
        "nosniff"
    );
    // It opens no conversation: nobody could be answered.
    let said: Vec<String> = stage.messages(1).await.iter().map(words).collect();
    assert_eq!(said, ["hello"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bus_the_provider_is_asked_to_come_again() {
    let stage = Stage::new(EXTRA).await;
    let worker = stage.worker(Way::Webhook).await;
    stage.router.bus().close().await;
    let began = Instant::now();
    let response = post(
        &worker,
        "/channels/shop/webhook",
        Some(SECRET),
        &update(1, "hello"),
    )
    .await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wait = response.headers()[header::RETRY_AFTER]
        .to_str()
        .expect("text");
    assert!(
        wait.parse::<u64>()
            .is_ok_and(|seconds| (1..=10).contains(&seconds))
    );
    assert!(began.elapsed() < Duration::from_secs(1), "quickly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_not_waited_for() {
    let stage = Stage::new(EXTRA).await;
    let worker = stage.worker(Way::Webhook).await;
    let mut connection = TcpStream::connect(worker.address).await.expect("a door");
    let head = "POST /channels/shop/webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    connection
        .write_all(head.as_bytes())
        .await
        .expect("it is taken");
    let mut answer = vec![0; 200];
    let read = timeout(PATIENCE, connection.read(&mut answer)).await;
    let read = read.expect("an answer in time").expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_ingress_finishes_and_takes_nothing_new() {
    let stage = Stage::new(EXTRA).await;
    let worker = stage.worker(Way::Webhook).await;
    let address = worker.address;
    // A connection that is kept alive must not keep the process.
    let client = Client::new();
    let url = worker.url("/channels/shop/webhook");
    let response = client.post(&url).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    timeout(PATIENCE, worker.stop())
        .await
        .expect("it stops in time");
    assert!(TcpStream::connect(address).await.is_err());
}
