//! What is stored is served, to those who may see it.

use http::{StatusCode, header};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use url::Url;

use crate::support::*;

#[tokio::test]
async fn what_is_stored_is_served_as_it_is_and_in_parts() {
    let dir = TempDir::new().expect("a folder");
    let media = store_in(dir.path()).await;
    for size in [0, 1, 5_000_000, 12_345_678] {
        let content = noise(size, 1);
        let stored = media
            .store
            .put("acme", bytes(content.clone()), None, LIMITS)
            .await
            .expect("stored");
        assert_eq!(stored.id, hex::encode(Sha256::digest(&content)));
        assert_eq!(stored.size, size as u64);
        let url = media
            .links
            .link("acme", &stored.id, Some("звіт.bin"))
            .expect("a link");
        let response = fetch(&media, &url, &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        let headers = response.headers();
        assert_eq!(headers[header::CONTENT_LENGTH], size.to_string().as_str());
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "sandbox");
        assert!(
            headers[header::CACHE_CONTROL]
                .to_str()
                .expect("text")
                .starts_with("private")
        );
        let disposition = headers[header::CONTENT_DISPOSITION].to_str().expect("text");
        assert!(
            disposition.starts_with("attachment; filename=\"____.bin\""),
            "{disposition}"
        );
        assert!(
            disposition.ends_with("filename*=UTF-8''%D0%B7%D0%B2%D1%96%D1%82.bin"),
            "{disposition}"
        );
        assert!(body(response).await == content, "{size}");
        if size < 100 {
            continue;
        }
        for (range, part) in [
            ("bytes=0-0", &content[..1]),
            ("bytes=100-", &content[100..]),
            ("bytes=-7", &content[size - 7..]),
            ("bytes=5-99999999999", &content[5..]),
        ] {
            let response = fetch(&media, &url, &[(header::RANGE, range)]).await;
            assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
            assert!(
                response.headers()[header::CONTENT_RANGE]
                    .to_str()
                    .expect("text")
                    .ends_with(&format!("/{size}"))
            );
            assert!(body(response).await == part, "{range}");
        }
        let beyond = format!("bytes={size}-");
        let response = fetch(&media, &url, &[(header::RANGE, &beyond)]).await;
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        let tag = format!("\"{}\"", stored.id);
        let response = fetch(&media, &url, &[(header::IF_NONE_MATCH, &tag)]).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    }
    assert_eq!(
        files(&dir.path().join("media")).len(),
        4,
        "nothing but the media"
    );
}

#[tokio::test]
async fn only_harmless_pictures_are_shown_in_place() {
    let dir = TempDir::new().expect("a folder");
    let media = store_in(dir.path()).await;
    let stored = media
        .store
        .put("acme", bytes(GIF), Some("text/html"), LIMITS)
        .await
        .expect("stored");
    assert_eq!(
        (stored.mime.as_str(), stored.pixels),
        ("image/gif", Some((1, 1)))
    );
    assert_eq!(
        media
            .store
            .describe("acme", &stored.id)
            .await
            .expect("read"),
        Some(stored.clone())
    );
    for (content, declared, how, kind) in [
        (GIF, "text/html", "inline", "image/gif"),
        (
            b"<svg onload='alert(1)'/>".as_slice(),
            "image/png",
            "attachment",
            "image/svg+xml",
        ),
        (
            b"<!DOCTYPE html><script>alert(1)</script>",
            "image/jpeg",
            "attachment",
            "text/html",
        ),
        (
            b"just words",
            "image/png",
            "attachment",
            "text/plain; charset=utf-8",
        ),
    ] {
        let stored = media
            .store
            .put("acme", bytes(content), Some(declared), LIMITS)
            .await
            .expect("stored");
        let url = media
            .links
            .link("acme", &stored.id, Some("a.png"))
            .expect("a link");
        let response = fetch(&media, &url, &[]).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
        assert!(
            response.headers()[header::CONTENT_DISPOSITION]
                .to_str()
                .expect("text")
                .starts_with(how),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn links_reach_nothing_of_another_organization() {
    let dir = TempDir::new().expect("a folder");
    let media = store_in(dir.path()).await;
    let stored = media
        .store
        .put("acme", bytes(GIF), None, LIMITS)
        .await
        .expect("stored");
    assert_eq!(
        media
            .store
            .describe("other", &stored.id)
            .await
            .expect("read"),
        None
    );
    let url = media.links.link("other", &stored.id, None).expect("a link");
    assert_eq!(
        fetch(&media, &url, &[]).await.status(),
        StatusCode::NOT_FOUND
    );
    let url = media.links.link("acme", &stored.id, None).expect("a link");
    let moved = Url::parse(&url.as_str().replace("/acme/", "/other/")).expect("a URL");
    let refused = fetch(&media, &moved, &[]).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(refused.headers()[header::CACHE_CONTROL], "no-store");
    for (organization, id) in [
        ("..", stored.id.as_str()),
        ("acme", ".."),
        ("_incoming", &stored.id),
        ("acme", ""),
    ] {
        assert_eq!(
            media.store.describe(organization, id).await.expect("read"),
            None
        );
    }
}
