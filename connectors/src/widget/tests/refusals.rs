//! What is refused: with which words it ends, and under which number it is counted.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tributary_bus::BusState;

use super::stage::{File, PICTURE, Stage, eventually};
use crate::testing::PATIENCE;

/// One request without a client that would be clever about it; what is answered until the end.
async fn request(stage: &Stage, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(stage.workers[0].address)
        .await
        .expect("connected");
    let exchange = async {
        let length = body.len();
        let head = format!("{head}\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange)
        .await
        .expect("an answer in time");
    answer.expect("the answer is not lost to a reset")
}

#[tokio::test]
async fn each_has_a_number_of_its_own() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let numbers = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::with_visitors(
        "allowed_origins = ['https://shop.example']\nmessages_per_10s = 1\nuploads_per_hour = 1\nupload_limit = 2000",
        3,
    )
    .await;
    let origin = Some("https://shop.example");
    let come = async || stage.knock(0, origin).await.expect("the door is open");
    // At the door.
    assert_eq!(stage.knock(0, None).await.err(), Some(403));
    let nobody = request(
        &stage,
        "GET /channels/nobody/state HTTP/1.1\r\nconnection: close",
        b"",
    );
    let nobody = nobody.await;
    assert!(nobody.starts_with("HTTP/1.1 404"), "{nobody}");
    assert!(
        nobody.contains("access-control-allow-origin: *"),
        "{nobody}"
    );
    let plain =
        "GET /channels/shop/socket HTTP/1.1\r\nconnection: close\r\norigin: https://shop.example";
    assert!(
        !request(&stage, plain, b"")
            .await
            .starts_with("HTTP/1.1 101")
    );
    let path = "GET /channels/shop/nothing HTTP/1.1\r\nconnection: close";
    assert!(request(&stage, path, b"").await.starts_with("HTTP/1.1 404"));
    // Greeting.
    for (hello, code) in [
        (r#"{"t":"hello","v":9}"#, 4400),
        (r#"{"t":"ping"}"#, 4400),
        (r#"{"t":"hello","v":1,"token":"v1.a.b"}"#, 4401),
    ] {
        let mut visitor = come().await;
        visitor.write(hello).await;
        assert_eq!(visitor.until_closed().await.1, Some(code));
    }
    let mut visitor = come().await;
    visitor.hello(json!({})).await;
    visitor.welcome = visitor.next().await;
    // In the conversation.
    visitor.said("c1", "Hi").await;
    let mut codes = Vec::new();
    for frame in [
        json!({"t": "send", "client_id": "c2", "body": {"type": "text", "text": "Hi"}}),
        json!({"t": "send", "client_id": "c3", "body": {"type": "text", "text": "x".repeat(5000)}}),
        json!({"t": "send", "client_id": "c4", "body": {"type": "text", "text": " "}}),
        json!({"t": "send", "client_id": "c5", "body": {"type": "upload", "upload": "u1"}}),
        json!({"t": "press", "client_id": "c6", "seq": 1, "button": "b"}),
        json!({"t": "wave"}),
        json!(7),
    ] {
        visitor.frame(frame).await;
        codes.push(visitor.next().await["code"].clone());
    }
    assert_eq!(
        codes,
        [
            "rate_limited",
            "too_long",
            "bad_message",
            "bad_upload",
            "not_offered",
            "unknown_frame",
            "bad_frame"
        ]
    );
    visitor.say("c7", &"x".repeat(70_000)).await;
    assert_eq!(visitor.until_closed().await, (vec![], Some(1009)));
    // Files.
    let (token, picture) = (visitor.token(), File { origin, ..PICTURE });
    let big = File {
        bytes: &[7; 3000],
        ..picture
    };
    assert_eq!(stage.upload("v1.a.b", picture).await.0, 401);
    assert_eq!(stage.upload(&token, big).await.0, 413);
    assert_eq!(stage.upload(&token, picture).await.0, 429);
    // Newcomers, of which two more may come.
    for _ in 0..3 {
        let mut newcomer = come().await;
        newcomer.hello(json!({})).await;
        newcomer.next().await;
    }
    each_is_counted_once(&numbers).await;
}

async fn each_is_counted_once(numbers: &PrometheusHandle) {
    for (way, reason) in [
        ("socket", "origin"),
        ("http", "no_such_path"),
        ("socket", "no_websocket"),
        ("socket", "bad_version"),
        ("socket", "bad_hello"),
        ("socket", "bad_token"),
        ("socket", "messages"),
        ("socket", "too_long"),
        ("socket", "bad_message"),
        ("socket", "bad_upload"),
        ("socket", "not_offered"),
        ("socket", "unknown_frame"),
        ("socket", "bad_frame"),
        ("socket", "frame_too_large"),
        ("upload", "bad_token"),
        ("upload", "too_large"),
        ("upload", "rate_limited"),
        ("socket", "new_visitors"),
    ] {
        let line = format!(
            "tributary_refusals_total{{channel=\"shop\",way=\"{way}\",reason=\"{reason}\"}} 1\n"
        );
        eventually(&line, async || numbers.render().contains(&line)).await;
    }
    let unknown =
        "tributary_refusals_total{channel=\"\",way=\"http\",reason=\"unknown_channel\"} 1\n";
    assert!(numbers.render().contains(unknown), "{}", numbers.render());
}

#[tokio::test]
async fn a_refusal_is_read_although_the_body_was_not() {
    // More than the buffers of both ends hold.
    let body = vec![b'x'; 16 * 1024 * 1024];
    let head = "POST /channels/shop HTTP/1.1";
    let small = "[ingress]\nbody_limit = 1000";
    let stage = Stage::new(small).await;
    for _ in 0..5 {
        let answer = request(&stage, head, &body).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

#[tokio::test]
async fn one_address_holds_only_so_many_connections() {
    let stage = Stage::new("[ingress]\nmax_connections_per_address = 3").await;
    let address = stage.workers[0].address;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(address).await.expect("connected"));
    }
    let is_open = async || {
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the kernel connects");
        let head = "GET /widget.js HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut answer = Vec::new();
        stream.write_all(head.as_bytes()).await.is_ok()
            && stream.read_to_end(&mut answer).await.is_ok()
            && answer.starts_with(b"HTTP/1.1 200")
    };
    assert!(!is_open().await);
    held.clear();
    eventually("places are given back", is_open).await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_address_has_its_own_connections() {
    let proxy = "[ingress]\nmax_connections_per_address = 2\ntrusted_proxies = ['127.0.0.0/8']";
    let stage = Stage::new(proxy).await;
    let address = stage.workers[0].address;
    let upgrade = async |forwarded: &str| {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let head = format!(
            "GET /channels/shop/socket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-forwarded-for: {forwarded}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut status = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut status))
            .await
            .expect("in time")
            .expect("an answer");
        (stream, String::from_utf8_lossy(&status).into_owned())
    };
    let (one, other) = (upgrade("192.0.2.1").await, upgrade("192.0.2.1").await);
    assert_eq!(
        (one.1.as_str(), other.1.as_str()),
        ("HTTP/1.1 101", "HTTP/1.1 101")
    );
    assert_eq!(upgrade("192.0.2.1").await.1, "HTTP/1.1 429");
    assert_eq!(upgrade("192.0.2.2").await.1, "HTTP/1.1 101");
    drop(one);
    eventually("the place is given back", async || {
        upgrade("192.0.2.1").await.1 == "HTTP/1.1 101"
    })
    .await;
}

#[tokio::test]
async fn one_address_writes_only_as_much_as_an_office() {
    let stage = Stage::new("messages_per_10s = 1\nmessages_per_10m = 1").await;
    let (mut taken, mut refused) = (0, 0);
    while refused == 0 {
        let mut visitor = stage.visitor().await;
        visitor.say("c1", "Hi").await;
        match visitor.next().await["t"].as_str() {
            Some("ack") => taken += 1,
            _ => refused += 1,
        }
    }
    assert!((50..60).contains(&taken), "{taken}");
}

#[tokio::test]
async fn without_the_bus_a_message_is_refused_for_now_and_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let numbers = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    stage.bus.set_state(BusState::Away {
        reason: "test".to_owned(),
    });
    visitor.say("c1", "Hi").await;
    assert_eq!(visitor.next().await["code"], "unavailable");
    let line =
        "tributary_refusals_total{channel=\"shop\",way=\"socket\",reason=\"unavailable\"} 1\n";
    assert!(numbers.render().contains(line), "{}", numbers.render());
}
