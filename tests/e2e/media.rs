//! Media of the running program: uploaded over the API, reached at the ingress, over restarts; and what a fleet is told.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Demo, Spawn, fetch};

/// A transparent picture of one pixel.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_reached_by_its_link_over_restarts() {
    let mut demo = Demo::start(Spawn::default()).await;
    let (status, answer) = demo
        .api
        .upload("/v1/media?name=dot.gif", "image/gif", GIF)
        .await;
    assert_eq!(status, 201, "{answer}");
    let url = link(&answer);
    assert!(
        url.starts_with(&format!("{}/media/demo/", demo.ingress)),
        "{url}"
    );
    let (status, body) = fetch(&url).await.expect("the ingress answers");
    assert_eq!(status, 200);
    assert!(body.starts_with("GIF89a"));
    let at_the_api = url.replace(&demo.ingress, &demo.api.base);
    assert_eq!(fetch(&at_the_api).await.expect("the API answers").0, 200);
    let key = demo.folder.join("data/media.key");
    let mode = std::fs::metadata(&key).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    demo.kill();
    demo.restart().await;
    assert_eq!(
        fetch(&url).await.expect("the ingress answers").0,
        200,
        "the key is kept"
    );
    let forged = url.replace("&s=", "&s=0");
    assert_eq!(fetch(&forged).await.expect("the ingress answers").0, 403);
}

fn link(answer: &Value) -> String {
    answer["media"]["url"].as_str().expect("a link").to_owned()
}

#[test]
fn a_fleet_is_told_what_its_media_needs() {
    let folder = TempDir::new().expect("temporary folder");
    let check = |media: &str| {
        let config = format!(
            "[bus]\nurl = 'amqp://localhost'\n[store]\nurl = 'postgres://localhost/x'\n[media]\n{media}"
        );
        Spawn::new(&["check"]).config(config).output(folder.path())
    };
    let (status, out, err) = check("");
    assert!(status.success(), "{err}");
    assert!(out.contains("not kept by a fleet: set media.url"), "{out}");
    let (status, _, err) = check("url = 's3://bucket/folder'\n");
    assert_eq!(status.code(), Some(2));
    assert!(
        err.contains("media.signing_key") && err.contains("openssl rand -hex 32"),
        "{err}"
    );
    let (_, _, err) = check("url = 's3://bucket'\nsigning_key = 'short'\n");
    assert!(err.contains("at least 32 characters"), "{err}");
    let (_, _, err) = check("url = 'ftp://bucket'\n");
    assert!(err.contains("media.url"), "{err}");
    let key = "0123456789abcdef0123456789abcdef";
    let (status, out, err) = check(&format!("url = 's3://bucket'\nsigning_key = '{key}'\n"));
    assert!(status.success(), "{err}");
    assert!(out.contains("s3://bucket") && !out.contains(key), "{out}");
}
