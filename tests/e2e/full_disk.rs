//! A used-up disk under the running program: it says so, acknowledges nothing that it could not keep, goes on by itself when
//! there is space, and has lost and doubled nothing.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::sync::watch;

use crate::support::{Api, Demo, PATIENCE, Spawn, Visitor, eventually, fetch};

/// Files of the program grow no further than this many bytes from now on; `None`: as they like. What writes beyond it fails
/// with EFBIG wherever SQLite does it, as it fails with ENOSPC on a disk that is full.
fn limit_files(process: u32, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let status = std::process::Command::new("prlimit")
        .arg(format!("--fsize={limit}:unlimited"))
        .args(["--pid", &process.to_string()])
        .status();
    assert!(status.expect("prlimit runs").success());
}

/// Sends a reply until the API takes it; tells how often it was refused before.
async fn insist(api: &Api, conversation: &str, text: &str, refused: &watch::Sender<usize>) {
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = json!({"content": {"type": "text", "text": text}});
    let started = Instant::now();
    loop {
        let (status, answer) = api
            .call_with(Method::POST, &path, Some(body.clone()), Some("one-reply"))
            .await
            .expect("the API answers");
        if status.is_success() {
            return;
        }
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        assert_eq!(answer["code"], "unavailable");
        refused.send_modify(|refused| *refused += 1);
        assert!(started.elapsed() < PATIENCE, "never taken: {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_disk_is_told_and_loses_nothing() {
    // The signal that a process gets for writing beyond the limit would end it; a full disk sends none.
    let spawn = Spawn::default().under(&["env", "--ignore-signal=XFSZ"]);
    let demo = Demo::start(spawn).await;
    let process = demo.program.id();
    let mut visitor = Visitor::arrive(&demo.ingress, "demo").await;
    visitor.say("before").await;
    let conversation = eventually("the conversation", || async {
        let all = demo.api.list("/v1/conversations").await;
        all.first()
            .and_then(|c| c["id"].as_str().map(str::to_owned))
    })
    .await;

    limit_files(process, Some(4096));
    let saying = tokio::spawn(async move {
        visitor.say("during").await;
        (visitor, Instant::now())
    });
    let (refused, mut refusals) = watch::channel(0);
    let replying = tokio::spawn({
        let (api, conversation) = (demo.api.clone(), conversation.clone());
        async move { insist(&api, &conversation, "an answer", &refused).await }
    });
    let readyz = format!("{}/readyz", demo.operations);
    let told = eventually("/readyz tells", || async {
        let (status, text) = fetch(&readyz).await?;
        (status == 503).then_some(text)
    })
    .await;
    assert!(told.contains("disk") || told.contains("full"), "{told}");
    eventually("the log tells", || async {
        (demo.program.logged("disk") || demo.program.logged("full")).then_some(())
    })
    .await;
    let refusal = refusals.wait_for(|refused| *refused > 0);
    let refused = tokio::time::timeout(PATIENCE, refusal).await;
    assert!(matches!(refused, Ok(Ok(_))), "it was never refused");
    drop(refused);
    // What was kept before can still be read.
    let path = format!("/v1/conversations/{conversation}/messages");
    assert_eq!(demo.api.list(&path).await.len(), 1, "only what was kept");
    assert!(!saying.is_finished(), "acknowledged on a full disk");
    assert!(!replying.is_finished(), "accepted on a full disk");

    let freed = Instant::now();
    limit_files(process, None);
    let (mut visitor, acknowledged) = saying.await.expect("said");
    assert!(acknowledged > freed);
    replying.await.expect("replied");
    visitor
        .until("the answer", |history| {
            history.values().any(|event| event["from"] == "agent")
        })
        .await;
    visitor.say("after").await;
    assert_eq!(visitor.answers(), ["an answer"]);
    eventually("ready again", || async {
        (fetch(&readyz).await?.0 == 200).then_some(())
    })
    .await;
    let inbound = eventually("all that was said", || async {
        let messages = demo.api.list(&path).await;
        let texts: Vec<String> = messages
            .iter()
            .filter(|message| message["direction"] == "inbound")
            .filter_map(|message| message["content"]["text"].as_str().map(str::to_owned))
            .collect();
        (texts.len() >= 3).then_some(texts)
    })
    .await;
    assert_eq!(inbound, ["before", "during", "after"]);
}
