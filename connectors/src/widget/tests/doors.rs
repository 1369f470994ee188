//! Who is let in, and how they are greeted.

use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

use super::{stage::Stage, visitor::Visitor};

#[tokio::test]
async fn a_new_visitor_becomes_somebody_who_is_known_again() {
    let stage = Stage::new("").await;
    let first = stage.visitor().await;
    assert_eq!(first.welcome["seq"], 0);
    assert_eq!(first.welcome["events"], json!([]));
    assert_eq!(first.welcome["more"], false);
    let again = stage.visitor_at(0, json!({"token": first.token()})).await;
    assert_eq!(again.welcome["visitor"], first.welcome["visitor"]);
    let other = stage.visitor().await;
    assert_ne!(other.welcome["visitor"], first.welcome["visitor"]);
}

#[tokio::test]
async fn every_worker_knows_the_tokens_of_the_others() {
    let mut stage = Stage::new("").await;
    stage.add_worker().await;
    let first = stage.visitor().await;
    let again = stage.visitor_at(1, json!({"token": first.token()})).await;
    assert_eq!(again.welcome["visitor"], first.welcome["visitor"]);
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let stage = Stage::new("secret = 'sixteen characters at least'").await;
    let elsewhere = Stage::new("secret = 'another sixteen characters'").await;
    let foreign = elsewhere.visitor().await.token();
    for token in [foreign.as_str(), "v1.AAAA.BBBB", ""] {
        let mut visitor = stage.knock(0, None).await.expect("open");
        visitor.hello(json!({"token": token})).await;
        let (frames, code) = visitor.until_closed().await;
        assert_eq!(frames, [json!({"t": "err", "code": "bad_token"})]);
        assert_eq!(code, Some(4401));
    }
}

#[tokio::test]
async fn only_listed_pages_are_let_in() {
    let stage = Stage::new("allowed_origins = ['https://shop.example', '*.shop.example']").await;
    for origin in ["https://shop.example", "https://www.shop.example"] {
        assert!(stage.knock(0, Some(origin)).await.is_ok(), "{origin}");
    }
    for origin in [Some("https://evil.example"), Some("null"), None] {
        assert_eq!(stage.knock(0, origin).await.err(), Some(403));
    }
}

#[tokio::test]
async fn the_first_frame_must_be_a_greeting() {
    let stage = Stage::new("").await;
    for (frame, complaint) in [
        ("hello", "bad_frame"),
        (r#"{"t":"ping"}"#, "bad_hello"),
        (r#"{"t":"later"}"#, "bad_hello"),
        (r#"{"t":"hello","v":2}"#, "bad_version"),
        (r#"{"t":"hello","v":1,"channel":"blog"}"#, "bad_hello"),
    ] {
        let mut visitor = stage.knock(0, None).await.expect("open");
        visitor.write(frame).await;
        let (frames, code) = visitor.until_closed().await;
        assert_eq!(frames, [json!({"t": "err", "code": complaint})], "{frame}");
        assert_eq!(code, Some(4400), "{frame}");
    }
}

#[tokio::test]
async fn one_address_brings_only_so_many_new_visitors() {
    let stage = Stage::with_visitors("", 3).await;
    let mut known = None;
    for _ in 0..3 {
        known = Some(stage.visitor().await.token());
    }
    let mut fourth = stage.knock(0, None).await.expect("open");
    fourth.hello(json!({})).await;
    let (frames, code) = fourth.until_closed().await;
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0]["code"], "rate_limited");
    let wait = frames[0]["retry_after"].as_u64().expect("seconds");
    assert!((1..=21).contains(&wait), "{wait}");
    assert_eq!(code, Some(4429));
    // Who is known comes back all the same.
    stage.visitor_at(0, json!({"token": known})).await;
}

#[tokio::test]
async fn beyond_the_limit_the_oldest_connection_gives_way() {
    let stage = Stage::new("sockets_per_visitor = 2").await;
    let mut first = stage.visitor().await;
    let hello = json!({"token": first.token()});
    let mut second = stage.visitor_at(0, hello.clone()).await;
    let mut third = stage.visitor_at(0, hello).await;
    assert_eq!(first.until_closed().await, (vec![], Some(4409)));
    second.nothing_but_pong().await;
    third.nothing_but_pong().await;
}

#[tokio::test]
async fn a_worker_that_stops_says_so() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    stage.workers[0].stop.cancel();
    assert_eq!(visitor.until_closed().await, (vec![], Some(1012)));
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_in_the_end_not_borne() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.frame(json!({"t": "wave", "on": true})).await;
    let unknown = json!({"t": "err", "code": "unknown_frame"});
    assert_eq!(visitor.next().await, unknown);
    let bad = json!({"t": "err", "code": "bad_frame"});
    for frame in ["not JSON", "[]", r#"{"t":"read","upto":"x"}"#] {
        visitor.write(frame).await;
        assert_eq!(visitor.next().await, bad, "{frame}");
    }
    visitor.write_binary().await;
    assert_eq!(visitor.next().await, bad);
    visitor.nothing_but_pong().await;
    visitor.write("{").await;
    assert_eq!(visitor.until_closed().await, (vec![bad], Some(4400)));
}

#[tokio::test]
async fn a_huge_frame_ends_the_connection() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    visitor.say("c1", &"x".repeat(70_000)).await;
    assert_eq!(visitor.until_closed().await, (vec![], Some(1009)));
    assert!(stage.is_quiet().await);
    let mut visitor: Visitor = stage.visitor().await;
    visitor.nothing_but_pong().await;
}

#[tokio::test]
async fn what_is_no_websocket_ends_with_the_code_that_says_so() {
    let stage = Stage::new("").await;
    let text = |bytes: &'static [u8]| Frame::message(bytes, OpCode::Data(Data::Text), true);
    let reserved = Frame::message(&b"x"[..], OpCode::Data(Data::Reserved(5)), true);
    for (frame, code) in [(text(b"\xff\xfe"), 1007), (reserved, 1002)] {
        let mut visitor = stage.visitor().await;
        visitor.write_frame(frame).await;
        assert_eq!(visitor.until_closed().await, (vec![], Some(code)));
    }
}

#[tokio::test]
async fn frames_without_end_are_a_flood_whatever_they_say() {
    let stage = Stage::new("").await;
    let mut visitor = stage.visitor().await;
    let (mut unknown, mut refused) = (0, 0);
    let code = loop {
        visitor.frame(json!({"t": "later"})).await;
        match visitor.try_next().await {
            Ok(frame) if frame["code"] == "unknown_frame" => unknown += 1,
            Ok(frame) => {
                assert_eq!(frame["code"], "rate_limited");
                refused += 1;
            }
            Err(code) => break code,
        }
        if refused == 10 {
            break visitor.until_closed().await.1;
        }
    };
    assert_eq!((refused, code), (10, Some(4429)));
    assert!((60..200).contains(&unknown), "{unknown}");
}
